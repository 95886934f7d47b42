//! Joining a domain, and letting others join (`fs/ocfs2/dlm/dlmdomain.c`).

use std::collections::BTreeSet;

use super::domain::{
    Call, CallError, DLM_VERSION, Domain, DomainState, EAGAIN, EINVAL, Event, PeerAddress, Timer,
};
use super::message::{
    AssertJoined, CancelJoin, JoinReply, MessageType, NodeAddress, QueryJoin, QueryNodeinfo,
    QueryRegion,
};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, NodeMap, Now};

/// Attempts end when the pauses between them add up to more than this, in milliseconds
/// (`DLM_JOIN_TIMEOUT_MSECS`).
const BACKOFF_MAX_MS: u64 = 90_000;

/// The unit of the pauses between attempts, and of the repetition of an assertion, in milliseconds
/// (`DLM_DOMAIN_BACKOFF_MS`).
const BACKOFF_MS: u64 = 200;

/// How often it is looked whether nodes that may live are dead, in milliseconds.
const UNSEEN_AGAIN_MS: u64 = 1000;

/// Why a domain could not be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// This node does not heartbeat.
    #[error("this node's heartbeat is not seen: start the heartbeat first")]
    NotLive,
    /// A member speaks another protocol.
    #[error("node {node} speaks another version of the protocol")]
    Protocol {
        /// Which member.
        node: NodeId,
    },
    /// A member compared its configuration with ours, and they differ.
    #[error(
        "node {node} refused us (errno {errno}): its list of nodes, or of heartbeat regions, differs \
         from ours; make cluster.conf the same on all nodes"
    )]
    Refused {
        /// Which member.
        node: NodeId,
        /// Its reason.
        errno: i32,
    },
    /// A live node cannot be reached.
    #[error("node {node} heartbeats and cannot be reached over the network")]
    Unreachable {
        /// Which node.
        node: NodeId,
    },
    /// A member kept saying no: it recovers a dead node, or another node is joining.
    #[error("node {node} was not ready to let us in for 90 s")]
    TimedOut {
        /// The last one that said no.
        node: NodeId,
    },
}

/// An attempt to join.
#[derive(Debug)]
pub(super) struct Join {
    attempt: u64,
    /// Live nodes when the attempt began.
    live: NodeMap,
    /// Members that agreed.
    yes: NodeMap,
    phase: JoinPhase,
    backoff_ms: u64,
}

#[derive(Debug)]
enum JoinPhase {
    /// Nodes not asked yet; one that was has not answered.
    Asking { to_ask: NodeMap },
    /// Messages about us that the members have not been sent, last first; one is out.
    Introducing { rest: Vec<(NodeId, MessageType)> },
    /// Members that have not accepted that we have joined.
    Asserting { outstanding: NodeMap },
    /// Taken back; the next attempt comes after a pause.
    Pausing,
}

impl Domain {
    /// Begins to join. [`Event::Joined`] or [`Event::JoinFailed`] tells the outcome.
    pub fn join(&mut self, now: Now) {
        self.now = now;
        if self.state != DomainState::New || self.join.is_some() {
            return;
        }
        if !self.live.contains(self.me) {
            self.event(Event::JoinFailed(JoinError::NotLive));
            return;
        }
        self.begin_attempt(0);
        self.settle();
    }

    fn begin_attempt(&mut self, backoff_ms: u64) {
        let attempt = self.next_vote();
        self.joining = Some(self.me);
        self.join = Some(Join {
            attempt,
            live: self.live,
            yes: NodeMap::EMPTY,
            phase: JoinPhase::Asking { to_ask: self.live.without(self.me) },
            backoff_ms,
        });
        self.ask_next();
    }

    fn ask_next(&mut self) {
        let live = self.live;
        let Some(join) = &mut self.join else { return };
        let attempt = join.attempt;
        let JoinPhase::Asking { to_ask } = &mut join.phase else { return };
        let Some(node) = to_ask.lowest() else {
            self.everybody_agreed();
            return;
        };
        to_ask.remove(node);
        let query = QueryJoin {
            node: self.me,
            dlm_version: (DLM_VERSION.0, self.dlm_minor),
            fs_version: (self.config.fs_version.0, self.fs_minor),
            domain: self.config.name,
            live,
        };
        let mut payload = Vec::new();
        query.encode(&mut payload);
        self.send(node, MessageType::QueryJoin, payload, Call::QueryJoin { node, attempt });
    }

