//! Conversions (`fs/ocfs2/dlm/dlmconvert.c`).

use super::create::{RETRY_MS, status_of};
use super::domain::{Call, CallError, Domain, Event, Timer};
use super::message::{ConvertLock, Cookie, LkmFlags, LockMode, MessageType, Queue, Status};
use super::resource::{LockKey, Lvb, Operation, Pending, State};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, Now};

impl Domain {
    /// Asks for another mode of a granted lock. An [`Event::Granted`] or [`Event::Refused`] tells the
    /// outcome.
    ///
    /// Flags: `NOQUEUE` and `VALBLK`. With `VALBLK` an EX lock writes `value`, and another one reads
    /// on its way to PR or EX.
    ///
    /// # Errors
    ///
    /// `BadParam` for other flags, `IvLockId` when there is no such lock, `Denied` when it is not
    /// granted or another operation is under way. Nothing comes by event then.
    pub fn convert(
        &mut self,
        now: Now,
        lock: LockKey,
        mode: LockMode,
        flags: LkmFlags,
        value: &[u8; 64],
    ) -> Result<(), Status> {
        let known = LkmFlags::NOQUEUE | LkmFlags::VALBLK | LkmFlags::CONVERT | LkmFlags::INVVALBLK;
        if !known.contains(flags) {
            return Err(Status::BadParam);
        }
        let key = lock;
        let lock = self.own_lock(key)?;
        if lock.operation.is_some() || lock.cancelling || lock.queue != Some(Queue::Granted) {
            return Err(Status::Denied);
        }
        let writes = flags.contains(LkmFlags::VALBLK) && lock.mode == LockMode::EX;
        let put = if writes { Self::copy_of(value) } else { None };
        let cookie = lock.cookie;
        self.now = now;
        self.tables.lock_mut(key).operation = Some(Operation::Convert { mode, flags, put });
        self.advance(key, cookie);
        self.settle();
        Ok(())
    }

    /// A lock of this node.
    pub(super) fn own_lock(&self, key: LockKey) -> Result<&super::resource::Lock, Status> {
        let lock = self.tables.locks.get(key.index()).ok_or(Status::IvLockId)?;
        if lock.node == self.me { Ok(lock) } else { Err(Status::IvLockId) }
    }

    pub(super) fn convert_at(
        &mut self,
        key: LockKey,
        owner: NodeId,
        mode: LockMode,
        flags: LkmFlags,
        put: Option<Box<Lvb>>,
    ) {
        let lock = self.tables.lock_mut(key);
        let (cookie, resource) = (lock.cookie, lock.resource);
        let valblk = flags.contains(LkmFlags::VALBLK);
        let get = valblk && put.is_none() && mode >= LockMode::PR;
        let noqueue = flags.contains(LkmFlags::NOQUEUE);
        if owner == self.me {
            let status = self.convert_here(key, mode, noqueue, put, get);
            if status != Status::Normal {
                self.refuse_convert(key, status);
            }
            return;
        }
        if lock.mode == mode && put.is_none() && !get {
            // Nothing changes, or an earlier attempt was granted before its reply was lost.
            self.complete_grant(key, None);
            return;
        }
        lock.convert = Some(mode);
        lock.pending.insert(Pending::CONVERT | Pending::ANSWER);
        lock.get = get;
        lock.put = put.clone();
        if let Some(put) = &put {
            // What an EX holder writes is the value from now on, whoever the owner is then.
            lock.copy = Some(put.clone());
        }
        self.tables.enqueue(key, Queue::Converting);
        let resource = &mut self.tables.resources[resource];
        resource.state.insert(State::IN_PROGRESS);
        let name = resource.name;
        let mut wire = LkmFlags::CONVERT | (flags & LkmFlags::NOQUEUE);
        wire.set(LkmFlags::VALBLK, put.is_some() || get);
        wire.set(LkmFlags::PUT_LVB, put.is_some());
        wire.set(LkmFlags::GET_LVB, get);
        let lvb = put.map(|put| *put);
        let mut payload = self.buffer();
        ConvertLock { cookie, flags: wire, node: self.me, mode, name, lvb }.encode(&mut payload);
        let call = Call::Convert { lock: key, cookie, owner };
        self.send(owner, MessageType::ConvertLock, payload, call);
    }

