//! The rows of `cargo xtask bench glue`: cached locks.
//!
//! Hits run on the stack `solo`, on one thread: no message and no other thread is part of one. What
//! crosses nodes runs on three nodes of `o2cb` in this process, over loopback.

mod fairness;
mod hit;
mod idle;
mod latency;
mod picture;

use std::error::Error;
use std::sync::Arc;

use dlmglue::Cluster;
use stackglue::Glue;
use user::{UserOptions, UserPlugin};

use crate::cluster::Nodes;
use crate::placement::pin;
use crate::row::Row;

/// Measures every row and prints each as soon as it is there.
pub(crate) fn rows(cpus: &[usize], print: &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>> {
    let placement = pin(cpus[0]);
    hit::rows(&placement, print)?;
    idle::rows(&placement, print)?;
    let placement = format!("{placement}, all threads");
    let nodes = Nodes::start(3)?;
    let members = (0..3).map(|node| Ok(Cluster::connect(&nodes.glue(node)?, "bench")?));
    let members = members.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    print(fairness::row(&members, 100_000, &placement)?);
    let latencies = latency::measure(&members, latency::Effort::FULL)?;
    let path = std::path::Path::new("target/bench/glue-latency.svg");
    picture::write(path, &latencies)?;
    eprintln!("latencies of hit, misses and hand-off: {}", path.display());
    Ok(())
}

/// A group of this host alone.
fn solo() -> Result<Cluster, Box<dyn Error>> {
    let glue = Glue::new();
    glue.register(Arc::new(UserPlugin::new(UserOptions::default())))?;
    glue.set_cluster_stack("solo")?;
    Ok(Cluster::connect(&glue, "bench")?)
}
