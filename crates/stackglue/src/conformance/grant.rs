//! Which requests are granted, and in which order.
//!
//! Numbers are those of `docs/protocol/conformance-lock-model.md`.

use dlm::Mode::{CR, CW, EX, NL, PR};
use dlm::{Errno, LockFlags, Mode};

use super::Setup;

const NONE: LockFlags = LockFlags::empty();

/// Lock model: 1-22.
pub fn every_pair_of_modes_is_granted_together_or_refused_as_published(setup: &Setup) {
    let group = setup.group();
    for &held in group.capabilities.modes {
        for &wanted in group.capabilities.modes {
            let r = group.resource(format!("{held} {wanted}"));
            r.granted(held);
            let together = r.attempt(wanted, LockFlags::NOQUEUE).map(|lock| lock.lksb.mode());
            let expected =
                if held.is_compatible_with(wanted) { Ok(Some(wanted)) } else { Err(Errno::EAGAIN) };
            assert_eq!(together, expected, "{wanted} beside {held}");
        }
    }
}

/// Lock model: 23.
pub fn a_new_lock_must_be_compatible_with_every_granted_one(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let null = r.granted(NL);
    let reader = r.granted(PR);
    assert_eq!(r.attempt(EX, LockFlags::NOQUEUE).err(), Some(Errno::EAGAIN));
    reader.unlock();
    let writer = r.attempt(EX, LockFlags::NOQUEUE).expect("only NL is left");
    null.unlock();
    writer.unlock();
}

/// Lock model: 24.
pub fn a_free_resource_is_granted_in_any_mode(setup: &Setup) {
    let group = setup.group();
    for &mode in group.capabilities.modes {
        let r = group.resource("r");
        r.granted(mode).unlock();
    }
}

/// Lock model: 25, 26.
pub fn a_conflicting_request_waits_until_the_holder_unlocks(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(PR);
    let waiter = r.waiting(EX);
    holder.unlock();
    waiter.is_granted(EX);
}

/// Lock model: 27, 30.
pub fn a_compatible_request_queues_behind_one_that_waits(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(PR);
    let first = r.waiting(EX);
    if group.capabilities.is_fs_dlm() {
        let second = r.waiting(PR);
        r.waiting(NL);
        holder.unlock();
        first.is_granted(EX);
        second.waits();
    } else {
        let second = r.granted(PR);
        holder.unlock();
        first.waits();
        second.unlock();
        first.is_granted(EX);
    }
}

/// Lock model: 29.
pub fn a_noqueue_request_does_not_pass_one_that_waits(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    r.granted(PR);
    r.waiting(EX);
    let second = r.attempt(PR, LockFlags::NOQUEUE).map(|lock| lock.lksb.mode());
    let expected = if group.capabilities.is_fs_dlm() { Err(Errno::EAGAIN) } else { Ok(Some(PR)) };
    assert_eq!(second, expected);
}

/// Lock model: 28.
pub fn a_noorder_request_passes_those_that_wait(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::NOORDER) {
        let r = group.resource("r");
        r.granted(PR);
        r.waiting(EX);
        r.granted_with(PR, LockFlags::NOORDER);
    }
}

/// Lock model: 31.
pub fn an_expedited_null_request_passes_those_that_wait(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::EXPEDITE) {
        let r = group.resource("r");
        r.granted(PR);
        r.waiting(EX);
        r.granted_with(NL, LockFlags::EXPEDITE);
    }
}

/// Lock model: 32.
pub fn an_unlock_grants_the_queue_up_to_the_first_conflict(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(EX);
    let (b, c, d) = (r.waiting(PR), r.waiting(PR), r.waiting(EX));
    holder.unlock();
    let (first, second) = (b.is_granted(PR).0, c.is_granted(PR).0);
    assert!(first < second);
    d.waits();
    b.unlock();
    d.waits();
    c.unlock();
    d.is_granted(EX);
}

/// Lock model: 33.
pub fn a_headque_request_is_granted_first(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::HEADQUE) {
        let r = group.resource("r");
        let holder = r.granted(EX);
        let tail = r.waiting(EX);
        let head = r.waiting_with(EX, LockFlags::HEADQUE);
        holder.unlock();
        head.is_granted(EX);
        tail.waits();
        head.unlock();
        tail.is_granted(EX);
    }
}

/// Lock model: 34.
pub fn a_noorder_request_is_granted_although_the_one_ahead_still_waits(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::NOORDER) && group.capabilities.has(&[CR]) {
        let r = group.resource("r");
        let holder = r.granted(EX);
        let ahead = r.waiting(EX);
        let noorder = r.waiting_with(PR, LockFlags::NOORDER);
        holder.converts(CR, NONE);
        noorder.is_granted(PR);
        ahead.waits();
    }
}

/// Lock model: 35, 36.
pub fn a_waiting_conversion_holds_back_new_requests(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (a, b) = (r.granted(PR), r.granted(PR));
    a.convert(EX, NONE);
    a.waits();
    let new = r.waiting(PR);
    b.unlock();
    a.is_granted(EX);
    new.waits();
    a.converts(NL, NONE);
    new.is_granted(PR);
}

/// Lock model: 37.
pub fn cancelling_the_first_waiter_lets_the_next_in(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        r.granted(PR);
        let first = r.waiting(EX);
        let second = r.waiting(PR);
        first.cancel();
        second.is_granted(PR);
    }
}

/// Lock model: 69-73.
pub fn an_alternate_mode_is_granted_where_the_wanted_one_cannot_be(setup: &Setup) {
    let group = setup.group();
    let (altpr, altcw) = (LockFlags::ALTPR, LockFlags::ALTCW);
    if !group.capabilities.knows(altpr | altcw) || !group.capabilities.has(&[CW]) {
        return;
    }
    let table: [(Mode, Mode, LockFlags, Option<Mode>); 5] = [
        (CW, EX, altcw, Some(CW)),
        (PR, EX, altpr, Some(PR)),
        (PR, EX, altcw, None),
        (CW, PR, altcw, Some(CW)),
        (CW, EX, altpr | altcw, None),
    ];
    for (held, wanted, flags, expected) in table {
        let r = group.resource(format!("{held} {wanted} {flags:?}"));
        r.granted(held);
        let lock = r.new_lock();
        let attempt = lock.attempt(wanted, flags | LockFlags::NOQUEUE);
        assert_eq!(attempt, expected.map_or(Err(Errno::EAGAIN), |_| Ok(())), "{flags:?}");
        assert_eq!(lock.lksb.mode(), expected);
        let alternate = lock.lksb.flags().contains(dlm::StatusFlags::ALTMODE);
        assert_eq!(alternate, expected.is_some());
    }
}

/// Lock model: 74.
pub fn a_waiting_request_is_granted_its_alternate_mode_once_that_is_possible(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(LockFlags::ALTPR) {
        let r = group.resource("r");
        let holder = r.granted(EX);
        let waiter = r.new_lock();
        waiter.request(EX, LockFlags::ALTPR);
        waiter.waits();
        holder.converts(PR, NONE);
        let (_, flags) = waiter.is_granted(PR);
        assert!(flags.contains(dlm::StatusFlags::ALTMODE));
    }
}
