//! Members for an example: of this host alone, or three nodes of `o2cb` in this process.

#[path = "../../../o2cb/tests/support/cluster.rs"]
mod cluster;

use std::error::Error;
use std::sync::Arc;

use stackglue::Glue;
use stackglue_dlmglue::Cluster;
use stackglue_o2cb::O2cbPlugin;
use stackglue_user::{UserOptions, UserPlugin};

/// Three members of one group, on the stack that the command line names: `solo` or `o2cb`.
pub(crate) fn members() -> Result<Vec<Cluster>, Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        None | Some("solo") => solo(),
        Some("o2cb") => o2cb(),
        Some(other) => Err(format!("unknown stack {other}: say solo or o2cb").into()),
    }
}

/// Three caches of this host, as three of its processes would have them.
pub(crate) fn solo() -> Result<Vec<Cluster>, Box<dyn Error>> {
    let glue = Glue::new();
    glue.register(Arc::new(UserPlugin::new(UserOptions::default())))?;
    glue.set_cluster_stack("solo")?;
    let cluster = Cluster::connect(&glue, "example")?;
    Ok(vec![cluster.beside(), cluster.beside(), cluster])
}

/// Three nodes, which take some ten seconds to start. They run until the process ends.
pub(crate) fn o2cb() -> Result<Vec<Cluster>, Box<dyn Error>> {
    let (nodes, directory) = cluster::start(3);
    std::mem::forget(directory);
    let members = nodes.into_iter().map(|node| {
        let glue = Glue::new();
        glue.register(Arc::new(O2cbPlugin::new(node)))?;
        glue.set_cluster_stack("o2cb")?;
        Ok(Cluster::connect(&glue, "example")?)
    });
    members.collect()
}
