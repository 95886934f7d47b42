//! Locks on what a dead node mastered, on their way from the members to the recovery master.

use super::{AGAIN_MS, Phase};
use crate::mutants::{Mutant, planted};
use crate::o2dlm::domain::{Call, CallError, Domain, EINVAL, ENOMEM, Timer};
use crate::o2dlm::mastery::MleKind;
use crate::o2dlm::message::{
    LockName, LockRequest, MasterRequery, MessageType, MigFlags, MigLockres, RecoDataDone,
};
use crate::o2dlm::resource::{ResourceKey, State};
use crate::{NodeId, NodeMap};

/// How many messages with locks are on their way to the recovery master at once.
const LOCKRES_WINDOW: usize = 64;

/// The locks of this node, as they are sent.
#[derive(Debug)]
pub(super) struct Sending {
    /// Tells what is on its way from what an earlier request of a recovery master set off.
    number: u64,
    to: NodeId,
    dead: NodeId,
    /// In reverse order.
    rest: Vec<ResourceKey>,
    /// Messages of the resource being sent, in reverse order.
    messages: Vec<MigLockres>,
    outstanding: usize,
}

/// Locks on a resource whose sender did not know the owner.
#[derive(Debug)]
pub(super) struct Unclaimed {
    outstanding: NodeMap,
    claimed: bool,
    messages: Vec<MigLockres>,
}

impl Domain {
    pub(super) fn send_lock_request(&mut self, node: NodeId, dead: NodeId) {
        let mut payload = Vec::new();
        LockRequest { node: self.me, dead }.encode(&mut payload);
        self.send(node, MessageType::LockRequest, payload, Call::LockRequest { node, dead });
    }

    pub(in crate::o2dlm) fn lock_request_again(&mut self, node: NodeId, dead: NodeId) {
        if let Phase::Collecting { outstanding } = self.recovery.phase
            && outstanding.contains(node)
            && self.recovery.dead == Some(dead)
        {
            self.send_lock_request(node, dead);
        }
    }

    pub(in crate::o2dlm) fn lock_request_done(
        &mut self,
        node: NodeId,
        dead: NodeId,
        result: Result<i32, CallError>,
    ) {
        match result {
            Ok(0) => {}
            // It is not in the domain any more.
            Ok(status) if status == -EINVAL => self.nothing_more_from(node),
            Err(CallError::NoHandler) => self.nothing_more_from(node),
            // While its heartbeat is seen, it may hold what would be granted to others without its
            // locks. (The kernel waits a second, and goes on without.)
            Ok(_) | Err(_) => self.after(AGAIN_MS, Timer::LockRequestAgain { node, dead }),
        }
    }

    pub(super) fn nothing_more_from(&mut self, node: NodeId) {
        if let Phase::Collecting { outstanding } = &mut self.recovery.phase {
            outstanding.remove(node);
            self.collected_if_done();
        }
    }

    pub(in crate::o2dlm) fn collected_if_done(&mut self) {
        let done = matches!(
            self.recovery.phase,
            Phase::Collecting { outstanding }
                if outstanding.is_empty() || planted(Mutant::MembersNotAwaited)
        ) && self.recovery.unclaimed.is_empty()
            && self.doubts.is_empty()
            && !self.recovery.dead.is_some_and(|dead| self.moves_from(dead));
        if done {
            self.recovery.finalize = true;
            self.send_stage(false);
        }
    }

    /// The recovery master wants our locks (`dlm_request_all_locks_handler`).
    pub(in crate::o2dlm) fn on_lock_request(&mut self, message: LockRequest) -> i32 {
        let LockRequest { node, dead } = message;
        // Whoever is granted what the dead node held relies on our users having been told, too.
        let not_yet = !self.doubts.is_empty()
            || self.moves_from(dead)
            || (self.recovery.untold.contains(dead) && !planted(Mutant::LocksBeforeUsers));
        if not_yet || self.recovery.dead != Some(dead) || self.recovery.master != Some(node) {
            return -ENOMEM;
        }
        let keys = self
            .tables
            .resources
            .iter()
            .filter(|(_, resource)| {
                resource.state.contains(State::RECOVERING)
                    && resource.owner.is_none_or(|owner| owner == dead)
                    && !resource.name.is_recovery()
            })
            .map(|(key, _)| key);
        let mut rest: Vec<ResourceKey> = keys.collect();
        rest.reverse();
        let number = self.next_vote();
        self.recovery.sending =
            Some(Sending { number, to: node, dead, rest, messages: Vec::new(), outstanding: 0 });
        self.send_locks();
        0
    }

    fn send_locks(&mut self) {
        while let Some(sending) = &mut self.recovery.sending {
            let (number, to, dead) = (sending.number, sending.to, sending.dead);
            if sending.outstanding >= LOCKRES_WINDOW {
                return;
            }
            if let Some(message) = sending.messages.pop() {
                sending.outstanding += 1;
                let mut payload = Vec::new();
                message.encode(&mut payload);
                let call = Call::RecoLockres { number };
                self.send(to, MessageType::MigLockres, payload, call);
            } else if let Some(key) = sending.rest.pop() {
                let Some(resource) = self.tables.resources.get(key) else { continue };
                let owner = resource.owner;
                if !resource.state.contains(State::RECOVERING) {
                    continue;
                }
                let mut messages = self.lock_state(key, MigFlags::RECOVERY, owner);
                messages.reverse();
                if let Some(sending) = &mut self.recovery.sending {
                    sending.messages = messages;
                }
            } else {
                if sending.outstanding == 0 {
                    self.recovery.sending = None;
                    let mut payload = Vec::new();
                    RecoDataDone { node: self.me, dead }.encode(&mut payload);
                    self.send(to, MessageType::RecoDataDone, payload, Call::DataDone);
                }
                return;
            }
        }
    }

