//! Nodes that are wrong: of another version, short of memory, slow to stop; frames that are not to be
//! taken; users that want too much. Some seeds have these besides their own faults.

mod draw;
mod forge;

use std::collections::BTreeMap;
use std::time::Duration;

use o2cb::NodeId;
use o2cb::o2dlm::message::{
    CreateLock, LkmFlags, LockMode, LockName, MessageType, MigFlags, MigLockres, Status,
};
use o2cb::o2net::{HEADER_LEN, Header, Kind, NetConfig, PROTOCOL_VERSION, Refusal};

pub(crate) use draw::invite;
pub(crate) use forge::Forged;
use forge::{Forgery, Garbage};

use crate::fault::Fault;
use crate::node::{Node, address};
use crate::world::{Event, Happens, Phase, World};

/// Nodes are named by their place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hostility {
    /// F14, F37, F38: between two frames of a node comes one that is to be refused.
    Forged { from: usize, to: usize, forgery: Forgery },
    /// F14, F38: a node sends what is no frame, and dies of whatever made it do so; or lives on, if the
    /// two have no domain in common that would miss what is lost with their connection.
    Garbage { from: usize, to: usize, garbage: Garbage, back: Option<Duration> },
    /// F38: a second connection comes from a node's address.
    Second { from: usize, to: usize },
    /// F36: a node comes back as another than the cluster is made of.
    Misfit { node: usize, misfit: Misfit, back: Duration, lasts: Duration },
    /// F39, F40: a user makes thousands of locks at once.
    Flood { node: usize, locks: u32, names: Names, lasts: Duration },
    /// F30: a node's domains hear of each death a second time.
    ToldTwice { node: usize, lasts: Duration },
    /// F30: a node that has to stop takes that long for it.
    SlowFence { node: usize, by: Duration, lasts: Duration },
    /// F23: a node has no memory for half of what it is asked.
    NoMemory { node: usize, lasts: Duration },
}

/// What is other about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    Version,
    IdleTimeout,
    KeepaliveDelay,
    HeartbeatTimeout,
    /// The version of the locking protocol: of its domains, not of its connections.
    FsVersion,
    /// The nodes that it knows.
    Nodes,
}

/// What the names of a flood are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// So many of them.
    Few(u32),
    /// One for each lock.
    All,
    /// The same, and a hash whose seed is known is the same for all.
    Colliding,
}

impl Misfit {
    /// Whether connections are refused.
    pub(crate) fn is_of_connections(self) -> bool {
        !matches!(self, Misfit::FsVersion | Misfit::Nodes)
    }

    /// The configuration of a node that is other.
    pub(crate) fn configures(self, net: &mut NetConfig) {
        match self {
            Misfit::IdleTimeout => net.idle_timeout_ms += 1,
            Misfit::KeepaliveDelay => net.keepalive_delay_ms += 1,
            Misfit::HeartbeatTimeout => net.heartbeat_timeout_ms += 2000,
            Misfit::Version | Misfit::FsVersion | Misfit::Nodes => {}
        }
    }
}

/// What is under way of these, by node.
#[derive(Debug)]
pub(crate) struct Hostile {
    /// What waits for a place between two frames, or for another to be over: by number of the fault.
    waiting: Vec<usize>,
    pub(crate) forged: u64,
    /// Messages that it has refused.
    pub(crate) refusals: Vec<u64>,
    /// Answers that a node has not asked for: by who answers, and who did not ask.
    pub(crate) answers: BTreeMap<(NodeId, usize), u64>,
    pub(crate) misfits: Vec<Option<Misfit>>,
    /// The fault that one comes of.
    misfit_fault: Option<usize>,
    told_twice: Vec<u32>,
    slow_fences: Vec<Vec<Duration>>,
    /// It has to stop, and has not yet; whether its time was up by then.
    stopping: Vec<Option<bool>>,
    no_memory: Vec<u32>,
    /// Locks of it that others had no memory for, and it has not heard so.
    refused_locks: Vec<u64>,
}

