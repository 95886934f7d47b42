//! A region as an operator sees it.

use std::time::Duration;

use super::PassError;
use crate::{NodeId, NodeMap, Now};

/// What [`Heartbeat::region`](super::Heartbeat::region) shows of one region.
#[derive(Debug)]
pub struct RegionStatus<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number in global mode; 0 in local mode.
    pub number: u8,
    /// The key of its messages.
    pub key: u32,
    /// Whether its start is done.
    pub steady: bool,
    /// Whether it cannot be removed, because a lock domain needs it.
    pub pinned: bool,
    /// The nodes that are live in it.
    pub live: NodeMap,
    /// What has gone wrong so far.
    pub counters: Counters,
    /// How the last pass ended.
    pub last_pass: Result<(), &'a PassError>,
    /// How long the last pass took.
    pub last_pass_took: Duration,
    /// When a pass last wrote, having found its slot as it had left it.
    pub last_good_pass: Option<Now>,
    /// When this node fences itself if nothing changes.
    pub deadline: Option<Now>,
}

impl RegionStatus<'_> {
    /// How long ago the last good pass was; zero if there was none.
    pub fn elapsed(&self, now: Now) -> Duration {
        self.last_good_pass.map_or(Duration::ZERO, |at| now.saturating_sub(at))
    }
}

/// One slot of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// The node whose slot it is.
    pub node: NodeId,
    /// Whether it is live in this region.
    pub live: bool,
    /// The last sequence seen.
    pub sequence: u64,
    /// The last generation seen.
    pub generation: u64,
    /// How long that node waits before it declares others dead, in milliseconds.
    pub dead_ms: u32,
    /// Samples without a change since the last one with.
    pub equal_samples: u32,
    /// When it was last seen to change.
    pub changed_at: Option<Now>,
}

impl SlotStatus {
    /// How long ago the slot was last seen to change; `None` if it never was.
    pub fn age(&self, now: Now) -> Option<Duration> {
        self.changed_at.map(|at| now.saturating_sub(at))
    }
}

/// What the passes of a region have met since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Passes that ended, well or not.
    pub passes: u64,
    /// Passes that ended because slots could not be read.
    pub read_errors: u64,
    /// Passes that ended because the own slot could not be written.
    pub write_errors: u64,
    /// Blocks with a wrong checksum, in slots of other nodes.
    pub bad_checksums: u64,
    /// Samples in which a live node had not written, or not well.
    pub missed_samples: u64,
    /// Own slots with another node's number: somebody else uses the slot.
    pub own_slot_other_node: u64,
    /// Own slots with another generation: two instances of this node, or a lost write.
    pub own_slot_other_generation: u64,
    /// Own slots with another sequence: a lost or foreign write.
    pub own_slot_other_sequence: u64,
}
