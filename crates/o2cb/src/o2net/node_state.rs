//! How a peer is doing.

use std::net::SocketAddrV4;

use super::close::CloseReason;
use crate::{NodeId, Now};

/// The state of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Its heartbeat is down. Sends fail.
    Down,
    /// Its heartbeat is up and there is no connection yet. Sends wait.
    Waiting,
    /// A connection is being made. Sends wait.
    Handshaking,
    /// There is a connection.
    Valid,
    /// There is a connection on which nothing was received for the idle timeout. Sends go out.
    Idle,
    /// The connection was lost while the heartbeat is up. Sends fail, so that the lock manager sees
    /// what it would see from a kernel. The peer connects again, or this node does if its number is
    /// higher; a kernel node would not, unless the connection had been idle.
    Broken,
    /// Its handshake did not fit. Sends fail; this node does not connect to it until its heartbeat was
    /// down, but it may connect.
    Refused,
}

impl NodeState {
    /// The name, as people read it.
    pub const fn name(self) -> &'static str {
        match self {
            NodeState::Down => "down",
            NodeState::Waiting => "waiting",
            NodeState::Handshaking => "handshaking",
            NodeState::Valid => "valid",
            NodeState::Idle => "idle",
            NodeState::Broken => "broken",
            NodeState::Refused => "refused",
        }
    }

    /// Whether requests go out.
    pub const fn is_connected(self) -> bool {
        matches!(self, NodeState::Valid | NodeState::Idle)
    }
}

/// What was counted about a peer since it was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received, of all kinds.
    pub frames_in: u64,
    /// Frames put out, of all kinds.
    pub frames_out: u64,
    /// Bytes received, handshakes too.
    pub bytes_in: u64,
    /// Bytes put out, handshakes too.
    pub bytes_out: u64,
    /// Connections and handshakes of the peer that were refused.
    pub refused: u64,
    /// Requests of the peer for which there was no handler, or that were longer than it takes.
    pub unknown_messages: u64,
    /// Statuses of the peer that answered nothing.
    pub unknown_statuses: u64,
    /// What the peer sent that was not a frame.
    pub bad_frames: u64,
    /// Connections that became valid after the first one did.
    pub reconnects: u64,
}

/// A peer, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// The peer.
    pub node: NodeId,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Its state.
    pub state: NodeState,
    /// Since when it is in that state.
    pub since: Now,
    /// Why its last connection ended, or could not be made.
    pub last_error: Option<CloseReason>,
    /// Requests that were sent and not answered yet.
    pub outstanding: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// Bytes that were put out and not sent yet.
    pub unsent_len: usize,
    /// What was counted.
    pub counters: Counters,
}
