//! I19: of nodes that heartbeat and do not hear each other, one side stops.
//!
//! Source: `fs/ocfs2/cluster/quorum.c: o2quo_make_decision`.

use std::time::Duration;

use o2cb::NodeMap;
use o2cb::o2net::{NodeReport, NodeState};

use crate::world::World;

/// A node that is connected to too few of those that heartbeat: to whom, of whom, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outvoted {
    life: u64,
    connected: NodeMap,
    live: NodeMap,
    since: Duration,
}

impl World {
    /// Long enough for a connection to be found silent, and for the decision that follows.
    fn split_lasts_at_most(&self) -> Duration {
        let timeouts = self.plan.timeouts;
        let dead = Duration::from_millis(timeouts.dead_ms().into());
        timeouts.idle_timeout() + timeouts.quorum_delay() + dead
    }

    pub(crate) fn check_splits(&mut self) {
        let now = self.now;
        for at in 0..self.nodes.len() {
            let outvoted = self.outvoted_now(at);
            let was = self.outvoted[at];
            self.outvoted[at] = outvoted.map(|is| match was {
                Some(was) if is == (Outvoted { since: is.since, ..was }) => was,
                _ => is,
            });
            if let Some(Outvoted { connected, live, since, .. }) = self.outvoted[at]
                && now > since + self.split_lasts_at_most()
            {
                let me = self.nodes[at].id;
                self.fail(
                    "I19 splits",
                    format!("n{me} goes on, connected to {connected:?} of {live:?}"),
                );
            }
        }
    }

    fn outvoted_now(&self, at: usize) -> Option<Outvoted> {
        let node = &self.nodes[at];
        let up = node.up.as_ref().filter(|_| node.pauses == 0)?;
        let (live, connected) = (up.stack.live_nodes(), up.stack.connected_nodes());
        let needed = live.len().div_ceil(2);
        let tie = live.len() % 2 == 0 && connected.len() == needed;
        let lowest = live.lowest().is_some_and(|lowest| connected.contains(lowest));
        let loses = connected.len() < needed || (tie && !lowest);
        // Quorum decides nothing while a node heartbeats that it has not been connected to since that came
        // up (`o2quo_hb_up`).
        let never = |peer: &NodeReport| {
            live.contains(peer.node)
                && matches!(peer.state, NodeState::Waiting | NodeState::Handshaking)
        };
        if up.stack.peers().any(|peer| never(&peer)) {
            return None;
        }
        // (Whoever is connected to all members of its domains decides about nothing that others hold.)
        let parted = up.stack.domains().any(|(_, d)| !d.members().minus(&connected).is_empty());
        (loses && parted && live.contains(node.id)).then_some(Outvoted {
            life: node.life,
            connected,
            live,
            since: self.now,
        })
    }
}
