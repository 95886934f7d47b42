//! What the regions of one node share.

use std::collections::VecDeque;

use super::{GlobalRegions, Mode, Output};
use crate::{NODES_MAX, NodeId, NodeMap};

/// This node's view across its regions, and what it wants done
/// (`fs/ocfs2/cluster/heartbeat.c`: what `o2hb_live_lock` guards).
#[derive(Debug)]
pub(super) struct View {
    pub(super) me: NodeId,
    pub(super) mode: Mode,
    pub(super) configured: NodeMap,
    pub(super) dead_threshold: u32,
    /// Meant for global mode; empty in local mode, where a region's number is always 0.
    pub(super) regions: GlobalRegions,
    pub(super) outputs: VecDeque<Output>,
    /// Nodes that a region has just seen to live again after a death.
    pub(super) reborn: NodeMap,
    live: NodeMap,
    /// In how many regions each node is live.
    live_in: Box<[u32; NODES_MAX]>,
}

impl View {
    pub(super) fn new(me: NodeId, mode: Mode, configured: NodeMap, dead_threshold: u32) -> View {
        View {
            me,
            mode,
            configured,
            dead_threshold,
            regions: GlobalRegions::default(),
            outputs: VecDeque::new(),
            reborn: NodeMap::EMPTY,
            live: NodeMap::EMPTY,
            live_in: Box::new([0; NODES_MAX]),
        }
    }

    /// The nodes that are live in any region.
    pub(super) fn live(&self) -> NodeMap {
        self.live
    }

    /// The nodes whose slots a pass looks at: who is configured, and who is no longer but still lives.
    pub(super) fn watched(&self) -> NodeMap {
        self.configured.iter().chain(self.live.iter()).collect()
    }

    /// How long peers wait, for the block on the disk.
    pub(super) fn dead_ms(&self) -> u32 {
        self.dead_threshold.saturating_mul(super::write_timeout::PERIOD.as_millis() as u32)
    }

    /// A node is live in one more region; whether it was in none.
    pub(super) fn up_in_one_more(&mut self, node: NodeId) -> bool {
        self.live_in[node.index()] += 1;
        let first = self.live.insert(node);
        if first {
            self.outputs.push_back(Output::NodeUp(node));
        }
        first
    }

    /// A node is live in one region less; whether it is in none now.
    pub(super) fn down_in_one(&mut self, node: NodeId) -> bool {
        let regions = &mut self.live_in[node.index()];
        *regions = regions.saturating_sub(1);
        let last = *regions == 0 && self.live.remove(node);
        if last {
            let configured = self.configured.contains(node);
            self.outputs.push_back(Output::NodeDown { node, configured });
        }
        last
    }
}
