//! What is particular to the `user` plugin and its label `solo`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use dlm::{Errno, LockFlags, Mode, ResourceName};
use stackglue::{ConnectError, Connection, Glue, Lksb, LockingProtocol, ProtocolVersion};
use stackglue_user::{UserOptions, UserPlugin};

const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// What the callbacks of a connection do: given the status block, and which callback it is.
struct Told<F>(F);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    Lock,
    Blocking,
    Unlock,
}

impl<F: Fn(&Lksb, Which) + Send + Sync> LockingProtocol for Told<F> {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, lksb: &Lksb) {
        self.0(lksb, Which::Lock);
    }

    fn blocking_ast(&self, lksb: &Lksb, _level: Mode) {
        self.0(lksb, Which::Blocking);
    }

    fn unlock_ast(&self, lksb: &Lksb, _result: Result<(), Errno>) {
        self.0(lksb, Which::Unlock);
    }
}

fn glue(epoch: u32) -> Glue {
    let glue = Glue::new();
    glue.set_max_protocol(VERSION).expect("first announcement");
    glue.register(Arc::new(UserPlugin::new(UserOptions { epoch, ..UserOptions::default() })))
        .expect("first plugin");
    glue.set_cluster_stack("solo").expect("nothing is connected");
    glue
}

fn connect(glue: &Glue, group: &str) -> Result<Connection, ConnectError> {
    glue.connect(None, "", group, Arc::new(Told(|_: &Lksb, _| ())), Box::new(|_| ()))
}

/// A connection with callbacks that do something.
fn connect_told(told: impl Fn(&Lksb, Which) + Send + Sync + 'static) -> Arc<Connection> {
    let told = Arc::new(Told(told));
    Arc::new(glue(1).connect(None, "", "g", told, Box::new(|_| ())).expect("connected"))
}

/// A request in EX that the stack takes.
fn lock(connection: &Connection, lksb: &Lksb, name: ResourceName<'_>) {
    connection.lock(Mode::EX, lksb, LockFlags::empty(), name).expect("submitted");
}

fn name(bytes: &[u8]) -> ResourceName<'_> {
    ResourceName::new(bytes).expect("a legal name")
}

fn token_of_a_lock(connection: &Connection) -> u64 {
    let lksb = Lksb::new(());
    connection.lock(Mode::EX, &lksb, LockFlags::empty(), name(b"r")).expect("submitted");
    assert_eq!((lksb.status(), lksb.mode()), (Ok(()), Some(Mode::EX)));
    connection.unlock(&lksb, LockFlags::empty()).expect("submitted");
    lksb.token()
}

#[test]
fn tokens_grow_across_connections_and_epochs() {
    let mut last = 0;
    for epoch in [1, 2, 7] {
        let glue = glue(epoch);
        for _ in 0..3 {
            let connection = connect(&glue, "g").expect("connected");
            for _ in 0..3 {
                let token = token_of_a_lock(&connection);
                assert!(token > last, "{token:#x} after {last:#x}");
                assert_eq!(token >> UserPlugin::TOKEN_SEQUENCE_BITS, u64::from(epoch));
                last = token;
            }
            connection.disconnect(false).expect("left");
        }
    }
}

/// What an orphan was told went to nobody.
#[test]
fn who_adopts_an_orphan_is_told_who_waits_for_it() {
    let told = Arc::new(AtomicUsize::new(0));
    let notices = told.clone();
    let connection = connect_told(move |lksb, which| {
        if which == Which::Blocking && lksb.state::<&str>() == Some(&"heir") {
            notices.fetch_add(1, Ordering::Relaxed);
        }
    });
    let [dead, waiter, heir] = ["dead", "waiter", "heir"].map(Lksb::new);
    connection.lock(Mode::EX, &dead, LockFlags::PERSISTENT, name(b"r")).expect("submitted");
    lock(&connection, &waiter, name(b"r"));
    connection.abandon(&dead).expect("it has a lock");
    connection.lock(Mode::EX, &heir, LockFlags::ORPHAN, name(b"r")).expect("an orphan in EX");
    assert_eq!((heir.mode(), told.load(Ordering::Relaxed)), (Some(Mode::EX), 1));
    connection.unlock(&heir, LockFlags::empty()).expect("submitted");
    assert_eq!(waiter.mode(), Some(Mode::EX));
}

