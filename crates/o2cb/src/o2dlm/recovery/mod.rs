//! Recovery: what a dead member mastered gets a new master (`fs/ocfs2/dlm/dlmrecovery.c`).
//!
//! One dead node at a time, lowest number first. Whoever gets `$RECOVERY` exclusively drives it: it
//! tells the members (BEGIN_RECO), collects their locks on what the dead node mastered
//! (LOCK_REQUEST, MIG_LOCKRES, RECO_DATA_DONE), and makes itself the master of all that in two stages
//! (FINALIZE_RECO).

mod collect;

use std::collections::BTreeMap;

use self::collect::{Sending, Unclaimed};
use super::domain::{Call, CallError, Domain, EAGAIN, Timer};
use super::message::{
    BeginReco, FinalizeReco, LkmFlags, LockMode, LockName, MessageType, MigFlags, Queue, Status,
};
use super::resource::{LockKey, Operation, ResourceKey, State, Waiter};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, NodeMap};

/// How long after losing the election it is tried again, if nobody announced itself, in milliseconds.
const ELECTION_AGAIN_MS: u64 = 1000;

/// The pause before a message is sent again, in milliseconds.
const AGAIN_MS: u64 = 100;

/// Recovery as this node sees it.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Dead members that have not been recovered.
    pending: NodeMap,
    /// Dead members whose users have not been told, where recovery waits for that.
    untold: NodeMap,
    waits_for_users: bool,
    /// The one being recovered.
    dead: Option<NodeId>,
    /// Who drives it.
    master: Option<NodeId>,
    /// This node drives, or tries to; local users wait.
    active: bool,
    /// Votes wait until no dead member is pending.
    votes_wait: bool,
    /// As a member: stage 1 of finalization was seen. As the master: it has begun.
    finalize: bool,
    phase: Phase,
    /// As a member: what stage 1 gave to the recovery master. It may have told only some of us.
    handed: Vec<LockName>,
    /// The locks of this node that are on their way to the recovery master.
    sending: Option<Sending>,
    /// Locks on resources whose sender did not know the owner, until every member said whether it is
    /// the one.
    unclaimed: BTreeMap<LockName, Unclaimed>,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// `$RECOVERY` was asked for.
    Electing,
    /// Somebody else has it, or its owner died: it is tried again later.
    Waiting,
    /// We drive: members that have not heard of it, and our `$RECOVERY`.
    Beginning { outstanding: NodeMap, lock: LockKey },
    /// Members whose locks have not all come.
    Collecting { outstanding: NodeMap },
    /// Members that have not answered a stage.
    Finalizing { outstanding: NodeMap, stage2: bool },
}

impl Recovery {
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn pending(&self) -> NodeMap {
        self.pending
    }

    pub(super) fn wait_for_users(&mut self) {
        self.waits_for_users = true;
    }

    /// That of a node that is a member of nothing yet.
    pub(super) fn anew(&self) -> Recovery {
        Recovery {
            waits_for_users: self.waits_for_users && !planted(Mutant::JoinForgetsUsers),
            ..Recovery::default()
        }
    }

    pub(super) fn users_told(&mut self, node: NodeId) {
        self.untold.remove(node);
    }

    pub(super) fn votes_wait(&mut self) {
        self.votes_wait = true;
    }

    /// The one being recovered.
    pub(super) fn dead(&self) -> Option<NodeId> {
        self.dead
    }

    /// Who drives it.
    pub(super) fn master(&self) -> Option<NodeId> {
        self.master
    }

    /// Members that this node, which drives it, waits for.
    pub(super) fn outstanding(&self) -> NodeMap {
        match self.phase {
            Phase::Beginning { outstanding, .. }
            | Phase::Collecting { outstanding }
            | Phase::Finalizing { outstanding, .. } => outstanding,
            Phase::Idle | Phase::Electing | Phase::Waiting => NodeMap::EMPTY,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }
}

impl Domain {
    /// Goes on with what can go on; called at the end of every input.
    pub(super) fn drive_recovery(&mut self) {
        self.leave_if_empty();
        while self.is_fully_joined()
            && self.doubts.is_empty()
            && matches!(self.recovery.phase, Phase::Idle)
        {
            let recovery = &mut self.recovery;
            if recovery.master.is_some_and(|master| recovery.pending.contains(master))
                && !planted(Mutant::StaleRecoveryMaster)
            {
                recovery.master = None;
            }
            if recovery.dead.is_none_or(|dead| !recovery.pending.contains(dead)) {
                recovery.dead = recovery.pending.lowest();
                recovery.master = recovery.master.filter(|_| recovery.dead.is_some());
            }
            if !recovery.untold.is_empty() {
                return;
            }
            if recovery.dead.is_none() || recovery.master.is_some() {
                self.recovery_calm();
                return;
            }
            self.elect();
        }
        self.collected_if_done();
    }

