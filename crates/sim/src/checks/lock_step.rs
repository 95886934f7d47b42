//! I21: nobody is connected to a node of another version, or in a domain with one; whoever fits is let
//! in.
//!
//! Source: `fs/ocfs2/cluster/tcp.c: o2net_check_handshake`; `fs/ocfs2/dlm/dlmdomain.c:
//! dlm_query_join_handler`, `dlm_query_nodeinfo_handler`.

use o2cb::o2dlm::{DomainState, JoinError};

use crate::fault::Fault;
use crate::hostile::{Hostility, Misfit};
use crate::world::World;

const CHECK: &str = "I21 lock-step";

impl World {
    pub(crate) fn check_misfits(&mut self) {
        for index in 0..self.nodes.len() {
            let Some(misfit) = self.hostile.misfits[index] else { continue };
            let Some(up) = &self.nodes[index].up else { continue };
            let alone = up.stack.connected_nodes().len() <= 1;
            let joined = up.stack.domains().any(|(_, domain)| {
                domain.state() == DomainState::Joined && domain.members().len() > 1
            });
            let me = up.stack.me();
            let what = match misfit.is_of_connections() {
                true if !alone => "is connected",
                _ if joined => "is in with others",
                _ => continue,
            };
            self.fail(CHECK, format!("n{me}, which has another {misfit:?}, {what}"));
        }
    }

    /// A node could not join: whether there is somebody for whom that is the reason.
    pub(crate) fn check_refusal(&mut self, index: usize, error: &JoinError) {
        let (misfit, what) = match error {
            JoinError::Protocol { .. } => (Misfit::FsVersion, "join refused: version"),
            JoinError::Refused { .. } => (Misfit::Nodes, "join refused: nodes"),
            _ => return,
        };
        self.coverage.count(what);
        let has_one = self.plan.faults.iter().any(|planned| {
            matches!(planned.fault, Fault::Hostile(Hostility::Misfit { misfit: other, .. })
                if other == misfit)
        });
        if !has_one {
            let me = self.nodes[index].id;
            self.fail(CHECK, format!("n{me} is refused, and fits: {error}"));
        }
    }
}