#[test]
fn a_group_is_connected_once_at_a_time() {
    let glue = glue(1);
    let first = connect(&glue, "g").expect("connected");
    let refused = connect(&glue, "g").expect_err("the group is in use");
    assert_eq!(refused.errno(), Errno::EEXIST);
    connect(&glue, "h").expect("another group");
    first.disconnect(false).expect("left");
    connect(&glue, "g").expect("free again");
}

#[test]
fn a_label_without_membership_is_refused_with_a_reason() {
    let glue = glue(1);
    glue.set_cluster_stack("pcmk").expect("nothing is connected");
    let refused = connect(&glue, "g").expect_err("no such membership");
    assert_eq!(refused.errno(), Errno::ENOENT);
    assert!(refused.to_string().contains("pcmk"), "{refused}");
    assert_eq!(glue.active_plugin(), None);
}

#[test]
fn names_of_every_length_have_locks_of_their_own_and_leave_nothing() {
    let glue = glue(1);
    let connection = connect(&glue, "g").expect("connected");
    let bytes: Vec<u8> = (0..64).collect();
    let locks: Vec<Lksb> = (1..=bytes.len())
        .map(|len| {
            let lksb = Lksb::new(());
            let name = name(&bytes[..len]);
            connection.lock(Mode::EX, &lksb, LockFlags::NOQUEUE, name).expect("submitted");
            assert_eq!(lksb.status(), Ok(()), "{len} bytes");
            let mut seen = 0;
            connection.visit_resource(name, &mut |resource| {
                assert_eq!((resource.name, resource.locks.len()), (name, 1));
                seen += 1;
            });
            assert_eq!(seen, 1);
            lksb
        })
        .collect();
    for lksb in &locks {
        connection.unlock(lksb, LockFlags::empty()).expect("submitted");
    }
    connection.visit_resources(&mut |resource| panic!("{} is left", resource.name));
}

#[test]
fn an_epoch_that_would_run_tokens_backwards_is_refused() {
    let refused = connect(&glue(1 << 24), "g").expect_err("an epoch of 25 bits");
    assert_eq!(refused.errno(), Errno::EINVAL);
    connect(&glue((1 << 24) - 1), "g").expect("the last epoch");
}

#[test]
fn a_block_that_another_thread_uses_again_at_once_has_one_callback_at_a_time() {
    const LOCKS: usize = 30_000;
    let told = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let busy = AtomicBool::new(false);
    let connection = connect_told({
        let told = Arc::clone(&told);
        move |_, which| {
            assert!(!busy.swap(true, Ordering::AcqRel), "two callbacks of one block at once");
            told[usize::from(which == Which::Unlock)].fetch_add(1, Ordering::Relaxed);
            busy.store(false, Ordering::Release);
        }
    });
    let lksb = Lksb::new(());
    let names: Vec<String> = (0..64).map(|number| format!("n{number}")).collect();
    // Both calls fail whenever the other thread has not come so far yet.
    thread::scope(|scope| {
        scope.spawn(|| {
            let unlocked = || connection.unlock(&lksb, LockFlags::empty()).is_ok();
            (0..LOCKS).for_each(|_| while !unlocked() {});
        });
        for number in 0..LOCKS {
            let name = name(names[number % names.len()].as_bytes());
            while connection.lock(Mode::EX, &lksb, LockFlags::empty(), name).is_err() {}
        }
    });
    lksb.wait_until_idle();
    assert_eq!([0, 1].map(|which| told[which].load(Ordering::Relaxed)), [LOCKS, LOCKS]);
}

#[test]
fn waiters_that_unlock_when_they_are_granted_do_not_nest_without_end() {
    let own: Arc<OnceLock<Arc<Connection>>> = Arc::default();
    let connection = connect_told({
        let own = Arc::clone(&own);
        move |lksb, which| {
            if which == Which::Lock && lksb.state() == Some(&true) {
                let connection = own.get().expect("set before the first grant");
                connection.unlock(lksb, LockFlags::empty()).expect("held");
            }
        }
    });
    own.set(Arc::clone(&connection)).expect("set once");
    let holder = Lksb::new(false);
    lock(&connection, &holder, name(b"r"));
    let waiters: Vec<Lksb> = (0..4_000).map(|_| Lksb::new(true)).collect();
    waiters.iter().for_each(|waiter| lock(&connection, waiter, name(b"r")));
    connection.unlock(&holder, LockFlags::empty()).expect("held");
    assert!(waiters.iter().all(|waiter| waiter.mode().is_none() && waiter.token() != 0));
}

