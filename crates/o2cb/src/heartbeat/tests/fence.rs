//! When a node has to go.

use super::super::{Block, HeartbeatError, Output};
use super::world::{Fault, SIZE, World};
use crate::Now;

const FENCED: &str = "fence: no good write to heartbeat region A for 60000 ms";

// Behaviours 44, 65.
#[test]
fn a_node_that_cannot_write_is_gone_before_its_peers_say_so() {
    for fault in [Fault::Reads, Fault::Writes, Fault::Lost] {
        let mut world = World::steady(2);
        world.run(2_000);
        let last_write_ms = world.writes.iter().rfind(|write| write.1 == 2).expect("it lives").0;
        world.fault(2, "A", fault);
        world.run(100_000);
        assert_eq!(world.told(2), [FENCED]);
        let fenced_ms = world.when(2, FENCED).expect("it fences itself");
        // A lost write is found out by the next pass.
        let lost_ms = if fault == Fault::Lost { 2_000 } else { 0 };
        assert_eq!(fenced_ms, last_write_ms + 60_000 + lost_ms);
        assert_eq!(world.told(1), ["down 2"]);
        let down_ms = world.when(1, "down 2").expect("it is missed");
        assert!(fenced_ms < down_ms, "{fenced_ms} {down_ms}");
        assert!(world.writes.iter().all(|write| write.1 != 2 || write.0 <= last_write_ms));
    }
}

// Behaviour 44.
#[test]
fn a_pass_that_cannot_read_does_not_write() {
    let mut world = World::steady(1);
    world.fault(1, "A", Fault::Reads);
    world.run(30_000);
    assert!(world.writes.is_empty());
    assert_eq!(world.status(1, "A").counters.read_errors, 15);
    world.heal(1, "A");
    world.run(60_000);
    assert!(world.told(1).is_empty());
}

// Behaviour 66.
#[test]
fn a_region_that_is_not_steady_has_no_deadline() {
    let mut world = World::local(1);
    world.start(1, "A");
    world.run(7_000);
    assert_eq!(world.status(1, "A").deadline, None);
    world.run(1_000);
    assert_eq!(world.status(1, "A").deadline, Some(Now::from_secs(68)));
}

// Behaviour 60.
#[test]
fn a_node_whose_slot_is_used_by_another_goes_on_writing_until_its_deadline() {
    let mut world = World::steady(1);
    let deadline = world.status(1, "A").deadline.expect("it is steady");
    let foreign = Block { sequence: 9, node: 5, generation: 5, dead_ms: 62_000 };
    for _ in 0..29 {
        world.slot("A", 1).copy_from_slice(&foreign.encode(SIZE));
        world.run(2_000);
        assert!(world.told(1).is_empty());
    }
    let status = world.status(1, "A");
    assert_eq!((status.counters.own_slot_other_node, status.deadline), (29, Some(deadline)));
    assert_eq!(world.writes.len(), 29);
    world.slot("A", 1).copy_from_slice(&foreign.encode(SIZE));
    world.run(2_000);
    assert_eq!(world.when(1, FENCED).map(Now::from_millis), Some(deadline));
}

#[test]
fn an_own_slot_is_wrong_in_three_ways() {
    let mut world = World::steady(1);
    let spoil = |world: &mut World, change: fn(&mut Block)| {
        let mut block = Block::decode(world.slot("A", 1)).expect("its block");
        change(&mut block);
        world.slot("A", 1).copy_from_slice(&block.encode(SIZE));
        world.run(2_000);
        let counters = world.status(1, "A").counters;
        [
            counters.own_slot_other_node,
            counters.own_slot_other_generation,
            counters.own_slot_other_sequence,
        ]
    };
    let all = |block: &mut Block| *block = Block { node: 7, ..Block::default() };
    assert_eq!(spoil(&mut world, all), [1, 0, 0]);
    let reborn = |block: &mut Block| (block.generation, block.sequence) = (7, 7);
    assert_eq!(spoil(&mut world, reborn), [1, 1, 0]);
    assert_eq!(spoil(&mut world, |block| block.sequence = 7), [1, 1, 1]);
    assert_eq!(spoil(&mut world, |_| {}), [1, 1, 1]);
}

// Behaviour 84.
#[test]
fn nothing_is_written_after_the_deadline_however_late_the_driver_is() {
    let mut world = World::steady(1);
    let id = world.id(1, "A");
    let deadline = world.status(1, "A").deadline.expect("it is steady");
    let heartbeat = &mut world.host(1).heartbeat;
    // The pass begins in time, and the slots come too late.
    let begun = heartbeat.next_timeout().expect("a pass");
    heartbeat.handle_timeout(begun);
    assert!(matches!(heartbeat.poll_output(), Some(Output::ReadSlots { .. })));
    heartbeat.slots_read(deadline, id, 1, Ok(&[0; 512]));
    assert!(matches!(heartbeat.poll_output(), Some(Output::Fence(_))));
    assert!(heartbeat.poll_output().is_none());
    // And so it stays.
    heartbeat.slot_written(deadline, id, Ok(()));
    heartbeat.handle_timeout(deadline + deadline);
    assert!(heartbeat.poll_output().is_none());
    assert_eq!(heartbeat.next_timeout(), None);
    assert_eq!(heartbeat.add_region("B", SIZE, 8), Err(HeartbeatError::Fenced));
}

// Behaviour 84.
#[test]
fn what_was_to_be_written_is_dropped_when_the_node_goes() {
    let mut world = World::steady(1);
    let id = world.id(1, "A");
    let deadline = world.status(1, "A").deadline;
    let heartbeat = &mut world.host(1).heartbeat;
    let begun = heartbeat.next_timeout().expect("a pass");
    heartbeat.handle_timeout(begun);
    assert!(matches!(heartbeat.poll_output(), Some(Output::ReadSlots { .. })));
    heartbeat.slots_read(begun, id, 1, Ok(&[0; 512]));
    heartbeat.stop_uncleanly();
    assert!(heartbeat.poll_output().is_none());
    assert!(deadline.is_some());
}

// Behaviour 84.
#[test]
fn a_write_says_until_when_it_may_be_issued() {
    let mut world = World::steady(1);
    let id = world.id(1, "A");
    let deadline = world.status(1, "A").deadline;
    let heartbeat = &mut world.host(1).heartbeat;
    let begun = heartbeat.next_timeout().expect("a pass");
    heartbeat.handle_timeout(begun);
    assert!(matches!(heartbeat.poll_output(), Some(Output::ReadSlots { .. })));
    heartbeat.slots_read(begun, id, 1, Ok(&[0; 512]));
    let Some(Output::WriteSlot { not_after, .. }) = heartbeat.poll_output() else { panic!() };
    assert_eq!(not_after, deadline);
}

/// The block may have been on the disk since it was issued: peers count from there.
#[test]
fn a_slow_write_does_not_move_the_deadline_beyond_what_peers_see() {
    let mut world = World::steady(1);
    let issued = world.hosts[0].heartbeat.next_timeout().expect("a pass");
    world.fault(1, "A", Fault::Hang);
    world.run(2_900);
    world.heal(1, "A");
    let now = world.now();
    let status = world.status(1, "A");
    assert_eq!(status.last_good_pass, Some(now));
    assert!(issued < now);
    assert_eq!(status.deadline, Some(issued + Now::from_secs(60)));
}
