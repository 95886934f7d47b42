//! The engine: one node, all its peers.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::close::{CloseReason, Refusal};
use super::config::{ConfigError, NetConfig};
use super::error::NetError;
use super::frame::{HEADER_LEN, Header, Kind, PAYLOAD_MAX, SystemStatus};
use super::handshake::Handshake;
use super::link::{LinkId, RequestId};
use super::node_state::{NodeReport, NodeState};
use super::peer::{Peer, Shared, Told};
use crate::{NODES_MAX, NodeId, Now, Timeouts};

/// What the driver has to do, or pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect a non-blocking socket, without Nagle's delay and with the TCP user timeout at its
    /// maximum; then say [`Net::connected`] or [`Net::connect_failed`].
    Connect {
        /// The name of the connection from here on.
        link: LinkId,
        /// The peer.
        node: NodeId,
        /// Where it listens.
        to: SocketAddrV4,
        /// The address to bind to, with any port: the peer recognizes this node by it.
        from: Ipv4Addr,
    },
    /// Shut the connection's socket down and close it. Nothing more is said about the link.
    Close {
        /// The connection.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
    /// A request ends without an answer. Those with one are [`Incoming::Completed`].
    Completed {
        /// What [`Net::send`] was given.
        token: u64,
        /// Why there is no answer.
        result: Result<i32, NetError>,
    },
    /// A peer is something else than it was when it connected before. At first it counts as a kernel.
    Introduced {
        /// The peer.
        node: NodeId,
        /// Whether it is one of ours.
        ours: bool,
    },
    /// For quorum: the connection to the peer is up, or is up again.
    ConnectionUp(NodeId),
    /// For quorum: the connection to the peer is lost, or idle.
    ConnectionError(NodeId),
    /// For quorum: the connection was in error for so long that the peer would be dead by now, if its
    /// heartbeat had stopped too.
    StillUp(NodeId),
}

/// What a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A request. It has to be answered, whatever it is, with [`Net::reply`].
    Request {
        /// To answer it with.
        id: RequestId,
        /// The peer.
        from: NodeId,
        /// What the message is.
        message_type: u16,
        /// Who it is for.
        key: u32,
        /// The message.
        payload: &'a [u8],
    },
    /// The answer to a request of this node.
    Completed {
        /// What [`Net::send`] was given.
        token: u64,
        /// The status.
        result: Result<i32, NetError>,
    },
}

/// The messaging engine of one node. It performs no I/O.
///
/// The driver calls, with the time, whatever happened: [`heartbeat_up`](Self::heartbeat_up) and
/// [`heartbeat_down`](Self::heartbeat_down); [`accepted`](Self::accepted),
/// [`connected`](Self::connected), [`connect_failed`](Self::connect_failed),
/// [`received`](Self::received) and [`closed`](Self::closed) of sockets;
/// [`handle_timeout`](Self::handle_timeout). The lock manager calls [`send`](Self::send) and
/// [`reply`](Self::reply). After any of them the driver takes [`poll_output`](Self::poll_output) until
/// there is none, and sends the [`unsent`](Self::unsent) bytes of each link that
/// [`next_dirty`](Self::next_dirty) names: once for many calls is fine, and fewer writes.
///
/// All that is said about a link that is gone is ignored.
#[derive(Debug)]
pub struct Net {
    shared: Shared,
    /// By node number.
    peers: Vec<Option<Peer>>,
    strangers: u64,
}

impl Net {
    /// The engine of a node, with all heartbeats down.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], if this node is not configured, or two nodes have one number or address.
    pub fn new(config: NetConfig) -> Result<Net, ConfigError> {
        let address = config.local_address()?;
        let shared = Shared::new(config.me, address, config.handshake(), config.delays());
        let peers = std::iter::repeat_with(|| None).take(NODES_MAX).collect();
        let mut net = Net { shared, peers, strangers: 0 };
        let mut others = config.nodes;
        if let Some(at) = others.iter().position(|(node, ..)| *node == config.me) {
            others.swap_remove(at);
        }
        for (node, address, port) in others {
            net.add_node(node, address, port)?;
        }
        Ok(net)
    }

