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
        (6047, "a node that started overlooked one whose disk failed, and began a second domain"),
        (12063, "the same, for a disk that was slow"),
        (11275, "two domains of one name, not traced: it passed when the others did"),
        (10893, "a dead master was to clean up after a name that was being dropped there"),
        (13961, "the same, for a drop that was lost with its connection"),
        (1058, "a node that did not get to start counted as one that had taken others for dead"),
        (
            10406,
            "a value was wrong (I10), not traced: it passed when nobody was overlooked any more",
        ),
        (14187, "a value was wrong (I10), not traced"),
        (3365, "what had waited for a node that was busy, and then paused, came in another order"),
        (
            2386,
            "a paused master that others had replaced was judged by what was asked of the new one",
        ),
    ] {
        // As they were found.
        let plan = Overrides { as_kernels: true, ..Overrides::default() }.of(&Plan::of(seed));
        assert_nothing_wrong(&plan, was);
    }
    for (seed, was) in [
        (
            3298,
            "a value was to be kept for a lock that its master had dropped, and could not say so",
        ),
        (5140, "the death of a node's life before counted as that of the one after"),
        (1258, "a lock that was granted before the answer to its request was lost went with that"),
        (2224, "a member that had not missed the dead master of $RECOVERY denied the new one"),
        (
            23692,
            "of what a dead node had said, what came late was heard, and what came before was not",
        ),
        (
            30_127_123_226_180_752,
            "what a recovery master had said before it died counted as a contradiction",
        ),
    ] {
        assert_nothing_wrong(&Plan::of(seed), was);
    }
}

fn assert_nothing_wrong(plan: &Plan, was: &str) {
    let outcome = run(plan, Log::off());
    assert!(outcome.violation.is_none(), "seed {}, {was}: {:?}", plan.seed, outcome.violation);
}
