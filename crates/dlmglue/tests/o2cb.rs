//! The behaviours of cached locks on three nodes of `o2cb`, in this process over loopback.
//!
//! A heartbeat takes 10 s to become steady, so the tests share the nodes: one process, one test at a
//! time (`cargo xtask test`, step `o2cb suite`).

#[path = "../../o2cb/tests/support/cluster.rs"]
mod cluster;

#[path = "../examples/cache.rs"]
#[allow(dead_code, reason = "a test runs it without its main")]
mod cache;
#[path = "../examples/counter.rs"]
#[allow(dead_code, reason = "a test runs it without its main")]
mod counter;
#[path = "../examples/leader.rs"]
#[allow(dead_code, reason = "a test runs it without its main")]
mod leader;
#[path = "../examples/storage.rs"]
#[allow(dead_code, reason = "a test runs it without its main")]
mod storage;
#[macro_use]
#[path = "support/examples.rs"]
mod examples;

use std::sync::{Arc, OnceLock};

use stackglue::Glue;
use stackglue_dlmglue::{Cluster, ClusterOptions};

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