    /// The owner's part, for a lock of whatever node.
    fn convert_here(
        &mut self,
        key: LockKey,
        mode: LockMode,
        noqueue: bool,
        put: Option<Box<Lvb>>,
        get: bool,
    ) -> Status {
        let lock = self.tables.lock(key);
        let resource = lock.resource;
        if lock.queue != Some(Queue::Granted) || lock.convert.is_some() {
            return Status::Denied;
        }
        let at_once = mode <= lock.mode || self.is_grantable(resource, Some(key), mode);
        if !at_once && noqueue && !planted(Mutant::NoqueueConversionWaits) {
            return Status::NotQueued;
        }
        let lock = self.tables.lock_mut(key);
        lock.convert = Some(mode);
        lock.put = put;
        lock.get = get;
        if at_once {
            self.grant_conversion(key);
        } else {
            self.tables.enqueue(key, Queue::Converting);
        }
        self.dirty(resource);
        Status::Normal
    }

    pub(super) fn convert_answered(
        &mut self,
        key: LockKey,
        cookie: Cookie,
        owner: NodeId,
        result: Result<i32, CallError>,
    ) {
        let Some(lock) = self.tables.same_lock(key, cookie) else { return };
        let resource = lock.resource;
        let lock = self.tables.lock_mut(key);
        let was_pending = lock.pending.contains(Pending::CONVERT);
        lock.pending.remove(Pending::ANSWER);
        if result.is_ok() {
            // Otherwise the owner may have converted it, and what it gave up is not ours to keep
            // before we know.
            lock.pending.remove(Pending::CONVERT);
        }
        let waits = matches!(lock.operation, Some(Operation::Convert { .. }));
        self.tables.resources[resource].state.remove(State::IN_PROGRESS);
        let status = status_of(result, &mut self.counters.bad_replies);
        // The owner was found dead meanwhile, and the lock is back where it was.
        let status = if was_pending || planted(Mutant::OldConvertAnswer) {
            status
        } else {
            Status::Recovering
        };
        let status = self.moved_meanwhile(resource, owner, status);
        if waits {
            match status {
                Status::Normal => {}
                Status::Recovering | Status::Migrating | Status::Forward => {
                    self.conversion_back(key);
                    if planted(Mutant::ConversionNotRetried) {
                        return;
                    }
                    self.after(RETRY_MS, Timer::Operation { lock: key, cookie });
                }
                refused => {
                    self.conversion_back(key);
                    self.refuse_convert(key, refused);
                }
            }
        }
        self.wake(resource);
    }

    /// The lock is granted in its old mode.
    pub(super) fn conversion_back(&mut self, key: LockKey) {
        let lock = self.tables.lock_mut(key);
        if !planted(Mutant::ConversionHalfBack) {
            lock.convert = None;
        }
        lock.get = false;
        lock.put = None;
        if self.tables.lock(key).queue != Some(Queue::Granted) {
            self.tables.enqueue(key, Queue::Granted);
        }
    }

    fn refuse_convert(&mut self, key: LockKey, status: Status) {
        let lock = self.tables.lock_mut(key);
        lock.operation = None;
        lock.cancelling = false;
        self.event(Event::Refused { lock: key, status, gone: false });
    }

    /// Another node converts a lock on a resource of ours (`dlm_convert_lock_handler`).
    pub(super) fn on_convert(&mut self, message: ConvertLock) -> i32 {
        self.convert_for(message).to_wire()
    }

    fn convert_for(&mut self, message: ConvertLock) -> Status {
        let ConvertLock { cookie, flags, node, mode, name, lvb } = message;
        if flags.contains(LkmFlags::PUT_LVB | LkmFlags::GET_LVB) {
            return Status::BadArgs;
        }
        let resource = match self.resource_for(node, &name) {
            Ok(resource) => resource,
            Err(status) => return status,
        };
        let found =
            self.tables.find_lock(resource, &[Queue::Granted, Queue::Converting], cookie, node);
        let Some(key) = found else { return Status::IvLockId };
        let lock = self.tables.lock(key);
        if lock.queue == Some(Queue::Converting) && lock.convert == Some(mode) {
            // A master before us has queued it, and died before it said so.
            return Status::Normal;
        }
        let put = if flags.contains(LkmFlags::PUT_LVB) { lvb.map(Box::new) } else { None };
        let get = flags.contains(LkmFlags::GET_LVB);
        self.convert_here(key, mode, flags.contains(LkmFlags::NOQUEUE), put, get)
    }
}
