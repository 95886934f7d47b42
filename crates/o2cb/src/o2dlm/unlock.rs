//! Unlocks and cancels (`fs/ocfs2/dlm/dlmunlock.c`).

use super::create::status_of;
use super::domain::{Call, CallError, Domain, Event, Timer};
use super::message::{Cookie, LkmFlags, LockMode, MessageType, Queue, Status, UnlockLock};
use super::resource::{LockKey, Lvb, Operation, Pending, ResourceKey, State, Waiter};
use crate::{NodeId, Now};

/// The pause before an unlock or a cancel is tried again (`dlmunlock.c: dlmunlock`), in milliseconds.
const RETRY_MS: u64 = 50;

impl Domain {
    /// Drops a granted lock. An [`Event::Unlocked`] tells when it is gone. With a `value` an EX lock
    /// writes it.
    ///
    /// # Errors
    ///
    /// `IvLockId` when there is no such lock, `Denied` when it is not granted or another operation is
    /// under way. Nothing comes by event then.
    pub fn unlock(
        &mut self,
        now: Now,
        lock: LockKey,
        value: Option<&[u8; 64]>,
    ) -> Result<(), Status> {
        let key = lock;
        let lock = self.own_lock(key)?;
        if lock.operation.is_some() || lock.cancelling || lock.queue != Some(Queue::Granted) {
            return Err(Status::Denied);
        }
        let put = value.filter(|_| lock.mode == LockMode::EX).and_then(Self::copy_of);
        let cookie = lock.cookie;
        self.now = now;
        self.tables.lock_mut(key).operation = Some(Operation::Unlock { put });
        self.advance(key, cookie);
        self.settle();
        Ok(())
    }

    /// Takes back what a lock waits for. An [`Event::Unlocked`] tells the outcome: `Normal` when it was
    /// taken back, `CancelGrant` when there was nothing to take back (any more).
    ///
    /// # Errors
    ///
    /// `IvLockId` when there is no such lock, `Denied` when it is being unlocked or cancelled already.
    pub fn cancel(&mut self, now: Now, lock: LockKey) -> Result<(), Status> {
        let key = lock;
        let lock = self.own_lock(key)?;
        if lock.cancelling || matches!(lock.operation, Some(Operation::Unlock { .. })) {
            return Err(Status::Denied);
        }
        let cookie = lock.cookie;
        self.now = now;
        self.tables.lock_mut(key).cancelling = true;
        self.advance_cancel(key, cookie);
        self.settle();
        Ok(())
    }

    pub(super) fn unlock_at(&mut self, key: LockKey, owner: NodeId, put: Option<Box<Lvb>>) {
        let lock = self.tables.lock(key);
        let (resource, cookie) = (lock.resource, lock.cookie);
        if owner == self.me {
            if let Some(put) = put {
                self.tables.resources[resource].set_lvb(&put);
            }
            self.unlocked(key);
            return;
        }
        self.tables.lock_mut(key).pending.insert(Pending::UNLOCK | Pending::ANSWER);
        self.send_unlock(key, owner, cookie, put.map(|put| *put), false);
    }

    fn send_unlock(
        &mut self,
        key: LockKey,
        owner: NodeId,
        cookie: Cookie,
        lvb: Option<Lvb>,
        cancel: bool,
    ) {
        let resource = &mut self.tables.resources[self.tables.locks[key.index()].resource];
        resource.state.insert(State::IN_PROGRESS);
        let name = resource.name;
        let mut flags = LkmFlags::empty();
        flags.set(LkmFlags::CANCEL, cancel);
        flags.set(LkmFlags::VALBLK | LkmFlags::PUT_LVB, lvb.is_some());
        let mut payload = self.buffer();
        UnlockLock { cookie, flags, node: self.me, name, lvb }.encode(&mut payload);
        let call = if cancel {
            Call::Cancel { lock: key, cookie }
        } else {
            Call::Unlock { lock: key, cookie }
        };
        self.send(owner, MessageType::UnlockLock, payload, call);
    }

