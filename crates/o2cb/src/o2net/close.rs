//! Why connections end, and why they are not taken.

use std::net::Ipv4Addr;

use super::frame::FrameError;
use super::handshake::HandshakeMismatch;
use crate::NodeId;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended it.
    #[error("the peer closed the connection")]
    Ended,
    /// The socket failed, or connecting did.
    #[error("the connection failed: {}", std::io::Error::from_raw_os_error(*errno))]
    Failed {
        /// The errno, positive.
        errno: i32,
    },
    /// The peer's heartbeat went down.
    #[error("the peer's heartbeat went down")]
    HeartbeatDown,
    /// The node was removed from the configuration.
    #[error("the node was removed")]
    Removed,
    /// The handshakes did not fit.
    #[error("{0}")]
    Handshake(HandshakeMismatch),
    /// The peer sent what is not a frame.
    #[error("the peer sent what is not a frame: {0}")]
    Frame(FrameError),
    /// The handshakes were not completed within the idle timeout.
    #[error("no connection was established within the idle timeout")]
    NoHandshake,
    /// The peer does not read: too much is unsent.
    #[error("the peer does not read: {unsent_len} bytes are unsent")]
    Unread {
        /// Bytes that were not sent.
        unsent_len: usize,
    },
}

/// Why an incoming connection is not taken. It is closed without a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The source address is of no configured node.
    #[error("a connection from {0}, which is the address of no node")]
    UnknownAddress(Ipv4Addr),
    /// The node with the higher number connects, never the other.
    #[error("a connection from node {0}, whose number is not higher than this node's")]
    NotHigher(NodeId),
    /// The node's heartbeat is not up here. It may be there, and then the node tries again.
    #[error("a connection from node {0}, whose heartbeat is not up")]
    HeartbeatDown(NodeId),
    /// The node has a connection.
    #[error("a second connection from node {0}")]
    Busy(NodeId),
}
