//! The behaviours of cached locks on `solo`, and what needs a membership of its own.

#![allow(clippy::duplicate_mod, reason = "each example brings what it runs on")]

#[path = "../examples/cache.rs"]
#[expect(dead_code, reason = "a test runs it without its main")]
mod cache;
#[path = "../examples/counter.rs"]
#[expect(dead_code, reason = "a test runs it without its main")]
mod counter;
#[path = "../examples/leader.rs"]
#[expect(dead_code, reason = "a test runs it without its main")]
mod leader;
#[path = "../examples/storage.rs"]
#[expect(dead_code, reason = "a test runs it without its main")]
mod storage;
#[macro_use]
#[path = "support/examples.rs"]
mod examples;

use std::sync::Arc;
use std::time::Duration;

use stackglue::Glue;
use stackglue_dlmglue::{Cluster, ClusterOptions, ErrorKind, Membership};
use stackglue_user::{UserOptions, UserPlugin};

/// Three caches of this host, as three of its processes would have them.
fn members() -> Vec<Cluster> {
    let first = connect(&Membership::new());
    vec![first.beside(), first.beside(), first]
}

fn connect(membership: &Membership) -> Cluster {
    let glue = Glue::new();
    glue.register(Arc::new(UserPlugin::new(UserOptions::default()))).expect("new");
    glue.set_cluster_stack("solo").expect("new");
    let options = ClusterOptions::new("suite").stack("solo").membership(membership);
    options.connect(&glue).unwrap_or_else(|error| panic!("{error}"))
}

stackglue_dlmglue::conformance_suite!(members);
examples!(members);

#[test]
fn a_lost_membership_fails_who_waits_and_every_guard_says_why() {
    let membership = Membership::new();
    let cluster = connect(&membership);
    let (lock, free) =
        (cluster.lock("held").expect("a name"), cluster.lock("free").expect("a name"));
    let guard = lock.lock().expect("free");
    drop(free.lock().expect("free"));
    assert_eq!(guard.lost(), None);
    let waits = std::thread::spawn({
        let lock = lock.clone();
        move || lock.lock().map(drop)
    });
    while !format!("{lock:?}").contains("Waiter") {
        std::thread::yield_now();
    }
    membership.lose("the disk is gone");
    let lost = ErrorKind::Lost("the disk is gone".to_owned());
    let error = waits.join().expect("no panic").expect_err("lost");
    assert_eq!(error.kind(), &lost);
    assert_eq!(guard.lost(), Some("the disk is gone"));
    assert_eq!(free.lock().map(drop).expect_err("lost").kind(), &lost);
    let new = cluster.lock("new").expect("a name");
    assert_eq!(new.try_lock_for(Duration::ZERO).map(drop).expect_err("lost").kind(), &lost);
}

#[test]
fn what_is_lost_before_a_cluster_joins_is_lost_for_it() {
    let membership = Membership::new();
    membership.lose("fenced");
    let lock = connect(&membership).lock("n").expect("a name");
    assert!(lock.lock().is_err());
}

#[test]
fn a_group_is_left_with_the_last_handle_of_it() {
    let glue = Glue::new();
    glue.register(Arc::new(UserPlugin::new(UserOptions::default()))).expect("new");
    glue.set_cluster_stack("solo").expect("new");
    let lock = Cluster::connect(&glue, "left").expect("joined").lock("n").expect("a name");
    drop(lock.lock().expect("free"));
    assert!(Cluster::connect(&glue, "left").is_err(), "the lock keeps it");
    drop(lock);
    Cluster::connect(&glue, "left").expect("left before");
}
