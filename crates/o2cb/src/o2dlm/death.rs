//! A member died: what this node does by itself, before recovery
//! (`fs/ocfs2/dlm/dlmrecovery.c: dlm_do_local_recovery_cleanup`).

use super::domain::{Domain, DomainState, Event};
use super::mastery::MleKind;
use super::message::{LockMode, LockName, Queue};
use super::migration::Migration;
use super::resource::{LockKey, Operation, Pending, ResourceKey, State, Waiter};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, Now};

/// A dead node may have been dead this long before it was missed: what it agreed to do since is not
/// done.
const CLEANUP_LOST: Now = Now::from_secs(180);

impl Domain {
    pub(super) fn heartbeat_down(&mut self, node: NodeId) {
        self.live.remove(node);
        if self.joining == Some(node) {
            self.joining = None;
        }
        if node == self.me || !self.members.contains(node) {
            return;
        }
        if self.state == DomainState::Leaving {
            // Others recover; we only have no more to tell it.
            self.members.remove(node);
            if let Some(leave) = &mut self.leave {
                leave.node_gone(node);
            }
            self.left_if_told();
        } else {
            self.member_died(node);
        }
    }

    /// Users are told first: whoever is granted what the dead node held can rely on that.
    pub(super) fn member_died(&mut self, node: NodeId) {
        self.event(Event::NodeDown(node));
        self.members.remove(node);
        self.exiting.remove(node);
        self.doubt_node_gone(node);
        self.recovery_member_died(node);
        let keys: Vec<ResourceKey> = self.tables.resources.iter().map(|(key, _)| key).collect();
        self.end_migrations(node);
        for key in keys {
            if self.tables.resources.contains(key) {
                self.clean_up(key, node);
            }
        }
        self.vote_node_down(node);
        if let Some(leave) = &mut self.leave {
            leave.node_gone(node);
        }
    }

    fn clean_up(&mut self, key: ResourceKey, dead: NodeId) {
        let resource = &mut self.tables.resources[key];
        if let Some(rare) = resource.rare() {
            rare.deref_owed.remove(dead);
        }
        if resource.name.is_recovery() {
            self.clean_up_recovery_lock(key, dead);
        } else if resource.owner == Some(dead) {
            let moves = matches!(
                self.mles.get(&resource.name).map(|mle| mle.kind),
                Some(MleKind::Migration { .. })
            );
            let before = resource.rare().map(|rare| std::mem::take(&mut rare.moved_from));
            if moves {
                // It had moved on, and the new master will say so.
            } else if before.unwrap_or_default().iter().any(|old| self.members.contains(old)) {
                // The one before may not have been told that it moved.
                self.doubt(key, dead);
            } else {
                self.orphan(key, dead);
            }
        } else if resource.owner == Some(self.me) {
            self.clean_up_own(key, dead);
        } else {
            resource.refmap.remove(dead);
        }
    }

    /// Ours: the dead node's locks go. What they kept waiting is granted after recovery.
    fn clean_up_own(&mut self, key: ResourceKey, dead: NodeId) {
        let resource = &self.tables.resources[key];
        let theirs: Vec<LockKey> =
            resource.locks().filter(|&key| self.tables.lock(key).node == dead).collect();
        let wrote = theirs.iter().any(|&key| {
            let lock = self.tables.lock(key);
            lock.queue != Some(Queue::Blocked) && lock.mode == LockMode::EX
        });
        for &lock in theirs.iter().filter(|_| !planted(Mutant::DeadKeepLocks)) {
            self.tables.remove_lock(lock);
        }
        let resource = &mut self.tables.resources[key];
        if !planted(Mutant::DeadKeepReferences) {
            resource.refmap.remove(dead);
        }
        if wrote && !planted(Mutant::DeadWritersValue) {
            resource.set_lvb(&[0; 64]);
        }
        if !theirs.is_empty() && !planted(Mutant::GrantsBeforeRecovery) {
            resource.rare_mut().awaits.insert(dead);
            resource.state.insert(State::RECOVERY_WAITING);
        }
        self.dirty(key);
    }

