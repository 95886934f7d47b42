//! The behaviours that cached locks have on every stack, as tests for a stack to run.
//!
//! A stack's test file says how to have three members of one group:
//!
//! ```no_run
//! # fn three_members() -> Vec<stackglue_dlmglue::Cluster> { unreachable!() }
//! stackglue_dlmglue::conformance_suite!(three_members);
//! # fn main() {}
//! ```
//!
//! That makes one test per behaviour. The members may be the same for all of them: each behaviour
//! has names of its own.

#![expect(missing_docs, reason = "a behaviour's name is its documentation")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Cluster, Coherent, Error, ErrorKind, Level};

/// How long a stack may take for anything before the suite gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for a request to reach a holder.
const MOMENT: Duration = Duration::from_millis(50);

/// Makes one test per behaviour: takes a function that returns three members of one group.
#[macro_export]
macro_rules! conformance_suite {
    ($members:expr) => {
        $crate::conformance_suite! { $members;
            a_lock_is_kept_by_the_node_that_had_it_and_goes_when_another_one_asks,
            users_of_all_nodes_exclude_each_other,
            readers_of_all_nodes_share,
            a_writer_that_gives_way_to_a_reader_may_go_on_reading,
            a_value_that_was_never_written_reads_as_the_initial_one,
            every_node_reads_what_was_written_last,
            a_guard_that_was_not_written_through_changes_nothing,
            a_token_grows_when_the_lock_changes_hands_and_stays_while_it_is_cached,
            a_token_grows_although_every_node_has_forgotten_the_name,
            who_does_not_wait_is_turned_away_while_another_node_uses_the_lock,
            a_lock_that_is_not_had_in_time_is_had_later,
            a_future_has_the_lock_when_it_is_free_and_leaves_nothing_when_it_is_dropped,
            readers_of_two_nodes_who_both_go_on_to_write_both_do,
            a_writer_that_goes_on_as_a_reader_lets_other_readers_in,
            the_hook_runs_before_another_node_has_the_lock,
            users_of_one_node_do_not_keep_another_one_waiting_for_ever,
            a_node_that_comes_last_is_served_among_those_that_pass_the_lock_on,
            a_lock_that_is_given_back_is_had_again,
            a_cached_value_is_loaded_anew_when_another_node_has_changed_it,
            a_store_that_fails_leaves_no_value_in_any_cache,
            a_name_that_the_locks_use_themselves_is_refused,
        }
    };
    ($members:expr; $($behaviour:ident,)+) => {
        $(
            #[test]
            fn $behaviour() {
                $crate::conformance::$behaviour(&($members)());
            }
        )+
    };
}

pub fn a_lock_is_kept_by_the_node_that_had_it_and_goes_when_another_one_asks(members: &[Cluster]) {
    let locks = [0, 1].map(|member: usize| members[member].lock("kept").expect("a name"));
    drop(locks[0].lock().expect("free"));
    assert_eq!((locks[0].cached(), locks[1].cached()), (Level::EX, Level::NL));
    drop(locks[1].lock().expect("given back"));
    assert_eq!((locks[0].cached(), locks[1].cached()), (Level::NL, Level::EX));
}

