//! The disk heartbeat (o2hb): who is alive, by what every node writes into its slot of a shared disk.
//!
//! [`Heartbeat`] is the engine of a node, for all its regions; [`disk::Disk`] reads and writes the slots
//! of one. The engine has neither clock nor disk: tell it what happened, and when, and do what it says.
//!
//! ```
//! use std::num::NonZeroU64;
//!
//! use stackglue_o2cb::heartbeat::{BlockSize, Heartbeat, HeartbeatConfig, Mode, Output};
//! use stackglue_o2cb::{NodeId, Now};
//!
//! let me = NodeId::new(1).expect("a node number");
//! let mut heartbeat = Heartbeat::new(HeartbeatConfig {
//!     me,
//!     nodes: [me].into_iter().collect(),
//!     mode: Mode::Local,
//!     dead_threshold: 31,
//! })?;
//! let size = BlockSize::new(512).expect("a block size");
//! let region = heartbeat.add_region("632A924FDD844190BDA93C0DF6B94899", size, 255)?;
//! let random = NonZeroU64::new(0x1122_3344_5566_7788).expect("not zero");
//! heartbeat.start_region(Now::ZERO, region, random)?;
//! while let Some(output) = heartbeat.poll_output() {
//!     match output {
//!         Output::ReadSlots { .. } => { /* then slots_read() */ }
//!         other => println!("{other:?}"),
//!     }
//! }
//! // Then sleep until something happens or the next timeout, and tell it handle_timeout().
//! # Ok::<(), stackglue_o2cb::heartbeat::HeartbeatError>(())
//! ```

mod block;
pub mod disk;
mod negotiation;
mod output;
mod pin;
mod region;
mod region_map;
mod slot;
mod status;
mod steady;
#[cfg(test)]
mod tests;
mod view;
mod write_timeout;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;

pub use block::{Block, BlockError, BlockSize};
pub use negotiation::Negotiation;
pub use output::{Fence, Listener, NodeEvent, Output, PassError, StartError, Stop};
pub use region_map::{GlobalRegions, RegionMap};
pub use status::{Counters, RegionStatus, SlotStatus};

use crate::{NodeId, NodeMap, Now};
use pin::Pins;
use region::Region;
use view::View;

/// The longest name of a region (`O2HB_MAX_REGION_NAME_LEN`).
pub const REGION_NAME_BYTES_MAX: usize = 32;

/// Smallest and largest dead threshold: below, a node could be dead between two of its writes; above,
/// the milliseconds that follow from it do not fit their fields.
pub const DEAD_THRESHOLD_RANGE: std::ops::RangeInclusive<u32> = 3..=(u32::MAX / 2000 - 2);

/// Where a node's heartbeats are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In every volume: the loss of one volume's disk is the end of the node.
    Local,
    /// In up to 32 regions, whatever the volumes: it takes the loss of half of them.
    Global,
}

/// What the heartbeat of a node is made from. All nodes have the same mode and dead threshold.
#[derive(Clone, Debug)]
pub struct HeartbeatConfig {
    /// This node.
    pub me: NodeId,
    /// All configured nodes.
    pub nodes: NodeMap,
    /// Where the heartbeats are.
    pub mode: Mode,
    /// How many samples without a change make a node dead, one every 2000 ms.
    pub dead_threshold: u32,
}

/// Names a region of one [`Heartbeat`]; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(u64);

/// The heartbeat of this node: its regions, who is live in any of them, and whether this node may go on.
///
/// It performs no I/O. [`start_region`](Heartbeat::start_region) and the other inputs take the time;
/// after each, [`poll_output`](Heartbeat::poll_output) until it is empty, and call
/// [`handle_timeout`](Heartbeat::handle_timeout) when [`next_timeout`](Heartbeat::next_timeout) has come.
/// At most one read or write of a region is under way. An input about a region that is gone is ignored.
#[derive(Debug)]
pub struct Heartbeat {
    view: View,
    regions: BTreeMap<RegionId, Region>,
    next_id: u64,
    pins: Pins,
    fenced: bool,
}

