//! One domain as this node sees it: its state, what comes in and what goes out.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use slab::Slab;

use super::assert::AssertRound;
use super::doubt::Doubt;
use super::join::{Join, JoinError};
use super::leave::Leave;
use super::mastery::{LateVote, Mle};
use super::message::{
    AssertJoined, AssertMaster, BeginExit, BeginReco, CancelJoin, ConvertLock, Cookie, CreateLock,
    DecodeError, DerefDone, DerefLockres, DomainName, ExitDomain, FinalizeReco, LockMode, LockName,
    LockRequest, MasterRequery, MasterRequest, MessageType, MigLockres, MigrateRequest, ProxyAst,
    QueryJoin, QueryNodeinfo, QueryRegion, RecoDataDone, Status, UnlockLock,
};
use super::migration::Migration;
pub(super) use super::outstanding::{Call, Timer};
use super::recovery::Recovery;
use super::resource::{
    LockKey, LockSnapshot, Lvb, ResourceKey, ResourceSnapshot, State, Tables, Waiter,
};
use crate::{NodeId, NodeMap, Now};

/// A configured node, as it is compared at domain join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// Its number.
    pub node: NodeId,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its TCP port.
    pub port: u16,
}

/// What a domain is made with.
#[derive(Clone, Debug)]
pub struct DomainConfig {
    /// This node.
    pub me: NodeId,
    /// The domain's name.
    pub name: DomainName,
    /// Every configured node.
    pub nodes: Vec<PeerAddress>,
    /// Names of the heartbeat regions in global mode; `None` in local mode.
    pub regions: Option<Vec<[u8; 32]>>,
    /// The highest version of the locking protocol that its users speak: major and minor.
    pub fs_version: (u8, u8),
    /// Nodes whose heartbeat is seen, this one among them.
    pub live: NodeMap,
    /// Tells the cookies of this domain from those of the node's other domains.
    pub ordinal: u8,
    /// For the random pauses between attempts to join, and for the hashes of names: one that nobody who
    /// chooses names can know.
    pub seed: u64,
}

/// A message that waits for its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Why a message has no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection to the node was lost, or there is none.
    #[error("the node cannot be reached")]
    HostDown,
    /// The node has no such domain, or not any more.
    #[error("the node has no handler for the message")]
    NoHandler,
    /// The node refused the message as too long.
    #[error("the node says that the message is too long")]
    Overflow,
}

/// What a domain wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a message; tell [`Domain::completed`] its status.
    Send {
        /// To which node.
        to: NodeId,
        /// What it is, which also says under which key it goes.
        message: MessageType,
        /// Its bytes.
        payload: Vec<u8>,
        /// To be given back with the status.
        call: CallId,
    },
    /// Tell the local users.
    Event(Event),
}

/// What local users are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node is a member; the locking protocol has this version.
    Joined {
        /// Major and minor.
        fs_version: (u8, u8),
    },
    /// The domain could not be joined.
    JoinFailed(JoinError),
    /// This node has left.
    Left,
    /// A member died. Comes before anything that it held is granted to somebody else.
    NodeDown(NodeId),
    /// A lock or a conversion was granted.
    Granted {
        /// Which lock.
        lock: LockKey,
        /// The mode that it has now.
        mode: LockMode,
        /// The value block, if the operation reads it.
        lvb: Option<Box<[u8; 64]>>,
    },
    /// A lock or a conversion was refused. A new lock is gone, a converting one is as before.
    Refused {
        /// Which lock.
        lock: LockKey,
        /// Why.
        status: Status,
        /// Whether the lock is gone.
        gone: bool,
    },
    /// An unlock or a cancel has completed.
    Unlocked {
        /// Which lock.
        lock: LockKey,
        /// `Normal`; `CancelGrant` for a cancel that came too late; or why it failed.
        status: Status,
        /// Whether the lock is gone.
        gone: bool,
    },
    /// A lock is in the way of one that wants this mode.
    Blocked {
        /// Which lock.
        lock: LockKey,
        /// The mode that is wanted.
        level: LockMode,
    },
}

