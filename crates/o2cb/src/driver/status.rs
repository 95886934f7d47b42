//! A node for a person who looks.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::O2cbNode;
use crate::o2dlm::{self, ResourceSnapshot};
use crate::{NodeId, NodeMap, o2net};

/// A node of the cluster, as this one sees it.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Whether its heartbeat is seen.
    pub live: bool,
    /// How long ago its slot was last seen to change.
    pub heartbeat_age: Option<Duration>,
    /// The connection, in a word; `None` for this node itself.
    pub link: Option<String>,
    /// Why the last connection ended.
    pub last_error: Option<String>,
    /// What was counted of the connection; zeros for this node itself.
    pub counters: o2net::Counters,
}

/// A lock domain, as this node sees it.
#[derive(Clone, Debug)]
pub struct DomainStatus {
    /// Its name.
    pub name: String,
    /// Its state, in a word.
    pub state: String,
    /// Its members.
    pub members: NodeMap,
    /// Whether a dead member is being recovered.
    pub recovering: bool,
    /// Every resource that this node knows: on the ones it masters the locks of all nodes, on others
    /// its own.
    pub resources: Vec<ResourceSnapshot>,
    /// What was counted since this node joined.
    pub counters: o2dlm::Counters,
}

/// The whole node.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// This node.
    pub me: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// Every configured node.
    pub nodes: Vec<PeerStatus>,
    /// The domains.
    pub domains: Vec<DomainStatus>,
    /// Connections that came from the address of no node.
    pub strangers: u64,
    /// Why this node had to stop.
    pub fenced: Option<String>,
    /// When this node stops itself if its disk does not take a heartbeat before.
    pub fence_in: Option<Duration>,
}

impl O2cbNode {
    /// How the node is.
    pub fn status(&self) -> NodeStatus {
        let options = &self.shared().options;
        self.shared().look(|inner, now| {
            let heartbeat = inner.stack.heartbeat();
            let live = inner.stack.live_nodes();
            let regions: Vec<_> =
                heartbeat.region_ids().filter_map(|id| heartbeat.region(id)).collect();
            let age = |node| {
                let slots = heartbeat.region_ids().flat_map(|id| heartbeat.slots(id));
                slots.filter(|slot| slot.node == node).filter_map(|slot| slot.age(now)).min()
            };
            let peers: Vec<_> = inner.stack.peers().collect();
            let nodes = options.cluster.nodes.iter().map(|node| {
                let peer = peers.iter().find(|peer| peer.node == node.number);
                PeerStatus {
                    node: node.number,
                    name: node.name.clone(),
                    address: SocketAddrV4::new(node.address, node.port),
                    live: live.contains(node.number),
                    heartbeat_age: age(node.number),
                    link: peer.map(|peer| format!("{:?}", peer.state).to_lowercase()),
                    last_error: peer.and_then(|peer| peer.last_error).map(|why| why.to_string()),
                    counters: peer.map(|peer| peer.counters).unwrap_or_default(),
                }
            });
            let domains = inner.stack.domains().map(|(_, domain)| DomainStatus {
                name: String::from_utf8_lossy(domain.name().as_bytes()).into_owned(),
                state: format!("{:?}", domain.state()).to_lowercase(),
                members: domain.members(),
                recovering: domain.is_recovering(),
                resources: domain.resources().collect(),
                counters: domain.counters(),
            });
            NodeStatus {
                me: options.me,
                cluster: options.cluster.name.clone(),
                nodes: nodes.collect(),
                domains: domains.collect(),
                strangers: inner.stack.strangers(),
                fenced: inner.fenced.clone(),
                fence_in: regions
                    .iter()
                    .filter_map(|region| region.deadline)
                    .map(|deadline| deadline.saturating_sub(now))
                    .min(),
            }
        })
    }
}
