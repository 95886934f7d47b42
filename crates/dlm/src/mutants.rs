//! Known mistakes, to be planted in the engines: the simulator has to find them (`cargo xtask sim
//! mutants`). Here are those of the lock model, and of the engine and plugin of `user`.
//!
//! Nothing of this is left in a build without the feature `mutants`.

/// A known mistake, as the simulator sees it.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    /// Its name.
    pub name: &'static str,
    /// The class of mistakes in kernels' histories that it belongs to.
    pub class: u8,
    /// What is wrong.
    pub text: &'static str,
    /// Plants it in the engines of this thread, or takes it out.
    pub plant: fn(bool),
}

/// Defines the mistakes of a crate, each once: its name, its class, and what is wrong.
#[macro_export]
macro_rules! mutants {
    ($($name:ident, $class:literal, $text:literal;)*) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $(#[doc = concat!("Class ", $class, ": ", $text, ".")] $name,)*
        }

        /// Every mistake.
        #[cfg(feature = "mutants")]
        pub const ALL: &[$crate::mutants::Mistake] = &[$($crate::mutants::Mistake {
            name: stringify!($name),
            class: $class,
            text: $text,
            plant: |planted| PLANTED.set(planted.then_some(Mutant::$name)),
        },)*];

        #[cfg(feature = "mutants")]
        thread_local! {
            static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
        }

        /// Whether that mistake is planted.
        #[cfg(feature = "mutants")]
        pub fn planted(mutant: Mutant) -> bool {
            PLANTED.get() == Some(mutant)
        }

        /// Nothing is.
        #[cfg(not(feature = "mutants"))]
        #[inline(always)]
        pub const fn planted(_: Mutant) -> bool {
            false
        }
    };
}

mutants! {
    SoloNoqueueWaits, 12, "a new lock that asked not to wait is queued";
    SoloConvertersPassed, 6, "a new lock passes the conversions that wait";
    SoloMiddleUnseen, 6, "CW and PR count as if one contained the other";
    SoloDeadlockUnseen, 6, "a conversion deadlock is not reported";
    SoloDemotedInVain, 6, "after a demotion nobody looks who can go on";
    SoloUnlockUntold, 5, "an unlock that cuts a conversion short completes nothing";
    SoloCancelCompletesTwice, 5, "a cancel that lost to the grant completes too";
    SoloCancelWakesNobody, 4, "those behind a request that was taken back go on waiting";
    SoloNoticeLostBehindGrant, 9, "a lock whose grant is being told is not told that it is in the way";
    SoloOneNotice, 9, "a lock that was told once is not told in its next mode";
    SoloOrphanUntold, 9, "who adopts an orphan is not told who waits for it";
    SoloDeadWritersValue, 7, "the value that a dead process was writing counts";
    SoloValueNotStored, 7, "a conversion does not store the value that came with it";
    SoloTokensOfEpochs, 11, "tokens begin again when the daemon does";
    SoloTokensOfGroups, 11, "tokens begin again when the lockspace is joined again";
    SoloOrphanDropped, 3, "what a persistent lock waited for takes the lock with it";
}