/// Where a domain is between being made and being left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainState {
    /// Not joined yet.
    New,
    /// A member.
    Joined,
    /// A member whose last user is gone; its resources are on their way out.
    InShutdown,
    /// Telling the others that it goes.
    Leaving,
    /// Gone.
    Left,
}

/// What an operator may want to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that could not be decoded.
    pub malformed: u64,
    /// Messages whose node is not the one that sent them.
    pub wrong_sender: u64,
    /// Messages that contradict what this node knows, where a kernel crashes.
    pub contradictions: u64,
    /// Replies that no such message can have.
    pub bad_replies: u64,
    /// Resources mastered by recovery after a node's death.
    pub recovered: u64,
    /// Resources migrated here or away.
    pub migrated: u64,
}

/// The lock manager of one domain on one node.
#[derive(Debug)]
pub struct Domain {
    pub(super) config: DomainConfig,
    key: u32,
    pub(super) me: NodeId,
    pub(super) now: Now,
    pub(super) state: DomainState,
    /// The minors in force: of the dlm protocol and of the locking protocol.
    pub(super) dlm_minor: u8,
    pub(super) fs_minor: u8,
    /// Nodes that heartbeat.
    pub(super) live: NodeMap,
    /// Nodes that are stackglue's too: they take a BAST right behind an AST.
    pub(super) ours: NodeMap,
    /// Nodes that may live, though their heartbeat is not seen.
    pub(super) unseen: NodeMap,
    /// Those of them of whom the log says that they are waited for.
    pub(super) said_unseen: NodeMap,
    /// Nodes in the domain, this one among them once it has joined.
    pub(super) members: NodeMap,
    /// Members that said they are about to go.
    pub(super) exiting: NodeMap,
    /// The node whose join was agreed to and is not finished.
    pub(super) joining: Option<NodeId>,
    pub(super) join: Option<Join>,
    pub(super) leave: Option<Leave>,
    pub(super) tables: Tables,
    pub(super) mles: BTreeMap<LockName, Mle>,
    /// How many there ever were, by [`MleKind::index`](super::mastery::MleKind::index).
    pub(super) mles_made: [u64; 3],
    pub(super) late_votes: BTreeMap<u64, LateVote>,
    pub(super) rounds: Slab<AssertRound>,
    pub(super) migrations: BTreeMap<LockName, Migration>,
    pub(super) recovery: Recovery,
    pub(super) doubts: BTreeMap<LockName, Doubt>,
    /// Operations that wait for recovery to be over.
    pub(super) recovery_waiters: Vec<Waiter>,
    calls: Slab<Call>,
    timers: BTreeMap<(Now, u64), Timer>,
    timer_sequence: u64,
    outputs: VecDeque<Output>,
    /// Buffers of messages that were sent.
    buffers: Vec<Vec<u8>>,
    pub(super) dirty: VecDeque<ResourceKey>,
    pub(super) counters: Counters,
    vote_sequence: u64,
    cookie_sequence: u64,
    random: u64,
}

/// How many buffers are kept.
const BUFFERS_MAX: usize = 16;

/// The dlm protocol that this node speaks: 1.3.
pub(super) const DLM_VERSION: (u8, u8) = (1, 3);

impl Domain {
    /// A domain that is not joined yet.
    pub fn new(config: DomainConfig) -> Domain {
        Domain {
            me: config.me,
            now: Now::ZERO,
            state: DomainState::New,
            dlm_minor: DLM_VERSION.1,
            fs_minor: config.fs_version.1,
            live: config.live,
            ours: NodeMap::EMPTY,
            unseen: NodeMap::EMPTY,
            said_unseen: NodeMap::EMPTY,
            members: NodeMap::EMPTY,
            exiting: NodeMap::EMPTY,
            joining: None,
            join: None,
            leave: None,
            tables: Tables::new(config.seed),
            mles: BTreeMap::new(),
            mles_made: [0; 3],
            late_votes: BTreeMap::new(),
            rounds: Slab::new(),
            migrations: BTreeMap::new(),
            recovery: Recovery::default(),
            doubts: BTreeMap::new(),
            recovery_waiters: Vec::new(),
            calls: Slab::new(),
            timers: BTreeMap::new(),
            timer_sequence: 0,
            outputs: VecDeque::new(),
            buffers: Vec::new(),
            dirty: VecDeque::new(),
            counters: Counters::default(),
            vote_sequence: 0,
            cookie_sequence: u64::from(config.ordinal) << 48,
            random: config.seed | 1,
            key: config.name.key(),
            config,
        }
    }

