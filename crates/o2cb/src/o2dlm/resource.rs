//! Resources and locks, and the queues that join them.

use std::hash::{Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use slab::Slab;

use super::few::Few;
use super::message::{Cookie, LkmFlags, LockMode, LockName, Queue};
use crate::{NodeId, NodeMap, Now};

/// A lock of this node or, where this node is the master, of any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey(pub(super) u32);

impl LockKey {
    /// The key as a number, to index tables of locks: small, and used again when the lock is gone.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

pub(super) type ResourceKey = usize;

/// The value block of a resource, or a lock's copy of it.
pub(super) type Lvb = [u8; 64];

bitflags::bitflags! {
    /// What a resource is busy with. It is quiet when none of the first four is set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct State: u8 {
        /// Its owner died, or its locks are being collected.
        const RECOVERING = 0x01;
        /// The owner is being found, or one operation is under way at the owner.
        const IN_PROGRESS = 0x02;
        /// It is on its way to another owner.
        const MIGRATING = 0x04;
        /// We own it, and nothing is granted before the nodes in `awaits` are recovered.
        const RECOVERY_WAITING = 0x08;
        /// We do not own it and are telling the owner that we forget it.
        const DROPPING_REF = 0x10;
        /// In the list of those that the scheduler has to look at.
        const DIRTY = 0x20;
        /// We owe the other members a clean-up of what our master requests left behind.
        const CLEANUP_OWED = 0x40;
        /// A timer will look whether it is still unused.
        const PURGE_TIMED = 0x80;
    }
}

bitflags::bitflags! {
    /// Requests of a local lock that its owner has not answered.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Pending: u8 {
        const LOCK = 0x01;
        const CONVERT = 0x02;
        const UNLOCK = 0x04;
        const CANCEL = 0x08;
        /// The grant was faster than the cancel that is out.
        const CANCEL_LOST = 0x10;
        /// A message is out whose answer must find the lock, whatever recovery made of it.
        const ANSWER = 0x20;
    }
}

/// What waits until something is quiet again. Names a lock by key and cookie: keys are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// The operation of a lock.
    Operation(LockKey, Cookie),
    /// The cancel of a lock.
    Cancel(LockKey, Cookie),
}

/// What the node of a lock is to be told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    /// It was granted: with the value, or in a lower mode than before.
    Ast { lock: LockKey, cookie: Cookie, get: bool, lowers: bool },
    /// It is in the way.
    Bast { lock: LockKey, cookie: Cookie },
}

impl Notice {
    pub(super) fn is_bast_of(&self, key: LockKey) -> bool {
        matches!(self, Notice::Bast { lock, .. } if *lock == key)
    }
}

#[derive(Debug)]
pub(super) struct Resource {
    pub(super) name: LockName,
    /// Who decides about it; `None` while nobody knows.
    pub(super) owner: Option<NodeId>,
    pub(super) state: State,
    pub(super) granted: Few<LockKey>,
    pub(super) converting: Few<LockKey>,
    pub(super) blocked: Few<LockKey>,
    /// The value block, unless it is zero.
    lvb: Option<Box<Lvb>>,
    /// Nodes that know this resource; kept by the owner.
    pub(super) refmap: NodeMap,
    /// Local operations that wait until it is quiet.
    pub(super) waiting: Few<Waiter>,
    /// Rounds of assertions under way; while there are any it does not migrate, and nobody's
    /// reference is dropped.
    pub(super) asserting: u32,
    /// Grants and notices, to be told in this order.
    pub(super) notices: Few<Notice>,
    /// Proxy ASTs and BASTs whose status is out.
    pub(super) asts_out: u32,
    /// One of them tells a node that its lock has a lower mode now. Until it knows, nobody is told of
    /// what that makes possible: if we died, it would claim its old mode in recovery.
    pub(super) lowering: bool,
    /// Locks that belong to it, whether on a queue or not.
    pub(super) users: u32,
    rare: Option<Box<Rare>>,
    /// Since when nothing uses it.
    pub(super) unused_since: Option<Now>,
}

