//! One resource: its three queues, and the operations that a master performs on them.

use crate::lock::{LockList, NONE};
use crate::mutants::{Mutant, planted};
use crate::value;
use crate::{Errno, Lock, LockFlags, LockKey, LockTable, Lvb, Mode, Queue, StatusFlags};

/// A resource as its master sees it: locks granted, converting and waiting, and the value block.
///
/// Every operation is decided at once and tells its own outcome first, then what follows from it for
/// other locks: grants, and blocking callbacks to those in the way. All of it goes to the caller's
/// [`Effects`]. The operations, with the kernel's names for them (`fs/dlm/lock.c`):
///
/// * [`request`](Self::request): `do_request`
/// * [`convert`](Self::convert): `do_convert`
/// * [`unlock`](Self::unlock): `do_unlock`
/// * [`cancel`](Self::cancel): `do_cancel`
///
/// Arguments are checked by the caller ([`check_request`](crate::check_request) and its siblings):
/// in a cluster that is another node than the one that decides.
#[derive(Debug)]
pub struct Resource {
    pub(crate) granted: LockList,
    pub(crate) converting: LockList,
    pub(crate) waiting: LockList,
    /// Its place among the value blocks of the lock table; `NONE` while there is none.
    pub(crate) value: u32,
}

/// What the operations on a resource do to locks: the boundary between the model and those who
/// deliver callbacks or send messages.
pub trait Effects<O> {
    /// The lock is granted in [`Lock::granted`]: at once, or after a wait. With `lvb`, the value block
    /// goes to its owner.
    fn granted(&mut self, key: LockKey, lock: &Lock<O>, lvb: Option<&Lvb>);

    /// The request or conversion of this call waits.
    fn queued(&mut self, key: LockKey, lock: &Lock<O>);

    /// The conversion of this call failed (`EAGAIN`, `EDEADLK`) or was cancelled (`ECANCEL`); the
    /// lock is still granted in the mode it had.
    fn refused(&mut self, key: LockKey, lock: &Lock<O>, errno: Errno);

    /// The lock is gone: `EUNLOCK`, or without ever having been granted `EAGAIN` or `ECANCEL`.
    fn ended(&mut self, key: LockKey, lock: &Lock<O>, errno: Errno);

    /// The lock is in the way of one that wants `level`.
    fn blocking(&mut self, key: LockKey, lock: &Lock<O>, level: Mode);

    /// The value block that the owner hands over on its way down; `None` if it has none.
    fn value_of(&mut self, lock: &Lock<O>) -> Option<Lvb>;
}

impl Default for Resource {
    fn default() -> Self {
        Resource {
            granted: LockList::EMPTY,
            converting: LockList::EMPTY,
            waiting: LockList::EMPTY,
            value: NONE,
        }
    }
}

impl Resource {
    /// A new lock: granted, queued, or with `NOQUEUE` ended with `EAGAIN`.
    #[inline]
    pub fn request<O>(
        &mut self,
        locks: &mut LockTable<O>,
        request: Request<O>,
        effects: &mut impl Effects<O>,
    ) {
        let mode = request.mode;
        let key = locks.insert(request.into_lock());
        // With nobody in line, whether a holder excludes it is all there is to decide.
        let no_line = self.converting.is_empty() && self.waiting.is_empty();
        if no_line && !self.is_excluded(locks, key, mode) {
            self.grant(locks, key, effects);
        } else {
            self.request_contended(locks, key, effects);
        }
    }