    /// What is to be done next; `None` when nothing is.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes back the payload of a message that was sent, for the next one.
    pub fn recycle(&mut self, mut payload: Vec<u8>) {
        if self.buffers.len() < BUFFERS_MAX {
            payload.clear();
            self.buffers.push(payload);
        }
    }

    /// For the payload of a message that is sent often.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Whether [`poll_output`](Self::poll_output) has something.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn next_timeout(&self) -> Option<Now> {
        self.timers.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let timer = entry.remove();
            self.fire(timer);
        }
        self.settle();
    }

    /// These nodes are stackglue's too. To others a BAST goes when their answer to the AST before it is in.
    pub fn set_ours(&mut self, nodes: NodeMap) {
        self.ours = nodes;
    }

    /// A node's heartbeat is seen.
    pub fn node_up(&mut self, now: Now, node: NodeId) {
        self.now = now;
        self.live.insert(node);
        self.join_live_map_changed();
        self.settle();
    }

    /// A node's heartbeat is no longer seen. Its connection is closed by now, and messages to it have
    /// completed.
    pub fn node_down(&mut self, now: Now, node: NodeId) {
        self.now = now;
        self.heartbeat_down(node);
        self.join_live_map_changed();
        self.settle();
    }

    /// Nodes that may live, though their heartbeat is not seen: while there are any, the first to join
    /// waits. One of them may be in the domain, and would not know of another beside it.
    pub fn set_unseen(&mut self, nodes: NodeMap) {
        self.unseen = nodes;
    }

    /// A message of another node. The answer is its status, to be sent before any output.
    ///
    /// Malformed messages, and those that name another node than the one they come from, are answered
    /// without effect, with a status that a kernel takes without harm.
    pub fn request(&mut self, now: Now, from: NodeId, message: MessageType, payload: &[u8]) -> i32 {
        self.now = now;
        let status = match self.dispatch(from, message, payload) {
            Ok(status) => status,
            Err(Refused::Malformed(error)) => {
                self.counters.malformed += 1;
                tracing::warn!(node = %from, ?message, %error, "malformed message");
                harmless(message)
            }
            Err(Refused::WrongSender(claimed)) => {
                self.counters.wrong_sender += 1;
                tracing::warn!(node = %from, %claimed, ?message, "message in another node's name");
                harmless(message)
            }
        };
        self.settle();
        status
    }

    /// The status of a message of ours, or why there is none.
    pub fn completed(&mut self, now: Now, call: CallId, result: Result<i32, CallError>) {
        self.now = now;
        if let Some(call) = self.calls.try_remove(call.0 as usize) {
            self.finish(call, result);
            self.settle();
        }
    }

    /// Recovery waits, from now on, until [`users_told`](Self::users_told) for each
    /// [`Event::NodeDown`]: whoever is granted what a dead node held relies on its users having been
    /// told, and they are told on another thread than the one that grants.
    pub fn recovery_waits_for_users(&mut self) {
        self.recovery.wait_for_users();
    }

    /// Every user has been told that a member died.
    pub fn users_told(&mut self, now: Now, node: NodeId) {
        self.now = now;
        self.recovery.users_told(node);
        self.settle();
    }

    /// This node's number.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The domain's name.
    pub fn name(&self) -> &DomainName {
        &self.config.name
    }

    /// The key of its messages: that of its name.
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Where it is between being made and being left.
    pub fn state(&self) -> DomainState {
        self.state
    }

    /// Its members, this node among them once it has joined.
    pub fn members(&self) -> NodeMap {
        self.members
    }

    /// Whether a dead member is being recovered.
    pub fn is_recovering(&self) -> bool {
        self.recovery.is_pending()
    }

    /// How far the recovery of a dead member is, for a person who looks.
    pub fn recovery_state(&self) -> String {
        format!("{:?}", self.recovery)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Shows every resource that this node knows.
    pub fn resources(&self) -> impl Iterator<Item = ResourceSnapshot> + '_ {
        self.tables.resources.iter().map(|(key, _)| self.snapshot(key))
    }

    /// Shows the resource of that name, if this node knows it.
    pub fn resource(&self, name: &LockName) -> Option<ResourceSnapshot> {
        self.tables.find(name).map(|key| self.snapshot(key))
    }

    /// Names whose master is being looked for, here or elsewhere, or that move between two others.
    pub fn mastery_entries(&self) -> impl Iterator<Item = LockName> + '_ {
        self.mles.keys().copied()
    }

    fn snapshot(&self, key: ResourceKey) -> ResourceSnapshot {
        let resource = &self.tables.resources[key];
        let locks = resource.locks().map(|key| {
            let lock = self.tables.lock(key);
            LockSnapshot {
                key,
                node: lock.node,
                cookie: lock.cookie,
                queue: lock.queue,
                mode: lock.mode,
                convert: lock.convert,
            }
        });
        let busy = resource.state - State::PURGE_TIMED;
        ResourceSnapshot {
            name: resource.name,
            owner: resource.owner,
            locks: locks.collect(),
            lvb: resource.lvb(),
            refmap: resource.refmap,
            told: resource.is_told(),
            busy: busy.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" "),
        }
    }

    /// Whether it is a member, which it is too while its last user goes.
    pub(super) fn is_fully_joined(&self) -> bool {
        matches!(self.state, DomainState::Joined | DomainState::InShutdown)
    }

    /// The other members.
    pub(super) fn others(&self) -> NodeMap {
        self.members.without(self.me)
    }

    pub(super) fn send(&mut self, to: NodeId, message: MessageType, payload: Vec<u8>, call: Call) {
        let call = CallId(self.calls.insert(call) as u64);
        self.outputs.push_back(Output::Send { to, message, payload, call });
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn after(&mut self, millis: u64, timer: Timer) {
        self.timer_sequence += 1;
        let at = self.now + Now::from_millis(millis);
        self.timers.insert((at, self.timer_sequence), timer);
    }

    pub(super) fn next_vote(&mut self) -> u64 {
        self.vote_sequence += 1;
        self.vote_sequence
    }

    pub(super) fn next_cookie(&mut self) -> Cookie {
        self.cookie_sequence += 1;
        Cookie::new(self.me, self.cookie_sequence)
    }

    /// A number below `bound` (xorshift64).
    pub(super) fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// Something contradicts what this node knows; a kernel would crash.
    pub(super) fn contradiction(&mut self, what: &str, name: Option<&LockName>) {
        self.counters.contradictions += 1;
        let name = name.map(ToString::to_string).unwrap_or_default();
        tracing::error!(domain = %self.config.name, %name, "{what}");
    }

    /// The end of every input: schedules what became grantable, and lets go on what waits.
    pub(super) fn settle(&mut self) {
        self.run_scheduler();
        self.drive_recovery();
        self.run_scheduler();
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Join { attempt } => self.join_again(attempt),
            Timer::AssertJoined { node, attempt } => self.assert_joined_again(node, attempt),
            Timer::Leave => self.drive_leave(),
            Timer::Exit { node } => self.exit_again(node),
            Timer::Operation { lock, cookie } => self.operation_again(lock, cookie),
            Timer::CancelAgain { lock, cookie } => self.cancel_again(lock, cookie),
            Timer::Mastery { name } => self.mastery_again(name),
            Timer::AskAgain { node, name, vote } => self.ask_again(node, name, vote),
            Timer::CleanupAgain { name } => self.request_cleanup(name),
            Timer::RequeryAgain { name } => self.mastery_again(name),
            Timer::DoubtAgain { name, node } => self.doubt_again(name, node),
            Timer::DerefAgain { node, name } => self.deref_again(node, name),
            Timer::Purge { name } => self.purge_due(name),
            Timer::MigrateAgain { node, name } => self.migrate_request_again(node, name),
            Timer::MigratedAgain { node, name } => self.ask_whether_migrated(node, name),
            Timer::Election => self.election_due(),
            Timer::BeginRecoAgain { node, dead } => self.begin_reco_again(node, dead),
            Timer::LockRequestAgain { node, dead } => self.lock_request_again(node, dead),
        }
    }

    fn finish(&mut self, call: Call, result: Result<i32, CallError>) {
        match call {
            Call::Notice => {}
            Call::QueryJoin { node, attempt } => self.query_join_done(node, attempt, result),
            Call::Introduce { node, attempt } => self.introduced(node, attempt, result),
            Call::AssertJoined { node, attempt } => self.assert_joined_done(node, attempt, result),
            Call::Exit { node } => self.exit_done(node, result),
            Call::MasterRequest { node, name, vote } => {
                self.master_request_done(node, name, vote, result);
            }
            Call::CleanupRequest { node, name } => self.cleanup_request_done(node, name, result),
            Call::Assert { node, round } => self.assert_done(node, round, result),
            Call::Deref { node, name } => self.deref_answered(node, name, result),
            Call::Create { lock, cookie, owner } => {
                self.create_answered(lock, cookie, owner, result);
            }
            Call::Convert { lock, cookie, owner } => {
                self.convert_answered(lock, cookie, owner, result);
            }
            Call::Unlock { lock, cookie } => self.unlock_answered(lock, cookie, result),
            Call::Cancel { lock, cookie } => self.cancel_answered(lock, cookie, result),
            Call::Ast { name, lock, cookie, lowers } => {
                self.ast_answered(name, lock, cookie, lowers);
            }
            Call::MigrateLockres { node, name, last } => {
                self.migrate_lockres_done(node, name, last, result);
            }
            Call::MigrateRequest { node, name } => self.migrate_request_done(node, name, result),
            Call::Requery { name, node } => self.requery_done(name, node, result),
            Call::BeginReco { node, dead } => self.begin_reco_done(node, dead, result),
            Call::LockRequest { node, dead } => self.lock_request_done(node, dead, result),
            Call::RecoLockres { number } => self.reco_lockres_done(number, result),
            Call::DataDone => self.data_done_answered(result),
            Call::Finalize { node, stage2 } => self.finalize_done(node, stage2, result),
        }
    }

    fn dispatch(
        &mut self,
        from: NodeId,
        message: MessageType,
        payload: &[u8],
    ) -> Result<i32, Refused> {
        // A node speaks for itself, except where it passes on what another one had.
        let own = |node: NodeId| {
            if node == from { Ok(()) } else { Err(Refused::WrongSender(node)) }
        };
        macro_rules! handle {
            ($kind:ty, $handler:ident) => {{
                let message = <$kind>::decode(payload)?;
                own(message.node)?;
                self.$handler(message)
            }};
        }
        Ok(match message {
            MessageType::MasterRequest => handle!(MasterRequest, on_master_request),
            MessageType::AssertMaster => handle!(AssertMaster, on_assert_master),
            MessageType::CreateLock => handle!(CreateLock, on_create),
            MessageType::ConvertLock => handle!(ConvertLock, on_convert),
            MessageType::ProxyAst => handle!(ProxyAst, on_proxy_ast),
            MessageType::UnlockLock => handle!(UnlockLock, on_unlock),
            MessageType::DerefLockres => handle!(DerefLockres, on_deref),
            MessageType::MigrateRequest => {
                let message = MigrateRequest::decode(payload)?;
                own(message.new_master)?;
                self.on_migrate_request(message)
            }
            MessageType::MigLockres => self.on_mig_lockres(from, MigLockres::decode(payload)?),
            MessageType::QueryJoin => handle!(QueryJoin, on_query_join),
            MessageType::AssertJoined => handle!(AssertJoined, on_assert_joined),
            MessageType::CancelJoin => handle!(CancelJoin, on_cancel_join),
            MessageType::ExitDomain => handle!(ExitDomain, on_exit_domain),
            MessageType::MasterRequery => handle!(MasterRequery, on_requery),
            MessageType::LockRequest => handle!(LockRequest, on_lock_request),
            MessageType::RecoDataDone => handle!(RecoDataDone, on_data_done),
            MessageType::BeginReco => handle!(BeginReco, on_begin_reco),
            MessageType::FinalizeReco => handle!(FinalizeReco, on_finalize),
            MessageType::QueryRegion => handle!(QueryRegion, on_query_region),
            MessageType::QueryNodeinfo => handle!(QueryNodeinfo, on_query_nodeinfo),
            MessageType::BeginExit => handle!(BeginExit, on_begin_exit),
            MessageType::DerefDone => handle!(DerefDone, on_deref_done),
        })
    }

    /// Marks a resource for the scheduler.
    pub(super) fn dirty(&mut self, key: ResourceKey) {
        let resource = &mut self.tables.resources[key];
        if !resource.state.contains(State::DIRTY) {
            resource.state.insert(State::DIRTY);
            self.dirty.push_back(key);
        }
    }

    /// A resource may have become quiet: lets the next local operations go on, and notes when nothing
    /// uses it any more.
    pub(super) fn wake(&mut self, key: ResourceKey) {
        loop {
            let resource = &mut self.tables.resources[key];
            if !resource.is_quiet() || resource.state.contains(State::DROPPING_REF) {
                return;
            }
            let Some(waiter) = resource.waiting.pop_front() else { break };
            self.resume(waiter);
            if !self.tables.resources.contains(key) {
                return;
            }
        }
        self.dirty(key);
    }

    pub(super) fn resume(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Operation(lock, cookie) => self.advance(lock, cookie),
            Waiter::Cancel(lock, cookie) => self.advance_cancel(lock, cookie),
        }
    }

    pub(super) fn copy_of(lvb: &Lvb) -> Option<Box<Lvb>> {
        Some(Box::new(*lvb))
    }
}

