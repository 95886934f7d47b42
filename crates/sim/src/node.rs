//! One node: its engine, and what the driver around it does in production (`crates/o2cb/src/driver`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::time::Duration;

use o2cb::heartbeat::{BlockSize, Heartbeat, HeartbeatConfig, Mode, RegionId};
use o2cb::o2dlm::message::DomainName;
use o2cb::o2dlm::{Domain, DomainConfig, DomainState, Event as Told, PeerAddress};
use o2cb::o2net::{CONNECTOR_KERNEL, CONNECTOR_STACKGLUE, Net, NetConfig};
use o2cb::stack::{DomainId, Output, Stack};
use o2cb::{NodeId, Now};

use crate::clock::Clock;
use crate::hostile::Misfit;
use crate::plan::Plan;
use crate::user::Client;
use crate::world::{Event, Happens, Phase, World};

/// The port of every node.
pub(crate) const PORT: u16 = 7777;

/// Slots of a region.
pub(crate) const SLOTS: u8 = 255;

/// How often a node looks whether it is where it is wanted.
const LIFE: Duration = Duration::from_millis(200);

/// A machine of the cluster.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// Told apart by these: the lives of its process.
    pub(crate) life: u64,
    /// When the present one began.
    pub(crate) started: Duration,
    /// Whether the machine answers packets.
    pub(crate) powered: bool,
    pub(crate) up: Option<Box<Up>>,
    /// How many pauses are on it.
    pub(crate) pauses: u32,
    /// What happened to it while it was paused, and in which order.
    pub(crate) backlog: Vec<(u64, Event)>,
    pub(crate) slow: Duration,
    pub(crate) busy_until: Duration,
    pub(crate) drift_ppm: i64,
    pub(crate) wall_offset: i64,
    /// Handlers that are told of deaths do not return.
    pub(crate) handlers_hang: u32,
    pub(crate) untold: Vec<(usize, NodeId)>,
    /// Whether it is wanted in each domain, and from when on.
    pub(crate) wanted: Vec<Duration>,
    /// Somebody has taken this life of it for dead.
    pub(crate) missed: bool,
    /// When it last lived on time that nodes had agreed on.
    pub(crate) agreed_time: Option<Duration>,
    /// It stops in good order.
    pub(crate) stops: Option<Duration>,
}

/// A node's process.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) clock: Clock,
    pub(crate) stack: Stack,
    /// By peer: the connection, and which end of it is this node's.
    pub(crate) sockets: BTreeMap<NodeId, (usize, usize)>,
    pub(crate) regions: Vec<RegionId>,
    steady: BTreeSet<RegionId>,
    stopped: usize,
    wake: Option<Duration>,
    pub(crate) domains: Vec<Membership>,
    leaving: bool,
    start_failed: bool,
}

/// What a node is in a domain.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    pub(crate) id: Option<DomainId>,
    pub(crate) joined: bool,
    pub(crate) leaves: bool,
    pub(crate) client: Client,
    again: Duration,
}

impl Node {
    pub(crate) fn new(plan: &Plan, index: usize) -> Node {
        Node {
            id: node_id(plan.nodes[index]),
            life: 0,
            started: Duration::ZERO,
            powered: true,
            up: None,
            pauses: 0,
            backlog: Vec::new(),
            slow: Duration::ZERO,
            busy_until: Duration::ZERO,
            drift_ppm: plan.drift_ppm[index],
            wall_offset: 0,
            handlers_hang: 0,
            untold: Vec::new(),
            wanted: vec![Duration::ZERO; plan.domains],
            missed: false,
            agreed_time: None,
            stops: None,
        }
    }
}

pub(crate) fn node_id(number: u8) -> NodeId {
    NodeId::new(number).expect("plans have numbers below 255")
}

pub(crate) fn address(node: NodeId) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, node.get())
}

impl World {
    /// The node of that number.
    pub(crate) fn index_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    pub(crate) fn local(&self, node: usize) -> Now {
        self.nodes[node].up.as_ref().map_or(Now::ZERO, |up| up.clock.local(self.now))
    }

