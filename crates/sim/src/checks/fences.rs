//! I18: a node is fenced only if something has struck it, its disk or its links.
//!
//! Source: `fs/ocfs2/cluster/heartbeat.c: o2hb_nego_timeout`: nodes fenced themselves all together when
//! their storage paused. And nodes agree on more time only if the disk of each of them hangs: whoever has
//! more time, and others have not, is replaced while it lives.

use std::time::Duration;

use o2cb::Now;

use crate::world::World;

impl World {
    /// A fault that may lead to the fence of these nodes begins, and lasts that long.
    pub(crate) fn disturb(&mut self, which: u64, lasts: Duration) {
        self.disturbed.push((which, self.now, self.now + lasts));
    }

    pub(crate) fn disturb_one(&mut self, index: usize, lasts: Duration) {
        self.disturb(1 << index, lasts);
    }

    /// Whose deadline is later than its own last write makes it has it from an agreement.
    pub(crate) fn check_agreed_time(&mut self) {
        let length = self.plan.timeouts.write_timeout();
        for index in 0..self.nodes.len() {
            let Some(up) = &self.nodes[index].up else { continue };
            let agreed = up.regions.iter().filter_map(|id| {
                let region = up.stack.heartbeat().region(*id)?;
                let deadline = region.deadline?;
                (deadline > region.last_good_pass? + length).then_some(deadline - length)
            });
            let Some(at): Option<Now> = agreed.max() else { continue };
            let at = up.clock.world(at);
            // Somebody may have asked well before the last one did.
            let since = at.saturating_sub(2 * length);
            let live = up.stack.live_nodes();
            let idle = (0..self.nodes.len()).find(|&other| {
                let struck = |(which, from, until): &(u64, Duration, Duration)| {
                    which & (1 << other) != 0 && *from <= at && *until >= since
                };
                live.contains(self.nodes[other].id)
                    && !self.storage.paths[other].hung_since(since, self.now)
                    && !self.disturbed.iter().any(struck)
            });
            if let Some(other) = idle {
                let (me, other) = (self.nodes[index].id, self.nodes[other].id);
                let what = format!("n{me} was given time at {at:?}, and n{other}'s disk answers");
                self.fail("I18 agreed time", what);
            }
        }
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
