//! Conversions, and the deadlocks between them.
//!
//! Numbers are those of `docs/protocol/conformance-lock-model.md`.

use dlm::Mode::{CR, CW, EX, NL, PR, PW};
use dlm::{Errno, LockFlags, Mode, StatusFlags};

use super::Setup;

const NONE: LockFlags = LockFlags::empty();

/// Lock model: 39.
pub fn a_null_lock_converts_to_any_mode_and_back_on_a_free_resource(setup: &Setup) {
    let group = setup.group();
    let lock = group.resource("r").granted(NL);
    for &mode in group.capabilities.modes.iter().filter(|mode| **mode != NL) {
        lock.converts(mode, NONE);
        lock.converts(NL, NONE);
    }
}

/// Lock model: 40, 41.
pub fn an_up_conversion_waits_for_the_other_holder_and_keeps_its_mode(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (a, b) = (r.granted(PR), r.granted(PR));
    a.convert(EX, NONE);
    a.waits();
    assert_eq!(a.lksb.mode(), Some(PR));
    assert_eq!(r.attempt(EX, LockFlags::NOQUEUE).err(), Some(Errno::EAGAIN));
    b.unlock();
    a.is_granted(EX);
}

/// Lock model: 42.
pub fn a_lone_holder_converts_up_ahead_of_those_that_wait(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let a = r.granted(PR);
    let waiter = r.waiting(EX);
    a.converts(EX, NONE);
    waiter.waits();
}

/// Lock model: 43, 44.
pub fn a_down_conversion_lets_in_whoever_it_makes_room_for(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let a = r.granted(EX);
    let (reader, writer) = (r.waiting(PR), r.waiting(EX));
    a.converts(PR, NONE);
    reader.is_granted(PR);
    writer.waits();
    reader.unlock();
    a.converts(NL, NONE);
    writer.is_granted(EX);
}

/// Lock model: 45.
pub fn a_conversion_to_the_same_mode_is_granted(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        for &mode in group.capabilities.modes {
            let lock = group.resource(mode.name()).granted(mode);
            lock.converts(mode, NONE);
        }
    }
}

/// Lock model: 50.
pub fn conversions_are_granted_in_the_order_of_the_queue(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let reader = r.granted(PR);
    let (a, b) = (r.granted(NL), r.granted(NL));
    a.convert(EX, NONE);
    b.convert(EX, NONE);
    b.waits();
    reader.unlock();
    a.is_granted(EX);
    b.waits();
    a.converts(NL, NONE);
    b.is_granted(EX);
}

/// Lock model: 46, 47.
pub fn a_quecvt_conversion_waits_its_turn_and_another_one_does_not(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.knows(LockFlags::QUECVT) || !group.capabilities.has(&[CR]) {
        return;
    }
    for (flags, waits) in [(LockFlags::QUECVT, true), (NONE, false)] {
        let r = group.resource(format!("{flags:?}"));
        let a = r.granted(NL);
        let (b, _c) = (r.granted(CR), r.granted(CR));
        b.convert(EX, NONE);
        b.waits();
        a.convert(PR, flags);
        if waits {
            a.waits();
        } else {
            a.is_granted(PR);
        }
    }
}

/// Lock model: 48.
pub fn a_quecvt_conversion_with_nothing_ahead_is_granted(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::QUECVT) {
        group.resource("r").granted(NL).converts(PR, LockFlags::QUECVT);
    }
}

/// Lock model: 49.
pub fn quecvt_is_einval_for_all_but_the_published_pairs(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.knows(LockFlags::QUECVT) {
        return;
    }
    for &from in group.capabilities.modes {
        for &to in group.capabilities.modes {
            let lock = group.resource(format!("{from} {to}")).granted(from);
            let attempt = lock.attempt(to, LockFlags::CONVERT | LockFlags::QUECVT);
            let allowed = from.may_queue_conversion_to(to);
            assert_eq!(attempt, if allowed { Ok(()) } else { Err(Errno::EINVAL) }, "{from} {to}");
        }
    }
}

/// Lock model: 51.
pub fn a_queued_conversion_stays_behind_the_one_ahead_when_the_queue_is_examined(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::QUECVT) {
        let r = group.resource("r");
        let (reader, other) = (r.granted(PR), r.granted(PR));
        let (a, b) = (r.granted(NL), r.granted(NL));
        a.convert(EX, NONE);
        b.convert(PR, LockFlags::QUECVT);
        other.unlock();
        b.waits();
        reader.unlock();
        a.is_granted(EX);
        b.waits();
    }
}

/// Lock model: 52.
pub fn a_headque_conversion_is_granted_first(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::HEADQUE) {
        let r = group.resource("r");
        let reader = r.granted(PR);
        let (tail, head) = (r.granted(NL), r.granted(NL));
        tail.convert(EX, NONE);
        head.convert(EX, LockFlags::HEADQUE);
        head.waits();
        reader.unlock();
        head.is_granted(EX);
        tail.waits();
    }
}