    /// This node does not drive: local users go on.
    fn recovery_calm(&mut self) {
        self.recovery.active = false;
        let waiters: Vec<Waiter> = std::mem::take(&mut self.recovery_waiters);
        for waiter in waiters {
            self.resume(waiter);
        }
        if !self.recovery.is_pending() && std::mem::take(&mut self.recovery.votes_wait) {
            self.votes_go_on();
        }
    }

    fn elect(&mut self) {
        self.recovery.active = true;
        self.recovery.phase = Phase::Electing;
        let flags = LkmFlags::NOQUEUE | LkmFlags::RECOVERY;
        self.begin_create(LockName::RECOVERY, LockMode::EX, flags);
    }

    pub(super) fn election_due(&mut self) {
        if matches!(self.recovery.phase, Phase::Waiting) {
            self.recovery.phase = Phase::Idle;
        }
    }

    fn election_later(&mut self, millis: u64) {
        self.recovery.phase = Phase::Waiting;
        self.after(millis, Timer::Election);
    }

    /// The outcome of our request for `$RECOVERY`, for which no AST ever comes.
    pub(super) fn recovery_lock_answered(&mut self, lock: LockKey, status: Status) {
        self.tables.lock_mut(lock).operation = None;
        if !matches!(self.recovery.phase, Phase::Electing) {
            self.give_up_recovery_lock(lock, status == Status::Normal);
            return;
        }
        match status {
            Status::Normal => {
                let recovery = &self.recovery;
                let others_turn = recovery
                    .master
                    .is_some_and(|master| master != self.me && !recovery.pending.contains(master));
                match recovery.dead.filter(|dead| recovery.pending.contains(*dead)) {
                    Some(dead) if !others_turn => self.begin_recovery(lock, dead),
                    _ => {
                        self.recovery.phase = Phase::Idle;
                        self.give_up_recovery_lock(lock, true);
                    }
                }
            }
            Status::NotQueued => {
                self.give_up_recovery_lock(lock, false);
                self.election_later(ELECTION_AGAIN_MS);
            }
            _ => {
                self.give_up_recovery_lock(lock, false);
                self.election_later(AGAIN_MS);
            }
        }
    }

    fn give_up_recovery_lock(&mut self, lock: LockKey, granted: bool) {
        // (It is on no queue if its owner died.)
        if granted && self.tables.lock(lock).queue.is_some() {
            let cookie = self.tables.lock(lock).cookie;
            self.tables.lock_mut(lock).operation = Some(Operation::Unlock { put: None });
            self.advance(lock, cookie);
        } else {
            self.tables.remove_lock(lock);
        }
    }

    fn begin_recovery(&mut self, lock: LockKey, dead: NodeId) {
        self.recovery.master = Some(self.me);
        let outstanding = self.others().without(dead);
        self.recovery.phase = Phase::Beginning { outstanding, lock };
        tracing::info!(domain = %self.config.name, %dead, "recovering for a dead node");
        for node in outstanding.iter() {
            self.send_begin_reco(node, dead);
        }
        self.begun_if_answered();
    }

    fn send_begin_reco(&mut self, node: NodeId, dead: NodeId) {
        let mut payload = Vec::new();
        BeginReco { node: self.me, dead }.encode(&mut payload);
        self.send(node, MessageType::BeginReco, payload, Call::BeginReco { node, dead });
    }

    pub(super) fn begin_reco_again(&mut self, node: NodeId, dead: NodeId) {
        if let Phase::Beginning { outstanding, .. } = self.recovery.phase
            && outstanding.contains(node)
            && self.recovery.dead == Some(dead)
        {
            self.send_begin_reco(node, dead);
        }
    }

