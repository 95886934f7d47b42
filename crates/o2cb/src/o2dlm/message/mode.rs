//! Lock modes.

/// A mode of an o2dlm lock. The wire also knows IV, "no mode", which is the `None` of an
/// `Option<LockMode>`; CR, CW and PW have numbers and no locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum LockMode {
    /// Null: interest only, goes with every mode.
    NL = 0,
    /// Protected read: shared.
    PR = 3,
    /// Exclusive.
    EX = 5,
}

impl LockMode {
    /// "No mode" on the wire (`LKM_IVMODE`).
    pub(super) const IV: i8 = -1;

    /// Whether locks in these two modes can be granted together.
    pub const fn compatible(self, other: LockMode) -> bool {
        matches!(
            (self, other),
            (LockMode::NL, _) | (_, LockMode::NL) | (LockMode::PR, LockMode::PR)
        )
    }

    /// The mode of a number; `None` for IV and for the modes o2dlm does not support.
    pub const fn from_wire(number: i8) -> Option<LockMode> {
        match number {
            0 => Some(LockMode::NL),
            3 => Some(LockMode::PR),
            5 => Some(LockMode::EX),
            _ => None,
        }
    }

    /// The number of the mode.
    pub const fn to_wire(self) -> i8 {
        self as i8
    }
}