    pub(super) fn unlock_answered(
        &mut self,
        key: LockKey,
        cookie: Cookie,
        result: Result<i32, CallError>,
    ) {
        let Some(lock) = self.tables.same_lock(key, cookie) else { return };
        let resource = lock.resource;
        let lock = self.tables.lock_mut(key);
        lock.pending.remove(Pending::ANSWER);
        let owner_died = lock.queue.is_none();
        let in_doubt = owner_died && lock.pending.contains(Pending::UNLOCK);
        if result.is_ok() && !owner_died {
            // Otherwise the owner may have unlocked it, and granted others what it kept waiting. If the
            // owner is dead, the lock must not come to life again.
            lock.pending.remove(Pending::UNLOCK);
        }
        let found = &mut self.tables.resources[resource];
        found.state.remove(State::IN_PROGRESS);
        if in_doubt && !found.name.is_recovery() && result != Ok(Status::Normal.to_wire()) {
            self.advance(key, cookie);
        } else if owner_died {
            // The lock died with its owner.
            self.unlocked(key);
        } else {
            match status_of(result, &mut self.counters.bad_replies) {
                Status::Normal => self.unlocked(key),
                Status::Recovering | Status::Migrating | Status::Forward | Status::NoLockMgr => {
                    self.after(RETRY_MS, Timer::Operation { lock: key, cookie });
                }
                // The owner does not know it: it is gone in any case.
                Status::IvLockId => self.unlocked(key),
                // Nobody would try again.
                _ if self.tables.resources[resource].name.is_recovery() => self.unlocked(key),
                status => {
                    let lock = self.tables.lock_mut(key);
                    lock.operation = None;
                    self.event(Event::Unlocked { lock: key, status, gone: false });
                }
            }
        }
        self.wake(resource);
    }

    /// The owner of a resource died, and so did locks that were being unlocked there.
    pub(super) fn unlocks_died(&mut self, key: ResourceKey) {
        let waiting: Vec<Waiter> = self.tables.resources[key].waiting.iter().copied().collect();
        for waiter in waiting {
            let Waiter::Operation(lock, cookie) = waiter else { continue };
            let Some(found) = self.tables.same_lock(lock, cookie) else { continue };
            if found.queue.is_some() || !found.pending.contains(Pending::UNLOCK) {
                continue;
            }
            if found.pending.contains(Pending::ANSWER) {
                self.tables.lock_mut(lock).pending.remove(Pending::UNLOCK);
            } else {
                self.unlocked(lock);
            }
        }
    }

    pub(super) fn unlocked(&mut self, key: LockKey) {
        let resource = self.tables.lock(key).resource;
        self.tables.remove_lock(key);
        if !self.tables.resources[resource].name.is_recovery() {
            self.event(Event::Unlocked { lock: key, status: Status::Normal, gone: true });
        }
        self.dirty(resource);
    }

    pub(super) fn cancel_again(&mut self, key: LockKey, cookie: Cookie) {
        self.advance_cancel(key, cookie);
    }

    pub(super) fn advance_cancel(&mut self, key: LockKey, cookie: Cookie) {
        let Some(lock) = self.tables.same_lock(key, cookie) else { return };
        if !lock.cancelling {
            return;
        }
        let resource = lock.resource;
        if lock.operation.is_none() {
            self.cancel_lost(key);
            return;
        }
        if lock.ast_queued {
            // Its user is about to hear of the grant, and of the cancel that came too late.
            return;
        }
        let waits_here =
            matches!(lock.queue, None | Some(Queue::Granted)) && lock.pending.is_empty();
        if waits_here {
            // The owner has not heard of it.
            self.cancelled(key);
            return;
        }
        let found = &mut self.tables.resources[resource];
        if !found.is_quiet() {
            found.waiting.push_back(Waiter::Cancel(key, cookie));
            return;
        }
        match found.owner {
            Some(owner) if owner != self.me => {
                self.tables.lock_mut(key).pending.insert(Pending::CANCEL | Pending::ANSWER);
                self.send_unlock(key, owner, cookie, None, true);
            }
            _ => {
                self.cancelled(key);
                self.dirty(resource);
            }
        }
    }

