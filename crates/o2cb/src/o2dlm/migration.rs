//! Migration: a node that leaves hands over what it masters
//! (`fs/ocfs2/dlm/dlmmaster.c: dlm_migrate_lockres`, `dlmrecovery.c: dlm_send_one_lockres`).

use super::assert::AfterAssert;
use super::domain::{Call, CallError, Domain, DomainState, EEXIST, EINVAL, ENOMEM, Timer};
use super::mastery::{Mle, MleKind};
use super::message::{
    AssertFlags, LOCKS_MAX, LockMode, LockName, LvbFlags, MessageType, MigFlags, MigLock,
    MigLockres, MigrateRequest, Queue,
};
use super::resource::{Lock, LockKey, Lvb, ResourceKey, State};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, NodeMap};

/// The pause before a node is asked again, in milliseconds.
const AGAIN_MS: u64 = 100;

/// Reply to a migrate request: the sender is to count a reference of ours.
const MASTERY_REF: i32 = 1;

/// A resource on its way from or to this node.
#[derive(Clone, Debug)]
pub(super) enum Migration {
    /// It leaves: waits until nothing of it is on its way to a lock's owner.
    Draining { target: NodeId },
    /// It leaves: the locks still to be sent, in messages.
    Sending { target: NodeId, rest: Vec<MigLockres> },
    /// It has left: the new master has not said so yet.
    Sent { target: NodeId },
    /// It comes: locks received so far.
    Receiving { old: NodeId, received: u32 },
    /// It has come: members that have not been told yet that it is moving.
    Announcing { old: NodeId, outstanding: NodeMap },
    /// It has come: the members are told who the master is.
    Asserting,
}

impl Domain {
    /// Begins to hand a resource over, if it can be and somebody can take it.
    pub(super) fn migrate(&mut self, key: ResourceKey) {
        let resource = &self.tables.resources[key];
        let name = resource.name;
        let local = resource.locks().any(|key| self.tables.lock(key).node == self.me);
        if resource.owner != Some(self.me)
            // Somebody may still ask whether a death has moved it.
            || self.recovery.is_pending()
            || !resource.is_quiet()
            || local
            || !resource.waiting.is_empty()
            || name.is_recovery()
            || self.migrations.contains_key(&name)
            || self.mles.contains_key(&name)
        {
            return;
        }
        let suits = |node: &NodeId| {
            *node != self.me && self.members.contains(*node) && !self.exiting.contains(*node)
        };
        let target = resource
            .locks()
            .map(|key| self.tables.lock(key).node)
            .find(suits)
            .or_else(|| resource.refmap.iter().find(suits));
        let Some(target) = target else { return };
        self.migrations.insert(name, Migration::Draining { target });
        self.migration_may_go_on(name);
    }

    /// What a migration waits for may be over: notices on their way, or assertions.
    pub(super) fn migration_may_go_on(&mut self, name: LockName) {
        let Some(Migration::Draining { target }) = self.migrations.get(&name) else { return };
        let target = *target;
        let Some(key) = self.tables.find(&name) else {
            self.migrations.remove(&name);
            return;
        };
        let resource = &self.tables.resources[key];
        if !resource.is_told() || resource.asserting > 0 {
            return;
        }
        if !resource.is_quiet() || !self.members.contains(target) {
            self.migrations.remove(&name);
            return;
        }
        let mut mle = Mle::new(MleKind::Migration { old: self.me, new: target });
        mle.maybe.insert(target);
        self.add_mle(name, mle);
        self.tables.resources[key].state.insert(State::MIGRATING);
        let mut rest = self.lock_state(key, MigFlags::MIGRATION, Some(self.me));
        rest.reverse();
        self.migrations.insert(name, Migration::Sending { target, rest });
        self.send_next_lockres(name);
    }