pub fn users_of_all_nodes_exclude_each_other(members: &[Cluster]) {
    const ROUNDS: u64 = 200;
    let (inside, count) = (AtomicU32::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for member in members.iter().chain(members) {
            scope.spawn(|| {
                let lock = member.lock("excluded").expect("a name");
                for _ in 0..ROUNDS {
                    let _guard = lock.lock().expect("granted in the end");
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two users at once");
                    count.fetch_add(1, Ordering::Relaxed);
                    inside.fetch_sub(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(count.into_inner(), ROUNDS * 2 * members.len() as u64);
}

pub fn readers_of_all_nodes_share(members: &[Cluster]) {
    let values: Vec<_> =
        members.iter().map(|member| member.value("shared", 5_u8).expect("a name")).collect();
    let guards: Vec<_> = values.iter().map(|value| value.read().expect("shared")).collect();
    assert!(guards.iter().all(|guard| **guard == 5));
    let refused = values[0].try_write_for(MOMENT).map(drop).expect_err("others read");
    assert_eq!(refused.kind(), &ErrorKind::TimedOut);
    drop(guards);
    drop(values[0].write().expect("nobody reads"));
}

pub fn a_writer_that_gives_way_to_a_reader_may_go_on_reading(members: &[Cluster]) {
    let values =
        [0, 1].map(|member: usize| members[member].value("kept pr", 0_u8).expect("a name"));
    *values[0].write().expect("free") = 1;
    assert_eq!(*values[1].read().expect("given way"), 1);
    assert_eq!((values[0].cached(), values[1].cached()), (Level::PR, Level::PR));
}

pub fn a_value_that_was_never_written_reads_as_the_initial_one(members: &[Cluster]) {
    let value = members[0].value("initial", 7_u64).expect("a name");
    let guard = value.read().expect("free");
    assert_eq!((*guard, guard.version()), (7, None));
}

pub fn every_node_reads_what_was_written_last(members: &[Cluster]) {
    let values: Vec<_> =
        members.iter().map(|member| member.value("last", 0_u64).expect("a name")).collect();
    let mut versions = Vec::new();
    for round in 0..30 {
        let writer = &values[round % values.len()];
        let mut guard = writer.write().expect("granted in the end");
        assert_eq!(*guard, round as u64);
        *guard += 1;
        drop(guard);
        for value in &values {
            let guard = value.read().expect("granted in the end");
            assert_eq!(*guard, round as u64 + 1);
            versions.push(guard.version().expect("written"));
        }
    }
    versions.dedup();
    assert_eq!(versions.len(), 30, "each write has one version, on every node");
}

pub fn a_guard_that_was_not_written_through_changes_nothing(members: &[Cluster]) {
    let values =
        [0, 1].map(|member: usize| members[member].value("unchanged", 1_u8).expect("a name"));
    *values[0].write().expect("free") = 2;
    let version = values[0].read().expect("cached").version();
    drop(values[1].write().expect("given back"));
    let guard = values[0].read().expect("given way");
    assert_eq!((*guard, guard.version()), (2, version));
}

pub fn a_token_grows_when_the_lock_changes_hands_and_stays_while_it_is_cached(members: &[Cluster]) {
    let locks: Vec<_> =
        members.iter().map(|member| member.lock("token").expect("a name")).collect();
    let mut last = 0;
    for round in 0..30 {
        let lock = &locks[round % locks.len()];
        let token = lock.lock().expect("granted in the end").token();
        assert!(token > last, "{token} after {last}");
        assert_eq!(lock.lock().expect("cached").token(), token);
        last = token;
    }
}

pub fn a_token_grows_although_every_node_has_forgotten_the_name(members: &[Cluster]) {
    let mut last = 0;
    for round in 0..6 {
        let member = &members[round % 2];
        let token = member.lock("forgotten").expect("a name").lock().expect("free").token();
        assert!(token > last, "{token} after {last}");
        last = token;
        member.release_unused();
    }
}

pub fn who_does_not_wait_is_turned_away_while_another_node_uses_the_lock(members: &[Cluster]) {
    let locks = [0, 1].map(|member: usize| members[member].lock("tried").expect("a name"));
    let guard = locks[0].try_lock().expect("free");
    let refused = locks[1].try_lock().map(drop).expect_err("in use");
    assert_eq!(refused.kind(), &ErrorKind::WouldWait);
    let here = locks[0].try_lock().map(drop).expect_err("in use");
    assert_eq!(here.kind(), &ErrorKind::WouldWait);
    assert_eq!(here.holders().len(), 1, "{here}");
    drop(guard);
    drop(locks[1].lock().expect("given back"));
    drop(locks[1].try_lock().expect("cached"));
}

pub fn a_lock_that_is_not_had_in_time_is_had_later(members: &[Cluster]) {
    let locks = [0, 1].map(|member: usize| members[member].lock("timed").expect("a name"));
    let guard = locks[0].lock().expect("free");
    for lock in &locks {
        let late = lock.try_lock_for(MOMENT).map(drop).expect_err("in use");
        assert_eq!(late.kind(), &ErrorKind::TimedOut);
    }
    drop(guard);
    drop(locks[1].try_lock_for(PATIENCE).expect("given back"));
    drop(locks[0].try_lock_for(PATIENCE).expect("given back"));
}

pub fn a_future_has_the_lock_when_it_is_free_and_leaves_nothing_when_it_is_dropped(
    members: &[Cluster],
) {
    let locks = [0, 1].map(|member: usize| members[member].lock("future").expect("a name"));
    let guard = block_on(locks[0].lock_async()).expect("free");
    let mut late = Box::pin(locks[1].lock_async());
    assert!(late.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(late);
    drop(guard);
    drop(block_on(locks[0].lock_async()).expect("nobody waits"));
    drop(block_on(locks[1].lock_async()).expect("given back"));
}

pub fn readers_of_two_nodes_who_both_go_on_to_write_both_do(members: &[Cluster]) {
    let values =
        [0, 1].map(|member: usize| members[member].value("upgrade", 0_u8).expect("a name"));
    let readers = values.each_ref().map(|value| value.read().expect("shared"));
    let alone: Vec<bool> = thread::scope(|scope| {
        let threads = readers.map(|reader| {
            scope.spawn(|| {
                let (mut guard, unchanged) = reader.upgrade().expect("granted in the end");
                *guard += 1;
                unchanged
            })
        });
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(*values[0].read().expect("free"), 2);
    assert_ne!(alone[0], alone[1], "the second one learns that the first has written");
}

pub fn a_writer_that_goes_on_as_a_reader_lets_other_readers_in(members: &[Cluster]) {
    let values = [0, 1].map(|member: usize| members[member].value("down", 0_u8).expect("a name"));
    let mut guard = values[0].write().expect("free");
    *guard = 9;
    let reader = guard.downgrade();
    assert_eq!((*reader, *values[0].read().expect("shared here")), (9, 9));
    assert_eq!(*values[1].try_read_for(PATIENCE).expect("shared elsewhere"), 9);
    let refused = values[1].try_write_for(MOMENT).map(drop).expect_err("it reads");
    assert_eq!(refused.kind(), &ErrorKind::TimedOut);
    drop(reader);
    drop(values[1].write().expect("nobody reads"));
}

pub fn the_hook_runs_before_another_node_has_the_lock(members: &[Cluster]) {
    let locks = [0, 1].map(|member: usize| members[member].lock("hook").expect("a name"));
    let written = Arc::new(AtomicU32::new(0));
    let hook = {
        let written = Arc::clone(&written);
        move || {
            thread::sleep(MOMENT);
            written.fetch_add(1, Ordering::SeqCst);
        }
    };
    assert!(locks[0].before_giving_up(hook));
    assert!(!locks[0].before_giving_up(|| ()), "one hook only");
    for round in 1..=2 {
        drop(locks[0].lock().expect("granted in the end"));
        assert_eq!(written.load(Ordering::SeqCst), round - 1, "nobody has asked");
        let _guard = locks[1].lock().expect("given back");
        assert_eq!(written.load(Ordering::SeqCst), round);
    }
}

pub fn users_of_one_node_do_not_keep_another_one_waiting_for_ever(members: &[Cluster]) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let lock = members[0].lock("streak").expect("a name");
                while !stop.load(Ordering::Relaxed) {
                    drop(lock.lock().expect("granted in the end"));
                }
            });
        }
        let lock = members[1].lock("streak").expect("a name");
        let had: Result<Vec<_>, Error> =
            (0..20).map(|_| lock.try_lock_for(PATIENCE).map(drop)).collect();
        stop.store(true, Ordering::Relaxed);
        had.expect("granted in the end");
    });
}

pub fn a_node_that_comes_last_is_served_among_those_that_pass_the_lock_on(members: &[Cluster]) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for member in &members[..2] {
            scope.spawn(|| {
                let lock = member.lock("passed on").expect("a name");
                while !stop.load(Ordering::Relaxed) {
                    let guard = lock.lock().expect("granted in the end");
                    while !guard.is_wanted() && !stop.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                }
            });
        }
        // By now both have it in turn.
        thread::sleep(MOMENT);
        let had = members[2].lock("passed on").expect("a name").try_lock_for(PATIENCE).map(drop);
        stop.store(true, Ordering::Relaxed);
        had.expect("granted in the end");
    });
}

