//! Unlock and cancel: one outcome for each operation.
//!
//! Numbers are those of `docs/protocol/conformance-lock-model.md`.

use std::sync::Barrier;
use std::thread;

use dlm::Mode::{EX, NL, PR};
use dlm::{Errno, LockFlags};

use super::Setup;
use super::group::{Lock, Outcome, Resource};

const NONE: LockFlags = LockFlags::empty();

/// Lock model: 162.
pub fn an_unlock_completes_exactly_once(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let _keeper = r.granted(NL);
    let lock = r.granted(EX);
    lock.unlock();
    lock.waits();
}

/// Lock model: 163, 226.
pub fn a_second_unlock_is_an_error(setup: &Setup) {
    let group = setup.group();
    let lock = group.resource("r").granted(EX);
    lock.unlock();
    let second = lock.call_unlock(NONE);
    assert!(matches!(second, Err(Errno::ENOENT | Errno::EINVAL)), "{second:?}");
}

/// Lock model: 171.
pub fn a_waiting_request_can_be_cancelled_and_is_gone(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(EX);
    let waiter = r.waiting(EX);
    waiter.cancel();
    assert_eq!(waiter.lksb.mode(), None);
    holder.unlock();
    waiter.waits();
    assert!(waiter.call(PR, LockFlags::CONVERT).is_err());
    r.granted(EX);
}

/// Lock model: 172.
pub fn a_waiting_conversion_can_be_cancelled_and_keeps_its_old_mode(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (a, b) = (r.granted(PR), r.granted(PR));
    a.convert(EX, NONE);
    a.waits();
    a.cancel();
    assert_eq!(a.lksb.mode(), Some(PR));
    b.unlock();
    a.waits();
    a.converts(EX, NONE);
}

/// Lock model: 175.
pub fn a_conversion_after_a_cancelled_one_can_be_cancelled_too(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (a, _b) = (r.granted(PR), r.granted(PR));
    for _ in 0..3 {
        a.convert(EX, NONE);
        a.waits();
        a.cancel();
    }
}

/// Lock model: 173.
pub fn cancelling_a_granted_lock_gives_no_callback_and_keeps_it(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let lock = r.granted(EX);
    assert_eq!(lock.call_unlock(LockFlags::CANCEL), Ok(()));
    lock.waits();
    assert_eq!(lock.lksb.mode(), Some(EX));
    assert_eq!(r.attempt(EX, LockFlags::NOQUEUE).err(), Some(Errno::EAGAIN));
    lock.unlock();
}

/// Lock model: 174.
pub fn cancelling_after_a_cancel_that_won_is_einval(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let (a, _b) = (r.granted(PR), r.granted(PR));
        a.convert(EX, NONE);
        a.waits();
        a.cancel();
        assert_eq!(a.call_unlock(LockFlags::CANCEL), Err(Errno::EINVAL));
    }
}

/// Lock model: 164.
pub fn a_waiting_request_can_be_unlocked(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let holder = r.granted(EX);
        let waiter = r.waiting(EX);
        waiter.unlock();
        holder.unlock();
        r.granted(EX);
        waiter.waits();
    }
}

/// Lock model: 165.
pub fn a_converting_lock_can_be_unlocked_and_ends_once(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let (a, b) = (r.granted(PR), r.granted(PR));
        a.convert(EX, NONE);
        a.waits();
        a.unlock();
        b.converts(EX, NONE);
        a.waits();
    }
}

/// Lock model: 184.
pub fn flags_that_mean_nothing_in_an_unlock_call_are_einval(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let lock = group.resource("r").granted(EX);
        let table = [
            LockFlags::CANCEL | LockFlags::FORCEUNLOCK,
            LockFlags::NOQUEUE,
            LockFlags::CONVERT,
            LockFlags::PERSISTENT,
        ];
        for flags in table {
            assert_eq!(lock.call_unlock(flags), Err(Errno::EINVAL), "{flags:?}");
        }
        lock.unlock();
    }
}

/// Lock model: 180, 181.
pub fn a_cancel_that_races_a_grant_gives_one_outcome(setup: &Setup) {
    let group = setup.group();
    for round in 0..ROUNDS {
        let r = group.resource(format!("request {round}"));
        let holder = r.granted(EX);
        let waiter = r.new_lock();
        waiter.request(EX, NONE);
        match race(&r, &holder, &waiter) {
            Outcome::Granted(mode, _) => assert_eq!((mode, waiter.lksb.mode()), (EX, Some(EX))),
            outcome => assert_eq!((outcome, waiter.lksb.mode()), (Outcome::Cancelled, None)),
        }
    }
}

/// Lock model: 177, 179.
pub fn a_cancel_that_races_the_grant_of_a_conversion_gives_one_outcome(setup: &Setup) {
    let group = setup.group();
    for round in 0..ROUNDS {
        let r = group.resource(format!("conversion {round}"));
        let (holder, converter) = (r.granted(PR), r.granted(PR));
        converter.convert(EX, NONE);
        let mode = match race(&r, &holder, &converter) {
            Outcome::Granted(mode, _) => {
                assert_eq!(mode, EX);
                EX
            }
            outcome => {
                assert_eq!(outcome, Outcome::Cancelled);
                PR
            }
        };
        assert_eq!(converter.lksb.mode(), Some(mode));
    }
}

/// Unlocks `holder` and cancels `waiter` at the same time; the one outcome of `waiter`.
fn race(r: &Resource<'_>, holder: &Lock<'_>, waiter: &Lock<'_>) -> Outcome {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            holder.unlock();
        });
        start.wait();
        let cancelled = waiter.call_unlock(LockFlags::CANCEL);
        assert!(matches!(cancelled, Ok(()) | Err(Errno::EINVAL)), "{cancelled:?}");
    });
    let outcome = waiter.outcome().1;
    // Keeps the resource in existence while the suite makes sure that nothing else comes.
    let keeper = r.new_lock();
    keeper.request(NL, LockFlags::EXPEDITE);
    keeper.is_granted(NL);
    waiter.waits();
    outcome
}

/// Enough that both sides win in some of them, where the stack grants at once.
const ROUNDS: usize = 300;
