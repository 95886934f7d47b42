//! I15, I3: a master's table is what the holders know, and what their users know.
//!
//! Source: `fs/ocfs2/dlm/dlmthread.c: dlm_shuffle_lists`, which decides by the table alone.

use o2cb::o2dlm::message::Queue;
use o2cb::o2dlm::{LockSnapshot, ResourceSnapshot};

use crate::world::World;

const CHECK: &str = "I15 tables";

impl World {
    pub(crate) fn check_tables(&mut self, domain: usize) {
        let mut wrong = None;
        for (at, engine) in self.engines(domain) {
            let me = self.nodes[at].id;
            let mut shadows = 0;
            for resource in engine.resources().filter(|resource| !resource.name.is_recovery()) {
                for lock in resource.locks.iter().filter(|lock| lock.node == me) {
                    shadows += 1;
                    wrong = wrong.or_else(|| self.user_differs(at, domain, &resource, lock));
                    wrong = wrong.or_else(|| self.master_differs(domain, &resource, lock));
                }
                let owns = resource.owner == Some(me);
                for lock in resource.locks.iter().filter(|lock| lock.node != me) {
                    let theirs = self.engine_of(domain, lock.node);
                    let theirs = theirs.and_then(|engine| engine.resource(&resource.name));
                    if !owns {
                        wrong = Some(format!("n{me} keeps others' locks on {}", resource.name));
                    } else if theirs.is_none_or(|theirs| same_lock(&theirs, lock).is_none()) {
                        wrong = Some(format!("{lock:?} on {} is nobody's", resource.name));
                    }
                }
            }
            let up = self.nodes[at].up.as_ref();
            let users = up.map_or(0, |up| up.domains[domain].client.locks.len());
            if shadows != users && wrong.is_none() {
                wrong = Some(format!("n{me} has {shadows} locks on queues, its users {users}"));
            }
        }
        if let Some(wrong) = wrong {
            self.fail(CHECK, wrong);
        }
    }

    fn user_differs(
        &self,
        at: usize,
        domain: usize,
        resource: &ResourceSnapshot,
        lock: &LockSnapshot,
    ) -> Option<String> {
        let (me, name) = (self.nodes[at].id, resource.name);
        let up = self.nodes[at].up.as_ref()?;
        let Some(held) = up.domains[domain].client.locks.get(&lock.key) else {
            return Some(format!("no user of n{me} knows {lock:?} on {name}"));
        };
        let waits = lock.queue != Some(Queue::Granted);
        let mode = (lock.queue != Some(Queue::Blocked)).then_some(lock.mode);
        let differs = held.mode != mode || held.asked.is_some() != waits || held.cancelling;
        differs.then(|| format!("{lock:?} on {name} is {held:?} to its user"))
    }

    fn master_differs(
        &self,
        domain: usize,
        resource: &ResourceSnapshot,
        lock: &LockSnapshot,
    ) -> Option<String> {
        let name = resource.name;
        let table = self.engine_of(domain, resource.owner?)?.resource(&name);
        let same = table.is_some_and(|table| {
            same_lock(&table, lock).is_some_and(|other| {
                other.queue == lock.queue
                    && other.mode == lock.mode
                    && other.convert == lock.convert
            })
        });
        (!same).then(|| format!("the master of {name} does not have {lock:?} so"))
    }
}

/// The same lock in the table of another node.
pub(crate) fn same_lock<'a>(
    table: &'a ResourceSnapshot,
    lock: &LockSnapshot,
) -> Option<&'a LockSnapshot> {
    table.locks.iter().find(|other| other.cookie == lock.cookie && other.node == lock.node)
}

/// A lock that is twice in a table: its node gives up one of them.
pub(super) fn twins(resource: &ResourceSnapshot) -> Option<String> {
    let locks = resource.locks.iter().enumerate();
    let twin = locks.map(|(at, lock)| (lock, &resource.locks[..at])).find(|(lock, before)| {
        before.iter().any(|other| (other.node, other.cookie) == (lock.node, lock.cookie))
    });
    twin.map(|(lock, _)| format!("{lock:?} on {} is there twice", resource.name))
}
