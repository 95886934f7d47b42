//! How long a region may go without a good write.

use std::time::Duration;

use crate::mutants::{Mutant, planted};
use crate::{NodeId, NodeMap, Now};

/// The period of a region's passes (`O2HB_REGION_TIMEOUT_MS`).
pub(super) const PERIOD: Duration = Duration::from_millis(2000);

/// How often the negotiation's master looks whether the last node has asked, and how long a disk that
/// hangs has not answered at least.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1000);

/// The deadline of a region, its half-way timer, and who has asked for more time since it last
/// restarted (`fs/ocfs2/cluster/heartbeat.c: o2hb_arm_timeout`).
#[derive(Debug)]
pub(super) struct WriteTimeout {
    length: Duration,
    expires: Option<Now>,
    negotiates: Option<Now>,
    asked: NodeMap,
}

impl WriteTimeout {
    /// One period shorter than what peers wait for, so that this node is gone before they say so.
    pub(super) fn new(dead_threshold: u32) -> WriteTimeout {
        let length = PERIOD
            * if planted(Mutant::LateDeadline) {
                dead_threshold + 2
            } else {
                dead_threshold.saturating_sub(1)
            };
        WriteTimeout { length, expires: None, negotiates: None, asked: NodeMap::EMPTY }
    }

    /// Restarts the timers as of `from`, which may be in the past; an agreed deadline that is later
    /// stays.
    pub(super) fn restart(&mut self, from: Now) {
        self.expires = self.expires.max(Some(from + self.length));
        self.negotiates = self.negotiates.max(Some(from + self.length / 2));
        self.asked = NodeMap::EMPTY;
    }

    pub(super) fn disarm(&mut self) {
        self.expires = None;
        self.negotiates = None;
    }

    /// Whether the deadline has passed; it does so once.
    pub(super) fn take_expired(&mut self, now: Now) -> bool {
        let expired = self.expires.is_some_and(|at| at <= now);
        if expired {
            self.disarm();
        }
        expired
    }

    /// Whether it is time to negotiate; it is so once.
    pub(super) fn take_negotiation(&mut self, now: Now) -> bool {
        let due = self.negotiates.is_some_and(|at| at <= now);
        if due {
            self.negotiates = None;
        }
        due
    }

    pub(super) fn look_again(&mut self, now: Now) {
        self.negotiates = Some(now + LOOK_AGAIN);
    }

    /// A node has asked for more time: its disk hangs too.
    pub(super) fn ask(&mut self, node: NodeId) {
        self.asked.insert(node);
    }

    pub(super) fn asked(&self) -> NodeMap {
        self.asked
    }

    /// When the node fences itself, unless something restarts the timers.
    pub(super) fn deadline(&self) -> Option<Now> {
        self.expires
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    pub(super) fn next_timeout(&self) -> Option<Now> {
        self.expires.into_iter().chain(self.negotiates).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviours 63, 64.
    #[test]
    fn a_node_is_gone_one_period_before_its_peers_say_so() {
        for (dead_threshold, length, half) in [(31, 60, 30), (61, 120, 60), (7, 12, 6)] {
            let mut timeout = WriteTimeout::new(dead_threshold);
            assert_eq!(timeout.next_timeout(), None);
            timeout.restart(Now::from_secs(1000));
            assert_eq!(timeout.deadline(), Some(Now::from_secs(1000 + length)));
            assert_eq!(timeout.next_timeout(), Some(Now::from_secs(1000 + half)));
        }
    }

    #[test]
    fn a_restart_never_takes_back_what_was_agreed() {
        let mut timeout = WriteTimeout::new(31);
        timeout.restart(Now::from_secs(100));
        timeout.restart(Now::from_secs(70));
        assert_eq!(timeout.deadline(), Some(Now::from_secs(160)));
    }
}