enum Refused {
    Malformed(DecodeError),
    WrongSender(NodeId),
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Refused {
        Refused::Malformed(error)
    }
}

/// The answer to a message that is not to have an effect, which no kernel crashes on.
fn harmless(message: MessageType) -> i32 {
    match message {
        MessageType::CreateLock
        | MessageType::ConvertLock
        | MessageType::ProxyAst
        | MessageType::UnlockLock => Status::IvLockId.to_wire(),
        // NO, unknown and DISALLOW; nothing for those whose failure ends the sender.
        MessageType::MasterRequest
        | MessageType::AssertMaster
        | MessageType::QueryJoin
        | MessageType::AssertJoined
        | MessageType::CancelJoin
        | MessageType::ExitDomain
        | MessageType::BeginExit
        | MessageType::BeginReco
        | MessageType::FinalizeReco => 0,
        MessageType::MasterRequery => 255,
        MessageType::DerefLockres
        | MessageType::DerefDone
        | MessageType::MigrateRequest
        | MessageType::MigLockres
        | MessageType::LockRequest
        | MessageType::RecoDataDone
        | MessageType::QueryRegion
        | MessageType::QueryNodeinfo => -EINVAL,
    }
}

/// Errno values that travel in a status, negative.
pub(super) const EAGAIN: i32 = 11;
pub(super) const ENOMEM: i32 = 12;
pub(super) const EINVAL: i32 = 22;
pub(super) const EEXIST: i32 = 17;
