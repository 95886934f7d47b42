//! I10: the value read is the last one that was written, or marked not valid for a reason.
//!
//! Source: `fs/dlm/lock.c: set_lvb_lock, set_lvb_unlock`, the tables of `docs/protocol/lock-model.md`.

use stackglue::{LockFlags, Mode, StatusFlags};

use super::claim::Claim;
use super::host::Details;

/// The value block of a resource, as all its users together know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Register {
    /// `None`: never written.
    pub(super) value: Option<u64>,
    /// Why it is marked.
    pub(super) invalid: Option<&'static str>,
    /// It cannot be known whether a lock that a deadlock may have demoted has written.
    pub(super) unsure: bool,
}

impl Register {
    fn write(&mut self, value: u64) {
        *self = Register { value: Some(value), invalid: None, unsure: false };
    }

    /// A lock goes away, or down to a lower mode. `flags` are those that count.
    pub(super) fn leave(&mut self, claim: &Claim, flags: LockFlags) {
        if claim.held.is_none_or(|held| held < Mode::PW) {
            return;
        }
        if claim.may_be_demoted() {
            self.unsure = true;
        } else if flags.contains(LockFlags::IVVALBLK) {
            self.invalid = Some("a writer said so");
        } else if flags.contains(LockFlags::VALBLK) {
            self.write(claim.block);
        }
    }

    /// A process died, or an orphan was purged.
    pub(super) fn lose(&mut self, claim: &Claim) {
        if claim.held.is_some_and(|held| held >= Mode::PW) {
            self.unsure |= claim.may_be_demoted();
            self.invalid = Some("a writer died");
        }
    }

    /// What is wrong with what a grant brought, if anything is.
    pub(super) fn check_read(
        &self,
        claim: &Claim,
        reads: bool,
        details: &Details,
    ) -> Option<String> {
        let marked = details.flags.contains(StatusFlags::VALNOTVALID);
        let Some(found) = number_of(&details.block) else {
            return Some(format!("the value block is half of one: {:?}", details.block));
        };
        let expected = match self.value {
            _ if self.unsure && reads => return None,
            Some(value) if reads => value,
            _ => claim.block,
        };
        if found != expected {
            return Some(format!("value {found} instead of {expected} ({self:?})"));
        }
        if reads && self.value.is_some() && marked != self.invalid.is_some() {
            return Some(format!("value {found} is marked {marked} ({self:?})"));
        }
        if marked && self.invalid.is_none() && !self.unsure {
            return Some(format!("value {found} is marked for no reason ({self:?})"));
        }
        None
    }
}

/// Whether a grant from one mode (`None` for a new lock) to another reads the value.
pub(super) fn reads(from: Option<Mode>, to: Mode) -> bool {
    match from {
        None | Some(Mode::NL) => true,
        Some(Mode::PW) => to == Mode::EX,
        Some(Mode::EX) => false,
        Some(from) => to >= from,
    }
}

/// Whether it writes.
pub(super) fn writes(from: Option<Mode>, to: Mode) -> bool {
    from.is_some_and(|from| from >= Mode::PW) && !reads(from, to)
}

/// A value block full of one number.
pub(super) fn block_of(number: u64) -> [u8; 64] {
    let mut block = [0; 64];
    block.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&number.to_le_bytes()));
    block
}

/// The number; `None` for a mixture.
pub(super) fn number_of(block: &[u8; 64]) -> Option<u64> {
    let number = u64::from_le_bytes(block[..8].try_into().ok()?);
    (*block == block_of(number)).then_some(number)
}
