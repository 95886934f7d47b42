//! What a region knows about one slot, and when that makes its node live or dead.

use super::Block;
use crate::Now;
use crate::mutants::{Mutant, planted};

/// Changes that are seen before a node is live (`O2HB_LIVE_THRESHOLD`).
pub(super) const LIVE_THRESHOLD: u32 = 2;

/// A slot as the passes of one region have seen it (`fs/ocfs2/cluster/heartbeat.c: o2hb_disk_slot`).
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    sequence: u64,
    generation: u64,
    dead_ms: u32,
    equal_samples: u32,
    changed_samples: u32,
    /// Samples without a change since the last one with, or since the region was opened.
    silent: u32,
    live: bool,
    changed_at: Option<Now>,
}

/// What one pass found out about a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampled {
    /// A live node did not write, or wrote something that cannot be read.
    pub(super) missed: bool,
    pub(super) turn: Option<Turn>,
}

/// The node of a slot has become live in this region, or is no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Up,
    Down,
    /// No longer live, because another life of it writes.
    Reborn,
}

impl Slot {
    /// What is in the slot when the region is opened: later blocks are compared with it, right or
    /// wrong.
    pub(super) fn prime(&mut self, block: Block) {
        self.sequence = block.sequence;
        self.generation = block.generation;
        self.dead_ms = block.dead_ms;
    }

    /// Judges what a pass read (`o2hb_check_slot`): the block, or `None` if its checksum is wrong.
    pub(super) fn sample(
        &mut self,
        block: Option<Block>,
        dead_threshold: u32,
        now: Now,
    ) -> Sampled {
        let was_live = self.live;
        let Some(block) = block else {
            // A miss, if there is something to miss. The fields may be anything, and are not kept.
            if self.live {
                self.equal_samples = self.equal_samples.saturating_add(1);
            }
            self.silent = self.silent.saturating_add(1);
            return Sampled { missed: was_live, turn: self.turn_down(dead_threshold, false) };
        };
        let same = self.sequence == block.sequence;
        if same {
            self.equal_samples = self.equal_samples.saturating_add(1);
            self.silent = self.silent.saturating_add(1);
        } else {
            self.silent = 0;
            self.changed_samples = self.changed_samples.saturating_add(1);
            self.changed_at = Some(now);
        }
        let reborn = self.generation != block.generation && !planted(Mutant::RebirthUnseen);
        if reborn {
            self.equal_samples = 0;
        }
        self.prime(block);
        let turn = if !self.live && self.changed_samples >= LIVE_THRESHOLD {
            self.live = true;
            self.equal_samples = 0;
            Some(Turn::Up)
        } else {
            self.turn_down(dead_threshold, reborn)
        };
        Sampled { missed: was_live && same, turn }
    }

    /// A live node that has missed too many samples is dead, and so is one that has been born again
    /// in the meantime: its peers have to recover what it held before.
    fn turn_down(&mut self, dead_threshold: u32, reborn: bool) -> Option<Turn> {
        if !self.live {
            return None;
        }
        if self.equal_samples >= dead_threshold || reborn {
            self.live = false;
            // Who was born again writes: that change counts towards being live again.
            // Generation 0 says goodbye, to this region.
            if reborn && self.generation != 0 {
                return Some(Turn::Reborn);
            }
            if !reborn {
                self.changed_samples = 0;
            }
            return Some(Turn::Down);
        }
        if self.changed_samples > 0 {
            self.changed_samples = 0;
            self.equal_samples = 0;
        }
        None
    }

