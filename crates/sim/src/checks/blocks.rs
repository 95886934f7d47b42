//! I23: a node that leaves no whole block on the disk is missed in time.
//!
//! Source: `fs/ocfs2/cluster/heartbeat.c: o2hb_verify_crc`: what does not add up is no heartbeat.

use std::time::Duration;

use o2cb::NodeId;

use crate::world::World;

/// Passes that a reader may be late, and what its clock, its disk and its first look may add.
const SLACK: Duration = Duration::from_secs(7);

impl World {
    /// A node sees another one live: for how long has that not written a whole block?
    fn check_missed_in_time(&mut self, index: usize, node: NodeId) {
        let Some(other) = self.index_of(node) else { return };
        let Some(whole) = self.storage.paths[other].whole else { return };
        let dead = Duration::from_millis(self.plan.timeouts.dead_ms().into());
        let bound = dead + dead / 10 + SLACK;
        let struck = self.disturbed.iter().any(|(which, from, until)| {
            which & (1 << index) != 0 && *until >= whole && *from <= self.now
        });
        // Its own disk may show it only what was there before.
        let struck = struck || self.storage.paths[index].hung_since(whole, self.now);
        let calm = !struck && self.nodes[index].started < whole && self.storage.pauses == 0;
        if calm && self.now > whole + bound {
            let (me, since) = (self.nodes[index].id, self.now - whole);
            self.fail(
                "I23 blocks",
                format!("n{me} takes n{node} for live, which has written nothing for {since:?}"),
            );
        }
    }

    pub(crate) fn check_blocks(&mut self) {
        for index in 0..self.nodes.len() {
            let Some(up) = &self.nodes[index].up else { continue };
            let me = self.nodes[index].id;
            for node in up.stack.live_nodes().without(me).iter() {
                self.check_missed_in_time(index, node);
            }
        }
    }
}