pub fn a_lock_that_is_given_back_is_had_again(members: &[Cluster]) {
    for member in &members[..2] {
        let lock = member.lock("given back").expect("a name");
        drop(lock.lock().expect("granted in the end"));
        member.release_unused();
        assert_eq!(lock.cached(), Level::EX, "somebody has a handle of it");
        drop(lock);
        let deadline = Instant::now() + PATIENCE;
        while member.release_unused() == 0 {
            assert!(Instant::now() < deadline, "something keeps it");
            thread::yield_now();
        }
        drop(member.lock("given back").expect("a name").lock().expect("free"));
    }
}

pub fn a_cached_value_is_loaded_anew_when_another_node_has_changed_it(members: &[Cluster]) {
    let store = AtomicU64::new(1);
    let loads = AtomicU32::new(0);
    let load = |_: &u8| {
        loads.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Error>(store.load(Ordering::SeqCst))
    };
    let caches = [0, 1]
        .map(|member: usize| Coherent::new(&members[member], |key| format!("coherent {key}")));
    let write = |cache: &Coherent<u8, u64>, value| {
        cache
            .update(&1, |token| {
                assert_ne!(token, 0);
                store.store(value, Ordering::SeqCst);
                Ok::<_, Error>(value)
            })
            .expect("granted in the end");
    };
    let read = |cache: &Coherent<u8, u64>| *cache.get(&1, load).expect("granted in the end");
    let loaded = || loads.swap(0, Ordering::SeqCst);
    assert_eq!((read(&caches[0]), read(&caches[0]), loaded()), (1, 1, 1));
    assert_eq!((read(&caches[1]), read(&caches[0]), loaded()), (1, 1, 1));
    write(&caches[0], 2);
    assert_eq!((read(&caches[0]), loaded()), (2, 0), "the writer knows what it wrote");
    assert_eq!((read(&caches[1]), read(&caches[1]), loaded()), (2, 2, 1));
    // Given up and had again, but nobody has written.
    drop(members[1].lock("coherent 1").expect("a name").lock().expect("granted in the end"));
    assert_eq!((read(&caches[0]), read(&caches[1]), loaded()), (2, 2, 0));
    write(&caches[1], 3);
    write(&caches[1], 4);
    assert_eq!((read(&caches[0]), loaded()), (4, 1));
}

