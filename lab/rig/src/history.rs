//! What the nodes of a cluster did with locks, written down by themselves, and whether it may have been.
//!
//! A *life* of a node is from its join to its death, or to the end. In it the node writes a log, a line
//! for each step, with the time at which it was made:
//!
//! | line | when |
//! |---|---|
//! | `TIME ask OP NAME pr\|ex` | before it asks for a lock on NAME |
//! | `TIME got OP VALUE` | it was granted, and this is the value block; `-` if that is zeros |
//! | `TIME refused OP` | it was not granted, and never will be |
//! | `TIME put OP` | before it lets go of the lock |
//! | `TIME let OP` | after that |
//!
//! With EX, a node writes OP into the value block when it lets go, so no two writes are alike. A line is
//! written out before the next step is made: what a dead node's log does not have may have happened or
//! not, but only one step of it.

mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a lock was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// PR: may be held beside others like it.
    Read,
    /// EX: alone.
    Write,
}

/// The lives of all nodes of a cluster.
#[derive(Default)]
pub struct History {
    lives: Vec<Life>,
}

/// One life of a node.
#[derive(Clone, Debug)]
pub struct Life {
    /// Which node.
    pub node: u8,
    /// When it was in the cluster at the latest. A node comes in only after everybody has recovered
    /// from the death that ended its life before.
    pub joined: Duration,
    /// When it was killed, if it was.
    pub death: Option<Death>,
    /// Its operations, by their ids.
    operations: BTreeMap<String, Operation>,
    /// The time of its last step.
    last: Duration,
}

/// When a node was killed: not before the first, and not after the second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// The kill was about to be sent.
    pub from: Duration,
    /// The node was gone.
    pub by: Duration,
}

/// One lock from request to release, as far as it came.
#[derive(Clone, Debug)]
struct Operation {
    name: String,
    access: Access,
    asked: Duration,
    outcome: Option<Outcome>,
}

#[derive(Clone, Debug)]
enum Outcome {
    Refused,
    Granted(Grant),
}

#[derive(Clone, Debug)]
struct Grant {
    at: Duration,
    value: Value,
    putting: Option<Duration>,
    is_over: bool,
}

/// What is in a value block: which operation wrote it, or zeros.
type Value = Option<String>;

impl Life {
    /// A life with nothing in its log.
    pub fn new(node: u8, joined: Duration) -> Life {
        Life { node, joined, death: None, operations: BTreeMap::new(), last: joined }
    }

    /// Adds a log, or one of several (of threads, or of processes). `clock` says what its times mean.
    ///
    /// # Errors
    ///
    /// The line that is no step, or not the next step of its operation.
    pub fn read(&mut self, log: &str, clock: impl Fn(u64) -> Duration) -> Result<(), String> {
        for line in log.lines() {
            let step = self.step(line, &clock);
            step.ok_or_else(|| format!("not a next step of node {}: {line}", self.node))?;
        }
        Ok(())
    }

    fn step(&mut self, line: &str, clock: &impl Fn(u64) -> Duration) -> Option<()> {
        let words: Vec<_> = line.split_whitespace().collect();
        let (&[time, verb, id], rest) = words.split_first_chunk()?;
        let now = clock(time.parse().ok()?);
        self.last = self.last.max(now);
        if verb == "ask" {
            let &[name, mode] = rest else { return None };
            let access = match mode {
                "pr" => Access::Read,
                "ex" => Access::Write,
                _ => return None,
            };
            let asked = Operation { name: name.to_owned(), access, asked: now, outcome: None };
            return self.operations.insert(id.to_owned(), asked).is_none().then_some(());
        }
        let operation = self.operations.get_mut(id)?;
        match (verb, rest, &mut operation.outcome) {
            ("refused", [], outcome @ None) => *outcome = Some(Outcome::Refused),
            ("got", &[value], outcome @ None) => {
                let value = (value != "-").then(|| value.to_owned());
                let grant = Grant { at: now, value, putting: None, is_over: false };
                *outcome = Some(Outcome::Granted(grant));
            }
            ("put", [], Some(Outcome::Granted(grant))) if grant.putting.is_none() => {
                grant.putting = Some(now);
            }
            ("let", [], Some(Outcome::Granted(grant)))
                if grant.putting.is_some() && !grant.is_over =>
            {
                grant.is_over = true;
            }
            _ => return None,
        }
        Some(())
    }

    /// How many locks it was granted from then on.
    pub fn grants_since(&self, time: Duration) -> usize {
        let outcomes = self.operations.values().map(|operation| &operation.outcome);
        let granted = outcomes
            .filter(|outcome| matches!(outcome, Some(Outcome::Granted(grant)) if grant.at >= time));
        granted.count()
    }
}

impl History {
    /// Adds a life. Those of one node in their order.
    pub fn add(&mut self, life: Life) {
        self.lives.push(life);
    }

    /// The lives that were added.
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// What happened that must not. Empty if all was well.
    ///
    /// *Exclusion* is judged at the holders: of two that were sure to hold a lock at the same time,
    /// one with EX. Who is killed holds nothing any more. *Values*: under a lock a node sees what was
    /// last written under EX, or zeros if a node died that may have had the value: the writer that
    /// still held EX (its own write may have come through), or the master. A dead node's value is
    /// lost once for each name. *Life*: nothing is done by the dead, and whoever lives was answered.
    pub fn violations(&self) -> Vec<Violation> {
        check::violations(&self.lives)
    }
}

/// Something that must not happen, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two held a lock at the same time, one with EX.
    Together {
        /// The one that had it first.
        first: String,
        /// The other.
        second: String,
    },
    /// A node saw another value than the last.
    Value {
        /// Who saw it, and what.
        reader: String,
        /// What it could have been.
        possible: String,
    },
    /// A node went on after its death.
    Ghost {
        /// Which life, and when.
        life: String,
    },
    /// A node that lived was never told whether it has a lock, or that it has let go of it.
    Unanswered {
        /// What it had asked for.
        operation: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Together { first, second } => write!(f, "{first} and {second} at once"),
            Violation::Value { reader, possible } => write!(f, "{reader}, not {possible}"),
            Violation::Ghost { life } => write!(f, "{life} went on after its death"),
            Violation::Unanswered { operation } => write!(f, "{operation} was never answered"),
        }
    }
}
