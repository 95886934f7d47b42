//! References: which nodes know a resource, and how it is forgotten
//! (`fs/ocfs2/dlm/dlmthread.c: dlm_purge_lockres`, `dlmmaster.c: dlm_deref_lockres_handler`).

use super::domain::{Call, CallError, Domain, DomainState, EINVAL, Timer};
use super::message::{DerefDone, DerefLockres, LockName, MessageType};
use super::resource::{ResourceKey, State};
use crate::NodeId;
use crate::mutants::{Mutant, planted};

/// How long an unused resource is kept, in milliseconds (`DLM_PURGE_INTERVAL_MS`).
const PURGE_AFTER_MS: u64 = 8000;

/// The pause before an owner that cannot be reached is told again, in milliseconds.
const AGAIN_MS: u64 = 100;

const DONE: i32 = 0;
const INPROG: i32 = 1;

impl Domain {
    /// Notes since when nothing uses a resource; it is purged when that stays so.
    pub(super) fn note_use(&mut self, key: ResourceKey) {
        let leaving = self.state == DomainState::InShutdown;
        let resource = &mut self.tables.resources[key];
        if !resource.is_unused() || resource.state.contains(State::DROPPING_REF) {
            resource.unused_since = None;
            return;
        }
        if resource.unused_since.is_some() && !leaving {
            return;
        }
        resource.unused_since = Some(self.now);
        if leaving {
            self.purge(key);
        } else if !resource.state.contains(State::PURGE_TIMED) {
            resource.state.insert(State::PURGE_TIMED);
            let name = resource.name;
            self.after(PURGE_AFTER_MS, Timer::Purge { name });
        }
    }

    /// The timer of a resource has fired. It was not moved when the resource was used since: that
    /// happens far more often.
    pub(super) fn purge_due(&mut self, name: LockName) {
        let Some(key) = self.tables.find(&name) else { return };
        let resource = &mut self.tables.resources[key];
        if !resource.state.contains(State::PURGE_TIMED) {
            return;
        }
        resource.state.remove(State::PURGE_TIMED);
        if !resource.is_unused() {
            resource.unused_since = None;
        }
        let Some(since) = resource.unused_since else { return };
        let unused_ms = (self.now - since).as_millis() as u64;
        if unused_ms >= PURGE_AFTER_MS {
            self.purge(key);
        } else {
            resource.state.insert(State::PURGE_TIMED);
            self.after(PURGE_AFTER_MS - unused_ms, Timer::Purge { name });
        }
    }

    /// Forgets a resource that nothing uses, or begins to.
    pub(super) fn purge(&mut self, key: ResourceKey) {
        let resource = &mut self.tables.resources[key];
        if resource.asserting > 0 || resource.state.contains(State::CLEANUP_OWED) {
            // The end of the round looks at it again.
            resource.unused_since = None;
            return;
        }
        match resource.owner {
            Some(owner) if owner != self.me => {
                resource.state.insert(State::DROPPING_REF);
                let name = resource.name;
                self.send_deref(owner, name);
            }
            _ => self.tables.remove_resource(key),
        }
    }

    fn send_deref(&mut self, owner: NodeId, name: LockName) {
        let mut payload = Vec::new();
        DerefLockres { node: self.me, name }.encode(&mut payload);
        let call = Call::Deref { node: owner, name };
        self.send(owner, MessageType::DerefLockres, payload, call);
    }

    pub(super) fn deref_again(&mut self, node: NodeId, name: LockName) {
        let Some(key) = self.tables.find(&name) else { return };
        let resource = &self.tables.resources[key];
        if resource.owner != Some(node) || !resource.state.contains(State::DROPPING_REF) {
            return;
        }
        if self.members.contains(node) { self.send_deref(node, name) } else { self.dropped(name) }
    }

    pub(super) fn deref_answered(
        &mut self,
        node: NodeId,
        name: LockName,
        result: Result<i32, CallError>,
    ) {
        let owner = self.tables.find(&name).and_then(|key| self.tables.resources[key].owner);
        if owner != Some(node) {
            // It has another owner since, who may be about to answer.
            return;
        }
        match result {
            Ok(INPROG) => {}
            Ok(DONE) | Err(CallError::NoHandler | CallError::Overflow) => self.dropped(name),
            // If it is dead, that is about to be known, and what it leaves is looked at then.
            Err(CallError::HostDown) => self.after(AGAIN_MS, Timer::DerefAgain { node, name }),
            // It has handed it over and forgotten it.
            Ok(status) if status == -EINVAL => self.dropped(name),
            Ok(_) => {
                self.counters.bad_replies += 1;
                self.dropped(name);
            }
        }
    }

    /// The owner knows that we have forgotten a resource.
    pub(super) fn dropped(&mut self, name: LockName) {
        let Some(key) = self.tables.find(&name) else { return };
        let resource = &mut self.tables.resources[key];
        if !resource.state.contains(State::DROPPING_REF) {
            return;
        }
        let dropped_under_user = planted(Mutant::DroppedUnderUser) && resource.waiting.is_empty();
        if resource.users == 0 || dropped_under_user {
            self.tables.remove_resource(key);
        } else {
            // Somebody wants it meanwhile, though it may wait for recovery first.
            self.want_again(key);
        }
    }

    /// A resource that was dropped is looked for as if it were new.
    pub(super) fn want_again(&mut self, key: ResourceKey) {
        let resource = &mut self.tables.resources[key];
        resource.state.remove(State::DROPPING_REF);
        resource.unused_since = None;
        resource.set_lvb(&[0; 64]);
        self.search(key);
    }

    /// A node forgets a resource of ours.
    pub(super) fn on_deref(&mut self, message: DerefLockres) -> i32 {
        let DerefLockres { node, name } = message;
        let Some(key) = self.tables.find(&name) else { return -EINVAL };
        let resource = &mut self.tables.resources[key];
        if resource.owner != Some(self.me) {
            // It moved while the message was on its way, and the new master never knew of it.
            return DONE;
        }
        if resource.asserting > 0 {
            resource.rare_mut().deref_owed.insert(node);
            return INPROG;
        }
        if !resource.refmap.remove(node) {
            tracing::debug!(%node, %name, "a node drops a reference that it did not have");
        }
        self.dirty(key);
        DONE
    }

    /// The owner has finished what made it put off our deref.
    pub(super) fn on_deref_done(&mut self, message: DerefDone) -> i32 {
        let Some(key) = self.tables.find(&message.name) else { return -EINVAL };
        if self.tables.resources[key].owner == Some(message.node) {
            self.dropped(message.name);
        }
        0
    }
}
