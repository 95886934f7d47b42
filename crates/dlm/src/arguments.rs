//! Checks of a call's arguments, made where the call is made, before anything is decided or sent.

use crate::{Errno, Lock, LockFlags, Mode, Queue};

/// Checks a lock call that makes a new lock (`fs/dlm/lock.c: set_lock_args`).
///
/// # Errors
///
/// `EINVAL`: `CANCEL` in a lock call; `QUECVT` or `CONVDEADLK` without `CONVERT`; `EXPEDITE` with
/// `NOQUEUE` or a mode other than `NL`.
#[inline]
pub fn check_request(mode: Mode, flags: LockFlags) -> Result<(), Errno> {
    let meaningless = LockFlags::CANCEL | LockFlags::QUECVT | LockFlags::CONVDEADLK;
    if flags.intersects(meaningless) {
        return Err(Errno::EINVAL);
    }
    let expedite = flags.contains(LockFlags::EXPEDITE);
    if expedite && (flags.contains(LockFlags::NOQUEUE) || mode != Mode::NL) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Checks a lock call that converts `lock` (`fs/dlm/lock.c: set_lock_args, validate_lock_args`).
///
/// # Errors
///
/// `EINVAL`: `CANCEL` or `EXPEDITE`; `CONVDEADLK` with `NOQUEUE`; `QUECVT` for a pair of modes in which
/// nothing is gained. `EBUSY`: the lock is waiting or converting.
#[inline]
pub fn check_convert<O>(lock: &Lock<O>, mode: Mode, flags: LockFlags) -> Result<(), Errno> {
    let contradiction = LockFlags::CONVDEADLK | LockFlags::NOQUEUE;
    if flags.intersects(LockFlags::CANCEL | LockFlags::EXPEDITE) || flags.contains(contradiction) {
        return Err(Errno::EINVAL);
    }
    let Some(granted) = lock.granted().filter(|_| lock.queue() == Some(Queue::Granted)) else {
        return Err(Errno::EBUSY);
    };
    if flags.contains(LockFlags::QUECVT) && !granted.may_queue_conversion_to(mode) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Checks an unlock or cancel call on `lock` (`fs/dlm/lock.c: set_unlock_args, validate_unlock_args`).
///
/// # Errors
///
/// `EINVAL`: a flag that an unlock call cannot have; `CANCEL` with `FORCEUNLOCK`; a second cancel
/// without a conversion in between.
#[inline]
pub fn check_unlock<O>(lock: &Lock<O>, flags: LockFlags) -> Result<(), Errno> {
    let contradiction = LockFlags::CANCEL | LockFlags::FORCEUNLOCK;
    if !LockFlags::UNLOCK.contains(flags) || flags.contains(contradiction) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(LockFlags::CANCEL) && lock.flags.contains(LockFlags::CANCEL) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}
