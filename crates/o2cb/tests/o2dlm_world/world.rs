//! Nodes, their links and their clients.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use stackglue_o2cb::o2dlm::message::{DomainName, LockName, MessageType};
use stackglue_o2cb::o2dlm::{
    CallError, CallId, Domain, DomainConfig, DomainState, Event, Output, PeerAddress,
};
use stackglue_o2cb::{NodeId, NodeMap, Now};

use crate::client::{Client, Register, value_of};
use crate::faults::Grave;
use crate::frames::Frames;
use crate::plan::Plan;
use crate::rng::Rng;

pub(crate) enum Frame {
    Request { call: CallId, domain: u64, message: MessageType, payload: Vec<u8> },
    Status { call: CallId, domain: u64, result: Result<i32, CallError> },
}

/// A step names the life of the node that it is for: what was meant for an earlier one is dropped.
pub(crate) enum Step {
    Deliver { from: NodeId, to: NodeId, lives: (u64, u64), frame: Box<Frame> },
    Wake { node: NodeId, life: u64 },
    Operate,
    Kill,
    Leave,
    DropLocks { node: NodeId, life: u64 },
    Reset { node: NodeId, life: u64, dead: NodeId },
    Detect { observer: NodeId, life: u64, dead: NodeId },
    Start { node: NodeId },
    Join { node: NodeId, life: u64 },
}

pub(crate) struct Node {
    pub(crate) domain: Domain,
    /// Told apart by these: its incarnations, and the domains that it has had.
    pub(crate) life: u64,
    domain_number: u64,
    pub(crate) alive: bool,
    pub(crate) client: Client,
    /// Messages of this node without a status, by receiver.
    pub(crate) out: BTreeSet<(NodeId, CallId)>,
    /// Nodes whose heartbeat it sees.
    pub(crate) sees: NodeMap,
    /// Nodes whose connection to it was closed, though their heartbeat is not missed yet.
    pub(crate) cut: NodeMap,
    pub(crate) leaving: bool,
    /// When its next wake-up is due; others are not planned.
    wake: Option<Now>,
    /// Whether it has begun to join: before, and after it has left, it has no handlers.
    began: bool,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Now,
    sequence: u64,
    steps: BTreeMap<(Now, u64), Step>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// When the last message of a link arrives: later ones come behind it.
    links: BTreeMap<(NodeId, NodeId), Now>,
    slow_link: (NodeId, NodeId),
    pub(crate) registers: BTreeMap<LockName, Register>,
    pub(crate) graves: Vec<Grave>,
    pub(crate) frames: Frames,
    /// Names that were made by a node for itself.
    pub(crate) fresh: u64,
    pub(crate) deaths_left: u64,
    lives: u64,
    trace: bool,
    log: VecDeque<String>,
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("below 255")
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> World {
        let mut rng = Rng::new(seed);
        let mut any = || node(1 + rng.below(u64::from(plan.nodes)) as u8);
        let slow_link = (any(), any());
        let mut world = World {
            seed,
            plan,
            rng,
            now: Now::from_secs(1),
            sequence: 0,
            steps: BTreeMap::new(),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            slow_link,
            registers: BTreeMap::new(),
            graves: Vec::new(),
            frames: Frames::default(),
            fresh: 0,
            deaths_left: plan.deaths,
            lives: 0,
            trace: std::env::var("TRACE").is_ok(),
            log: VecDeque::new(),
        };
        for number in 1..=plan.nodes {
            world.start(node(number));
        }
        for number in 1..=plan.nodes {
            let wait = world.rng.below(50);
            let life = world.nodes[&node(number)].life;
            world.after(wait, Step::Join { node: node(number), life });
        }
        for _ in 0..plan.operations {
            let wait = plan.begins + world.rng.below(plan.spread);
            world.after(wait, Step::Operate);
        }
        let first_death = plan.begins + 200 + world.rng.below(plan.spread);
        for _ in 0..plan.deaths {
            let wait = first_death + world.rng.below(plan.deaths_within);
            world.after(wait, Step::Kill);
        }
        for _ in 0..plan.leaves {
            let wait = plan.begins + 200 + world.rng.below(plan.spread);
            world.after(wait, Step::Leave);
        }
        world
    }

    pub(crate) fn fail(&self, what: &str) -> ! {
        for line in &self.log {
            eprintln!("{line}");
        }
        for (number, node) in &self.nodes {
            eprintln!(
                "node {number}: alive {} {:?} members {:?} recovering {} counters {:?}",
                node.alive,
                node.domain.state(),
                node.domain.members(),
                node.domain.is_recovering(),
                node.domain.counters()
            );
            let entries: Vec<String> =
                node.domain.mastery_entries().map(|name| name.to_string()).collect();
            eprintln!("   mastery entries {entries:?}");
            eprintln!("   {}", node.domain.recovery_state());
            for resource in node.domain.resources() {
                eprintln!(
                    "   {} owner {:?} refmap {:?} {}",
                    resource.name, resource.owner, resource.refmap, resource.busy
                );
                for lock in &resource.locks {
                    eprintln!("      {lock:?}");
                }
            }
            eprintln!("   client {:?}", node.client.locks);
        }
        panic!("seed {}, at {:?}: {what}", self.seed, self.now);
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{:>9.3} {}", self.now.as_secs_f64(), line());
        if self.trace {
            eprintln!("{line}");
        }
        self.log.push_back(line);
        if self.log.len() > 60 {
            self.log.pop_front();
        }
    }

