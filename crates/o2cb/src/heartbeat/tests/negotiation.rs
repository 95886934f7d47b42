//! Waiting together for a disk that hangs.

use super::super::Negotiation;
use super::world::{Fault, World, node};
use crate::Now;

const FENCED: &str = "fence: no good write to heartbeat region A for 60000 ms";

/// A steady world whose nodes' writes hang from now on.
fn hung(count: u8, who: &[u8]) -> World {
    let mut world = World::steady(count);
    for number in who {
        world.fault(*number, "A", Fault::Hang);
    }
    world
}

// Behaviours 70, 72, 73.
#[test]
fn nodes_whose_disk_hangs_for_all_of_them_wait_for_it() {
    let mut world = hung(3, &[1, 2, 3]);
    world.run(200_000);
    for number in 1..=3 {
        assert_eq!(world.when(number, FENCED), None);
    }
    assert_eq!(world.told(2)[0], "Timeout to 1");
    assert_eq!(world.told(3)[0], "Timeout to 1");
    assert_eq!(world.told(1)[..2], ["Approve to 2", "Approve to 3"]);
    for number in 1..=3 {
        world.heal(number, "A");
    }
    world.run(70_000);
    assert!(world.log.iter().all(|(_, _, told)| !told.contains("fence")));
}

// Behaviour 70.
#[test]
fn a_node_asks_the_lowest_live_one_after_half_of_its_time() {
    let mut world = hung(2, &[2]);
    let deadline = world.status(2, "A").deadline.expect("it is steady");
    world.run(100_000);
    assert_eq!(world.told(2), ["Timeout to 1", FENCED]);
    assert_eq!(
        world.when(2, "Timeout to 1").map(Now::from_millis),
        Some(deadline - Now::from_secs(30))
    );
    assert_eq!(world.when(2, FENCED).map(Now::from_millis), Some(deadline));
}

// Behaviour 72.
#[test]
fn the_lowest_node_looks_every_second_for_the_last_to_ask() {
    let mut world = hung(2, &[1]);
    world.network = false;
    let deadline = world.status(1, "A").deadline.expect("it is steady");
    world.run(40_000);
    assert!(world.told(1).is_empty());
    let key = world.status(1, "A").key;
    let asked = world.now();
    assert!(world.host(1).heartbeat.negotiation(asked, key, Negotiation::Timeout, &[2]));
    world.run(1_000);
    assert_eq!(world.told(1), ["Approve to 2"]);
    let now = world.now();
    let restarted = world.status(1, "A").deadline.expect("it is steady");
    assert!(restarted > deadline && restarted <= now + Now::from_secs(60));
}

// Behaviour 73.
#[test]
fn an_approval_starts_the_write_timeout_again() {
    let mut world = hung(2, &[2]);
    world.run(50_000);
    let (key, now) = (world.status(2, "A").key, world.now());
    assert!(world.host(2).heartbeat.negotiation(now, key, Negotiation::Approve, &[1]));
    assert_eq!(world.status(2, "A").deadline, Some(now + Now::from_secs(60)));
    // The payload says nothing that matters, and may be missing.
    assert!(world.host(2).heartbeat.negotiation(now + now, key, Negotiation::Approve, &[]));
}

// Behaviour 74.
#[test]
fn a_node_whose_disk_fails_asks_nobody() {
    let mut world = World::steady(2);
    world.fault(2, "A", Fault::Writes);
    world.run(100_000);
    assert_eq!(world.told(2), [FENCED]);
}

#[test]
fn an_approval_before_a_region_is_steady_starts_nothing() {
    let mut world = World::local(2);
    world.start(1, "A");
    let (key, now) = (world.status(1, "A").key, world.now());
    assert!(world.host(1).heartbeat.negotiation(now, key, Negotiation::Approve, &[2]));
    assert_eq!(world.status(1, "A").deadline, None);
}

#[test]
fn a_message_about_no_region_has_no_handler() {
    let mut world = World::steady(1);
    let (key, now) = (world.status(1, "A").key, world.now());
    assert!(!world.host(1).heartbeat.negotiation(now, key ^ 1, Negotiation::Timeout, &[2]));
    // No node has the number 255, and no bytes no number.
    for payload in [&[255][..], &[], &[254, 1]] {
        assert!(world.host(1).heartbeat.negotiation(now, key, Negotiation::Timeout, payload));
    }
    assert!(world.host(1).heartbeat.live_nodes().contains(node(1)));
}