    fn this_attempt(&mut self, attempt: u64) -> Option<&mut Join> {
        self.join.as_mut().filter(|join| join.attempt == attempt)
    }

    pub(super) fn query_join_done(
        &mut self,
        node: NodeId,
        attempt: u64,
        result: Result<i32, CallError>,
    ) {
        let live = self.live;
        let Some(join) = self.this_attempt(attempt) else { return };
        let changed = join.live != live;
        let reply = match result {
            Ok(status) => JoinReply::unpack(status),
            Err(CallError::NoHandler) => Some(JoinReply::OkNoMap),
            // It may be on its way out; its heartbeat will tell.
            Err(_) => {
                self.try_again(JoinError::Unreachable { node });
                return;
            }
        };
        match reply {
            Some(JoinReply::Ok { dlm_minor, fs_minor }) => {
                join.yes.insert(node);
                self.dlm_minor = self.dlm_minor.min(dlm_minor);
                self.fs_minor = self.fs_minor.min(fs_minor);
            }
            Some(JoinReply::OkNoMap) => {}
            Some(JoinReply::Disallow) => {
                self.try_again(JoinError::TimedOut { node });
                return;
            }
            Some(JoinReply::ProtocolMismatch) => {
                self.join_failed(JoinError::Protocol { node });
                return;
            }
            None => {
                self.counters.bad_replies += 1;
                self.join_failed(JoinError::Refused { node, errno: EINVAL });
                return;
            }
        }
        if changed { self.try_again(JoinError::TimedOut { node }) } else { self.ask_next() }
    }

    /// Noticed with the next reply: one is always out while members are asked or told about us. Whoever
    /// died after it agreed knows nothing of it when it comes back.
    pub(super) fn join_live_map_changed(&mut self) {
        let live = self.live;
        let living = |nodes: NodeMap| nodes.iter().filter(|&node| live.contains(node)).collect();
        let Some(join) = &mut self.join else { return };
        join.yes = living(join.yes);
        match &mut join.phase {
            JoinPhase::Introducing { rest } => rest.retain(|(node, _)| join.yes.contains(*node)),
            JoinPhase::Asserting { outstanding } => {
                *outstanding = living(*outstanding);
                self.joined_if_accepted();
            }
            JoinPhase::Asking { .. } | JoinPhase::Pausing => {}
        }
    }

    fn everybody_agreed(&mut self) {
        let Some(join) = &mut self.join else { return };
        if join.yes.is_empty() && !self.unseen.is_empty() {
            if std::mem::replace(&mut self.said_unseen, self.unseen) != self.unseen {
                let (domain, nodes) = (&self.config.name, self.unseen);
                tracing::info!(%domain, ?nodes, "waits until those who may be members are dead");
            }
            // (Members compare their own with those that we see.)
            self.pause(UNSEEN_AGAIN_MS);
            return;
        }
        self.members = join.yes;
        self.members.insert(self.me);
        let mut rest = Vec::new();
        if self.dlm_minor > 0 {
            for message in [MessageType::QueryNodeinfo, MessageType::QueryRegion] {
                rest.extend(join.yes.iter().map(|node| (node, message)));
            }
            rest.reverse();
        }
        join.phase = JoinPhase::Introducing { rest };
        self.introduce_next();
    }

    fn introduce_next(&mut self) {
        let Some(join) = &mut self.join else { return };
        let attempt = join.attempt;
        let JoinPhase::Introducing { rest } = &mut join.phase else { return };
        let Some((node, message)) = rest.pop() else {
            self.assert_joined();
            return;
        };
        let mut payload = Vec::new();
        if message == MessageType::QueryNodeinfo {
            let mut nodes = self.config.nodes.clone();
            nodes.sort();
            let entry = |node: &PeerAddress| NodeAddress {
                number: node.node,
                port: node.port,
                address: node.address,
            };
            let nodes = nodes.iter().map(entry).collect();
            QueryNodeinfo { node: self.me, domain: self.config.name, nodes }.encode(&mut payload);
        } else {
            let regions = self.config.regions.clone().unwrap_or_default();
            QueryRegion { node: self.me, domain: self.config.name, regions }.encode(&mut payload);
        }
        self.send(node, message, payload, Call::Introduce { node, attempt });
    }