    /// Configures another node, with its heartbeat down.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], if a node has that number or address.
    pub fn add_node(
        &mut self,
        node: NodeId,
        address: Ipv4Addr,
        port: u16,
    ) -> Result<(), ConfigError> {
        let mut peers = self.peers.iter().flatten();
        if *self.shared.address.ip() == address || peers.any(|p| *p.address.ip() == address) {
            return Err(ConfigError::SameAddress(address));
        }
        let slot = &mut self.peers[node.index()];
        if node == self.shared.me || slot.is_some() {
            return Err(ConfigError::SameNumber(node));
        }
        *slot = Some(Peer::new(node, SocketAddrV4::new(address, port)));
        Ok(())
    }

    /// Other times: of every timer that is set from now on, and in handshakes to come. Those that peers
    /// compare are to change only while there is no connection.
    pub fn set_timeouts(&mut self, timeouts: &Timeouts) {
        let delays = &mut self.shared.delays;
        delays.idle = timeouts.idle_timeout();
        delays.keepalive = timeouts.keepalive_delay();
        delays.reconnect = timeouts.reconnect_delay();
        let handshake = &mut self.shared.handshake;
        handshake.idle_timeout_ms = timeouts.idle_timeout_ms;
        handshake.keepalive_delay_ms = timeouts.keepalive_delay_ms;
        handshake.reconnect_delay_ms = timeouts.reconnect_delay_ms;
    }

    /// Removes a node from the configuration; its connection is closed.
    pub fn remove_node(&mut self, now: Now, node: NodeId) {
        if let Some(mut peer) = self.peers[node.index()].take() {
            peer.take_down(&mut self.shared, now, CloseReason::Removed);
        }
    }

    /// A node's heartbeat came up. When listening starts, the driver says this of all that are up.
    /// Ignored for this node, and for nodes that are not configured.
    pub fn heartbeat_up(&mut self, now: Now, node: NodeId) {
        if let Some((peer, shared)) = self.peer(node) {
            peer.heartbeat_up(shared, now);
        }
    }

    /// A node's heartbeat went down: its connection is closed, and what it has not answered fails.
    /// Quorum is told first, and lock domains after the outputs of this were taken.
    pub fn heartbeat_down(&mut self, now: Now, node: NodeId) {
        if let Some((peer, shared)) = self.peer(node) {
            peer.take_down(shared, now, CloseReason::HeartbeatDown);
        }
    }

    /// A connection was accepted. The socket gets the options of [`Output::Connect`].
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the driver closes the socket without sending a byte.
    pub fn accepted(&mut self, now: Now, source: Ipv4Addr) -> Result<LinkId, Refusal> {
        if source == *self.shared.address.ip() {
            return Err(Refusal::NotHigher(self.shared.me));
        }
        let mut peers = self.peers.iter_mut().flatten();
        let Some(peer) = peers.find(|peer| *peer.address.ip() == source) else {
            self.strangers += 1;
            return Err(Refusal::UnknownAddress(source));
        };
        let node = peer.node;
        let refusal = if node < self.shared.me {
            Refusal::NotHigher(node)
        } else if peer.state() == NodeState::Down {
            Refusal::HeartbeatDown(node)
        } else if peer.link.is_some() {
            Refusal::Busy(node)
        } else {
            return Ok(peer.accept(&mut self.shared, now));
        };
        peer.counters.refused += 1;
        Err(refusal)
    }

    /// A connection that was asked for is established.
    pub fn connected(&mut self, now: Now, link: LinkId) {
        if let Some((peer, shared)) = self.linked(link) {
            peer.connected(shared, now);
        }
    }

    /// A connection that was asked for could not be made, for a positive errno. The socket is closed.
    pub fn connect_failed(&mut self, now: Now, link: LinkId, errno: i32) {
        self.closed(now, link, CloseReason::Failed { errno });
    }

