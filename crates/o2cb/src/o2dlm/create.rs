//! New locks (`fs/ocfs2/dlm/dlmlock.c`).

use super::domain::{Call, CallError, Domain, DomainState, Event, Timer};
use super::message::{
    Cookie, CreateLock, LkmFlags, LockMode, LockName, MessageType, Queue, Status,
};
use super::resource::{Lock, LockKey, Operation, Pending, ResourceKey, State, Waiter};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, Now};

/// The pause before an operation is tried again (`dlmlock.c: dlmlock`), in milliseconds.
pub(super) const RETRY_MS: u64 = 100;

impl Domain {
    /// Asks for a new lock. An [`Event::Granted`] or [`Event::Refused`] with the key tells the outcome.
    ///
    /// Flags: `NOQUEUE`, `VALBLK` and `LOCAL` (no other node can know the name yet).
    ///
    /// # Errors
    ///
    /// `BadParam` for other flags and for reserved names, which begin with `$`; `NoLockMgr` when this
    /// node is no member. Nothing comes by event then.
    pub fn lock(
        &mut self,
        now: Now,
        name: LockName,
        mode: LockMode,
        flags: LkmFlags,
    ) -> Result<LockKey, Status> {
        let known = LkmFlags::NOQUEUE | LkmFlags::VALBLK | LkmFlags::LOCAL | LkmFlags::INVVALBLK;
        if !known.contains(flags) || name.as_bytes().starts_with(b"$") {
            return Err(Status::BadParam);
        }
        if self.state != DomainState::Joined {
            return Err(Status::NoLockMgr);
        }
        self.now = now;
        let key = self.begin_create(name, mode, flags);
        self.settle();
        Ok(key)
    }

    pub(super) fn begin_create(
        &mut self,
        name: LockName,
        mode: LockMode,
        flags: LkmFlags,
    ) -> LockKey {
        let resource = self.lookup(name, flags.contains(LkmFlags::LOCAL));
        let cookie = self.next_cookie();
        let mut lock = Lock::new(resource, cookie, self.me, mode);
        lock.operation = Some(Operation::Create { flags });
        let key = self.tables.add_lock(lock);
        self.advance(key, cookie);
        key
    }

    /// Goes on with the operation of a lock, as far as it can.
    pub(super) fn advance(&mut self, key: LockKey, cookie: Cookie) {
        let Some(lock) = self.tables.same_lock(key, cookie) else { return };
        let Some(operation) = lock.operation.clone() else { return };
        let submitted = match operation {
            Operation::Create { .. } => lock.queue.is_some(),
            Operation::Convert { .. } => lock.queue == Some(Queue::Converting) || lock.ast_queued,
            Operation::Unlock { .. } => lock.pending.contains(Pending::UNLOCK | Pending::ANSWER),
        };
        if submitted {
            // An earlier operation of this lock, cancelled meanwhile, had its place in a list; or the answer
            // goes on with it.
            return;
        }
        let resource = lock.resource;
        let waiter = Waiter::Operation(key, cookie);
        let is_unlock = matches!(operation, Operation::Unlock { .. });
        let name = self.tables.resources[resource].name;
        if self.recovery.is_active() && !is_unlock && !name.is_recovery() {
            self.recovery_waiters.push(waiter);
            return;
        }
        let found = &mut self.tables.resources[resource];
        if !found.is_quiet() || found.state.contains(State::DROPPING_REF) {
            found.waiting.push_back(waiter);
            return;
        }
        // Quiet means that the owner is known.
        let Some(owner) = found.owner else {
            self.search(resource);
            self.tables.resources[resource].waiting.push_back(waiter);
            return;
        };
        match operation {
            Operation::Create { flags } => self.create(key, owner, flags),
            Operation::Convert { mode, flags, put } => {
                self.convert_at(key, owner, mode, flags, put)
            }
            Operation::Unlock { put } => self.unlock_at(key, owner, put),
        }
    }

    pub(super) fn operation_again(&mut self, key: LockKey, cookie: Cookie) {
        self.advance(key, cookie);
    }

