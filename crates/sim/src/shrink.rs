//! A smaller world in which a seed still fails.

use crate::log::Log;
use crate::plan::{Overrides, Plan};
use crate::run::run;

/// So many worlds are tried.
const TRIES_MAX: u32 = 120;

/// Leaves out faults, nodes and users as long as the same check fails.
pub(crate) fn shrink(seed: u64, from: &Overrides, check: &str) -> Overrides {
    let plan = Plan::of(seed);
    let mut best = from.clone();
    let mut tries = 0;
    let mut fails = |overrides: &Overrides| {
        tries += 1;
        tries <= TRIES_MAX
            && run(&overrides.of(&plan), Log::off())
                .violation
                .is_some_and(|violation| violation.check == check)
    };
    // Half of the faults at a time, then a quarter, down to one.
    let count = plan.faults.len();
    let mut chunk = count.next_power_of_two();
    while chunk >= 1 {
        for start in (0..count).step_by(chunk) {
            let mut smaller = best.clone();
            smaller.without.extend(start..(start + chunk).min(count));
            smaller.without.sort_unstable();
            smaller.without.dedup();
            if smaller.without.len() > best.without.len() && fails(&smaller) {
                best = smaller;
            }
        }
        chunk /= 2;
    }
    for nodes in 2..plan.nodes.len() {
        let smaller = Overrides { nodes: Some(nodes), ..best.clone() };
        if best.nodes.is_none() && fails(&smaller) {
            best = smaller;
        }
    }
    for users in 1..plan.users {
        let smaller = Overrides { users: Some(users), ..best.clone() };
        if best.users.is_none() && fails(&smaller) {
            best = smaller;
        }
    }
    best
}
