//! One node of a cluster: heartbeat, quorum, o2net and the lock domains, joined into one engine.
//!
//! [`Stack`] performs no I/O either. It hands the outputs of one part to the next in the order that the
//! kernel's listeners have (`fs/ocfs2/cluster/heartbeat.c: o2hb_run_event_list`): when a node dies, the
//! network fails every message that waits for it before a lock domain cleans up.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU64;

use slab::Slab;

use crate::heartbeat::{self, Heartbeat, HeartbeatError, Negotiation, RegionId, StartError};
use crate::o2dlm::message::{DomainName, JOIN_KEY, JoinReply, MessageType};
use crate::o2dlm::{CallError, CallId, Domain, Event};
use crate::o2net::{
    CloseReason, Incoming, LinkId, Net, NetError, NodeReport, Refusal, RequestId, SystemStatus,
};
use crate::quorum::{Quorum, Verdict};
use crate::{NodeId, NodeMap, Now, Timeouts};

/// A lock domain of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(usize);

/// What the driver has to do.
#[derive(Debug)]
pub enum Output {
    /// Connect to a peer; see [`Net`].
    Connect {
        /// The name of the connection.
        link: LinkId,
        /// Where the peer listens.
        to: SocketAddrV4,
        /// The address to bind to.
        from: Ipv4Addr,
    },
    /// Close a connection.
    Close {
        /// Which one.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// Read slots of a region, and answer with [`Stack::slots_read`].
    ReadSlots {
        /// Of this region.
        region: RegionId,
        /// The first slot.
        first: NodeId,
        /// The last slot, which is read too.
        last: NodeId,
    },
    /// Write this node's slot, and answer with [`Stack::slot_written`].
    WriteSlot {
        /// Of this region.
        region: RegionId,
        /// One block.
        bytes: Vec<u8>,
        /// When it must not be issued any more.
        not_after: Option<Now>,
    },
    /// A region has started.
    Steady(RegionId),
    /// A region could not start.
    StartFailed {
        /// That region.
        region: RegionId,
        /// Why.
        error: StartError,
    },
    /// A region is gone.
    Stopped(RegionId),
    /// A node's heartbeat is seen, or is not any more.
    Node {
        /// That node.
        node: NodeId,
        /// Whether it is seen.
        up: bool,
    },
    /// Something for the users of a domain.
    Domain(DomainId, Event),
    /// This node has to stop at once: nothing follows.
    Fence(String),
}

/// The engine of one node.
#[derive(Debug)]
pub struct Stack {
    net: Net,
    core: Core,
}

/// All but the network, which hands us its messages while it reads.
#[derive(Debug)]
struct Core {
    me: NodeId,
    heartbeat: Heartbeat,
    quorum: Quorum,
    /// Peers that are stackglue's too.
    ours: NodeMap,
    domains: Slab<Domain>,
    outputs: VecDeque<Output>,
    fenced: bool,
}

/// Messages of the heartbeat carry this where those of a domain carry its number.
const HEARTBEAT_TOKEN: u64 = u64::MAX;

/// How a domain and its call share a token.
const CALL_BITS: u32 = 40;

impl Stack {
    /// A node whose heartbeat has no region yet. Its listener is open.
    pub fn new(me: NodeId, heartbeat: Heartbeat, net: Net) -> Stack {
        let mut quorum = Quorum::new(me);
        // This node is connected to itself from the start, and nobody heartbeats: no verdict.
        let _ = quorum.connection_up(me);
        let domains = Slab::new();
        let outputs = VecDeque::new();
        Stack {
            net,
            core: Core {
                me,
                heartbeat,
                quorum,
                ours: NodeMap::EMPTY,
                domains,
                outputs,
                fenced: false,
            },
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn next_timeout(&self) -> Option<Now> {
        let domains = self.core.domains.iter().filter_map(|(_, domain)| domain.next_timeout());
        domains.chain(self.net.next_timeout()).chain(self.core.heartbeat.next_timeout()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.core.heartbeat.handle_timeout(now);
        self.pump(now);
        self.net.handle_timeout(now);
        self.pump(now);
        let due: Vec<usize> = self
            .core
            .domains
            .iter()
            .filter(|(_, domain)| domain.next_timeout().is_some_and(|at| at <= now))
            .map(|(key, _)| key)
            .collect();
        for key in due {
            self.core.domains[key].handle_timeout(now);
        }
        self.pump(now);
    }

    /// The heartbeat, to add regions and to look at it.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.core.heartbeat
    }

    /// Adds a region and starts it; see [`Heartbeat`].
    ///
    /// # Errors
    ///
    /// As the heartbeat says.
    pub fn start_region(
        &mut self,
        now: Now,
        name: &str,
        size: heartbeat::BlockSize,
        blocks: u8,
        generation: NonZeroU64,
    ) -> Result<RegionId, HeartbeatError> {
        let region = self.core.heartbeat.add_region(name, size, blocks)?;
        self.core.heartbeat.start_region(now, region, generation)?;
        self.pump(now);
        Ok(region)
    }

    /// Removes a region; see [`Heartbeat::remove_region`].
    ///
    /// # Errors
    ///
    /// As the heartbeat says.
    pub fn remove_region(
        &mut self,
        now: Now,
        region: RegionId,
        wall_seconds: u64,
    ) -> Result<(), HeartbeatError> {
        self.core.heartbeat.remove_region(now, region, wall_seconds)?;
        self.pump(now);
        Ok(())
    }

    /// See [`Heartbeat::slots_read`].
    pub fn slots_read(
        &mut self,
        now: Now,
        region: RegionId,
        wall_seconds: u64,
        read: io::Result<&[u8]>,
    ) {
        self.core.heartbeat.slots_read(now, region, wall_seconds, read);
        let unseen = self.core.heartbeat.unseen_nodes();
        for (_, domain) in &mut self.core.domains {
            domain.set_unseen(unseen);
        }
        self.pump(now);
    }

    /// See [`Heartbeat::slot_written`].
    pub fn slot_written(&mut self, now: Now, region: RegionId, written: io::Result<()>) {
        self.core.heartbeat.slot_written(now, region, written);
        self.pump(now);
    }

    /// See [`Net::accepted`].
    ///
    /// # Errors
    ///
    /// As the network says: the connection is to be closed without a byte.
    pub fn accepted(&mut self, now: Now, source: Ipv4Addr) -> Result<LinkId, Refusal> {
        let link = self.net.accepted(now, source);
        self.pump(now);
        link
    }

    /// See [`Net::connected`].
    pub fn connected(&mut self, now: Now, link: LinkId) {
        self.net.connected(now, link);
        self.pump(now);
    }

    /// See [`Net::closed`]; also for a connection that could not be made.
    pub fn closed(&mut self, now: Now, link: LinkId, reason: CloseReason) {
        self.net.closed(now, link, reason);
        self.pump(now);
    }

    /// Bytes of a peer; see [`Net::received`].
    pub fn received(&mut self, now: Now, link: LinkId, bytes: &[u8]) {
        let core = &mut self.core;
        self.net.received(now, link, bytes, &mut |net, incoming| core.incoming(net, now, incoming));
        self.pump(now);
    }

    /// A link with bytes to send; see [`Net::next_dirty`].
    pub fn next_dirty(&mut self) -> Option<LinkId> {
        self.net.next_dirty()
    }

    /// See [`Net::has_dirty`].
    pub fn has_dirty(&self) -> bool {
        self.net.has_dirty()
    }

    /// See [`Net::unsent`].
    pub fn unsent(&self, link: LinkId) -> &[u8] {
        self.net.unsent(link)
    }

    /// See [`Net::sent`].
    pub fn sent(&mut self, link: LinkId, len: usize) {
        self.net.sent(link, len);
    }

    /// See [`Net::set_timeouts`].
    pub fn set_timeouts(&mut self, timeouts: &Timeouts) {
        self.net.set_timeouts(timeouts);
    }

    /// The peers, for a person who looks.
    pub fn peers(&self) -> impl Iterator<Item = NodeReport> {
        self.net.node_states()
    }

    /// See [`Net::strangers`].
    pub fn strangers(&self) -> u64 {
        self.net.strangers()
    }

    /// This node's number.
    pub fn me(&self) -> NodeId {
        self.core.me
    }

    /// Nodes whose heartbeat is seen.
    pub fn live_nodes(&self) -> NodeMap {
        self.core.heartbeat.live_nodes()
    }

    /// Nodes that are connected, this one among them.
    pub fn connected_nodes(&self) -> NodeMap {
        self.core.quorum.connected()
    }

    /// This node has to stop, for a reason that the driver has.
    pub(crate) fn fence(&mut self, reason: String) {
        self.core.fence(reason);
    }

    /// Adds a domain. `None` when another one has its key: the names collide, and the kernel could not
    /// have both either.
    pub fn add_domain(&mut self, mut domain: Domain) -> Option<DomainId> {
        let taken = self.core.domains.iter().any(|(_, other)| other.key() == domain.key());
        if taken {
            return None;
        }
        let name = String::from_utf8_lossy(domain.name().as_bytes()).into_owned();
        self.core.heartbeat.domain_up(&name);
        domain.set_ours(self.core.ours);
        domain.set_unseen(self.core.heartbeat.unseen_nodes());
        Some(DomainId(self.core.domains.insert(domain)))
    }

    /// Forgets a domain that was left, or could not be joined.
    pub fn remove_domain(&mut self, id: DomainId) {
        if let Some(domain) = self.core.domains.try_remove(id.0) {
            let name = String::from_utf8_lossy(domain.name().as_bytes()).into_owned();
            self.core.heartbeat.domain_down(&name);
        }
    }

    /// A domain, to look at it.
    pub fn domain(&self, id: DomainId) -> Option<&Domain> {
        self.core.domains.get(id.0)
    }

    /// The domains.
    pub fn domains(&self) -> impl Iterator<Item = (DomainId, &Domain)> {
        self.core.domains.iter().map(|(key, domain)| (DomainId(key), domain))
    }

    /// Does something to a domain, and passes on what follows from it. `None` when it is gone.
    pub fn with_domain<T>(
        &mut self,
        now: Now,
        id: DomainId,
        act: impl FnOnce(&mut Domain) -> T,
    ) -> Option<T> {
        let result = self.with_domain_quietly(id, act)?;
        self.after_domain(now, id);
        Some(result)
    }

    /// [`with_domain`](Self::with_domain), but what follows waits for
    /// [`after_domain`](Self::after_domain): for who has to take note of the result before.
    pub fn with_domain_quietly<T>(
        &mut self,
        id: DomainId,
        act: impl FnOnce(&mut Domain) -> T,
    ) -> Option<T> {
        self.core.domains.get_mut(id.0).map(act)
    }

    /// Passes on what followed from [`with_domain_quietly`](Self::with_domain_quietly).
    pub fn after_domain(&mut self, now: Now, id: DomainId) {
        self.core.drain_domain(&mut self.net, now, id.0);
        self.pump(now);
    }

    /// Hands outputs on until nobody has any.
    fn pump(&mut self, now: Now) {
        let (net, core) = (&mut self.net, &mut self.core);
        loop {
            core.drain_net(net, now);
            core.drain_domains(net, now);
            match core.heartbeat.poll_output() {
                Some(output) => core.heartbeat_output(net, now, output),
                None => match net.poll_output() {
                    Some(output) => core.net_output(net, now, output),
                    None => return,
                },
            }
            if core.fenced {
                return;
            }
        }
    }
}

impl Core {
    fn heartbeat_output(&mut self, net: &mut Net, now: Now, output: heartbeat::Output) {
        match output {
            heartbeat::Output::ReadSlots { region, first, last } => {
                self.outputs.push_back(Output::ReadSlots { region, first, last });
            }
            heartbeat::Output::WriteSlot { region, bytes, not_after } => {
                self.outputs.push_back(Output::WriteSlot { region, bytes, not_after });
            }
            heartbeat::Output::Steady(region) => self.outputs.push_back(Output::Steady(region)),
            heartbeat::Output::StartFailed { region, error } => {
                self.outputs.push_back(Output::StartFailed { region, error });
            }
            heartbeat::Output::Stopped { region, .. } => {
                self.outputs.push_back(Output::Stopped(region));
            }
            heartbeat::Output::NodeUp(node) => {
                self.judge(|quorum| quorum.heartbeat_up(node));
                if node != self.me {
                    net.heartbeat_up(now, node);
                    self.drain_net(net, now);
                }
                for (_, domain) in &mut self.domains {
                    domain.node_up(now, node);
                }
                self.outputs.push_back(Output::Node { node, up: true });
            }
            heartbeat::Output::NodeDown { node, configured } => {
                self.judge(|quorum| quorum.heartbeat_down(node));
                if configured && node != self.me {
                    net.heartbeat_down(now, node);
                    // Messages that waited for it fail before a domain cleans up.
                    self.drain_net(net, now);
                }
                for (_, domain) in &mut self.domains {
                    domain.node_down(now, node);
                }
                self.outputs.push_back(Output::Node { node, up: false });
            }
            heartbeat::Output::Negotiate { to, key, kind, payload } => {
                let sent = net.send(now, to, kind.message_type(), key, &payload, HEARTBEAT_TOKEN);
                if let Err(error) = sent {
                    tracing::warn!(%to, %error, "the write timeout could not be negotiated");
                }
            }
            heartbeat::Output::Fence(fence) => self.fence(fence.to_string()),
        }
    }

    fn fence(&mut self, reason: String) {
        self.fenced = true;
        self.heartbeat.stop_uncleanly();
        self.outputs.clear();
        self.outputs.push_back(Output::Fence(reason));
    }

    fn judge(&mut self, ask: impl FnOnce(&mut Quorum) -> Option<Verdict>) {
        if let Some(verdict) = ask(&mut self.quorum) {
            if verdict.is_fence() {
                self.fence(verdict.to_string());
            } else {
                tracing::info!(%verdict, "quorum");
            }
        }
    }

    fn drain_net(&mut self, net: &mut Net, now: Now) {
        while !self.fenced
            && let Some(output) = net.poll_output()
        {
            self.net_output(net, now, output);
        }
    }

    fn net_output(&mut self, net: &mut Net, now: Now, output: crate::o2net::Output) {
        match output {
            crate::o2net::Output::Connect { link, to, from, .. } => {
                self.outputs.push_back(Output::Connect { link, to, from });
            }
            crate::o2net::Output::Close { link, reason } => {
                self.outputs.push_back(Output::Close { link, reason });
            }
            crate::o2net::Output::Completed { token, result } => {
                self.completed(net, now, token, result);
            }
            crate::o2net::Output::Introduced { node, ours } => {
                if ours {
                    self.ours.insert(node);
                } else {
                    self.ours.remove(node);
                }
                for (_, domain) in &mut self.domains {
                    domain.set_ours(self.ours);
                }
            }
            crate::o2net::Output::ConnectionUp(node) => {
                self.judge(|quorum| quorum.connection_up(node));
            }
            crate::o2net::Output::ConnectionError(node) => self.quorum.connection_error(node),
            crate::o2net::Output::StillUp(node) => self.judge(|quorum| quorum.still_up(node)),
        }
    }

    fn incoming(&mut self, net: &mut Net, now: Now, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Request { id, from, message_type, key, payload } => {
                self.request(net, now, id, from, message_type, key, payload);
            }
            Incoming::Completed { token, result } => self.completed(net, now, token, result),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a message")]
    fn request(
        &mut self,
        net: &mut Net,
        now: Now,
        id: RequestId,
        from: NodeId,
        message_type: u16,
        key: u32,
        payload: &[u8],
    ) {
        if let Some(kind) = Negotiation::from_message_type(message_type) {
            let system = if payload.len() > Negotiation::PAYLOAD_MAX {
                SystemStatus::Overflow
            } else if self.heartbeat.negotiation(now, key, kind, payload) {
                SystemStatus::None
            } else {
                SystemStatus::NoHandler
            };
            net.reply(now, id, system, 0);
            return;
        }
        let Some(message) = MessageType::from_wire(message_type) else {
            net.reply(now, id, SystemStatus::NoHandler, 0);
            return;
        };
        if payload.len() > message.payload_max() {
            net.reply(now, id, SystemStatus::Overflow, 0);
            return;
        }
        let fixed = is_fixed(message);
        let found = if fixed && key == JOIN_KEY {
            domain_in(message, payload).and_then(|name| self.find(|domain| *domain.name() == name))
        } else if fixed {
            None
        } else {
            self.find(|domain| domain.key() == key)
        };
        match found {
            Some(domain) => {
                let status = self.domains[domain].request(now, from, message, payload);
                // The answer goes before whatever follows from the request.
                net.reply(now, id, SystemStatus::None, status);
                self.drain_domain(net, now, domain);
            }
            None if fixed && key == JOIN_KEY => {
                let status = self.unknown_domain(from, message);
                net.reply(now, id, SystemStatus::None, status);
            }
            None => net.reply(now, id, SystemStatus::NoHandler, 0),
        }
    }

    fn find(&self, is: impl Fn(&Domain) -> bool) -> Option<usize> {
        self.domains.iter().find(|(_, domain)| is(domain)).map(|(key, _)| key)
    }

    /// What a message about a domain is answered that this node does not have.
    fn unknown_domain(&self, from: NodeId, message: MessageType) -> i32 {
        match message {
            MessageType::QueryJoin if self.heartbeat.live_nodes().contains(from) => {
                JoinReply::OkNoMap.pack()
            }
            MessageType::QueryJoin => JoinReply::Disallow.pack(),
            MessageType::QueryRegion | MessageType::QueryNodeinfo => -22,
            _ => 0,
        }
    }

    fn completed(&mut self, net: &mut Net, now: Now, token: u64, result: Result<i32, NetError>) {
        if token == HEARTBEAT_TOKEN {
            return;
        }
        let (key, call) = ((token >> CALL_BITS) as usize, token & ((1 << CALL_BITS) - 1));
        if let Some(domain) = self.domains.get_mut(key) {
            domain.completed(now, CallId(call), result.map_err(call_error));
            self.drain_domain(net, now, key);
        }
    }

    fn drain_domains(&mut self, net: &mut Net, now: Now) {
        while let Some(key) = self.find(Domain::has_output) {
            self.drain_domain(net, now, key);
        }
    }

    fn drain_domain(&mut self, net: &mut Net, now: Now, key: usize) {
        let Some(domain) = self.domains.get_mut(key) else { return };
        while let Some(output) = domain.poll_output() {
            match output {
                crate::o2dlm::Output::Send { to, message, payload, call } => {
                    let wire_key = if is_fixed(message) { JOIN_KEY } else { domain.key() };
                    let token = (key as u64) << CALL_BITS | call.0;
                    let kind = message.to_wire();
                    if let Err(error) = net.send(now, to, kind, wire_key, &payload, token) {
                        domain.completed(now, call, Err(call_error(error)));
                    }
                    domain.recycle(payload);
                }
                crate::o2dlm::Output::Event(event) => {
                    self.outputs.push_back(Output::Domain(DomainId(key), event));
                }
            }
        }
    }
}

/// Messages that a node takes for domains that it does not have.
fn is_fixed(message: MessageType) -> bool {
    matches!(
        message,
        MessageType::QueryJoin
            | MessageType::AssertJoined
            | MessageType::CancelJoin
            | MessageType::QueryRegion
            | MessageType::QueryNodeinfo
    )
}

/// The domain that such a message names.
fn domain_in(message: MessageType, payload: &[u8]) -> Option<DomainName> {
    let (len, name) = match message {
        MessageType::QueryJoin => (3, 8),
        MessageType::AssertJoined | MessageType::CancelJoin => (3, 4),
        _ => (2, 4),
    };
    let len = usize::from(*payload.get(len)?);
    DomainName::new(payload.get(name..name + len)?)
}

fn call_error(error: NetError) -> CallError {
    match error {
        NetError::NoHandler => CallError::NoHandler,
        NetError::Overflow => CallError::Overflow,
        _ => CallError::HostDown,
    }
}
