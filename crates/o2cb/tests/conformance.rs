//! The glue's conformance suite, on a node that is alone in its cluster.
//!
//! A heartbeat takes 10 s to become steady, so the tests share one node, and with it the names of
//! groups: one process, one test at a time (`cargo xtask test`, step `o2cb suite`).

#[path = "support/cluster.rs"]
mod cluster;

use std::sync::{Arc, OnceLock};

use stackglue::conformance::{Capabilities, Setup};
use stackglue_o2cb::O2cbPlugin;

fn setup() -> Setup {
    static PLUGIN: OnceLock<O2cbPlugin> = OnceLock::new();
    let plugin = PLUGIN.get_or_init(|| {
        let (mut nodes, directory) = cluster::start(1);
        // Until the process ends.
        std::mem::forget(directory);
        O2cbPlugin::new(nodes.remove(0))
    });
    Setup::new(Arc::new(plugin.clone()), "o2cb", Capabilities::NL_PR_EX)
}

stackglue::conformance_suite!(setup);
