//! What must hold of every frame and every status, lest a kernel at the other end crash, or serve its
//! users wrongly. The receiver's state stands for what a kernel in its place would know.

use std::collections::{BTreeMap, BTreeSet};

use stackglue_o2cb::NodeId;
use stackglue_o2cb::o2dlm::message::{
    AssertFlags, AssertMaster, AstKind, BeginReco, ConvertLock, Cookie, CreateLock, DerefLockres,
    FinalizeReco, LkmFlags, LockName, LockRequest, LvbFlags, MasterRequery, MessageType, MigFlags,
    MigLockres, MigrateRequest, ProxyAst, Queue, RecoDataDone, Status, UnlockLock,
};
use stackglue_o2cb::o2dlm::{DomainState, ResourceSnapshot};

use crate::world::World;

/// What the frames so far have led to.
#[derive(Default)]
pub(crate) struct Frames {
    /// By member: the node that it has agreed to let in.
    joining: BTreeMap<NodeId, NodeId>,
    /// Locks whose node has asked for the value with the next grant.
    reads: BTreeSet<(NodeId, Cookie)>,
    /// Locks whose owner holds a value, or the wish for one, until the next grant.
    value_out: BTreeMap<(NodeId, Cookie), NodeId>,
    /// By receiver and name: migrations between two others that are not over.
    moving: BTreeMap<(NodeId, LockName), MigrateRequest>,
    /// By recovery master and member: recoveries whose locks were asked for, and have not all come.
    collecting: BTreeMap<(NodeId, NodeId), NodeId>,
    /// By member: the recovery that it was told of, and whether its first stage of the end has come.
    recovering: BTreeMap<NodeId, (BeginReco, bool)>,
    /// Masters that were asked for another round of assertions, and by whom.
    reassert_owed: BTreeMap<(NodeId, LockName), NodeId>,
    /// References that are dropped when the owner says so.
    deref_done_owed: BTreeSet<(NodeId, NodeId, LockName)>,
}

impl Frames {
    /// A node begins anew.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.joining.retain(|at, joining| *at != node && *joining != node);
        self.reads.retain(|(at, _)| *at != node);
        self.value_out.retain(|(at, _), owner| *at != node && *owner != node);
        self.moving.retain(|(at, _), _| *at != node);
        self.collecting.retain(|(master, member), _| *master != node && *member != node);
        self.recovering.remove(&node);
        self.reassert_owed.retain(|(owner, _), by| *owner != node && *by != node);
        self.deref_done_owed.retain(|(owner, to, _)| *owner != node && *to != node);
    }

    /// An observer has missed a node.
    pub(crate) fn died(&mut self, observer: NodeId, dead: NodeId) {
        self.joining.retain(|at, joining| *at != observer || *joining != dead);
        self.moving.retain(|(at, _), move_| {
            *at != observer || (move_.old_master != dead && move_.new_master != dead)
        });
        self.value_out.retain(|(at, _), owner| *at != dead && *owner != dead);
        self.reassert_owed.retain(|_, by| *by != dead);
        self.deref_done_owed.retain(|(owner, to, _)| *owner != dead && *to != dead);
        // (To another master its last words may be on their way.)
        self.collecting.retain(|(master, member), _| {
            *master != dead && (*master != observer || *member != dead)
        });
        if self.recovering.get(&observer).is_some_and(|(begin, _)| begin.node == dead) {
            self.recovering.remove(&observer);
        }
    }
}