    /// The locks of a resource, in as many messages as they take. In recovery only this node's own.
    pub(super) fn lock_state(
        &self,
        key: ResourceKey,
        flags: MigFlags,
        owner: Option<NodeId>,
    ) -> Vec<MigLockres> {
        let resource = &self.tables.resources[key];
        let recovery = flags.contains(MigFlags::RECOVERY);
        let keys: Vec<LockKey> = resource
            .locks()
            .filter(|&key| !recovery || self.tables.lock(key).node == self.me)
            .collect();
        let lvb = if recovery { self.lvb_of_holders(&keys) } else { self.lvb_to_migrate(key) };
        let entry = |&key: &LockKey| {
            let lock = self.tables.lock(key);
            let mut lvb_flags = LvbFlags::empty();
            lvb_flags.set(LvbFlags::GET, lock.get);
            lvb_flags.set(LvbFlags::PUT, lock.put.is_some());
            MigLock {
                cookie: lock.cookie,
                queue: lock.queue.unwrap_or(Queue::Granted),
                lvb_flags,
                mode: Some(lock.mode),
                convert: lock.convert,
                highest_blocked: None,
                node: lock.node,
            }
        };
        let message = |locks: Vec<MigLock>, total: usize, cookie: u64, last: bool| MigLockres {
            owner,
            flags: if last { flags | MigFlags::ALL_DONE } else { flags },
            total: total as u32,
            cookie,
            name: resource.name,
            lvb,
            locks,
        };
        if keys.is_empty() {
            return vec![message(vec![MigLock::dummy(self.me)], 0, 0, true)];
        }
        let chunks = keys.chunks(LOCKS_MAX);
        let last = chunks.len() - 1;
        // Any number tells receivers that there is more than one message.
        let cookie = if last == 0 { 0 } else { self.tables.lock(keys[0]).cookie.0 };
        chunks
            .enumerate()
            .map(|(at, chunk)| {
                message(chunk.iter().map(entry).collect(), keys.len(), cookie, at == last)
            })
            .collect()
    }

    /// The value of the first holder that has one: in recovery, that is all that is left of it.
    fn lvb_of_holders(&self, keys: &[LockKey]) -> Lvb {
        keys.iter()
            .map(|&key| self.tables.lock(key))
            .filter(|lock| lock.queue != Some(Queue::Blocked) && lock.mode >= LockMode::PR)
            .find_map(|lock| lock.copy.as_deref().filter(|copy| **copy != [0; 64]))
            .copied()
            .unwrap_or([0; 64])
    }

    /// A kernel takes the value only with a holder that can have it.
    fn lvb_to_migrate(&self, key: ResourceKey) -> Lvb {
        let resource = &self.tables.resources[key];
        let held = resource
            .granted
            .iter()
            .chain(resource.converting.iter())
            .any(|&key| self.tables.lock(key).mode >= LockMode::PR);
        if held && !planted(Mutant::ValueNotMigrated) { resource.lvb() } else { [0; 64] }
    }

    fn send_next_lockres(&mut self, name: LockName) {
        let Some(Migration::Sending { target, rest }) = self.migrations.get_mut(&name) else {
            return;
        };
        let target = *target;
        let Some(message) = rest.pop() else { return };
        let last = rest.is_empty();
        let mut payload = Vec::new();
        message.encode(&mut payload);
        let call = Call::MigrateLockres { node: target, name, last };
        self.send(target, MessageType::MigLockres, payload, call);
    }

    pub(super) fn migrate_lockres_done(
        &mut self,
        node: NodeId,
        name: LockName,
        last: bool,
        result: Result<i32, CallError>,
    ) {
        // (The answer of an earlier target may come late.)
        let sending = self.migrations.get(&name);
        if !matches!(sending, Some(Migration::Sending { target, .. }) if *target == node) {
            return;
        }
        match result {
            Ok(status) if status >= 0 && !last => self.send_next_lockres(name),
            Ok(status) if status >= 0 => {
                self.migrations.insert(name, Migration::Sent { target: node });
            }
            // It may have all of it, and be telling the others.
            Err(CallError::HostDown) if last => {
                self.migrations.insert(name, Migration::Sent { target: node });
                self.after(AGAIN_MS, Timer::MigratedAgain { node, name });
            }
            Ok(_) | Err(_) => self.migration_failed(name),
        }
    }

    /// Asks a target whose answer was lost whether the name is its own now.
    pub(super) fn ask_whether_migrated(&mut self, node: NodeId, name: LockName) {
        if matches!(self.migrations.get(&name), Some(Migration::Sent { target }) if *target == node)
        {
            self.requery(name, node);
        }
    }

    pub(super) fn migrated_answered(
        &mut self,
        name: LockName,
        node: NodeId,
        result: Result<i32, CallError>,
    ) {
        match self.migrations.get(&name) {
            Some(Migration::Sent { target }) if *target == node => {}
            _ => return,
        }
        match result {
            // It says so to everybody, and to us last.
            Ok(owner) if owner == i32::from(node.get()) => {}
            Ok(_) | Err(CallError::NoHandler | CallError::Overflow) => self.migration_failed(name),
            Err(CallError::HostDown) => self.after(AGAIN_MS, Timer::MigratedAgain { node, name }),
        }
    }

