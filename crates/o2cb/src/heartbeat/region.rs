//! One region: its passes, its start and its end.

mod pass;

use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use tracing::{info, warn};

use pass::checked;

use super::slot::{LIVE_THRESHOLD, Slot};
use super::steady::Steady;
use super::view::View;
use super::write_timeout::{LOOK_AGAIN, WriteTimeout};
use super::{
    Block, BlockSize, Counters, Fence, Mode, Negotiation, Output, PassError, RegionId,
    RegionStatus, SlotStatus, StartError, Stop,
};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, NodeMap, Now};

/// One heartbeat region of this node (`fs/ocfs2/cluster/heartbeat.c: o2hb_region`).
///
/// A pass reads the slots of all nodes, writes the own one, judges the others while the write is on
/// its way, and ends with the write. Never is more than one read or write under way.
#[derive(Debug)]
pub(super) struct Region {
    id: RegionId,
    name: String,
    number: u8,
    key: u32,
    size: BlockSize,
    phase: Phase,
    /// Asked to stop, at this second of wall-clock time, when the pass under way is done.
    stop_asked: Option<u64>,
    pinned: bool,
    generation: u64,
    /// The sequence that this node wrote last.
    written: u64,
    /// One for each block, by node number.
    slots: Vec<Slot>,
    live: NodeMap,
    steady: Steady,
    write_timeout: WriteTimeout,
    counters: Counters,
    last_pass: Result<(), PassError>,
    /// Whether the last look at the own slot found what this node had left there.
    own_slot_good: bool,
    last_pass_took: Duration,
    last_good_pass: Option<Now>,
    /// Good passes on end, none of which took longer than a period.
    calm_passes: u32,
}

/// What a region is doing.
#[derive(Debug)]
enum Phase {
    New,
    /// Reading all slots for the first time.
    Opening,
    /// Until the next pass starts.
    Waiting {
        until: Now,
    },
    Reading {
        started: Now,
        watched: NodeMap,
    },
    Writing {
        started: Now,
        issued: Now,
        nodes_changed: bool,
    },
    /// Writing the block that says goodbye.
    Leaving,
    Stopped,
}

impl Region {
    pub(super) fn new(
        id: RegionId,
        name: &str,
        number: u8,
        size: BlockSize,
        blocks: u8,
        view: &View,
    ) -> Region {
        Region {
            id,
            name: name.to_owned(),
            number,
            key: super::negotiation::key_of(name, number),
            size,
            phase: Phase::New,
            stop_asked: None,
            pinned: false,
            generation: 0,
            written: 0,
            slots: vec![Slot::default(); usize::from(blocks)],
            live: NodeMap::EMPTY,
            steady: Steady::new(view.mode, false),
            write_timeout: WriteTimeout::new(view.dead_threshold),
            counters: Counters::default(),
            last_pass: Ok(()),
            own_slot_good: false,
            last_pass_took: Duration::ZERO,
            last_good_pass: None,
            calm_passes: 0,
        }
    }

    /// Opens the region: its slots are read once before the first pass. `false` if it has been
    /// started before.
    pub(super) fn start(&mut self, generation: NonZeroU64, only: bool, view: &mut View) -> bool {
        if !matches!(self.phase, Phase::New) {
            return false;
        }
        self.generation = generation.get();
        self.steady = Steady::new(view.mode, only);
        self.phase = Phase::Opening;
        // `blocks` is from 1 to 255, and so there is a first and a last slot.
        if let Some((first, last)) = NodeId::new(0).zip(NodeId::new(self.blocks() - 1)) {
            view.outputs.push_back(Output::ReadSlots { region: self.id, first, last });
        }
        true
    }

    /// The slots that were asked for, or why there are none.
    pub(super) fn slots_read(
        &mut self,
        now: Now,
        wall_seconds: u64,
        read: io::Result<&[u8]>,
        view: &mut View,
    ) {
        match self.phase {
            Phase::Opening => self.opened(now, read, view),
            Phase::Reading { started, watched } => {
                self.pass_read(now, started, watched, wall_seconds, read, view);
            }
            _ => {}
        }
    }

    /// The own block has reached the device, or has not.
    pub(super) fn slot_written(&mut self, now: Now, written: io::Result<()>, view: &mut View) {
        match self.phase {
            Phase::Writing { started, issued, nodes_changed } => {
                self.pass_written(now, started, issued, nodes_changed, written, view);
            }
            Phase::Leaving => {
                let how = match written {
                    Ok(()) => Stop::Left,
                    Err(error) => {
                        warn!(region = self.name, %error, "peers were not told that this node left");
                        Stop::LeftUnsaid
                    }
                };
                self.stopped(how, view);
            }
            _ => {}
        }
    }

