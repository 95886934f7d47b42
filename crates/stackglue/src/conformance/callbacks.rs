//! Callbacks, status blocks, and calls that mean nothing.
//!
//! Numbers are those of `docs/protocol/conformance-lock-model.md`.

use std::sync::{Arc, OnceLock, Weak};

use dlm::Mode::{EX, NL, PR};
use dlm::{Errno, LockFlags, Mode, ResourceName};

use super::Setup;
use crate::{Connection, Lksb};

const NONE: LockFlags = LockFlags::empty();

/// Lock model: 190.
pub fn the_grant_comes_before_the_blocking_callback_of_that_grant(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(EX);
    let (next, last) = (r.waiting(EX), r.waiting(EX));
    holder.unlock();
    let (granted, _) = next.is_granted(EX);
    assert!(granted < next.is_blocking(EX));
    last.waits();
}

pub fn a_blocking_callback_may_convert_and_a_lock_callback_unlock(setup: &Setup) {
    let connection = Arc::new(OnceLock::<Weak<Connection>>::new());
    let reached = connection.clone();
    let group = setup.group_with("callbacks", move |lksb: &Lksb, level: Option<Mode>| {
        let connection = reached.get().and_then(Weak::upgrade).expect("set before any lock");
        let name = ResourceName::new(b"again").expect("short");
        let called = match (level, lksb.mode()) {
            (Some(_), _) => connection.lock(NL, lksb, LockFlags::CONVERT, name),
            (None, Some(PR)) => connection.unlock(lksb, NONE),
            _ => Ok(()),
        };
        assert_eq!(called, Ok(()));
    });
    connection.set(Arc::downgrade(&group.connection)).expect("set once");
    let r = group.resource("again");
    let holder = r.granted(EX);
    let reader = r.new_lock();
    reader.request(PR, NONE);
    assert_eq!(holder.outcome().1, super::group::Outcome::Granted(NL, holder.lksb.flags()));
    assert!(matches!(reader.outcome().1, super::group::Outcome::Granted(PR, _)));
    assert_eq!(reader.outcome().1, super::group::Outcome::Unlocked);
    r.granted(EX);
}

pub fn a_status_block_serves_one_lock_after_the_other(setup: &Setup) {
    let group = setup.group();
    let lock = group.resource("r").new_lock();
    for &mode in group.capabilities.modes {
        lock.request(mode, NONE);
        lock.is_granted(mode);
        lock.unlock();
    }
}

pub fn a_status_block_has_one_lock_at_a_time(setup: &Setup) {
    let group = setup.group();
    let lock = group.resource("r").granted(EX);
    assert!(lock.call(NL, NONE).is_err());
    assert_eq!(lock.lksb.mode(), Some(EX));
    lock.unlock();
}

pub fn a_status_block_of_another_connection_is_einval(setup: &Setup) {
    let group = setup.group();
    let other = setup.group_with("other", |_, _| ());
    let lock = group.resource("r").granted(PR);
    let name = ResourceName::new(b"r").expect("short");
    let convert = other.connection.lock(NL, &lock.lksb, LockFlags::CONVERT, name);
    assert_eq!(convert, Err(Errno::EINVAL));
    assert_eq!(other.connection.unlock(&lock.lksb, NONE), Err(Errno::EINVAL));
    assert_eq!(other.connection.abandon(&lock.lksb), Err(Errno::EINVAL));
    lock.waits();
    assert_eq!(lock.lksb.mode(), Some(PR));
}

/// Lock model: 223.
pub fn a_status_block_that_was_never_used_is_einval(setup: &Setup) {
    let group = setup.group();
    let lock = group.resource("r").new_lock();
    assert_eq!(lock.call_unlock(NONE), Err(Errno::EINVAL));
    assert_eq!(lock.call_unlock(LockFlags::CANCEL), Err(Errno::EINVAL));
    assert!(lock.call(EX, LockFlags::CONVERT).is_err());
}

