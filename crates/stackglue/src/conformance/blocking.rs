//! Blocking callbacks: who is asked to give way, for which mode, how often.
//!
//! Numbers are those of `docs/protocol/conformance-lock-model.md`.

use dlm::Mode::{CW, EX, NL, PR, PW};
use dlm::{Errno, LockFlags};

use super::Setup;

const NONE: LockFlags = LockFlags::empty();

/// Lock model: 76.
pub fn a_blocked_holder_is_told_the_mode_that_is_wanted(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(EX);
    r.waiting(PR);
    holder.is_blocking(PR);
}

/// Lock model: 77-79.
pub fn a_holder_hears_again_only_of_a_higher_mode(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let holder = r.granted(EX);
        r.waiting(PR);
        holder.is_blocking(PR);
        r.waiting(PR);
        holder.is_not_blocking();
        r.waiting(EX);
        holder.is_blocking(EX);
        r.waiting(PR);
        holder.is_not_blocking();
    }
}

/// Lock model: 80.
pub fn a_noqueue_request_disturbs_nobody(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(EX);
    assert_eq!(r.attempt(PR, LockFlags::NOQUEUE).err(), Some(Errno::EAGAIN));
    holder.is_not_blocking();
}

/// Lock model: 81.
pub fn a_noqueue_request_with_noqueuebast_asks_the_holder_to_give_way(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::NOQUEUEBAST) {
        let r = group.resource("r");
        let holder = r.granted(EX);
        let flags = LockFlags::NOQUEUE | LockFlags::NOQUEUEBAST;
        assert_eq!(r.attempt(PR, flags).err(), Some(Errno::EAGAIN));
        holder.is_blocking(PR);
    }
}

/// Lock model: 84.
pub fn a_failing_noqueuebast_conversion_does_not_ask_itself(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::NOQUEUEBAST) {
        let r = group.resource("r");
        let (converter, other) = (r.granted(PR), r.granted(PR));
        let flags = LockFlags::CONVERT | LockFlags::NOQUEUE | LockFlags::NOQUEUEBAST;
        assert_eq!(converter.attempt(EX, flags), Err(Errno::EAGAIN));
        other.is_blocking(EX);
        converter.is_not_blocking();
    }
}

/// Lock model: 82.
pub fn a_converting_holder_hears_of_a_noqueuebast_request(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::NOQUEUEBAST) {
        let r = group.resource("r");
        let (a, _b) = (r.granted(PR), r.granted(PR));
        a.convert(EX, NONE);
        a.waits();
        let flags = LockFlags::NOQUEUE | LockFlags::NOQUEUEBAST;
        assert_eq!(r.attempt(EX, flags).err(), Some(Errno::EAGAIN));
        a.is_blocking(EX);
    }
}

/// Lock model: 83.
pub fn a_converting_holder_does_not_hear_of_a_request_that_queues(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let (a, _b) = (r.granted(PR), r.granted(PR));
        a.convert(EX, NONE);
        a.waits();
        r.waiting(EX);
        a.is_not_blocking();
    }
}

/// Lock model: 85.
pub fn compatible_locks_do_not_disturb_each_other(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (null, reader) = (r.granted(NL), r.granted(PR));
    r.granted(PR);
    null.is_not_blocking();
    reader.is_not_blocking();
}

/// Lock model: 90.
pub fn a_null_holder_is_never_asked_to_give_way(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let null = r.granted(NL);
    let holder = r.granted(EX);
    r.waiting(EX);
    holder.is_blocking(EX);
    null.is_not_blocking();
}

/// Lock model: 86.
pub fn every_holder_in_the_way_is_told(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (a, b) = (r.granted(PR), r.granted(PR));
    r.waiting(EX);
    a.is_blocking(EX);
    b.is_blocking(EX);
}

/// Lock model: 86, 87.
pub fn protected_readers_and_concurrent_writers_are_in_each_others_way(setup: &Setup) {
    let group = setup.group();
    for (held, wanted) in [(PR, CW), (CW, PR)] {
        if group.capabilities.has(&[held, wanted]) {
            let r = group.resource(held.name());
            let (a, b) = (r.granted(held), r.granted(held));
            r.waiting(wanted);
            a.is_blocking(wanted);
            b.is_blocking(wanted);
        }
    }
}

/// Lock model: 89.
pub fn a_conversion_in_the_way_of_a_waiter_hears_of_it_anew(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() && group.capabilities.has(&[PW]) {
        let r = group.resource("r");
        let holder = r.granted(EX);
        r.waiting(PR);
        holder.is_blocking(PR);
        holder.converts(PW, NONE);
        holder.is_blocking(PR);
    }
}

/// Lock model: 88.
pub fn a_down_conversion_still_in_the_way_hears_of_the_mode_it_blocks(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() && group.capabilities.has(&[CW]) {
        let r = group.resource("r");
        let holder = r.granted(EX);
        r.waiting(CW);
        r.waiting(PR);
        holder.forget_blocking();
        holder.converts(PR, NONE);
        holder.is_blocking(CW);
    }
}

pub fn a_waiting_conversion_asks_the_others_to_give_way(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (converter, other) = (r.granted(PR), r.granted(PR));
    converter.convert(EX, NONE);
    other.is_blocking(EX);
    converter.is_not_blocking();
}

/// Lock model: 78, 95.
pub fn two_waiters_of_rising_mode_give_two_blocking_callbacks_in_order(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let holder = r.granted(EX);
        r.new_lock().request(PR, NONE);
        r.new_lock().request(EX, NONE);
        let (first, second) = (holder.is_blocking(PR), holder.is_blocking(EX));
        assert!(first < second);
    }
}