    /// The resource stays; the next look at what is left here tries again.
    pub(super) fn migration_failed(&mut self, name: LockName) {
        self.migrations.remove(&name);
        self.mles.remove(&name);
        if let Some(key) = self.tables.find(&name) {
            if !planted(Mutant::MigrationNotAnnouncedLost) {
                self.tables.resources[key].state.remove(State::MIGRATING);
            }
            self.wake(key);
        }
    }

    /// Whether something that this node knows was about to move away from a node. If it is dead, the
    /// new master, or its death, tells whether there is something to recover.
    pub(super) fn moves_from(&self, node: NodeId) -> bool {
        self.mles.iter().any(|(name, mle)| {
            matches!(mle.kind, MleKind::Migration { old, .. } if old == node)
                && self.tables.find(name).is_some()
        })
    }

    /// A migration is over, and this node was not the target.
    pub(super) fn migrated_to(&mut self, key: ResourceKey, old: NodeId, owner: NodeId) {
        let resource = &mut self.tables.resources[key];
        let name = resource.name;
        if resource.owner.is_none() {
            // A search that the migration held up has found.
            resource.state.remove(State::IN_PROGRESS);
        }
        resource.owner = Some(owner);
        let moved_from = &mut resource.rare_mut().moved_from;
        *moved_from = NodeMap::EMPTY;
        moved_from.insert(old);
        resource.state.remove(State::MIGRATING);
        if self.migrations.remove(&name).is_some() {
            self.counters.migrated += 1;
            self.forget_foreign_locks(key);
        }
        self.request_cleanup(name);
        self.wake(key);
    }

    /// Locks of a resource, from its old master or in recovery (`dlm_mig_lockres_handler`).
    pub(super) fn on_mig_lockres(&mut self, from: NodeId, message: MigLockres) -> i32 {
        if !self.is_fully_joined() || !self.members.contains(from) {
            return -EINVAL;
        }
        // Whoever drives a recovery ends it, though its users are gone meanwhile. (A kernel on its way
        // out refuses.)
        if message.flags.contains(MigFlags::RECOVERY) {
            return self.on_reco_lockres(from, message);
        }
        if self.state != DomainState::Joined {
            return -EINVAL;
        }
        if !message.flags.contains(MigFlags::MIGRATION) || message.owner != Some(from) {
            self.contradiction("locks come neither in migration nor in recovery", None);
            return -EINVAL;
        }
        let name = message.name;
        let key = match self.tables.find(&name) {
            Some(key) => {
                let resource = &self.tables.resources[key];
                // The kernel says EFAULT to the second, and the sender crashes.
                if resource.state.intersects(State::DROPPING_REF | State::RECOVERING)
                    || (resource.owner == Some(self.me)
                        && !matches!(
                            self.migrations.get(&name),
                            Some(Migration::Receiving { old, .. }) if *old == from
                        ))
                {
                    return -EINVAL;
                }
                key
            }
            None => self.tables.add_resource(name),
        };
        let received = match self.migrations.get(&name) {
            Some(Migration::Receiving { old, received }) if *old == from => *received,
            Some(_) => return -EINVAL,
            None => 0,
        };
        // Our own search for its master ends here.
        self.mles.remove(&name);
        let resource = &mut self.tables.resources[key];
        if resource.owner.is_none() {
            resource.state.remove(State::IN_PROGRESS);
        }
        resource.state.insert(State::MIGRATING);
        resource.owner = Some(self.me);
        resource.unused_since = None;
        self.take_locks(key, &message);
        let dummy = message.locks.len() == 1 && message.locks[0].is_dummy();
        let received = received + if dummy { 0 } else { message.locks.len() as u32 };
        if received < message.total || !message.flags.contains(MigFlags::ALL_DONE) {
            self.migrations.insert(name, Migration::Receiving { old: from, received });
            return 0;
        }
        self.tables.resources[key].refmap.insert(from);
        let outstanding = self.others().without(from);
        self.migrations.insert(name, Migration::Announcing { old: from, outstanding });
        for node in outstanding.iter() {
            self.send_migrate_request(node, name, from);
        }
        if outstanding.is_empty() {
            self.announced(name, from);
        }
        0
    }