    /// The timers that are due, other than the deadline.
    pub(super) fn handle_timeout(&mut self, now: Now, view: &mut View) {
        if self.write_timeout.take_negotiation(now) {
            self.negotiate(now, view);
        }
        if matches!(self.phase, Phase::Waiting { until } if until <= now) {
            self.begin_pass(now, view);
        }
    }

    /// Whether the deadline has passed and this node has to fence itself for it.
    pub(super) fn expire(&mut self, now: Now, view: &mut View) -> Option<Fence> {
        if !self.write_timeout.take_expired(now) {
            return None;
        }
        let failed_of_quorum = match view.mode {
            Mode::Local => None,
            Mode::Global => {
                let too_many = view.regions.fail(self.number);
                let failed_of_quorum = (view.regions.failed.len(), view.regions.quorum.len());
                if !too_many {
                    warn!(
                        region = self.name,
                        failed = failed_of_quorum.0,
                        quorum = failed_of_quorum.1,
                        "a heartbeat region has failed; the others suffice"
                    );
                    return None;
                }
                Some(failed_of_quorum)
            }
        };
        Some(Fence {
            region: self.id,
            name: self.name.clone(),
            write_timeout: self.write_timeout.length(),
            failed_of_quorum,
        })
    }

    pub(super) fn next_timeout(&self) -> Option<Now> {
        let pass = match self.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        };
        pass.into_iter().chain(self.write_timeout.next_timeout()).min()
    }

    /// Ends the region once the pass under way is done.
    pub(super) fn stop(&mut self, wall_seconds: u64, view: &mut View) {
        match self.phase {
            Phase::New => self.stopped(Stop::NotStarted, view),
            Phase::Waiting { .. } => self.leave(wall_seconds, view),
            Phase::Opening | Phase::Reading { .. } | Phase::Writing { .. } => {
                self.stop_asked = Some(wall_seconds);
            }
            Phase::Leaving | Phase::Stopped => {}
        }
    }

    /// A message of the negotiation about this region.
    pub(super) fn negotiation(
        &mut self,
        now: Now,
        kind: Negotiation,
        sender: Option<NodeId>,
        view: &mut View,
    ) {
        match (kind, sender) {
            (Negotiation::Timeout, Some(sender)) => self.write_timeout.ask(sender),
            (Negotiation::Timeout, None) => {}
            (Negotiation::Approve, _) => self.arm(now, view),
        }
    }

    fn opened(&mut self, now: Now, read: io::Result<&[u8]>, view: &mut View) {
        if self.stop_asked.is_some() {
            self.start_failed(StartError::Removed, view);
            return self.stopped(Stop::NotStarted, view);
        }
        let bytes = match checked(read, self.slots.len() * self.size.bytes()) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.counters.read_errors += 1;
                self.start_failed(StartError::Open(error), view);
                return self.stopped(Stop::Aborted, view);
            }
        };
        for (slot, bytes) in self.slots.iter_mut().zip(bytes.chunks_exact(self.size.bytes())) {
            slot.prime(Block::decode_unchecked(bytes).unwrap_or_default());
        }
        self.begin_pass(now, view);
    }

    /// Restarts the write timeout, once the region is steady (`o2hb_arm_timeout`).
    fn arm(&mut self, from: Now, view: &mut View) {
        let running = matches!(
            self.phase,
            Phase::Waiting { .. } | Phase::Reading { .. } | Phase::Writing { .. }
        );
        if !running || !self.steady.is_steady() {
            return;
        }
        if view.mode == Mode::Global {
            view.regions.failed.remove(self.number);
        }
        self.write_timeout.restart(from);
    }

    /// Half of the write timeout has passed (`o2hb_nego_timeout`).
    fn negotiate(&mut self, now: Now, view: &mut View) {
        // A disk that answers does not hang, be it with an error or with what somebody else wrote: this
        // node is on its own.
        if self.last_pass.is_err() || !self.own_slot_good || planted(Mutant::NoNegotiation) {
            return;
        }
        // With the smallest dead threshold, half of the write timeout is a period: the next pass has
        // only just begun.
        if !self.hangs(now) && !planted(Mutant::HastyNegotiation) {
            return self.write_timeout.look_again(now);
        }
        let live = view.live();
        let Some(master) = live.lowest() else { return };
        if master != view.me {
            info!(region = self.name, %master, "the disk hangs; asking for more time");
            return self.send(master, Negotiation::Timeout, view);
        }
        self.write_timeout.ask(view.me);
        if self.write_timeout.asked() != live {
            return self.write_timeout.look_again(now);
        }
        info!(region = self.name, "the disk hangs for every node; all wait for it");
        self.arm(now, view);
        for node in live.without(view.me).iter() {
            self.send(node, Negotiation::Approve, view);
        }
    }

    /// Whether the disk has not answered for long.
    fn hangs(&self, now: Now) -> bool {
        match self.phase {
            Phase::Reading { started, .. } | Phase::Writing { started, .. } => {
                now >= started + LOOK_AGAIN
            }
            _ => false,
        }
    }

    fn send(&self, to: NodeId, kind: Negotiation, view: &mut View) {
        let payload = [view.me.get()];
        view.outputs.push_back(Output::Negotiate { to, key: self.key, kind, payload });
    }

    /// Reports every node down, and tells peers that this one goes.
    fn leave(&mut self, wall_seconds: u64, view: &mut View) {
        if !self.steady.is_steady() {
            self.start_failed(StartError::Removed, view);
        }
        self.write_timeout.disarm();
        self.shut_down_slots(view);
        self.write(0, wall_seconds, view);
        self.phase = Phase::Leaving;
    }

    fn shut_down_slots(&mut self, view: &mut View) {
        for node in self.live.iter() {
            if self.slots[node.index()].shut_down() {
                view.down_in_one(node);
            }
        }
        self.live = NodeMap::EMPTY;
    }

    /// Another region has seen that a node has died and lives again. Were it to come up there before
    /// it went down here, nobody would hear of its death.
    pub(super) fn reborn_elsewhere(&mut self, node: NodeId, view: &mut View) {
        if !planted(Mutant::RebirthInOneRegion)
            && self.live.remove(node)
            && self.slots[node.index()].shut_down()
        {
            view.down_in_one(node);
        }
    }

    fn start_failed(&mut self, error: StartError, view: &mut View) {
        view.outputs.push_back(Output::StartFailed { region: self.id, error });
    }

    fn stopped(&mut self, how: Stop, view: &mut View) {
        self.write_timeout.disarm();
        self.phase = Phase::Stopped;
        view.outputs.push_back(Output::Stopped { region: self.id, how });
    }

    /// Whether this node has been seen, and has seen others, since its disk last kept it waiting.
    pub(super) fn is_calm(&self) -> bool {
        self.calm_passes > LIVE_THRESHOLD
    }

    /// Other nodes that may live, and are not seen to here.
    pub(super) fn unseen<'a>(&'a self, view: &'a View) -> impl Iterator<Item = NodeId> + 'a {
        view.configured.without(view.me).iter().filter(|node| {
            let slot = self.slots.get(node.index());
            slot.is_some_and(|slot| slot.may_live_unseen(view.dead_threshold))
        })
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    pub(super) fn id(&self) -> RegionId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    pub(super) fn key(&self) -> u32 {
        self.key
    }

    pub(super) fn has_slot(&self, node: NodeId) -> bool {
        node.index() < self.slots.len()
    }

    pub(super) fn blocks(&self) -> u8 {
        self.slots.len() as u8
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pinned
    }

    pub(super) fn set_pinned(&mut self, pinned: bool) {
        self.pinned = pinned;
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = SlotStatus> {
        self.slots.iter().enumerate().filter_map(|(number, slot)| {
            let node = NodeId::new(u8::try_from(number).ok()?)?;
            (slot.is_live() || slot.changed_at().is_some()).then(|| SlotStatus {
                node,
                live: slot.is_live(),
                sequence: slot.sequence(),
                generation: slot.generation(),
                dead_ms: slot.dead_ms(),
                equal_samples: slot.equal_samples(),
                changed_at: slot.changed_at(),
            })
        })
    }

    pub(super) fn status(&self) -> RegionStatus<'_> {
        RegionStatus {
            name: &self.name,
            number: self.number,
            key: self.key,
            steady: self.steady.is_steady(),
            pinned: self.pinned,
            live: self.live,
            counters: self.counters,
            last_pass: self.last_pass.as_ref().copied(),
            last_pass_took: self.last_pass_took,
            last_good_pass: self.last_good_pass,
            deadline: self.write_timeout.deadline(),
        }
    }
}
