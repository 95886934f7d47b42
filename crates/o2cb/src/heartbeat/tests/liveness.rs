//! Who is live.

use super::super::Block;
use super::world::{Fault, World, node, nodes};

// Behaviours 40, 41.
#[test]
fn a_node_writes_its_slot_every_two_seconds_and_no_other() {
    let mut world = World::steady(1);
    let before = world.disks["A"].clone();
    world.run(60_000);
    assert_eq!(world.writes.len(), 30);
    for pair in world.writes.windows(2) {
        let ((earlier_ms, _, earlier, _), (later_ms, _, later, _)) = (pair[0], pair[1]);
        assert_eq!(later_ms - earlier_ms, 2_000);
        assert_eq!(later, Block { sequence: earlier.sequence + 2, ..earlier });
    }
    for (at, (old, new)) in before.chunks(512).zip(world.disks["A"].chunks(512)).enumerate() {
        assert_eq!(old != new, at == 1);
        assert!(new[32..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_sequence_changes_though_the_clock_does_not() {
    let mut world = World::local(1);
    let now = world.now();
    let id = world.add(1, "A");
    let heartbeat = &mut world.host(1).heartbeat;
    heartbeat.start_region(now, id, 7.try_into().expect("not zero")).expect("a start");
    let mut sequences = Vec::new();
    let mut slots = vec![0; 8 * 512];
    for pass in 0..4 {
        heartbeat.handle_timeout(super::super::Now::from_secs(2 * pass));
        while let Some(output) = heartbeat.poll_output() {
            let now = super::super::Now::from_secs(2 * pass);
            match output {
                super::super::Output::ReadSlots { first, last, .. } => {
                    let bytes = &slots[first.index() * 512..(last.index() + 1) * 512];
                    heartbeat.slots_read(now, id, 0, Ok(bytes));
                }
                super::super::Output::WriteSlot { bytes, .. } => {
                    slots[512..1024].copy_from_slice(&bytes);
                    sequences.push(Block::decode(&bytes).expect("a right block").sequence);
                    heartbeat.slot_written(now, id, Ok(()));
                }
                _ => {}
            }
        }
    }
    // 0 would be the slot of nobody.
    assert_eq!(sequences, [1, 2, 1, 2]);
    assert_eq!(heartbeat.live_nodes(), nodes(&[1]));
}

// Behaviour 45.
#[test]
fn a_peer_is_up_at_its_second_change() {
    let mut world = World::steady(2);
    world.crash(2);
    world.run(70_000);
    assert_eq!(world.told(1), ["down 2"]);
    let started_ms = world.now_ms;
    world.reboot(2, "A");
    world.run(10_000);
    // It writes at 0 s and at 2 s of its life; node 1 looks once after each.
    let up_ms = world.when(1, "up 2").expect("node 2 is seen");
    assert!((started_ms + 2_000..started_ms + 4_000).contains(&up_ms));
}

// Behaviour 46.
#[test]
fn a_peer_that_crashes_is_down_at_the_thirty_first_sample_that_equals_its_last() {
    let mut world = World::steady(2);
    world.run(2_000);
    let last_write_ms = world.writes.iter().rfind(|write| write.1 == 2).expect("it lives").0;
    world.crash(2);
    world.run(100_000);
    let down_ms = world.when(1, "down 2").expect("node 2 is missed");
    // Node 1 started 100 ms before node 2, and so its next look is 1900 ms after the last write.
    assert_eq!(down_ms, last_write_ms + 1_900 + 31 * 2_000);
    assert_eq!(world.status(1, "A").counters.missed_samples, 31);
}

// Behaviour 47.
#[test]
fn a_peer_that_writes_in_time_starts_the_count_again() {
    let mut world = World::steady(2);
    world.fault(2, "A", Fault::Lost);
    world.run(60_000);
    let equal = |world: &mut World| world.slots(1, "A")[1].equal_samples;
    assert!((29..=30).contains(&equal(&mut world)));
    // Its write timeout would have it fenced for its own slot.
    world.heal(2, "A");
    world.slot("A", 2)[0] ^= 1;
    let block = Block::decode_unchecked(world.slot("A", 2)).expect("a block");
    let right = block.encode(super::world::SIZE);
    world.slot("A", 2).copy_from_slice(&right);
    world.run(2_000);
    assert_eq!(equal(&mut world), 0);
    assert!(world.told(1).is_empty());
}

// Behaviours 48, 49.
#[test]
fn a_wrong_checksum_is_a_missed_sample_of_a_live_node_only() {
    let mut world = World::steady(2);
    world.crash(2);
    world.run(2_000);
    world.slot("A", 2)[100] = 1;
    world.run(58_000);
    assert!(world.told(1).is_empty());
    world.run(4_000);
    assert_eq!(world.told(1), ["down 2"]);
    world.run(100_000);
    let counters = world.status(1, "A").counters;
    assert_eq!(counters.missed_samples, 31);
    assert!(counters.bad_checksums > 50);
    assert_eq!(world.told(1), ["down 2"]);
}

// Behaviour 50.
#[test]
fn a_peer_that_is_born_again_goes_down_at_once_and_comes_up_at_its_next_change() {
    let mut world = World::steady(2);
    world.crash(2);
    let reborn_ms = world.now_ms;
    world.reboot(2, "A");
    world.run(10_000);
    assert_eq!(world.told(1), ["down 2", "up 2"]);
    let down_ms = world.when(1, "down 2").expect("it went");
    assert!(down_ms <= reborn_ms + 2_000);
    assert_eq!(world.when(1, "up 2"), Some(down_ms + 2_000));
}

// Behaviour 51.
#[test]
fn a_peer_that_leaves_is_down_at_the_next_pass() {
    let mut world = World::steady(3);
    let left_ms = world.now_ms;
    world.remove(2, "A");
    world.run(10_000);
    for witness in [1, 3] {
        assert_eq!(world.told(witness), ["down 2"]);
        assert!(world.when(witness, "down 2") <= Some(left_ms + 2_000));
    }
}

// Behaviour 53.
#[test]
fn a_peer_with_another_dead_threshold_is_live_all_the_same() {
    let mut world = World::steady(1);
    world.hosts[0].heartbeat.set_nodes(nodes(&[1, 2])).expect("two nodes");
    for sequence in [100, 200, 300] {
        let block = Block { sequence, node: 2, generation: 9, dead_ms: 14_000 };
        world.slot("A", 2).copy_from_slice(&block.encode(super::world::SIZE));
        world.run(2_000);
    }
    assert_eq!(world.told(1), ["up 2"]);
    assert_eq!(world.slots(1, "A")[1].dead_ms, 14_000);
}

// Behaviour 58.
#[test]
fn a_node_of_two_regions_is_down_when_it_is_in_both() {
    let mut world = World::steady(2);
    world.start(1, "B");
    world.start(2, "B");
    world.run(20_000);
    assert_eq!(world.told(1), ["steady B"]);
    world.remove(2, "A");
    world.run(10_000);
    assert_eq!(world.told(1), ["steady B"]);
    assert_eq!(world.status(1, "A").live, nodes(&[1]));
    assert_eq!(world.status(1, "B").live, nodes(&[1, 2]));
    world.remove(2, "B");
    world.run(10_000);
    assert_eq!(world.told(1), ["steady B", "down 2"]);
}

#[test]
fn a_node_that_is_no_longer_configured_is_watched_until_it_dies() {
    let mut world = World::steady(2);
    world.hosts[0].heartbeat.set_nodes(nodes(&[1])).expect("this node");
    world.run(100_000);
    assert!(world.told(1).is_empty());
    world.crash(2);
    world.run(100_000);
    assert_eq!(world.told(1), ["down 2, of nobody"]);
    world.reboot(2, "A");
    world.run(20_000);
    assert_eq!(world.told(1), ["down 2, of nobody"]);
}

// Behaviour 43.
#[test]
fn a_pass_is_good_when_its_write_is_done() {
    let mut world = World::steady(1);
    let before = world.status(1, "A").last_good_pass;
    world.fault(1, "A", Fault::Hang);
    world.run(7_000);
    assert_eq!(world.status(1, "A").last_good_pass, before);
    world.heal(1, "A");
    let now = world.now();
    assert_eq!(world.status(1, "A").last_good_pass, Some(now));
    assert_eq!(world.status(1, "A").elapsed(now + now), now);
}

#[test]
fn a_pass_that_takes_longer_than_a_period_is_followed_by_the_next_at_once() {
    let mut world = World::steady(1);
    world.fault(1, "A", Fault::Hang);
    world.run(7_000);
    let passes = world.status(1, "A").counters.passes;
    world.heal(1, "A");
    assert_eq!(world.status(1, "A").counters.passes, passes + 2);
    assert_eq!(world.writes.iter().rev().take_while(|write| write.0 == world.now_ms).count(), 2);
}

#[test]
fn a_node_has_an_age() {
    let mut world = World::steady(2);
    world.crash(2);
    world.run(20_000);
    let now = world.now();
    let slots = world.slots(1, "A");
    assert_eq!(slots.iter().map(|slot| slot.node).collect::<Vec<_>>(), [node(1), node(2)]);
    assert!(slots[0].age(now).is_some_and(|age| age.as_millis() < 2_000));
    assert!(slots[1].age(now).is_some_and(|age| age.as_millis() >= 18_000));
}

// Were it to come up in one region before it goes down in the other, nobody would hear of its death.
#[test]
fn a_peer_that_is_born_again_goes_down_in_all_its_regions_at_once() {
    let mut world = World::steady(2);
    world.start(1, "B");
    world.run(1_500);
    world.start(2, "B");
    world.run(20_000);
    world.log.clear();
    world.crash(2);
    world.reboot(2, "A");
    world.start(2, "B");
    world.run(20_000);
    assert_eq!(world.told(1), ["down 2", "up 2"]);
}