impl Hostile {
    pub(crate) fn new(nodes: usize) -> Hostile {
        Hostile {
            waiting: Vec::new(),
            forged: 0,
            refusals: vec![0; nodes],
            answers: BTreeMap::new(),
            misfits: vec![None; nodes],
            misfit_fault: None,
            told_twice: vec![0; nodes],
            slow_fences: vec![Vec::new(); nodes],
            stopping: vec![None; nodes],
            no_memory: vec![0; nodes],
            refused_locks: vec![0; nodes],
        }
    }
}

impl Hostility {
    /// For the counts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Hostility::Forged { forgery: Forgery::OtherNode(_), .. } => "F37 another node's number",
            Hostility::Forged { forgery: Forgery::Flipped(_), .. } => "F14 corrupt frame",
            Hostility::Forged { .. } => "F38 frame to refuse",
            Hostility::Garbage { garbage: Garbage::Magic | Garbage::TooLong, .. } => {
                "F14 corrupt header"
            }
            Hostility::Garbage { .. } => "F38 no frame",
            Hostility::Second { .. } => "F38 second connection",
            Hostility::Misfit { .. } => "F36 mixed versions",
            Hostility::Flood { names: Names::Colliding, .. } => "F40 names that collide",
            Hostility::Flood { .. } => "F39 lock flood",
            Hostility::ToldTwice { .. } => "F30 told twice",
            Hostility::SlowFence { .. } => "F30 slow to stop",
            Hostility::NoMemory { .. } => "F23 out of memory",
        }
    }

    /// The last of the nodes that it is about.
    pub(crate) fn highest_node(self) -> usize {
        match self {
            Hostility::Forged { from, to, .. }
            | Hostility::Garbage { from, to, .. }
            | Hostility::Second { from, to } => from.max(to),
            Hostility::Misfit { node, .. }
            | Hostility::Flood { node, .. }
            | Hostility::ToldTwice { node, .. }
            | Hostility::SlowFence { node, .. }
            | Hostility::NoMemory { node, .. } => node,
        }
    }

    /// How long it may be the reason for a fence.
    pub(crate) fn disturbs(self) -> Option<Duration> {
        match self {
            Hostility::Garbage { back, .. } => Some(back.unwrap_or_default()),
            _ => None,
        }
    }
}

impl World {
    /// Begins it; how long it lasts, if it does.
    pub(crate) fn begin_hostility(&mut self, what: Hostility, at: usize) -> Option<Duration> {
        match what {
            Hostility::Forged { .. } | Hostility::Garbage { .. } | Hostility::Misfit { .. } => {
                self.hostile.waiting.push(at);
                self.begin_waiting();
                None
            }
            Hostility::Second { from, to } => {
                self.second_connection(from, to);
                None
            }
            Hostility::Flood { node, lasts, .. } => {
                self.node_after(Duration::ZERO, node, Happens::Flood { fault: at, made: 0 });
                Some(lasts)
            }
            Hostility::ToldTwice { node, lasts } => {
                self.hostile.told_twice[node] += 1;
                Some(lasts)
            }
            Hostility::SlowFence { node, by, lasts } => {
                self.hostile.slow_fences[node].push(by);
                Some(lasts)
            }
            Hostility::NoMemory { node, lasts } => {
                self.hostile.no_memory[node] += 1;
                Some(lasts)
            }
        }
    }

    pub(crate) fn end_hostility(&mut self, what: Hostility) {
        match what {
            Hostility::Misfit { node, .. } => {
                self.hostile.misfit_fault = None;
                self.hostile.misfits[node] = None;
                let back = self.millis((1, 3000));
                self.process_ends(node, back);
            }
            Hostility::Flood { node, .. } => self.end_flood(node),
            Hostility::ToldTwice { node, .. } => self.hostile.told_twice[node] -= 1,
            Hostility::SlowFence { node, .. } => {
                self.hostile.slow_fences[node].pop();
            }
            Hostility::NoMemory { node, .. } => self.hostile.no_memory[node] -= 1,
            Hostility::Forged { .. } | Hostility::Garbage { .. } | Hostility::Second { .. } => {}
        }
    }

