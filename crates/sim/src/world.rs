//! The world: nodes, links and disks, and what happens to them next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use o2cb::NodeId;
use o2cb::heartbeat::RegionId;

use crate::checks::{CachedName, Grave, Lives, Outvoted, Register, Violation};
use crate::coverage::Coverage;
use crate::hostile::Hostile;
use crate::log::Log;
use crate::network::{Item, Network};
use crate::node::Node;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::storage::{DiskOp, Storage};

/// A lock resource: which domain, which name.
pub(crate) type Name = (usize, o2cb::o2dlm::message::LockName);

/// Something that happens. What is for one life of a node is dropped if that is over.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node starts.
    Start { node: usize },
    /// A timer of a node's engine.
    Timer { node: usize, life: u64 },
    /// Something for a node, which may have to wait until it runs again.
    Node { node: usize, life: u64, happens: Happens },
    /// A connection request reaches its target, or not, for the n-th time.
    Syn { connection: usize, attempt: u32 },
    /// Something reaches the far end of a connection.
    Arrive { connection: usize, from: usize, item: Item },
    /// A write reaches the medium.
    Media { node: usize, life: u64, region: usize, bytes: Vec<u8> },
    /// A disk is done.
    Disk { node: usize, life: u64, op: DiskOp },
    /// The fault of that number in the plan strikes.
    Fault(usize),
    /// A fault that lasts is over.
    Over(usize),
    /// A node stops without a word, and comes back.
    PowerOff { node: usize, life: u64, back: Duration },
    /// What holds at any time is looked at.
    Look,
}

/// What happens on a node, and waits while the node is paused.
#[derive(Debug)]
pub(crate) enum Happens {
    Accept {
        connection: usize,
    },
    Arrived {
        connection: usize,
        from: usize,
        item: Item,
    },
    Writable {
        connection: usize,
        end: usize,
    },
    SlotsRead {
        region: RegionId,
        read: Result<Vec<u8>, std::io::ErrorKind>,
    },
    SlotWritten {
        region: RegionId,
        written: Result<(), std::io::ErrorKind>,
    },
    /// The handlers of a domain were told of a death.
    Told {
        domain: usize,
        dead: NodeId,
    },
    /// The turn of a user.
    User {
        domain: usize,
        user: usize,
    },
    /// A user reacts to a notice.
    Heed {
        domain: usize,
        lock: o2cb::o2dlm::LockKey,
    },
    /// A flood of locks goes on: of which fault, and how many there are.
    Flood {
        fault: usize,
        made: u32,
    },
    /// The domains of a node are told of a death once more.
    DeathAgain {
        dead: NodeId,
    },
    /// A node looks whether it is where it is wanted: in its domains, or out.
    Life,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    sequence: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Which phase a world is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Faults strike, and nothing wrong may happen.
    Safety,
    /// Nothing strikes any more, and everything has to come right: users ask for nothing new, and give
    /// up what others want.
    Liveness,
    /// Users give up everything.
    Emptying,
}

/// So many events at one moment are a loop.
const EVENTS_AT_ONCE_MAX: u64 = 200_000;

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Duration,
    pub(crate) phase: Phase,
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    at_once: u64,
    pub(crate) events: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) storage: Storage,
    pub(crate) registers: BTreeMap<Name, Register>,
    /// Names whose locks are cached.
    pub(crate) cached_names: BTreeMap<Name, CachedName>,
    /// Values that users of cached locks have written.
    pub(crate) cached_values: u64,
    pub(crate) graves: Vec<Grave>,
    /// By node: whether it has to stop.
    pub(crate) outvoted: Vec<Option<Outvoted>>,
    /// Ambushes that are laid: by number of the fault, how many more such messages pass.
    pub(crate) ambushes: Vec<(usize, u64)>,
    /// When a message of a lock domain was last sent.
    pub(crate) last_message: Duration,
    pub(crate) log: Log,
    pub(crate) coverage: Coverage,
    pub(crate) violation: Option<Violation>,
    /// A node lives on time that it has agreed on, and is missed all the same: nothing that happens from now
    /// on can be judged.
    pub(crate) undefended: bool,
    /// Names that were made by a node for itself.
    pub(crate) fresh: u64,
    pub(crate) generations: u64,
    /// Disturbances that may be the reason for a fence: who, and until when.
    pub(crate) disturbed: Vec<(u64, Duration, Duration)>,
    pub(crate) hostile: Hostile,
    pub(crate) lives: Lives,
}

impl World {
    pub(crate) fn new(plan: Plan, log: Log) -> World {
        let mut world = World {
            rng: Rng::new(plan.seed),
            now: Duration::from_secs(1),
            phase: Phase::Safety,
            queue: BinaryHeap::new(),
            sequence: 0,
            at_once: 0,
            events: 0,
            nodes: Vec::new(),
            network: Network::new(plan.nodes.len()),
            storage: Storage::new(plan.nodes.len(), plan.global_regions.max(1)),
            registers: BTreeMap::new(),
            cached_names: BTreeMap::new(),
            cached_values: 0,
            graves: Vec::new(),
            outvoted: vec![None; plan.nodes.len()],
            ambushes: Vec::new(),
            last_message: Duration::ZERO,
            log,
            coverage: Coverage::default(),
            violation: None,
            undefended: false,
            fresh: 0,
            generations: plan.seed << 20,
            disturbed: Vec::new(),
            hostile: Hostile::new(plan.nodes.len()),
            lives: Lives::new(),
            plan,
        };
        for index in 0..world.plan.nodes.len() {
            world.nodes.push(Node::new(&world.plan, index));
            let wait = Duration::from_millis(world.rng.below(world.plan.start_ms));
            world.after(wait, Event::Start { node: index });
        }
        for index in 0..world.plan.faults.len() {
            world.at(world.plan.faults[index].at, Event::Fault(index));
        }
        // Without users there is nothing to look at, and `scale` may have a million locks.
        if world.plan.users > 0 {
            world.after(Duration::from_secs(1), Event::Look);
        }
        world
    }

