//! Two nodes and a file between them: the engine and the disk as a driver puts them together, with the
//! time made up.

use std::num::NonZeroU64;
use std::path::Path;

use stackglue_o2cb::heartbeat::disk::{Disk, Geometry, create_region_file};
use stackglue_o2cb::heartbeat::{
    BlockSize, Heartbeat, HeartbeatConfig, Mode, Output, RegionId, Stop,
};
use stackglue_o2cb::{NodeId, NodeMap, Now};

struct Node {
    me: NodeId,
    heartbeat: Heartbeat,
    region: RegionId,
    disk: Disk,
    told: Vec<String>,
}

impl Node {
    fn start(number: u8, path: &Path, geometry: Geometry) -> Node {
        let me = node(number);
        let nodes: NodeMap = [node(1), node(2)].into_iter().collect();
        let config = HeartbeatConfig { me, nodes, mode: Mode::Local, dead_threshold: 31 };
        let mut heartbeat = Heartbeat::new(config).expect("a right configuration");
        let region = heartbeat
            .add_region(
                "632A924FDD844190BDA93C0DF6B94899",
                geometry.block_size(),
                geometry.blocks(),
            )
            .expect("a region");
        let generation = NonZeroU64::new(number.into()).expect("not zero");
        heartbeat.start_region(Now::ZERO, region, generation).expect("a start");
        let disk = Disk::open(path, geometry).expect("a region file");
        Node { me, heartbeat, region, disk, told: Vec::new() }
    }

    fn turn(&mut self, now: Now) {
        let wall_seconds = 1_700_000_000 + now.as_secs();
        self.heartbeat.handle_timeout(now);
        while let Some(output) = self.heartbeat.poll_output() {
            match output {
                Output::ReadSlots { region, first, last } => {
                    let read = self.disk.read_slots(first, last);
                    let read = read.as_deref().map_err(|error| error.kind().into());
                    self.heartbeat.slots_read(now, region, wall_seconds, read);
                }
                Output::WriteSlot { region, bytes, not_after } => {
                    assert!(not_after.is_none_or(|deadline| now < deadline));
                    let written = self.disk.write_slot(self.me, &bytes);
                    self.heartbeat.slot_written(now, region, written);
                }
                Output::NodeUp(node) => self.told.push(format!("up {node}")),
                Output::NodeDown { node, .. } => self.told.push(format!("down {node}")),
                Output::Steady(_) => self.told.push("steady".to_owned()),
                Output::Stopped { how, .. } => {
                    assert_eq!(how, Stop::Left);
                    self.told.push("left".to_owned());
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("a node number")
}

// Behaviours 45, 51, 54, 56.
#[test]
fn two_nodes_see_each_other_come_and_go() {
    for bytes in [512, 4096] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("region");
        let size = BlockSize::new(bytes).expect("a block size");
        let geometry = Geometry::new(size, 1, 255).expect("a region");
        create_region_file(&path, geometry).expect("a new file");

        let mut one = Node::start(1, &path, geometry);
        let mut two = Node::start(2, &path, geometry);
        for second in 0..20 {
            one.turn(Now::from_secs(second));
            two.turn(Now::from_secs(second));
        }
        assert_eq!(one.told.last().map(String::as_str), Some("steady"));
        assert_eq!(two.told.last().map(String::as_str), Some("steady"));
        assert_eq!(one.heartbeat.live_nodes(), two.heartbeat.live_nodes());
        assert_eq!(one.heartbeat.live_nodes().len(), 2);

        let now = Now::from_secs(20);
        two.heartbeat.remove_region(now, two.region, 1_700_000_020).expect("not in use");
        two.turn(now);
        assert_eq!(two.told[two.told.len() - 3..], ["down 1", "down 2", "left"]);
        one.turn(Now::from_secs(22));
        assert_eq!(one.told.last().map(String::as_str), Some("down 2"));
        assert_eq!(one.heartbeat.live_nodes().iter().collect::<Vec<_>>(), [node(1)]);
    }
}
