//! The behaviours of cached locks on three nodes of `o2cb`, in this process over loopback.
//!
//! A heartbeat takes 10 s to become steady, so the tests share the nodes: one process, one test at
//! a time (`cargo xtask test`, step `o2cb suite`).

#![allow(clippy::duplicate_mod, reason = "each example brings what it runs on")]

#[path = "../../o2cb/tests/support/cluster.rs"]
mod cluster;

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

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stackglue::Glue;
use stackglue_dlmglue::{Cluster, ClusterOptions, Membership};

fn members() -> Vec<Cluster> {
    static MEMBERS: OnceLock<Vec<Cluster>> = OnceLock::new();
    let members = MEMBERS.get_or_init(|| {
        let (nodes, directory) = cluster::start(3);
        // Until the process ends.
        std::mem::forget(directory);
        let join = |node| {
            let glue = Glue::new();
            glue.register(Arc::new(stackglue_o2cb::O2cbPlugin::new(node))).expect("new");
            let joined = ClusterOptions::new("suite").stack("o2cb").connect(&glue);
            joined.unwrap_or_else(|error| panic!("{error}"))
        };
        nodes.into_iter().map(join).collect()
    });
    members.clone()
}

stackglue_dlmglue::conformance_suite!(members);
examples!(members);

/// The node that dies took the last epoch of the group, so both the token of the name and the count
/// of epochs go with it.
#[test]
fn a_token_grows_although_its_node_and_the_count_of_epochs_have_died() {
    let (mut nodes, _directory) = cluster::start(2);
    let members = nodes.clone().into_iter().map(|node| {
        let glue = Glue::new();
        glue.register(Arc::new(stackglue_o2cb::O2cbPlugin::new(node))).expect("new");
        let membership = Membership::new();
        let options = ClusterOptions::new("deaths").stack("o2cb").membership(&membership);
        let joined = options.connect(&glue).unwrap_or_else(|error| panic!("{error}"));
        (membership, joined)
    });
    let members: Vec<_> = members.collect();
    let survivor = members[0].1.lock("ledger").expect("a name");
    let first = survivor.lock().expect("free").token();
    let doomed = members[1].1.lock("ledger").expect("a name");
    let guard = doomed.lock().expect("given back");
    let other = members[1].1.lock("other").expect("a name");
    let last = guard.token().max(other.lock().expect("free").token());
    assert!(guard.token() > first);
    members[1].0.lose("it is stopped");
    assert_eq!(guard.lost(), Some("it is stopped"));
    nodes.remove(1).stop();
    for name in ["ledger", "other"] {
        let lock = members[0].1.lock(name).expect("a name");
        let token = lock.try_lock_for(Duration::from_secs(60)).expect("recovered").token();
        assert!(token > last, "{name}: {token} after {last}");
    }
    drop(guard);
    drop((doomed, other));
    drop(members);
    nodes.remove(0).stop();
}
