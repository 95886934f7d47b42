//! Who masters a name: votes, and the entries that record them
//! (`fs/ocfs2/dlm/dlmmaster.c: dlm_get_lock_resource`).
//!
//! The kernel asks the members one after the other and stops when it has found the master. Here all
//! are asked at once. What a stop saves is an entry, on each node that was asked in vain, that blocks
//! others; an assertion of the master removes it, but may have passed before the question arrived.
//! So whoever asked in vain asks the master once more when every answer is in, and a master answers
//! each question with an assertion to all.

use super::assert::AfterAssert;
use super::domain::{Call, CallError, Domain, Timer};
use super::message::{AssertFlags, LockName, MasterRequery, MasterRequest, MessageType};
use super::resource::{ResourceKey, State};
use crate::{NodeId, NodeMap};

/// Replies to a master request.
const NO: i32 = 0;
const YES: i32 = 1;
const MAYBE: i32 = 2;
const ERROR: i32 = 3;

/// "Owner unknown" in the reply to a requery.
const UNKNOWN: i32 = 255;

/// What this node knows of the search for a name's master (MLE).
#[derive(Clone, Debug)]
pub(super) struct Mle {
    pub(super) kind: MleKind,
    /// Who may become the master.
    pub(super) maybe: NodeMap,
    /// The vote of ours, to tell replies to an earlier one.
    vote: u64,
    asked: NodeMap,
    responded: NodeMap,
    /// Those asked by votes of ours that began anew since.
    asked_before: NodeMap,
    /// A vote that may begin only when no dead node waits to be recovered.
    waits_for_recovery: bool,
    /// Members that have not said yet who owns the recovery lock, before the vote about it begins.
    requery: Option<Requery>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MleKind {
    /// Another node is looking; we do not until it has found.
    Block,
    /// We are looking.
    Master,
    /// The name moves from one node to another.
    Migration { old: NodeId, new: NodeId },
}

impl MleKind {
    /// To index tables of kinds.
    pub(super) const fn index(self) -> usize {
        match self {
            MleKind::Block => 0,
            MleKind::Master => 1,
            MleKind::Migration { .. } => 2,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Requery {
    outstanding: NodeMap,
    /// Somebody names an owner that waits to be recovered.
    owner_is_dead: bool,
}

/// A vote that ended, or began anew, before everybody had answered.
#[derive(Clone, Debug)]
pub(super) struct LateVote {
    name: LockName,
    outstanding: NodeMap,
}

impl Mle {
    pub(super) fn new(kind: MleKind) -> Mle {
        Mle {
            kind,
            maybe: NodeMap::EMPTY,
            vote: 0,
            asked: NodeMap::EMPTY,
            responded: NodeMap::EMPTY,
            asked_before: NodeMap::EMPTY,
            waits_for_recovery: false,
            requery: None,
        }
    }

    /// Those whom the vote under way has asked.
    pub(super) fn asked(&self) -> NodeMap {
        self.asked
    }

    /// Those who have answered it.
    pub(super) fn responded(&self) -> NodeMap {
        self.responded
    }

    /// Whether somebody beside the asserter answered us: another round is due for what we left there.
    pub(super) fn needs_reassert(&self, asserter: NodeId) -> bool {
        let asked = self.responded.union(&self.asked_before);
        self.kind == MleKind::Master && !asked.without(asserter).is_empty()
    }
}

impl Domain {
    /// The resource of a name, for a local operation; begins the search for its master if it is new.
    pub(super) fn lookup(&mut self, name: LockName, local: bool) -> ResourceKey {
        if let Some(key) = self.tables.find(&name) {
            return key;
        }
        let key = self.tables.add_resource(name);
        if local {
            self.tables.resources[key].owner = Some(self.me);
        } else {
            self.search(key);
        }
        key
    }

    /// Notes that a name's master is being looked for, or that the name moves.
    pub(super) fn add_mle(&mut self, name: LockName, mle: Mle) {
        self.mles_made[mle.kind.index()] += 1;
        self.mles.insert(name, mle);
    }

    /// Begins to search for the master of a resource.
    pub(super) fn search(&mut self, key: ResourceKey) {
        let resource = &mut self.tables.resources[key];
        resource.state.insert(State::IN_PROGRESS);
        resource.owner = None;
        let name = resource.name;
        match self.mles.get(&name).map(|mle| mle.kind) {
            None => {
                let mut mle = Mle::new(MleKind::Master);
                mle.maybe.insert(self.me);
                self.add_mle(name, mle);
                self.begin_vote(name);
            }
            // The assertion of the one who is looking will tell.
            Some(MleKind::Block | MleKind::Master) => {}
            Some(MleKind::Migration { .. }) => self.after(100, Timer::Mastery { name }),
        }
    }

    pub(super) fn mastery_again(&mut self, name: LockName) {
        let Some(key) = self.tables.find(&name) else { return };
        let resource = &self.tables.resources[key];
        if resource.owner.is_some() || !resource.state.contains(State::IN_PROGRESS) {
            return;
        }
        match self.mles.get(&name).map(|mle| mle.kind) {
            Some(MleKind::Master) => self.begin_vote(name),
            _ => self.search(key),
        }
    }

    fn begin_vote(&mut self, name: LockName) {
        let others = self.others();
        let must_wait = !name.is_recovery() && self.recovery.is_pending();
        let vote = self.next_vote();
        let Some(mle) = self.mles.get_mut(&name) else { return };
        let outstanding = mle.asked.minus(&mle.responded);
        if !outstanding.is_empty() {
            self.late_votes.insert(mle.vote, LateVote { name, outstanding });
        }
        mle.asked_before = mle.asked_before.union(&mle.asked);
        mle.vote = vote;
        mle.waits_for_recovery = must_wait;
        mle.asked = NodeMap::EMPTY;
        mle.responded = NodeMap::EMPTY;
        mle.maybe = NodeMap::EMPTY;
        mle.maybe.insert(self.me);
        if must_wait {
            self.recovery.votes_wait();
            return;
        }
        if name.is_recovery() && !others.is_empty() {
            mle.requery = Some(Requery { outstanding: others, owner_is_dead: false });
            for node in others.iter() {
                self.requery(name, node);
            }
            return;
        }
        self.ask_all(name);
    }

    fn ask_all(&mut self, name: LockName) {
        let others = self.others();
        let Some(mle) = self.mles.get_mut(&name) else { return };
        mle.asked = others;
        let vote = mle.vote;
        for node in others.iter() {
            self.ask(node, name, vote);
        }
        self.decide(name);
    }

    fn ask(&mut self, node: NodeId, name: LockName, vote: u64) {
        let mut payload = Vec::new();
        MasterRequest { node: self.me, flags: 0, name }.encode(&mut payload);
        let call = Call::MasterRequest { node, name, vote };
        self.send(node, MessageType::MasterRequest, payload, call);
    }

    pub(super) fn ask_again(&mut self, node: NodeId, name: LockName, vote: u64) {
        if self.members.contains(node) && self.mles.get(&name).is_some_and(|mle| mle.vote == vote) {
            self.ask(node, name, vote);
        } else {
            self.late_answer(vote, node);
        }
    }

    pub(super) fn requery(&mut self, name: LockName, node: NodeId) {
        let mut payload = Vec::new();
        MasterRequery { node: self.me, name }.encode(&mut payload);
        self.send(node, MessageType::MasterRequery, payload, Call::Requery { name, node });
    }

    pub(super) fn requery_done(
        &mut self,
        name: LockName,
        node: NodeId,
        result: Result<i32, CallError>,
    ) {
        if !name.is_recovery() {
            self.migrated_answered(name, node, result);
            self.doubt_answered(name, node, result);
            self.recovery_requery_done(name, node, result);
            return;
        }
        let pending = self.recovery.pending();
        let Some(mle) = self.mles.get_mut(&name) else { return };
        let Some(requery) = &mut mle.requery else { return };
        if !requery.outstanding.remove(node) {
            return;
        }
        if let Ok(owner) = result
            && let Some(owner) = u8::try_from(owner).ok().and_then(NodeId::new)
        {
            requery.owner_is_dead |= pending.contains(owner);
        }
        if requery.outstanding.is_empty() {
            let owner_is_dead = requery.owner_is_dead;
            mle.requery = None;
            if owner_is_dead {
                // Its locks are cleaned up there soon.
                self.after(500, Timer::RequeryAgain { name });
            } else {
                self.ask_all(name);
            }
        }
    }

    pub(super) fn master_request_done(
        &mut self,
        node: NodeId,
        name: LockName,
        vote: u64,
        result: Result<i32, CallError>,
    ) {
        let Some(mle) = self.mles.get_mut(&name).filter(|mle| mle.vote == vote) else {
            if result == Ok(ERROR) && self.late_votes.contains_key(&vote) {
                self.after(50, Timer::AskAgain { node, name, vote });
            } else {
                self.late_answer(vote, node);
            }
            return;
        };
        match result {
            Ok(NO) => {
                mle.responded.insert(node);
            }
            Ok(MAYBE) => {
                mle.responded.insert(node);
                mle.maybe.insert(node);
            }
            Ok(YES) => {
                mle.responded.insert(node);
                if let Some(key) = self.tables.find(&name) {
                    self.owner_found(key, node);
                }
                return;
            }
            Ok(ERROR) => self.after(50, Timer::AskAgain { node, name, vote }),
            Ok(_) => {
                self.counters.bad_replies += 1;
                self.after(50, Timer::AskAgain { node, name, vote });
            }
            // A member whose domain is not there any more is about to leave or to be declared dead.
            Err(CallError::NoHandler | CallError::Overflow) => {
                self.after(1000, Timer::AskAgain { node, name, vote });
            }
            // Stays unanswered: the vote begins anew when the node is out.
            Err(CallError::HostDown) => self.after(1000, Timer::AskAgain { node, name, vote }),
        }
        self.decide(name);
    }

    /// Becomes the master if everybody has answered and nobody lower wants to.
    fn decide(&mut self, name: LockName) {
        let Some(mle) = self.mles.get(&name) else { return };
        let ready = mle.kind == MleKind::Master
            && !mle.waits_for_recovery
            && mle.requery.is_none()
            && mle.asked.is_subset(&mle.responded)
            && mle.maybe.lowest() == Some(self.me);
        if !ready {
            return;
        }
        let Some(key) = self.tables.find(&name) else { return };
        let asked = mle.asked;
        self.mles.remove(&name);
        self.tables.resources[key].owner = Some(self.me);
        // IN_PROGRESS until everybody knows.
        self.assert_mastery(name, AssertFlags::empty(), asked, AfterAssert::Mastered);
    }

    /// Another node is the master.
    pub(super) fn owner_found(&mut self, key: ResourceKey, owner: NodeId) {
        let resource = &mut self.tables.resources[key];
        let name = resource.name;
        if resource.owner.is_none() {
            resource.state.remove(State::IN_PROGRESS);
        }
        resource.owner = Some(owner);
        if let Some(mle) = self.mles.remove(&name)
            && mle.kind == MleKind::Master
            && !mle.asked.union(&mle.asked_before).without(owner).is_empty()
        {
            resource.state.insert(State::CLEANUP_OWED);
            let outstanding = mle.asked.minus(&mle.responded);
            if !outstanding.is_empty() {
                self.late_votes.insert(mle.vote, LateVote { name, outstanding });
            }
        }
        // (An earlier search may owe it, whose owner died.)
        self.request_cleanup(name);
        self.wake(key);
    }

    fn late_answer(&mut self, vote: u64, node: NodeId) {
        let Some(late) = self.late_votes.get_mut(&vote) else { return };
        late.outstanding.remove(node);
        if late.outstanding.is_empty() {
            let name = late.name;
            self.late_votes.remove(&vote);
            self.request_cleanup(name);
        }
    }

    /// Has the master assert once more, to remove what our questions left on other nodes.
    pub(super) fn request_cleanup(&mut self, name: LockName) {
        let Some(key) = self.tables.find(&name) else { return };
        if self.late_votes.values().any(|late| late.name == name) {
            return;
        }
        let resource = &mut self.tables.resources[key];
        if !resource.state.contains(State::CLEANUP_OWED) {
            return;
        }
        match resource.owner {
            // After recovery: finalization calls again. (Some may have been told by a node that died that
            // the name moves there, and take an assertion of ours for a contradiction.)
            _ if resource.state.intersects(State::RECOVERING | State::RECOVERY_WAITING) => {}
            None => {}
            // Its new master asserts to everybody, if it gets there.
            _ if resource.state.contains(State::MIGRATING) => {
                self.after(100, Timer::CleanupAgain { name });
            }
            Some(owner) if owner == self.me => {
                resource.state.remove(State::CLEANUP_OWED);
                let others = self.others();
                self.assert_mastery(name, AssertFlags::MLE_CLEANUP, others, AfterAssert::Nothing);
            }
            // It has left, and masters nothing.
            Some(owner) if !self.members.contains(owner) => {
                self.after(100, Timer::CleanupAgain { name });
                self.owner_knows_nothing(key, owner);
            }
            Some(owner) => {
                let mut payload = Vec::new();
                MasterRequest { node: self.me, flags: 0, name }.encode(&mut payload);
                let call = Call::CleanupRequest { node: owner, name };
                self.send(owner, MessageType::MasterRequest, payload, call);
            }
        }
    }

    pub(super) fn cleanup_request_done(
        &mut self,
        node: NodeId,
        name: LockName,
        result: Result<i32, CallError>,
    ) {
        match result {
            Ok(ERROR) => self.after(50, Timer::CleanupAgain { name }),
            Ok(NO | MAYBE) => {
                self.after(100, Timer::CleanupAgain { name });
                if let Some(key) = self.tables.find(&name) {
                    self.owner_knows_nothing(key, node);
                }
            }
            Ok(_) => {
                if let Some(key) = self.tables.find(&name)
                    && self.tables.resources[key].owner == Some(node)
                {
                    let resource = &mut self.tables.resources[key];
                    resource.state.remove(State::CLEANUP_OWED);
                    resource.rare_mut().cleanup_asked = Some(self.now);
                    self.dirty(key);
                }
            }
            Err(_) => self.after(500, Timer::CleanupAgain { name }),
        }
    }

    /// A node says that it is not the master. Either it has moved the name, and the new master asserts
    /// to everybody; or, if it still is to our knowledge, it has forgotten the name.
    pub(super) fn owner_knows_nothing(&mut self, key: ResourceKey, node: NodeId) {
        let resource = &mut self.tables.resources[key];
        if resource.owner == Some(node) && resource.is_quiet() && resource.may_be_forgotten() {
            resource.state.remove(State::CLEANUP_OWED);
            self.search(key);
        }
    }

    /// Another node asks who masters a name (`dlm_master_request_handler`).
    pub(super) fn on_master_request(&mut self, request: MasterRequest) -> i32 {
        let MasterRequest { node, name, .. } = request;
        if !self.is_fully_joined() || !self.members.contains(node) || node == self.me {
            return NO;
        }
        let found = self
            .tables
            .find(&name)
            .filter(|&key| !self.tables.resources[key].state.contains(State::DROPPING_REF));
        if let Some(key) = found {
            let resource = &mut self.tables.resources[key];
            let busy = State::RECOVERING | State::MIGRATING | State::RECOVERY_WAITING;
            if resource.state.intersects(busy) {
                return ERROR;
            }
            match resource.owner {
                Some(owner) if owner == self.me => {
                    resource.refmap.insert(node);
                    resource.unused_since = None;
                    let others = self.others();
                    self.assert_mastery(
                        name,
                        AssertFlags::MLE_CLEANUP,
                        others,
                        AfterAssert::Nothing,
                    );
                    return YES;
                }
                Some(_) => return NO,
                None => {}
            }
        }
        let mle = self.mles.entry(name).or_insert_with(|| {
            self.mles_made[MleKind::Block.index()] += 1;
            Mle::new(MleKind::Block)
        });
        match mle.kind {
            MleKind::Migration { .. } => NO,
            MleKind::Block => {
                mle.maybe.insert(node);
                NO
            }
            MleKind::Master => {
                mle.maybe.insert(node);
                MAYBE
            }
        }
    }

    /// A node that has joined takes part in the votes under way.
    pub(super) fn vote_node_up(&mut self, node: NodeId) {
        let votes: Vec<(LockName, u64)> = self
            .mles
            .iter_mut()
            .filter(|(_, mle)| {
                mle.kind == MleKind::Master && !mle.waits_for_recovery && mle.requery.is_none()
            })
            .map(|(name, mle)| {
                mle.asked.insert(node);
                mle.responded.remove(node);
                (*name, mle.vote)
            })
            .collect();
        for (name, vote) in votes {
            self.ask(node, name, vote);
        }
    }

    /// A node that has left or died takes part in votes no more.
    pub(super) fn vote_node_down(&mut self, node: NodeId) {
        let late: Vec<u64> = self.late_votes.keys().copied().collect();
        for vote in late {
            self.late_answer(vote, node);
        }
        let names: Vec<LockName> = self.mles.keys().copied().collect();
        for name in names {
            let Some(mle) = self.mles.get_mut(&name) else { continue };
            match mle.kind {
                MleKind::Master => {
                    mle.requery = None;
                    self.begin_vote(name);
                }
                MleKind::Block => {
                    if !mle.maybe.remove(node) || !mle.maybe.is_empty() {
                        continue;
                    }
                    let searching = self.tables.find(&name).filter(|&key| {
                        let state = self.tables.resources[key].state;
                        state.contains(State::IN_PROGRESS)
                            && self.tables.resources[key].owner.is_none()
                    });
                    self.mles.remove(&name);
                    if let Some(key) = searching {
                        self.search(key);
                    }
                }
                // Dealt with where its resource is cleaned up.
                MleKind::Migration { .. } => {}
            }
        }
    }

    /// No dead node waits to be recovered: votes that waited for that begin.
    pub(super) fn votes_go_on(&mut self) {
        let waiting: Vec<LockName> = self
            .mles
            .iter()
            .filter(|(_, mle)| mle.waits_for_recovery)
            .map(|(name, _)| *name)
            .collect();
        for name in waiting {
            self.begin_vote(name);
        }
    }

    /// Another node asks for the owner that we know (`dlm_master_requery_handler`).
    pub(super) fn on_requery(&mut self, request: MasterRequery) -> i32 {
        if !self.is_fully_joined() {
            return UNKNOWN;
        }
        let name = request.name;
        let Some(key) = self.tables.find(&name) else { return UNKNOWN };
        if let Some(MleKind::Migration { old, new }) = self.mles.get(&name).map(|mle| mle.kind)
            && !self.members.contains(old)
        {
            // We know that it has moved on. What the dead one still had is said by who was not told.
            return i32::from(new.get());
        }
        let resource = &self.tables.resources[key];
        match resource.owner {
            // Its locks are being collected here: it is not ours before that is over.
            Some(owner) if owner == self.me && resource.state.contains(State::RECOVERING) => {
                self.recovery.dead().map_or(UNKNOWN, |dead| i32::from(dead.get()))
            }
            Some(owner) if owner == self.me => {
                let mut to = NodeMap::EMPTY;
                to.insert(request.node);
                self.assert_mastery(name, AssertFlags::REQUERY, to, AfterAssert::Nothing);
                i32::from(owner.get())
            }
            Some(owner) => i32::from(owner.get()),
            None => UNKNOWN,
        }
    }
}
