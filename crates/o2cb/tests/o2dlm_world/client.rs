//! What the users of a node do and see, and what a value block may contain.

use std::collections::BTreeMap;

use stackglue_o2cb::o2dlm::LockKey;
use stackglue_o2cb::o2dlm::message::{LockMode, LockName};

/// A lock as its user knows it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) name: LockName,
    /// What it has; `None` before the first grant.
    pub(crate) mode: Option<LockMode>,
    /// What was asked for and has not completed.
    pub(crate) asked: Option<Asked>,
    pub(crate) cancelling: bool,
    /// The highest mode that it was told it keeps waiting.
    pub(crate) blocks: Option<LockMode>,
}

impl Held {
    /// What its user may rely on: what is on its way down or out may be granted to others already.
    pub(crate) fn relies_on(&self) -> LockMode {
        match (self.mode, self.asked) {
            (None, _) | (_, Some(Asked::Unlock { .. })) => LockMode::NL,
            (Some(mode), Some(Asked::Convert { to, .. })) => mode.min(to),
            (Some(mode), _) => mode,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Create { mode: LockMode, reads: bool },
    Convert { to: LockMode, put: Option<u64>, reads: bool },
    Unlock { put: Option<u64> },
}

#[derive(Default)]
pub(crate) struct Client {
    pub(crate) locks: BTreeMap<LockKey, Held>,
}

/// What a value block may contain: the last write, or what a death left of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    may_be: Vec<u64>,
    written: u64,
    confirmed: u64,
}

impl Register {
    /// A holder gives up EX with a new value: nobody else reads before the master has it.
    pub(crate) fn write(&mut self) -> u64 {
        self.written += 1;
        if self.may_be.is_empty() {
            self.may_be.push(0);
        }
        self.may_be.push(self.written);
        self.written
    }

    /// A value was read, or its write has completed: older ones are not there any more. (Completions
    /// may come late; values only grow.)
    pub(crate) fn seen(&mut self, value: u64) {
        self.confirmed = self.confirmed.max(value);
        self.may_be.retain(|other| *other >= value);
    }

    /// The value was lost: what was there does not come back.
    pub(crate) fn lost(&mut self) {
        let confirmed = self.confirmed;
        self.may_be.retain(|other| *other > confirmed);
        self.may_be.push(0);
    }

    pub(crate) fn may_be(&self, value: u64) -> bool {
        self.may_be.contains(&value) || (self.may_be.is_empty() && value == 0)
    }
}

pub(crate) fn value_of(lvb: &[u8; 64]) -> u64 {
    u64::from_le_bytes([lvb[0], lvb[1], lvb[2], lvb[3], lvb[4], lvb[5], lvb[6], lvb[7]])
}

pub(crate) fn lvb_of(value: u64) -> [u8; 64] {
    let mut lvb = [0; 64];
    lvb[..8].copy_from_slice(&value.to_le_bytes());
    lvb
}
