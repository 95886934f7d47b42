//! I1: at every instant, what users rely on is compatible, judged at the holders.
//!
//! Source: the definition of a lock (`fs/ocfs2/dlm/dlmcommon.h: dlm_lock_compatible`). A user whose node
//! has passed its own deadline holds nothing: the node stops itself before anybody acts on it, and
//! whoever took its locks over waited for that.

use o2cb::o2dlm::LockKey;
use o2cb::o2dlm::message::LockMode;

use crate::world::World;

impl World {
    /// A lock was granted: who else relies on what excludes it?
    pub(crate) fn check_exclusion(&mut self, index: usize, domain: usize, key: LockKey) {
        if self.is_past_deadline(index) {
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
            for (other_key, held) in &up.domains[domain].client.locks {
                let same = (other, *other_key) == (index, key);
                if !same && held.name == name && !held.relies_on().compatible(mode) {
                    conflicts.push((other, *other_key, held.relies_on()));
                }
            }
        }
        for (other, other_key, held) in conflicts {
            if !self.is_past_deadline(other) {
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
        let local = self.local(index);
        let Some(up) = &self.nodes[index].up else { return true };
        let heartbeat = up.stack.heartbeat();
        let expired = up.regions.iter().filter(|region| {
            let deadline = heartbeat.region(**region).and_then(|region| region.deadline);
            deadline.is_some_and(|at| at <= local)
        });
        2 * expired.count() >= up.regions.len().max(1)
    }
}
