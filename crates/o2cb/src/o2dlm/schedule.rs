//! Grants, and notices to those in the way (`fs/ocfs2/dlm/dlmthread.c`, `dlmast.c`).

use super::domain::{Call, Domain, Event};
use super::message::{
    AstKind, Cookie, LkmFlags, LockMode, LockName, MessageType, ProxyAst, Queue, Status,
};
use super::resource::{LockKey, Lvb, Notice, Pending, ResourceKey, State};
use crate::mutants::{Mutant, planted};

impl Domain {
    /// Grants what has become grantable, then tells those who are in the way of the next.
    pub(super) fn run_scheduler(&mut self) {
        while let Some(key) = self.dirty.pop_front() {
            let Some(resource) = self.tables.resources.get_mut(key) else { continue };
            resource.state.remove(State::DIRTY);
            if resource.owner == Some(self.me) && resource.is_quiet() {
                self.schedule(key);
            }
            self.deliver_notices(key);
            self.note_use(key);
        }
    }

    /// Only the heads of the queues are considered; a conversion that cannot be granted holds back
    /// the blocked queue too, but not the notices for its head.
    fn schedule(&mut self, key: ResourceKey) {
        loop {
            let mut conversion_waits = false;
            if let Some(&head) = self.tables.resources[key].converting.front()
                && let Some(wanted) = self.tables.lock(head).convert
            {
                if self.notify_blockers(key, head, wanted) {
                    conversion_waits = true;
                } else {
                    self.grant_conversion(head);
                    continue;
                }
            }
            let Some(&head) = self.tables.resources[key].blocked.front() else { return };
            let wanted = self.tables.lock(head).mode;
            if self.notify_blockers(key, head, wanted) || conversion_waits {
                return;
            }
            self.tables.enqueue(head, Queue::Granted);
            self.grant(head, false);
        }
    }

    /// Queues a notice for each lock in the way of a mode; whether there is any.
    fn notify_blockers(&mut self, key: ResourceKey, own: LockKey, wanted: LockMode) -> bool {
        let resource = &self.tables.resources[key];
        let blockers: Vec<LockKey> = resource
            .granted
            .iter()
            .chain(resource.converting.iter())
            .copied()
            .filter(|&other| other != own && !self.tables.lock(other).mode.compatible(wanted))
            .collect();
        for &blocker in
            blockers.iter().take(if planted(Mutant::OneNotice) { 1 } else { usize::MAX })
        {
            let lock = self.tables.lock_mut(blocker);
            if lock.highest_blocked.is_none_or(|highest| highest < wanted) {
                lock.highest_blocked = Some(wanted);
            }
            let is_lost = planted(Mutant::NoticeLostBehindGrant) && lock.ast_queued;
            if !lock.bast_queued && !is_lost {
                lock.bast_queued = true;
                let notice = Notice::Bast { lock: blocker, cookie: lock.cookie };
                self.tables.resources[key].notices.push_back(notice);
            }
        }
        !blockers.is_empty()
    }

    /// Gives a converting lock its mode.
    pub(super) fn grant_conversion(&mut self, key: LockKey) {
        let lock = self.tables.lock_mut(key);
        let before = lock.mode;
        if let Some(mode) = lock.convert.take() {
            lock.mode = mode;
        }
        let lowers = lock.mode < before;
        let resource = lock.resource;
        if let Some(put) = lock.put.take().filter(|_| !planted(Mutant::ValueNotStored)) {
            // The writer's own copy is what it has written.
            lock.copy = Some(put.clone());
            self.tables.resources[resource].set_lvb(&put);
        }
        self.tables.enqueue(key, Queue::Granted);
        self.grant(key, lowers);
    }

