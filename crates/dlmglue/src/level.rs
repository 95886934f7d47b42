//! The three levels of a cached lock.

use std::fmt;

use dlm::Mode;

/// What a node holds of a resource: the three modes that every stack has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing: others may have any.
    NL,
    /// Shared: others may have it too.
    PR,
    /// Exclusive.
    EX,
}

impl Level {
    /// The highest level that lets a node have `self` elsewhere
    /// (`fs/ocfs2/dlmglue.c: ocfs2_highest_compat_lock_level`).
    pub(crate) const fn compatible(self) -> Level {
        match self {
            Level::NL => Level::EX,
            Level::PR => Level::PR,
            Level::EX => Level::NL,
        }
    }

    /// The mode of the lock manager.
    pub const fn mode(self) -> Mode {
        match self {
            Level::NL => Mode::NL,
            Level::PR => Mode::PR,
            Level::EX => Mode::EX,
        }
    }

    /// The level that stands in the way of everything `mode` stands in the way of.
    pub(crate) const fn covering(mode: Mode) -> Level {
        match mode {
            Mode::NL => Level::NL,
            Mode::CR | Mode::PR => Level::PR,
            Mode::CW | Mode::PW | Mode::EX => Level::EX,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mode().fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_a_waiter_is_the_highest_mode_that_lets_it_in() {
        for waiter in Mode::ALL {
            let kept = Level::covering(waiter).compatible();
            assert!(kept.mode().is_compatible_with(waiter), "{waiter}: {kept}");
        }
        assert_eq!(Level::PR.compatible(), Level::PR);
        assert_eq!(Level::EX.compatible(), Level::NL);
        assert_eq!(Level::NL.compatible(), Level::EX);
    }
}
