//! What solo worlds promise of themselves.

use super::{REQUIRED, run};
use crate::coverage::Coverage;
use crate::log::Log;

#[test]
fn the_same_seed_is_the_same_solo_world() {
    for seed in [1, 7, 23] {
        let [one, other] = [(); 2].map(|()| run(seed, Log::keep(1)));
        assert_eq!((one.hash, one.events), (other.hash, other.events), "seed {seed}");
        assert_ne!(one.hash, run(seed + 1, Log::keep(1)).hash);
    }
}

#[test]
fn nothing_is_wrong_in_two_hundred_solo_worlds_and_everything_happens() {
    let mut coverage = Coverage::default();
    for seed in 0..200 {
        let outcome = run(seed, Log::off());
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
        coverage.merge(&outcome.coverage);
    }
    for what in REQUIRED {
        assert_ne!(coverage.of(what), 0, "{what}");
    }
}

/// Seeds that have found mistakes: each again, with what was wrong.
#[test]
fn solo_seeds_that_have_found_mistakes_find_none_any_more() {
    for (seed, was) in [
        (131, "who adopted an orphan was not told who waited for it"),
        (862, "those whom a demotion let go were not told who waited behind them"),
    ] {
        let outcome = run(seed, Log::off());
        assert!(outcome.violation.is_none(), "seed {seed}, {was}: {:?}", outcome.violation);
    }
}
