//! Global mode: regions that count, and regions that fail.

use super::super::{HeartbeatError, Mode};
use super::world::{BLOCKS, Fault, SIZE, World};

/// A number is mixed into the first byte of a name only: that byte has to be the same in all.
const NAMES: [&str; 5] = ["area A", "area B", "area C", "area D", "area E"];

/// Nodes that heartbeat in the first so many regions, all of them quorum regions.
fn steady(nodes: u8, regions: usize) -> World {
    let mut world = World::new(nodes, Mode::Global);
    for region in &NAMES[..regions] {
        for number in 1..=nodes {
            world.start(number, region);
        }
    }
    world.run(40_000);
    for host in &world.hosts {
        let maps = host.heartbeat.global_regions();
        assert_eq!([maps.registered, maps.live, maps.quorum].map(|map| map.len()), [regions; 3]);
        assert!(maps.failed.is_empty());
    }
    world.log.clear();
    world
}

// Behaviour 61.
#[test]
fn the_thirty_third_region_is_one_too_many() {
    let mut world = World::new(1, Mode::Global);
    let heartbeat = &mut world.host(1).heartbeat;
    for number in 0..32 {
        let id = heartbeat.add_region(&format!("region {number}"), SIZE, BLOCKS).expect("one more");
        assert_eq!(heartbeat.region(id).map(|status| status.number), Some(number));
    }
    assert_eq!(
        heartbeat.add_region("region 32", SIZE, BLOCKS),
        Err(HeartbeatError::TooManyRegions)
    );
    assert_eq!(
        heartbeat.add_region(&"x".repeat(33), SIZE, BLOCKS),
        Err(HeartbeatError::NameLength(33))
    );
}

// Behaviours 67, 68, 69.
#[test]
fn a_node_survives_as_long_as_fewer_than_half_of_its_regions_fail() {
    for (regions, survived) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)] {
        let mut world = steady(1, regions);
        for region in &NAMES[..survived] {
            world.fault(1, region, Fault::Writes);
        }
        world.run(100_000);
        assert!(world.told(1).is_empty(), "{:?}", world.log);
        assert_eq!(world.hosts[0].heartbeat.global_regions().failed.len(), survived);
        world.fault(1, NAMES[survived], Fault::Writes);
        world.run(100_000);
        let fence = format!(
            "fence: no good write to heartbeat region {} for 60000 ms; {} of {regions} quorum \
             regions have failed",
            NAMES[survived],
            survived + 1
        );
        assert_eq!(world.told(1), [fence]);
    }
}

// Behaviour 69.
#[test]
fn a_node_without_a_quorum_region_does_not_survive() {
    let mut world = steady(2, 2);
    // Node 2 is not in this one, which therefore does not count.
    world.start(1, "area C");
    world.run(40_000);
    let maps = world.hosts[0].heartbeat.global_regions();
    assert!(maps.live.contains(2) && !maps.quorum.contains(2));
    world.fault(1, "area C", Fault::Writes);
    world.run(100_000);
    assert_eq!(world.told(1), ["steady area C"]);
    assert!(world.hosts[0].heartbeat.global_regions().failed.is_empty());
    world.heal(1, "area C");
    world.run(6_000);
    // And when it is the only one, whose loss leaves nothing:
    world.remove(1, "area A");
    world.remove(1, "area B");
    world.fault(1, "area C", Fault::Writes);
    world.log.clear();
    world.run(100_000);
    let fence = "fence: no good write to heartbeat region area C for 60000 ms; 0 of 0 quorum regions \
                 have failed";
    assert_eq!(world.told(1), [fence]);
}

#[test]
fn a_region_that_recovers_has_not_failed_any_more() {
    let mut world = steady(1, 3);
    world.fault(1, "area B", Fault::Writes);
    world.run(100_000);
    assert_eq!(world.hosts[0].heartbeat.global_regions().failed.iter().collect::<Vec<_>>(), [1]);
    world.heal(1, "area B");
    world.run(6_000);
    assert!(world.hosts[0].heartbeat.global_regions().failed.is_empty());
    world.fault(1, "area C", Fault::Writes);
    world.run(100_000);
    assert!(world.told(1).is_empty());
}

#[test]
fn a_region_counts_once_every_live_node_is_in_it() {
    let mut world = steady(2, 1);
    world.start(1, "area B");
    world.run(40_000);
    assert_eq!(world.hosts[0].heartbeat.global_regions().quorum.len(), 1);
    world.start(2, "area B");
    world.run(40_000);
    assert_eq!(world.hosts[0].heartbeat.global_regions().quorum.len(), 2);
    world.remove(1, "area B");
    let maps = world.hosts[0].heartbeat.global_regions();
    assert_eq!([maps.registered, maps.live, maps.quorum].map(|map| map.len()), [1, 1, 1]);
}

#[test]
fn up_to_three_quorum_regions_cannot_be_removed_under_a_lock_domain() {
    let pinned = |world: &mut World| {
        NAMES.map(|name| {
            world.hosts[0].heartbeat.region_ids().any(|id| {
                let status = world.hosts[0].heartbeat.region(id).expect("a region");
                status.name == name && status.pinned
            })
        })
    };
    let mut world = steady(1, 3);
    world.host(1).heartbeat.domain_up("one");
    world.host(1).heartbeat.domain_up("two");
    assert_eq!(pinned(&mut world), [true, true, true, false, false]);
    // A fourth one lets go of all.
    world.start(1, "area D");
    world.run(40_000);
    assert_eq!(pinned(&mut world), [false; 5]);
    // Three are left then.
    world.remove(1, "area B");
    assert_eq!(pinned(&mut world), [true, false, true, true, false]);
    let (now, id) = (world.now(), world.id(1, "area C"));
    assert_eq!(
        world.host(1).heartbeat.remove_region(now, id, 0),
        Err(HeartbeatError::Pinned("area C".to_owned()))
    );
    world.host(1).heartbeat.domain_down("one");
    assert_eq!(pinned(&mut world), [true, false, true, true, false]);
    world.host(1).heartbeat.domain_down("two");
    assert_eq!(pinned(&mut world), [false; 5]);
}