    /// Tells the node of a granted lock. A notice that the new mode makes pointless is dropped.
    pub(super) fn grant(&mut self, key: LockKey, lowers: bool) {
        let lock = self.tables.lock_mut(key);
        let pointless = match lock.mode {
            LockMode::NL => true,
            LockMode::PR => lock.highest_blocked != Some(LockMode::EX),
            LockMode::EX => false,
        };
        if pointless && !planted(Mutant::PointlessNotice) {
            lock.highest_blocked = None;
        }
        let get = std::mem::take(&mut lock.get);
        lock.ast_queued = true;
        let (resource, cookie, in_the_way) = (lock.resource, lock.cookie, lock.bast_queued);
        let notices = &mut self.tables.resources[resource].notices;
        // It hears what it has before it hears whom that keeps waiting.
        let bast = notices.position(|notice| in_the_way && notice.is_bast_of(key));
        let bast = bast.and_then(|at| notices.remove(at));
        notices.push_back(Notice::Ast { lock: key, cookie, get, lowers });
        if let Some(bast) = bast {
            notices.push_back(bast);
        }
    }

    /// Tells what there is to tell, in order, up to a grant that lowers another node's mode.
    fn deliver_notices(&mut self, key: ResourceKey) {
        while !self.tables.resources[key].lowering
            && let Some(notice) = self.tables.resources[key].notices.pop_front()
        {
            match notice {
                Notice::Ast { lock, cookie, get, lowers } => {
                    if self.tables.same_lock(lock, cookie).is_none() {
                        continue;
                    }
                    let lvb = get.then(|| self.tables.resources[key].lvb());
                    let granted = self.tables.lock_mut(lock);
                    granted.ast_queued = false;
                    if granted.node == self.me {
                        self.complete_grant(lock, lvb);
                    } else {
                        self.tables.resources[key].lowering =
                            lowers && !planted(Mutant::GrantsBehindLowering);
                        self.send_ast(lock, AstKind::Ast, None, lvb, lowers);
                    }
                }
                Notice::Bast { lock, cookie } => self.deliver_bast(lock, cookie),
            }
        }
    }

    fn deliver_bast(&mut self, key: LockKey, cookie: Cookie) {
        if self.tables.same_lock(key, cookie).is_none() {
            return;
        }
        let lock = self.tables.lock_mut(key);
        if lock.asts_out > 0 && !self.ours.contains(lock.node) {
            // A kernel says one thing after the other. A BAST right behind the AST makes its dlmfs give
            // a lock up before the user who waited for it runs, over and over; and one right behind
            // another BAST comes while it gives the lock up, which it then cancels.
            return;
        }
        lock.bast_queued = false;
        let Some(level) = lock.highest_blocked.take() else { return };
        let resource = lock.resource;
        if lock.node == self.me {
            // Our `$RECOVERY` is nobody's, and given up soon, whoever wants it.
            if !self.tables.resources[resource].name.is_recovery() {
                self.event(Event::Blocked { lock: key, level });
            }
        } else {
            self.send_ast(key, AstKind::Bast, Some(level), None, false);
        }
    }

    fn send_ast(
        &mut self,
        key: LockKey,
        kind: AstKind,
        blocked: Option<LockMode>,
        lvb: Option<Lvb>,
        lowers: bool,
    ) {
        let lock = self.tables.lock_mut(key);
        lock.asts_out += 1;
        let (to, cookie) = (lock.node, lock.cookie);
        let resource = &mut self.tables.resources[self.tables.locks[key.index()].resource];
        resource.asts_out += 1;
        let name = resource.name;
        let flags = if lvb.is_some() { LkmFlags::GET_LVB } else { LkmFlags::empty() };
        let mut payload = self.buffer();
        ProxyAst { cookie, flags, node: self.me, kind, blocked, name, lvb }.encode(&mut payload);
        self.send(
            to,
            MessageType::ProxyAst,
            payload,
            Call::Ast { name, lock: key, cookie, lowers },
        );
    }