#[test]
fn leaving_waits_for_the_callback_of_a_lock_that_has_just_ended() {
    let (entered, is_in) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let connection = connect_told(move |_, which| {
        if which == Which::Unlock {
            entered.send(()).expect("the test waits");
            may_go.lock().expect("one callback").recv().expect("the test says so");
        }
    });
    let lksb = Lksb::new(());
    lock(&connection, &lksb, name(b"r"));
    thread::scope(|scope| {
        scope.spawn(|| connection.unlock(&lksb, LockFlags::empty()).expect("held"));
        is_in.recv().expect("the callback runs");
        let (left, has_left) = mpsc::channel();
        let leaving = &connection;
        scope.spawn(move || left.send(leaving.disconnect(false).is_ok()));
        let early = has_left.recv_timeout(Duration::from_millis(50));
        assert!(early.is_err(), "left while a callback was running");
        go.send(()).expect("the callback waits");
        assert_eq!(has_left.recv_timeout(Duration::from_secs(30)), Ok(true));
    });
}

#[test]
fn nobody_gets_a_lock_in_a_group_that_is_being_left() {
    let connection = connect_told(|_, _| ());
    let (begun, has_begun) = mpsc::channel();
    thread::scope(|scope| {
        let locking = scope.spawn(|| {
            let mut locks = Vec::new();
            for number in 0_u32.. {
                let lksb = Lksb::new(());
                let name = number.to_string();
                let name = ResourceName::new(name.as_bytes()).expect("a legal name");
                match connection.lock(Mode::EX, &lksb, LockFlags::empty(), name) {
                    Ok(()) => locks.push(lksb),
                    Err(errno) => {
                        assert_eq!(errno, Errno::EINVAL);
                        return locks;
                    }
                }
                if number == 1_000 {
                    begun.send(()).expect("the test waits");
                }
            }
            locks
        });
        has_begun.recv().expect("locks are taken");
        connection.disconnect(false).expect("left");
        let locks = locking.join().expect("no panic");
        assert!(locks.iter().all(|lksb| lksb.lock_id() == 0), "a lock is held in no group");
    });
}

#[test]
fn a_handler_that_panics_takes_no_callback_from_others() {
    let basts = Arc::new(AtomicUsize::new(0));
    let connection = connect_told({
        let basts = Arc::clone(&basts);
        move |_, which| {
            let first = which == Which::Blocking && basts.fetch_add(1, Ordering::Relaxed) == 0;
            assert!(!first, "the bug of a handler");
        }
    });
    let holders = [(); 3].map(Lksb::new);
    for holder in &holders {
        connection.lock(Mode::PR, holder, LockFlags::empty(), name(b"r")).expect("submitted");
    }
    let writer = Lksb::new(());
    let request = AssertUnwindSafe(|| lock(&connection, &writer, name(b"r")));
    assert!(catch_unwind(request).is_err(), "the panic reaches who caused the callback");
    assert_eq!(basts.load(Ordering::Relaxed), 3);
    for holder in &holders {
        connection.unlock(holder, LockFlags::empty()).expect("held");
        assert_eq!(holder.mode(), None, "its unlock AST came");
    }
    assert_eq!(writer.mode(), Some(Mode::EX));
}

#[test]
fn a_block_without_a_lock_that_is_abandoned_serves_the_next_lock() {
    let asts = Arc::new(AtomicUsize::new(0));
    let connection = connect_told({
        let asts = Arc::clone(&asts);
        move |_, _| {
            asts.fetch_add(1, Ordering::Relaxed);
        }
    });
    let lksb = Lksb::new(());
    lock(&connection, &lksb, name(b"r"));
    connection.unlock(&lksb, LockFlags::empty()).expect("held");
    assert_eq!(connection.abandon(&lksb), Err(Errno::ENOENT));
    lock(&connection, &lksb, name(b"r"));
    assert_eq!(asts.load(Ordering::Relaxed), 3);
}