    pub(super) fn begin_reco_done(
        &mut self,
        node: NodeId,
        dead: NodeId,
        result: Result<i32, CallError>,
    ) {
        let Phase::Beginning { outstanding, .. } = &mut self.recovery.phase else { return };
        match result {
            Ok(0) | Err(CallError::NoHandler) => {
                outstanding.remove(node);
                self.begun_if_answered();
            }
            // A member that still finishes the recovery before, or one that dies next.
            Ok(_) | Err(_) => self.after(AGAIN_MS, Timer::BeginRecoAgain { node, dead }),
        }
    }

    fn begun_if_answered(&mut self) {
        let Phase::Beginning { outstanding, lock } = self.recovery.phase else { return };
        let Some(dead) = self.recovery.dead.filter(|_| outstanding.is_empty()) else { return };
        let outstanding = self.others();
        self.recovery.phase = Phase::Collecting { outstanding };
        self.give_up_recovery_lock(lock, true);
        for node in outstanding.iter() {
            self.send_lock_request(node, dead);
        }
        self.collected_if_done();
    }

    fn send_stage(&mut self, stage2: bool) {
        let Some(dead) = self.recovery.dead else { return };
        let outstanding = self.others();
        self.recovery.phase = Phase::Finalizing { outstanding, stage2 };
        for node in outstanding.iter() {
            let mut payload = Vec::new();
            FinalizeReco { node: self.me, dead, stage2 }.encode(&mut payload);
            let call = Call::Finalize { node, stage2 };
            self.send(node, MessageType::FinalizeReco, payload, call);
        }
        self.stage_over_if_answered();
    }

    pub(super) fn finalize_done(
        &mut self,
        node: NodeId,
        stage: bool,
        result: Result<i32, CallError>,
    ) {
        if let Ok(status) = result
            && status != 0
        {
            self.counters.bad_replies += 1;
        }
        if let Phase::Finalizing { outstanding, stage2 } = &mut self.recovery.phase
            && *stage2 == stage
        {
            outstanding.remove(node);
            self.stage_over_if_answered();
        }
    }

    fn stage_over_if_answered(&mut self) {
        let Phase::Finalizing { outstanding, stage2 } = self.recovery.phase else { return };
        if !outstanding.is_empty() {
            return;
        }
        if !stage2 {
            self.send_stage(true);
            return;
        }
        if let Some(dead) = self.recovery.dead {
            self.give_owner(dead, self.me);
        }
        self.recovery_over();
    }

    /// Everything that the dead node mastered has a master again.
    fn give_owner(&mut self, dead: NodeId, owner: NodeId) {
        let still_dead = self.recovery.pending.without(dead);
        let keys: Vec<ResourceKey> = self.tables.resources.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(resource) = self.tables.resources.get_mut(key) else { continue };
            // (The kernel waits for the first dead node only, whoever it was.)
            let waited = resource
                .rare()
                .is_some_and(|rare| rare.awaits.remove(dead) && rare.awaits.is_empty());
            if waited {
                resource.state.remove(State::RECOVERY_WAITING);
            }
            // The recovery master owns since it has heard from the first member.
            let recovered = resource.state.contains(State::RECOVERING)
                && (resource.owner == Some(dead)
                    || (owner == self.me && resource.owner == Some(owner)));
            if recovered {
                resource.owner = Some(owner);
                if let Some(rare) = resource.rare() {
                    rare.moved_from = NodeMap::EMPTY;
                }
                resource.state.remove(State::RECOVERING);
                self.recovery.handed.push(resource.name);
                if owner == self.me {
                    self.counters.recovered += 1;
                    // Whoever died since had no chance to say what it held.
                    if !still_dead.is_empty() || resource.rare().is_some() {
                        resource.rare_mut().awaits = still_dead;
                    }
                    resource.state.set(State::RECOVERY_WAITING, !still_dead.is_empty());
                    self.value_from_own_locks(key);
                    self.own_down_conversions_first(key);
                }
                self.unlocks_died(key);
            }
            if recovered || waited {
                let name = self.tables.resources[key].name;
                self.request_cleanup(name);
                if !planted(Mutant::FinalizedWithoutWaking) {
                    self.wake(key);
                }
            }
        }
    }

    /// The value that our own locks know, if nobody else's told it.
    fn value_from_own_locks(&mut self, key: ResourceKey) {
        let owner = Some(self.me);
        let message = self.lock_state(key, MigFlags::RECOVERY, owner);
        let resource = &mut self.tables.resources[key];
        if resource.lvb() == [0; 64]
            && let Some(message) = message.first()
        {
            resource.set_lvb(&message.lvb);
        }
    }

