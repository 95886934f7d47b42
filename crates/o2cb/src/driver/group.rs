//! A lock domain as its users on this node see it: which status block is which lock's, and what is to be
//! told them.

use std::sync::Arc;

use dlm::{Errno, Mode, StatusFlags};
use stackglue::{Callback, Lksb, LockingProtocol, RecoveryHandler};

use crate::NodeId;
use crate::o2dlm::message::{LockMode, Status};
use crate::o2dlm::{Event, JoinError, LockKey};
use crate::stack::DomainId;

/// What is to be done when the mutex was let go of.
#[derive(Default)]
pub(crate) struct Deliveries {
    pub(super) callbacks: Vec<(Lksb, Callback, Arc<dyn LockingProtocol>)>,
    pub(super) deaths: Vec<Death>,
    pub(super) fence: Option<String>,
}

impl Deliveries {
    /// Something in it may take long.
    pub(super) fn are_more_than_callbacks(&self) -> bool {
        !self.deaths.is_empty() || self.fence.is_some()
    }
}

/// A member whose death the users of a domain are to be told.
pub(super) struct Death {
    pub(super) node: NodeId,
    pub(super) domain: DomainId,
    pub(super) recovery: Arc<RecoveryHandler>,
}

/// What a lock's user has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Nothing,
    Lock,
    Unlock,
}

struct Slot {
    key: LockKey,
    lksb: Lksb,
    mode: Option<Mode>,
    pending: Pending,
    cancelling: bool,
    /// Its user is gone: it is dropped as soon as it is granted, and nobody is told.
    abandoned: bool,
}

/// The users of a domain.
pub(crate) struct Group {
    protocol: Arc<dyn LockingProtocol>,
    recovery: Arc<RecoveryHandler>,
    /// By key of the lock.
    slots: Vec<Option<Slot>>,
    locks: usize,
    pub(crate) joined: Option<Result<(u8, u8), JoinError>>,
    pub(crate) left: bool,
    /// Granted meanwhile, and to be dropped.
    to_drop: Vec<LockKey>,
}

impl Group {
    pub(crate) fn new(protocol: Arc<dyn LockingProtocol>, recovery: RecoveryHandler) -> Group {
        Group {
            protocol,
            recovery: Arc::new(recovery),
            slots: Vec::new(),
            locks: 0,
            joined: None,
            left: false,
            to_drop: Vec::new(),
        }
    }

    pub(crate) fn has_locks(&self) -> bool {
        self.locks > 0
    }