    /// Takes over the locks of a message, each once.
    pub(super) fn take_locks(&mut self, key: ResourceKey, message: &MigLockres) {
        let name = message.name;
        let recovery = message.flags.contains(MigFlags::RECOVERY);
        for entry in &message.locks {
            let node = entry.node;
            if entry.is_dummy() {
                self.tables.resources[key].refmap.insert(node);
                continue;
            }
            let all = [Queue::Granted, Queue::Converting, Queue::Blocked];
            let known = self.tables.find_lock(key, &all, entry.cookie, node);
            if node == self.me {
                // Our place among the others, as the old master had it.
                match known {
                    Some(own) if !recovery => {
                        if self.tables.lock(own).queue == Some(entry.queue) {
                            self.tables.enqueue(own, entry.queue);
                        }
                        // A kernel takes the value from others' locks only, and loses it where it is
                        // the last reader.
                        let lock = self.tables.lock(own);
                        let reads = lock.mode >= LockMode::PR && lock.queue != Some(Queue::Blocked);
                        let resource = &mut self.tables.resources[key];
                        if reads && resource.lvb() == [0; 64] {
                            resource.set_lvb(&message.lvb);
                        }
                    }
                    _ => {
                        self.contradiction("a lock of ours comes that we do not have", Some(&name))
                    }
                }
                continue;
            }
            let Some(mode) = entry.mode else {
                self.contradiction("a lock comes without a mode", Some(&name));
                continue;
            };
            if !self.members.contains(node) {
                self.take_lock_of_the_dead(key, node, mode, entry.queue);
                continue;
            }
            if entry.highest_blocked.is_some()
                || (entry.convert.is_some() && entry.queue != Queue::Converting)
                || known.is_some()
            {
                if known.is_none() {
                    self.contradiction("a lock comes in a state that cannot be", Some(&name));
                }
                continue;
            }
            if entry.queue == Queue::Granted && !self.is_grantable(key, None, mode) {
                // Not always a fault: the dead master may have granted the one on a downconversion or
                // unlock whose answer the other never had.
                tracing::warn!(%name, %node, ?mode, "a lock comes that conflicts with another's");
            }
            let has_value =
                mode > LockMode::NL && entry.queue != Queue::Blocked && message.lvb != [0; 64];
            let writes = entry.lvb_flags.contains(LvbFlags::PUT);
            if has_value {
                let resource = &mut self.tables.resources[key];
                let own = resource.lvb();
                if own != [0; 64] && own != message.lvb && !writes {
                    self.contradiction("holders have different values", Some(&name));
                } else {
                    resource.set_lvb(&message.lvb);
                }
            }
            let mut lock = Lock::new(key, entry.cookie, node, mode);
            lock.convert = entry.convert;
            lock.get = entry.lvb_flags.contains(LvbFlags::GET);
            if writes {
                lock.put = Self::copy_of(&message.lvb);
            }
            let down = recovery
                && entry.queue == Queue::Converting
                && entry.convert.is_some_and(|convert| convert < mode);
            let lock = self.tables.add_lock(lock);
            if down {
                self.tables.enqueue_first(lock, entry.queue);
            } else {
                self.tables.enqueue(lock, entry.queue);
            }
            self.tables.resources[key].refmap.insert(node);
        }
    }

    /// A lock whose node is known to be dead here, and was not yet where it comes from.
    fn take_lock_of_the_dead(
        &mut self,
        key: ResourceKey,
        dead: NodeId,
        mode: LockMode,
        queue: Queue,
    ) {
        let pending = self.recovery.pending().contains(dead);
        let resource = &mut self.tables.resources[key];
        if pending {
            resource.rare_mut().awaits.insert(dead);
            resource.state.insert(State::RECOVERY_WAITING);
        }
        if mode == LockMode::EX && queue != Queue::Blocked {
            resource.set_lvb(&[0; 64]);
        }
    }

    fn send_migrate_request(&mut self, node: NodeId, name: LockName, old: NodeId) {
        let mut payload = Vec::new();
        MigrateRequest { old_master: old, new_master: self.me, name }.encode(&mut payload);
        let call = Call::MigrateRequest { node, name };
        self.send(node, MessageType::MigrateRequest, payload, call);
    }

    pub(super) fn migrate_request_again(&mut self, node: NodeId, name: LockName) {
        if let Some(Migration::Announcing { old, outstanding }) = self.migrations.get(&name)
            && outstanding.contains(node)
        {
            let old = *old;
            self.send_migrate_request(node, name, old);
        }
    }

