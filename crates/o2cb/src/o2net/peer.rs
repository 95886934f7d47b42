//! One peer: its state, its connection, and the requests that wait for one.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::close::CloseReason;
use super::config::Delays;
use super::engine::Output;
use super::error::NetError;
use super::frame::{HEADER_LEN, Header, Kind};
use super::handshake::{CONNECTOR_STACKGLUE, Handshake};
use super::link::{Link, LinkId, UNSENT_LEN_MAX};
use super::node_state::{Counters, NodeReport, NodeState};
use super::timers::{Timer, Timers};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, Now};

/// How many requests to one peer may be unanswered.
pub const OUTSTANDING_MAX: usize = 1 << 20;

/// How many bytes of requests may wait for one peer's connection.
pub const WAITING_LEN_MAX: usize = 4 << 20;

/// What peers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) me: NodeId,
    pub(super) address: SocketAddrV4,
    pub(super) handshake: Handshake,
    pub(super) delays: Delays,
    pub(super) outputs: VecDeque<Output>,
    pub(super) dirty: Vec<LinkId>,
    /// Not later than the first timer of any peer. Timers that are put off leave it where it is, so
    /// that receiving does not have to look at all of them.
    pub(super) wake: Option<Now>,
    links: u64,
}

impl Shared {
    pub(super) fn new(
        me: NodeId,
        address: SocketAddrV4,
        handshake: Handshake,
        delays: Delays,
    ) -> Shared {
        Shared {
            me,
            address,
            handshake,
            delays,
            outputs: VecDeque::new(),
            dirty: Vec::new(),
            wake: None,
            links: 0,
        }
    }

    /// The address that this node connects from: peers recognize it by that.
    fn source(&self) -> Ipv4Addr {
        *self.address.ip()
    }

    fn next_link(&mut self, node: NodeId) -> LinkId {
        self.links += 1;
        LinkId::new(node, self.links)
    }

    fn wake_by(&mut self, at: Now) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn complete(&mut self, token: u64, result: Result<i32, NetError>) {
        self.outputs.push_back(Output::Completed { token, result });
    }
}

/// A request that waits for a connection.
#[derive(Debug)]
struct Waiting {
    token: u64,
    message_type: u16,
    key: u32,
    payload: Box<[u8]>,
}

/// Who already knows of a connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The driver said it.
    Driver,
    /// The driver has to close the socket.
    Nobody,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: SocketAddrV4,
    state: NodeState,
    since: Now,
    last_error: Option<CloseReason>,
    /// The connection, in the states `Handshaking`, `Valid` and `Idle`.
    pub(super) link: Option<Link>,
    last_attempt: Option<Now>,
    timers: Timers,
    /// Quorum was last told that the connection is up.
    up_for_quorum: bool,
    waiting: VecDeque<Waiting>,
    waiting_len: usize,
    was_valid: bool,
    /// Its last good handshake said that it is one of ours.
    is_ours: bool,
    pub(super) counters: Counters,
}

impl Peer {
    pub(super) fn new(node: NodeId, address: SocketAddrV4) -> Peer {
        Peer {
            node,
            address,
            state: NodeState::Down,
            since: Now::ZERO,
            last_error: None,
            link: None,
            last_attempt: None,
            timers: Timers::default(),
            up_for_quorum: false,
            waiting: VecDeque::new(),
            waiting_len: 0,
            was_valid: false,
            is_ours: false,
            counters: Counters::default(),
        }
    }

    pub(super) fn state(&self) -> NodeState {
        self.state
    }

    pub(super) fn first_timer(&self) -> Option<Now> {
        self.timers.first()
    }

    pub(super) fn report(&self) -> NodeReport {
        NodeReport {
            node: self.node,
            address: self.address,
            state: self.state,
            since: self.since,
            last_error: self.last_error,
            outstanding: self.link.as_ref().map_or(0, |link| link.outstanding.len()),
            waiting: self.waiting.len(),
            unsent_len: self.link.as_ref().map_or(0, |link| link.unsent.len()),
            counters: self.counters,
        }
    }

    /// The peer heartbeats (`fs/ocfs2/cluster/tcp.c: o2net_hb_node_up_cb`).
    pub(super) fn heartbeat_up(&mut self, shared: &mut Shared, now: Now) {
        if self.state != NodeState::Down {
            return;
        }
        self.enter(now, NodeState::Waiting);
        // The attempts of its former life do not count.
        self.connect_by(shared, now, now);
    }

    /// The peer heartbeats no more, or is no more (`fs/ocfs2/cluster/tcp.c: o2net_disconnect_node`).
    pub(super) fn take_down(&mut self, shared: &mut Shared, now: Now, reason: CloseReason) {
        if self.state == NodeState::Down {
            return;
        }
        self.detach(shared, now, reason, Told::Nobody);
        self.enter(now, NodeState::Down);
        self.timers = Timers::default();
        self.fail_waiting(shared);
    }

    /// An incoming connection that was found good.
    pub(super) fn accept(&mut self, shared: &mut Shared, now: Now) -> LinkId {
        let id = self.attach(shared, now);
        self.connected(shared, now);
        id
    }

