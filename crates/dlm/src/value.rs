//! The value block of a resource.

use crate::lock::NONE;
use crate::mutants::{Mutant, planted};
use crate::{
    Effects, LVB_LEN_MAX, LockFlags, LockKey, LockTable, LvbDirection, Mode, Resource, StatusFlags,
    lvb_direction,
};

/// The bytes of a lock value block. A lockspace with a shorter block leaves the rest zero.
pub type Lvb = [u8; LVB_LEN_MAX];

/// The value block of one resource: created on first use, gone with the last lock.
#[derive(Debug, Default)]
pub(crate) struct Value {
    /// `None` until it is written.
    pub(crate) lvb: Option<Lvb>,
    pub(crate) sequence: u32,
    /// The last writer was lost or said so. The bytes are kept.
    pub(crate) invalid: bool,
}

/// Moves the value block for a lock that is about to be granted its requested mode; true when the
/// owner is to be given it (`fs/dlm/lock.c: set_lvb_lock`).
#[inline]
pub(crate) fn on_grant<O>(
    resource: &mut Resource,
    locks: &mut LockTable<O>,
    key: LockKey,
    effects: &mut impl Effects<O>,
) -> bool {
    let lock = &locks[key];
    let Some(requested) = lock.requested else { return false };
    let direction = lvb_direction(lock.granted, requested);
    if direction == LvbDirection::Write {
        if !planted(Mutant::SoloValueNotStored) {
            hand_over(resource, locks, key, effects);
        }
        return false;
    }
    if resource.value == NONE {
        return false;
    }
    let reads = direction == LvbDirection::Read;
    if reads && (!lock.flags.contains(LockFlags::VALBLK) || resource.lvb(locks).is_none()) {
        return false;
    }
    // Also without VALBLK when the block moves nowhere: fs/dlm does so.
    if !resource.lvb_valid(locks) {
        locks[key].status_flags |= StatusFlags::VALNOTVALID;
    }
    reads
}

/// Takes the value block of a writer that goes away (`fs/dlm/lock.c: set_lvb_unlock`).
#[inline]
pub(crate) fn on_unlock<O>(
    resource: &mut Resource,
    locks: &mut LockTable<O>,
    key: LockKey,
    effects: &mut impl Effects<O>,
) {
    if locks[key].granted.is_some_and(|granted| granted >= Mode::PW) {
        hand_over(resource, locks, key, effects);
    }
}

/// The last lock is gone, and the value block with it.
#[cold]
pub(crate) fn forget<O>(resource: &mut Resource, locks: &mut LockTable<O>) {
    if let Some(values) = &mut locks.values {
        values.remove(resource.value as usize);
    }
    resource.value = NONE;
}

/// What a writer does on its way down: invalidate, write, or nothing.
#[inline]
fn hand_over<O>(
    resource: &mut Resource,
    locks: &mut LockTable<O>,
    key: LockKey,
    effects: &mut impl Effects<O>,
) {
    let flags = locks[key].flags;
    if flags.intersects(LockFlags::IVVALBLK | LockFlags::VALBLK) {
        change(resource, locks, key, flags, effects);
    }
}

#[inline(never)]
fn change<O>(
    resource: &mut Resource,
    locks: &mut LockTable<O>,
    key: LockKey,
    flags: LockFlags,
    effects: &mut impl Effects<O>,
) {
    if flags.contains(LockFlags::IVVALBLK) {
        value_of(resource, locks).invalid = true;
    } else if flags.contains(LockFlags::VALBLK)
        && let Some(lvb) = effects.value_of(&locks[key])
    {
        let value = value_of(resource, locks);
        value.lvb = Some(lvb);
        value.sequence = value.sequence.wrapping_add(1);
        value.invalid = false;
    }
}

#[cold]
fn value_of<'a, O>(resource: &mut Resource, locks: &'a mut LockTable<O>) -> &'a mut Value {
    let values = locks.values.get_or_insert_default();
    if resource.value == NONE {
        resource.value = values.insert(Value::default()) as u32;
    }
    &mut values[resource.value as usize]
}
