//! What the heartbeat wants done, and who is told of it first.

use std::fmt;
use std::io;
use std::time::Duration;

use super::{Negotiation, RegionId};
use crate::{NodeId, Now};

/// What [`Heartbeat::poll_output`](super::Heartbeat::poll_output) gives.
#[derive(Debug)]
pub enum Output {
    /// Read the slots of these nodes and those between, from the device and not from a cache; answer
    /// with [`slots_read`](super::Heartbeat::slots_read).
    ReadSlots {
        /// Of this region.
        region: RegionId,
        /// The first slot.
        first: NodeId,
        /// The last slot, which is read too.
        last: NodeId,
    },
    /// Write this node's slot; answer with [`slot_written`](super::Heartbeat::slot_written) when the
    /// device has it.
    WriteSlot {
        /// Of this region.
        region: RegionId,
        /// One block.
        bytes: Vec<u8>,
        /// When the node fences itself: a write that has not been issued by then must not be, and one
        /// that has been must not reach the device later.
        not_after: Option<Now>,
    },
    /// A node, maybe this one, is live. Tell the [listeners](NodeEvent::listeners) in their order.
    NodeUp(NodeId),
    /// A node, maybe this one, is no longer live in any region.
    NodeDown {
        /// That node.
        node: NodeId,
        /// Whether it is still configured. Otherwise the network knows nothing of it, and only quorum
        /// is told.
        configured: bool,
    },
    /// A region has started: who is live in it now has had a chance to see this node.
    Steady(RegionId),
    /// A region could not start. [`Output::Stopped`] follows.
    StartFailed {
        /// That region.
        region: RegionId,
        /// Why.
        error: StartError,
    },
    /// Send a message; if the network has no room for it, again after 100 ms.
    Negotiate {
        /// To this node.
        to: NodeId,
        /// The message key.
        key: u32,
        /// The message type.
        kind: Negotiation,
        /// Its one byte of payload: this node's number.
        payload: [u8; Negotiation::PAYLOAD_MAX],
    },
    /// Stop this node at once, and let no write of it reach shared storage any more. Nothing follows.
    Fence(Fence),
    /// A region is gone. Its disk is not used any more.
    Stopped {
        /// That region.
        region: RegionId,
        /// In which way.
        how: Stop,
    },
}

/// How a region ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// With a block that tells peers so.
    Left,
    /// That block could not be written: peers wait for the dead threshold.
    LeftUnsaid,
    /// Its start failed; there is no such block.
    Aborted,
    /// It had not started.
    NotStarted,
}

/// Why a pass came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The device did not give the slots.
    #[error("the slots of the heartbeat region could not be read")]
    Read(#[source] io::Error),
    /// The driver gave another number of bytes than was asked for.
    #[error("{got} bytes of the heartbeat region were read instead of {expected}")]
    ReadLength {
        /// What was asked for.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// The device did not take the block.
    #[error("this node's slot of the heartbeat region could not be written")]
    Write(#[source] io::Error),
}

/// Why a region did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The first look at the slots failed.
    #[error("the heartbeat region could not be opened")]
    Open(#[source] PassError),
    /// It did not become steady: passes failed, this node's slot did not hold what this node had
    /// written, or nodes came and went all the time.
    #[error("the heartbeat region did not become steady; see the counters of its passes")]
    Unsteady,
    /// It was removed in the meantime.
    #[error("the heartbeat region was removed before it was steady")]
    Removed,
}

/// Why this node has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The region whose write timeout expired.
    pub region: RegionId,
    /// Its name.
    pub name: String,
    /// How long there was no good write.
    pub write_timeout: Duration,
    /// Failed regions and quorum regions, in global mode.
    pub failed_of_quorum: Option<(usize, usize)>,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.write_timeout.as_millis();
        write!(f, "no good write to heartbeat region {} for {ms} ms", self.name)?;
        match self.failed_of_quorum {
            Some((failed, quorum)) => {
                write!(f, "; {failed} of {quorum} quorum regions have failed")
            }
            None => Ok(()),
        }
    }
}

/// A node has come or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// It has come.
    Up,
    /// It has gone.
    Down,
}

impl NodeEvent {
    /// Who is told, in order. When a node dies its connection is closed, and with that every message
    /// that waits for it fails, before a lock domain cleans up; when it comes, the network expects it
    /// before a lock domain wants to talk to it. One event is through with all of them before the next.
    pub const fn listeners(self) -> [Listener; 2] {
        match self {
            NodeEvent::Up => [Listener::Network, Listener::DomainUp],
            NodeEvent::Down => [Listener::Network, Listener::DomainDown],
        }
    }
}

/// Who is told that a node has come or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Listener {
    /// The network, which tells quorum (`O2NET_HB_PRI`).
    Network = 0x1,
    /// A lock domain, of a node that has come (`DLM_DOMAIN` priority of up).
    DomainUp = 0x800_0000,
    /// A lock domain, of a node that has gone.
    DomainDown = 0xF00_0000,
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviour 59.
    #[test]
    fn listeners_run_by_priority() {
        for event in [NodeEvent::Up, NodeEvent::Down] {
            assert!(event.listeners().is_sorted_by_key(|listener| *listener as u32));
            assert_eq!(event.listeners()[0], Listener::Network);
        }
    }
}
