//! Joining and leaving a domain.

use std::net::Ipv4Addr;

use super::fields::{Payload, append, put, put_name};
use super::{DecodeError, DomainName, MessageType};
use crate::{NODES_MAX, NodeId, NodeMap};

/// The key of the messages of a join, which go to nodes that may not know the domain.
pub const JOIN_KEY: u32 = 0x666C_6172;

/// The most heartbeat regions of one message (`O2NM_MAX_REGIONS`).
pub const REGIONS_MAX: usize = 32;

/// Asks whether the sender may join (510).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryJoin {
    /// The sender.
    pub node: NodeId,
    /// Major and minor version of the lock manager's protocol.
    pub dlm_version: (u8, u8),
    /// Major and minor version of the filesystem's locking protocol.
    pub fs_version: (u8, u8),
    /// The domain.
    pub domain: DomainName,
    /// The nodes the sender sees alive.
    pub live: NodeMap,
}

/// The answer to a [`QueryJoin`], which travels in the status of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinReply {
    /// Not now: begin the whole join again.
    Disallow,
    /// Welcome, by a member.
    Ok {
        /// The minor version the lock manager's protocol is to be spoken in.
        dlm_minor: u8,
        /// The minor version of the filesystem's locking protocol.
        fs_minor: u8,
    },
    /// Not a member of this domain, so without a say.
    OkNoMap,
    /// The protocol versions do not go together.
    ProtocolMismatch,
}

/// Tells a member that the sender is one too (511).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssertJoined {
    /// The sender.
    pub node: NodeId,
    /// The domain.
    pub domain: DomainName,
}

/// Tells a member that the sender does not join after all (512).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelJoin {
    /// The sender.
    pub node: NodeId,
    /// The domain.
    pub domain: DomainName,
}

/// Tells a member that the sender is none any more (513).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitDomain {
    /// The sender.
    pub node: NodeId,
}

/// Tells a member that the sender begins to leave (521).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginExit {
    /// The sender.
    pub node: NodeId,
}

/// Brings the sender's heartbeat regions, to be compared (519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryRegion {
    /// The sender.
    pub node: NodeId,
    /// The domain.
    pub domain: DomainName,
    /// The names of up to [`REGIONS_MAX`] regions; none with local heartbeat.
    pub regions: Vec<[u8; 32]>,
}

/// A configured node of a [`QueryNodeinfo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// The node.
    pub number: NodeId,
    /// Its port.
    pub port: u16,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Brings the nodes the sender has configured, to be compared (520).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryNodeinfo {
    /// The sender.
    pub node: NodeId,
    /// The domain.
    pub domain: DomainName,
    /// Up to [`NODES_MAX`] nodes, itself too; a kernel lists them ascending.
    pub nodes: Vec<NodeAddress>,
}

// All of them begin with the node.
const NODE: usize = 0;

// The messages of a node and a domain, and the query.
const NAME_LEN: usize = 3;
const NAME: usize = 4;
const QUERY_VERSIONS: usize = 4;
const QUERY_NAME: usize = 8;
const QUERY_LIVE: usize = 72;

// The two lists.
const LIST_COUNT: usize = 1;
const LIST_NAME_LEN: usize = 2;
const LIST_NAME: usize = 4;
const LIST_ENTRIES: usize = 68;
const REGION_LEN: usize = 32;
const ADDRESS_LEN: usize = 8;
const ADDRESS_NUMBER: usize = 0;
const ADDRESS_PORT: usize = 2;
const ADDRESS_IPV4: usize = 4;

impl QueryJoin {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::QueryJoin;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<QueryJoin, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        let [dlm_major, dlm_minor, fs_major, fs_minor] = payload.array(QUERY_VERSIONS);
        Ok(QueryJoin {
            node: payload.node(NODE, "node")?,
            dlm_version: (dlm_major, dlm_minor),
            fs_version: (fs_major, fs_minor),
            domain: payload.domain(NAME_LEN, QUERY_NAME)?,
            live: NodeMap::from_bytes(&payload.array(QUERY_LIVE)),
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let structure = append(out, Self::TYPE.payload_min());
        structure[NODE] = self.node.get();
        let (dlm, fs) = (self.dlm_version, self.fs_version);
        put(structure, QUERY_VERSIONS, &[dlm.0, dlm.1, fs.0, fs.1]);
        put_name(structure, NAME_LEN, QUERY_NAME, self.domain.as_bytes());
        put(structure, QUERY_LIVE, &self.live.to_bytes());
    }
}

impl JoinReply {
    /// The status of the reply: four bytes in the order of the wire, code first.
    ///
    /// ```
    /// use stackglue_o2cb::o2dlm::message::JoinReply;
    ///
    /// let reply = JoinReply::Ok { dlm_minor: 3, fs_minor: 0 };
    /// assert_eq!(reply.pack(), 0x0103_0000);
    /// assert_eq!(JoinReply::unpack(0x0103_0000), Some(reply));
    /// assert_eq!(JoinReply::unpack(0x0400_0000), None);
    /// ```
    pub const fn pack(self) -> i32 {
        i32::from_be_bytes(match self {
            JoinReply::Disallow => [0, 0, 0, 0],
            JoinReply::Ok { dlm_minor, fs_minor } => [1, dlm_minor, fs_minor, 0],
            JoinReply::OkNoMap => [2, 0, 0, 0],
            JoinReply::ProtocolMismatch => [3, 0, 0, 0],
        })
    }

