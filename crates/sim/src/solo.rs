//! Solo worlds: processes of one host, and the `user` stack that serves them, in virtual time.
//!
//! The production path without its sockets: the glue, the plugin, the engine and the lock model. A
//! call is over when everything that follows from it was told, and so most of what must hold is judged
//! behind each call.

mod asks;
mod checks;
mod claim;
mod faults;
mod host;
mod plan;
#[cfg(test)]
mod tests;
mod users;
mod value;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use stackglue::{Mode, ResourceName, ResourceView};

use crate::checks::Violation;
use crate::coverage::Coverage;
use crate::log::Log;
use crate::rng::Rng;
use crate::run::{Outcome, text_of};
use claim::{Claim, Line};
use host::Host;
pub(crate) use plan::Plan;
use users::User;

/// What the lines of a log mean.
pub(crate) const LEGEND: &str = "\
  seconds  event
  p0.u1 Lock(EX) ... k7       a user of process 0 makes a call about its lock 7
  p0.u1 has ... k7            it is told
  ## ...                      a fault strikes, or is over
  !! ...                      what must not happen
";

/// What has to happen in any two hundred seeds.
pub(crate) const REQUIRED: &[&str] = &[
    "solo: F16 daemon killed",
    "solo: F21 process paused",
    "solo: F25 process killed",
    "solo: F29 lockspace left",
    "solo: abandoned lock dropped",
    "solo: abandoned lock orphaned",
    "solo: cancel: too late",
    "solo: cancelled: conversion",
    "solo: cancelled: request",
    "solo: demoted",
    "solo: granted after a wait",
    "solo: granted at once",
    "solo: granted in the alternate mode",
    "solo: notice",
    "solo: notice heeded",
    "solo: orphan adopted",
    "solo: orphan purged",
    "solo: refused: EAGAIN",
    "solo: refused: EBUSY",
    "solo: refused: EDEADLK",
    "solo: refused: EINVAL",
    "solo: refused: ENOENT",
    "solo: unlock of a waiting conversion",
    "solo: unlock of a waiting request",
    "solo: unlocked inside a notice",
    "solo: value read",
    "solo: value read: not valid",
];

/// So long everything may take to come right.
const BOUND: Duration = Duration::from_secs(20);