impl Heartbeat {
    /// A heartbeat without regions. Nothing is harmed by an error.
    pub fn new(config: HeartbeatConfig) -> Result<Heartbeat, HeartbeatError> {
        let HeartbeatConfig { me, nodes, mode, dead_threshold } = config;
        if !DEAD_THRESHOLD_RANGE.contains(&dead_threshold) {
            return Err(HeartbeatError::DeadThreshold(dead_threshold));
        }
        if !nodes.contains(me) {
            return Err(HeartbeatError::NotConfigured(me));
        }
        Ok(Heartbeat {
            view: View::new(me, mode, nodes, dead_threshold),
            regions: BTreeMap::new(),
            next_id: 0,
            pins: Pins::default(),
            fenced: false,
        })
    }

    /// Adds a region of `blocks` slots. In global mode it gets the lowest free number, which is part of
    /// its message key: add regions in the same order on all nodes.
    pub fn add_region(
        &mut self,
        name: &str,
        size: BlockSize,
        blocks: u8,
    ) -> Result<RegionId, HeartbeatError> {
        if self.fenced {
            return Err(HeartbeatError::Fenced);
        }
        if name.is_empty() || name.len() > REGION_NAME_BYTES_MAX {
            return Err(HeartbeatError::NameLength(name.len()));
        }
        if self.regions.values().any(|region| region.name() == name) {
            return Err(HeartbeatError::NameTaken(name.to_owned()));
        }
        let beyond = self.view.configured.iter().find(|node| node.index() >= usize::from(blocks));
        if let Some(node) = beyond {
            return Err(HeartbeatError::NoSlot { node, blocks });
        }
        let number = match self.view.mode {
            Mode::Local => 0,
            Mode::Global => self.view.regions.register().ok_or(HeartbeatError::TooManyRegions)?,
        };
        let id = RegionId(self.next_id);
        let mut region = Region::new(id, name, number, size, blocks, &self.view);
        if self.regions.values().any(|other| other.key() == region.key()) {
            self.unregister(number);
            return Err(HeartbeatError::KeyTaken(region.key()));
        }
        region.set_pinned(self.pins.pins_new(name, self.view.mode));
        self.next_id += 1;
        self.regions.insert(id, region);
        Ok(id)
    }

    /// Starts a region with a new random generation. [`Output::Steady`] or [`Output::StartFailed`]
    /// follows.
    ///
    /// A generation must never be used again: peers would not see that this node has died and lost
    /// what they have to recover.
    pub fn start_region(
        &mut self,
        now: Now,
        region: RegionId,
        generation: NonZeroU64,
    ) -> Result<(), HeartbeatError> {
        self.expire(now);
        if self.fenced {
            return Err(HeartbeatError::Fenced);
        }
        let only = self.regions.len() == 1;
        let found = self.regions.get_mut(&region).ok_or(HeartbeatError::NoRegion)?;
        if found.start(generation, only, &mut self.view) {
            Ok(())
        } else {
            Err(HeartbeatError::AlreadyStarted)
        }
    }

    /// Removes a region: every node goes down in it, peers are told that this one leaves, and
    /// [`Output::Stopped`] says when it is gone. `wall_seconds` are seconds since 1970.
    pub fn remove_region(
        &mut self,
        now: Now,
        region: RegionId,
        wall_seconds: u64,
    ) -> Result<(), HeartbeatError> {
        self.expire(now);
        let found = self.regions.get_mut(&region).ok_or(HeartbeatError::NoRegion)?;
        if found.is_pinned() {
            return Err(HeartbeatError::Pinned(found.name().to_owned()));
        }
        found.stop(wall_seconds, &mut self.view);
        let number = found.number();
        if self.view.mode == Mode::Global {
            self.watch_quorum(|this| this.view.regions.retire(number));
        }
        self.forget_if_stopped(region);
        Ok(())
    }