    pub(super) fn introduced(
        &mut self,
        node: NodeId,
        attempt: u64,
        result: Result<i32, CallError>,
    ) {
        if self.this_attempt(attempt).is_none() {
            return;
        }
        match result {
            Ok(0) => self.introduce_next(),
            Ok(status) => {
                self.join_failed(JoinError::Refused { node, errno: status.saturating_abs() });
            }
            Err(_) => self.try_again(JoinError::Unreachable { node }),
        }
    }

    fn assert_joined(&mut self) {
        let Some(join) = &mut self.join else { return };
        let (attempt, yes) = (join.attempt, join.yes);
        join.phase = JoinPhase::Asserting { outstanding: yes };
        for node in yes.iter() {
            self.send_assert_joined(node, attempt);
        }
        self.joined_if_accepted();
    }

    fn send_assert_joined(&mut self, node: NodeId, attempt: u64) {
        let mut payload = Vec::new();
        AssertJoined { node: self.me, domain: self.config.name }.encode(&mut payload);
        self.send(node, MessageType::AssertJoined, payload, Call::AssertJoined { node, attempt });
    }

    /// Members of this attempt that have not accepted that we have joined.
    fn not_accepted(&mut self, attempt: u64) -> Option<&mut NodeMap> {
        match &mut self.this_attempt(attempt)?.phase {
            JoinPhase::Asserting { outstanding } => Some(outstanding),
            _ => None,
        }
    }

    pub(super) fn assert_joined_again(&mut self, node: NodeId, attempt: u64) {
        if self.not_accepted(attempt).is_some_and(|outstanding| outstanding.contains(node)) {
            self.send_assert_joined(node, attempt);
        }
    }

    pub(super) fn assert_joined_done(
        &mut self,
        node: NodeId,
        attempt: u64,
        result: Result<i32, CallError>,
    ) {
        let live = self.live;
        let Some(outstanding) = self.not_accepted(attempt) else { return };
        if result == Ok(0) || !live.contains(node) {
            outstanding.remove(node);
            self.joined_if_accepted();
        } else {
            self.after(BACKOFF_MS, Timer::AssertJoined { node, attempt });
        }
    }

    /// Whether others may have accepted that we have joined: they count us in from then on.
    pub(super) fn is_asserting_join(&self) -> bool {
        self.join.as_ref().is_some_and(|join| matches!(join.phase, JoinPhase::Asserting { .. }))
    }

    fn joined_if_accepted(&mut self) {
        let accepted = self.join.as_ref().is_some_and(|join| {
            matches!(join.phase, JoinPhase::Asserting { outstanding } if outstanding.is_empty())
        });
        if accepted {
            self.joined();
        }
    }

    fn joined(&mut self) {
        self.join = None;
        self.joining = None;
        self.state = DomainState::Joined;
        let fs_version = (self.config.fs_version.0, self.fs_minor);
        self.event(Event::Joined { fs_version });
    }

    /// Begins anew after a pause, unless that was done for too long: then `error` is why.
    fn try_again(&mut self, error: JoinError) {
        let backoff = self.random(4) * BACKOFF_MS;
        let Some(join) = &mut self.join else { return };
        join.backoff_ms += backoff;
        if join.backoff_ms > BACKOFF_MAX_MS {
            self.join_failed(error);
            return;
        }
        self.pause(backoff);
    }

    fn pause(&mut self, millis: u64) {
        let Some(join) = &self.join else { return };
        let attempt = join.attempt;
        self.take_back();
        self.after(millis, Timer::Join { attempt });
    }

    pub(super) fn join_again(&mut self, attempt: u64) {
        if let Some(join) = self.this_attempt(attempt) {
            let backoff_ms = join.backoff_ms;
            self.begin_attempt(backoff_ms);
        }
    }

    fn join_failed(&mut self, error: JoinError) {
        self.take_back();
        self.join = None;
        self.event(Event::JoinFailed(error));
    }

    /// Frees those who agreed: each has a place for one joining node only.
    fn take_back(&mut self) {
        self.joining = None;
        self.members = NodeMap::EMPTY;
        // Who died meanwhile is recovered by those who are members.
        self.recovery = self.recovery.anew();
        let Some(join) = &mut self.join else { return };
        let yes = std::mem::take(&mut join.yes);
        join.phase = JoinPhase::Pausing;
        for node in yes.iter() {
            let mut payload = Vec::new();
            CancelJoin { node: self.me, domain: self.config.name }.encode(&mut payload);
            self.send(node, MessageType::CancelJoin, payload, Call::Notice);
        }
    }