/// How often the tables are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a seed. A panic of the engine is a violation too.
pub(crate) fn run(seed: u64, log: Log) -> Outcome {
    let mut world = World::new(seed, log);
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

/// What the seed makes of it.
pub(crate) fn plan_of(seed: u64) -> Plan {
    Plan::of(seed, &mut rng_of(seed))
}

/// Other numbers than those of the clusters' world of that seed.
fn rng_of(seed: u64) -> Rng {
    Rng::new(seed ^ 0x50_10_50_10)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Turn {
        user: usize,
        turn: u64,
    },
    Heed {
        claim: usize,
        grant: u64,
    },
    Fault(usize),
    /// A process takes the place of one that was killed.
    Back {
        process: usize,
    },
    Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Safety,
    Liveness,
    Emptying,
}

#[derive(Clone, Copy, Debug, Default)]
struct Process {
    is_gone: bool,
    paused_until: Duration,
}

struct World {
    plan: Plan,
    rng: Rng,
    now: Duration,
    phase: Phase,
    queue: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    host: Host,
    epoch: u32,
    processes: Vec<Process>,
    users: Vec<User>,
    claims: Vec<Claim>,
    lines: Vec<Line>,
    names: Vec<String>,
    /// How many values were written.
    values: u64,
    log: Log,
    coverage: Coverage,
    violation: Option<Violation>,
    events: u64,
}

impl World {
    fn new(seed: u64, log: Log) -> World {
        let mut rng = rng_of(seed);
        let plan = Plan::of(seed, &mut rng);
        let host = Host::start(plan.epoch, rng.next());
        let user = |at: usize| User { process: at / plan.users, ..User::default() };
        let mut world = World {
            now: Duration::ZERO,
            phase: Phase::Safety,
            queue: BinaryHeap::new(),
            sequence: 0,
            host,
            epoch: plan.epoch,
            processes: vec![Process::default(); plan.processes],
            users: (0..plan.processes * plan.users).map(user).collect(),
            claims: Vec::new(),
            lines: (0..plan.names).map(|_| Line::default()).collect(),
            names: (0..plan.names).map(|name| format!("name {name}")).collect(),
            values: 0,
            log,
            coverage: Coverage::default(),
            violation: None,
            events: 0,
            plan,
            rng,
        };
        for fault in 0..world.plan.faults.len() {
            world.schedule(world.plan.faults[fault].0, Event::Fault(fault));
        }
        world.schedule(LOOK, Event::Look);
        (0..world.users.len()).for_each(|user| world.turn_soon(user));
        world
    }

    fn run(&mut self) {
        self.run_until(self.plan.safety);
        self.heal();
        self.run_until(self.now + BOUND);
        self.check_waiters();
        self.check_tables();
        self.empty();
    }

    fn run_until(&mut self, until: Duration) {
        while self.violation.is_none()
            && let Some(Reverse((at, _, event))) = self.queue.peek().copied()
            && at <= until
        {
            self.queue.pop();
            self.now = at;
            self.events += 1;
            self.happens(event);
        }
        if self.violation.is_none() {
            self.now = until;
        }
    }

    fn schedule(&mut self, delay: Duration, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + delay, self.sequence, event)));
    }

    fn happens(&mut self, event: Event) {
        let process = match event {
            Event::Turn { user, .. } => Some(self.users[user].process),
            Event::Heed { claim, .. } => Some(self.users[self.claims[claim].user].process),
            _ => None,
        };
        if let Some(process) = process.map(|process| self.processes[process])
            && process.paused_until > self.now
        {
            return self.schedule(process.paused_until - self.now, event);
        }
        match event {
            Event::Turn { user, turn } if self.users[user].turn == turn => self.turn(user),
            Event::Heed { claim, grant } if self.claims[claim].grants == grant => self.heed(claim),
            Event::Turn { .. } | Event::Heed { .. } => {}
            Event::Fault(at) if self.phase == Phase::Safety => self.strike(self.plan.faults[at].1),
            Event::Fault(_) => {}
            Event::Back { process } => self.back(process),
            Event::Look => {
                self.check_tables();
                self.schedule(LOOK, Event::Look);
            }
        }
    }

    /// No fault strikes any more, and nobody asks for anything new: orphans go, and who was told gives
    /// way.
    fn heal(&mut self) {
        self.note(|_| "## the faults are over".to_owned());
        self.phase = Phase::Liveness;
        self.processes.iter_mut().for_each(|process| process.paused_until = Duration::ZERO);
        self.purge();
        for at in 0..self.claims.len() {
            if !self.claims[at].told.is_empty() {
                self.notice(at);
            }
        }
        (0..self.users.len()).for_each(|user| self.turn_soon(user));
    }

    /// I16: everybody who waited was granted, or told why not.
    fn check_waiters(&mut self) {
        let stuck = |at: &usize| self.claims[*at].operation.is_some();
        if let Some(at) = (0..self.claims.len()).find(stuck) {
            let operation = self.claims[at].operation;
            self.fail("I16 everything comes right", format!("k{at} still waits: {operation:?}"));
        }
    }

    /// I20: when all is given up nothing is left, and the lockspace can be left.
    fn empty(&mut self) {
        self.phase = Phase::Emptying;
        for user in 0..self.users.len() {
            if self.violation.is_none() {
                self.turn(user);
            }
        }
        let mut left = Vec::new();
        let visitor = &mut |view: ResourceView<'_>| left.push(format!("{view:?}"));
        self.host.connection().visit_resources(visitor);
        if let Some(left) = left.first() {
            self.fail("I20 leaks", format!("left: {left}"));
        }
        let late = self.host.rejoin();
        if !late.is_empty() {
            self.fail("I6 outcomes", format!("told when the lockspace is left: {late:?}"));
        }
    }

    fn orphans(&self, name: usize) -> impl Iterator<Item = (usize, Mode)> {
        let orphan = |at: &usize| self.claims[*at].held.filter(|_| self.claims[*at].orphan);
        self.lines[name].live.iter().filter_map(move |at| Some((*at, orphan(at)?)))
    }

    fn resource_name(&self, name: usize) -> ResourceName<'_> {
        ResourceName::new(self.names[name].as_bytes()).expect("a short name")
    }

    fn name_of(&self, name: ResourceName<'_>) -> Option<usize> {
        self.names.iter().position(|other| other.as_bytes() == name.as_bytes())
    }

    fn who(&self, at: usize) -> String {
        let user = self.claims[at].user;
        format!("p{}.u{}", self.users[user].process, user % self.plan.users)
    }

    fn count(&mut self, what: &str) {
        self.coverage.count(&format!("solo: {what}"));
    }

    fn note(&mut self, line: impl FnOnce(&World) -> String) {
        let mut log = std::mem::replace(&mut self.log, Log::off());
        log.note(self.now, || line(self));
        self.log = log;
    }

    fn fail(&mut self, check: &'static str, what: String) {
        if self.violation.is_none() {
            self.note(|_| format!("!! {check}: {what}"));
            self.violation = Some(Violation { at: self.now, check, what });
        }
    }

    /// The lines at all names, for a person who looks.
    fn state(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, line) in self.names.iter().zip(&self.lines) {
            lines.push(format!("{name}: {line:?}"));
            for &at in &line.live {
                let claim = &self.claims[at];
                lines.push(format!("   {} k{at} {claim:?}", self.who(at)));
            }
        }
        lines
    }
}
