//! I1: at every instant, what users rely on is compatible, judged at the holders.
//!
//! Source: the definition of a lock (`fs/ocfs2/dlm/dlmcommon.h: dlm_lock_compatible`). A user whose node
//! has passed its own deadline holds nothing: the node stops itself before anybody acts on it, and
//! whoever took its locks over waited for that.

use std::time::Duration;

use o2cb::Now;
use o2cb::heartbeat::RegionStatus;
use o2cb::o2dlm::LockKey;
use o2cb::o2dlm::message::LockMode;

use crate::world::World;

impl World {
    /// A lock was granted: who else relies on what excludes it?
    pub(crate) fn check_exclusion(&mut self, index: usize, domain: usize, key: LockKey) {
        if self.may_be_replaced(index) {
            return;
        }
        let Some(own) = self.held(index, domain, key) else { return };
        let (name, mode) = (own.name, own.relies_on());
        if mode == LockMode::NL {
            return;
        }
        let mut conflicts = Vec::new();
        for (other, node) in self.nodes.iter().enumerate() {
            let Some(up) = &node.up else { continue };
            for (other_key, held) in up.domains[domain].client.locks.on(name) {
                let same = (other, other_key) == (index, key);
                if !same && !held.relies_on().compatible(mode) {
                    conflicts.push((other, other_key, held.relies_on()));
                }
            }
        }
        for (other, other_key, held) in conflicts {
            if !self.may_be_replaced(other) {
                let (me, node) = (self.nodes[index].id, self.nodes[other].id);
                self.fail(
                    "I1 exclusion",
                    format!(
                        "{name} in d{domain} is granted {mode:?} to n{me} ({key:?}) while n{node} \
                         holds {held:?} ({other_key:?})"
                    ),
                );
            }
        }
    }

    /// Whether a node should have stopped itself by now, and will before it does anything else.
    pub(crate) fn is_past_deadline(&self, index: usize) -> bool {
        self.has_expired(index, |region| region.deadline)
    }

    /// Whether others may have taken a node for dead. Time that was negotiated is not defended: nodes
    /// agree that all their disks hang, and if they do not come back together, some count on.
    pub(crate) fn may_be_replaced(&self, index: usize) -> bool {
        let length = self.plan.timeouts.write_timeout();
        self.has_expired(index, |region| {
            let written = region.last_good_pass.map(|at| at + length);
            region.deadline.min(written).or(region.deadline)
        })
    }

    /// Whether a node lives on time that it has agreed on, or did when it was last seen.
    pub(crate) fn lived_on_agreed_time(&self, index: usize) -> bool {
        let dead = Duration::from_millis(self.plan.timeouts.dead_ms().into());
        let lives_on = self.may_be_replaced(index) && !self.is_past_deadline(index);
        lives_on || self.nodes[index].agreed_time.is_some_and(|at| at + dead >= self.now)
    }

    /// Takes note of who does.
    pub(crate) fn note_agreed_time(&mut self) {
        for index in 0..self.nodes.len() {
            if self.may_be_replaced(index) && !self.is_past_deadline(index) {
                self.nodes[index].agreed_time = Some(self.now);
            }
        }
    }

    fn has_expired(
        &self,
        index: usize,
        deadline: impl Fn(&RegionStatus<'_>) -> Option<Now>,
    ) -> bool {
        let local = self.local(index);
        let Some(up) = &self.nodes[index].up else { return true };
        if self.hangs_late(index) {
            return true;
        }
        let regions = up.regions.iter().filter_map(|id| up.stack.heartbeat().region(*id));
        let expired = regions.filter(|region| deadline(region).is_some_and(|at| at <= local));
        2 * expired.count() >= up.regions.len().max(1)
    }
}
