//! One pass of a region: read all slots, write the own one, judge the others meanwhile
//! (`fs/ocfs2/cluster/heartbeat.c: o2hb_do_disk_heartbeat`).

use std::io;

use tracing::{error, info, warn};

use super::{Phase, Region};
use crate::heartbeat::slot::Turn;
use crate::heartbeat::steady::Progress;
use crate::heartbeat::view::View;
use crate::heartbeat::write_timeout::PERIOD;
use crate::heartbeat::{Block, Mode, Output, PassError, StartError, Stop};
use crate::mutants::{Mutant, planted};
use crate::{NodeId, NodeMap, Now};

impl Region {
    pub(super) fn begin_pass(&mut self, now: Now, view: &mut View) {
        let blocks = self.slots.len();
        let watched: NodeMap = view.watched().iter().filter(|node| node.index() < blocks).collect();
        // This node is configured, and so there is a first and a last.
        let Some((first, last)) = watched.lowest().zip(watched.iter().last()) else { return };
        self.phase = Phase::Reading { started: now, watched };
        view.outputs.push_back(Output::ReadSlots { region: self.id, first, last });
    }

    pub(super) fn pass_read(
        &mut self,
        now: Now,
        started: Now,
        watched: NodeMap,
        wall_seconds: u64,
        read: io::Result<&[u8]>,
        view: &mut View,
    ) {
        let (first, last) = (watched.lowest(), watched.iter().last());
        let index = |node: Option<NodeId>| node.map_or(0, NodeId::index);
        let (first, last) = (index(first), index(last));
        let bytes = match checked(read, (last + 1 - first) * self.size.bytes()) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.counters.read_errors += 1;
                return self.end_pass(now, started, Err(error), None, false, view);
            }
        };
        if self.stop_asked.is_some() {
            // The goodbye is the next thing to write.
            return self.end_pass(now, started, Ok(()), None, false, view);
        }
        let slot_bytes = |node: NodeId| {
            let at = (node.index() - first) * self.size.bytes();
            &bytes[at..at + self.size.bytes()]
        };
        let found = Block::decode_unchecked(slot_bytes(view.me)).unwrap_or_default();
        let blocks: Vec<(NodeId, Option<Block>)> = watched
            .iter()
            .map(|node| {
                (
                    node,
                    if planted(Mutant::TornBlocksCount) {
                        Block::decode_unchecked(slot_bytes(node)).ok()
                    } else {
                        Block::decode(slot_bytes(node)).ok()
                    },
                )
            })
            .collect();

        self.own_slot_good = self.check_own_slot(found, view.me);
        let own = self.write(self.generation, wall_seconds, view);
        let mut nodes_changed = false;
        for (node, block) in blocks {
            let block = if node == view.me { Some(own) } else { block };
            nodes_changed |= self.sample(node, block, now, view);
        }
        self.phase = Phase::Writing { started, issued: now, nodes_changed };
    }

    /// Whether the own slot is as this node has left it (`o2hb_check_own_slot`). If not, it goes on
    /// writing, though without restarting its write timeout: what comes back is not what it wrote.
    fn check_own_slot(&mut self, found: Block, me: NodeId) -> bool {
        let own = &self.slots[me.index()];
        if own.sequence() == 0 {
            return false;
        }
        let what = if found.node != me.get() {
            self.counters.own_slot_other_node += 1;
            "another node heartbeats in this node's slot"
        } else if found.generation != own.generation() {
            self.counters.own_slot_other_generation += 1;
            "this node's slot has another generation: this node runs twice, or a write was lost"
        } else if found.sequence != own.sequence() {
            self.counters.own_slot_other_sequence += 1;
            "this node's slot has another sequence: a write was lost, or is not this node's"
        } else {
            return true;
        };
        error!(region = self.name, node = %me, expected = ?own, ?found, what);
        false
    }

    /// Has the own block written.
    pub(super) fn write(&mut self, generation: u64, wall_seconds: u64, view: &mut View) -> Block {
        // Readers only ask whether it has changed, and the clock may have been set back meanwhile.
        let mut sequence = wall_seconds.max(1);
        if sequence == self.written {
            sequence = self.written.checked_add(1).unwrap_or(1);
        }
        self.written = sequence;
        let block = Block { sequence, node: view.me.get(), generation, dead_ms: view.dead_ms() };
        view.outputs.push_back(Output::WriteSlot {
            region: self.id,
            bytes: block.encode(self.size),
            not_after: self.write_timeout.deadline(),
        });
        block
    }

    /// Judges one slot; whether a node has come to or gone from this node's view.
    fn sample(&mut self, node: NodeId, block: Option<Block>, now: Now, view: &mut View) -> bool {
        let sampled = self.slots[node.index()].sample(block, view.dead_threshold, now);
        self.counters.bad_checksums += u64::from(block.is_none());
        self.counters.missed_samples += u64::from(sampled.missed);
        match sampled.turn {
            None => false,
            Some(Turn::Up) => {
                let theirs = block.map_or(0, |block| block.dead_ms);
                let ours = view.dead_ms();
                if theirs != 0 && theirs != ours {
                    error!(
                        region = self.name, %node, theirs, ours,
                        "a node has another dead threshold; give all nodes the same"
                    );
                }
                info!(region = self.name, %node, "a node is live");
                self.live.insert(node);
                view.up_in_one_more(node)
            }
            Some(turn) => {
                info!(region = self.name, %node, ?turn, "a node is no longer live");
                self.live.remove(node);
                if turn == Turn::Reborn {
                    view.reborn.insert(node);
                }
                view.down_in_one(node)
            }
        }
    }

    /// The own block has reached the device, or has not: the pass is over.
    pub(super) fn pass_written(
        &mut self,
        now: Now,
        started: Now,
        issued: Now,
        nodes_changed: bool,
        written: io::Result<()>,
        view: &mut View,
    ) {
        let result = written.map_err(PassError::Write);
        if result.is_err() {
            self.counters.write_errors += 1;
        }
        let good = result.is_ok() && self.own_slot_good;
        if good {
            self.promote(view);
            self.last_good_pass = Some(now);
        }
        self.end_pass(now, started, result, good.then_some(issued), nodes_changed, view);
    }

    /// `issued` is when the write of a good pass was issued.
    fn end_pass(
        &mut self,
        now: Now,
        started: Now,
        result: Result<(), PassError>,
        issued: Option<Now>,
        nodes_changed: bool,
        view: &mut View,
    ) {
        if let Err(error) = &result {
            warn!(region = self.name, error = error as &dyn std::error::Error, "heartbeat failed");
        }
        self.counters.passes += 1;
        self.last_pass_took = now.saturating_sub(started);
        self.last_pass = result;
        let in_time = issued.is_some() && self.last_pass_took < PERIOD;
        self.calm_passes = if in_time { self.calm_passes.saturating_add(1) } else { 0 };
        if let Some(wall_seconds) = self.stop_asked {
            return self.leave(wall_seconds, view);
        }
        match self.steady.pass(issued.is_some() && !nodes_changed) {
            Progress::Unsteady | Progress::Steady => {}
            Progress::Reached => {
                if view.mode == Mode::Global {
                    view.regions.live.insert(self.number);
                }
                view.outputs.push_back(Output::Steady(self.id));
            }
            Progress::Aborted => {
                self.start_failed(StartError::Unsteady, view);
                self.shut_down_slots(view);
                return self.stopped(Stop::Aborted, view);
            }
        }
        if let Some(issued) = issued {
            // Peers may have seen the block long before this node hears that it is on the disk: its
            // time runs from when it could first be seen.
            self.arm(issued, view);
        }
        if now >= started + PERIOD {
            self.begin_pass(now, view);
        } else {
            self.phase = Phase::Waiting { until: started + PERIOD };
        }
    }

    /// In global mode, makes this a quorum region when it is steady and every live node is live in it:
    /// all nodes have added it (`o2hb_set_quorum_device`).
    fn promote(&mut self, view: &mut View) {
        if view.mode == Mode::Global
            && self.steady.is_steady()
            && self.stop_asked.is_none()
            && self.live == view.live()
        {
            view.regions.quorum.insert(self.number);
        }
    }
}

/// As many bytes as were asked for, or an error.
pub(super) fn checked(read: io::Result<&[u8]>, expected: usize) -> Result<&[u8], PassError> {
    let bytes = read.map_err(PassError::Read)?;
    if bytes.len() == expected {
        Ok(bytes)
    } else {
        Err(PassError::ReadLength { expected, got: bytes.len() })
    }
}