    pub(super) fn migrate_request_done(
        &mut self,
        node: NodeId,
        name: LockName,
        result: Result<i32, CallError>,
    ) {
        if result == Ok(-ENOMEM) {
            self.after(AGAIN_MS, Timer::MigrateAgain { node, name });
            return;
        }
        let Some(Migration::Announcing { old, outstanding }) = self.migrations.get_mut(&name)
        else {
            return;
        };
        let old = *old;
        outstanding.remove(node);
        let over = outstanding.is_empty();
        if result == Ok(MASTERY_REF)
            && let Some(key) = self.tables.find(&name)
        {
            self.tables.resources[key].refmap.insert(node);
        }
        if over {
            self.announced(name, old);
        }
    }

    fn announced(&mut self, name: LockName, old: NodeId) {
        self.migrations.insert(name, Migration::Asserting);
        let others = self.others().without(old);
        let then = AfterAssert::MigratedHere { old };
        self.assert_mastery(name, AssertFlags::FINISH_MIGRATION, others, then);
    }

    pub(super) fn tell_old_master(&mut self, name: LockName, old: NodeId) {
        let mut to = NodeMap::EMPTY;
        to.insert(old);
        let then = AfterAssert::MigrationOver;
        self.assert_mastery(name, AssertFlags::FINISH_MIGRATION, to, then);
    }

    pub(super) fn migrated_here(&mut self, name: LockName) {
        self.migrations.remove(&name);
        self.counters.migrated += 1;
        if let Some(key) = self.tables.find(&name) {
            let resource = &mut self.tables.resources[key];
            resource.state.remove(State::MIGRATING);
            self.request_cleanup(name);
            self.wake(key);
        }
    }

    /// Its owner was found dead before the news came that it had given it away, or was in doubt: there
    /// is nothing to recover. Whether that is so.
    fn had_moved(&mut self, key: ResourceKey, old: NodeId) -> bool {
        let resource = &mut self.tables.resources[key];
        let claimed = resource.owner.is_none_or(|owner| owner == old || owner == self.me);
        let doubted = self.doubts.contains_key(&resource.name);
        if !doubted && (self.members.contains(old) || !claimed) {
            return false;
        }
        resource.owner = Some(old);
        resource.state.remove(State::RECOVERING);
        self.forget_foreign_locks(key);
        true
    }

    pub(super) fn forget_foreign_locks(&mut self, key: ResourceKey) {
        let resource = &mut self.tables.resources[key];
        resource.refmap = NodeMap::EMPTY;
        let foreign: Vec<LockKey> = resource.locks().collect();
        for key in foreign {
            if self.tables.lock(key).node != self.me {
                self.tables.remove_lock(key);
            }
        }
    }

    /// A resource moves between two other nodes (`dlm_migrate_request_handler`).
    pub(super) fn on_migrate_request(&mut self, message: MigrateRequest) -> i32 {
        let MigrateRequest { old_master: old, new_master: new, name } = message;
        if !self.is_fully_joined() || !self.members.contains(new) {
            return 0;
        }
        if old == self.me {
            return -EEXIST;
        }
        let found = self
            .tables
            .find(&name)
            .filter(|&key| !self.tables.resources[key].state.contains(State::DROPPING_REF));
        let mut reply = 0;
        if let Some(key) = found {
            let resource = &self.tables.resources[key];
            let recovering = resource.state.contains(State::RECOVERING);
            if recovering && self.had_moved(key, old) {
                self.doubts.remove(&name);
            } else if recovering || self.tables.resources[key].owner == Some(self.me) {
                return -EINVAL;
            }
            self.tables.resources[key].state.insert(State::MIGRATING);
        }
        if let Some(mle) = self.mles.remove(&name) {
            match mle.kind {
                MleKind::Migration { .. } => {
                    self.contradiction("a name moves twice at once", Some(&name));
                }
                MleKind::Master => {
                    if let Some(key) = found {
                        self.add_mle(name, mle);
                        self.owner_found(key, old);
                        reply = MASTERY_REF;
                    }
                }
                MleKind::Block => {
                    if let Some(key) = found {
                        self.owner_found(key, old);
                    }
                }
            }
        }
        let mut mle = Mle::new(MleKind::Migration { old, new });
        mle.maybe.insert(new);
        self.add_mle(name, mle);
        reply
    }
}
