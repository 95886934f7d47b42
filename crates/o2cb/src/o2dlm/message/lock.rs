//! Requests for locks, and the ASTs that answer them.

use std::fmt;

use super::error::Expected;
use super::fields::{Payload, append, put, put_name};
use super::{DecodeError, DecodeErrorKind, LockMode, LockName, MessageType};
use crate::NodeId;

/// The length of a lock value block, in bytes (`DLM_LVB_LEN`).
pub const LVB_LEN: usize = 64;

/// What identifies a lock to the master, together with the name and the node: unique per node,
/// compared as a whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

impl Cookie {
    const SEQUENCE_BITS: u32 = 56;

    /// The cookie of a node's lock: the number is above, the lower 56 bits of the sequence below.
    ///
    /// ```
    /// use stackglue_o2cb::{NodeId, o2dlm::message::Cookie};
    ///
    /// let node = NodeId::new(3).expect("a node");
    /// assert_eq!(Cookie::new(node, 1), Cookie(0x0300_0000_0000_0001));
    /// ```
    pub const fn new(node: NodeId, sequence: u64) -> Cookie {
        let sequence = sequence & ((1 << Self::SEQUENCE_BITS) - 1);
        Cookie((node.get() as u64) << Self::SEQUENCE_BITS | sequence)
    }

    /// The number of the node that made it: its claim, unchecked.
    pub const fn node_byte(self) -> u8 {
        (self.0 >> Self::SEQUENCE_BITS) as u8
    }
}

/// Node and sequence, as the kernel prints them: `3:1`.
impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sequence = self.0 & ((1 << Self::SEQUENCE_BITS) - 1);
        write!(f, "{}:{sequence}", self.node_byte())
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

bitflags::bitflags! {
    /// Flags of lock calls and messages (`LKM_*`). Unknown bits are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LkmFlags: u32 {
        /// Not supported.
        const ORPHAN = 0x0000_0010;
        /// Not supported.
        const PARENTABLE = 0x0000_0020;
        /// Not supported.
        const BLOCK = 0x0000_0040;
        /// Create without asking any node.
        const LOCAL = 0x0000_0080;
        /// The value block is to be read or written.
        const VALBLK = 0x0000_0100;
        /// Fail instead of waiting.
        const NOQUEUE = 0x0000_0200;
        /// A conversion.
        const CONVERT = 0x0000_0400;
        /// Not supported.
        const NODLCKWT = 0x0000_0800;
        /// An unlock.
        const UNLOCK = 0x0000_1000;
        /// Cancel a waiting lock or conversion.
        const CANCEL = 0x0000_2000;
        /// Not supported.
        const DEQALL = 0x0000_4000;
        /// Accepted, without an effect.
        const INVVALBLK = 0x0000_8000;
        /// Not supported.
        const SYNCSTS = 0x0001_0000;
        /// Not supported.
        const TIMEOUT = 0x0002_0000;
        /// Not supported.
        const SNGLDLCK = 0x0004_0000;
        /// Not supported.
        const FINDLOCAL = 0x0008_0000;
        /// Not supported.
        const PROC_OWNED = 0x0010_0000;
        /// Not supported.
        const XID = 0x0020_0000;
        /// Not supported.
        const XID_CONFLICT = 0x0040_0000;
        /// Accepted, without an effect.
        const FORCE = 0x0080_0000;
        /// Not supported.
        const REVVALBLK = 0x0100_0000;
        /// Of the kernel's own use, in migrations.
        const MIGRATION = 0x1000_0000;
        /// A value block travels with the message, to be stored.
        const PUT_LVB = 0x2000_0000;
        /// The value block is wanted with the grant; on an AST, it is there.
        const GET_LVB = 0x4000_0000;
        /// The request is for the recovery lock.
        const RECOVERY = 0x8000_0000;
    }
}

/// Asks the master for a new lock (503).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateLock {
    /// The new lock.
    pub cookie: Cookie,
    /// How.
    pub flags: LkmFlags,
    /// The sender.
    pub node: NodeId,
    /// The mode wanted.
    pub mode: LockMode,
    /// The resource.
    pub name: LockName,
}

/// Asks the master for another mode (504).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvertLock {
    /// The lock.
    pub cookie: Cookie,
    /// How. [`PUT_LVB`](LkmFlags::PUT_LVB) is set on the wire exactly if there is an `lvb`.
    pub flags: LkmFlags,
    /// The sender.
    pub node: NodeId,
    /// The mode wanted.
    pub mode: LockMode,
    /// The resource.
    pub name: LockName,
    /// The value to store.
    pub lvb: Option<[u8; LVB_LEN]>,
}

/// What a [`ProxyAst`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AstKind {
    /// The lock is granted.
    Ast,
    /// The lock is in the way of another.
    Bast,
}

/// The master tells the holder of a lock that it is granted, or in the way (505).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyAst {
    /// The lock.
    pub cookie: Cookie,
    /// Nothing but [`GET_LVB`](LkmFlags::GET_LVB), which is set on the wire exactly if there is an
    /// `lvb`.
    pub flags: LkmFlags,
    /// The sender, the master.
    pub node: NodeId,
    /// Which of the two.
    pub kind: AstKind,
    /// The mode that waits, of a BAST.
    pub blocked: Option<LockMode>,
    /// The resource.
    pub name: LockName,
    /// The value of the resource, for an AST that was to bring it.
    pub lvb: Option<[u8; LVB_LEN]>,
}

