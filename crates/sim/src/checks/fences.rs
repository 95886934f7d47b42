//! I18: a node is fenced only if something has struck it, its disk or its links.
//!
//! Source: `fs/ocfs2/cluster/heartbeat.c: o2hb_nego_timeout`: nodes fenced themselves all together when
//! their storage paused.

use std::time::Duration;

use crate::world::World;

impl World {
    /// A fault that may lead to the fence of these nodes begins, and lasts that long.
    pub(crate) fn disturb(&mut self, which: u64, lasts: Duration) {
        self.disturbed.push((which, self.now, self.now + lasts));
    }

    pub(crate) fn disturb_one(&mut self, index: usize, lasts: Duration) {
        self.disturb(1 << index, lasts);
    }

    pub(crate) fn check_fence(&mut self, index: usize, reason: &str) {
        let timeouts = self.plan.timeouts;
        let memory = Duration::from_millis(
            u64::from(timeouts.quorum_delay_ms())
                + u64::from(timeouts.idle_timeout_ms)
                + u64::from(timeouts.dead_ms())
                + 10_000,
        );
        let since = self.now.saturating_sub(memory);
        let struck = |(which, _, until): &(u64, Duration, Duration)| {
            which & (1 << index) != 0 && *until >= since
        };
        if !self.disturbed.iter().any(struck) {
            let me = self.nodes[index].id;
            self.fail("I18 fences", format!("n{me} is fenced for nothing: {reason}"));
        }
    }
}
