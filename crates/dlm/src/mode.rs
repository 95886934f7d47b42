//! Lock modes and which of them exclude each other.

use std::fmt;
use std::str::FromStr;

/// A lock mode, with its number in Linux `include/uapi/linux/dlmconstants.h`.
///
/// The kernel's seventh value, `DLM_LOCK_IV` (-1, "no mode"), is `None` of an `Option<Mode>` here.
/// The order of the variants is the order of the numbers; it is the order in which fs/dlm compares
/// modes, not an order of strength: `CW` and `PR` exclude each other and neither contains the other.
///
/// ```
/// use stackglue_dlm::Mode;
///
/// assert!(Mode::PR.is_compatible_with(Mode::PR));
/// assert!(!Mode::PR.is_compatible_with(Mode::EX));
/// assert_eq!("pw".parse::<Mode>()?, Mode::PW);
/// # Ok::<(), stackglue_dlm::ParseModeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Null: holds a place (and keeps the value block alive), excludes nobody.
    NL = 0,
    /// Concurrent read: reads while others write.
    CR = 1,
    /// Concurrent write: writes while others write; excludes protected readers.
    CW = 2,
    /// Protected read: many readers, no writer. `flock(1)`'s shared lock.
    PR = 3,
    /// Protected write: one writer, beside concurrent readers only.
    PW = 4,
    /// Exclusive: alone, beside null locks. `flock(1)`'s exclusive lock.
    EX = 5,
}

impl Mode {
    /// Every mode, in the order of the numbers.
    pub const ALL: [Mode; 6] = [Mode::NL, Mode::CR, Mode::CW, Mode::PR, Mode::PW, Mode::EX];

    /// The mode of a `dlmconstants` number, or `None` when it is not 0..=5.
    pub const fn from_number(number: u8) -> Option<Mode> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }

    /// The `dlmconstants` number, 0..=5.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The two-letter name.
    pub const fn name(self) -> &'static str {
        ["NL", "CR", "CW", "PR", "PW", "EX"][self as usize]
    }

    /// Whether locks in both modes may be granted on one resource at once
    /// (`fs/dlm/lock.c: dlm_modes_compat`). Symmetric.
    #[inline]
    pub const fn is_compatible_with(self, other: Mode) -> bool {
        COMPATIBLE[self as usize] & (1 << other as u8) != 0
    }

    /// Whether a conversion from `self` to `to` is one of the two between `CW` and `PR`, in which
    /// neither mode contains the other (`fs/dlm/lock.c: middle_conversion`).
    pub const fn is_middle_conversion(self, to: Mode) -> bool {
        matches!((self, to), (Mode::PR, Mode::CW) | (Mode::CW, Mode::PR))
    }

    /// Whether `QUECVT` is allowed for a conversion from `self` to `to`
    /// (`fs/dlm/lock.c: __quecvt_compat_matrix`).
    pub const fn may_queue_conversion_to(self, to: Mode) -> bool {
        (self as u8) < (to as u8) || matches!((self, to), (Mode::PR, Mode::CW))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = ParseModeError;

    /// Reads the two-letter name, in either case.
    fn from_str(text: &str) -> Result<Mode, ParseModeError> {
        Mode::ALL
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| ParseModeError(text.to_owned()))
    }
}

/// A text that names no lock mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown lock mode {0:?}: use one of NL, CR, CW, PR, PW, EX")]
pub struct ParseModeError(String);

/// Bit `b` of row `a`: modes `a` and `b` may be granted together.
const COMPATIBLE: [u8; 6] = [
    0b111111, // NL
    0b011111, // CR
    0b000111, // CW
    0b001011, // PR
    0b000011, // PW
    0b000001, // EX
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the field, written out: a second source for the bits above.
    const TABLE: [&str; 6] = [
        //NL CR CW PR PW EX
        "Y Y Y Y Y Y", // NL
        "Y Y Y Y Y -", // CR
        "Y Y Y - - -", // CW
        "Y Y - Y - -", // PR
        "Y Y - - - -", // PW
        "Y - - - - -", // EX
    ];

    #[test]
    fn the_compatibility_matrix_is_the_published_one() {
        for (row, a) in TABLE.iter().zip(Mode::ALL) {
            for (cell, b) in row.split(' ').zip(Mode::ALL) {
                assert_eq!(a.is_compatible_with(b), cell == "Y", "{a} and {b}");
                assert_eq!(a.is_compatible_with(b), b.is_compatible_with(a));
            }
        }
    }

    #[test]
    fn numbers_and_names_are_those_of_dlmconstants() {
        let expected = [("NL", 0), ("CR", 1), ("CW", 2), ("PR", 3), ("PW", 4), ("EX", 5)];
        for (mode, (name, number)) in Mode::ALL.into_iter().zip(expected) {
            assert_eq!((mode.name(), mode.number()), (name, number));
            assert_eq!(Mode::from_number(number), Some(mode));
            assert_eq!(name.parse(), Ok(mode));
        }
        assert_eq!(Mode::from_number(6), None);
        assert_eq!(Mode::from_number(255), None);
        assert!("XX".parse::<Mode>().is_err());
    }

    #[test]
    fn queued_conversions_are_allowed_for_the_published_pairs_only() {
        use Mode::*;
        let allowed: &[(Mode, &[Mode])] = &[
            (NL, &[CR, CW, PR, PW, EX]),
            (CR, &[CW, PR, PW, EX]),
            (CW, &[PR, PW, EX]),
            (PR, &[CW, PW, EX]),
            (PW, &[EX]),
            (EX, &[]),
        ];
        for (from, to_modes) in allowed {
            for to in Mode::ALL {
                assert_eq!(
                    from.may_queue_conversion_to(to),
                    to_modes.contains(&to),
                    "{from} to {to}"
                );
            }
        }
    }
}
