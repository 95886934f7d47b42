//! I4, I12, I14, I16: whoever waits is kept waiting by somebody, who was told so; who asked not to wait
//! does not.
//!
//! Source: `fs/ocfs2/dlm/dlmthread.c: dlm_shuffle_lists`, which tells everybody in the way of the first.

use o2cb::o2dlm::message::Queue;
use o2cb::o2dlm::{LockSnapshot, ResourceSnapshot};

use super::tables::{same_lock, twins};
use crate::user::{Asked, Held};
use crate::world::World;

impl World {
    /// Of every resource when all has settled; before that, of those about which nothing is on its way.
    pub(crate) fn check_notices(&mut self, domain: usize, settled: bool) {
        let mut wrong = None;
        let mut twice = None;
        for (at, engine) in self.engines(domain) {
            // (Whoever may have been taken for dead tells nobody.)
            if !settled && (engine.is_recovering() || self.is_out(at)) {
                continue;
            }
            let me = self.nodes[at].id;
            for resource in engine.resources().filter(|found| found.owner == Some(me)) {
                twice = twice.or_else(|| twins(&resource));
                let quiet =
                    resource.told && resource.busy.is_empty() && !resource.name.is_recovery();
                if settled || quiet {
                    wrong = wrong.or_else(|| self.head_without_notice(domain, &resource, settled));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.fail("I16 waiters", wrong);
        }
        if let Some(twice) = twice {
            self.fail("I15 tables", twice);
        }
        self.check_noqueue(domain);
    }

    /// Whether a node may have been taken for dead, or hangs on its way there.
    fn is_out(&self, index: usize) -> bool {
        self.may_be_replaced(index) || self.hangs(index)
    }

    fn head_without_notice(
        &self,
        domain: usize,
        resource: &ResourceSnapshot,
        settled: bool,
    ) -> Option<String> {
        let head = |queue| resource.locks.iter().find(|lock| lock.queue == Some(queue));
        let converting = head(Queue::Converting);
        let blocked = head(Queue::Blocked);
        let mut in_the_way = 0;
        for (waits, wanted) in [
            (converting, converting.and_then(|lock| lock.convert)),
            (blocked, blocked.map(|lock| lock.mode)),
        ] {
            let (Some(waits), Some(wanted)) = (waits, wanted) else { continue };
            for lock in resource.locks.iter().filter(|lock| {
                lock.queue != Some(Queue::Blocked)
                    && (lock.cookie, lock.node) != (waits.cookie, waits.node)
                    && !lock.mode.compatible(wanted)
            }) {
                in_the_way += 1;
                let untold = |held: &Held| held.blocks < Some(wanted);
                // (Whoever gives it up need not be told, but nobody does any more when all has settled.)
                let stays =
                    |held: &Held| !held.abandoned && !held.cancelling && held.asked.is_none();
                let held = self.held_as(domain, resource, lock);
                let wrong = if settled {
                    held.is_none_or(untold)
                } else {
                    held.is_some_and(|held| untold(held) && stays(held))
                };
                if wrong {
                    return Some(format!("{lock:?} on {} has no notice", resource.name));
                }
            }
            if in_the_way == 0 {
                return Some(format!("{waits:?} on {} waits for nobody", resource.name));
            }
        }
        None
    }

    fn held_as(
        &self,
        domain: usize,
        resource: &ResourceSnapshot,
        lock: &LockSnapshot,
    ) -> Option<&Held> {
        let theirs = self.engine_of(domain, lock.node)?.resource(&resource.name)?;
        let own = same_lock(&theirs, lock)?.key;
        let at = self.index_of(lock.node).filter(|at| !self.hangs(*at))?;
        let up = self.nodes[at].up.as_ref()?;
        up.domains[domain].client.locks.get(&own)
    }

    /// Whoever asked not to wait is on no queue of waiters, at any time.
    pub(crate) fn check_noqueue(&mut self, domain: usize) {
        let mut wrong = None;
        for (at, engine) in self.engines(domain) {
            // (What another has taken over meanwhile may be asked for otherwise there.)
            if self.is_out(at) {
                continue;
            }
            let me = self.nodes[at].id;
            for resource in engine.resources().filter(|found| found.owner == Some(me)) {
                let waits = |lock: &&LockSnapshot| {
                    matches!(lock.queue, Some(Queue::Converting | Queue::Blocked))
                };
                for lock in resource.locks.iter().filter(waits) {
                    let noqueue = match self.held_as(domain, &resource, lock).and_then(|h| h.asked)
                    {
                        Some(Asked::Create { noqueue, .. } | Asked::Convert { noqueue, .. }) => {
                            noqueue
                        }
                        _ => false,
                    };
                    // Who recovers takes over what its members know of, waiting or not.
                    if noqueue && !engine.is_recovering() && resource.busy.is_empty() {
                        let name = resource.name;
                        wrong = Some(format!("{lock:?} on {name} waits, and asked not to"));
                    }
                }
            }
        }
        if let Some(wrong) = wrong {
            self.fail("I12 NOQUEUE", wrong);
        }
    }
}
