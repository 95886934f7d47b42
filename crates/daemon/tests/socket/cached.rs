//! Cached locks whose cache is in the process and whose locks are the daemon's.

use std::sync::Arc;

use dlm::Mode;
use stackglue::Glue;
use stackglue_daemon::{Client, DaemonPlugin, Event, Handle, LockRequest};
use stackglue_dlmglue::{Cluster, ClusterOptions, Level, Membership};

use crate::support::{Daemon, counter};

/// A process of that daemon.
fn process(daemon: &Daemon, membership: &Membership) -> Cluster {
    let client = Client::connect(&daemon.socket(), "cached").expect("a daemon");
    let lost = {
        let membership = membership.clone();
        move |reason: &str| membership.lose(reason)
    };
    let glue = Glue::new();
    glue.register(Arc::new(DaemonPlugin::new(client, lost).expect("a connection"))).expect("new");
    glue.set_cluster_stack("solo").expect("new");
    let options = ClusterOptions::new("cached").membership(membership);
    options.connect(&glue).unwrap_or_else(|error| panic!("{error}"))
}

/// Three processes of a daemon that runs until this one ends.
fn members() -> Vec<Cluster> {
    let daemon = Daemon::start();
    let members = (0..3).map(|_| process(&daemon, &Membership::new())).collect();
    std::mem::forget(daemon);
    members
}

stackglue_dlmglue::conformance_suite!(members);

#[test]
fn a_hit_does_not_cross_the_socket() {
    let daemon = Daemon::start();
    let mut asked = daemon.client("asks");
    let cluster = process(&daemon, &Membership::new());
    let lock = cluster.lock("hit").expect("a name");
    drop(lock.lock().expect("free"));
    let before = counter(&mut asked, "granted");
    assert_ne!(before, 0);
    for _ in 0..1000 {
        drop(lock.lock().expect("cached"));
    }
    assert_eq!(counter(&mut asked, "granted"), before);
    assert_eq!(lock.cached(), Level::EX);
}

/// An exclusive lock of a process without a cache, and its token.
fn take(process: &mut Client, name: &[u8]) -> (Handle, u64) {
    let request = LockRequest { group: "cached", ..LockRequest::new(name, Mode::EX) };
    let handle = process.lock(&request).expect("asked");
    match process.next_event(None).expect("the daemon is there") {
        Some(Event::Locked { token, .. }) => (handle, token),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_process_has_a_cached_lock_when_it_asks() {
    let daemon = Daemon::start();
    let cluster = process(&daemon, &Membership::new());
    let lock = cluster.lock("asked for").expect("a name");
    let token = lock.lock().expect("free").token();
    let mut other = daemon.client("other");
    let (handle, later) = take(&mut other, b"asked for");
    assert!(later > token);
    assert_eq!(lock.cached(), Level::NL);
    other.unlock(handle).expect("asked");
    assert!(lock.lock().expect("given back").token() > token);
}

#[test]
fn after_a_holder_that_died_the_value_counts_for_nothing_and_the_token_grows() {
    let daemon = Daemon::start();
    let cluster = process(&daemon, &Membership::new());
    let counter = cluster.value("dies", 0u64).expect("a name");
    let mut value = counter.write().expect("free");
    *value = 7;
    drop(value);
    let mut other = daemon.client("other");
    let (_, token) = take(&mut other, b"dies");
    // What it was about to write nobody knows.
    drop(other);
    let value = counter.write().expect("the daemon takes it back");
    assert_eq!((*value, value.version()), (0, None));
    assert!(value.token() > token);
}

#[test]
fn guards_say_that_the_daemon_is_gone() {
    let daemon = Daemon::start();
    let membership = Membership::new();
    let cluster = process(&daemon, &membership);
    let lock = cluster.lock("lost").expect("a name");
    let guard = lock.lock().expect("free");
    drop(daemon);
    while guard.lost().is_none() {
        std::thread::yield_now();
    }
    assert!(lock.lock().is_err());
}