    /// Its owner died: it is RECOVERING until it has a new one.
    pub(super) fn orphan(&mut self, key: ResourceKey, dead: NodeId) {
        let resource = &mut self.tables.resources[key];
        let name = resource.name;
        let asked = resource.rare().and_then(|rare| rare.cleanup_asked.take());
        let cleanup_lost = asked.is_some_and(|at| self.now < at + CLEANUP_LOST);
        if resource.state.contains(State::DROPPING_REF) {
            if cleanup_lost {
                // Whoever is found now cleans up.
                self.want_again(key);
            } else {
                self.dropped(name);
            }
            return;
        }
        resource.owner = Some(dead);
        resource.state.remove(State::MIGRATING);
        resource.state.insert(State::RECOVERING);
        resource.unused_since = None;
        if cleanup_lost {
            resource.state.insert(State::CLEANUP_OWED);
        }
        let locks: Vec<LockKey> = self.tables.resources[key].locks().collect();
        for key in locks {
            let lock = self.tables.lock_mut(key);
            let (pending, queue) = (lock.pending, lock.queue);
            lock.pending.remove(Pending::LOCK | Pending::CONVERT);
            // Where the grant came before the reply, it stands.
            match queue {
                Some(Queue::Blocked) if pending.intersects(Pending::LOCK | Pending::CANCEL) => {
                    self.tables.dequeue(key);
                }
                Some(Queue::Converting)
                    if pending.intersects(Pending::CONVERT | Pending::CANCEL) =>
                {
                    self.conversion_back(key);
                }
                // Not recovered, and gone when recovery is over. It is unlocked once more if it turns out
                // that the resource had moved, and the lock with it.
                Some(Queue::Granted) if pending.contains(Pending::UNLOCK) => {
                    let waiter = Waiter::Operation(key, lock.cookie);
                    let resource = lock.resource;
                    self.tables.dequeue(key);
                    self.tables.resources[resource].waiting.push_back(waiter);
                }
                _ => {}
            }
        }
    }

    fn clean_up_recovery_lock(&mut self, key: ResourceKey, dead: NodeId) {
        let resource = &self.tables.resources[key];
        let theirs: Vec<LockKey> =
            resource.locks().filter(|&key| self.tables.lock(key).node == dead).collect();
        for lock in theirs {
            self.tables.remove_lock(lock);
        }
        let resource = &mut self.tables.resources[key];
        resource.refmap.remove(dead);
        if resource.owner == Some(dead) {
            // It has no state to recover: as if nobody had ever asked for it, or got it. (Where the death
            // is another node's word, the answer to our own request is still to come.)
            let asked: Vec<LockKey> = resource.locks().collect();
            resource.owner = None;
            for lock in asked {
                self.tables.dequeue(lock);
                self.tables.lock_mut(lock).pending.remove(Pending::LOCK);
                let lost = self.tables.lock(lock);
                let gives_up = matches!(lost.operation, Some(Operation::Unlock { .. }));
                if gives_up && !lost.pending.contains(Pending::ANSWER) {
                    self.unlocked(lock);
                }
            }
            let resource = &mut self.tables.resources[key];
            if resource.state.contains(State::DROPPING_REF) {
                let name = resource.name;
                self.dropped(name);
            } else {
                resource.state.remove(State::IN_PROGRESS);
                self.search(key);
            }
        } else {
            self.dirty(key);
        }
    }

    /// Migrations from or to the dead node.
    fn end_migrations(&mut self, dead: NodeId) {
        let names: Vec<LockName> = self
            .mles
            .iter()
            .filter(|(_, mle)| match mle.kind {
                MleKind::Migration { new, .. } => new == dead,
                MleKind::Block | MleKind::Master => false,
            })
            .map(|(name, _)| *name)
            .collect();
        // (Where the old master died, the new one has it all, and will say so.)
        for name in names {
            if self.migrations.contains_key(&name) {
                // The target of ours died: it stays here. Who was told that it moves must not hear
                // otherwise before it knows of the death.
                self.migration_failed(name);
                if let Some(key) = self.tables.find(&name) {
                    let resource = &mut self.tables.resources[key];
                    resource.rare_mut().awaits.insert(dead);
                    resource.state.insert(State::RECOVERY_WAITING);
                }
                continue;
            }
            self.mles.remove(&name);
            let Some(key) = self.tables.find(&name) else { continue };
            match self.tables.resources[key].owner {
                // The old master was not told either: it keeps it. Where it was not known that we have
                // it, only the new one was told.
                Some(old) if self.members.contains(old) => {
                    let resource = &mut self.tables.resources[key];
                    resource.state.remove(State::MIGRATING);
                    resource.state.insert(State::CLEANUP_OWED);
                    self.request_cleanup(name);
                    self.wake(key);
                }
                Some(old) if old != self.me => self.doubt(key, dead),
                _ => {
                    self.tables.resources[key].state.remove(State::MIGRATING);
                    self.search(key);
                }
            }
        }
        let moving: Vec<LockName> = self.migrations.keys().copied().collect();
        for name in moving {
            match self.migrations.get_mut(&name) {
                Some(Migration::Draining { target }) if *target == dead => {
                    self.migrations.remove(&name);
                }
                // Not all of it has come: the others' locks are with their owners.
                Some(Migration::Receiving { old, .. }) if *old == dead => {
                    self.migrations.remove(&name);
                    if let Some(key) = self.tables.find(&name) {
                        self.forget_foreign_locks(key);
                        self.orphan(key, dead);
                    }
                }
                // Its answer, which is not going to come, completes as lost.
                _ => {}
            }
        }
    }
}
