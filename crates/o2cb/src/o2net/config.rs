//! What o2net has to know about the cluster.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::handshake::{CONNECTOR_KERNEL, Handshake, PROTOCOL_VERSION};
use crate::NodeId;

/// The configuration of one node's messaging. All nodes of a cluster have the same times.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// This node.
    pub me: NodeId,
    /// All nodes, this one too: number, address, port.
    pub nodes: Vec<(NodeId, Ipv4Addr, u16)>,
    /// How long a node may miss heartbeats, in milliseconds: 2000 x (dead threshold - 1).
    pub heartbeat_timeout_ms: u32,
    /// How long nothing may be received before a connection counts as in error, in milliseconds.
    pub idle_timeout_ms: u32,
    /// After how long without receiving a keepalive request is sent, in milliseconds.
    pub keepalive_delay_ms: u32,
    /// How long until another attempt to connect, in milliseconds.
    pub reconnect_delay_ms: u32,
    /// After how many periods of 2 s without a heartbeat a node is dead.
    pub dead_threshold: u32,
    /// What this node is: [`CONNECTOR_KERNEL`](super::CONNECTOR_KERNEL) or
    /// [`CONNECTOR_STACKGLUE`](super::CONNECTOR_STACKGLUE).
    pub connector_id: u64,
}

/// A configuration that does not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// This node is not among the nodes.
    #[error("this node, {0}, is not among the configured nodes")]
    LocalUnknown(NodeId),
    /// Two nodes have the number.
    #[error("two nodes have the number {0}")]
    SameNumber(NodeId),
    /// Two nodes have the address, by which a peer is recognized.
    #[error("two nodes have the address {0}")]
    SameAddress(Ipv4Addr),
}

impl NetConfig {
    /// A kernel's identity and default times (`fs/ocfs2/cluster/tcp_internal.h`).
    pub fn with_defaults(me: NodeId, nodes: Vec<(NodeId, Ipv4Addr, u16)>) -> NetConfig {
        NetConfig {
            me,
            nodes,
            heartbeat_timeout_ms: 60_000,
            idle_timeout_ms: 30_000,
            keepalive_delay_ms: 2000,
            reconnect_delay_ms: 2000,
            dead_threshold: 31,
            connector_id: CONNECTOR_KERNEL,
        }
    }

    pub(super) fn handshake(&self) -> Handshake {
        Handshake {
            protocol_version: PROTOCOL_VERSION,
            connector_id: self.connector_id,
            heartbeat_timeout_ms: self.heartbeat_timeout_ms,
            idle_timeout_ms: self.idle_timeout_ms,
            keepalive_delay_ms: self.keepalive_delay_ms,
            reconnect_delay_ms: self.reconnect_delay_ms,
        }
    }

    pub(super) fn delays(&self) -> Delays {
        Delays {
            idle: Duration::from_millis(self.idle_timeout_ms.into()),
            keepalive: Duration::from_millis(self.keepalive_delay_ms.into()),
            reconnect: Duration::from_millis(self.reconnect_delay_ms.into()),
            still_up: Duration::from_millis(2000 * (u64::from(self.dead_threshold) + 2)),
        }
    }

    pub(super) fn local_address(&self) -> Result<SocketAddrV4, ConfigError> {
        let local = self.nodes.iter().find(|(node, ..)| *node == self.me);
        local
            .map(|&(_, address, port)| SocketAddrV4::new(address, port))
            .ok_or(ConfigError::LocalUnknown(self.me))
    }
}

/// The times of the timers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delays {
    pub(super) idle: Duration,
    pub(super) keepalive: Duration,
    pub(super) reconnect: Duration,
    /// Longer than it takes to see that a node is dead (`O2NET_QUORUM_DELAY_MS`): a peer that still
    /// heartbeats after it lives, and only its connection does not.
    pub(super) still_up: Duration,
}