    /// The answer to [`Output::ReadSlots`]. `wall_seconds` are seconds since 1970, for the block that
    /// is written next.
    pub fn slots_read(
        &mut self,
        now: Now,
        region: RegionId,
        wall_seconds: u64,
        read: io::Result<&[u8]>,
    ) {
        self.input(now, region, |region, view| region.slots_read(now, wall_seconds, read, view));
    }

    /// The answer to [`Output::WriteSlot`]: the device has the block, or has said that it has not.
    pub fn slot_written(&mut self, now: Now, region: RegionId, written: io::Result<()>) {
        self.input(now, region, |region, view| region.slot_written(now, written, view));
    }

    /// A message of the negotiation has come from a peer. `false` if no region has that key, for the
    /// peer to be told that there is no handler; otherwise the status is 0.
    pub fn negotiation(&mut self, now: Now, key: u32, kind: Negotiation, payload: &[u8]) -> bool {
        let Some(id) = self.regions.values().find(|region| region.key() == key).map(Region::id)
        else {
            return false;
        };
        let sender = payload.first().copied().and_then(NodeId::new);
        self.input(now, id, |region, view| region.negotiation(now, kind, sender, view));
        true
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let ids: Vec<RegionId> = self.regions.keys().copied().collect();
        for id in ids {
            self.input(now, id, |region, view| region.handle_timeout(now, view));
        }
    }

    /// When [`handle_timeout`](Heartbeat::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Now> {
        self.regions.values().filter_map(Region::next_timeout).min()
    }

    /// What is to be done next, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.view.outputs.pop_front()
    }

    /// Other nodes are configured now. A node that is no longer, and lives, is watched until it dies.
    pub fn set_nodes(&mut self, nodes: NodeMap) -> Result<(), HeartbeatError> {
        if !nodes.contains(self.view.me) {
            return Err(HeartbeatError::NotConfigured(self.view.me));
        }
        for region in self.regions.values() {
            if let Some(node) = nodes.iter().find(|node| !region.has_slot(*node)) {
                return Err(HeartbeatError::NoSlot { node, blocks: region.blocks() });
            }
        }
        self.view.configured = nodes;
        Ok(())
    }

    /// A lock domain registers: regions that it lives by cannot be removed until it goes.
    pub fn domain_up(&mut self, domain: &str) {
        let quorum = self.view.regions.quorum.len();
        self.pins.domain_up(domain, self.view.mode, quorum, &mut self.regions);
    }

    /// A lock domain is gone.
    pub fn domain_down(&mut self, domain: &str) {
        self.pins.domain_down(domain, self.view.mode, &mut self.regions);
    }

    /// Ends everything without another write: this node is to be fenced, for a reason of its own or
    /// because of [quorum](crate::quorum). What has not been polled is dropped.
    pub fn stop_uncleanly(&mut self) {
        self.fenced = true;
        self.regions.clear();
        self.view.outputs.clear();
    }

    /// The nodes that are live in any region.
    pub fn live_nodes(&self) -> NodeMap {
        self.view.live()
    }

    /// Whether what this node sees of the others is fresh, and what they see of it: not just after its
    /// disks have kept it waiting. A node that is not calm does not know who is live.
    pub fn is_calm(&self) -> bool {
        self.regions.values().any(Region::is_calm)
    }

    /// Nodes that are not live, and may be all the same: they hang, or their disks are slow. Each has
    /// left a block without a goodbye, and has not been silent yet for as long as makes a node dead.
    pub fn unseen_nodes(&self) -> NodeMap {
        let unseen = self.regions.values().flat_map(|region| region.unseen(&self.view));
        unseen.collect::<NodeMap>().minus(&self.view.live())
    }

    /// The regions, in the order in which they were added.
    pub fn region_ids(&self) -> impl Iterator<Item = RegionId> {
        self.regions.keys().copied()
    }

    /// A region as an operator sees it.
    pub fn region(&self, region: RegionId) -> Option<RegionStatus<'_>> {
        self.regions.get(&region).map(Region::status)
    }

    /// The slots of a region, of the nodes that were ever seen to write. Decodes each.
    pub fn slots(&self, region: RegionId) -> impl Iterator<Item = SlotStatus> {
        self.regions.get(&region).into_iter().flat_map(Region::slots)
    }

    /// The regions of global mode by what they are; all empty in local mode.
    pub fn global_regions(&self) -> GlobalRegions {
        self.view.regions
    }

    /// Looks at the deadlines first: what comes after one has passed is too late.
    fn input(&mut self, now: Now, id: RegionId, input: impl FnOnce(&mut Region, &mut View)) {
        self.expire(now);
        self.watch_quorum(|this| {
            if let Some(region) = this.regions.get_mut(&id) {
                input(region, &mut this.view);
            }
            for node in std::mem::take(&mut this.view.reborn).iter() {
                for region in this.regions.values_mut() {
                    region.reborn_elsewhere(node, &mut this.view);
                }
            }
        });
        self.forget_if_stopped(id);
    }

    fn expire(&mut self, now: Now) {
        let view = &mut self.view;
        let fence = self.regions.values_mut().find_map(|region| region.expire(now, view));
        if let Some(fence) = fence {
            self.stop_uncleanly();
            self.view.outputs.push_back(Output::Fence(fence));
        }
    }

    /// Pins and unpins when a region has become one of the quorum regions or is one no longer.
    fn watch_quorum(&mut self, change: impl FnOnce(&mut Heartbeat)) {
        let before = self.view.regions.quorum.len();
        change(self);
        let after = self.view.regions.quorum.len();
        self.pins.quorum_changed(before, after, &mut self.regions);
    }

    fn forget_if_stopped(&mut self, id: RegionId) {
        if self.regions.get(&id).is_some_and(Region::is_stopped)
            && let Some(region) = self.regions.remove(&id)
        {
            self.watch_quorum(|this| this.unregister(region.number()));
        }
    }

    fn unregister(&mut self, number: u8) {
        if self.view.mode == Mode::Global {
            self.view.regions.unregister(number);
        }
    }
}