    /// The socket is connected: the handshake goes out without waiting for the peer's.
    pub(super) fn connected(&mut self, shared: &mut Shared, now: Now) {
        let Some(link) = self.link.as_mut().filter(|link| !link.connected) else { return };
        link.connected = true;
        let handshake = shared.handshake.to_bytes();
        self.put(shared, now, &handshake, &[]);
    }

    /// A whole handshake was received.
    pub(super) fn shake_hands(&mut self, shared: &mut Shared, now: Now, theirs: &Handshake) {
        if let Err(mismatch) = shared.handshake.check(theirs) {
            self.counters.refused += 1;
            self.drop_link(shared, now, CloseReason::Handshake(mismatch), Told::Nobody);
            return;
        }
        let Some(link) = &mut self.link else { return };
        link.valid = true;
        self.timers.stop(Timer::Handshake);
        self.enter(now, NodeState::Valid);
        let ours = theirs.connector_id == CONNECTOR_STACKGLUE;
        if std::mem::replace(&mut self.is_ours, ours) != ours {
            shared.outputs.push_back(Output::Introduced { node: self.node, ours });
        }
        self.counters.reconnects += u64::from(self.was_valid);
        self.was_valid = true;
        self.heard(shared, now);
        self.tell_up(shared);
        self.send_waiting(shared, now);
    }

    /// A whole frame was received, of any kind. Only that puts the timers off; sending does not.
    pub(super) fn heard(&mut self, shared: &mut Shared, now: Now) {
        self.arm(shared, Timer::Idle, now + shared.delays.idle);
        self.arm(shared, Timer::Keepalive, now + shared.delays.keepalive);
        if self.state == NodeState::Idle {
            self.enter(now, NodeState::Valid);
            self.tell_up(shared);
        }
    }

