//! What the simulator promises of itself.

use crate::log::Log;
use crate::plan::{Overrides, Plan};
use crate::run::run;

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [1, 7, 23] {
        let plan = Plan::of(seed);
        let [one, other] = [(); 2].map(|()| run(&plan, Log::keep(1)));
        assert_eq!(one.hash, other.hash, "seed {seed}");
        assert_eq!(one.events, other.events, "seed {seed}");
        assert_ne!(one.hash, run(&Plan::of(seed + 1), Log::keep(1)).hash);
    }
}

#[test]
fn what_is_left_out_of_a_plan_does_not_strike() {
    let plan = Plan::of(3);
    let all = (0..plan.faults.len()).collect();
    let calm = Overrides { without: all, ..Overrides::default() };
    let outcome = run(&calm.of(&plan), Log::off());
    assert!(outcome.violation.is_none());
    assert_eq!(outcome.coverage.of("node died"), 0);
}

/// Seeds that have found mistakes: each again, with what was wrong.
#[test]
fn seeds_that_have_found_mistakes_find_none_any_more() {
    for (seed, was) in [
        (1495, "a member's locks were sent before its users had been told of the death"),
        (1530, "recovery waited for no users after a join that had to be tried again"),
        (
            1229,
            "with the smallest dead threshold, a node was granted time that nobody else gave it",
        ),
        (2414, "a resource was dropped while a lock on it waited for recovery"),
        (6074, "a node joined while a death waited to be recovered, and was granted what was held"),
        (6755, "a node that was back before all its regions had missed it was never recovered"),
    ] {
        let outcome = run(&Plan::of(seed), Log::off());
        assert!(outcome.violation.is_none(), "seed {seed}, {was}: {:?}", outcome.violation);
    }
}