    pub(super) fn ast_answered(
        &mut self,
        name: LockName,
        lock: LockKey,
        cookie: Cookie,
        lowers: bool,
    ) {
        let mut waits = false;
        if self.tables.same_lock(lock, cookie).is_some() {
            let lock = self.tables.lock_mut(lock);
            lock.asts_out = lock.asts_out.saturating_sub(1);
            waits = lock.asts_out == 0 && lock.bast_queued;
        }
        // Whatever the answer: a lock that is not known there any more needs no notice.
        let Some(key) = self.tables.find(&name) else { return };
        let resource = &mut self.tables.resources[key];
        resource.asts_out = resource.asts_out.saturating_sub(1);
        // It was not put off if it is among the notices.
        if waits && resource.notices.position(|notice| notice.is_bast_of(lock)).is_none() {
            resource.notices.push_back(Notice::Bast { lock, cookie });
        }
        if lowers {
            resource.lowering = false;
        }
        self.deliver_notices(key);
        if self.tables.resources[key].is_told() {
            // Not scheduled anew: that would tell those in the way once more.
            self.note_use(key);
            self.migration_may_go_on(name);
        }
    }

    /// A lock of this node is granted: tells its user.
    pub(super) fn complete_grant(&mut self, key: LockKey, lvb: Option<Lvb>) {
        let resource = self.tables.lock(key).resource;
        if self.tables.resources[resource].name.is_recovery() {
            // The answer to its request says it all, and is still out.
            return;
        }
        let lock = self.tables.lock_mut(key);
        lock.operation = None;
        lock.get = false;
        lock.put = None;
        let mode = lock.mode;
        match &lvb {
            Some(lvb) => lock.copy = Some(Box::new(*lvb)),
            // What a lock below PR last read says nothing about now.
            None if mode < LockMode::PR => lock.copy = None,
            None => {}
        }
        let lvb = lvb.map(Box::new);
        self.event(Event::Granted { lock: key, mode, lvb });
        let lock = self.tables.lock_mut(key);
        if lock.cancelling {
            lock.cancelling = false;
            if lock.pending.contains(Pending::CANCEL) && !planted(Mutant::CancelCompletesTwice) {
                lock.pending.insert(Pending::CANCEL_LOST);
            }
            let status = Status::CancelGrant;
            self.event(Event::Unlocked { lock: key, status, gone: false });
        }
    }

    /// The owner of a resource tells about a lock of ours (`dlm_proxy_ast_handler`).
    ///
    /// Never answered RECOVERING or MIGRATING: a kernel owner crashes on them.
    pub(super) fn on_proxy_ast(&mut self, message: ProxyAst) -> i32 {
        let ProxyAst { cookie, node, kind, blocked, name, lvb, .. } = message;
        if !self.members.contains(node) && !planted(Mutant::LastWordsOfTheDead) {
            // Its last words: what it granted was recovered as it was then.
            return Status::Normal.to_wire();
        }
        let Some(resource) = self.tables.find(&name) else { return Status::IvLockId.to_wire() };
        let found = &self.tables.resources[resource];
        if found.state.contains(State::RECOVERING) && !planted(Mutant::LastWordsOfTheDead) {
            return Status::Normal.to_wire();
        }
        if found.owner.is_some_and(|owner| owner != node) {
            self.contradiction("another node than the owner speaks of a lock", Some(&name));
            return Status::IvLockId.to_wire();
        }
        if name.is_recovery() {
            // Its request was answered, or will be; no user of ours knows it.
            return Status::Normal.to_wire();
        }
        let queues: &[Queue] = match kind {
            AstKind::Ast => &[Queue::Converting, Queue::Blocked],
            AstKind::Bast => &[Queue::Converting, Queue::Granted],
        };
        let Some(key) = self.tables.find_lock(resource, queues, cookie, self.me) else {
            return Status::Normal.to_wire();
        };
        match kind {
            AstKind::Ast => {
                let lock = self.tables.lock_mut(key);
                let below = lock.queue == Some(Queue::Blocked) || lock.mode < LockMode::PR;
                if below && lvb.is_none() {
                    lock.copy = None;
                }
                if let Some(mode) = lock.convert.take() {
                    lock.mode = mode;
                }
                self.tables.enqueue(key, Queue::Granted);
                self.complete_grant(key, lvb);
            }
            AstKind::Bast => {
                let unlocking = self.tables.lock(key).pending.contains(Pending::UNLOCK);
                if let Some(level) = blocked.filter(|_| !unlocking) {
                    self.event(Event::Blocked { lock: key, level });
                }
            }
        }
        Status::Normal.to_wire()
    }
}
