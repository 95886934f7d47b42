//! I9: what a dead node held is granted to nobody before the users of every member have been told.
//!
//! Source: `fs/ocfs2/dlm/dlmrecovery.c: __dlm_hb_node_down` tells the file system, which replays the
//! journal, before recovery begins; a grant before that has led file systems read-only.

use o2cb::o2dlm::DomainState;
use o2cb::o2dlm::message::{LockMode, LockName};
use o2cb::{NodeId, NodeMap};

use crate::world::World;

/// What a node held when it died.
#[derive(Debug)]
pub(crate) struct Grave {
    pub(crate) dead: NodeId,
    pub(crate) domain: usize,
    pub(crate) held: Vec<(LockName, LockMode)>,
    /// Members of then whose users have not been told of the death.
    pub(crate) untold: NodeMap,
}

impl World {
    /// Nodes that have a dead one among the members of a domain.
    pub(crate) fn members_that_know(&self, domain: usize, dead: NodeId) -> NodeMap {
        let knows = |at: &usize| {
            let Some(up) = &self.nodes[*at].up else { return false };
            let found = up.domains[domain].id.and_then(|id| up.stack.domain(id));
            self.nodes[*at].id != dead
                && found
                    .is_some_and(|d| d.state() != DomainState::New && d.members().contains(dead))
        };
        (0..self.nodes.len()).filter(knows).map(|at| self.nodes[at].id).collect()
    }

    /// The users of a node have been told.
    pub(crate) fn buried(&mut self, index: usize, domain: usize, dead: NodeId) {
        let me = self.nodes[index].id;
        for grave in &mut self.graves {
            if grave.dead == dead && grave.domain == domain {
                grave.untold.remove(me);
            }
        }
        self.graves.retain(|grave| !grave.untold.is_empty());
    }

    /// A node has left a domain, or is dead: its users need not be told of anything.
    pub(crate) fn buried_all_told(&mut self, index: usize, domain: usize) {
        let me = self.nodes[index].id;
        for grave in self.graves.iter_mut().filter(|grave| grave.domain == domain) {
            grave.untold.remove(me);
        }
        self.graves.retain(|grave| !grave.untold.is_empty());
    }

    pub(crate) fn check_dead_holders(
        &mut self,
        index: usize,
        domain: usize,
        name: &LockName,
        mode: LockMode,
    ) {
        let mut found = None;
        for grave in self.graves.iter().filter(|grave| grave.domain == domain) {
            // Who has begun to tell that it leaves has no locks, and is told nothing more.
            let untold = grave.untold.iter().find(|id| {
                let Some(at) = self.index_of(*id).filter(|at| !self.may_be_replaced(*at)) else {
                    return false;
                };
                let up = self.nodes[at].up.as_ref();
                let member = up.and_then(|up| up.stack.domain(up.domains[domain].id?));
                member.is_some_and(|member| {
                    matches!(member.state(), DomainState::Joined | DomainState::InShutdown)
                })
            });
            let Some(untold) = untold else { continue };
            if grave.held.iter().any(|(held, kept)| held == name && !kept.compatible(mode)) {
                found = Some((grave.dead, untold));
            }
        }
        if let Some((dead, untold)) = found {
            let me = self.nodes[index].id;
            self.fail(
                "I9 dead holders",
                format!(
                    "n{me} is granted {mode:?} on {name}, which the dead n{dead} held, and the users \
                     of n{untold} have not been told that it died"
                ),
            );
        }
    }
}
