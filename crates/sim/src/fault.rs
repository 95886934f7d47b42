//! The faults, and which of them a seed draws. What they do is in `chaos.rs`.
//!
//! Numbers F1 to F40 in comments are those of `docs/simulator.md`.

use std::time::Duration;

use o2cb::o2dlm::message::MessageType;

use crate::hostile::Hostility;
use crate::plan::Plan;
use crate::rng::Rng;

/// A fault and when it strikes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// Nodes are named by their place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// F3, F5: what one node sends to another is held up.
    Cut { from: usize, to: usize, lasts: Duration },
    /// F6: two nodes do not hear each other; the others hear both.
    Part { one: usize, other: usize, lasts: Duration },
    /// F4: the nodes whose bit is set, and the others, do not hear each other.
    Split { side: u8, lasts: Duration },
    /// F1: a link takes that much longer.
    SlowLink { from: usize, to: usize, by: Duration, lasts: Duration },
    /// F19: a node does nothing.
    Pause { node: usize, lasts: Duration },
    /// F21: each thing that a node does takes that long.
    Slow { node: usize, by: Duration, lasts: Duration },
    /// F16, F17, F18: a node's process ends; the peers see its connections end.
    Kill { node: usize, back: Duration },
    /// F16, F17, F32: a machine stops without a word.
    PowerOff { node: usize, back: Duration },
    /// F28: the nodes whose bit is set stop within a second.
    PowerOffMany { which: u8, back: Duration },
    /// F20, F26: the sender or receiver of the n-th such message stops, just before or after.
    Ambush { message: MessageType, nth: u64, sender: bool, before: bool, back: Duration },
    /// F22: a wall clock is set.
    ClockStep { node: usize, seconds: i64 },
    /// A node's disk takes that much longer.
    SlowDisk { node: usize, by: Duration, lasts: Duration },
    /// A node's disk does not answer.
    StuckDisk { node: usize, lasts: Duration },
    /// One of the regions does not answer a node.
    StuckRegion { node: usize, region: usize, lasts: Duration },
    /// F35: nobody's disk answers.
    StoragePause { lasts: Duration },
    /// A node's disk answers with errors.
    DiskErrors { node: usize, lasts: Duration },
    /// Half of what a node writes is on the disk for a while before the other half is.
    TornWrites { node: usize, lasts: Duration },
    /// Half of what a node writes arrives, and the write fails. What it reads is right.
    HalfWrites { node: usize, lasts: Duration },
    /// F29: a node leaves a domain, and joins it again.
    Leave { node: usize, domain: usize, back: Duration },
    /// A node stops in good order, and starts again.
    Stop { node: usize, back: Duration },
    /// F25: a user's process is killed.
    UserDies { node: usize },
    /// F24: handlers of a node that are told of deaths do not return.
    HandlersHang { node: usize, lasts: Duration },
    /// F36, F38: somebody connects from an address of no node, and talks.
    Stranger { to: usize },
    /// A node is wrong, or a user of it.
    Hostile(Hostility),
}

impl Fault {
    /// For the counts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Cut { .. } => "F5 one-way cut",
            Fault::Part { .. } => "F6 partial partition",
            Fault::Split { .. } => "F4 partition",
            Fault::SlowLink { .. } => "F1 slow link",
            Fault::Pause { .. } => "F19 pause",
            Fault::Slow { .. } => "F21 slow node",
            Fault::Kill { .. } => "F16 process killed",
            Fault::PowerOff { .. } => "F16 machine off",
            Fault::PowerOffMany { .. } => "F28 several machines off",
            Fault::Ambush { .. } => "F26 death at a message",
            Fault::ClockStep { .. } => "F22 clock step",
            Fault::SlowDisk { .. } => "F34 slow disk",
            Fault::StuckDisk { .. } => "F34 stuck disk",
            Fault::StuckRegion { .. } => "F34 stuck region",
            Fault::StoragePause { .. } => "F35 storage pause",
            Fault::DiskErrors { .. } => "F34 disk errors",
            Fault::TornWrites { .. } => "F34 torn writes",
            Fault::HalfWrites { .. } => "F34 half writes",
            Fault::Leave { .. } => "F29 leave",
            Fault::Stop { .. } => "F32 stop and start",
            Fault::UserDies { .. } => "F25 user dies",
            Fault::HandlersHang { .. } => "F24 handlers hang",
            Fault::Stranger { .. } => "F36 stranger",
            Fault::Hostile(what) => what.name(),
        }
    }
}