    /// The answer of a status; `None` if its code is none, which fails the join.
    pub const fn unpack(status: i32) -> Option<JoinReply> {
        match status.to_be_bytes() {
            [0, ..] => Some(JoinReply::Disallow),
            [1, dlm_minor, fs_minor, _] => Some(JoinReply::Ok { dlm_minor, fs_minor }),
            [2, ..] => Some(JoinReply::OkNoMap),
            [3, ..] => Some(JoinReply::ProtocolMismatch),
            _ => None,
        }
    }
}

/// The messages of a node and a domain.
macro_rules! node_and_domain {
    ($($message:ident),*) => {$(
        impl $message {
            /// The type of the message.
            pub const TYPE: MessageType = MessageType::$message;

            /// The message of a payload.
            pub fn decode(payload: &[u8]) -> Result<$message, DecodeError> {
                let payload = Payload::new(Self::TYPE, payload)?;
                Ok($message {
                    node: payload.node(NODE, "node")?,
                    domain: payload.domain(NAME_LEN, NAME)?,
                })
            }

            /// Appends the payload.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let structure = append(out, Self::TYPE.payload_min());
                structure[NODE] = self.node.get();
                put_name(structure, NAME_LEN, NAME, self.domain.as_bytes());
            }
        }
    )*};
}

node_and_domain!(AssertJoined, CancelJoin);

/// The messages of a node alone.
macro_rules! node_alone {
    ($($message:ident),*) => {$(
        impl $message {
            /// The type of the message.
            pub const TYPE: MessageType = MessageType::$message;

            /// The message of a payload.
            pub fn decode(payload: &[u8]) -> Result<$message, DecodeError> {
                let payload = Payload::new(Self::TYPE, payload)?;
                Ok($message { node: payload.node(NODE, "node")? })
            }

            /// Appends the payload.
            pub fn encode(&self, out: &mut Vec<u8>) {
                append(out, Self::TYPE.payload_min())[NODE] = self.node.get();
            }
        }
    )*};
}

node_alone!(ExitDomain, BeginExit);

impl QueryRegion {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::QueryRegion;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<QueryRegion, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        let count = payload.count(LIST_COUNT, "number of regions", 0, REGIONS_MAX)?;
        let region = |entry: usize| payload.array(LIST_ENTRIES + entry * REGION_LEN);
        Ok(QueryRegion {
            node: payload.node(NODE, "node")?,
            domain: payload.domain(LIST_NAME_LEN, LIST_NAME)?,
            regions: (0..count).map(region).collect(),
        })
    }

    /// Appends the payload.
    ///
    /// # Panics
    ///
    /// If there are more than [`REGIONS_MAX`] regions.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.regions.len() <= REGIONS_MAX, "{} regions", self.regions.len());
        let structure = append(out, Self::TYPE.payload_min());
        structure[NODE] = self.node.get();
        structure[LIST_COUNT] = self.regions.len() as u8;
        put_name(structure, LIST_NAME_LEN, LIST_NAME, self.domain.as_bytes());
        put(structure, LIST_ENTRIES, self.regions.as_flattened());
    }
}

impl QueryNodeinfo {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::QueryNodeinfo;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<QueryNodeinfo, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        let count = payload.count(LIST_COUNT, "number of nodes", 0, NODES_MAX)?;
        let nodes = (0..count).map(|entry| {
            let at = LIST_ENTRIES + entry * ADDRESS_LEN;
            Ok(NodeAddress {
                number: payload.node(at + ADDRESS_NUMBER, "number of a node")?,
                port: payload.be16(at + ADDRESS_PORT),
                address: payload.array::<4>(at + ADDRESS_IPV4).into(),
            })
        });
        Ok(QueryNodeinfo {
            node: payload.node(NODE, "node")?,
            domain: payload.domain(LIST_NAME_LEN, LIST_NAME)?,
            nodes: nodes.collect::<Result<_, _>>()?,
        })
    }

    /// Appends the payload.
    ///
    /// # Panics
    ///
    /// If there are more than [`NODES_MAX`] nodes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.nodes.len() <= NODES_MAX, "{} nodes", self.nodes.len());
        let structure = append(out, Self::TYPE.payload_min());
        structure[NODE] = self.node.get();
        structure[LIST_COUNT] = self.nodes.len() as u8;
        put_name(structure, LIST_NAME_LEN, LIST_NAME, self.domain.as_bytes());
        let entries = structure[LIST_ENTRIES..].chunks_exact_mut(ADDRESS_LEN);
        for (node, entry) in self.nodes.iter().zip(entries) {
            entry[ADDRESS_NUMBER] = node.number.get();
            put(entry, ADDRESS_PORT, &node.port.to_be_bytes());
            put(entry, ADDRESS_IPV4, &node.address.octets());
        }
    }
}
