//! Leaving a domain (`fs/ocfs2/dlm/dlmdomain.c: dlm_unregister_domain`).

use super::domain::{Call, CallError, Domain, DomainState, Event, Timer};
use super::message::{BeginExit, ExitDomain, MessageType};
use super::resource::ResourceKey;
use crate::{NodeId, NodeMap, Now};

/// How often what is still here is looked at, in milliseconds.
const LOOK_MS: u64 = 500;

/// The pause before an exit is told again, in milliseconds.
const EXIT_AGAIN_MS: u64 = 200;

/// A departure.
#[derive(Debug)]
pub(super) struct Leave {
    /// Members that have not heard that we have left.
    to_tell: NodeMap,
}

impl Domain {
    /// Begins to leave: what is mastered here migrates to others. [`Event::Left`] tells the end. The
    /// local users have dropped all their locks.
    pub fn leave(&mut self, now: Now) {
        self.now = now;
        if self.state != DomainState::Joined {
            return;
        }
        self.state = DomainState::InShutdown;
        self.leave = Some(Leave { to_tell: NodeMap::EMPTY });
        if self.dlm_minor >= 2 {
            for node in self.others().iter() {
                let mut payload = Vec::new();
                BeginExit { node: self.me }.encode(&mut payload);
                self.send(node, MessageType::BeginExit, payload, Call::Notice);
            }
        }
        self.drive_leave();
        self.settle();
    }

    pub(super) fn drive_leave(&mut self) {
        if self.state != DomainState::InShutdown {
            return;
        }
        let keys: Vec<ResourceKey> = self.tables.resources.iter().map(|(key, _)| key).collect();
        for key in keys {
            if self.tables.resources.contains(key) {
                self.note_use(key);
            }
            if self.tables.resources.contains(key) {
                self.migrate(key);
            }
        }
        self.leave_if_empty();
        if self.state == DomainState::InShutdown {
            self.after(LOOK_MS, Timer::Leave);
        }
    }

    pub(super) fn leave_if_empty(&mut self) {
        let empty = self.state == DomainState::InShutdown
            && self.tables.resources.is_empty()
            && !self.recovery.is_pending()
            && self.joining.is_none();
        if !empty {
            return;
        }
        self.state = DomainState::Leaving;
        let others = self.others();
        self.members.remove(self.me);
        if let Some(leave) = &mut self.leave {
            leave.to_tell = others;
        }
        for node in others.iter() {
            self.tell_exit(node);
        }
        self.left_if_told();
    }

    fn tell_exit(&mut self, node: NodeId) {
        let mut payload = Vec::new();
        ExitDomain { node: self.me }.encode(&mut payload);
        self.send(node, MessageType::ExitDomain, payload, Call::Exit { node });
    }

    pub(super) fn exit_again(&mut self, node: NodeId) {
        if self.leave.as_ref().is_some_and(|leave| leave.to_tell.contains(node)) {
            self.tell_exit(node);
        }
    }

    pub(super) fn exit_done(&mut self, node: NodeId, result: Result<i32, CallError>) {
        match result {
            Ok(status) if status < 0 => self.after(EXIT_AGAIN_MS, Timer::Exit { node }),
            // Who cannot be reached, or has left itself, need not know.
            Ok(_) | Err(_) => {
                if let Some(leave) = &mut self.leave {
                    leave.to_tell.remove(node);
                }
                self.left_if_told();
            }
        }
    }

    pub(super) fn left_if_told(&mut self) {
        if self.state == DomainState::Leaving
            && self.leave.as_ref().is_some_and(|leave| leave.to_tell.is_empty())
        {
            self.state = DomainState::Left;
            self.leave = None;
            self.members = NodeMap::EMPTY;
            self.mles.clear();
            self.event(Event::Left);
        }
    }

    /// A member is about to leave: nothing should migrate to it.
    pub(super) fn on_begin_exit(&mut self, message: BeginExit) -> i32 {
        if self.members.contains(message.node) {
            self.exiting.insert(message.node);
        }
        0
    }

    /// A member has left. It mastered nothing any more, and nothing is recovered.
    pub(super) fn on_exit_domain(&mut self, message: ExitDomain) -> i32 {
        let node = message.node;
        if node != self.me && self.members.remove(node) {
            self.exiting.remove(node);
            self.forget_references(node);
            self.vote_node_down(node);
            self.doubt_node_gone(node);
            self.recovery_node_gone(node);
            if let Some(leave) = &mut self.leave {
                leave.to_tell.remove(node);
                self.left_if_told();
            }
        }
        0
    }

    /// A node that has left knows no resource, and holds no lock. (A kernel takes its word for the
    /// latter, and keeps for ever what it has not dropped.)
    fn forget_references(&mut self, node: NodeId) {
        let mut changed = Vec::new();
        let mut left = Vec::new();
        for (key, resource) in &mut self.tables.resources {
            let before = left.len();
            left.extend(
                resource.locks().filter(|lock| self.tables.locks[lock.index()].node == node),
            );
            if resource.refmap.remove(node) || left.len() > before {
                changed.push(key);
            }
        }
        if !left.is_empty() {
            self.contradiction("a node leaves that still has locks", None);
        }
        for lock in left {
            self.tables.remove_lock(lock);
        }
        for key in changed {
            self.dirty(key);
        }
    }
}

impl Leave {
    /// A node is gone and need not be told.
    pub(super) fn node_gone(&mut self, node: NodeId) {
        self.to_tell.remove(node);
    }
}