impl Fault {
    /// The last of the nodes that it is about.
    pub(crate) fn highest_node(self) -> usize {
        match self {
            Fault::Cut { from: one, to: other, .. }
            | Fault::Part { one, other, .. }
            | Fault::SlowLink { from: one, to: other, .. } => one.max(other),
            Fault::Pause { node, .. }
            | Fault::Slow { node, .. }
            | Fault::Kill { node, .. }
            | Fault::PowerOff { node, .. }
            | Fault::ClockStep { node, .. }
            | Fault::SlowDisk { node, .. }
            | Fault::StuckDisk { node, .. }
            | Fault::StuckRegion { node, .. }
            | Fault::DiskErrors { node, .. }
            | Fault::TornWrites { node, .. }
            | Fault::HalfWrites { node, .. }
            | Fault::Leave { node, .. }
            | Fault::Stop { node, .. }
            | Fault::UserDies { node }
            | Fault::HandlersHang { node, .. }
            | Fault::Stranger { to: node } => node,
            Fault::Hostile(what) => what.highest_node(),
            Fault::Split { .. }
            | Fault::PowerOffMany { .. }
            | Fault::Ambush { .. }
            | Fault::StoragePause { .. } => 0,
        }
    }
}

/// Kinds of faults that a seed takes or leaves together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Links,
    MoreLinks,
    Pauses,
    Deaths,
    Ambushes,
    Clocks,
    Disks,
    Storage,
    Leaves,
    Users,
    Handlers,
    Strangers,
}

const KINDS: [Kind; 12] = [
    Kind::Links,
    Kind::MoreLinks,
    Kind::Pauses,
    Kind::Deaths,
    Kind::Ambushes,
    Kind::Clocks,
    Kind::Disks,
    Kind::Storage,
    Kind::Leaves,
    Kind::Users,
    Kind::Handlers,
    Kind::Strangers,
];

/// The faults of a plan, in the order of time: some kinds of them, each seed others.
pub(crate) fn draw(plan: &Plan, rng: &mut Rng) -> Vec<Planned> {
    let share = rng.pick(&[10, 25, 40, 60]);
    let kinds: Vec<Kind> = KINDS.into_iter().filter(|_| rng.chance(share)).collect();
    let mut faults = Vec::new();
    if kinds.is_empty() {
        return faults;
    }
    let count = rng.pick(&[1, 2, 4, 8, 16]);
    let from = plan.faults_from.as_millis() as u64;
    let until = plan.safety.as_millis() as u64;
    // Some strike close to each other: a second one while the first is being dealt with.
    let mut at = rng.between(from, until);
    for _ in 0..count {
        at = if rng.chance(40) {
            (at + rng.between(0, 3000)).min(until)
        } else {
            rng.between(from, until)
        };
        let kind = rng.pick(&kinds);
        let fault = Draw { plan, rng }.one(kind);
        faults.push(Planned { at: Duration::from_millis(at), fault });
    }
    faults.sort_by_key(|planned| planned.at);
    faults
}

pub(crate) struct Draw<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) rng: &'a mut Rng,
}

