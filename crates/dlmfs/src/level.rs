//! The levels that a file can be held at.

use std::fmt;

use dlm::Mode;

/// A mode of the three that lock files know. The order is that of what a level allows its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// Nothing; the lock is kept, and with it the value block.
    NL,
    /// Reading.
    PR,
    /// Reading and writing.
    EX,
}

impl Level {
    /// The highest level that may be kept beside somebody who has this one.
    pub(crate) fn compatible(self) -> Level {
        match self {
            Level::NL => Level::EX,
            Level::PR => Level::PR,
            Level::EX => Level::NL,
        }
    }

    /// The level that serves whoever wants `mode`.
    pub(crate) fn of(mode: Mode) -> Level {
        match mode {
            Mode::NL => Level::NL,
            Mode::CR | Mode::PR => Level::PR,
            Mode::CW | Mode::PW | Mode::EX => Level::EX,
        }
    }

    pub(crate) fn mode(self) -> Mode {
        match self {
            Level::NL => Mode::NL,
            Level::PR => Mode::PR,
            Level::EX => Mode::EX,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_compatible_and_nothing_higher_is() {
        let levels = [Level::NL, Level::PR, Level::EX];
        for wanted in levels {
            for kept in levels {
                let compatible = kept.mode().is_compatible_with(wanted.mode());
                assert_eq!(kept <= wanted.compatible(), compatible, "{kept} beside {wanted}");
            }
        }
    }

    #[test]
    fn a_level_serves_at_least_the_mode_it_is_for() {
        for mode in Mode::ALL {
            let level = Level::of(mode).mode();
            for other in Mode::ALL {
                if level.is_compatible_with(other) {
                    assert!(mode.is_compatible_with(other), "{mode} served by {level}");
                }
            }
        }
    }
}