    /// All of it is over.
    pub(crate) fn heal_hostile(&mut self) {
        self.hostile.waiting.clear();
        self.hostile.misfit_fault = None;
        for index in 0..self.nodes.len() {
            self.hostile.told_twice[index] = 0;
            self.hostile.slow_fences[index].clear();
            self.hostile.no_memory[index] = 0;
            self.end_flood(index);
            let stops = self.hangs(index);
            if self.hostile.misfits[index].take().is_some() || stops {
                self.process_ends(index, Duration::from_secs(1));
            }
        }
    }

    /// Begins what waits for its moment.
    pub(crate) fn begin_waiting(&mut self) {
        for at in std::mem::take(&mut self.hostile.waiting) {
            let done = match self.plan.faults[at].fault {
                Fault::Hostile(Hostility::Forged { from, to, forgery }) => {
                    self.nodes[from].pauses == 0 && self.forge(from, to, forgery)
                }
                Fault::Hostile(Hostility::Garbage { from, to, garbage, back }) => {
                    self.garbage_comes(from, to, garbage, back)
                }
                // One at a time: two might fit each other.
                Fault::Hostile(Hostility::Misfit { node, misfit, back, lasts }) => {
                    let free = self.hostile.misfit_fault.is_none();
                    if free {
                        self.hostile.misfit_fault = Some(at);
                        self.hostile.misfits[node] = Some(misfit);
                        self.disturb((1 << self.nodes.len()) - 1, back + lasts);
                        self.process_ends(node, back);
                        self.after(back + lasts, Event::Over(at));
                    }
                    free
                }
                _ => true,
            };
            if !done {
                self.hostile.waiting.push(at);
            }
        }
    }

    fn garbage_comes(
        &mut self,
        from: usize,
        to: usize,
        garbage: Garbage,
        back: Option<Duration>,
    ) -> bool {
        if let Some(back) = back {
            let sent = self.nodes[from].pauses == 0 && self.send_garbage(from, to, garbage);
            if sent && self.rng.chance(50) {
                self.process_ends(from, back);
            } else if sent {
                self.power_off(from, back);
            }
            return sent;
        }
        let out = |world: &World, index: usize| {
            let up = world.nodes[index].up.as_ref();
            up.is_some_and(|up| up.domains.iter().all(|domain| domain.id.is_none()))
        };
        let idles = |node: &Node| node.pauses == 0 && node.slow.is_zero();
        if !(out(self, from) || out(self, to))
            || ![from, to].iter().all(|at| idles(&self.nodes[*at]))
        {
            return false;
        }
        let forged = self.garbage(from, to, garbage);
        self.comes_at_once(from, to, &forged)
    }

    /// A node has one connection: whoever comes from its address besides is refused.
    fn second_connection(&mut self, from: usize, to: usize) {
        let (sender, local) = (self.nodes[from].id, self.local(to));
        let Some(up) = &mut self.nodes[to].up else { return };
        let me = up.stack.me();
        if sender > me && !up.sockets.contains_key(&sender) {
            return;
        }
        match up.stack.accepted(local, address(sender)) {
            Err(Refusal::Busy(_) | Refusal::NotHigher(_) | Refusal::HeartbeatDown(_)) => {
                self.coverage.count("refused: second connection");
            }
            other => self.fail("I21 lock-step", format!("n{me} takes n{sender} twice: {other:?}")),
        }
        self.settle(to);
    }
}

/// Misfits.
impl World {
    /// What a node is told by a peer, or tells it, of another version: of two nodes with different ones
    /// each sees its own and another.
    pub(crate) fn announce(&self, from: usize, to: usize, handshake: &mut [u8]) {
        let is = |index: usize| self.hostile.misfits[index] == Some(Misfit::Version);
        let version = match (is(from), is(to)) {
            (true, false) => PROTOCOL_VERSION + 1,
            (false, true) => PROTOCOL_VERSION - 1,
            _ => return,
        };
        if let Some((start, _)) = handshake.split_first_chunk_mut() {
            *start = version.to_be_bytes();
        }
    }