    pub(crate) fn at(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        let entry = Entry { at: at.max(self.now), sequence: self.sequence, event };
        self.queue.push(Reverse(entry));
    }

    pub(crate) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// For a node in its present life.
    pub(crate) fn node_after(&mut self, wait: Duration, node: usize, happens: Happens) {
        let life = self.nodes[node].life;
        self.after(wait, Event::Node { node, life, happens });
    }

    pub(crate) fn millis(&mut self, (from, to): (u64, u64)) -> Duration {
        Duration::from_millis(self.rng.between(from, to))
    }

    pub(crate) fn micros(&mut self, (from, to): (u64, u64)) -> Duration {
        Duration::from_micros(self.rng.between(from, to))
    }

    /// A line of the log.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        self.log.note(self.now, line);
    }

    /// Something is wrong: the world ends. The first finding counts.
    pub(crate) fn fail(&mut self, check: &'static str, what: String) {
        if self.violation.is_none() {
            self.log.note(self.now, || format!("!! {check}: {what}"));
            self.violation = Some(Violation { at: self.now, check, what });
        }
    }

    /// Lets things happen until that time, or until something is wrong.
    pub(crate) fn run_until(&mut self, until: Duration) {
        while !self.is_over() {
            match self.queue.peek() {
                Some(Reverse(entry)) if entry.at <= until => {}
                _ => break,
            }
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            self.at_once = if entry.at == self.now { self.at_once + 1 } else { 0 };
            if self.at_once > EVENTS_AT_ONCE_MAX {
                self.fail("I20 bounded", format!("it does not come to an end: {:?}", entry.event));
            }
            self.now = entry.at;
            self.events += 1;
            self.happen(entry.sequence, entry.event);
        }
        if !self.is_over() {
            self.now = self.now.max(until);
        }
    }

    /// Something is wrong, or nothing more can be.
    pub(crate) fn is_over(&self) -> bool {
        self.undefended || self.violation.is_some()
    }

    /// When something happens next.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse(entry)| entry.at)
    }

    fn happen(&mut self, sequence: u64, event: Event) {
        match event {
            Event::Start { node } => self.start(node),
            Event::Timer { node, life } => {
                if let Some(event) = self.stands_in_line(node, life, sequence, event) {
                    let Event::Timer { node, .. } = event else { return };
                    self.timer(node);
                }
            }
            Event::Node { node, life, .. } => {
                if let Some(event) = self.stands_in_line(node, life, sequence, event) {
                    let Event::Node { node, happens, .. } = event else { return };
                    self.happen_on(node, happens);
                }
            }
            Event::Syn { connection, attempt } => self.syn(connection, attempt),
            Event::Arrive { connection, from, item } => self.arrive(connection, from, item),
            Event::Media { node, life, region, bytes } => self.media(node, life, region, &bytes),
            Event::Disk { node, life, op } => self.disk_done(node, life, op),
            Event::Fault(index) => self.strike(index),
            Event::Over(index) => self.over(index),
            Event::PowerOff { node, life, back } => {
                if self.nodes[node].life == life && self.phase == Phase::Safety {
                    self.power_off(node, back);
                }
            }
            Event::Look => {
                self.look();
                self.after(Duration::from_millis(100), Event::Look);
            }
        }
    }

    /// Gives the event back if the node is alive, awake and not busy; keeps it for later if it is.
    fn stands_in_line(
        &mut self,
        index: usize,
        life: u64,
        sequence: u64,
        event: Event,
    ) -> Option<Event> {
        let now = self.now;
        let node = &mut self.nodes[index];
        if node.life != life || node.up.is_none() {
            return None;
        }
        if node.pauses > 0 {
            node.backlog.push((sequence, event));
            return None;
        }
        if node.busy_until > now {
            let at = node.busy_until;
            // Its place in line is kept.
            self.queue.push(Reverse(Entry { at, sequence, event }));
            return None;
        }
        if !node.slow.is_zero() {
            node.busy_until = now + node.slow;
        }
        Some(event)
    }

    fn happen_on(&mut self, node: usize, happens: Happens) {
        match happens {
            Happens::Accept { connection } => self.accept(node, connection),
            Happens::Arrived { connection, from, item } => {
                self.take(node, connection, from, item);
            }
            Happens::Writable { connection, end } => self.writable(node, connection, end),
            Happens::SlotsRead { region, read } => self.slots_read(node, region, read),
            Happens::SlotWritten { region, written } => self.slot_written(node, region, written),
            Happens::Told { domain, dead } => self.users_told(node, domain, dead),
            Happens::User { domain, user } => self.user_turn(node, domain, user),
            Happens::Heed { domain, lock } => self.heed(node, domain, lock),
            Happens::Flood { fault, made } => self.flood(node, fault, made),
            Happens::DeathAgain { dead } => self.death_again(node, dead),
            Happens::Life => self.life(node),
        }
        self.settle(node);
    }
}
