//! Nodes of a cluster in this process, over loopback, with a file for a heartbeat region.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use o2cb::cluster_conf::{Cluster, ClusterConf, NewNode};
use o2cb::heartbeat::disk::create_region_file;
use o2cb::{NodeId, NodeOptions, O2cbNode, O2cbPlugin, RegionOptions, Timeouts};
use stackglue::{Connection, Glue, LockingProtocol, ProtocolVersion};
use tempfile::TempDir;

/// Nodes that run until dropped.
pub(crate) struct Nodes {
    nodes: Vec<O2cbNode>,
    _directory: TempDir,
}

impl Nodes {
    /// Starts that many, which takes some 10 s. Their threads run where this one does.
    pub(crate) fn start(count: u8) -> Result<Nodes, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("heartbeat");
        let region = RegionOptions::of_file("bench", &path)?;
        create_region_file(&path, region.geometry)?;
        let cluster = cluster(count)?;
        let started: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| {
                let options = NodeOptions {
                    cluster: cluster.clone(),
                    me: node.number,
                    timeouts: Timeouts { dead_threshold: 5, ..Timeouts::default() },
                    regions: vec![region.clone()],
                    fence: Box::new(|reason| {
                        eprintln!("stackglue-bench: a node is fenced: {reason}");
                        std::process::exit(1);
                    }),
                };
                thread::spawn(move || O2cbNode::start(options))
            })
            .collect();
        let mut nodes = Vec::new();
        for thread in started {
            nodes.push(thread.join().map_err(|_| "a node panicked while it started")??);
        }
        Ok(Nodes { nodes, _directory: directory })
    }

    /// A node's connection to a group, with a glue of its own. Nodes are counted from 0.
    pub(crate) fn connect(
        &self,
        node: usize,
        group: &str,
        protocol: Arc<dyn LockingProtocol>,
    ) -> Result<Connection, Box<dyn Error>> {
        let glue = self.glue(node)?;
        Ok(glue.connect(None, "", group, protocol, Box::new(|_| {}))?)
    }

    /// A glue of a node, with nothing connected.
    pub(crate) fn glue(&self, node: usize) -> Result<Glue, Box<dyn Error>> {
        let glue = Glue::new();
        glue.set_max_protocol(VERSION)?;
        glue.register(Arc::new(O2cbPlugin::new(self.nodes[node].clone())))?;
        Ok(glue)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for node in &self.nodes {
                scope.spawn(|| node.stop());
            }
        });
    }
}

/// Nodes on addresses of this process, and of this call, alone.
fn cluster(count: u8) -> Result<Cluster, Box<dyn Error>> {
    static CLUSTERS: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let high = high.wrapping_add(CLUSTERS.fetch_add(64, Ordering::Relaxed));
    let mut conf = ClusterConf::default();
    let cluster = conf.add_cluster("bench")?;
    for number in 1..=count {
        cluster.add_node(&NewNode {
            name: &format!("node{number}"),
            number: NodeId::new(number),
            address: Ipv4Addr::new(127, high.max(1), low, number),
            port: None,
        })?;
    }
    Ok(cluster.clone())
}

/// Of the locking protocol of every row.
pub(crate) const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };
