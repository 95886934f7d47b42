//! A lock resource on its way to another master.

use super::error::Expected;
use super::fields::{Payload, append, mode_byte, node_byte, put, put_name};
use super::{
    Cookie, DecodeError, DecodeErrorKind, LOCK_NAME_MAX, LVB_LEN, LockMode, LockName, MessageType,
};
use crate::NodeId;

/// The most locks of one message (`DLM_MAX_MIGRATABLE_LOCKS`).
pub const LOCKS_MAX: usize = 240;

bitflags::bitflags! {
    /// Why locks travel, and whether these were all. Unknown bits are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MigFlags: u8 {
        /// To the recovery master: the master of the resource died.
        const RECOVERY = 0x01;
        /// To the new master: the old one leaves.
        const MIGRATION = 0x02;
        /// No more locks of this resource follow.
        const ALL_DONE = 0x04;
    }
}

bitflags::bitflags! {
    /// What a waiting lock is to do with the value block at its grant. Unknown bits are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LvbFlags: u8 {
        /// Store its own (`DLM_LKSB_PUT_LVB`).
        const PUT = 0x02;
        /// Fetch the resource's (`DLM_LKSB_GET_LVB`).
        const GET = 0x04;
    }
}

/// The queue a lock is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// It holds its mode and wants no other.
    Granted,
    /// It holds its mode and waits for another.
    Converting,
    /// It waits for its first mode.
    Blocked,
}

/// One lock of a [`MigLockres`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigLock {
    /// The lock.
    pub cookie: Cookie,
    /// Where it is.
    pub queue: Queue,
    /// What it wants of the value block.
    pub lvb_flags: LvbFlags,
    /// Its mode; none only of a [dummy](Self::dummy).
    pub mode: Option<LockMode>,
    /// The mode it converts to.
    pub convert: Option<LockMode>,
    /// The mode a BAST is due for; a receiver insists on none.
    pub highest_blocked: Option<LockMode>,
    /// Whose lock it is.
    pub node: NodeId,
}

/// Locks of one resource, to its new master or to the recovery master (509).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigLockres {
    /// The master: in a migration the sender, in a recovery the dead node or nobody known.
    pub owner: Option<NodeId>,
    /// Why, and whether this is the last message.
    pub flags: MigFlags,
    /// How many locks all messages of this resource have; 0 with a [dummy](MigLock::dummy).
    pub total: u32,
    /// What the messages of this resource have in common, if there are several; else 0.
    pub cookie: u64,
    /// The resource.
    pub name: LockName,
    /// Its value, or zeros.
    pub lvb: [u8; LVB_LEN],
    /// 1 to [`LOCKS_MAX`] locks, queue by queue and in order.
    pub locks: Vec<MigLock>,
}

/// The new master tells a third node of the migration, before it asserts (508).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrateRequest {
    /// The master that leaves.
    pub old_master: NodeId,
    /// The sender.
    pub new_master: NodeId,
    /// The resource.
    pub name: LockName,
}

// The migratable lock resource, and a lock within it.
const OWNER: usize = 0;
const NAME_LEN: usize = 1;
const COUNT: usize = 2;
const FLAGS: usize = 3;
const TOTAL: usize = 4;
const COOKIE: usize = 8;
const NAME: usize = 16;
const LVB: usize = NAME + LOCK_NAME_MAX;
const LOCKS: usize = LVB + LVB_LEN;

const LOCK_LEN: usize = 16;
const LOCK_COOKIE: usize = 0;
const LOCK_QUEUE: usize = 10;
const LOCK_LVB_FLAGS: usize = 11;
const LOCK_MODE: usize = 12;
const LOCK_CONVERT: usize = 13;
const LOCK_HIGHEST_BLOCKED: usize = 14;
const LOCK_NODE: usize = 15;

// The migrate request.
const REQUEST_OLD: usize = 0;
const REQUEST_NEW: usize = 1;
const REQUEST_NAME_LEN: usize = 2;
const REQUEST_NAME: usize = 8;

impl Queue {
    /// The number of the queue.
    pub const fn to_wire(self) -> u8 {
        match self {
            Queue::Granted => 0,
            Queue::Converting => 1,
            Queue::Blocked => 2,
        }
    }

    /// The queue of a number.
    pub const fn from_wire(number: u8) -> Option<Queue> {
        match number {
            0 => Some(Queue::Granted),
            1 => Some(Queue::Converting),
            2 => Some(Queue::Blocked),
            _ => None,
        }
    }
}

impl MigLock {
    /// The entry of a node that has no lock on the resource but knows it: it conveys the reference.
    pub const fn dummy(node: NodeId) -> MigLock {
        MigLock {
            cookie: Cookie(0),
            queue: Queue::Blocked,
            lvb_flags: LvbFlags::empty(),
            mode: None,
            convert: None,
            highest_blocked: None,
            node,
        }
    }