    /// A node has joined: one that is other leaves before long what it was the first to join.
    pub(crate) fn misfit_joined(&mut self, index: usize, domain: usize) {
        if self.hostile.misfits[index].is_some() {
            self.nodes[index].wanted[domain] = self.now + Duration::from_secs(2);
        }
    }
}

/// Deaths and stops.
impl World {
    /// The domains of a node are told again, a while later.
    pub(crate) fn told_of_death(&mut self, index: usize, dead: NodeId) {
        if self.hostile.told_twice[index] > 0 {
            let wait = self.millis((0, 2000));
            self.node_after(wait, index, Happens::DeathAgain { dead });
        }
    }

    pub(crate) fn death_again(&mut self, index: usize, dead: NodeId) {
        let local = self.local(index);
        let Some(up) = &mut self.nodes[index].up else { return };
        if up.stack.live_nodes().contains(dead) {
            return;
        }
        self.coverage.count("death told twice");
        for id in up.domains.iter().filter_map(|domain| domain.id).collect::<Vec<_>>() {
            up.stack.with_domain(local, id, |domain| domain.node_down(local, dead));
        }
    }

    /// A node that has to stop hangs before it does: its connections are closed, its disk is left alone,
    /// and its users have what they had. Whether it does so.
    pub(crate) fn stops_slowly(&mut self, index: usize, reason: &str, back: Duration) -> bool {
        let Some(by) = self.hostile.slow_fences[index].last().copied() else { return false };
        // Its time is up, or will be: others wait that much longer.
        let late = reason.contains("heartbeat region");
        let by = if late { by.min(Duration::from_millis(1500)) } else { by };
        self.coverage.count("slow to stop");
        self.hostile.stopping[index] = Some(late);
        self.nodes[index].pauses += 1;
        self.drop_sockets(index, false);
        let life = self.nodes[index].life;
        self.after(by, Event::PowerOff { node: index, life, back });
        true
    }

    /// Whether a node has to stop, and hangs.
    pub(crate) fn hangs(&self, index: usize) -> bool {
        self.hostile.stopping[index].is_some()
    }

    /// Whether it does so and had no more time before.
    pub(crate) fn hangs_late(&self, index: usize) -> bool {
        self.hostile.stopping[index] == Some(true)
    }

    /// It has stopped.
    pub(crate) fn has_stopped(&mut self, index: usize) {
        if self.hostile.stopping[index].take().is_some() {
            self.nodes[index].pauses = self.nodes[index].pauses.saturating_sub(1);
        }
    }
}

/// Memory.
impl World {
    /// Takes out of what a node sends the requests that their receiver has no memory for: it answers so.
    pub(crate) fn refuse_some(
        &mut self,
        (from, to): (usize, usize),
        (connection, end): (usize, usize),
        bytes: Box<[u8]>,
    ) -> Box<[u8]> {
        if self.hostile.no_memory[to] == 0 || !self.can_answer(to, connection, end) {
            return bytes;
        }
        let (mut rest, mut kept) = (&bytes[..], Vec::new());
        while let Some(start) = rest.first_chunk::<HEADER_LEN>()
            && let Ok(header) = Header::from_bytes(start)
            && let Some((frame, after)) =
                rest.split_at_checked(HEADER_LEN + usize::from(header.data_len))
        {
            rest = after;
            let refusal = refusal(&header, &frame[HEADER_LEN..]);
            let Some((status, what)) = refusal.filter(|_| self.rng.chance(50)) else {
                kept.extend_from_slice(frame);
                continue;
            };
            self.coverage.count(what);
            if status > 0 {
                self.hostile.refused_locks[from] += 1;
            }
            let answer = Header { kind: Kind::Status, data_len: 0, status, ..header };
            self.frame(from, to, connection, end, &header, &frame[HEADER_LEN..]);
            self.answer_for(to, from, (connection, 1 - end), &answer);
        }
        kept.extend_from_slice(rest);
        kept.into()
    }