/// What few resources have.
#[derive(Debug)]
pub(super) struct Rare {
    /// Nodes that were told INPROG when they dropped their reference: they are owed a DEREF_DONE.
    pub(super) deref_owed: NodeMap,
    /// Dead nodes that had locks on it, or may have had.
    pub(super) awaits: NodeMap,
    /// When the search for its owner left entries on other nodes that its owner was to remove.
    pub(super) cleanup_asked: Option<Now>,
    /// Who may have owned it before it moved to where it is, and may not know that it did.
    pub(super) moved_from: NodeMap,
}

const NOTHING_RARE: Rare = Rare {
    deref_owed: NodeMap::EMPTY,
    awaits: NodeMap::EMPTY,
    cleanup_asked: None,
    moved_from: NodeMap::EMPTY,
};

impl Resource {
    pub(super) fn new(name: LockName) -> Resource {
        Resource {
            name,
            owner: None,
            state: State::empty(),
            granted: Few::None,
            converting: Few::None,
            blocked: Few::None,
            lvb: None,
            refmap: NodeMap::EMPTY,
            waiting: Few::None,
            asserting: 0,
            notices: Few::None,
            asts_out: 0,
            lowering: false,
            users: 0,
            rare: None,
            unused_since: None,
        }
    }

    /// Something rare is to be noted.
    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(NOTHING_RARE))
    }

    pub(super) fn rare(&mut self) -> Option<&mut Rare> {
        self.rare.as_deref_mut()
    }

    pub(super) fn lvb(&self) -> Lvb {
        self.lvb.as_deref().copied().unwrap_or([0; 64])
    }

    pub(super) fn set_lvb(&mut self, lvb: &Lvb) {
        match &mut self.lvb {
            _ if *lvb == [0; 64] => self.lvb = None,
            Some(own) => **own = *lvb,
            None => self.lvb = Some(Box::new(*lvb)),
        }
    }

    pub(super) fn queue(&self, queue: Queue) -> &Few<LockKey> {
        match queue {
            Queue::Granted => &self.granted,
            Queue::Converting => &self.converting,
            Queue::Blocked => &self.blocked,
        }
    }

    pub(super) fn queue_mut(&mut self, queue: Queue) -> &mut Few<LockKey> {
        match queue {
            Queue::Granted => &mut self.granted,
            Queue::Converting => &mut self.converting,
            Queue::Blocked => &mut self.blocked,
        }
    }

    /// All its locks: granted, converting, blocked, each in queue order.
    pub(super) fn locks(&self) -> impl Iterator<Item = LockKey> + '_ {
        self.granted.iter().chain(self.converting.iter()).chain(self.blocked.iter()).copied()
    }

    /// Whether a local operation may go on.
    pub(super) fn is_quiet(&self) -> bool {
        !self.state.intersects(
            State::RECOVERING | State::IN_PROGRESS | State::MIGRATING | State::RECOVERY_WAITING,
        )
    }

    /// Whether the owner may have forgotten it, as it never counted us: whoever was to take it over died
    /// when it alone had been told that we have it.
    pub(super) fn may_be_forgotten(&self) -> bool {
        self.state.contains(State::CLEANUP_OWED)
            && self.granted.is_empty()
            && self.converting.is_empty()
    }

    /// Whether everything that other nodes are to know of their locks has arrived.
    pub(super) fn is_told(&self) -> bool {
        self.notices.is_empty() && self.asts_out == 0
    }

    /// Whether nothing and nobody needs it (`fs/ocfs2/dlm/dlmthread.c: __dlm_lockres_unused`).
    pub(super) fn is_unused(&self) -> bool {
        self.users == 0
            && self.waiting.is_empty()
            && self.refmap.is_empty()
            && self.is_told()
            && self.is_quiet()
            && !self.state.contains(State::DIRTY)
    }
}

/// A local user's call that has not completed.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Create { flags: LkmFlags },
    Convert { mode: LockMode, flags: LkmFlags, put: Option<Box<Lvb>> },
    Unlock { put: Option<Box<Lvb>> },
}