    #[inline(never)]
    fn request_contended<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        effects: &mut impl Effects<O>,
    ) {
        let flags = locks[key].flags;
        if self.decide_now(locks, key).is_grantable() {
            self.grant(locks, key, effects);
        } else if flags.contains(LockFlags::NOQUEUE) && !planted(Mutant::SoloNoqueueWaits) {
            let wanted = locks[key].requested;
            self.end(locks, key, Errno::EAGAIN, effects);
            if flags.contains(LockFlags::NOQUEUEBAST) {
                self.notify_all_blockers(locks, None, wanted, effects);
            }
        } else {
            self.enqueue(locks, key, Queue::Waiting);
            effects.queued(key, &locks[key]);
            self.notify_holders(locks, key, effects);
        }
    }

    /// Another mode for a granted lock: granted, queued, or failed with the old mode kept.
    ///
    /// # Panics
    ///
    /// If the lock is not in this resource's grant queue.
    #[inline]
    pub fn convert<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        mode: Mode,
        flags: LockFlags,
        effects: &mut impl Effects<O>,
    ) {
        let lock = &mut locks[key];
        assert!(lock.queue == Some(Queue::Granted), "conversion of a lock that is not granted");
        lock.flags = flags;
        lock.status_flags = StatusFlags::empty();

        let alone = lock.next == key.0 && self.converting.is_empty() && self.waiting.is_empty();
        let moves_value = flags.intersects(LockFlags::VALBLK | LockFlags::IVVALBLK);
        if alone && self.value == NONE && !moves_value {
            // Nothing to decide, nothing to move, nobody to tell: most conversions by far.
            lock.granted = Some(mode);
            lock.highest_blocked = Mode::NL;
            return effects.granted(key, &locks[key], None);
        }
        lock.requested = Some(mode);
        if alone {
            self.grant(locks, key, effects);
        } else {
            self.convert_contended(locks, key, effects);
        }
    }

    #[inline(never)]
    fn convert_contended<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        effects: &mut impl Effects<O>,
    ) {
        let flags = locks[key].flags;
        let mut decision = self.decide_now(locks, key);
        let demoted = decision == Decision::Demoted;
        if demoted && !planted(Mutant::SoloDemotedInVain) {
            self.grant_converting(locks, effects);
            decision = self.decide_undemoted(locks, key);
        }
        match decision {
            Decision::Grant => {
                self.grant(locks, key, effects);
                self.grant_pending(locks, effects);
            }
            Decision::Deadlock if !flags.contains(LockFlags::NODLCKWT) => {
                locks[key].requested = None;
                effects.refused(key, &locks[key], Errno::EDEADLK);
            }
            _ if flags.contains(LockFlags::NOQUEUE) => {
                let wanted = locks[key].requested.take();
                effects.refused(key, &locks[key], Errno::EAGAIN);
                if flags.contains(LockFlags::NOQUEUEBAST) {
                    self.notify_all_blockers(locks, Some(key), wanted, effects);
                }
            }
            _ => {
                self.dequeue(locks, key);
                self.enqueue(locks, key, Queue::Converting);
                effects.queued(key, &locks[key]);
                if demoted && !planted(Mutant::SoloDemotedInVain) {
                    // New locks may go too, and those that went are to know who waits behind them.
                    self.grant_pending(locks, effects);
                } else {
                    self.notify_holders(locks, key, effects);
                }
            }
        }
    }

    /// Drops a lock from whatever queue it is on; a request or conversion that waited never completes
    /// by itself. The flags of the call count beside those of the lock's latest operation: either may
    /// carry `VALBLK` or `IVVALBLK`. The status flags are of this operation, so none is left
    /// (`fs/dlm/lock.c: validate_unlock_args`).
    #[inline]
    pub fn unlock<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        flags: LockFlags,
        effects: &mut impl Effects<O>,
    ) {
        self.dequeue(locks, key);
        let lock = &mut locks[key];
        lock.flags |= flags;
        lock.status_flags = StatusFlags::empty();
        value::on_unlock(self, locks, key, effects);
        self.end(locks, key, Errno::EUNLOCK, effects);
        self.grant_pending(locks, effects);
    }

    /// Takes back what a lock waits for: a conversion returns to its old mode, a request ends. A lock
    /// that waits for nothing stays as it is, and no effect follows. Status flags go as in an unlock.
    pub fn cancel<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        effects: &mut impl Effects<O>,
    ) {
        match locks[key].queue {
            Some(Queue::Converting) => {
                self.dequeue(locks, key);
                let lock = &mut locks[key];
                lock.requested = None;
                lock.flags |= LockFlags::CANCEL;
                lock.status_flags = StatusFlags::empty();
                self.enqueue(locks, key, Queue::Granted);
                effects.refused(key, &locks[key], Errno::ECANCEL);
            }
            Some(Queue::Waiting) => {
                self.dequeue(locks, key);
                locks[key].status_flags = StatusFlags::empty();
                self.end(locks, key, Errno::ECANCEL, effects);
                if planted(Mutant::SoloCancelWakesNobody) {
                    return;
                }
            }
            Some(Queue::Granted) if planted(Mutant::SoloCancelCompletesTwice) => {
                return effects.refused(key, &locks[key], Errno::ECANCEL);
            }
            Some(Queue::Granted) | None => return,
        }
        self.grant_pending(locks, effects);
    }

    /// Gives an orphan to a new owner, under the flags of its call. Whoever waits for the lock has to ask
    /// again: the notices so far went to nobody. Returns the former owner.
    pub fn adopt<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        owner: O,
        flags: LockFlags,
        effects: &mut impl Effects<O>,
    ) -> O {
        let lock = &mut locks[key];
        let former = std::mem::replace(&mut lock.owner, owner);
        lock.flags = flags;
        lock.status_flags = StatusFlags::empty();
        if !planted(Mutant::SoloOrphanUntold) {
            lock.highest_blocked = Mode::NL;
        }
        lock.orphan = false;
        effects.granted(key, &locks[key], None);
        self.grant_pending(locks, effects);
        former
    }

    /// Whether no lock is on the resource: then nothing remembers it, nor its value block.
    #[inline]
    pub fn is_unused(&self) -> bool {
        self.granted.is_empty() && self.converting.is_empty() && self.waiting.is_empty()
    }

    /// The value block, if one was ever written.
    pub fn lvb<'a, O>(&self, locks: &'a LockTable<O>) -> Option<&'a Lvb> {
        locks.value(self.value)?.lvb.as_ref()
    }

    /// Whether the value block may be trusted.
    pub fn lvb_valid<O>(&self, locks: &LockTable<O>) -> bool {
        locks.value(self.value).is_none_or(|value| !value.invalid)
    }

    /// How often the value block was written, modulo 2^32 (`fs/dlm`: `res_lvbseq`).
    pub fn lvb_sequence<O>(&self, locks: &LockTable<O>) -> u32 {
        locks.value(self.value).map_or(0, |value| value.sequence)
    }

    /// The locks: granted, then converting, then waiting, each in queue order.
    pub fn locks<'a, O>(
        &self,
        locks: &'a LockTable<O>,
    ) -> impl Iterator<Item = (LockKey, &'a Lock<O>)> {
        self.granted.iter(locks).chain(self.converting.iter(locks)).chain(self.waiting.iter(locks))
    }

    /// The locks that keep `key` waiting: those whose granted mode excludes what it wants or, when
    /// there are none, the one directly ahead of it in line. Empty for a lock that does not wait.
    pub fn blockers<O>(&self, locks: &LockTable<O>, key: LockKey) -> Vec<LockKey> {
        let Some(Lock { requested: Some(wanted), queue: Some(queue), .. }) = locks.get(key) else {
            return Vec::new();
        };
        let holders = self.granted.iter(locks).chain(self.converting.iter(locks));
        let excluding: Vec<LockKey> = holders
            .filter(|(other, lock)| *other != key && lock.excludes(*wanted))
            .map(|(other, _)| other)
            .collect();
        if !excluding.is_empty() {
            return excluding;
        }
        let line = match queue {
            Queue::Granted => return Vec::new(),
            Queue::Converting => LockList::EMPTY,
            Queue::Waiting => self.waiting,
        };
        let line = self.converting.iter(locks).chain(line.iter(locks));
        line.map(|(other, _)| other).take_while(|other| *other != key).last().into_iter().collect()
    }

    /// Makes the requested mode the granted one, moves the value block, and tells the owner.
    #[inline]
    pub(crate) fn grant<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        effects: &mut impl Effects<O>,
    ) {
        let moved = value::on_grant(self, locks, key, effects);
        let lock = &mut locks[key];
        lock.granted = lock.requested.take();
        if !planted(Mutant::SoloOneNotice) {
            lock.highest_blocked = Mode::NL;
        }
        if lock.queue != Some(Queue::Granted) || self.granted.first() != Some(key) {
            self.dequeue(locks, key);
            self.enqueue(locks, key, Queue::Granted);
        }
        let lvb = if moved { self.lvb(locks) } else { None };
        effects.granted(key, &locks[key], lvb);
    }

    /// Ends a lock that is on no queue. The value block goes with the last lock.
    #[inline]
    fn end<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        errno: Errno,
        effects: &mut impl Effects<O>,
    ) {
        effects.ended(key, &locks[key], errno);
        locks.remove(key);
        if self.value != NONE && self.is_unused() {
            value::forget(self, locks);
        }
    }

    /// Puts a lock that is on no queue on one. Granted locks go to the front, where Linux puts them:
    /// it is the order in which they are sent blocking callbacks.
    #[inline]
    fn enqueue<O>(&mut self, locks: &mut LockTable<O>, key: LockKey, queue: Queue) {
        let lock = &mut locks[key];
        lock.queue = Some(queue);
        let at_head = queue == Queue::Granted || lock.flags.contains(LockFlags::HEADQUE);
        let list = self.list_mut(queue);
        if at_head {
            list.push_front(locks, key);
        } else {
            list.push_back(locks, key);
        }
    }

    /// Takes a lock off its queue, if it is on one.
    #[inline]
    fn dequeue<O>(&mut self, locks: &mut LockTable<O>, key: LockKey) {
        if let Some(queue) = locks[key].queue.take() {
            self.list_mut(queue).unlink(locks, key);
        }
    }

    #[inline]
    fn list_mut(&mut self, queue: Queue) -> &mut LockList {
        match queue {
            Queue::Granted => &mut self.granted,
            Queue::Converting => &mut self.converting,
            Queue::Waiting => &mut self.waiting,
        }
    }
}

/// A new lock, as it is asked for.
#[derive(Clone, Debug)]
pub struct Request<O> {
    /// Who wants it.
    pub owner: O,
    /// See [`Lock::resource`].
    pub resource: u32,
    /// The mode wanted.
    pub mode: Mode,
    /// Flags of the call.
    pub flags: LockFlags,
}

impl<O> Request<O> {
    fn into_lock(self) -> Lock<O> {
        Lock {
            owner: self.owner,
            resource: self.resource,
            flags: self.flags,
            previous: NONE,
            next: NONE,
            granted: None,
            requested: Some(self.mode),
            queue: None,
            status_flags: StatusFlags::empty(),
            highest_blocked: Mode::NL,
            orphan: false,
        }
    }
}

/// Whether a lock can have what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Grant,
    /// Not now.
    Wait,
    /// Not now, and it was demoted to `NL` to end a conversion deadlock: try again, since others may
    /// move.
    Demoted,
    /// Never, unless another conversion gives up: each holds what the other wants.
    Deadlock,
}

impl Decision {
    pub(crate) fn is_grantable(self) -> bool {
        self == Decision::Grant
    }
}
