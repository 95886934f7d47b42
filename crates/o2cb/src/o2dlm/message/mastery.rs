//! Finding the master of a name, and dropping a reference to it.

use super::fields::{Payload, append, put, put_name};
use super::{DecodeError, LockName, MessageType};
use crate::NodeId;

bitflags::bitflags! {
    /// Why a node asserts its mastery. Unknown bits are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AssertFlags: u32 {
        /// A master answers a request that came late: entries of the attempt are to be dropped.
        const MLE_CLEANUP = 0x1;
        /// A master answers a requery.
        const REQUERY = 0x2;
        /// The new master, at the end of a migration.
        const FINISH_MIGRATION = 0x4;
    }
}

/// Asks whether the receiver is master of the name, or tries to be (500).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterRequest {
    /// The sender.
    pub node: NodeId,
    /// No bit has a meaning: 0.
    pub flags: u32,
    /// The name.
    pub name: LockName,
}

/// Tells that the sender is master of the name (502).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssertMaster {
    /// The sender.
    pub node: NodeId,
    /// On what occasion.
    pub flags: AssertFlags,
    /// The name.
    pub name: LockName,
}

/// Asks who is master of the name (514).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterRequery {
    /// The sender.
    pub node: NodeId,
    /// The name.
    pub name: LockName,
}

/// Tells the master that the sender has forgotten the name (507).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerefLockres {
    /// The sender.
    pub node: NodeId,
    /// The name.
    pub name: LockName,
}

/// Tells a node that the drop of its reference, answered with "in progress", is done (522).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerefDone {
    /// The sender.
    pub node: NodeId,
    /// The name.
    pub name: LockName,
}

/// All of these end with the name.
const NAME: usize = 8;

/// Requests and assertions: node, name length, padding, flags, name.
mod vote {
    pub(super) const NODE: usize = 0;
    pub(super) const NAME_LEN: usize = 1;
    pub(super) const FLAGS: usize = 4;
}

/// Requeries: padding, node, name length, padding, name.
mod requery {
    pub(super) const NODE: usize = 2;
    pub(super) const NAME_LEN: usize = 3;
}

/// Drops of references: padding, node, name length, name.
mod deref {
    pub(super) const NODE: usize = 6;
    pub(super) const NAME_LEN: usize = 7;
}

impl MasterRequest {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::MasterRequest;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<MasterRequest, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        Ok(MasterRequest {
            node: payload.node(vote::NODE, "node")?,
            flags: payload.be32(vote::FLAGS),
            name: payload.name(vote::NAME_LEN, NAME)?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_vote(out, self.node, self.flags, &self.name);
    }
}

impl AssertMaster {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::AssertMaster;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<AssertMaster, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        Ok(AssertMaster {
            node: payload.node(vote::NODE, "node")?,
            flags: AssertFlags::from_bits_retain(payload.be32(vote::FLAGS)),
            name: payload.name(vote::NAME_LEN, NAME)?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_vote(out, self.node, self.flags.bits(), &self.name);
    }
}

fn encode_vote(out: &mut Vec<u8>, node: NodeId, flags: u32, name: &LockName) {
    let structure = append(out, MasterRequest::TYPE.payload_min());
    structure[vote::NODE] = node.get();
    put(structure, vote::FLAGS, &flags.to_be_bytes());
    put_name(structure, vote::NAME_LEN, NAME, name.as_bytes());
}

/// The messages of a node and a name, which differ in where the two are.
macro_rules! node_and_name {
    ($($message:ident at $layout:ident;)*) => {$(
        impl $message {
            /// The type of the message.
            pub const TYPE: MessageType = MessageType::$message;

            /// The message of a payload.
            pub fn decode(payload: &[u8]) -> Result<$message, DecodeError> {
                let payload = Payload::new(Self::TYPE, payload)?;
                Ok($message {
                    node: payload.node($layout::NODE, "node")?,
                    name: payload.name($layout::NAME_LEN, NAME)?,
                })
            }

            /// Appends the payload.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let structure = append(out, Self::TYPE.payload_min());
                structure[$layout::NODE] = self.node.get();
                put_name(structure, $layout::NAME_LEN, NAME, self.name.as_bytes());
            }
        }
    )*};
}

node_and_name! {
    MasterRequery at requery;
    DerefLockres at deref;
    DerefDone at deref;
}