#[derive(Debug)]
pub(super) struct Lock {
    pub(super) resource: ResourceKey,
    pub(super) cookie: Cookie,
    pub(super) node: NodeId,
    /// The mode held; on the blocked queue the mode wanted.
    pub(super) mode: LockMode,
    pub(super) convert: Option<LockMode>,
    /// The highest mode that it keeps waiting and was not told of.
    pub(super) highest_blocked: Option<LockMode>,
    pub(super) queue: Option<Queue>,
    /// The next grant stores this value, or delivers the one that is there. Noted by the owner, and by
    /// the lock's node for an owner that comes after.
    pub(super) put: Option<Box<Lvb>>,
    pub(super) get: bool,
    /// The lock's own copy of the value, where a mode of PR or higher keeps it true.
    pub(super) copy: Option<Box<Lvb>>,
    pub(super) pending: Pending,
    /// The AST of its grant is among the notices.
    pub(super) ast_queued: bool,
    /// A BAST is among the notices.
    pub(super) bast_queued: bool,
    /// How many ASTs and BASTs are out to its node, and not answered.
    pub(super) asts_out: u32,
    pub(super) operation: Option<Operation>,
    /// A cancel was asked for and has not completed.
    pub(super) cancelling: bool,
}

impl Lock {
    pub(super) fn new(resource: ResourceKey, cookie: Cookie, node: NodeId, mode: LockMode) -> Lock {
        Lock {
            resource,
            cookie,
            node,
            mode,
            convert: None,
            highest_blocked: None,
            queue: None,
            put: None,
            get: false,
            copy: None,
            pending: Pending::empty(),
            ast_queued: false,
            bast_queued: false,
            asts_out: 0,
            operation: None,
            cancelling: false,
        }
    }
}

/// The resources and locks of a domain.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) resources: Slab<Resource>,
    pub(super) locks: Slab<Lock>,
    /// How many resources there ever were.
    pub(super) made: u64,
    /// Resources by name. Never iterated: its order is not the same on every run.
    names: HashTable<u32>,
    seed: Seed,
}

/// What names are hashed with. If it were known, somebody could choose names that collide.
#[derive(Debug)]
struct Seed {
    first: u64,
    rest: SharedSeed,
}

impl Seed {
    fn hash(&self, name: &LockName) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.first, &self.rest);
        name.hash(&mut hasher);
        hasher.finish()
    }
}

impl Tables {
    pub(super) fn new(seed: u64) -> Tables {
        Tables {
            resources: Slab::new(),
            locks: Slab::new(),
            made: 0,
            names: HashTable::new(),
            seed: Seed { first: seed, rest: SharedSeed::from_u64(seed) },
        }
    }

    pub(super) fn find(&self, name: &LockName) -> Option<ResourceKey> {
        let is_it = |&key: &u32| self.resources[key as usize].name == *name;
        self.names.find(self.seed.hash(name), is_it).map(|&key| key as usize)
    }

    pub(super) fn add_resource(&mut self, name: LockName) -> ResourceKey {
        self.made += 1;
        let key = self.resources.insert(Resource::new(name));
        let hash = self.seed.hash(&name);
        let Tables { resources, names, seed, .. } = self;
        names.insert_unique(hash, key as u32, |&key| seed.hash(&resources[key as usize].name));
        key
    }

    pub(super) fn remove_resource(&mut self, key: ResourceKey) {
        let resource = self.resources.remove(key);
        let hash = self.seed.hash(&resource.name);
        if let Ok(entry) = self.names.find_entry(hash, |&other| other as usize == key) {
            entry.remove();
        }
    }

    pub(super) fn add_lock(&mut self, lock: Lock) -> LockKey {
        self.resources[lock.resource].users += 1;
        LockKey(self.locks.insert(lock) as u32)
    }

    pub(super) fn lock(&self, key: LockKey) -> &Lock {
        &self.locks[key.index()]
    }

    pub(super) fn lock_mut(&mut self, key: LockKey) -> &mut Lock {
        &mut self.locks[key.index()]
    }

