//! Known mistakes, to be planted in the caches: the simulator has to find them (`cargo xtask sim
//! mutants`).
//!
//! Nothing of this is left in a build without the feature `mutants`.

/// Defines each mistake once: its name, the class of mistakes in kernels' histories that it belongs to,
/// and what is wrong.
macro_rules! mutants {
    ($($name:ident, $class:literal, $text:literal;)*) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $(#[doc = concat!("Class ", $class, ": ", $text, ".")] $name,)*
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// Every mistake.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// Its class.
            pub const fn class(self) -> u8 {
                match self { $(Mutant::$name => $class,)* }
            }

            /// What is wrong.
            pub const fn text(self) -> &'static str {
                match self { $(Mutant::$name => $text,)* }
            }
        }
    };
}

mutants! {
    TokenNotRaised, 7, "an exclusive grant has the token of the one before";
    EpochNotCounted, 7, "a new epoch is the last one once more";
    ValueNotTakenOver, 7, "a grant leaves the value as this node knew it";
    ValueNotWritten, 7, "EX is given up without its value";
    GivenUpUnderUser, 3, "a level is given up while somebody uses it";
    NoticeLostInFlight, 9, "a notice that comes during a conversion is forgotten";
    NotLookedAgain, 4, "who gives up a level does not look whether somebody waits for it";
    NobodyWoken, 4, "who gets a level is not told";
    CancelFailsAll, 5, "a cancel that won fails those who came meanwhile";
}

#[cfg(feature = "mutants")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Plants a mistake in the caches of this thread, or none.
#[cfg(feature = "mutants")]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

/// Whether that mistake is planted.
#[cfg(feature = "mutants")]
pub(crate) fn planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// Nothing is.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}