impl Draw<'_> {
    fn one(&mut self, kind: Kind) -> Fault {
        match kind {
            Kind::Links | Kind::MoreLinks => self.links(),
            Kind::Pauses if self.rng.chance(70) => {
                Fault::Pause { node: self.node(), lasts: self.lasts() }
            }
            Kind::Pauses => {
                let by = Duration::from_millis(self.rng.pick(&[1, 10, 100]));
                Fault::Slow { node: self.node(), by, lasts: self.lasts() }
            }
            Kind::Deaths => self.deaths(),
            Kind::Ambushes => self.ambush(),
            Kind::Clocks => {
                let seconds = self.rng.pick(&[-86_400, -60, -1, 1, 60, 86_400]);
                Fault::ClockStep { node: self.node(), seconds }
            }
            Kind::Disks => self.disks(),
            Kind::Storage => Fault::StoragePause { lasts: self.lasts() },
            Kind::Leaves => {
                let domain = self.rng.below(self.plan.domains as u64) as usize;
                Fault::Leave { node: self.node(), domain, back: self.back() }
            }
            Kind::Users => Fault::UserDies { node: self.node() },
            Kind::Handlers => Fault::HandlersHang { node: self.node(), lasts: self.lasts() },
            Kind::Strangers => Fault::Stranger { to: self.node() },
        }
    }

    fn links(&mut self) -> Fault {
        let (from, to) = self.pair();
        let lasts = self.lasts();
        match self.rng.below(5) {
            0 | 1 => Fault::Cut { from, to, lasts },
            2 => Fault::Part { one: from, other: to, lasts },
            3 => Fault::Split { side: self.some(), lasts },
            _ => {
                let by = Duration::from_millis(self.rng.pick(&[5, 50, 400, 3000]));
                Fault::SlowLink { from, to, by, lasts }
            }
        }
    }

    fn deaths(&mut self) -> Fault {
        let (node, back) = (self.node(), self.back());
        match self.rng.below(6) {
            0 | 1 => Fault::Kill { node, back },
            2 | 3 => Fault::PowerOff { node, back },
            4 => Fault::PowerOffMany { which: self.some(), back },
            _ => Fault::Stop { node, back },
        }
    }

    fn ambush(&mut self) -> Fault {
        let rare = [
            MessageType::MasterRequest,
            MessageType::AssertMaster,
            MessageType::ProxyAst,
            MessageType::DerefLockres,
            MessageType::MigrateRequest,
            MessageType::MigLockres,
            MessageType::QueryJoin,
            MessageType::AssertJoined,
            MessageType::CancelJoin,
            MessageType::ExitDomain,
            MessageType::MasterRequery,
            MessageType::LockRequest,
            MessageType::RecoDataDone,
            MessageType::BeginReco,
            MessageType::FinalizeReco,
            MessageType::BeginExit,
            MessageType::DerefDone,
        ];
        let common = matches!(self.rng.below(4), 0);
        Fault::Ambush {
            message: self.rng.pick(&rare),
            nth: if common { self.rng.between(1, 40) } else { self.rng.between(1, 4) },
            sender: self.rng.chance(50),
            before: self.rng.chance(50),
            back: self.back(),
        }
    }

    fn disks(&mut self) -> Fault {
        let (node, lasts) = (self.node(), self.lasts());
        match self.rng.below(5) {
            0 | 1 => Fault::StuckDisk { node, lasts },
            2 => Fault::DiskErrors { node, lasts },
            3 => Fault::TornWrites { node, lasts },
            _ => {
                let by = Duration::from_millis(self.rng.pick(&[20, 500, 2500]));
                Fault::SlowDisk { node, by, lasts }
            }
        }
    }

    pub(crate) fn node(&mut self) -> usize {
        self.rng.below(self.plan.nodes.len() as u64) as usize
    }

    pub(crate) fn pair(&mut self) -> (usize, usize) {
        let one = self.node();
        let others = self.plan.nodes.len() as u64 - 1;
        let other = (one + 1 + self.rng.below(others) as usize) % self.plan.nodes.len();
        (one, other)
    }

    /// Some nodes, and not all.
    pub(crate) fn some(&mut self) -> u8 {
        let all = (1_u64 << self.plan.nodes.len()) - 1;
        self.rng.between(1, all - 1) as u8
    }

    /// From a blink to twice what makes a node dead.
    fn lasts(&mut self) -> Duration {
        let dead = u64::from(self.plan.timeouts.dead_ms());
        let most = self.rng.pick(&[100, 2000, dead / 2, dead, 2 * dead]);
        Duration::from_millis(self.rng.between(1, most))
    }

    /// Sooner than anybody has missed a node, or later.
    pub(crate) fn back(&mut self) -> Duration {
        let dead = u64::from(self.plan.timeouts.dead_ms());
        let most = self.rng.pick(&[50, 2000, dead, 3 * dead]);
        Duration::from_millis(self.rng.between(1, most))
    }
}