/// Why the heartbeat refuses. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// The dead threshold is not in [`DEAD_THRESHOLD_RANGE`].
    #[error(
        "the dead threshold is {0}, and must be from {min} to {max}",
        min = DEAD_THRESHOLD_RANGE.start(),
        max = DEAD_THRESHOLD_RANGE.end()
    )]
    DeadThreshold(u32),
    /// This node is not among the configured ones.
    #[error("node {0}, which is this one, is not configured")]
    NotConfigured(NodeId),
    /// The name of a region is empty or too long.
    #[error("the name of a heartbeat region has 1 to {max} bytes, not {0}", max = REGION_NAME_BYTES_MAX)]
    NameLength(usize),
    /// There is a region of that name.
    #[error("there is a heartbeat region {0} already")]
    NameTaken(String),
    /// Another region has the same message key.
    #[error("another heartbeat region has the message key {0:08x}")]
    KeyTaken(u32),
    /// Global mode has no more regions.
    #[error("there are {max} heartbeat regions already", max = region_map::REGIONS_MAX)]
    TooManyRegions,
    /// The region is too small for a configured node, whom nobody would see.
    #[error("node {node} has no slot in a heartbeat region of {blocks} blocks")]
    NoSlot {
        /// That node.
        node: NodeId,
        /// The blocks of the region.
        blocks: u8,
    },
    /// There is no such region, or it is gone.
    #[error("there is no such heartbeat region")]
    NoRegion,
    /// A region starts once.
    #[error("the heartbeat region has been started already")]
    AlreadyStarted,
    /// A lock domain lives by the region.
    #[error("heartbeat region {0} is in use by a lock domain")]
    Pinned(String),
    /// This node is to be fenced.
    #[error("this node has stopped its heartbeat and is to be fenced")]
    Fenced,
}