    /// Another node wants to join (`dlm_query_join_handler`). Not to be called for a domain that this
    /// node does not have: the answer is then [`JoinReply::OkNoMap`].
    pub(super) fn on_query_join(&mut self, query: QueryJoin) -> i32 {
        self.join_reply(&query).pack()
    }

    fn join_reply(&mut self, query: &QueryJoin) -> JoinReply {
        let node = query.node;
        if !self.live.contains(node) {
            return JoinReply::Disallow;
        }
        if !self.members.is_subset(&query.live) && !planted(Mutant::JoinerSeesFewer) {
            return JoinReply::Disallow;
        }
        match self.state {
            DomainState::Leaving | DomainState::Left => return JoinReply::OkNoMap,
            // Not begun, or between two attempts.
            DomainState::New if self.joining.is_none() => return JoinReply::OkNoMap,
            _ => {}
        }
        // Who joins now would know nothing of a death that is not recovered yet, and might be granted
        // what the dead node held.
        if self.joining.is_some()
            || (self.recovery.is_pending() && !planted(Mutant::JoinsDuringRecovery))
            || self.members.contains(node)
            || self.state == DomainState::New
        {
            return JoinReply::Disallow;
        }
        let (dlm, fs) = (query.dlm_version, query.fs_version);
        if dlm.0 != DLM_VERSION.0
            || self.dlm_minor > dlm.1
            || fs.0 != self.config.fs_version.0
            || self.fs_minor > fs.1
        {
            return JoinReply::ProtocolMismatch;
        }
        self.joining = Some(node);
        JoinReply::Ok { dlm_minor: self.dlm_minor, fs_minor: self.fs_minor }
    }

    pub(super) fn on_query_nodeinfo(&mut self, query: QueryNodeinfo) -> i32 {
        if self.joining != Some(query.node) || self.dlm_minor < 1 {
            return -EINVAL;
        }
        let theirs: BTreeSet<PeerAddress> = query
            .nodes
            .iter()
            .map(|entry| PeerAddress {
                node: entry.number,
                address: entry.address,
                port: entry.port,
            })
            .collect();
        let ours: BTreeSet<PeerAddress> = self.config.nodes.iter().copied().collect();
        if ours == theirs {
            return 0;
        }
        for differs in ours.symmetric_difference(&theirs) {
            tracing::error!(
                domain = %self.config.name, joining = %query.node, ?differs,
                "the node lists differ: make cluster.conf the same on all nodes"
            );
        }
        -EINVAL
    }

    pub(super) fn on_query_region(&mut self, query: QueryRegion) -> i32 {
        if self.joining != Some(query.node) || self.dlm_minor < 1 {
            return -EINVAL;
        }
        let theirs: BTreeSet<[u8; 32]> = query.regions.iter().copied().collect();
        let same = match &self.config.regions {
            None => theirs.is_empty(),
            Some(ours) => {
                !theirs.is_empty() && theirs == ours.iter().copied().collect::<BTreeSet<_>>()
            }
        };
        if same {
            return 0;
        }
        tracing::error!(
            domain = %self.config.name, joining = %query.node,
            "the heartbeat regions differ: use the same mode and regions on all nodes"
        );
        -EINVAL
    }

    pub(super) fn on_assert_joined(&mut self, message: AssertJoined) -> i32 {
        let node = message.node;
        if self.joining != Some(node) || node == self.me {
            self.contradiction("a node says that it has joined, and was not about to", None);
            return 0;
        }
        if self.recovery.is_active() {
            return -EAGAIN;
        }
        self.joining = None;
        self.members.insert(node);
        self.exiting.remove(node);
        self.vote_node_up(node);
        0
    }

    pub(super) fn on_cancel_join(&mut self, message: CancelJoin) -> i32 {
        if self.joining == Some(message.node) && message.node != self.me {
            if !planted(Mutant::JoinNotTakenBack) {
                self.joining = None;
            }
        } else {
            self.contradiction("a node takes back a join that was not under way", None);
        }
        0
    }
}
