//! I17: recovery ends; every node is in or out, and all agree who is in.
//!
//! Source: `fs/ocfs2/dlm/dlmrecovery.c: dlm_recovery_thread` goes on until no dead node is left.

use o2cb::o2dlm::{Domain, DomainState};
use o2cb::{NodeId, NodeMap};

use crate::node::Up;
use crate::world::World;

impl World {
    /// Nodes that run, in the order of their numbers in the plan.
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Up)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(at, node)| Some((at, &**node.up.as_ref()?)))
    }

    /// The engines of a domain on the nodes that are in it.
    pub(crate) fn engines(&self, domain: usize) -> impl Iterator<Item = (usize, &Domain)> {
        self.running().filter_map(move |(at, up)| {
            let engine = up.stack.domain(up.domains[domain].id?)?;
            (engine.state() == DomainState::Joined).then_some((at, engine))
        })
    }

    pub(crate) fn engine_of(&self, domain: usize, node: NodeId) -> Option<&Domain> {
        self.engines(domain).find(|(at, _)| self.nodes[*at].id == node).map(|(_, engine)| engine)
    }

    pub(crate) fn members(&self, domain: usize) -> NodeMap {
        self.engines(domain).map(|(at, _)| self.nodes[at].id).collect()
    }

    /// Why the cluster has not come right yet.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let all: NodeMap = self.nodes.iter().map(|node| node.id).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            let me = node.id;
            let Some(up) = &node.up else { return Some(format!("n{me} does not run")) };
            if up.stack.live_nodes() != all {
                return Some(format!("n{me} sees only {:?} live", up.stack.live_nodes()));
            }
            if up.stack.connected_nodes() != all {
                let connected = up.stack.connected_nodes();
                return Some(format!("n{me} is connected to {connected:?} only"));
            }
            if let Some(why) = self.cached_user(at) {
                return Some(why);
            }
            if !self.is_where_wanted(at) {
                return Some(format!("n{me} is not in every domain that it wants to be in"));
            }
            for (domain, membership) in up.domains.iter().enumerate() {
                let engine = membership.id.and_then(|id| up.stack.domain(id));
                let Some(engine) = engine else { return Some(format!("n{me} has no d{domain}")) };
                if engine.members() != all {
                    let members = engine.members();
                    return Some(format!("n{me} takes {members:?} for the members of d{domain}"));
                }
                if engine.is_recovering() {
                    let state = engine.recovery_state();
                    return Some(format!("n{me} never ends a recovery in d{domain}: {state}"));
                }
                for (key, held) in membership.client.locks.iter() {
                    if held.asked.is_some() || held.cancelling {
                        return Some(format!("n{me} waits in d{domain}: {key:?} {held:?}"));
                    }
                }
            }
        }
        None
    }
}
