//! Nodes of a cluster in this process, over loopback, with a file for a heartbeat region.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};

use stackglue_o2cb::cluster_conf::{Cluster, ClusterConf, NewNode};
use stackglue_o2cb::heartbeat::disk::create_region_file;
use stackglue_o2cb::{NodeId, NodeOptions, O2cbNode, RegionOptions, Timeouts};
use tempfile::TempDir;

/// Nodes 1 to n on 127.x.y.1 to 127.x.y.n, a network of their own in each process and test.
pub(crate) fn start(nodes: u8) -> (Vec<O2cbNode>, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("heartbeat");
    let region = RegionOptions::of_file("test", &path).expect("a region");
    create_region_file(&path, region.geometry).expect("a file");
    let cluster = cluster(nodes);
    let started: Vec<_> = (1..=nodes)
        .map(|number| {
            let options = options(&cluster, number, &region);
            std::thread::spawn(move || O2cbNode::start(options))
        })
        .collect();
    let nodes = started
        .into_iter()
        .map(|thread| thread.join().expect("no panic").unwrap_or_else(|error| panic!("{error}")))
        .collect();
    (nodes, directory)
}

/// What one of them is started with.
pub(crate) fn options(cluster: &Cluster, number: u8, region: &RegionOptions) -> NodeOptions {
    NodeOptions {
        cluster: cluster.clone(),
        me: NodeId::new(number).expect("a number"),
        timeouts: Timeouts { dead_threshold: 5, ..Timeouts::default() },
        regions: vec![region.clone()],
        fence: Box::new(move |reason| panic!("node {number} is fenced: {reason}")),
    }
}

pub(crate) fn cluster(nodes: u8) -> Cluster {
    static NETWORK: AtomicU16 = AtomicU16::new(0);
    let process = std::process::id();
    let network = NETWORK.fetch_add(1, Ordering::Relaxed) as u32;
    let third = (process % 200) as u8;
    let second = ((process / 200 + network * 31) % 250 + 1) as u8;
    let mut conf = ClusterConf::default();
    let cluster = conf.add_cluster("test").expect("a name");
    for number in 1..=nodes {
        let new = NewNode {
            name: &format!("node{number}"),
            number: NodeId::new(number),
            address: Ipv4Addr::new(127, second, third, number),
            port: None,
        };
        cluster.add_node(&new).expect("it fits");
    }
    cluster.clone()
}