    fn create(&mut self, key: LockKey, owner: NodeId, flags: LkmFlags) {
        let lock = self.tables.lock_mut(key);
        let get = flags.contains(LkmFlags::VALBLK) && lock.mode >= LockMode::PR;
        lock.get = get;
        let (mode, cookie, resource) = (lock.mode, lock.cookie, lock.resource);
        let name = self.tables.resources[resource].name;
        if owner == self.me {
            let status = self.create_here(key, flags.contains(LkmFlags::NOQUEUE));
            if name.is_recovery() {
                self.recovery_lock_answered(key, status);
            } else if status != Status::Normal {
                self.refuse_create(key, status);
            }
            return;
        }
        let lock = self.tables.lock_mut(key);
        // The grant may come before the reply: the lock is in its place already.
        lock.pending.insert(Pending::LOCK | Pending::ANSWER);
        self.tables.enqueue(key, Queue::Blocked);
        self.tables.resources[resource].state.insert(State::IN_PROGRESS);
        let mut wire = flags & (LkmFlags::NOQUEUE | LkmFlags::RECOVERY);
        wire.set(LkmFlags::VALBLK | LkmFlags::GET_LVB, get);
        let mut payload = self.buffer();
        CreateLock { cookie, flags: wire, node: self.me, mode, name }.encode(&mut payload);
        let call = Call::Create { lock: key, cookie, owner };
        self.send(owner, MessageType::CreateLock, payload, call);
    }

    /// The owner's part, for a lock of whatever node.
    fn create_here(&mut self, key: LockKey, noqueue: bool) -> Status {
        let lock = self.tables.lock(key);
        let (resource, mode) = (lock.resource, lock.mode);
        if self.is_grantable(resource, None, mode) {
            self.tables.enqueue(key, Queue::Granted);
            if !self.tables.resources[resource].name.is_recovery() {
                self.grant(key, false);
            }
            self.dirty(resource);
            Status::Normal
        } else if noqueue && !planted(Mutant::NoqueueCreateWaits) {
            Status::NotQueued
        } else {
            self.tables.enqueue(key, Queue::Blocked);
            self.dirty(resource);
            Status::Normal
        }
    }

    /// Whether a mode can be granted at once: beside every granted lock, and beside what every
    /// converting one has and wants. Those that wait are not considered.
    pub(super) fn is_grantable(
        &self,
        resource: ResourceKey,
        own: Option<LockKey>,
        mode: LockMode,
    ) -> bool {
        let resource = &self.tables.resources[resource];
        let others = |key: &&LockKey| Some(**key) != own;
        resource
            .granted
            .iter()
            .filter(others)
            .all(|&key| self.tables.lock(key).mode.compatible(mode))
            && (planted(Mutant::ConvertingIgnored)
                || resource.converting.iter().filter(others).all(|&key| {
                    let lock = self.tables.lock(key);
                    lock.mode.compatible(mode)
                        && lock.convert.is_none_or(|convert| convert.compatible(mode))
                }))
    }

    pub(super) fn create_answered(
        &mut self,
        key: LockKey,
        cookie: Cookie,
        owner: NodeId,
        result: Result<i32, CallError>,
    ) {
        let Some(lock) = self.tables.same_lock(key, cookie) else { return };
        let resource = lock.resource;
        let lock = self.tables.lock_mut(key);
        // Taken away where its owner was found dead.
        let was_pending = lock.pending.contains(Pending::LOCK);
        lock.pending.remove(Pending::LOCK | Pending::ANSWER);
        // (Not if it was granted already: what its user wants now waits for this.)
        let waits = matches!(lock.operation, Some(Operation::Create { .. }));
        self.tables.resources[resource].state.remove(State::IN_PROGRESS);
        let is_recovery = self.tables.resources[resource].name.is_recovery();
        let status = status_of(result, &mut self.counters.bad_replies);
        let status = if was_pending { status } else { Status::Recovering };
        let unknown = status == Status::IvLockId;
        let status = self.moved_meanwhile(resource, owner, status);
        if is_recovery {
            if status == Status::Normal {
                self.tables.enqueue(key, Queue::Granted);
            } else {
                self.tables.dequeue(key);
            }
            self.recovery_lock_answered(key, status);
        } else if waits {
            match status {
                Status::Normal => {}
                Status::Recovering | Status::Migrating | Status::Forward => {
                    self.tables.dequeue(key);
                    if planted(Mutant::CreateNotRetried) {
                        return;
                    }
                    self.after(RETRY_MS, Timer::Operation { lock: key, cookie });
                    if unknown {
                        self.owner_knows_nothing(resource, owner);
                    }
                }
                refused => self.refuse_create(key, refused),
            }
        }
        self.wake(resource);
    }