/// Lock model: 53, 54.
pub fn a_lock_with_something_in_flight_cannot_be_converted(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (a, _b) = (r.granted(PR), r.granted(PR));
    a.convert(EX, NONE);
    let waiter = r.new_lock();
    waiter.request(EX, NONE);
    for lock in [&a, &waiter] {
        lock.waits();
        let refused = lock.call(PR, LockFlags::CONVERT);
        if group.capabilities.is_fs_dlm() {
            assert_eq!(refused, Err(Errno::EBUSY));
        } else {
            assert!(refused.is_err());
        }
    }
}

/// Lock model: 58.
pub fn a_failed_noqueue_conversion_keeps_the_old_mode(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (a, b) = (r.granted(PR), r.granted(PR));
    let noqueue = LockFlags::CONVERT | LockFlags::NOQUEUE;
    assert_eq!(a.attempt(EX, noqueue), Err(Errno::EAGAIN));
    assert_eq!(a.lksb.mode(), Some(PR));
    b.unlock();
    assert_eq!(a.attempt(EX, noqueue), Ok(()));
}

/// Lock model: 59, 60.
pub fn the_second_of_two_deadlocked_conversions_is_edeadlk(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let (a, b) = (r.granted(PR), r.granted(PR));
        a.convert(EX, NONE);
        a.waits();
        b.convert(EX, NONE);
        b.fails(Errno::EDEADLK);
        assert_eq!(b.lksb.mode(), Some(PR));
        b.converts(NL, NONE);
        a.is_granted(EX);
    }
}

/// Lock model: 61, 62.
pub fn a_convdeadlk_conversion_is_demoted_instead(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::CONVDEADLK) {
        let r = group.resource("r");
        let (a, b) = (r.granted(PR), r.granted(PR));
        a.convert(EX, NONE);
        a.waits();
        b.convert(EX, LockFlags::CONVDEADLK);
        a.is_granted(EX);
        b.waits();
        a.unlock();
        let (_, flags) = b.is_granted(EX);
        assert!(flags.contains(StatusFlags::DEMOTED));
    }
}

/// Lock model: 63.
pub fn a_deadlocked_noqueue_conversion_is_eagain(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (a, b) = (r.granted(PR), r.granted(PR));
    a.convert(EX, NONE);
    a.waits();
    assert_eq!(b.attempt(EX, LockFlags::CONVERT | LockFlags::NOQUEUE), Err(Errno::EAGAIN));
}

/// Lock model: 64.
pub fn nodlckwt_leaves_a_deadlock_to_its_victims(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::NODLCKWT) {
        let r = group.resource("r");
        let (a, b) = (r.granted(PR), r.granted(PR));
        a.convert(EX, LockFlags::NODLCKWT);
        b.convert(EX, LockFlags::NODLCKWT);
        a.waits();
        b.waits();
        b.cancel();
        b.unlock();
        a.is_granted(EX);
    }
}

/// Lock model: 66.
pub fn a_granted_mode_that_blocks_an_earlier_conversion_is_a_deadlock(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let (b, _c) = (r.granted(PR), r.granted(PR));
        let a = r.granted(NL);
        a.convert(EX, NONE);
        a.waits();
        b.convert(EX, NONE);
        b.fails(Errno::EDEADLK);
    }
}

/// Lock model: 68.
pub fn a_null_lock_that_must_wait_is_no_deadlock(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(EX);
    let (a, b) = (r.granted(NL), r.granted(NL));
    a.convert(EX, NONE);
    b.convert(PR, NONE);
    a.waits();
    b.waits();
    holder.unlock();
    a.is_granted(EX);
}

pub fn every_conversion_of_a_lone_lock_is_granted(setup: &Setup) {
    let group = setup.group();
    let modes = group.capabilities.modes;
    for (&from, &to) in modes.iter().flat_map(|from| modes.iter().map(move |to| (from, to))) {
        if from != to {
            let lock = group.resource(format!("{from} {to}")).granted(from);
            lock.converts(to, NONE);
        }
    }
}

pub fn middle_conversions_exclude_like_up_conversions(setup: &Setup) {
    let group = setup.group();
    let pairs: [(Mode, Mode); 2] = [(PR, CW), (CW, PR)];
    for (from, to) in pairs {
        if group.capabilities.has(&[PW, from, to]) {
            let r = group.resource(from.name());
            let (a, b) = (r.granted(from), r.granted(from));
            a.convert(to, NONE);
            a.waits();
            b.unlock();
            a.is_granted(to);
        }
    }
}

/// Lock model: 67.
pub fn a_lone_holder_converts_up_ahead_of_an_earlier_conversion(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let b = r.granted(PR);
        let a = r.granted(NL);
        a.convert(EX, NONE);
        a.waits();
        b.converts(EX, NONE);
        a.waits();
        b.unlock();
        a.is_granted(EX);
    }
}