    pub(crate) fn at(&mut self, at: Now, step: Step) {
        self.sequence += 1;
        self.steps.insert((at, self.sequence), step);
    }

    pub(crate) fn after(&mut self, millis: u64, step: Step) {
        self.at(self.now + Duration::from_millis(millis), step);
    }

    pub(crate) fn start(&mut self, me: NodeId) {
        self.lives += 1;
        // A node that has left and joins again keeps its connections.
        let life =
            self.nodes.get(&me).filter(|node| node.alive).map_or(self.lives, |node| node.life);
        let all: Vec<PeerAddress> = (1..=self.plan.nodes)
            .map(|number| PeerAddress {
                node: node(number),
                address: Ipv4Addr::new(10, 0, 0, number),
                port: 7777,
            })
            .collect();
        let mut live: NodeMap =
            self.nodes.iter().filter(|(_, node)| node.alive).map(|(id, _)| *id).collect();
        live.insert(me);
        if self.now == Now::from_secs(1) {
            live = (1..=self.plan.nodes).map(node).collect();
        }
        let mut domain = Domain::new(DomainConfig {
            me,
            name: DomainName::new(b"world").expect("a name"),
            nodes: all,
            regions: None,
            fs_version: (1, 0),
            live,
            ordinal: 0,
            seed: self.rng.next(),
        });
        if self.plan.ours {
            domain.set_ours((1..=self.plan.nodes).map(node).collect());
        }
        let state = Node {
            domain,
            life,
            domain_number: self.lives,
            alive: true,
            client: Client::default(),
            out: BTreeSet::new(),
            sees: live,
            cut: NodeMap::EMPTY,
            leaving: false,
            wake: None,
            began: false,
        };
        self.nodes.insert(me, state);
        self.frames.forget(me);
        let others: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(id, node)| **id != me && node.alive)
            .map(|(id, _)| *id)
            .collect();
        for other in others {
            let now = self.now;
            let peer = self.nodes.get_mut(&other).expect("it is there");
            if peer.sees.insert(me) {
                peer.domain.node_up(now, me);
                self.drain(other);
            }
        }
    }

    /// Runs until nothing is left to do, then judges what is left.
    pub(crate) fn run(&mut self) {
        self.run_steps();
        self.check_quiet();
        self.end();
    }

    fn run_steps(&mut self) {
        let mut steps = 0;
        while let Some(((at, _), step)) = self.steps.pop_first() {
            self.now = at;
            self.step(step);
            steps += 1;
            if steps > 1_000_000 {
                self.fail("it does not end");
            }
        }
    }

    fn lives(&self, id: NodeId, life: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.alive && node.life == life)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deliver { from, to, lives, frame } => self.deliver(from, to, lives, *frame),
            Step::Wake { node, life } if self.lives(node, life) => self.wake(node),
            Step::Operate => self.operate(),
            Step::Kill => self.kill_any(),
            Step::Leave => self.leave(),
            Step::DropLocks { node, life } if self.lives(node, life) => self.drop_locks(node),
            Step::Reset { node, life, dead } if self.lives(node, life) => self.reset(node, dead),
            Step::Detect { observer, life, dead } if self.lives(observer, life) => {
                self.detect(observer, dead);
            }
            Step::Start { node } => self.start_anew(node),
            Step::Join { node, life } if self.lives(node, life) => {
                let now = self.now;
                let found = self.nodes.get_mut(&node).expect("it is there");
                found.began = true;
                found.domain.join(now);
                self.drain(node);
            }
            _ => {}
        }
    }

    fn wake(&mut self, id: NodeId) {
        let now = self.now;
        let found = self.nodes.get_mut(&id).expect("it is there");
        if found.wake.is_some_and(|at| at <= now) {
            found.wake = None;
            found.domain.handle_timeout(now);
            self.drain(id);
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, lives: (u64, u64), frame: Frame) {
        let now = self.now;
        let sent_by = self.nodes.get(&from).map(|sender| sender.life);
        let receiver = self.nodes.get_mut(&to).expect("it is there");
        let connected = receiver.sees.contains(from) && !receiver.cut.contains(from);
        let reaches = receiver.alive && receiver.life == lives.1 && connected;
        if !reaches || sent_by != Some(lives.0) {
            return;
        }
        match frame {
            Frame::Request { call, domain, message, payload } => {
                self.note(|| {
                    format!("n{from} -> n{to} {message:?} {}", name_in(message, &payload))
                });
                if self.ambush(from, to, message) {
                    return;
                }
                let receiver = self.nodes.get_mut(&to).expect("it is there");
                let result = if receiver.began && receiver.domain.state() != DomainState::Left {
                    self.check_request(from, to, message, &payload);
                    let receiver = self.nodes.get_mut(&to).expect("it is there");
                    let status = receiver.domain.request(now, from, message, &payload);
                    self.check_reply(from, to, message, &payload, status);
                    Ok(status)
                } else {
                    without_handlers(message)
                };
                self.note(|| format!("n{to} answers n{from}'s {message:?}: {result:?}"));
                self.transmit(to, from, Frame::Status { call, domain, result });
            }
            Frame::Status { call, domain, result } => {
                let receiver = self.nodes.get_mut(&to).expect("it is there");
                if receiver.domain_number == domain && receiver.out.remove(&(from, call)) {
                    receiver.domain.completed(now, call, result);
                }
            }
        }
        self.drain(to);
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, frame: Frame) {
        let (percent, slowest) = self.plan.slow;
        let mut delay = 1 + self.rng.below(4);
        if self.rng.chance(percent) {
            delay = self.rng.below(slowest);
        }
        if (from, to) == self.slow_link {
            delay += self.plan.slow_link;
        }
        let at = self.now + Duration::from_millis(delay);
        let link = self.links.entry((from, to)).or_default();
        let at = at.max(*link);
        *link = at;
        let life = |id: &NodeId| self.nodes.get(id).map_or(0, |node| node.life);
        let lives = (life(&from), life(&to));
        self.at(at, Step::Deliver { from, to, lives, frame: Box::new(frame) });
    }

    /// Does what a node's engine wants done.
    pub(crate) fn drain(&mut self, id: NodeId) {
        let now = self.now;
        loop {
            let node = self.nodes.get_mut(&id).expect("it is there");
            let Some(output) = node.domain.poll_output() else { break };
            match output {
                Output::Send { to, message, payload, call } => {
                    self.check_sent(id, to, message, &payload);
                    let node = self.nodes.get_mut(&id).expect("it is there");
                    if node.sees.contains(to) && !node.cut.contains(to) {
                        node.out.insert((to, call));
                        let domain = node.domain_number;
                        self.transmit(id, to, Frame::Request { call, domain, message, payload });
                    } else {
                        node.domain.completed(now, call, Err(CallError::HostDown));
                    }
                }
                Output::Event(event) => {
                    self.note(|| format!("n{id} {}", event_line(&event)));
                    self.observe(id, event);
                }
            }
        }
        let node = self.nodes.get_mut(&id).expect("it is there");
        let counters = node.domain.counters();
        if counters.contradictions + counters.bad_replies + counters.malformed > 0 {
            self.fail(&format!("node {id} met a contradiction"));
        }
        if let Some(at) = node.domain.next_timeout()
            && node.wake.is_none_or(|planned| at < planned)
        {
            node.wake = Some(at);
            let life = node.life;
            self.at(at.max(now), Step::Wake { node: id, life });
        }
        self.check_exclusion();
    }

    pub(crate) fn drop_locks_after(&mut self, millis: u64, node: NodeId, life: u64) {
        self.after(millis, Step::DropLocks { node, life });
    }

    pub(crate) fn start_anew_after(&mut self, millis: u64, node: NodeId) {
        self.after(millis, Step::Start { node });
    }

    /// Everybody gives up what it has; then nothing may be left, anywhere.
    fn end(&mut self) {
        for round in 0..200 {
            let ids: Vec<NodeId> =
                self.nodes.iter().filter(|(_, node)| node.alive).map(|(id, _)| *id).collect();
            let mut any = false;
            for id in ids {
                // Two conversions that wait for each other: nobody finds that here.
                any |= self.give_up_locks(id, round > 0);
            }
            self.run_steps();
            self.check_quiet();
            if !any {
                break;
            }
        }
        self.check_empty();
    }
}