    /// The lock of that key, unless it is gone and the key is another's.
    pub(super) fn same_lock(&self, key: LockKey, cookie: Cookie) -> Option<&Lock> {
        self.locks.get(key.index()).filter(|lock| lock.cookie == cookie)
    }

    /// Puts a lock at the tail of a queue, after taking it off the one it is on.
    pub(super) fn enqueue(&mut self, key: LockKey, queue: Queue) {
        self.dequeue(key);
        let lock = &mut self.locks[key.index()];
        lock.queue = Some(queue);
        self.resources[lock.resource].queue_mut(queue).push_back(key);
    }

    /// Puts a lock at the head of a queue, after taking it off the one it is on.
    pub(super) fn enqueue_first(&mut self, key: LockKey, queue: Queue) {
        self.dequeue(key);
        let lock = &mut self.locks[key.index()];
        lock.queue = Some(queue);
        self.resources[lock.resource].queue_mut(queue).push_front(key);
    }

    pub(super) fn dequeue(&mut self, key: LockKey) {
        let lock = &mut self.locks[key.index()];
        if let Some(queue) = lock.queue.take() {
            let queue = self.resources[lock.resource].queue_mut(queue);
            if let Some(at) = queue.position(|&other| other == key) {
                queue.remove(at);
            }
        }
    }

    pub(super) fn remove_lock(&mut self, key: LockKey) {
        self.dequeue(key);
        let lock = self.locks.remove(key.index());
        self.resources[lock.resource].users -= 1;
    }

    /// A lock of a resource by its identity on the wire.
    pub(super) fn find_lock(
        &self,
        resource: ResourceKey,
        queues: &[Queue],
        cookie: Cookie,
        node: NodeId,
    ) -> Option<LockKey> {
        let resource = &self.resources[resource];
        let is_it = |key: &&LockKey| {
            let lock = &self.locks[key.index()];
            lock.cookie == cookie && lock.node == node
        };
        queues.iter().find_map(|&queue| resource.queue(queue).iter().find(is_it)).copied()
    }
}

/// A lock, for a person who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockSnapshot {
    /// Its key on this node.
    pub key: LockKey,
    /// The node whose lock it is.
    pub node: NodeId,
    /// Its cookie.
    pub cookie: Cookie,
    /// The queue it is on; `None` before the owner has it.
    pub queue: Option<Queue>,
    /// The mode held, or on the blocked queue the mode wanted.
    pub mode: LockMode,
    /// The mode that it converts to.
    pub convert: Option<LockMode>,
}

/// A resource, for a person who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSnapshot {
    /// Its name.
    pub name: LockName,
    /// Its master, where it is known.
    pub owner: Option<NodeId>,
    /// Its locks: on the master those of all nodes, elsewhere only this node's.
    pub locks: Vec<LockSnapshot>,
    /// The master's value block.
    pub lvb: [u8; 64],
    /// Nodes that know it, as the master counts them.
    pub refmap: NodeMap,
    /// Whether everything that other nodes are to know of their locks has arrived.
    pub told: bool,
    /// What it is busy with, in the kernel's words.
    pub busy: String,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use foldhash::fast::FixedState;

    use super::*;

    /// Names that make a factor of an unseeded hash zero.
    fn colliding() -> impl Iterator<Item = LockName> {
        (0u64..1000).map(|number| {
            let factor = 0xC0AC_29B7_C97C_50DD_u64;
            let bytes = [number.to_ne_bytes(), factor.to_ne_bytes()].concat();
            LockName::new(&bytes).expect("16 bytes are a name")
        })
    }

    #[test]
    fn nobody_can_choose_names_that_collide() {
        let hashes = |hash: &dyn Fn(&LockName) -> u64| {
            colliding().map(|name| hash(&name)).collect::<HashSet<_>>().len()
        };
        assert_eq!(hashes(&|name| FixedState::default().hash_one(name)), 1);
        for seed in [1, 2, 0x5EED] {
            assert_eq!(hashes(&|name| Tables::new(seed).seed.hash(name)), 1000);
        }
    }
}
