//! The blocking forms of lock, convert and unlock.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dlm::Mode::{EX, NL, PR};
use dlm::{Errno, LockFlags, Mode};

use super::Setup;
use super::group::PATIENCE;
use super::setup::VERSION;
use crate::{BlockedLock, HeldLock, LockClient, LockError};

/// Long enough for a wait to be a wait.
const SHORT: Duration = Duration::from_millis(20);

impl Setup {
    pub(super) fn client(&self) -> LockClient {
        self.client_with(|_| ())
    }

    pub(super) fn client_with(
        &self,
        blocking: impl Fn(&BlockedLock<'_>) + Send + Sync + 'static,
    ) -> LockClient {
        let label = Some(self.label.as_str());
        LockClient::connect(&self.glue, label, "", "client", VERSION, blocking, Box::new(|_| ()))
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A lock that nobody is in the way of, or soon nobody: an unlock whose outcome nobody waited for may
/// still be on its way.
#[track_caller]
pub(super) fn comes_free(client: &LockClient, mode: Mode) -> HeldLock {
    client.lock("r", mode).wait_timeout(PATIENCE).expect("the resource comes free")
}

/// What a request with `NOQUEUE` says.
pub(super) fn attempt(client: &LockClient, mode: Mode) -> Result<HeldLock, Errno> {
    client.lock("r", mode).flags(LockFlags::NOQUEUE).wait().map_err(|error| error.errno())
}

pub fn a_blocking_lock_waits_for_the_holder(setup: &Setup) {
    let client = setup.client();
    let holder = client.lock("r", EX).wait().expect("free");
    let (started, has_started) = channel();
    let other = client.clone();
    let waiter = thread::spawn(move || {
        started.send(()).expect("listened to");
        other.lock("r", EX).wait().map(|held| held.mode())
    });
    has_started.recv().expect("started");
    holder.unlock().wait().expect("held");
    assert_eq!(waiter.join().expect("no panic"), Ok(Some(EX)));
}

pub fn a_refused_request_names_what_was_wanted(setup: &Setup) {
    let client = setup.client();
    let _holder = client.lock("shelf 7", EX).wait().expect("free");
    let error =
        client.lock("shelf 7", PR).flags(LockFlags::NOQUEUE).wait().expect_err("held in EX");
    assert_eq!(error.errno(), Errno::EAGAIN);
    assert_eq!(
        error.to_string(),
        "cannot lock \"shelf 7\" of group \"client\" in PR: the lock would have to wait (EAGAIN 11)"
    );
}

pub fn a_name_that_cannot_be_one_is_refused(setup: &Setup) {
    let client = setup.client();
    for name in [&[b'n'; 65][..], b""] {
        let error = client.lock(name, EX).wait().expect_err("not 1 to 64 bytes");
        assert!(matches!(error, LockError::Name { .. }));
        assert_eq!(error.errno(), Errno::EINVAL);
    }
}

pub fn a_held_lock_converts_and_says_its_mode(setup: &Setup) {
    let client = setup.client();
    let mut held = client.lock("r", PR).wait().expect("free");
    assert_eq!((held.mode(), held.name()), (Some(PR), &b"r"[..]));
    held.convert(EX).wait().expect("alone");
    assert_eq!(held.mode(), Some(EX));
    assert_eq!(attempt(&client, PR).err(), Some(Errno::EAGAIN));
    held.convert(NL).wait().expect("down");
    drop(attempt(&client, EX).expect("NL is in nobody's way"));
}

pub fn a_refused_conversion_keeps_the_mode(setup: &Setup) {
    let client = setup.client();
    let mut held = client.lock("r", PR).wait().expect("free");
    let _other = client.lock("r", PR).wait().expect("shared");
    let error = held.convert(EX).flags(LockFlags::NOQUEUE).wait().expect_err("shared");
    assert_eq!(error.errno(), Errno::EAGAIN);
    assert!(error.to_string().starts_with("cannot convert \"r\" of group \"client\" to EX"));
    assert_eq!(held.mode(), Some(PR));
    held.unlock().wait().expect("held");
}

pub fn a_dropped_lock_is_unlocked_even_by_a_panic(setup: &Setup) {
    let client = setup.client();
    drop(client.lock("r", EX).wait().expect("free"));
    let other = client.clone();
    let panicked = thread::spawn(move || {
        let _held = comes_free(&other, EX);
        std::panic::resume_unwind(Box::new("as intended"));
    });
    assert!(panicked.join().is_err());
    drop(comes_free(&client, EX));
}

pub fn a_value_is_written_through_a_held_lock(setup: &Setup) {
    let client = setup.client();
    let keeper = client.lock("r", NL).wait().expect("free");
    let writer = client.lock("r", EX).flags(LockFlags::VALBLK).wait().expect("free");
    assert_eq!(writer.set_lvb(&[7; 65]), Err(Errno::E2BIG));
    writer.set_lvb(b"value").expect("short");
    writer.unlock().wait().expect("held");
    let reader = client.lock("r", PR).flags(LockFlags::VALBLK).wait().expect("free");
    assert_eq!(&reader.lvb()[..6], b"value\0");
    assert!(reader.lvb_valid());
    drop(keeper);
}

pub fn a_value_set_without_valblk_is_written_all_the_same(setup: &Setup) {
    let client = setup.client();
    let _keeper = client.lock("r", NL).wait().expect("free");
    let mut writer = client.lock("r", EX).wait().expect("free");
    writer.set_lvb(b"value").expect("short");
    writer.convert(PR).wait().expect("down");
    let reader = client.lock("r", PR).flags(LockFlags::VALBLK).wait().expect("shared");
    assert_eq!(&reader.lvb()[..6], b"value\0");
}

pub fn a_lock_that_is_not_granted_in_time_is_an_error_and_leaves_nothing(setup: &Setup) {
    let client = setup.client();
    let holder = client.lock("r", PR).wait().expect("free");
    for timeout in [Duration::ZERO, SHORT] {
        let error = client.lock("r", EX).wait_timeout(timeout).expect_err("held in PR");
        assert!(matches!(error, LockError::TimedOut { .. }), "{error}");
        assert_eq!(error.errno(), Errno::ETIMEDOUT);
    }
    // A request that still waited would hold back this one, or be granted after the unlock.
    drop(attempt(&client, PR).expect("nothing waits"));
    holder.unlock().wait().expect("held");
    drop(comes_free(&client, EX));
}

pub fn a_free_lock_is_granted_within_any_timeout(setup: &Setup) {
    let client = setup.client();
    for timeout in [Duration::ZERO, SHORT, Duration::MAX] {
        let held = client.lock("r", EX).wait_timeout(timeout);
        // No time at all may be too little for a stack that asks another node.
        match held {
            Ok(held) => held.unlock().wait().expect("held"),
            Err(error) => assert!(timeout.is_zero(), "{error}"),
        }
    }
}

pub fn a_conversion_that_is_not_granted_in_time_keeps_the_mode(setup: &Setup) {
    let client = setup.client();
    let mut held = client.lock("r", PR).wait().expect("free");
    let other = client.lock("r", PR).wait().expect("shared");
    let error = held.convert(EX).wait_timeout(SHORT).expect_err("shared");
    assert!(matches!(error, LockError::TimedOut { .. }), "{error}");
    assert_eq!(held.mode(), Some(PR));
    other.unlock().wait().expect("held");
    held.convert(EX).wait_timeout(PATIENCE).expect("alone");
    assert_eq!(held.mode(), Some(EX));
}

pub fn the_blocking_handler_finds_the_state_of_the_lock(setup: &Setup) {
    let (said, says) = channel();
    let said = Mutex::new(said);
    let client = setup.client_with(move |blocked| {
        let heard = (blocked.state::<String>().cloned(), blocked.mode(), blocked.level());
        assert_eq!(blocked.name(), b"r");
        said.lock().expect("no panic").send(heard).expect("listened to");
    });
    let _held = client.lock("r", EX).state("mine".to_owned()).wait().expect("free");
    let waited = client.lock("r", PR).wait_timeout(SHORT);
    assert!(waited.is_err());
    let heard = says.recv_timeout(PATIENCE).expect("a blocking callback");
    assert_eq!(heard, (Some("mine".to_owned()), Some(EX), PR));
}

pub fn the_blocking_handler_may_drop_the_lock(setup: &Setup) {
    let held = Arc::new(Mutex::new(None::<HeldLock>));
    let given_up = held.clone();
    let client = setup.client_with(move |_| drop(given_up.lock().expect("no panic").take()));
    *held.lock().expect("no panic") = Some(client.lock("r", EX).wait().expect("free"));
    let next = client.lock("r", PR).wait_timeout(PATIENCE).expect("given up");
    assert_eq!(next.mode(), Some(PR));
    assert!(held.lock().expect("no panic").is_none());
}

pub fn a_client_with_locks_cannot_leave(setup: &Setup) {
    let client = setup.client();
    let held = client.lock("r", EX).wait().expect("free");
    assert_eq!(client.disconnect(false).map_err(|e| e.errno()), Err(Errno::EBUSY));
    assert_eq!(held.mode(), Some(EX));
    held.unlock().wait().expect("held");
    client.disconnect(false).expect("no locks");
    assert_eq!(client.lock("r", EX).wait().map_err(|e| e.errno()).err(), Some(Errno::EINVAL));
    assert_eq!(client.disconnect(false).map_err(|e| e.errno()), Err(Errno::EINVAL));
}

pub fn threads_that_lose_patience_at_random_exclude_each_other_and_leak_nothing(setup: &Setup) {
    let client = setup.client();
    let inside = Mutex::new(());
    thread::scope(|scope| {
        for seed in 0..4_u64 {
            let (client, inside) = (client.clone(), &inside);
            scope.spawn(move || {
                for turn in 0..200 {
                    let micros = (seed * 7 + turn * 13) % 40;
                    let timeout = Duration::from_micros(micros);
                    match client.lock("r", EX).wait_timeout(timeout) {
                        Ok(held) => {
                            let alone = inside.try_lock();
                            assert!(alone.is_ok(), "two hold EX");
                            drop(alone);
                            drop(held);
                        }
                        Err(error) => assert_eq!(error.errno(), Errno::ETIMEDOUT),
                    }
                }
            });
        }
    });
    comes_free(&client, EX).unlock().wait().expect("held");
}
