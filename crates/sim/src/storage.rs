//! The shared disks: a file in memory for each heartbeat region, and every node's path to them.

use std::io::ErrorKind;
use std::time::Duration;

use o2cb::heartbeat::RegionId;
use o2cb::{NodeId, Now};

use crate::node::SLOTS;
use crate::world::{Event, Happens, World};

const BLOCK: usize = 512;

#[derive(Debug)]
pub(crate) struct Storage {
    media: Vec<Vec<u8>>,
    pub(crate) paths: Vec<Path>,
    /// Nobody's disk answers.
    pub(crate) pauses: u32,
}

/// How a node reaches the disks.
#[derive(Debug, Default)]
pub(crate) struct Path {
    pub(crate) stuck: u32,
    pub(crate) errors: u32,
    pub(crate) torn: u32,
    /// Writes end soon after they begin, and fail.
    pub(crate) halves: u32,
    pub(crate) slower: Duration,
    /// Regions that do not answer, one for each fault that makes them so.
    pub(crate) stuck_regions: Vec<usize>,
    /// Until when something lasted for which the disk took long.
    pub(crate) slow_until: Duration,
    /// When a whole block last reached the disk.
    pub(crate) whole: Option<Duration>,
    /// What waits for the disk to answer again.
    parked: Vec<(u64, DiskOp)>,
}

/// A read or a write that is under way.
#[derive(Debug)]
pub(crate) struct DiskOp {
    issued: Duration,
    region: usize,
    id: RegionId,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Read { first: NodeId, last: NodeId },
    Write { bytes: Vec<u8> },
}

/// A read or a write that takes longer may make a pass one that hangs.
const LONG: Duration = Duration::from_millis(400);

impl Path {
    fn holds(&self, op: &DiskOp) -> bool {
        self.stuck > 0 || self.stuck_regions.contains(&op.region)
    }

    fn tears(&self) -> bool {
        self.torn > 0 || self.halves > 0
    }

    /// Whether the disk made its node wait at some time since then.
    pub(crate) fn hung_since(&self, since: Duration, now: Duration) -> bool {
        self.slow_until >= since || self.parked.iter().any(|(_, op)| op.issued + LONG <= now)
    }
}

impl Storage {
    pub(crate) fn new(nodes: usize, regions: usize) -> Storage {
        Storage {
            media: vec![vec![0; BLOCK * usize::from(SLOTS)]; regions],
            paths: (0..nodes).map(|_| Path::default()).collect(),
            pauses: 0,
        }
    }

    pub(crate) fn regions(&self) -> usize {
        self.media.len()
    }
}

impl World {
    fn region_index(&self, index: usize, id: RegionId) -> usize {
        let up = self.nodes[index].up.as_ref();
        // The first thing that a region asks comes before its number is known here.
        up.map_or(0, |up| {
            up.regions.iter().position(|region| *region == id).unwrap_or(up.regions.len())
        })
    }

    pub(crate) fn read_slots(&mut self, index: usize, id: RegionId, first: NodeId, last: NodeId) {
        let region = self.region_index(index, id);
        self.issue(index, region, id, Kind::Read { first, last });
    }

    /// As the disk's thread does it: what would be written too late is not.
    pub(crate) fn write_slot(
        &mut self,
        index: usize,
        id: RegionId,
        bytes: Vec<u8>,
        not_after: Option<Now>,
    ) {
        let region = self.region_index(index, id);
        if not_after.is_some_and(|deadline| self.local(index) >= deadline) {
            let written = Err(ErrorKind::TimedOut);
            let happens = Happens::SlotWritten { region: id, written };
            return self.node_after(Duration::ZERO, index, happens);
        }
        self.issue(index, region, id, Kind::Write { bytes });
    }