    pub(super) fn cancel_answered(
        &mut self,
        key: LockKey,
        cookie: Cookie,
        result: Result<i32, CallError>,
    ) {
        let Some(lock) = self.tables.same_lock(key, cookie) else { return };
        let resource = lock.resource;
        let lock = self.tables.lock_mut(key);
        let lost = lock.pending.contains(Pending::CANCEL_LOST);
        let is_new = matches!(lock.operation, Some(Operation::Create { .. }));
        lock.pending.remove(Pending::CANCEL | Pending::CANCEL_LOST | Pending::ANSWER);
        self.tables.resources[resource].state.remove(State::IN_PROGRESS);
        if !lost {
            match status_of(result, &mut self.counters.bad_replies) {
                Status::Normal => self.cancelled(key),
                // The owner does not know it, as one before it has taken it back.
                Status::IvLockId if is_new => self.cancelled(key),
                // The grant has come or will come.
                Status::CancelGrant => self.cancel_lost(key),
                Status::Recovering | Status::Migrating | Status::Forward | Status::NoLockMgr => {
                    self.after(RETRY_MS, Timer::CancelAgain { lock: key, cookie });
                }
                status => {
                    self.tables.lock_mut(key).cancelling = false;
                    self.event(Event::Unlocked { lock: key, status, gone: false });
                }
            }
        }
        self.wake(resource);
    }

    /// A cancel won: a new lock is gone, a converting one granted as before.
    fn cancelled(&mut self, key: LockKey) {
        let lock = self.tables.lock_mut(key);
        let is_new = matches!(lock.operation, Some(Operation::Create { .. }));
        lock.operation = None;
        lock.cancelling = false;
        let resource = lock.resource;
        if is_new {
            self.tables.remove_lock(key);
        } else {
            self.conversion_back(key);
        }
        self.event(Event::Unlocked { lock: key, status: Status::Normal, gone: is_new });
        self.dirty(resource);
    }

    fn cancel_lost(&mut self, key: LockKey) {
        self.tables.lock_mut(key).cancelling = false;
        self.event(Event::Unlocked { lock: key, status: Status::CancelGrant, gone: false });
    }

    /// Another node drops or cancels a lock on a resource of ours (`dlm_unlock_lock_handler`).
    pub(super) fn on_unlock(&mut self, message: UnlockLock) -> i32 {
        self.unlock_for(message).to_wire()
    }

    fn unlock_for(&mut self, message: UnlockLock) -> Status {
        let UnlockLock { cookie, flags, node, name, lvb } = message;
        let cancel = flags.contains(LkmFlags::CANCEL);
        if flags.contains(LkmFlags::GET_LVB) || (cancel && flags.contains(LkmFlags::PUT_LVB)) {
            return Status::BadArgs;
        }
        if !self.is_fully_joined() {
            return Status::Forward;
        }
        let Some(resource) = self.tables.find(&name) else { return Status::Forward };
        let found = &self.tables.resources[resource];
        if found.state.contains(State::RECOVERING) {
            return Status::Recovering;
        }
        if found.state.contains(State::MIGRATING) {
            return Status::Migrating;
        }
        if found.owner != Some(self.me) || found.state.contains(State::IN_PROGRESS) {
            return Status::Forward;
        }
        let all = [Queue::Granted, Queue::Converting, Queue::Blocked];
        let Some(key) = self.tables.find_lock(resource, &all, cookie, node) else {
            // A master before us has done it, and died before it said so. (A kernel says IVLOCKID, which
            // a file system takes for an error.)
            return Status::Normal;
        };
        let status = if cancel {
            self.cancel_for(key)
        } else if self.tables.lock(key).queue == Some(Queue::Granted) {
            let writes = self.tables.lock(key).mode == LockMode::EX
                && flags.contains(LkmFlags::VALBLK | LkmFlags::PUT_LVB);
            if let Some(lvb) = lvb.filter(|_| writes) {
                self.tables.resources[resource].set_lvb(&lvb);
            }
            self.tables.remove_lock(key);
            Status::Normal
        } else {
            Status::Denied
        };
        self.dirty(resource);
        status
    }

    fn cancel_for(&mut self, key: LockKey) -> Status {
        let lock = self.tables.lock_mut(key);
        match lock.queue {
            Some(Queue::Blocked) => {
                self.tables.remove_lock(key);
                Status::Normal
            }
            Some(Queue::Converting) => {
                self.conversion_back(key);
                Status::Normal
            }
            Some(Queue::Granted) | None => Status::CancelGrant,
        }
    }
}