    pub(in crate::o2dlm) fn reco_lockres_done(
        &mut self,
        number: u64,
        result: Result<i32, CallError>,
    ) {
        let sending = self.recovery.sending.as_mut();
        let Some(sending) = sending.filter(|sending| sending.number == number) else { return };
        sending.outstanding -= 1;
        match result {
            Ok(status) if status >= 0 => self.send_locks(),
            // Whoever drives next asks again.
            Ok(_) | Err(_) => self.recovery.sending = None,
        }
    }

    pub(in crate::o2dlm) fn data_done_answered(&mut self, result: Result<i32, CallError>) {
        if let Ok(status) = result
            && status != 0
        {
            self.counters.bad_replies += 1;
        }
    }

    /// Locks of a member on a resource that the dead node mastered.
    pub(in crate::o2dlm) fn on_reco_lockres(&mut self, from: NodeId, message: MigLockres) -> i32 {
        let collecting = matches!(self.recovery.phase, Phase::Collecting { outstanding }
            if outstanding.contains(from));
        let Some(dead) = self.recovery.dead.filter(|_| collecting) else {
            return -EINVAL;
        };
        match message.owner {
            Some(owner) if owner == dead => {
                self.take_recovered(&message);
                0
            }
            Some(_) => {
                self.contradiction("locks of another recovery come", Some(&message.name));
                -EINVAL
            }
            None => {
                self.requery_all(from, message);
                0
            }
        }
    }

    fn take_recovered(&mut self, message: &MigLockres) {
        let name = message.name;
        let moves = self.mles.get(&name).map(|mle| mle.kind);
        if matches!(moves, Some(MleKind::Migration { .. })) {
            // It had moved on before its owner died; the sender will hear.
            return;
        }
        let key = self.tables.find(&name).unwrap_or_else(|| self.tables.add_resource(name));
        let resource = &mut self.tables.resources[key];
        if resource.owner.is_some_and(|owner| self.members.contains(owner))
            && !resource.state.contains(State::RECOVERING)
        {
            self.contradiction("a name is recovered that has a living master", Some(&name));
            return;
        }
        resource.state.remove(State::DROPPING_REF);
        if resource.owner.is_none() {
            // Our own search ends here; whom we had asked is told when recovery is over.
            resource.state.remove(State::IN_PROGRESS);
            if self.mles.remove(&name).is_some() {
                resource.state.insert(State::CLEANUP_OWED);
            }
        }
        resource.owner = Some(self.me);
        resource.state.insert(State::RECOVERING);
        resource.unused_since = None;
        self.take_locks(key, message);
    }

    /// The sender did not know the owner: whoever knows says so.
    fn requery_all(&mut self, from: NodeId, message: MigLockres) {
        let name = message.name;
        if let Some(unclaimed) = self.recovery.unclaimed.get_mut(&name) {
            unclaimed.messages.push(message);
            return;
        }
        let outstanding = self.others().without(from);
        let unclaimed = Unclaimed { outstanding, claimed: false, messages: vec![message] };
        self.recovery.unclaimed.insert(name, unclaimed);
        for node in outstanding.iter() {
            let mut payload = Vec::new();
            MasterRequery { node: self.me, name }.encode(&mut payload);
            self.send(node, MessageType::MasterRequery, payload, Call::Requery { name, node });
        }
        self.claimed_if_answered(name);
    }

    pub(in crate::o2dlm) fn recovery_requery_done(
        &mut self,
        name: LockName,
        node: NodeId,
        result: Result<i32, CallError>,
    ) {
        let members = self.members;
        let Some(unclaimed) = self.recovery.unclaimed.get_mut(&name) else { return };
        unclaimed.outstanding.remove(node);
        let owner = result.ok().and_then(|owner| u8::try_from(owner).ok()).and_then(NodeId::new);
        unclaimed.claimed |= owner.is_some_and(|owner| members.contains(owner));
        self.claimed_if_answered(name);
    }

    fn claimed_if_answered(&mut self, name: LockName) {
        let answered =
            self.recovery.unclaimed.get(&name).is_some_and(|found| found.outstanding.is_empty());
        if answered && let Some(unclaimed) = self.recovery.unclaimed.remove(&name) {
            if !unclaimed.claimed {
                for message in &unclaimed.messages {
                    self.take_recovered(message);
                }
            }
            self.collected_if_done();
        }
    }

    /// A member has sent all its locks (`dlm_reco_data_done_handler`).
    pub(in crate::o2dlm) fn on_data_done(&mut self, message: RecoDataDone) -> i32 {
        if self.recovery.dead != Some(message.dead) || self.recovery.master != Some(self.me) {
            self.contradiction("locks of another recovery are all there", None);
            return -EINVAL;
        }
        self.nothing_more_from(message.node);
        0
    }
}