    fn issue(&mut self, index: usize, region: usize, id: RegionId, kind: Kind) {
        let op = DiskOp { issued: self.now, region, id, kind };
        let life = self.nodes[index].life;
        let path = &mut self.storage.paths[index];
        if path.holds(&op) || self.storage.pauses > 0 {
            return path.parked.push((life, op));
        }
        let slower = path.slower;
        let took = self.micros(self.plan.disk_latency_us) + slower;
        if took >= LONG {
            let path = &mut self.storage.paths[index];
            path.slow_until = path.slow_until.max(self.now + took);
        }
        if let Kind::Write { bytes } = &op.kind
            && (self.storage.paths[index].errors == 0 || self.storage.paths[index].tears())
        {
            let torn = self.storage.paths[index].tears();
            // (What makes a block another begins at its first byte and ends at its sixteenth.)
            let most = if self.storage.paths[index].halves > 0 { 12 } else { 40 };
            let len = if torn { self.rng.between(1, most) as usize } else { bytes.len() };
            let bytes = bytes[..len].to_vec();
            let share = self.rng.between(0, 100) as u32;
            let region = op.region;
            self.after(took * share / 100, Event::Media { node: index, life, region, bytes });
        }
        self.after(took, Event::Disk { node: index, life, op });
    }

    /// A write, or the beginning of a torn one, reaches the medium.
    pub(crate) fn media(&mut self, index: usize, life: u64, region: usize, bytes: &[u8]) {
        let node = &self.nodes[index];
        let dead = node.life != life || node.up.is_none();
        if dead && self.rng.chance(50) {
            return;
        }
        let at = self.nodes[index].id.index() * BLOCK;
        if let Some(media) = self.storage.media.get_mut(region) {
            media[at..at + bytes.len()].copy_from_slice(bytes);
        }
        if bytes.len() == BLOCK {
            self.storage.paths[index].whole = Some(self.now);
        }
    }

    /// A disk is done, or would be.
    pub(crate) fn disk_done(&mut self, index: usize, life: u64, op: DiskOp) {
        if self.nodes[index].life != life {
            return;
        }
        let path = &mut self.storage.paths[index];
        if path.holds(&op) || self.storage.pauses > 0 {
            return path.parked.push((life, op));
        }
        let failed = path.errors > 0;
        let region = op.id;
        let happens = match op.kind {
            Kind::Read { .. } if failed => {
                Happens::SlotsRead { region, read: Err(ErrorKind::Other) }
            }
            Kind::Read { first, last } => {
                let media = &self.storage.media[op.region];
                let bytes = media[first.index() * BLOCK..(last.index() + 1) * BLOCK].to_vec();
                Happens::SlotsRead { region, read: Ok(bytes) }
            }
            Kind::Write { .. } if failed || path.halves > 0 => {
                Happens::SlotWritten { region, written: Err(ErrorKind::Other) }
            }
            Kind::Write { bytes } => {
                let at = self.nodes[index].id.index() * BLOCK;
                self.storage.media[op.region][at..at + bytes.len()].copy_from_slice(&bytes);
                self.storage.paths[index].whole = Some(self.now);
                Happens::SlotWritten { region, written: Ok(()) }
            }
        };
        self.node_after(Duration::ZERO, index, happens);
    }

    /// A disk answers again: what was parked goes on, unless its node is dead by now.
    pub(crate) fn unpark(&mut self, index: usize) {
        if self.storage.pauses > 0 {
            return;
        }
        for (life, op) in std::mem::take(&mut self.storage.paths[index].parked) {
            let path = &mut self.storage.paths[index];
            if path.holds(&op) {
                path.parked.push((life, op));
                continue;
            }
            if self.now >= op.issued + LONG {
                path.slow_until = path.slow_until.max(self.now);
            }
            if self.nodes[index].life == life && self.nodes[index].up.is_some() {
                let wait = self.micros(self.plan.disk_latency_us);
                self.after(wait, Event::Disk { node: index, life, op });
            }
        }
    }

    pub(crate) fn slots_read(
        &mut self,
        index: usize,
        region: RegionId,
        read: Result<Vec<u8>, ErrorKind>,
    ) {
        let (now, local) = (self.now, self.local(index));
        let Some(up) = &mut self.nodes[index].up else { return };
        let wall = up.clock.wall_seconds(now);
        let read = read.as_deref().map_err(|kind| (*kind).into());
        up.stack.slots_read(local, region, wall, read);
    }

    pub(crate) fn slot_written(
        &mut self,
        index: usize,
        region: RegionId,
        written: Result<(), ErrorKind>,
    ) {
        let local = self.local(index);
        let Some(up) = &mut self.nodes[index].up else { return };
        up.stack.slot_written(local, region, written.map_err(Into::into));
    }
}