/// Lock model: 218-221.
pub fn combinations_of_flags_that_mean_nothing_are_einval(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    if !group.capabilities.is_fs_dlm() {
        return;
    }
    let (convert, noqueue) = (LockFlags::CONVERT, LockFlags::NOQUEUE);
    for (mode, flags) in [
        (EX, LockFlags::CANCEL),
        (EX, LockFlags::QUECVT),
        (EX, LockFlags::CONVDEADLK),
        (EX, LockFlags::EXPEDITE),
        (NL, LockFlags::EXPEDITE | noqueue),
        (NL, LockFlags::EXPEDITE | LockFlags::QUECVT),
    ] {
        assert_eq!(r.new_lock().call(mode, flags), Err(Errno::EINVAL), "{mode} {flags:?}");
    }
    let lock = r.granted(PR);
    for (mode, flags) in
        [(EX, LockFlags::CONVDEADLK | noqueue), (NL, LockFlags::EXPEDITE), (EX, LockFlags::CANCEL)]
    {
        assert_eq!(lock.call(mode, convert | flags), Err(Errno::EINVAL), "{mode} {flags:?}");
    }
    lock.unlock();
    r.granted(EX);
}

/// Lock model: 216, 217.
pub fn names_may_hold_any_byte_and_are_told_apart_by_every_one(setup: &Setup) {
    let group = setup.group();
    let longest = if group.capabilities.is_fs_dlm() { 64 } else { 32 };
    let names: [&[u8]; 6] = [b"a", b"a\0", b"a\0b", b"\0", b"\xff", &[b'a'; 64][..longest]];
    for name in names {
        group.resource(name).granted(EX);
    }
}

pub fn tokens_grow_with_every_grant_of_a_resource(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let mut last = 0;
    for _ in 0..5 {
        let lock = r.granted(PR);
        let first = lock.lksb.token();
        lock.converts(EX, NONE);
        let second = lock.lksb.token();
        lock.unlock();
        // A stack that does not number its grants says 0 to every one.
        assert!(last < first && first < second || (last, first, second) == (0, 0, 0));
        last = second;
    }
}

pub fn every_lock_can_be_seen_in_its_queue(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("seen");
    let (holder, converter) = (r.granted(PR), r.granted(PR));
    converter.convert(EX, NONE);
    let waiter = r.waiting(EX);
    let mut seen = Vec::new();
    group.connection.visit_resources(&mut |resource| {
        if resource.name.as_bytes() == b"seen" {
            for lock in resource.locks {
                let which = [&holder, &converter, &waiter]
                    .iter()
                    .position(|known| lock.lksb.is_some_and(|lksb| lksb.is(&known.lksb)));
                seen.push((which, lock.queue, lock.granted, lock.requested));
            }
        }
    });
    use crate::Queue::{Converting, Granted, Waiting};
    assert_eq!(
        seen,
        [
            (Some(0), Granted, Some(PR), None),
            (Some(1), Converting, Some(PR), Some(EX)),
            (Some(2), Waiting, None, Some(EX)),
        ]
    );
    assert!(!group.connection.dump_lksb(&holder.lksb).contains('\n'));
}

/// Lock model: 189.
pub fn the_block_of_a_refused_request_has_no_lock_and_serves_the_next(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let holder = r.granted(EX);
    let lock = r.new_lock();
    assert_eq!(lock.attempt(EX, LockFlags::NOQUEUE), Err(Errno::EAGAIN));
    assert_eq!(lock.lksb.mode(), None);
    let unlock = lock.call_unlock(NONE);
    assert!(matches!(unlock, Err(Errno::ENOENT | Errno::EINVAL)), "{unlock:?}");
    holder.unlock();
    lock.request(EX, NONE);
    lock.is_granted(EX);
}

/// Lock model: 196.
pub fn a_lock_whose_conversion_failed_or_was_cancelled_is_as_before(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let (lock, other) = (r.granted(PR), r.granted(PR));
    assert_eq!(lock.attempt(EX, LockFlags::CONVERT | LockFlags::NOQUEUE), Err(Errno::EAGAIN));
    lock.convert(EX, NONE);
    lock.waits();
    lock.cancel();
    assert_eq!(lock.lksb.mode(), Some(PR));
    other.unlock();
    lock.converts(EX, NONE);
    lock.unlock();
}
