//! Assertions: the master of a name tells the others (`fs/ocfs2/dlm/dlmmaster.c: dlm_do_assert_master`).

use super::domain::{Call, CallError, Domain};
use super::mastery::MleKind;
use super::message::{AssertFlags, AssertMaster, DerefDone, LockName, MessageType};
use super::resource::State;
use crate::mutants::{Mutant, planted};
use crate::{NodeId, NodeMap};

/// Bits of the reply.
const REASSERT: i32 = 0x1;
const MASTERY_REF: i32 = 0x2;

/// One round: every target is told, and has answered, before it is over.
#[derive(Clone, Debug)]
pub(super) struct AssertRound {
    name: LockName,
    flags: AssertFlags,
    targets: NodeMap,
    outstanding: NodeMap,
    /// Somebody had asked others before it heard of us: their entries need another round.
    again: bool,
    then: AfterAssert,
}

/// What a round is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterAssert {
    Nothing,
    /// We have just become the master: the resource can be used.
    Mastered,
    /// It was migrated here, and all but the old master know.
    MigratedHere {
        old: NodeId,
    },
    /// The old master knows too.
    MigrationOver,
}

impl Domain {
    pub(super) fn assert_mastery(
        &mut self,
        name: LockName,
        flags: AssertFlags,
        targets: NodeMap,
        then: AfterAssert,
    ) {
        let Some(key) = self.tables.find(&name) else { return };
        self.tables.resources[key].asserting += 1;
        let round =
            AssertRound { name, flags, targets, outstanding: NodeMap::EMPTY, again: false, then };
        let round = self.rounds.insert(round);
        self.begin_round(round);
    }

    fn begin_round(&mut self, number: usize) {
        let members = self.members;
        let round = &mut self.rounds[number];
        round.again = false;
        round.outstanding = round.targets.iter().filter(|&node| members.contains(node)).collect();
        let (name, flags, targets) = (round.name, round.flags, round.outstanding);
        for node in targets.iter() {
            let mut payload = Vec::new();
            AssertMaster { node: self.me, flags, name }.encode(&mut payload);
            let call = Call::Assert { node, round: number };
            self.send(node, MessageType::AssertMaster, payload, call);
        }
        if targets.is_empty() {
            self.round_over(number);
        }
    }

    pub(super) fn assert_done(
        &mut self,
        node: NodeId,
        number: usize,
        result: Result<i32, CallError>,
    ) {
        let Some(round) = self.rounds.get_mut(number) else { return };
        round.outstanding.remove(node);
        let name = round.name;
        match result {
            Ok(bits) if bits < 0 => {
                // "Kill": the kernel obeys and crashes. Whoever says so knows another master.
                self.contradiction("a node refuses our mastery", Some(&name));
            }
            Ok(bits) => {
                round.again |= bits & REASSERT != 0;
                if bits & MASTERY_REF != 0
                    && !planted(Mutant::ReferenceNotCounted)
                    && self.members.contains(node)
                    && let Some(key) = self.tables.find(&name)
                {
                    let resource = &mut self.tables.resources[key];
                    resource.refmap.insert(node);
                    resource.unused_since = None;
                }
            }
            Err(_) => {}
        }
        let round = &self.rounds[number];
        if round.outstanding.is_empty() {
            if round.again { self.begin_round(number) } else { self.round_over(number) }
        }
    }

    fn round_over(&mut self, number: usize) {
        let AssertRound { name, then, .. } = self.rounds.remove(number);
        let Some(key) = self.tables.find(&name) else { return };
        let resource = &mut self.tables.resources[key];
        resource.asserting -= 1;
        if resource.asserting == 0 {
            let owed = resource.rare().map(|rare| std::mem::take(&mut rare.deref_owed));
            for node in owed.unwrap_or_default().iter() {
                self.tables.resources[key].refmap.remove(node);
                let mut payload = Vec::new();
                DerefDone { node: self.me, name }.encode(&mut payload);
                self.send(node, MessageType::DerefDone, payload, Call::Notice);
            }
        }
        match then {
            AfterAssert::Nothing => {}
            AfterAssert::Mastered => {
                self.tables.resources[key].state.remove(State::IN_PROGRESS);
                // (An earlier search may owe it, whose owner died.)
                self.request_cleanup(name);
                self.wake(key);
            }
            AfterAssert::MigratedHere { old } => self.tell_old_master(name, old),
            AfterAssert::MigrationOver => self.migrated_here(name),
        }
        if self.tables.resources.contains(key) {
            self.migration_may_go_on(name);
            self.dirty(key);
        }
    }

    /// A node that is gone answers no assertion. (Its connection's loss completes most; this is for a
    /// target that was never reached.)
    pub(super) fn on_assert_master(&mut self, message: AssertMaster) -> i32 {
        let AssertMaster { node: asserter, flags, name } = message;
        if !self.is_fully_joined() || !self.members.contains(asserter) {
            return 0;
        }
        let mle = self.mles.get(&name);
        let kind = mle.map(|mle| mle.kind);
        if matches!(kind, Some(MleKind::Migration { .. }))
            && !flags.intersects(AssertFlags::MLE_CLEANUP | AssertFlags::FINISH_MIGRATION)
        {
            return 0;
        }
        let found = self
            .tables
            .find(&name)
            .filter(|&key| !self.tables.resources[key].state.contains(State::DROPPING_REF));
        if let Some(key) = found {
            let resource = &self.tables.resources[key];
            if resource.state.contains(State::RECOVERING) {
                self.contradiction("a name under recovery is asserted", Some(&name));
                return 0;
            }
            match (kind, resource.owner) {
                (Some(MleKind::Migration { new, .. }), _) if new != asserter => {
                    self.contradiction(
                        "another node than the migration's target asserts",
                        Some(&name),
                    );
                    return 0;
                }
                (Some(MleKind::Migration { .. }), _) | (_, None) => {}
                (_, Some(owner)) if owner == asserter => {}
                (_, Some(owner)) if owner != self.me && resource.may_be_forgotten() => {}
                // The master that we know is dead, or this is the late word of one that is. Which of them, we
                // shall hear, and look for the master again if it was ours.
                (_, Some(owner)) if owner != self.me && name.is_recovery() => {
                    if kind == Some(MleKind::Block) {
                        self.mles.remove(&name);
                    }
                    return 0;
                }
                (_, Some(_)) => {
                    self.contradiction("two nodes master one name", Some(&name));
                    return 0;
                }
            }
        }
        let Some(kind) = kind else {
            // It asserts once more. A resource that has no owner yet, or one that has forgotten it, waits
            // for the end of a migration, and learns it here.
            if let Some(key) = found
                && self.tables.resources[key].owner != Some(asserter)
            {
                self.owner_found(key, asserter);
                return MASTERY_REF;
            }
            return 0;
        };
        let mut reply = 0;
        if self.mles[&name].needs_reassert(asserter) {
            reply |= REASSERT;
        }
        match (found, kind) {
            (Some(key), MleKind::Migration { old, .. }) => {
                self.mles.remove(&name);
                self.migrated_to(key, old, asserter);
                reply |= MASTERY_REF;
            }
            (Some(key), _) => {
                self.owner_found(key, asserter);
                if flags.contains(AssertFlags::FINISH_MIGRATION) {
                    // We joined while it moved, and were not told from where.
                    let before = self.others().without(asserter);
                    self.tables.resources[key].rare_mut().moved_from = before;
                }
                reply |= MASTERY_REF;
            }
            (None, _) => {
                self.mles.remove(&name);
            }
        }
        reply
    }
}
