//! Real nodes in one process: disk, sockets, threads, and the glue above them.

#[path = "support/cluster.rs"]
mod cluster;

use std::sync::Arc;
use std::time::Duration;

use stackglue::{Errno, Glue, LockClient, LockFlags, Mode, ProtocolVersion};
use stackglue_o2cb::attributes::FenceMethod;
use stackglue_o2cb::cluster_conf::{Cluster, ClusterConf, NewNode};
use stackglue_o2cb::heartbeat::disk::{Disk, create_region_file};
use stackglue_o2cb::heartbeat::{Block, HeartbeatError};
use stackglue_o2cb::{O2cbNode, O2cbPlugin, RegionOptions, StartError};

const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

fn client(node: &O2cbNode, group: &str) -> (Glue, LockClient) {
    let glue = Glue::new();
    glue.set_max_protocol(VERSION).expect("new");
    glue.register(Arc::new(O2cbPlugin::new(node.clone()))).expect("new");
    let client = LockClient::connect(&glue, None, "", group, VERSION, |_| (), Box::new(|_| ()))
        .unwrap_or_else(|error| panic!("{error}"));
    (glue, client)
}

// Behaviours 169-172, 202-204, 243 in passing, over real sockets.
#[test]
fn three_nodes_exclude_each_other_and_share_values() {
    let (nodes, _directory) = cluster::start(3);
    let clients: Vec<_> = nodes.iter().map(|node| client(node, "group")).collect();
    for round in 0..20u8 {
        for (at, (_, client)) in clients.iter().enumerate() {
            let held =
                client.lock("counter", Mode::EX).flags(LockFlags::VALBLK).wait().expect("granted");
            let mut value = held.lvb();
            assert_eq!(value[0], round * 3 + at as u8);
            value[0] += 1;
            held.set_lvb(&value).expect("it fits");
            let other = &clients[(at + 1) % 3].1;
            let refused = other.lock("counter", Mode::PR).flags(LockFlags::NOQUEUE).wait();
            assert!(refused.is_err(), "two holders");
            held.unlock().wait().expect("unlocked");
        }
    }
    let reader = clients[0].1.lock("counter", Mode::PR).wait().expect("granted");
    let waits = clients[1].1.lock("counter", Mode::EX).wait_timeout(Duration::from_millis(200));
    assert!(waits.is_err(), "granted beside a reader");
    let second = clients[2].1.lock("counter", Mode::PR).wait().expect("granted");
    reader.unlock().wait().expect("unlocked");
    second.unlock().wait().expect("unlocked");
    for (_, client) in clients {
        client.disconnect(false).map_err(|error| error.to_string()).expect("left");
    }
    for node in nodes {
        node.stop();
    }
}

// Behaviour 112: whoever starts a node learns that nobody could connect to it.
#[test]
fn a_node_whose_address_is_taken_does_not_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let region = RegionOptions::of_file("test", &directory.path().join("none")).expect("a region");
    let cluster = cluster::cluster(1);
    let taken = (cluster.nodes[0].address, cluster.nodes[0].port);
    let _listener = std::net::TcpListener::bind(taken).expect("free");
    let error = O2cbNode::start(cluster::options(&cluster, 1, &region)).expect_err("taken");
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
}

// Behaviours 42 and 305.
#[test]
fn each_start_is_another_generation_and_without_a_heartbeat_nothing_is_joined() {
    let (nodes, directory) = cluster::start(1);
    let generation = || {
        // Node 1's slot, behind the first block and node 0's.
        let region = std::fs::read(directory.path().join("heartbeat")).expect("a region");
        u64::from_le_bytes(region[1024 + 16..1024 + 24].try_into().expect("8 bytes"))
    };
    let first = generation();
    let node = nodes[0].clone();
    node.stop();
    assert_eq!(generation(), 0, "it has left");
    let glue = Glue::new();
    glue.set_max_protocol(VERSION).expect("new");
    glue.register(Arc::new(O2cbPlugin::new(node.clone()))).expect("new");
    let refused = LockClient::connect(&glue, None, "", "g", VERSION, |_| (), Box::new(|_| ()));
    assert_eq!(refused.err().map(|error| error.errno()), Some(Errno::EINVAL));
    let region = RegionOptions::of_file("test", &directory.path().join("heartbeat"));
    let cluster = node_cluster(&node);
    let again = O2cbNode::start(cluster::options(&cluster, 1, &region.expect("a region")));
    let again = again.unwrap_or_else(|error| panic!("{error}"));
    let second = generation();
    assert!(first != 0 && second != 0 && first != second, "{first:x} {second:x}");
    again.stop();
}

/// The cluster that a node is of, as its status tells.
fn node_cluster(node: &O2cbNode) -> Cluster {
    let status = node.status();
    let mut conf = ClusterConf::default();
    let cluster = conf.add_cluster(&status.cluster).expect("a name");
    for node in &status.nodes {
        let (address, port) = (*node.address.ip(), Some(node.address.port()));
        let new = NewNode { name: &node.name, number: Some(node.node), address, port };
        cluster.add_node(&new).expect("it fits");
    }
    cluster.clone()
}

#[test]
fn a_region_comes_and_goes_while_the_node_runs() {
    let (nodes, directory) = cluster::start(1);
    let node = &nodes[0];
    let path = directory.path().join("second");
    let second = RegionOptions::of_file("second", &path).expect("a region");
    create_region_file(&path, second.geometry).expect("a file");
    let regions = || {
        let attributes = node.attributes(FenceMethod { word: "reset", all: &["reset"] });
        attributes.regions.into_iter().map(|region| region.name).collect::<Vec<_>>()
    };

    node.start_region(&second).expect("steady");
    assert_eq!(regions(), ["test", "second"]);
    let again = node.start_region(&second).map_err(|error| error.to_string());
    assert_eq!(again, Err("there is a heartbeat region second already".to_owned()));
    node.stop_region("second").expect("stopped");
    assert_eq!(regions(), ["test"]);
    assert!(matches!(node.stop_region("second"), Err(HeartbeatError::NoRegion)));

    // Its last block tells the others that this node has left: its generation is 0.
    let disk = Disk::open(&path, second.geometry).expect("the file");
    let block = disk.read_slots(node.me(), node.me()).expect("its slot");
    let block = Block::decode(&block).expect("a whole block");
    assert_eq!((block.node, block.generation), (node.me().get(), 0));
    node.stop();
}