    /// Sends a request, or keeps it until there is a connection.
    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        now: Now,
        (message_type, key, token): (u16, u32, u64),
        payload: &[u8],
    ) -> Result<(), NetError> {
        match self.state {
            NodeState::Valid | NodeState::Idle => {
                self.send_request(shared, now, (message_type, key, token), payload)
            }
            NodeState::Waiting | NodeState::Handshaking => {
                let len = self.waiting_len + HEADER_LEN + payload.len();
                if len > WAITING_LEN_MAX {
                    return Err(NetError::OutOfMemory);
                }
                self.waiting_len = len;
                self.waiting.push_back(Waiting {
                    token,
                    message_type,
                    key,
                    payload: payload.into(),
                });
                Ok(())
            }
            NodeState::Down | NodeState::Broken | NodeState::Refused => Err(NetError::NotConnected),
        }
    }

    /// Puts a frame out without a payload: a status or a keepalive.
    pub(super) fn put_header(&mut self, shared: &mut Shared, now: Now, header: &Header) {
        self.counters.frames_out += 1;
        self.put(shared, now, &header.to_bytes(), &[]);
    }

    /// Fires what is due.
    pub(super) fn handle_timeout(&mut self, shared: &mut Shared, now: Now) {
        for timer in Timer::ALL {
            if self.timers.take_due(timer, now) {
                self.fire(shared, now, timer);
            }
        }
    }

    /// The connection ends while the heartbeat is up (`fs/ocfs2/cluster/tcp.c: o2net_set_nn_state`).
    pub(super) fn drop_link(
        &mut self,
        shared: &mut Shared,
        now: Now,
        reason: CloseReason,
        told: Told,
    ) {
        let Some(was_valid) = self.detach(shared, now, reason, told) else { return };
        if was_valid {
            self.enter(now, NodeState::Broken);
            // A kernel node would wait for the peer to do it, or for a heartbeat that goes down and up.
            self.connect_by(shared, now, now + shared.delays.reconnect);
        } else if let CloseReason::Handshake(_) = reason {
            self.enter(now, NodeState::Refused);
            self.fail_waiting(shared);
        } else {
            self.enter(now, NodeState::Waiting);
            let next = self.last_attempt.map_or(now, |last| last + shared.delays.reconnect);
            self.connect_by(shared, now, next);
        }
    }

    /// Takes the connection away, if there is one, with all that depends on it; whether it was valid.
    /// The state is left for the caller to change.
    fn detach(
        &mut self,
        shared: &mut Shared,
        now: Now,
        reason: CloseReason,
        told: Told,
    ) -> Option<bool> {
        let link = self.link.take()?;
        self.last_error = Some(reason);
        for timer in [Timer::Handshake, Timer::Idle, Timer::Keepalive] {
            self.timers.stop(timer);
        }
        if told == Told::Nobody {
            shared.outputs.push_back(Output::Close { link: link.id, reason });
        }
        for token in link.outstanding.into_tokens() {
            if !planted(Mutant::LostCallsForgotten) {
                shared.complete(token, Err(NetError::HostDown));
            }
        }
        if link.valid {
            self.tell_error(shared, now);
        }
        Some(link.valid)
    }

    fn fire(&mut self, shared: &mut Shared, now: Now, timer: Timer) {
        match timer {
            Timer::Connect => self.connect(shared, now),
            Timer::Handshake => {
                self.drop_link(shared, now, CloseReason::NoHandshake, Told::Nobody);
            }
            Timer::Keepalive if planted(Mutant::NoKeepalive) => {}
            Timer::Keepalive => {
                self.put_header(shared, now, &Header::keepalive(Kind::KeepaliveRequest));
            }
            Timer::Idle => {
                // The connection stays: only the heartbeat says that a node is dead.
                if self.state == NodeState::Valid {
                    self.enter(now, NodeState::Idle);
                }
                self.tell_error(shared, now);
                self.arm(shared, Timer::Idle, now + shared.delays.idle);
                self.arm(shared, Timer::Keepalive, now + shared.delays.keepalive);
            }
            Timer::StillUp => shared.outputs.push_back(Output::StillUp(self.node)),
        }
    }

    /// Connects, now or later, if this node is the one that does.
    fn connect_by(&mut self, shared: &mut Shared, now: Now, at: Now) {
        if shared.me < self.node {
            return;
        }
        if at <= now {
            self.connect(shared, now);
        } else {
            self.arm(shared, Timer::Connect, at);
        }
    }

    fn connect(&mut self, shared: &mut Shared, now: Now) {
        if self.link.is_some() || self.state == NodeState::Down {
            return;
        }
        self.last_attempt = Some(now);
        let link = self.attach(shared, now);
        let (node, to, from) = (self.node, self.address, shared.source());
        shared.outputs.push_back(Output::Connect { link, node, to, from });
    }

    fn attach(&mut self, shared: &mut Shared, now: Now) -> LinkId {
        let id = shared.next_link(self.node);
        self.link = Some(Link::new(id));
        // The kernel counts from when the node came up; counted from the attempt, none is cut short.
        self.arm(shared, Timer::Handshake, now + shared.delays.idle);
        self.enter(now, NodeState::Handshaking);
        id
    }

    fn send_request(
        &mut self,
        shared: &mut Shared,
        now: Now,
        (message_type, key, token): (u16, u32, u64),
        payload: &[u8],
    ) -> Result<(), NetError> {
        let data_len = u16::try_from(payload.len());
        let data_len = data_len.map_err(|_| NetError::TooLong(payload.len()))?;
        let Some(link) = &mut self.link else { return Err(NetError::NotConnected) };
        if link.outstanding.len() == OUTSTANDING_MAX {
            return Err(NetError::OutOfMemory);
        }
        let number = link.outstanding.begin(token);
        let header = Header::request(message_type, key, number, data_len);
        self.counters.frames_out += 1;
        self.put(shared, now, &header.to_bytes(), payload);
        Ok(())
    }

    fn send_waiting(&mut self, shared: &mut Shared, now: Now) {
        while let Some(waiting) =
            self.waiting.pop_front().filter(|_| !planted(Mutant::WaitingNotSent))
        {
            let Waiting { token, message_type, key, payload } = waiting;
            let sent = self.send_request(shared, now, (message_type, key, token), &payload);
            if let Err(error) = sent {
                shared.complete(token, Err(error));
            }
        }
        self.waiting_len = 0;
    }

    fn fail_waiting(&mut self, shared: &mut Shared) {
        self.waiting_len = 0;
        for waiting in self.waiting.drain(..) {
            shared.complete(waiting.token, Err(NetError::NotConnected));
        }
    }

    /// Puts bytes out, if there is a connection.
    fn put(&mut self, shared: &mut Shared, now: Now, header: &[u8], payload: &[u8]) {
        let Some(link) = &mut self.link else { return };
        link.unsent.push(header);
        link.unsent.push(payload);
        self.counters.bytes_out += (header.len() + payload.len()) as u64;
        if !link.dirty {
            link.dirty = true;
            shared.dirty.push(link.id);
        }
        let unsent_len = link.unsent.len();
        if unsent_len > UNSENT_LEN_MAX {
            self.drop_link(shared, now, CloseReason::Unread { unsent_len }, Told::Nobody);
        }
    }

    /// Tells quorum that the connection is up, if it does not know. There is nothing left to decide.
    fn tell_up(&mut self, shared: &mut Shared) {
        self.timers.stop(Timer::StillUp);
        if !self.up_for_quorum {
            self.up_for_quorum = true;
            shared.outputs.push_back(Output::ConnectionUp(self.node));
        }
    }

    /// Tells quorum that the connection is in error, if it does not know; and later, if the heartbeat
    /// has not gone down by then, that the peer is still up.
    fn tell_error(&mut self, shared: &mut Shared, now: Now) {
        if self.up_for_quorum {
            self.up_for_quorum = false;
            shared.outputs.push_back(Output::ConnectionError(self.node));
            self.arm(shared, Timer::StillUp, now + shared.delays.still_up);
        }
    }

    fn arm(&mut self, shared: &mut Shared, timer: Timer, at: Now) {
        self.timers.set(timer, at);
        shared.wake_by(at);
    }

    fn enter(&mut self, now: Now, state: NodeState) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }
}