    /// As those of others come: what the dead node may have granted already waits for nobody.
    fn own_down_conversions_first(&mut self, key: ResourceKey) {
        let down: Vec<LockKey> = self.tables.resources[key]
            .converting
            .iter()
            .copied()
            .filter(|&key| {
                let lock = self.tables.lock(key);
                lock.node == self.me && lock.convert.is_some_and(|mode| mode < lock.mode)
            })
            .collect();
        for key in down {
            self.tables.enqueue_first(key, Queue::Converting);
        }
    }

    fn recovery_over(&mut self) {
        if let Some(dead) = self.recovery.dead {
            self.recovery.pending.remove(dead);
        }
        self.recovery.dead = None;
        self.recovery.master = None;
        self.recovery.finalize = false;
        self.recovery.sending = None;
        self.recovery.unclaimed.clear();
        self.recovery.handed.clear();
        if !matches!(self.recovery.phase, Phase::Electing | Phase::Waiting) {
            self.recovery.phase = Phase::Idle;
        }
    }

    /// Another node drives the recovery of a dead one (`dlm_begin_reco_handler`).
    pub(super) fn on_begin_reco(&mut self, message: BeginReco) -> i32 {
        let BeginReco { node, dead } = message;
        let takes_part = self.is_fully_joined() || self.is_asserting_join();
        if !takes_part || !self.members.contains(node) {
            return 0;
        }
        if self.recovery.finalize {
            return -EAGAIN;
        }
        if dead == self.me || dead == node {
            self.contradiction("a node wants to recover for one that lives", None);
            return 0;
        }
        if self.members.contains(dead) {
            // The heartbeat will say so here too.
            self.member_died(dead);
        } else {
            self.recovery.pending.insert(dead);
        }
        self.recovery.master = Some(node);
        self.recovery.dead = Some(dead);
        self.recovery.sending = None;
        if matches!(self.recovery.phase, Phase::Waiting) {
            self.recovery.phase = Phase::Idle;
        }
        0
    }

    /// The recovery master has finished (`dlm_finalize_reco_handler`).
    pub(super) fn on_finalize(&mut self, message: FinalizeReco) -> i32 {
        let FinalizeReco { node, dead, stage2 } = message;
        // The last words of a recovery master that is dead: there is another one, or will be.
        if !self.members.contains(node) {
            return 0;
        }
        if self.recovery.master != Some(node)
            || self.recovery.dead != Some(dead)
            || self.recovery.finalize != stage2
        {
            self.contradiction("a recovery is finalized that is not under way", None);
            return 0;
        }
        if stage2 {
            self.recovery_over();
        } else {
            self.recovery.finalize = true;
            self.give_owner(dead, node);
        }
        0
    }

    /// Recovery's part of a member's death.
    pub(super) fn recovery_member_died(&mut self, node: NodeId) {
        let recovery = &mut self.recovery;
        let was_master = recovery.master == Some(node);
        if was_master && recovery.finalize {
            // Its work was done, if everybody knows.
            let handed = std::mem::take(&mut recovery.handed);
            self.recovery_over();
            for name in handed {
                if let Some(key) = self.tables.find(&name)
                    && self.tables.resources[key].owner == Some(node)
                {
                    self.doubt(key, node);
                }
            }
        } else if was_master && !planted(Mutant::StaleRecoveryMaster) {
            recovery.master = None;
            recovery.sending = None;
        }
        self.recovery.pending.insert(node);
        if self.recovery.waits_for_users && !planted(Mutant::UsersToldLate) {
            self.recovery.untold.insert(node);
        }
        self.recovery_node_gone(node);
    }

    /// A dead member turns out to own something still.
    pub(super) fn recover_again(&mut self, dead: NodeId) {
        self.recovery.pending.insert(dead);
    }

    /// A member died or left: nothing is to come from it.
    pub(super) fn recovery_node_gone(&mut self, node: NodeId) {
        match &mut self.recovery.phase {
            Phase::Beginning { outstanding, .. } => {
                outstanding.remove(node);
                self.begun_if_answered();
            }
            Phase::Finalizing { outstanding, .. } => {
                outstanding.remove(node);
                self.stage_over_if_answered();
            }
            _ => {}
        }
        self.nothing_more_from(node);
        let unclaimed: Vec<LockName> = self.recovery.unclaimed.keys().copied().collect();
        for name in unclaimed {
            self.recovery_requery_done(name, node, Ok(255));
        }
    }
}
