//! Starting a region, and ending it.

use super::super::{Block, HeartbeatError, Mode};
use super::world::{BLOCKS, Fault, SIZE, World, node, nodes};
use crate::Now;

// Behaviour 56.
#[test]
fn a_region_is_steady_after_five_passes() {
    let mut world = World::local(1);
    world.start(1, "A");
    world.run(7_999);
    assert_eq!(world.told(1), ["up 1"]);
    world.run(1);
    assert_eq!(world.told(1), ["up 1", "steady A"]);
    assert_eq!(world.when(1, "up 1"), Some(2_000));
    let status = world.status(1, "A");
    assert!(status.steady);
    assert_eq!(status.counters.passes, 5);
}

#[test]
fn a_region_that_holds_an_earlier_life_of_this_node_is_steady_a_pass_sooner() {
    let mut world = World::steady(1);
    world.crash(1);
    world.reboot(1, "A");
    world.run(6_000);
    assert_eq!(world.told(1), ["up 1", "steady A"]);
    assert_eq!(world.status(1, "A").counters.passes, 4);
}

#[test]
fn the_first_region_of_global_mode_waits_for_five_quiet_passes() {
    let mut world = World::new(1, Mode::Global);
    world.start(1, "A");
    world.run(20_000);
    assert_eq!(world.when(1, "steady A"), Some(12_000));
    let started_ms = world.now_ms;
    world.start(1, "B");
    world.run(20_000);
    // Without an up event, as this node is live already.
    assert_eq!(world.when(1, "steady B"), Some(started_ms + 6_000));
}

#[test]
fn nodes_that_come_while_a_region_starts_delay_it() {
    let mut world = World::steady(2);
    world.crash(1);
    world.reboot(1, "A");
    world.run(20_000);
    // Pass 2 sees both come, and three quiet ones follow.
    assert_eq!(world.told(1), ["up 1", "up 2", "steady A"]);
    assert!(world.status(1, "A").steady);
}

// Behaviours 55, 57.
#[test]
fn passes_that_always_fail_abort_a_start_at_the_ninth() {
    for fault in [Fault::Writes, Fault::Lost] {
        let mut world = World::local(1);
        world.fault(1, "A", fault);
        world.start(1, "A");
        world.run(15_999);
        assert_eq!(world.told(1), ["up 1"]);
        world.run(100_000);
        assert_eq!(
            world.told(1)[1..],
            [
                "failed: the heartbeat region did not become steady; see the counters of its passes",
                "down 1",
                "Aborted",
            ]
        );
        assert_eq!(world.when(1, "Aborted"), Some(16_000));
        assert_eq!(world.slot("A", 1), vec![0; SIZE.bytes()]);
    }
}

#[test]
fn a_region_that_cannot_be_read_does_not_start() {
    let mut world = World::local(1);
    world.fault(1, "A", Fault::Reads);
    world.start(1, "A");
    assert_eq!(world.told(1), ["failed: the heartbeat region could not be opened", "Aborted"]);
    assert_eq!(world.hosts[0].heartbeat.next_timeout(), None);
}

// Behaviour 54.
#[test]
fn a_clean_stop_reports_everybody_down_and_says_so_on_the_disk() {
    let mut world = World::steady(3);
    world.remove(2, "A");
    assert_eq!(world.told(2), ["down 1", "down 2", "down 3", "Left"]);
    let last = Block::decode(world.slot("A", 2)).expect("a right checksum");
    assert_eq!((last.generation, last.node, last.dead_ms), (0, 2, 62_000));
    assert!(world.hosts[1].heartbeat.live_nodes().is_empty());
    assert_eq!(world.hosts[1].heartbeat.region_ids().count(), 0);
    assert_eq!(world.hosts[1].heartbeat.next_timeout(), None);
}

#[test]
fn a_stop_waits_for_the_write_under_way() {
    let mut world = World::steady(2);
    world.fault(2, "A", Fault::Hang);
    world.run(5_000);
    world.remove(2, "A");
    assert!(world.told(2).is_empty());
    world.heal(2, "A");
    assert_eq!(world.told(2), ["down 1", "down 2", "Left"]);
    assert_eq!(world.writes.last().map(|write| write.2.generation), Some(0));
}

