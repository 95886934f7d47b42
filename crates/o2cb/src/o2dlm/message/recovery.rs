//! Recovery from the death of a node.

use super::fields::{Payload, append};
use super::{DecodeError, MessageType};
use crate::NodeId;

/// The recovery master asks for the locks on the dead node's resources (515).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// The sender.
    pub node: NodeId,
    /// Who died.
    pub dead: NodeId,
}

/// A node tells the recovery master that it has sent all its locks (516).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoDataDone {
    /// The sender.
    pub node: NodeId,
    /// Who died.
    pub dead: NodeId,
}

/// A node tells that it is recovery master (517).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginReco {
    /// The sender.
    pub node: NodeId,
    /// Who died.
    pub dead: NodeId,
}

/// The recovery master tells that recovery ends (518).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizeReco {
    /// The sender.
    pub node: NodeId,
    /// Who died.
    pub dead: NodeId,
    /// Whether every node has seen stage 1.
    pub stage2: bool,
}

// All four begin with these.
const NODE: usize = 0;
const DEAD: usize = 1;

// Of the finalization only.
const FLAGS: usize = 2;
const STAGE2: u8 = 0x01;

/// The messages of a node and a dead node.
macro_rules! node_and_dead {
    ($($message:ident),*) => {$(
        impl $message {
            /// The type of the message.
            pub const TYPE: MessageType = MessageType::$message;

            /// The message of a payload.
            pub fn decode(payload: &[u8]) -> Result<$message, DecodeError> {
                let payload = Payload::new(Self::TYPE, payload)?;
                Ok($message {
                    node: payload.node(NODE, "node")?,
                    dead: payload.node(DEAD, "dead node")?,
                })
            }

            /// Appends the payload.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let structure = append(out, Self::TYPE.payload_min());
                structure[NODE] = self.node.get();
                structure[DEAD] = self.dead.get();
            }
        }
    )*};
}

node_and_dead!(LockRequest, RecoDataDone, BeginReco);

impl FinalizeReco {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::FinalizeReco;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<FinalizeReco, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        Ok(FinalizeReco {
            node: payload.node(NODE, "node")?,
            dead: payload.node(DEAD, "dead node")?,
            stage2: payload.u8(FLAGS) & STAGE2 != 0,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let structure = append(out, Self::TYPE.payload_min());
        structure[NODE] = self.node.get();
        structure[DEAD] = self.dead.get();
        structure[FLAGS] = if self.stage2 { STAGE2 } else { 0 };
    }
}