    /// Takes the node out of the region; whether it was live in it.
    pub(super) fn shut_down(&mut self) -> bool {
        std::mem::take(&mut self.live)
    }

    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Whether a node may live that is not seen to: it has written, without a goodbye, and was not
    /// silent for so long that it has stopped itself.
    pub(super) fn may_live_unseen(&self, dead_threshold: u32) -> bool {
        !self.live && self.generation != 0 && self.silent < dead_threshold
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn dead_ms(&self) -> u32 {
        self.dead_ms
    }

    /// Samples without a change since the last one with.
    pub(super) fn equal_samples(&self) -> u32 {
        self.equal_samples
    }

    pub(super) fn changed_at(&self) -> Option<Now> {
        self.changed_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: u32 = 31;

    /// A slot and the block that its node writes into it.
    struct Writer {
        slot: Slot,
        block: Block,
    }

    impl Writer {
        fn new() -> Writer {
            let block = Block { sequence: 1000, node: 1, generation: 7, dead_ms: 62000 };
            let mut slot = Slot::default();
            slot.prime(block);
            Writer { slot, block }
        }

        fn just_live() -> Writer {
            let mut writer = Writer::new();
            assert_eq!(writer.writes(1002), None);
            assert_eq!(writer.writes(1004), Some(Turn::Up));
            writer
        }

        fn live() -> Writer {
            let mut writer = Writer::just_live();
            assert_eq!(writer.writes(1006), None);
            writer
        }

        fn writes(&mut self, sequence: u64) -> Option<Turn> {
            self.block.sequence = sequence;
            self.is_silent()
        }

        fn is_silent(&mut self) -> Option<Turn> {
            self.slot.sample(Some(self.block), THRESHOLD, Now::ZERO).turn
        }

        fn is_garbled(&mut self) -> Option<Turn> {
            self.slot.sample(None, THRESHOLD, Now::ZERO).turn
        }
    }

    // Behaviour 45.
    #[test]
    fn two_changes_make_a_node_live_even_far_apart() {
        let mut writer = Writer::new();
        assert_eq!(writer.writes(1002), None);
        for _ in 0..100 {
            assert_eq!(writer.is_silent(), None);
        }
        assert_eq!(writer.writes(1300), Some(Turn::Up));
    }

    // Behaviour 46.
    #[test]
    fn the_last_equal_sample_of_the_threshold_makes_a_node_dead() {
        let mut writer = Writer::live();
        for _ in 0..30 {
            assert_eq!(writer.is_silent(), None);
        }
        assert_eq!(writer.is_silent(), Some(Turn::Down));
        // It needs two changes again.
        assert_eq!(writer.writes(2000), None);
        assert_eq!(writer.writes(2002), Some(Turn::Up));
    }

    /// The changes that made it live are still counted in the next pass, and start the count again.
    #[test]
    fn the_first_miss_of_a_node_that_has_just_come_is_forgiven() {
        let mut writer = Writer::just_live();
        for _ in 0..31 {
            assert_eq!(writer.is_silent(), None);
        }
        assert_eq!(writer.is_silent(), Some(Turn::Down));
    }

    // Behaviour 47.
    #[test]
    fn a_change_starts_the_count_of_equal_samples_again() {
        let mut writer = Writer::live();
        for _ in 0..30 {
            assert_eq!(writer.is_silent(), None);
        }
        assert_eq!(writer.writes(1100), None);
        for _ in 0..30 {
            assert_eq!(writer.is_silent(), None);
        }
        assert_eq!(writer.is_silent(), Some(Turn::Down));
    }

    // Behaviour 48.
    #[test]
    fn a_wrong_checksum_counts_as_a_missed_sample() {
        let mut writer = Writer::live();
        for _ in 0..29 {
            assert_eq!(writer.is_silent(), None);
        }
        assert_eq!(
            writer.slot.sample(None, THRESHOLD, Now::ZERO),
            Sampled { missed: true, turn: None }
        );
        assert_eq!((writer.slot.sequence(), writer.slot.generation()), (1006, 7));
        assert_eq!(writer.is_silent(), Some(Turn::Down));
    }

    // Behaviour 48.
    #[test]
    fn wrong_checksums_alone_make_a_node_dead() {
        let mut writer = Writer::live();
        for _ in 0..30 {
            assert_eq!(writer.is_garbled(), None);
        }
        assert_eq!(writer.is_garbled(), Some(Turn::Down));
    }

    // Behaviour 49.
    #[test]
    fn a_wrong_checksum_in_the_slot_of_a_dead_node_is_nothing() {
        let mut writer = Writer::new();
        assert_eq!(writer.writes(1002), None);
        for _ in 0..100 {
            assert_eq!(
                writer.slot.sample(None, THRESHOLD, Now::ZERO),
                Sampled { missed: false, turn: None }
            );
        }
        assert_eq!(writer.writes(1004), Some(Turn::Up));
    }

    // Behaviour 50.
    #[test]
    fn another_generation_is_a_death_and_one_more_change_a_birth() {
        let mut writer = Writer::live();
        writer.block.generation = 8;
        assert_eq!(writer.writes(1008), Some(Turn::Reborn));
        assert_eq!(writer.is_silent(), None);
        assert_eq!(writer.writes(1010), Some(Turn::Up));
    }

    // Behaviour 51.
    #[test]
    fn generation_zero_is_a_death_even_in_the_same_second() {
        for sequence in [1006, 1007] {
            let mut writer = Writer::live();
            writer.block.generation = 0;
            assert_eq!(writer.writes(sequence), Some(Turn::Down));
        }
    }

    // Behaviour 52.
    #[test]
    fn a_clock_that_steps_back_is_a_change_as_any_other() {
        let mut writer = Writer::live();
        for sequence in [900, 500, 1, u64::MAX, 0, 3] {
            assert_eq!(writer.writes(sequence), None);
            for _ in 0..30 {
                assert_eq!(writer.is_silent(), None);
            }
        }
    }

    #[test]
    fn a_silent_slot_may_be_a_living_nodes_until_the_threshold() {
        let mut writer = Writer::new();
        for _ in 0..THRESHOLD {
            assert!(writer.slot.may_live_unseen(THRESHOLD));
            writer.is_garbled();
        }
        assert!(!writer.slot.may_live_unseen(THRESHOLD));
        // It was only slow.
        assert_eq!(writer.writes(1002), None);
        assert!(writer.slot.may_live_unseen(THRESHOLD));
        assert_eq!(writer.writes(1004), Some(Turn::Up));
        assert!(!writer.slot.may_live_unseen(THRESHOLD));
    }

    #[test]
    fn a_slot_that_is_empty_or_says_goodbye_is_no_living_nodes() {
        assert!(!Slot::default().may_live_unseen(THRESHOLD));
        let mut writer = Writer::live();
        writer.block.generation = 0;
        writer.writes(1008);
        assert!(!writer.slot.may_live_unseen(THRESHOLD));
    }

    #[test]
    fn the_age_of_a_slot_is_that_of_its_last_change() {
        let mut writer = Writer::new();
        assert_eq!(writer.slot.changed_at(), None);
        writer.block.sequence = 1002;
        for second in [2, 4, 6] {
            writer.slot.sample(Some(writer.block), THRESHOLD, Now::from_secs(second));
        }
        assert_eq!(writer.slot.changed_at(), Some(Now::from_secs(2)));
    }
}