/// What a node answers that does not have the domain.
fn without_handlers(message: MessageType) -> Result<i32, CallError> {
    match message {
        // "Not a member of this domain".
        MessageType::QueryJoin => Ok(2 << 24),
        MessageType::AssertJoined | MessageType::CancelJoin => Ok(0),
        MessageType::QueryRegion | MessageType::QueryNodeinfo => Ok(-22),
        _ => Err(CallError::NoHandler),
    }
}

fn name_in(message: MessageType, payload: &[u8]) -> String {
    let at = match message {
        MessageType::MasterRequest
        | MessageType::AssertMaster
        | MessageType::DerefLockres
        | MessageType::DerefDone
        | MessageType::MigrateRequest
        | MessageType::MasterRequery => 8,
        MessageType::CreateLock
        | MessageType::ConvertLock
        | MessageType::ProxyAst
        | MessageType::UnlockLock
        | MessageType::MigLockres => 16,
        _ => return format!("{:?}", &payload[..payload.len().min(4)]),
    };
    let end =
        payload[at..].iter().position(|byte| *byte == 0).map_or(payload.len(), |len| at + len);
    let head = if at == 16 { &payload[8..16] } else { &payload[..8] };
    format!("`{}` {head:?}", String::from_utf8_lossy(&payload[at..end]))
}

fn event_line(event: &Event) -> String {
    match event {
        Event::Granted { lock, mode, lvb } => {
            format!("Granted {lock:?} {mode:?} {:?}", lvb.as_deref().map(value_of))
        }
        event => format!("{event:?}"),
    }
}
