//! One seed: a safety phase, in which faults strike; a liveness phase, in which everything has to come
//! right; and an end, at which nothing is to be left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::checks::Violation;
use crate::coverage::Coverage;
use crate::log::Log;
use crate::plan::Plan;
use crate::world::{Phase, World};

/// What became of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    /// Simulated.
    pub(crate) time: Duration,
    pub(crate) events: u64,
    pub(crate) coverage: Coverage,
    /// Of every line of the log, if there was one.
    pub(crate) hash: u64,
    /// The last lines of the log, if they were kept.
    pub(crate) last: Vec<String>,
    /// How the nodes were when something was wrong.
    pub(crate) state: Vec<String>,
}

/// How often it is looked whether everything has come right.
const STEP: Duration = Duration::from_millis(250);

/// So long no lock domain says anything: nothing is on its way.
const QUIET: Duration = Duration::from_secs(3);

/// Runs a plan. A panic of an engine is a violation too.
pub(crate) fn run(plan: &Plan, log: Log) -> Outcome {
    let mut world = World::new(plan.clone(), log);
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run())).err();
    if let Some(panic) = panicked {
        world.violation = None;
        world.fail("I20 no panic", text_of(&*panic));
    }
    let state = if world.violation.is_some() { world.state() } else { Vec::new() };
    Outcome {
        state,
        violation: world.violation,
        time: world.now,
        events: world.events,
        coverage: world.coverage,
        hash: world.log.hash(),
        last: world.log.last().map(str::to_owned).collect(),
    }
}

/// What a panic says.
pub(crate) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

impl World {
    fn run(&mut self) {
        self.run_until(self.plan.safety);
        if self.is_over() {
            return;
        }
        self.heal();
        self.come_right();
        if self.is_over() {
            return;
        }
        self.be_quiet();
        if self.is_over() {
            return;
        }
        for domain in 0..self.plan.domains {
            self.check_owners(domain);
            self.check_tables(domain);
            self.check_references(domain);
            self.check_notices(domain, true);
        }
        self.empty();
    }

    /// How long everything may take to come right: a death that has not been noticed yet, nodes that
    /// start and join, one after the other.
    fn bound(&self) -> Duration {
        let timeouts = self.plan.timeouts;
        let dead = Duration::from_millis(timeouts.dead_ms().into());
        let idle = Duration::from_millis(timeouts.idle_timeout_ms.into());
        Duration::from_secs(120) + 4 * (dead + idle)
    }

    fn come_right(&mut self) {
        let limit = self.now + self.bound();
        while !self.is_over() {
            self.run_until(self.now + STEP);
            let Some(why) = self.unsettled() else { return };
            if self.now >= limit {
                self.fail("I16 everything comes right", why);
            }
        }
    }

    /// Until nothing is on its way. (A node may still be fenced for what struck it before.)
    fn be_quiet(&mut self) {
        let limit = self.now + self.bound();
        while !self.is_over() {
            self.run_until(self.now + STEP);
            let unsettled = self.unsettled();
            let quiet = self.now >= self.last_message + QUIET;
            if unsettled.is_none() && quiet {
                return;
            }
            if self.now >= limit {
                let why = unsettled.unwrap_or_else(|| "messages go on for ever".to_owned());
                self.fail("I16 everything comes right", why);
            }
        }
    }

    fn empty(&mut self) {
        self.phase = Phase::Emptying;
        let limit = self.now + self.bound();
        while !self.is_over() {
            for index in 0..self.nodes.len() {
                self.give_up_all(index);
            }
            self.run_until(self.now + STEP);
            let Some(left) = self.leftovers() else { break };
            if self.now >= limit {
                self.fail("I20 leaks", left);
            }
        }
        if !self.is_over() {
            self.check_counters();
        }
    }
}
