//! One lock, and the table that all locks of a shard live in, with their value blocks.

use slab::Slab;

use crate::value::Value;
use crate::{LockFlags, Mode, StatusFlags};

/// A lock's place in its [`LockTable`]. Small numbers, used again after the lock has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey(pub u32);

/// The three queues of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Held.
    Granted,
    /// Held, and waits for another mode.
    Converting,
    /// Waits for its first grant.
    Waiting,
}

/// One lock: somebody's claim on a resource.
///
/// `O` is whatever finds the owner again: a lock status block, a node and its lock id, a test's number.
#[derive(Clone, Debug)]
pub struct Lock<O> {
    /// Who holds or wants it.
    pub owner: O,
    /// Which resource of its shard it is on; the shard's own number, not used here.
    pub resource: u32,
    /// The flags of the latest lock or convert call, and `CANCEL` once a cancel was accepted
    /// (`fs/dlm`: `lkb_exflags`).
    pub flags: LockFlags,
    pub(crate) previous: u32,
    pub(crate) next: u32,
    pub(crate) granted: Option<Mode>,
    pub(crate) requested: Option<Mode>,
    /// `None` while on no queue: a request or conversion being decided.
    pub(crate) queue: Option<Queue>,
    pub(crate) status_flags: StatusFlags,
    /// The highest mode for which a blocking callback was sent since the last grant; `NL` for none.
    pub(crate) highest_blocked: Mode,
    /// Whether the owner's process is gone and the lock waits to be adopted or purged.
    pub orphan: bool,
}

impl<O> Lock<O> {
    /// The mode held; `None` before the first grant.
    pub fn granted(&self) -> Option<Mode> {
        self.granted
    }

    /// The mode waited for; `None` when nothing is.
    pub fn requested(&self) -> Option<Mode> {
        self.requested
    }

    /// Which queue it is in.
    pub fn queue(&self) -> Option<Queue> {
        self.queue
    }

    /// The status flags of the operation completed last, or going on.
    pub fn status_flags(&self) -> StatusFlags {
        self.status_flags
    }

    /// Whether it waits for a mode while holding another.
    pub(crate) fn is_conversion(&self) -> bool {
        self.granted.is_some()
    }

    pub(crate) fn excludes(&self, mode: Mode) -> bool {
        self.granted.is_some_and(|granted| !granted.is_compatible_with(mode))
    }
}

/// The locks of one shard, of all its resources together.
#[derive(Debug)]
pub struct LockTable<O> {
    slots: Slab<Lock<O>>,
    /// The value blocks of those resources that ever had one written or invalidated. Boxed: most
    /// shards never have one, and a small shard is a fast one.
    pub(crate) values: Option<Box<Slab<Value>>>,
}

impl<O> Default for LockTable<O> {
    fn default() -> Self {
        LockTable { slots: Slab::new(), values: None }
    }
}

impl<O> LockTable<O> {
    /// The lock in that place, if there is one.
    #[inline]
    pub fn get(&self, key: LockKey) -> Option<&Lock<O>> {
        self.slots.get(key.0 as usize)
    }

    /// The lock in that place, if there is one.
    #[inline]
    pub fn get_mut(&mut self, key: LockKey) -> Option<&mut Lock<O>> {
        self.slots.get_mut(key.0 as usize)
    }

    /// How many locks there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no lock.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every lock with its place, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (LockKey, &Lock<O>)> {
        self.slots.iter().map(|(index, lock)| (LockKey(index as u32), lock))
    }

    /// The value block in that place, if there is one.
    pub(crate) fn value(&self, place: u32) -> Option<&Value> {
        self.values.as_ref()?.get(place as usize)
    }

    #[inline]
    pub(crate) fn insert(&mut self, lock: Lock<O>) -> LockKey {
        let index = self.slots.insert(lock);
        assert!(index < NONE as usize, "a shard is full: 2^32 - 1 locks");
        LockKey(index as u32)
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: LockKey) -> Lock<O> {
        self.slots.remove(key.0 as usize)
    }
}

/// A key that the resource holds in one of its queues: it exists.
impl<O> std::ops::Index<LockKey> for LockTable<O> {
    type Output = Lock<O>;

    #[inline]
    fn index(&self, key: LockKey) -> &Lock<O> {
        &self.slots[key.0 as usize]
    }
}

impl<O> std::ops::IndexMut<LockKey> for LockTable<O> {
    #[inline]
    fn index_mut(&mut self, key: LockKey) -> &mut Lock<O> {
        &mut self.slots[key.0 as usize]
    }
}

/// One queue of a resource: a ring threaded through the lock table, known by its first lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockList {
    first: u32,
}

impl LockList {
    pub(crate) const EMPTY: LockList = LockList { first: NONE };

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.first == NONE
    }

    #[inline]
    pub(crate) fn first(self) -> Option<LockKey> {
        (self.first != NONE).then_some(LockKey(self.first))
    }

    /// The lock behind `key`, if `key` is not the last.
    #[inline]
    pub(crate) fn after<O>(self, locks: &LockTable<O>, key: LockKey) -> Option<LockKey> {
        let next = locks[key].next;
        (next != self.first).then_some(LockKey(next))
    }

    #[inline]
    pub(crate) fn push_front<O>(&mut self, locks: &mut LockTable<O>, key: LockKey) {
        self.push_back(locks, key);
        self.first = key.0;
    }

    #[inline]
    pub(crate) fn push_back<O>(&mut self, locks: &mut LockTable<O>, key: LockKey) {
        if self.is_empty() {
            (locks[key].previous, locks[key].next) = (key.0, key.0);
            self.first = key.0;
            return;
        }
        let last = std::mem::replace(&mut locks[LockKey(self.first)].previous, key.0);
        locks[LockKey(last)].next = key.0;
        (locks[key].previous, locks[key].next) = (last, self.first);
    }

    #[inline]
    pub(crate) fn unlink<O>(&mut self, locks: &mut LockTable<O>, key: LockKey) {
        let (previous, next) = (locks[key].previous, locks[key].next);
        if next == key.0 {
            self.first = NONE;
            return;
        }
        locks[LockKey(previous)].next = next;
        locks[LockKey(next)].previous = previous;
        if self.first == key.0 {
            self.first = next;
        }
    }

    /// Front to back.
    pub(crate) fn iter<O>(self, locks: &LockTable<O>) -> impl Iterator<Item = (LockKey, &Lock<O>)> {
        let mut at = self.first();
        std::iter::from_fn(move || {
            let key = at?;
            at = self.after(locks, key);
            Some((key, &locks[key]))
        })
    }
}

/// No lock, or no value block.
pub(crate) const NONE: u32 = u32::MAX;