    /// A connection ended: the peer did it, or the socket failed. The driver has closed it.
    pub fn closed(&mut self, now: Now, link: LinkId, reason: CloseReason) {
        if let Some((peer, shared)) = self.linked(link) {
            peer.drop_link(shared, now, reason, Told::Driver);
        }
    }

    /// Bytes were received: the next ones of the stream, however it was split.
    ///
    /// What they are is handed to `sink`, in the order of the stream, together with the engine, so that
    /// it can answer and send at once. A sink that takes the peer down ends the stream.
    pub fn received(
        &mut self,
        now: Now,
        link: LinkId,
        bytes: &[u8],
        sink: &mut dyn FnMut(&mut Net, Incoming<'_>),
    ) {
        if let Some((peer, shared)) = self.linked(link) {
            peer.counters.bytes_in += bytes.len() as u64;
            peer.connected(shared, now);
        }
        let mut rest = bytes;
        while let Some(piece) = self.next_piece(now, link, &mut rest) {
            self.handle_piece(now, link, &piece, sink);
            if let Cow::Owned(piece) = piece
                && let Some((Peer { link: Some(link), .. }, _)) = self.linked(link)
            {
                link.recycle(piece);
            }
        }
    }

    /// Fires the timers that are due. A driver that was held up says first what it has received
    /// meanwhile, or peers look idle that are not.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.shared.wake.is_none_or(|wake| wake > now) {
            return;
        }
        for peer in self.peers.iter_mut().flatten() {
            peer.handle_timeout(&mut self.shared, now);
        }
        self.shared.wake = self.peers.iter().flatten().filter_map(Peer::first_timer).min();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called. It may find nothing to do then:
    /// receiving puts timers off, but not this.
    pub fn next_timeout(&self) -> Option<Now> {
        self.shared.wake
    }

    /// Sends a request. Its end comes later, once, with the token: as [`Incoming::Completed`] or
    /// [`Output::Completed`]. A request to a node that heartbeats but has no connection yet waits for
    /// one; there is no other time limit.
    ///
    /// # Errors
    ///
    /// [`NetError`], if it is not sent and will not be; nothing comes later then.
    pub fn send(
        &mut self,
        now: Now,
        to: NodeId,
        message_type: u16,
        key: u32,
        payload: &[u8],
        token: u64,
    ) -> Result<(), NetError> {
        if payload.len() > PAYLOAD_MAX {
            return Err(NetError::TooLong(payload.len()));
        }
        if to == self.shared.me {
            return Err(NetError::ToSelf);
        }
        let (peer, shared) = self.peer(to).ok_or(NetError::NotConnected)?;
        peer.send(shared, now, (message_type, key, token), payload)
    }

    /// Answers a request. `status` counts if the system status is none. The answer to a request whose
    /// connection is gone goes nowhere: the peer knows.
    pub fn reply(
        &mut self,
        now: Now,
        request: RequestId,
        system_status: SystemStatus,
        status: i32,
    ) {
        let Some((peer, shared)) = self.linked(request.link) else { return };
        let handled = system_status == SystemStatus::None;
        peer.counters.unknown_messages += u64::from(!handled);
        let header = Header {
            kind: Kind::Status,
            data_len: 0,
            system_status: system_status.number(),
            status: if handled { status } else { 0 },
            ..request.header
        };
        peer.put_header(shared, now, &header);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    /// A connection to which bytes were added since it was last named here. One whose socket takes only
    /// a part is not named again for the rest: the driver waits until the socket takes more.
    pub fn next_dirty(&mut self) -> Option<LinkId> {
        while let Some(id) = self.shared.dirty.pop() {
            if let Some((Peer { link: Some(link), .. }, _)) = self.linked(id) {
                link.dirty = false;
                return Some(id);
            }
        }
        None
    }

    /// Whether [`next_dirty`](Self::next_dirty) may have one.
    pub fn has_dirty(&self) -> bool {
        !self.shared.dirty.is_empty()
    }

    /// The bytes that are to be sent on a connection, in whole frames but for what was sent already.
    pub fn unsent(&self, link: LinkId) -> &[u8] {
        let peer = self.peers[link.node().index()].as_ref();
        let found = peer.and_then(|peer| peer.link.as_ref()).filter(|found| found.id == link);
        found.map_or(&[], |link| link.unsent.as_slice())
    }

    /// The first `len` of the unsent bytes were sent.
    pub fn sent(&mut self, link: LinkId, len: usize) {
        if let Some((Peer { link: Some(link), .. }, _)) = self.linked(link) {
            link.unsent.advance(len);
        }
    }

    /// The state of a peer; `None` for this node and those that are not configured.
    pub fn node_state(&self, node: NodeId) -> Option<NodeState> {
        self.peers[node.index()].as_ref().map(Peer::state)
    }

    /// All peers, ascending, for display.
    pub fn node_states(&self) -> impl Iterator<Item = NodeReport> {
        self.peers.iter().flatten().map(Peer::report)
    }

    /// How many connections came from addresses of no node.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    fn peer(&mut self, node: NodeId) -> Option<(&mut Peer, &mut Shared)> {
        let peer = self.peers[node.index()].as_mut()?;
        Some((peer, &mut self.shared))
    }