    /// Starts a node's process with an engine that knows nothing.
    pub(crate) fn start(&mut self, index: usize) {
        if self.nodes[index].up.is_some() {
            return;
        }
        let now = self.now;
        let me = self.nodes[index].id;
        let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let stack = match engine(&self.plan, me, &ids, self.hostile.misfits[index]) {
            Ok(stack) => stack,
            Err(why) => return self.fail("harness", format!("n{me} does not start: {why}")),
        };
        let node = &mut self.nodes[index];
        node.life += 1;
        node.started = now;
        node.powered = true;
        node.missed = false;
        node.agreed_time = None;
        node.stops = None;
        node.backlog.clear();
        node.untold.clear();
        let clock = Clock {
            boot: now.saturating_sub(Duration::from_millis(1)),
            drift_ppm: node.drift_ppm,
            wall_offset: node.wall_offset,
        };
        let domains = (0..self.plan.domains).map(|_| Membership::default()).collect();
        node.up = Some(Box::new(Up {
            clock,
            stack,
            sockets: BTreeMap::new(),
            regions: Vec::new(),
            steady: BTreeSet::new(),
            stopped: 0,
            wake: None,
            domains,
            leaving: false,
            start_failed: false,
        }));
        self.coverage.count("node started");
        self.note(|| format!("n{me} * starts"));
        for region in 0..self.storage.regions() {
            self.generations += 1;
            let generation = NonZeroU64::new(self.generations.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let generation = generation.unwrap_or(NonZeroU64::MIN);
            let local = self.local(index);
            let Some(up) = &mut self.nodes[index].up else { return };
            let size = BlockSize::new(512).expect("a block size");
            let name = format!("region{region}");
            match up.stack.start_region(local, &name, size, SLOTS, generation) {
                Ok(id) => up.regions.push(id),
                Err(error) => {
                    self.fail("harness", format!("n{me} starts no region: {error}"));
                }
            }
        }
        self.node_after(LIFE, index, Happens::Life);
        self.settle(index);
    }

    pub(crate) fn timer(&mut self, index: usize) {
        let (now, local) = (self.now, self.local(index));
        let Some(up) = &mut self.nodes[index].up else { return };
        if up.wake.is_some_and(|at| at <= now) {
            up.wake = None;
            up.stack.handle_timeout(local);
            self.settle(index);
        }
    }

    /// Does what the engine wants done, sends what there is to send, and plans the next wake-up.
    pub(crate) fn settle(&mut self, index: usize) {
        loop {
            let Some(up) = &mut self.nodes[index].up else { return };
            if let Some(output) = up.stack.poll_output() {
                self.perform(index, output);
            } else if let Some(link) = up.stack.next_dirty() {
                self.write(index, link);
            } else if !self.serve_cache(index) {
                break;
            }
            if self.violation.is_some() {
                return;
            }
        }
        let now = self.now;
        let node = &mut self.nodes[index];
        let life = node.life;
        let Some(up) = &mut node.up else { return };
        if let Some(at) = up.stack.next_timeout() {
            // What is due and does not end is not to stop the world's time.
            let at = up.clock.world(at).max(now + Duration::from_micros(1));
            if up.wake.is_none_or(|wake| at < wake) {
                up.wake = Some(at);
                self.at(at, Event::Timer { node: index, life });
            }
        }
    }

    fn perform(&mut self, index: usize, output: Output) {
        let me = self.nodes[index].id;
        match output {
            Output::Connect { link, to, .. } => self.connect(index, link, *to.ip()),
            Output::Close { link, reason } => {
                self.coverage.count(match reason {
                    o2cb::o2net::CloseReason::HeartbeatDown => "close: heartbeat down",
                    o2cb::o2net::CloseReason::NoHandshake => "close: no handshake",
                    o2cb::o2net::CloseReason::Handshake(_) => "close: handshake",
                    o2cb::o2net::CloseReason::Frame(_) => "close: no frame",
                    _ => "close: other",
                });
                self.note(|| format!("n{me} ~ n{} closed: {reason}", link.node()));
                self.close_link(index, link);
            }
            Output::ReadSlots { region, first, last } => {
                self.read_slots(index, region, first, last)
            }
            Output::WriteSlot { region, bytes, not_after } => {
                self.write_slot(index, region, bytes, not_after);
            }
            Output::Steady(region) => {
                self.note(|| format!("n{me} # steady"));
                if let Some(up) = &mut self.nodes[index].up {
                    up.steady.insert(region);
                }
            }
            Output::StartFailed { error, .. } => {
                self.note(|| format!("n{me} # start failed: {error}"));
                self.coverage.count("heartbeat start failed");
                if let Some(up) = &mut self.nodes[index].up {
                    up.start_failed = true;
                }
            }
            Output::Stopped(_) => {
                if let Some(up) = &mut self.nodes[index].up {
                    up.stopped += 1;
                    if up.stopped == up.regions.len() {
                        self.stopped(index);
                    }
                }
            }
            Output::Node { node, up } => {
                let what = if up { "lives" } else { "is dead" };
                self.note(|| format!("n{me} # n{node} {what}"));
                self.coverage.count(if up { "heartbeat seen" } else { "heartbeat missed" });
                // Who stops, or does not get to start, reports everybody down.
                let goes =
                    self.nodes[index].up.as_ref().is_some_and(|up| up.leaving || up.start_failed);
                if !up && !goes {
                    self.missed(node);
                    self.told_of_death(index, node);
                }
            }
            Output::Domain(id, event) => {
                let up = self.nodes[index].up.as_ref();
                let domain = up.and_then(|up| up.domains.iter().position(|d| d.id == Some(id)));
                if let Some(domain) = domain {
                    self.told(index, domain, event);
                }
            }
            Output::Fence(reason) => self.fenced(index, &reason),
        }
    }

    fn told(&mut self, index: usize, domain: usize, event: Told) {
        let me = self.nodes[index].id;
        match event {
            Told::Joined { .. } => {
                self.note(|| format!("n{me} * has joined d{domain}"));
                self.coverage.count("joined");
                // Whoever missed it after it had started meant the life before, or it would not be in.
                self.nodes[index].missed = false;
                if let Some(membership) = self.membership(index, domain) {
                    membership.joined = true;
                }
                self.misfit_joined(index, domain);
                self.begins_anew(index, domain);
                self.start_users(index, domain);
            }
            Told::JoinFailed(error) => {
                self.note(|| format!("n{me} * could not join d{domain}: {error}"));
                self.coverage.count("join failed");
                self.check_refusal(index, &error);
                let again = self.now + Duration::from_millis(self.rng.between(500, 3000));
                self.forget_domain(index, domain, again);
            }
            Told::Left => {
                self.note(|| format!("n{me} * has left d{domain}"));
                self.coverage.count("left");
                self.buried_all_told(index, domain);
                self.forget_domain(index, domain, self.now);
            }
            Told::NodeDown(dead) => {
                self.coverage.count("users told of a death");
                if self.nodes[index].handlers_hang > 0 {
                    self.nodes[index].untold.push((domain, dead));
                } else {
                    let wait = self.millis(self.plan.handler_ms);
                    self.node_after(wait, index, Happens::Told { domain, dead });
                }
            }
            event => self.observe(index, domain, event),
        }
    }

    /// A node that is the only one in a domain takes those who were in it for dead. Those it may: what
    /// somebody wrote who lives is not lost.
    fn begins_anew(&mut self, index: usize, domain: usize) {
        let me = self.nodes[index].id;
        let alone = self.engine_of(domain, me).is_some_and(|engine| engine.members().len() == 1);
        let were: Vec<NodeId> = self
            .running()
            .filter(|(at, up)| {
                let replaced = self.may_be_replaced(*at) || self.lived_on_agreed_time(*at);
                alone && *at != index && up.domains[domain].joined && replaced
            })
            .map(|(at, _)| self.nodes[at].id)
            .collect();
        for node in were {
            self.missed(node);
        }
    }

    pub(crate) fn membership(&mut self, index: usize, domain: usize) -> Option<&mut Membership> {
        self.nodes[index].up.as_mut()?.domains.get_mut(domain)
    }

    fn forget_domain(&mut self, index: usize, domain: usize, again: Duration) {
        let Some(up) = &mut self.nodes[index].up else { return };
        let membership = std::mem::take(&mut up.domains[domain]);
        up.domains[domain].again = again;
        if let Some(id) = membership.id {
            up.stack.remove_domain(id);
        }
    }

    pub(crate) fn users_told(&mut self, index: usize, domain: usize, dead: NodeId) {
        self.buried(index, domain, dead);
        let local = self.local(index);
        let Some(up) = &mut self.nodes[index].up else { return };
        if let Some(id) = up.domains[domain].id {
            up.stack.with_domain(local, id, |domain| domain.users_told(local, dead));
        }
    }

    /// Joins what is wanted, leaves what is not.
    pub(crate) fn life(&mut self, index: usize) {
        self.node_after(LIFE, index, Happens::Life);
        let (now, local) = (self.now, self.local(index));
        let node = &mut self.nodes[index];
        let stops = node.stops.is_some_and(|at| at <= now);
        let Some(up) = &mut node.up else { return };
        if up.start_failed {
            // Not in step with another that could not start because this one came and went.
            let back = self.millis((500, 15_000));
            return self.process_ends(index, back);
        }
        if up.leaving || up.steady.len() < up.regions.len() {
            return;
        }
        for domain in 0..self.plan.domains {
            let Some(up) = &self.nodes[index].up else { return };
            let wanted = self.nodes[index].wanted[domain] <= now && !stops;
            let membership = &up.domains[domain];
            match membership.id {
                None if wanted && membership.again <= now => self.join(index, domain),
                Some(_) if !wanted && membership.joined && !membership.leaves => {
                    self.begin_to_leave(index, domain);
                }
                Some(_) if membership.leaves => self.try_to_leave(index, domain),
                _ => {}
            }
        }
        let out = |up: &Up| up.domains.iter().all(|domain| domain.id.is_none());
        let Some(up) = self.nodes[index].up.as_mut().filter(|up| stops && out(up)) else { return };
        up.leaving = true;
        let wall = up.clock.wall_seconds(now);
        for region in up.regions.clone() {
            if let Err(error) = up.stack.remove_region(local, region, wall) {
                let me = up.stack.me();
                return self.fail("harness", format!("n{me} cannot leave a region: {error}"));
            }
        }
    }

    /// As the plugin does it: only when exactly those are connected that heartbeat.
    pub(crate) fn join(&mut self, index: usize, domain: usize) {
        let local = self.local(index);
        let seed = self.rng.next();
        let misfit = self.hostile.misfits[index];
        let mut nodes: Vec<PeerAddress> = self
            .nodes
            .iter()
            .map(|node| PeerAddress { node: node.id, address: address(node.id), port: PORT })
            .collect();
        if misfit == Some(Misfit::Nodes) {
            nodes.pop();
        }
        let fs_version = if misfit == Some(Misfit::FsVersion) { (2, 0) } else { (1, 0) };
        let global = self.plan.global_regions;
        let Some(up) = &mut self.nodes[index].up else { return };
        let (me, live) = (up.stack.me(), up.stack.live_nodes());
        let calm = up.stack.heartbeat().is_calm();
        if !calm || !live.contains(me) || live != up.stack.connected_nodes() {
            return;
        }
        let name = DomainName::new(format!("domain{domain}").as_bytes());
        let mut made = Domain::new(DomainConfig {
            me,
            name: name.expect("a name"),
            nodes,
            regions: (global > 0).then(|| (0..global).map(region_name).collect()),
            fs_version,
            live,
            ordinal: up.domains.iter().filter(|domain| domain.id.is_some()).count() as u8,
            seed,
        });
        made.recovery_waits_for_users();
        let Some(id) = up.stack.add_domain(made) else { return };
        up.domains[domain].id = Some(id);
        up.stack.with_domain(local, id, |domain| domain.join(local));
        self.note(|| format!("n{me} * joins d{domain}"));
    }

    fn try_to_leave(&mut self, index: usize, domain: usize) {
        let local = self.local(index);
        let Some(up) = &mut self.nodes[index].up else { return };
        let membership = &up.domains[domain];
        let (true, Some(id)) = (membership.client.locks.is_empty(), membership.id) else { return };
        let joined = up.stack.domain(id).is_some_and(|d| d.state() == DomainState::Joined);
        if joined {
            up.stack.with_domain(local, id, |domain| domain.leave(local));
        }
    }

    /// The goodbye is on every disk.
    fn stopped(&mut self, index: usize) {
        let node = &self.nodes[index];
        if node.up.as_ref().is_some_and(|up| up.leaving) {
            let back = node.stops.unwrap_or_default();
            let back = (back + Duration::from_millis(50)).saturating_sub(self.now);
            self.coverage.count("stopped in good order");
            self.process_ends(index, back);
        }
    }

    fn fenced(&mut self, index: usize, reason: &str) {
        let me = self.nodes[index].id;
        self.note(|| format!("n{me} * is fenced: {reason}"));
        self.coverage.count(if reason.contains("heartbeat region") {
            "fenced: no good write"
        } else {
            "fenced: quorum"
        });
        self.check_fence(index, reason);
        let back = Duration::from_millis(self.rng.between(500, 20_000));
        if !self.stops_slowly(index, reason, back) {
            self.power_off(index, back);
        }
    }

    /// Where a node is wanted: whether it is there.
    pub(crate) fn is_where_wanted(&self, index: usize) -> bool {
        let Some(up) = &self.nodes[index].up else { return false };
        up.domains.iter().all(|domain| domain.joined && !domain.leaves)
    }

    /// Whether users may still ask for something.
    pub(crate) fn users_work(&self) -> bool {
        self.phase == Phase::Safety
    }
}

fn region_name(region: usize) -> [u8; 32] {
    let mut name = [0; 32];
    for (to, from) in name.iter_mut().zip(format!("region{region}").bytes()) {
        *to = from;
    }
    name
}

/// As `driver::O2cbNode::start` makes it.
fn engine(
    plan: &Plan,
    me: NodeId,
    nodes: &[NodeId],
    misfit: Option<Misfit>,
) -> Result<Stack, String> {
    let timeouts = plan.timeouts;
    timeouts.check().map_err(|error| error.to_string())?;
    let mode = if plan.global_regions > 0 { Mode::Global } else { Mode::Local };
    let heartbeat = Heartbeat::new(HeartbeatConfig {
        me,
        nodes: nodes.iter().copied().collect(),
        mode,
        dead_threshold: timeouts.dead_threshold,
    });
    let mut net = NetConfig {
        me,
        nodes: nodes.iter().map(|node| (*node, address(*node), PORT)).collect(),
        heartbeat_timeout_ms: timeouts.write_timeout_ms(),
        idle_timeout_ms: timeouts.idle_timeout_ms,
        keepalive_delay_ms: timeouts.keepalive_delay_ms,
        reconnect_delay_ms: timeouts.reconnect_delay_ms,
        dead_threshold: timeouts.dead_threshold,
        connector_id: if plan.as_kernels { CONNECTOR_KERNEL } else { CONNECTOR_STACKGLUE },
    };
    if let Some(misfit) = misfit {
        misfit.configures(&mut net);
    }
    let net = Net::new(net);
    let heartbeat = heartbeat.map_err(|error| error.to_string())?;
    let net = net.map_err(|error| error.to_string())?;
    Ok(Stack::new(me, heartbeat, net))
}