/// Asks the master to drop a granted lock or to cancel a waiting one (506).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnlockLock {
    /// The lock.
    pub cookie: Cookie,
    /// How. [`PUT_LVB`](LkmFlags::PUT_LVB) is set on the wire exactly if there is an `lvb`.
    pub flags: LkmFlags,
    /// The sender.
    pub node: NodeId,
    /// The resource.
    pub name: LockName,
    /// The value to store.
    pub lvb: Option<[u8; LVB_LEN]>,
}

// What all four have at the same place.
const COOKIE: usize = 0;
const FLAGS: usize = 8;
const NAME_LEN: usize = 15;
const NAME: usize = 16;
const LVB: usize = 80;

// A request for a mode.
const REQUEST_NODE: usize = 13;
const REQUEST_MODE: usize = 14;

// An AST.
const AST_NODE: usize = 12;
const AST_KIND: usize = 13;
const AST_BLOCKED: usize = 14;

// An unlock: the node is where a request has its mode.
const UNLOCK_NODE: usize = 14;

impl CreateLock {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::CreateLock;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<CreateLock, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        Ok(CreateLock {
            cookie: Cookie(payload.be64(COOKIE)),
            flags: flags(&payload),
            node: payload.node(REQUEST_NODE, "node")?,
            name: payload.name(NAME_LEN, NAME)?,
            mode: payload.mode(REQUEST_MODE, "mode")?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let structure = encode(out, self.cookie, self.flags, &self.name, None);
        structure[REQUEST_NODE] = self.node.get();
        structure[REQUEST_MODE] = self.mode.to_wire() as u8;
    }
}

impl ConvertLock {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::ConvertLock;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<ConvertLock, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        let flags = flags(&payload);
        Ok(ConvertLock {
            cookie: Cookie(payload.be64(COOKIE)),
            flags,
            node: payload.node(REQUEST_NODE, "node")?,
            name: payload.name(NAME_LEN, NAME)?,
            mode: payload.mode(REQUEST_MODE, "mode")?,
            lvb: payload.lvb(LVB, flags.contains(LkmFlags::PUT_LVB))?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = with_lvb_flag(self.flags, LkmFlags::PUT_LVB, &self.lvb);
        let structure = encode(out, self.cookie, flags, &self.name, self.lvb.as_ref());
        structure[REQUEST_NODE] = self.node.get();
        structure[REQUEST_MODE] = self.mode.to_wire() as u8;
    }
}

impl AstKind {
    const fn to_wire(self) -> u8 {
        match self {
            AstKind::Ast => 0,
            AstKind::Bast => 1,
        }
    }
}

impl ProxyAst {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::ProxyAst;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<ProxyAst, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        let flags = flags(&payload);
        let node = payload.node(AST_NODE, "node")?;
        let name = payload.name(NAME_LEN, NAME)?;
        let (kind, blocked) = match payload.u8(AST_KIND) {
            0 => (AstKind::Ast, None),
            1 => (AstKind::Bast, Some(payload.mode(AST_BLOCKED, "blocked mode")?)),
            other => {
                let expected = Expected::Words("0 (AST) or 1 (BAST)");
                let value = i64::from(other);
                return Err(payload.error(DecodeErrorKind::Other, "type", value, expected));
            }
        };
        Ok(ProxyAst {
            cookie: Cookie(payload.be64(COOKIE)),
            flags,
            node,
            kind,
            blocked,
            name,
            lvb: payload.lvb(LVB, flags.contains(LkmFlags::GET_LVB))?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = with_lvb_flag(self.flags, LkmFlags::GET_LVB, &self.lvb);
        let structure = encode(out, self.cookie, flags, &self.name, self.lvb.as_ref());
        structure[AST_NODE] = self.node.get();
        structure[AST_KIND] = self.kind.to_wire();
        // An AST has NL here, not IV.
        structure[AST_BLOCKED] = self.blocked.unwrap_or(LockMode::NL).to_wire() as u8;
    }
}

impl UnlockLock {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::UnlockLock;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<UnlockLock, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        let flags = flags(&payload);
        Ok(UnlockLock {
            cookie: Cookie(payload.be64(COOKIE)),
            flags,
            node: payload.node(UNLOCK_NODE, "node")?,
            name: payload.name(NAME_LEN, NAME)?,
            lvb: payload.lvb(LVB, flags.contains(LkmFlags::PUT_LVB))?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = with_lvb_flag(self.flags, LkmFlags::PUT_LVB, &self.lvb);
        let structure = encode(out, self.cookie, flags, &self.name, self.lvb.as_ref());
        structure[UNLOCK_NODE] = self.node.get();
    }
}

fn flags(payload: &Payload<'_>) -> LkmFlags {
    LkmFlags::from_bits_retain(payload.be32(FLAGS))
}

/// The flags as they travel: a receiver looks for a value block exactly if the flag is set.
fn with_lvb_flag(mut flags: LkmFlags, flag: LkmFlags, lvb: &Option<[u8; LVB_LEN]>) -> LkmFlags {
    flags.set(flag, lvb.is_some());
    flags
}

/// Appends what all four have in common.
fn encode<'a>(
    out: &'a mut Vec<u8>,
    cookie: Cookie,
    flags: LkmFlags,
    name: &LockName,
    lvb: Option<&[u8; LVB_LEN]>,
) -> &'a mut [u8] {
    let structure = append(out, LVB + lvb.map_or(0, |lvb| lvb.len()));
    put(structure, COOKIE, &cookie.0.to_be_bytes());
    put(structure, FLAGS, &flags.bits().to_be_bytes());
    put_name(structure, NAME_LEN, NAME, name.as_bytes());
    if let Some(lvb) = lvb {
        put(structure, LVB, lvb);
    }
    structure
}