    /// The peer of a connection, if that is still its connection.
    fn linked(&mut self, link: LinkId) -> Option<(&mut Peer, &mut Shared)> {
        let (peer, shared) = self.peer(link.node())?;
        peer.link.as_ref().is_some_and(|found| found.id == link).then_some((peer, shared))
    }

    fn next_piece<'a>(
        &mut self,
        now: Now,
        link: LinkId,
        rest: &mut &'a [u8],
    ) -> Option<Cow<'a, [u8]>> {
        let (peer, shared) = self.linked(link)?;
        match peer.link.as_mut()?.next_piece(rest) {
            Ok(piece) => piece,
            Err(error) => {
                peer.counters.bad_frames += 1;
                peer.drop_link(shared, now, CloseReason::Frame(error), Told::Nobody);
                None
            }
        }
    }

    fn handle_piece(
        &mut self,
        now: Now,
        link: LinkId,
        piece: &[u8],
        sink: &mut dyn FnMut(&mut Net, Incoming<'_>),
    ) {
        let Some((peer, shared)) = self.linked(link) else { return };
        if !peer.state().is_connected() {
            if let Some(handshake) = piece.first_chunk() {
                peer.shake_hands(shared, now, &Handshake::from_bytes(handshake));
            }
            return;
        }
        let Some((header, payload)) = piece.split_first_chunk::<HEADER_LEN>() else { return };
        let Ok(header) = Header::from_bytes(header) else { return };
        peer.counters.frames_in += 1;
        peer.heard(shared, now);
        match header.kind {
            Kind::Request => {
                let Header { message_type, key, .. } = header;
                let (id, from) = (RequestId { link, header }, link.node());
                sink(self, Incoming::Request { id, from, message_type, key, payload });
            }
            Kind::Status => {
                let outstanding = peer.link.as_mut().map(|link| &mut link.outstanding);
                let token = outstanding.and_then(|requests| requests.finish(header.number));
                let Some(token) = token else {
                    peer.counters.unknown_statuses += 1;
                    return;
                };
                sink(self, Incoming::Completed { token, result: result(&header) });
            }
            Kind::KeepaliveRequest => {
                peer.put_header(shared, now, &Header::keepalive(Kind::KeepaliveResponse));
            }
            Kind::KeepaliveResponse => {}
        }
    }
}

/// What a status says.
fn result(header: &Header) -> Result<i32, NetError> {
    match SystemStatus::from_number(header.system_status) {
        Ok(SystemStatus::None) => Ok(header.status),
        Ok(SystemStatus::NoHandler) => Err(NetError::NoHandler),
        Ok(SystemStatus::Overflow) => Err(NetError::Overflow),
        Err(number) => Err(NetError::UnknownSystemStatus(number)),
    }
}