    /// Whoever does not know a resource or lock any more may have handed it over: it is tried again
    /// at the owner of now.
    pub(super) fn moved_meanwhile(
        &self,
        resource: ResourceKey,
        asked: NodeId,
        status: Status,
    ) -> Status {
        let resource = &self.tables.resources[resource];
        // (An owner that still owes us a clean-up may never have counted us.)
        let moved = resource.owner != Some(asked) || resource.state.contains(State::CLEANUP_OWED);
        if status == Status::IvLockId && moved { Status::Forward } else { status }
    }

    fn refuse_create(&mut self, key: LockKey, status: Status) {
        let resource = self.tables.lock(key).resource;
        self.tables.remove_lock(key);
        self.event(Event::Refused { lock: key, status, gone: true });
        self.dirty(resource);
    }

    /// Another node wants a new lock on a resource of ours (`dlm_create_lock_handler`).
    pub(super) fn on_create(&mut self, message: CreateLock) -> i32 {
        self.create_for(message).to_wire()
    }

    fn create_for(&mut self, message: CreateLock) -> Status {
        let CreateLock { cookie, flags, node, mode, name } = message;
        let resource = match self.resource_for(node, &name) {
            Ok(resource) => resource,
            Err(status) => return status,
        };
        let all = [Queue::Granted, Queue::Converting, Queue::Blocked];
        if let Some(key) = self
            .tables
            .find_lock(resource, &all, cookie, node)
            .filter(|_| !planted(Mutant::CreatedTwice))
        {
            return self.created_before(key, mode);
        }
        let mut lock = Lock::new(resource, cookie, node, mode);
        lock.get = flags.contains(LkmFlags::GET_LVB);
        let key = self.tables.add_lock(lock);
        let status = self.create_here(key, flags.contains(LkmFlags::NOQUEUE));
        if status != Status::Normal {
            self.tables.remove_lock(key);
        }
        status
    }

    /// A master before us has created it, and died before it said so.
    fn created_before(&mut self, key: LockKey, mode: LockMode) -> Status {
        let lock = self.tables.lock(key);
        let (resource, queue) = (lock.resource, lock.queue);
        if lock.mode != mode || queue == Some(Queue::Converting) {
            let name = self.tables.resources[resource].name;
            self.contradiction("a lock is created twice", Some(&name));
            return Status::IvLockId;
        }
        if queue == Some(Queue::Granted) {
            self.grant(key, false);
        }
        self.dirty(resource);
        Status::Normal
    }

    /// The resource of ours that another node's create or convert is about, or the answer to it.
    pub(super) fn resource_for(
        &self,
        node: NodeId,
        name: &LockName,
    ) -> Result<ResourceKey, Status> {
        // The kernel says REJECTED, and a kernel that hears it crashes. It tries again on FORWARD.
        if !self.is_fully_joined() || !self.members.contains(node) {
            return Err(Status::Forward);
        }
        let Some(resource) = self.tables.find(name) else {
            // Who leaves has handed it over, and forgets sooner than such a message arrives.
            let leaving = self.state == DomainState::InShutdown;
            return Err(if leaving { Status::Forward } else { Status::IvLockId });
        };
        match self.busy_status(resource) {
            Status::Normal if self.tables.resources[resource].owner == Some(self.me) => {
                Ok(resource)
            }
            Status::Normal => Err(Status::Forward),
            busy => Err(busy),
        }
    }

    /// What a request is answered while a resource is busy (`dlm_lockres_state_to_status`).
    pub(super) fn busy_status(&self, resource: ResourceKey) -> Status {
        let state = self.tables.resources[resource].state;
        if state.intersects(State::RECOVERING | State::RECOVERY_WAITING) {
            Status::Recovering
        } else if state.contains(State::MIGRATING) {
            Status::Migrating
        } else if state.contains(State::IN_PROGRESS) {
            Status::Forward
        } else {
            Status::Normal
        }
    }
}

/// The status that an answer means to whoever sent the request.
pub(super) fn status_of(result: Result<i32, CallError>, bad_replies: &mut u64) -> Status {
    match result {
        Ok(status) => Status::from_wire(status).unwrap_or_else(|| {
            *bad_replies += 1;
            Status::SysErr
        }),
        Err(CallError::HostDown | CallError::NoHandler) => Status::Recovering,
        Err(CallError::Overflow) => Status::SysErr,
    }
}