    /// Whether this is a [dummy](Self::dummy) (`fs/ocfs2/dlm/dlmrecovery.c: dlm_is_dummy_lock`).
    pub fn is_dummy(&self) -> bool {
        MigLock { lvb_flags: LvbFlags::empty(), ..*self } == MigLock::dummy(self.node)
    }

    fn decode(payload: &Payload<'_>, at: usize) -> Result<MigLock, DecodeError> {
        let queue = payload.u8(at + LOCK_QUEUE);
        let queue = Queue::from_wire(queue).ok_or_else(|| {
            let expected = Expected::Words("0 (granted), 1 (converting) or 2 (blocked)");
            payload.error(DecodeErrorKind::Other, "queue of a lock", i64::from(queue), expected)
        })?;
        Ok(MigLock {
            cookie: Cookie(payload.be64(at + LOCK_COOKIE)),
            queue,
            lvb_flags: LvbFlags::from_bits_retain(payload.u8(at + LOCK_LVB_FLAGS)),
            mode: payload.mode_or_none(at + LOCK_MODE, "mode of a lock")?,
            convert: payload.mode_or_none(at + LOCK_CONVERT, "convert mode of a lock")?,
            highest_blocked: payload
                .mode_or_none(at + LOCK_HIGHEST_BLOCKED, "highest blocked mode of a lock")?,
            node: payload.node(at + LOCK_NODE, "node of a lock")?,
        })
    }

    fn encode(&self, lock: &mut [u8]) {
        put(lock, LOCK_COOKIE, &self.cookie.0.to_be_bytes());
        lock[LOCK_QUEUE] = self.queue.to_wire();
        lock[LOCK_LVB_FLAGS] = self.lvb_flags.bits();
        lock[LOCK_MODE] = mode_byte(self.mode);
        lock[LOCK_CONVERT] = mode_byte(self.convert);
        lock[LOCK_HIGHEST_BLOCKED] = mode_byte(self.highest_blocked);
        lock[LOCK_NODE] = self.node.get();
    }
}

impl MigLockres {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::MigLockres;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<MigLockres, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        let name = payload.name(NAME_LEN, NAME)?;
        let count = payload.count(COUNT, "number of locks", 1, LOCKS_MAX)?;
        payload.require(LOCKS + count * LOCK_LEN)?;
        let locks = (0..count).map(|lock| MigLock::decode(&payload, LOCKS + lock * LOCK_LEN));
        Ok(MigLockres {
            owner: NodeId::new(payload.u8(OWNER)),
            flags: MigFlags::from_bits_retain(payload.u8(FLAGS)),
            total: payload.be32(TOTAL),
            cookie: payload.be64(COOKIE),
            name,
            lvb: payload.array(LVB),
            locks: locks.collect::<Result<_, _>>()?,
        })
    }

    /// Appends the payload.
    ///
    /// # Panics
    ///
    /// If there are no locks or more than [`LOCKS_MAX`]: a message without some of them would lose
    /// them for good.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!((1..=LOCKS_MAX).contains(&self.locks.len()), "{} locks", self.locks.len());
        let structure = append(out, LOCKS + self.locks.len() * LOCK_LEN);
        structure[OWNER] = node_byte(self.owner);
        structure[COUNT] = self.locks.len() as u8;
        structure[FLAGS] = self.flags.bits();
        put(structure, TOTAL, &self.total.to_be_bytes());
        put(structure, COOKIE, &self.cookie.to_be_bytes());
        put_name(structure, NAME_LEN, NAME, self.name.as_bytes());
        put(structure, LVB, &self.lvb);
        for (lock, entry) in self.locks.iter().zip(structure[LOCKS..].chunks_exact_mut(LOCK_LEN)) {
            lock.encode(entry);
        }
    }
}

impl MigrateRequest {
    /// The type of the message.
    pub const TYPE: MessageType = MessageType::MigrateRequest;

    /// The message of a payload.
    pub fn decode(payload: &[u8]) -> Result<MigrateRequest, DecodeError> {
        let payload = Payload::new(Self::TYPE, payload)?;
        Ok(MigrateRequest {
            old_master: payload.node(REQUEST_OLD, "old master")?,
            new_master: payload.node(REQUEST_NEW, "new master")?,
            name: payload.name(REQUEST_NAME_LEN, REQUEST_NAME)?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let structure = append(out, Self::TYPE.payload_min());
        structure[REQUEST_OLD] = self.old_master.get();
        structure[REQUEST_NEW] = self.new_master.get();
        put_name(structure, REQUEST_NAME_LEN, REQUEST_NAME, self.name.as_bytes());
    }
}