pub fn a_store_that_fails_leaves_no_value_in_any_cache(members: &[Cluster]) {
    let caches: Vec<Coherent<u8, u8>> = members[..2]
        .iter()
        .map(|member| Coherent::new(member, |key| format!("failing {key}")))
        .collect();
    let load = |value| move |_: &u8| Ok::<_, Error>(value);
    for cache in &caches {
        assert_eq!(*cache.get(&1, load(1)).expect("granted in the end"), 1);
    }
    let failed = caches[0].update(&1, |_| Err::<u8, _>(Failed::Store));
    assert!(matches!(failed, Err(Failed::Store)));
    for cache in &caches {
        assert_eq!(*cache.get(&1, load(2)).expect("granted in the end"), 2, "loaded anew");
    }
}

#[derive(Debug)]
enum Failed {
    Store,
    Lock,
}

impl From<Error> for Failed {
    fn from(_: Error) -> Failed {
        Failed::Lock
    }
}

pub fn a_name_that_the_locks_use_themselves_is_refused(members: &[Cluster]) {
    let refused = members[0].lock(".stackglue.epoch").map(drop).expect_err("taken");
    assert_eq!(refused.kind(), &ErrorKind::Reserved);
    let empty = members[0].lock("").map(drop).expect_err("no name");
    assert!(matches!(empty.kind(), ErrorKind::Name(_)), "{empty}");
}

/// Polls a future until it is ready, on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => {
                assert!(Instant::now() < deadline, "nobody woke the future");
                thread::park_timeout(PATIENCE);
            }
        }
    }
}