    /// Every lock, with its status block.
    pub(crate) fn locks(&self) -> impl Iterator<Item = (usize, &Lksb)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| Some((at, &slot.as_ref()?.lksb)))
    }

    /// The lock of a status block.
    pub(crate) fn key_of(&self, lksb: &Lksb) -> Option<LockKey> {
        let at = usize::try_from(lksb.lock_id()).ok()?.checked_sub(1)?;
        let slot = self.slots.get(at)?.as_ref()?;
        slot.lksb.is(lksb).then_some(slot.key)
    }

    pub(crate) fn lksb(&self, key: LockKey) -> Option<&Lksb> {
        self.slots.get(key.index())?.as_ref().map(|slot| &slot.lksb)
    }

    /// A new lock, before anything is told about it.
    pub(crate) fn add(&mut self, key: LockKey, lksb: &Lksb) {
        if self.slots.len() <= key.index() {
            self.slots.resize_with(key.index() + 1, || None);
        }
        self.slots[key.index()] = Some(Slot {
            key,
            lksb: lksb.clone(),
            mode: None,
            pending: Pending::Lock,
            cancelling: false,
            abandoned: false,
        });
        self.locks += 1;
        lksb.set_lock_id(key.index() as u32 + 1);
    }

    /// What the user of a lock waits for, and the mode that it has.
    pub(crate) fn state(&self, key: LockKey) -> Option<(Option<Mode>, Pending, bool)> {
        let slot = self.slots.get(key.index())?.as_ref()?;
        Some((slot.mode, slot.pending, slot.cancelling))
    }

    pub(crate) fn set_pending(&mut self, key: LockKey, pending: Pending) {
        if let Some(slot) = self.slot(key) {
            slot.pending = pending;
        }
    }

    pub(crate) fn set_cancelling(&mut self, key: LockKey, cancelling: bool) {
        if let Some(slot) = self.slot(key) {
            slot.cancelling = cancelling;
        }
    }

    pub(crate) fn abandon(&mut self, key: LockKey) {
        if let Some(slot) = self.slot(key) {
            slot.abandoned = true;
            slot.lksb.silence();
            slot.lksb.set_lock_id(0);
        }
    }

    /// Locks without a user that were granted: what is to be unlocked, with the value to write.
    pub(super) fn take_abandoned(&mut self) -> Vec<(LockKey, Option<[u8; 64]>)> {
        std::mem::take(&mut self.to_drop).into_iter().map(|key| (key, None)).collect()
    }

    fn slot(&mut self, key: LockKey) -> Option<&mut Slot> {
        self.slots.get_mut(key.index())?.as_mut()
    }

    /// Takes note of an event, and posts what users are told. Whether somebody may wait for it.
    pub(super) fn event(
        &mut self,
        domain: DomainId,
        event: Event,
        deliveries: &mut Deliveries,
    ) -> bool {
        match event {
            Event::Joined { fs_version } => self.joined = Some(Ok(fs_version)),
            Event::JoinFailed(error) => self.joined = Some(Err(error)),
            Event::Left => self.left = true,
            Event::NodeDown(node) => {
                let recovery = Arc::clone(&self.recovery);
                deliveries.deaths.push(Death { node, domain, recovery });
                return false;
            }
            Event::Granted { lock, mode, lvb } => {
                self.granted(lock, mode_of(mode), lvb.as_deref(), deliveries);
                return false;
            }
            Event::Refused { lock, status, gone } => {
                self.refused(lock, status, gone, deliveries);
                return gone;
            }
            Event::Unlocked { lock, status, gone } => {
                self.unlocked(lock, status, gone, deliveries);
                return gone;
            }
            Event::Blocked { lock, level } => {
                self.post(lock, Callback::blocking(mode_of(level)), deliveries);
                return false;
            }
        }
        true
    }

    fn granted(
        &mut self,
        key: LockKey,
        mode: Mode,
        lvb: Option<&[u8; 64]>,
        deliveries: &mut Deliveries,
    ) {
        let Some(slot) = self.slot(key) else { return };
        slot.pending = Pending::Nothing;
        slot.cancelling = false;
        slot.mode = Some(mode);
        if slot.abandoned {
            slot.pending = Pending::Unlock;
            self.to_drop.push(key);
            return;
        }
        if let Some(lvb) = lvb {
            // It has the length of a value block.
            let _ = slot.lksb.set_lvb(lvb);
        }
        self.post(key, Callback::lock(None, StatusFlags::empty(), Some(mode)), deliveries);
    }

    fn refused(&mut self, key: LockKey, status: Status, gone: bool, deliveries: &mut Deliveries) {
        let Some(slot) = self.slot(key) else { return };
        slot.pending = Pending::Nothing;
        slot.cancelling = false;
        let errno = status.errno().err();
        let callback = Callback::lock(errno, StatusFlags::empty(), slot.mode);
        if gone {
            self.last(key, callback, deliveries);
        } else if slot.abandoned {
            slot.pending = Pending::Unlock;
            self.to_drop.push(key);
        } else {
            self.post(key, callback, deliveries);
        }
    }

    /// A cancel that came too late is told nobody (`fs/ocfs2/stack_o2cb.c: o2dlm_unlock_ast_wrapper`):
    /// the grant was the outcome.
    fn unlocked(&mut self, key: LockKey, status: Status, gone: bool, deliveries: &mut Deliveries) {
        let Some(slot) = self.slot(key) else { return };
        let cancelled = slot.cancelling;
        slot.cancelling = false;
        if status == Status::CancelGrant {
            return;
        }
        slot.pending = Pending::Nothing;
        let answer = match status.errno() {
            Ok(()) if cancelled => Errno::ECANCEL,
            Ok(()) => Errno::EUNLOCK,
            Err(errno) => errno,
        };
        if gone {
            self.last(key, Callback::unlock(Some(answer), None), deliveries);
        } else if slot.abandoned {
            slot.pending = Pending::Unlock;
            self.to_drop.push(key);
        } else {
            let mode = slot.mode;
            self.post(key, Callback::unlock(Some(answer), mode), deliveries);
        }
    }

    fn post(&mut self, key: LockKey, callback: Callback, deliveries: &mut Deliveries) {
        let protocol = Arc::clone(&self.protocol);
        let Some(slot) = self.slot(key).filter(|slot| !slot.abandoned) else { return };
        if let Some(callback) = slot.lksb.post(callback) {
            deliveries.callbacks.push((slot.lksb.clone(), callback, protocol));
        }
    }

    fn last(&mut self, key: LockKey, callback: Callback, deliveries: &mut Deliveries) {
        let Some(slot) = self.slots.get_mut(key.index()).and_then(Option::take) else { return };
        self.locks -= 1;
        if slot.abandoned {
            return;
        }
        if let Some(callback) = slot.lksb.post_last(callback) {
            deliveries.callbacks.push((slot.lksb, callback, Arc::clone(&self.protocol)));
        }
    }
}

/// A mode of o2dlm in the words of the glue.
pub fn mode_of(mode: LockMode) -> Mode {
    match mode {
        LockMode::NL => Mode::NL,
        LockMode::PR => Mode::PR,
        LockMode::EX => Mode::EX,
    }
}