    /// Whether a lock that is refused with that was one that another node had no memory for.
    pub(crate) fn no_memory_for(&mut self, index: usize, status: Status) -> bool {
        let refused = &mut self.hostile.refused_locks[index];
        let is_it = status == Status::SysErr && *refused > 0;
        *refused -= u64::from(is_it);
        is_it
    }
}

/// What a node without memory answers, as kernels do: to whoever tries again, or tells its user.
fn refusal(header: &Header, payload: &[u8]) -> Option<(i32, &'static str)> {
    const ENOMEM: i32 = 12;
    if header.kind != Kind::Request {
        return None;
    }
    match MessageType::from_wire(header.message_type)? {
        MessageType::LockRequest => Some((-ENOMEM, "no memory: recovery")),
        MessageType::MigrateRequest => Some((-ENOMEM, "no memory: migration")),
        MessageType::MigLockres => {
            let locks = MigLockres::decode(payload).ok()?;
            let whole = locks.total as usize == locks.locks.len();
            let migrates = locks.flags.contains(MigFlags::MIGRATION);
            (whole && migrates).then_some((-ENOMEM, "no memory: locks that migrate"))
        }
        MessageType::CreateLock => {
            let lock = CreateLock::decode(payload).ok()?;
            (!lock.name.is_recovery()).then_some((Status::SysErr.to_wire(), "no memory: lock"))
        }
        _ => None,
    }
}

/// Floods.
impl World {
    /// The user that floods is none of the others.
    fn flooder(&self) -> usize {
        self.plan.users
    }

    /// Some more of the locks of a flood.
    pub(crate) fn flood(&mut self, index: usize, fault: usize, made: u32) {
        const AT_ONCE: u32 = 100;
        const PAUSE: Duration = Duration::from_millis(20);
        let Fault::Hostile(Hostility::Flood { locks, names, .. }) = self.plan.faults[fault].fault
        else {
            return;
        };
        let joined = |world: &mut World| {
            world.membership(index, 0).is_some_and(|member| member.joined && !member.leaves)
        };
        if self.phase != Phase::Safety || self.is_past_deadline(index) || !joined(self) {
            return;
        }
        let until = (made + AT_ONCE).min(locks);
        for number in made..until {
            let name = match names {
                Names::Few(count) => format!("flood {}", number % count).into_bytes(),
                Names::All => format!("flood {number}").into_bytes(),
                Names::Colliding => colliding(number).to_vec(),
            };
            let mode = self.rng.pick(&[LockMode::NL, LockMode::PR, LockMode::PR, LockMode::EX]);
            let name = LockName::new(&name).expect("a name");
            self.lock_as(index, 0, self.flooder(), name, mode, LkmFlags::empty());
            self.coverage.count("lock of a flood");
        }
        if until < locks {
            self.node_after(PAUSE, index, Happens::Flood { fault, made: until });
        }
    }

    fn end_flood(&mut self, index: usize) {
        let flooder = self.flooder();
        let Some(membership) = self.membership(index, 0) else { return };
        let locks = membership.client.locks.iter().filter(|(_, held)| held.user == flooder);
        for key in locks.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.abandon(index, 0, key);
        }
        self.settle(index);
    }
}

/// Names whose hash is the same in a table without a seed of its own: a factor of it is zero
/// (`foldhash`, whose first seed is then this).
fn colliding(number: u32) -> [u8; 24] {
    const SEED: u64 = 0xC0AC_29B7_C97C_50DD;
    let mut name = *b"floodxxxseedseed collide";
    name[4..8].copy_from_slice(&number.to_be_bytes());
    name[8..16].copy_from_slice(&SEED.to_ne_bytes());
    name
}