/// Whether a receiver's state would crash it, by the kernel's checks.
impl World {
    /// What a sender must know of itself, whatever the receiver.
    pub(crate) fn check_sent(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: MessageType,
        payload: &[u8],
    ) {
        let sender = &self.nodes[&from].domain;
        let leaves_or_joins = matches!(
            message,
            MessageType::QueryJoin
                | MessageType::QueryNodeinfo
                | MessageType::QueryRegion
                | MessageType::AssertJoined
                | MessageType::CancelJoin
                | MessageType::ExitDomain
        );
        // (What goes to the dead is lost.)
        let sees = self.nodes[&from].sees.contains(to);
        if sees && !leaves_or_joins && !sender.members().contains(to) {
            self.fail(&format!("n{from} sends {message:?} to n{to}, which is no member"));
        }
        match message {
            MessageType::ProxyAst => {
                let ast = ProxyAst::decode(payload).expect("ours");
                let resource = sender.resource(&ast.name);
                let owns = resource.as_ref().is_some_and(|found| found.owner == Some(from));
                if !owns {
                    self.fail(&format!("n{from} speaks of locks on {}, not its own", ast.name));
                }
                // Invariant I4: the lock is in the way.
                if let (Some(level), Some(found)) = (ast.blocked, resource)
                    && ast.kind == AstKind::Bast
                    && let Some(lock) =
                        found.locks.iter().find(|lock| lock.cookie == ast.cookie && lock.node == to)
                    && lock.mode.compatible(level)
                {
                    self.fail(&format!("n{from} tells {lock:?} that it keeps {level:?} waiting"));
                }
            }
            MessageType::DerefLockres => {
                let message = DerefLockres::decode(payload).expect("ours");
                let own = self.resource(from, &message.name);
                if sees && own.is_none_or(|own| own.owner != Some(to)) {
                    self.fail(&format!("n{from} drops a reference to {} at n{to}", message.name));
                }
            }
            MessageType::AssertMaster => {
                let message = AssertMaster::decode(payload).expect("ours");
                self.frames.reassert_owed.remove(&(from, message.name));
            }
            MessageType::CreateLock => {
                let create = CreateLock::decode(payload).expect("ours");
                if create.flags.contains(LkmFlags::GET_LVB) {
                    self.frames.reads.insert((from, create.cookie));
                }
            }
            MessageType::ConvertLock => {
                let convert = ConvertLock::decode(payload).expect("ours");
                if convert.flags.contains(LkmFlags::GET_LVB) {
                    self.frames.reads.insert((from, convert.cookie));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn check_request(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: MessageType,
        payload: &[u8],
    ) {
        let wrong = match message {
            MessageType::AssertJoined | MessageType::CancelJoin => {
                (self.frames.joining.get(&to) != Some(&from)).then_some("is not about to join")
            }
            MessageType::AssertMaster => {
                let message = AssertMaster::decode(payload).expect("ours");
                if message.flags.contains(AssertFlags::FINISH_MIGRATION) {
                    self.frames.moving.remove(&(to, message.name));
                }
                None
            }
            MessageType::CreateLock => None,
            MessageType::ConvertLock => {
                self.check_convert(to, ConvertLock::decode(payload).expect("ours"))
            }
            MessageType::ProxyAst => {
                self.check_proxy_ast(to, &ProxyAst::decode(payload).expect("ours"))
            }
            MessageType::DerefLockres => {
                let message = DerefLockres::decode(payload).expect("ours");
                // Whoever is on its way out may have handed it over since.
                let stays = self.nodes[&to].domain.state() == DomainState::Joined;
                match self.resource(to, &message.name).filter(|_| stays) {
                    Some(found) if found.busy.contains("DROPPING_REF") => {
                        Some("drops its own reference")
                    }
                    Some(found) if found.owner == Some(to) => None,
                    Some(_) => Some("does not own what the reference is to"),
                    None if stays => Some("does not know what the reference is to"),
                    None => None,
                }
            }
            MessageType::MigrateRequest => {
                let message = MigrateRequest::decode(payload).expect("ours");
                let before = self.frames.moving.insert((to, message.name), message);
                before.is_some().then_some("knows another migration of the name")
            }
            MessageType::MigLockres => {
                self.check_locks(from, to, &MigLockres::decode(payload).expect("ours"))
            }
            MessageType::LockRequest | MessageType::BeginReco => None,
            MessageType::RecoDataDone => {
                let message = RecoDataDone::decode(payload).expect("ours");
                (self.frames.collecting.remove(&(to, from)) != Some(message.dead))
                    .then_some("has not asked for these locks")
            }
            MessageType::FinalizeReco => {
                let message = FinalizeReco::decode(payload).expect("ours");
                self.check_finalize(to, message)
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.fail(&format!("n{from} sends {message:?} to n{to}, which {wrong}"));
        }
    }

    fn resource(&self, id: NodeId, name: &LockName) -> Option<ResourceSnapshot> {
        self.nodes[&id].domain.resource(name)
    }

    fn check_convert(&self, to: NodeId, convert: ConvertLock) -> Option<&'static str> {
        let flags = convert.flags;
        let value = flags.intersects(LkmFlags::PUT_LVB | LkmFlags::GET_LVB);
        if flags.contains(LkmFlags::PUT_LVB | LkmFlags::GET_LVB) {
            return Some("cannot both store and deliver a value");
        }
        if value && self.frames.value_out.get(&(convert.node, convert.cookie)) == Some(&to) {
            return Some("has not delivered the grant before");
        }
        None
    }

    fn check_proxy_ast(&mut self, to: NodeId, ast: &ProxyAst) -> Option<&'static str> {
        let key = (to, ast.cookie);
        let wanted = self.frames.reads.contains(&key);
        if ast.lvb.is_some() != ast.flags.contains(LkmFlags::GET_LVB) {
            return Some("takes a value only with its flag");
        }
        let found = self.resource(to, &ast.name);
        let waits = found.as_ref().is_some_and(|found| {
            found.locks.iter().any(|lock| {
                lock.cookie == ast.cookie
                    && matches!(lock.queue, Some(Queue::Converting | Queue::Blocked))
            })
        });
        if ast.kind == AstKind::Ast {
            self.frames.reads.remove(&key);
            self.frames.value_out.remove(&key);
            if ast.lvb.is_some() && waits && !wanted {
                return Some("did not ask for the value");
            }
        }
        if found.is_some_and(|found| found.owner == Some(to)) {
            return Some("owns the resource");
        }
        None
    }

    fn check_locks(&self, from: NodeId, to: NodeId, message: &MigLockres) -> Option<&'static str> {
        let recovery = message.flags.contains(MigFlags::RECOVERY);
        if recovery == message.flags.contains(MigFlags::MIGRATION) {
            return Some("wants either recovery or migration");
        }
        if message.owner.is_none() && !recovery {
            return Some("wants to know the owner");
        }
        let found = self.resource(to, &message.name);
        let mut lvb = found.as_ref().map_or([0; 64], |found| found.lvb);
        for lock in &message.locks {
            if lock.is_dummy() {
                if message.locks.len() != 1 || lock.node != from {
                    return Some("takes a dummy only alone");
                }
                continue;
            }
            if lock.highest_blocked.is_some()
                || (lock.convert.is_some() && lock.queue != Queue::Converting)
            {
                return Some("takes no such lock");
            }
            let known = found.as_ref().is_some_and(|found| {
                found.locks.iter().any(|own| own.cookie == lock.cookie && own.node == lock.node)
            });
            if lock.node == to {
                if recovery || !known {
                    return Some("does not take its own lock");
                }
                continue;
            }
            if recovery && lock.node != from {
                return Some("takes only the sender's locks");
            }
            let Some(mode) = lock.mode else { return Some("takes no lock without a mode") };
            let conflicts = found.as_ref().is_some_and(|found| {
                found.locks.iter().any(|other| {
                    other.queue != Some(Queue::Blocked)
                        && other.queue.is_some()
                        && (other.cookie, other.node) != (lock.cookie, lock.node)
                        && !other.mode.compatible(mode)
                })
            });
            if conflicts && lock.queue != Queue::Blocked {
                return Some("has granted a lock that excludes this one");
            }
            let has_value = mode.to_wire() > 0
                && lock.queue != Queue::Blocked
                && message.lvb != [0; 64]
                && !known;
            if !has_value {
                continue;
            }
            if !lock.lvb_flags.contains(LvbFlags::PUT)
                && lvb != [0; 64]
                && (mode.to_wire() == 5 || lvb != message.lvb)
            {
                return Some("has another value already");
            }
            lvb = message.lvb;
        }
        None
    }

    fn check_finalize(&mut self, to: NodeId, message: FinalizeReco) -> Option<&'static str> {
        let Some((begin, stage1)) = self.frames.recovering.get_mut(&to) else {
            return Some("knows no recovery");
        };
        if begin.node != message.node || begin.dead != message.dead {
            return Some("knows another recovery");
        }
        if *stage1 != message.stage2 {
            return Some("is at another stage of it");
        }
        *stage1 = true;
        if message.stage2 {
            self.frames.recovering.remove(&to);
        }
        None
    }

    pub(crate) fn check_reply(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: MessageType,
        payload: &[u8],
        status: i32,
    ) {
        let allowed: &[i32] = match message {
            MessageType::MasterRequest => &[0, 1, 2, 3],
            MessageType::AssertMaster => &[0, 1, 2, 3],
            // NORMAL, NOTQUEUED, FORWARD, RECOVERING, MIGRATING: others reach the peer's users.
            MessageType::CreateLock | MessageType::ConvertLock => &[0, 21, 32, 39, 40],
            // NORMAL and IVLOCKID.
            MessageType::ProxyAst => &[0, 11],
            // NORMAL, CANCELGRANT, NOLOCKMGR, FORWARD, RECOVERING, MIGRATING.
            MessageType::UnlockLock => &[0, 10, 17, 32, 39, 40],
            MessageType::DerefLockres => &[0, 1, -22],
            MessageType::MigrateRequest => &[0, 1],
            MessageType::MigLockres => &[0, -22],
            MessageType::AssertJoined | MessageType::BeginReco => &[0, -11],
            MessageType::MasterRequery => &[],
            // An EINVAL would leave our locks out of the recovery.
            MessageType::LockRequest => &[0, -12],
            MessageType::QueryJoin => &[],
            // Nothing else fails where all is well.
            MessageType::CancelJoin
            | MessageType::ExitDomain
            | MessageType::RecoDataDone
            | MessageType::FinalizeReco
            | MessageType::QueryRegion
            | MessageType::QueryNodeinfo
            | MessageType::BeginExit
            | MessageType::DerefDone => &[0],
        };
        let owner_or_unknown = message == MessageType::MasterRequery
            && MasterRequery::decode(payload).is_ok()
            && (0..=255).contains(&status);
        let join = message == MessageType::QueryJoin && status & 0xFF == 0 && status >> 24 <= 2;
        if !allowed.contains(&status) && !owner_or_unknown && !join {
            self.fail(&format!("n{to} answers {status} to n{from}'s {message:?}"));
        }
        self.learn_from_reply(from, to, message, payload, status);
    }

    fn learn_from_reply(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: MessageType,
        payload: &[u8],
        status: i32,
    ) {
        let normal = status == Status::Normal.to_wire();
        let frames = &mut self.frames;
        match message {
            MessageType::QueryJoin if status >> 24 == 1 => {
                frames.joining.insert(to, from);
            }
            MessageType::AssertJoined if status == 0 => {
                frames.joining.remove(&to);
            }
            MessageType::CancelJoin => {
                frames.joining.remove(&to);
            }
            MessageType::CreateLock if normal => {
                let create = CreateLock::decode(payload).expect("ours");
                if create.flags.contains(LkmFlags::GET_LVB) {
                    frames.value_out.insert((from, create.cookie), to);
                }
            }
            MessageType::ConvertLock => {
                let convert = ConvertLock::decode(payload).expect("ours");
                let value = convert.flags.intersects(LkmFlags::PUT_LVB | LkmFlags::GET_LVB);
                if normal && value {
                    frames.value_out.insert((from, convert.cookie), to);
                }
            }
            MessageType::UnlockLock if normal => {
                let unlock = UnlockLock::decode(payload).expect("ours");
                frames.value_out.remove(&(from, unlock.cookie));
            }
            MessageType::AssertMaster if status & 1 != 0 => {
                let message = AssertMaster::decode(payload).expect("ours");
                frames.reassert_owed.insert((from, message.name), to);
            }
            MessageType::MigrateRequest if status < 0 => {
                let message = MigrateRequest::decode(payload).expect("ours");
                frames.moving.remove(&(to, message.name));
            }
            MessageType::LockRequest if status == 0 => {
                let message = LockRequest::decode(payload).expect("ours");
                frames.collecting.insert((from, to), message.dead);
            }
            MessageType::BeginReco if status == 0 => {
                let begin = BeginReco::decode(payload).expect("ours");
                frames.recovering.insert(to, (begin, false));
            }
            MessageType::DerefLockres if status == 1 => {
                let message = DerefLockres::decode(payload).expect("ours");
                frames.deref_done_owed.insert((to, from, message.name));
            }
            MessageType::DerefDone => {
                let message = DerefLockres::decode(payload).expect("the same layout");
                frames.deref_done_owed.remove(&(from, to, message.name));
            }
            _ => {}
        }
    }

    /// Everything that a frame has promised was done.
    pub(crate) fn check_promises(&self) {
        let living = |id: &NodeId| {
            let node = &self.nodes[id];
            node.alive && node.domain.state() == DomainState::Joined
        };
        for (owner, to, name) in &self.frames.deref_done_owed {
            if living(owner) && living(to) {
                self.fail(&format!("n{owner} still owes n{to} a DEREF_DONE of {name}"));
            }
        }
        for ((owner, name), by) in &self.frames.reassert_owed {
            if living(owner) && living(by) {
                self.fail(&format!("n{owner} still owes another round about {name}"));
            }
        }
        for (at, joining) in &self.frames.joining {
            if living(at) {
                self.fail(&format!("n{at} still waits for n{joining} to join"));
            }
        }
        for (at, name) in self.frames.moving.keys() {
            if living(at) {
                self.fail(&format!("n{at} still waits for the end of {name}'s migration"));
            }
        }
    }
}
