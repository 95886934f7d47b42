//! The value block of a resource.

use crate::{
    Effects, LVB_LEN_MAX, Lock, LockFlags, LvbDirection, Mode, StatusFlags, lvb_direction,
};

/// The bytes of a lock value block. A lockspace with a shorter block leaves the rest zero.
pub type Lvb = [u8; LVB_LEN_MAX];

/// The value block of one resource: created on first write, gone with the last lock.
#[derive(Debug, Default)]
pub(crate) struct Value {
    lvb: Option<Box<Lvb>>,
    sequence: u32,
    /// The last writer was lost or said so. The bytes are kept.
    invalid: bool,
}

impl Value {
    pub(crate) fn lvb(&self) -> Option<&Lvb> {
        self.lvb.as_deref()
    }

    pub(crate) fn is_valid(&self) -> bool {
        !self.invalid
    }

    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Moves the value block for a lock that is about to be granted its requested mode; true when the
    /// owner is to be given it (`fs/dlm/lock.c: set_lvb_lock`).
    pub(crate) fn on_grant<O>(
        &mut self,
        lock: &mut Lock<O>,
        effects: &mut impl Effects<O>,
    ) -> bool {
        let Some(requested) = lock.requested else { return false };
        let reads = match lvb_direction(lock.granted, requested) {
            LvbDirection::Read => {
                if !lock.flags.contains(LockFlags::VALBLK) || self.lvb.is_none() {
                    return false;
                }
                true
            }
            LvbDirection::Write => {
                self.hand_over(lock, effects);
                return false;
            }
            LvbDirection::Nothing => false,
        };
        // Also without VALBLK when the block moves nowhere: fs/dlm does so.
        if self.invalid {
            lock.status_flags |= StatusFlags::VALNOTVALID;
        }
        reads
    }

    /// Takes the value block of a writer that goes away (`fs/dlm/lock.c: set_lvb_unlock`).
    pub(crate) fn on_unlock<O>(&mut self, lock: &Lock<O>, effects: &mut impl Effects<O>) {
        if lock.granted.is_some_and(|granted| granted >= Mode::PW) {
            self.hand_over(lock, effects);
        }
    }

    /// What a writer does on its way down: invalidate, write, or nothing.
    fn hand_over<O>(&mut self, lock: &Lock<O>, effects: &mut impl Effects<O>) {
        if lock.flags.contains(LockFlags::IVVALBLK) {
            self.invalid = true;
        } else if lock.flags.contains(LockFlags::VALBLK)
            && let Some(lvb) = effects.value_of(lock)
        {
            **self.lvb.get_or_insert_with(|| Box::new([0; LVB_LEN_MAX])) = lvb;
            self.sequence = self.sequence.wrapping_add(1);
            self.invalid = false;
        }
    }
}