#[test]
fn a_stop_does_not_stop_the_clock_of_a_write_that_hangs() {
    let mut world = World::steady(2);
    world.network = false;
    let deadline = world.status(2, "A").deadline.expect("it is steady");
    world.fault(2, "A", Fault::Hang);
    world.run(5_000);
    world.remove(2, "A");
    world.run(100_000);
    let fenced_ms = world.when(2, "fence: no good write to heartbeat region A for 60000 ms");
    assert_eq!(fenced_ms.map(Now::from_millis), Some(deadline));
}

#[test]
fn a_goodbye_that_cannot_be_written_is_said_to_be_missing() {
    let mut world = World::steady(1);
    world.fault(1, "A", Fault::Writes);
    world.remove(1, "A");
    assert_eq!(world.told(1), ["down 1", "LeftUnsaid"]);
}

#[test]
fn a_region_that_is_removed_while_it_starts_has_failed_to() {
    let mut world = World::local(1);
    world.start(1, "A");
    world.run(3_000);
    world.remove(1, "A");
    let removed = "failed: the heartbeat region was removed before it was steady";
    assert_eq!(world.told(1), ["up 1", removed, "down 1", "Left"]);
    world.add(1, "B");
    world.remove(1, "B");
    assert_eq!(world.told(1)[4..], ["NotStarted"]);
}

#[test]
fn a_region_starts_once_and_ends_for_good() {
    let mut world = World::local(1);
    let id = world.start(1, "A");
    let random = 7.try_into().expect("not zero");
    let now = world.now();
    let heartbeat = &mut world.host(1).heartbeat;
    assert_eq!(heartbeat.start_region(now, id, random), Err(HeartbeatError::AlreadyStarted));
    assert_eq!(
        heartbeat.add_region("A", SIZE, BLOCKS),
        Err(HeartbeatError::NameTaken("A".to_owned()))
    );
    world.remove(1, "A");
    let heartbeat = &mut world.host(1).heartbeat;
    assert_eq!(heartbeat.start_region(now, id, random), Err(HeartbeatError::NoRegion));
    assert_eq!(heartbeat.remove_region(now, id, 0), Err(HeartbeatError::NoRegion));
    heartbeat.slots_read(now, id, 0, Ok(&[]));
    heartbeat.slot_written(now, id, Ok(()));
    assert!(heartbeat.poll_output().is_none());
}

#[test]
fn a_region_has_a_slot_for_every_node() {
    let mut world = World::local(3);
    let heartbeat = &mut world.host(1).heartbeat;
    for blocks in 0..=3 {
        let node = node(blocks.max(1));
        assert_eq!(
            heartbeat.add_region("A", SIZE, blocks),
            Err(HeartbeatError::NoSlot { node, blocks })
        );
    }
    assert!(heartbeat.add_region("A", SIZE, 4).is_ok());
    assert_eq!(
        heartbeat.set_nodes(nodes(&[1, 2, 9])),
        Err(HeartbeatError::NoSlot { node: node(9), blocks: 4 })
    );
    assert_eq!(heartbeat.set_nodes(nodes(&[2])), Err(HeartbeatError::NotConfigured(node(1))));
}

// Behaviour 62.
#[test]
fn a_region_under_a_lock_domain_cannot_be_removed() {
    let mut world = World::steady(1);
    world.start(1, "B");
    let now = world.now();
    let (a, b) = (world.id(1, "A"), world.id(1, "B"));
    let heartbeat = &mut world.host(1).heartbeat;
    heartbeat.domain_up("A");
    heartbeat.domain_up("without a region");
    assert_eq!(heartbeat.remove_region(now, a, 0), Err(HeartbeatError::Pinned("A".to_owned())));
    assert_eq!(heartbeat.remove_region(now, b, 0), Ok(()));
    heartbeat.domain_down("A");
    assert_eq!(heartbeat.remove_region(now, a, 0), Ok(()));
}

#[test]
fn a_region_that_comes_after_the_domain_of_its_name_cannot_be_removed_under_it() {
    let mut world = World::steady(1);
    world.host(1).heartbeat.domain_up("B");
    world.start(1, "B");
    world.run(20_000);
    let (now, id) = (world.now(), world.id(1, "B"));
    let removed = world.host(1).heartbeat.remove_region(now, id, 0);
    assert_eq!(removed, Err(HeartbeatError::Pinned("B".to_owned())));
    world.host(1).heartbeat.domain_down("B");
    world.remove(1, "B");
}
