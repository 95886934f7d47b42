//! Resources that a death left between two owners.
//!
//! A master that moves, or a recovery that ends, is told to one member after the other; if the one that
//! tells dies, some have heard and some have not. The kernel lets each go by what it knows, and two
//! nodes master one name. Here a node that was told asks the others first: whoever was not told says so.

use super::domain::{CallError, Domain, Timer};
use super::message::LockName;
use super::resource::{Pending, ResourceKey, State};
use crate::{NodeId, NodeMap};

/// The pause before a node that cannot be reached is asked again, in milliseconds.
const AGAIN_MS: u64 = 100;

/// A node that is dead was about to be the owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    new: NodeId,
    /// Members that have not said whom they take for the owner.
    outstanding: NodeMap,
    /// Who is the owner to those that were not told of the new one.
    named: NodeMap,
}

impl Domain {
    /// Asks everybody who owns a resource; it is RECOVERING until that is known. A reference to it that
    /// was about to be dropped stays: it was dropped at one of the two.
    pub(super) fn doubt(&mut self, key: ResourceKey, new: NodeId) {
        let outstanding = self.others();
        let resource = &mut self.tables.resources[key];
        let name = resource.name;
        resource.owner = None;
        resource.state.remove(State::MIGRATING | State::DROPPING_REF);
        resource.state.insert(State::RECOVERING);
        resource.unused_since = None;
        self.doubts.insert(name, Doubt { new, outstanding, named: NodeMap::EMPTY });
        for node in outstanding.iter() {
            self.requery(name, node);
        }
        self.settle_if_answered(name);
    }

    pub(super) fn doubt_again(&mut self, name: LockName, node: NodeId) {
        if self.doubts.get(&name).is_some_and(|doubt| doubt.outstanding.contains(node)) {
            self.requery(name, node);
        }
    }

    pub(super) fn doubt_answered(
        &mut self,
        name: LockName,
        node: NodeId,
        result: Result<i32, CallError>,
    ) {
        let Some(doubt) = self.doubts.get_mut(&name) else { return };
        match result {
            Ok(owner) if owner == i32::from(node.get()) => {
                self.doubts.remove(&name);
                self.owned_after_all(name, node);
                return;
            }
            Ok(owner) => {
                let owner = u8::try_from(owner).ok().and_then(NodeId::new);
                if let Some(owner) = owner {
                    doubt.named.insert(owner);
                }
            }
            Err(CallError::NoHandler) => {}
            // It is about to be missed.
            Err(CallError::HostDown | CallError::Overflow) => {
                self.after(AGAIN_MS, Timer::DoubtAgain { name, node });
                return;
            }
        }
        doubt.outstanding.remove(node);
        self.settle_if_answered(name);
    }

    /// A member that is gone says nothing.
    pub(super) fn doubt_node_gone(&mut self, node: NodeId) {
        let names: Vec<LockName> = self.doubts.keys().copied().collect();
        for name in names {
            self.doubt_answered(name, node, Err(CallError::NoHandler));
        }
    }

    /// A living node owns it: nothing of it was lost. (It may have been told by nobody that we have it.)
    fn owned_after_all(&mut self, name: LockName, owner: NodeId) {
        let Some(key) = self.tables.find(&name) else { return };
        let resource = &mut self.tables.resources[key];
        resource.owner = Some(owner);
        resource.state.remove(State::RECOVERING);
        resource.state.insert(State::CLEANUP_OWED);
        let locks: Vec<_> = resource.locks().collect();
        for key in locks {
            let lock = self.tables.lock_mut(key);
            if !lock.pending.contains(Pending::ANSWER) {
                lock.pending.remove(Pending::UNLOCK);
            }
        }
        self.request_cleanup(name);
        self.wake(key);
    }

    fn settle_if_answered(&mut self, name: LockName) {
        let Some(doubt) = self.doubts.get(&name).filter(|doubt| doubt.outstanding.is_empty())
        else {
            return;
        };
        let Doubt { new, named, .. } = *doubt;
        self.doubts.remove(&name);
        // (Who lives has said that it is not.)
        let old = named.without(new).minus(&self.members).lowest();
        let owner = old.unwrap_or(new);
        self.recover_again(owner);
        if let Some(key) = self.tables.find(&name) {
            self.orphan(key, owner);
        }
        self.collected_if_done();
    }
}
