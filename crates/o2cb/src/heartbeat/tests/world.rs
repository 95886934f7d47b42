//! A few engines, their disks, the network between them and the time.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;

use super::super::{
    Block, BlockSize, Heartbeat, HeartbeatConfig, Mode, Negotiation, Output, RegionId,
    RegionStatus, SlotStatus,
};
use crate::{NodeId, NodeMap, Now};

pub(super) const BLOCKS: u8 = 8;
pub(super) const SIZE: BlockSize = BlockSize::new(512).expect("a block size");

/// 1970 is long ago.
const WALL_SECONDS: u64 = 1_700_000_000;

/// The disks by region name, and the nodes that use them. I/O takes no time unless it hangs.
pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) disks: BTreeMap<&'static str, Vec<u8>>,
    pub(super) hosts: Vec<Host>,
    /// Whether messages arrive.
    pub(super) network: bool,
    /// What was written where: milliseconds, writer, slot, region.
    pub(super) writes: Vec<(u64, u8, Block, &'static str)>,
    pub(super) log: Vec<(u64, u8, String)>,
}

pub(super) struct Host {
    pub(super) me: NodeId,
    pub(super) heartbeat: Heartbeat,
    regions: BTreeMap<RegionId, &'static str>,
    faults: BTreeMap<&'static str, Fault>,
    hung: Vec<(RegionId, Vec<u8>)>,
    running: bool,
}

/// What is wrong with a disk, seen from one node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Reads,
    Writes,
    /// Writes are done when the fault is over.
    Hang,
    /// Writes are said to be done.
    Lost,
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("a node of the test")
}

pub(super) fn nodes(numbers: &[u8]) -> NodeMap {
    numbers.iter().copied().map(node).collect()
}

fn generation(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("not zero")
}

impl World {
    /// Nodes 1, 2, ... of a local cluster with a dead threshold of 31, and no region yet.
    pub(super) fn local(count: u8) -> World {
        World::new(count, Mode::Local)
    }

    pub(super) fn new(count: u8, mode: Mode) -> World {
        let numbers: Vec<u8> = (1..=count).collect();
        let host = |number: &u8| Host {
            me: node(*number),
            heartbeat: Heartbeat::new(HeartbeatConfig {
                me: node(*number),
                nodes: nodes(&numbers),
                mode,
                dead_threshold: 31,
            })
            .expect("a right configuration"),
            regions: BTreeMap::new(),
            faults: BTreeMap::new(),
            hung: Vec::new(),
            running: true,
        };
        World {
            now_ms: 0,
            disks: BTreeMap::new(),
            hosts: numbers.iter().map(host).collect(),
            network: true,
            writes: Vec::new(),
            log: Vec::new(),
        }
    }

    /// A local cluster whose nodes all heartbeat in region `A`, are steady, and have seen each other.
    pub(super) fn steady(count: u8) -> World {
        let mut world = World::local(count);
        for number in 1..=count {
            world.start(number, "A");
            world.run(100);
        }
        world.run(20_000);
        for number in 1..=count {
            assert!(world.status(number, "A").steady);
            assert_eq!(world.host(number).heartbeat.live_nodes().len(), usize::from(count));
        }
        world.log.clear();
        world.writes.clear();
        world
    }

    pub(super) fn host(&mut self, number: u8) -> &mut Host {
        &mut self.hosts[usize::from(number) - 1]
    }

    pub(super) fn now(&self) -> Now {
        Now::from_millis(self.now_ms)
    }

    pub(super) fn add(&mut self, number: u8, region: &'static str) -> RegionId {
        let disk_bytes = SIZE.bytes() * usize::from(BLOCKS);
        self.disks.entry(region).or_insert_with(|| vec![0; disk_bytes]);
        let host = self.host(number);
        let id = host.heartbeat.add_region(region, SIZE, BLOCKS).expect("a region more");
        host.regions.insert(id, region);
        id
    }

    pub(super) fn start(&mut self, number: u8, region: &'static str) -> RegionId {
        let id = self.add(number, region);
        // Of one that starts again it is another.
        let random = generation(1000 * u64::from(number) + self.now_ms + 1);
        let now = self.now();
        self.host(number).heartbeat.start_region(now, id, random).expect("a region to start");
        self.settle();
        id
    }

    pub(super) fn remove(&mut self, number: u8, region: &str) {
        let (now, wall, id) = (self.now(), self.wall(), self.id(number, region));
        self.host(number).heartbeat.remove_region(now, id, wall).expect("a region to remove");
        self.settle();
    }

    pub(super) fn id(&mut self, number: u8, region: &str) -> RegionId {
        let regions = &self.host(number).regions;
        *regions.iter().rev().find(|(_, name)| **name == region).expect("a region").0
    }

    pub(super) fn status(&mut self, number: u8, region: &str) -> RegionStatus<'_> {
        let id = self.id(number, region);
        self.host(number).heartbeat.region(id).expect("a region")
    }

    pub(super) fn slots(&mut self, number: u8, region: &str) -> Vec<SlotStatus> {
        let id = self.id(number, region);
        self.host(number).heartbeat.slots(id).collect()
    }

    /// The node is no more: it neither reads, writes nor answers.
    pub(super) fn crash(&mut self, number: u8) {
        self.host(number).running = false;
    }

    /// The node starts again, knowing nothing.
    pub(super) fn reboot(&mut self, number: u8, region: &'static str) {
        let mut fresh = World::local(self.hosts.len() as u8);
        *self.host(number) = fresh.hosts.remove(usize::from(number) - 1);
        self.start(number, region);
    }

    pub(super) fn fault(&mut self, number: u8, region: &'static str, fault: Fault) {
        self.host(number).faults.insert(region, fault);
    }

    pub(super) fn heal(&mut self, number: u8, region: &str) {
        self.host(number).faults.remove(region);
        for (id, bytes) in std::mem::take(&mut self.host(number).hung) {
            self.write(number, id, bytes);
        }
        self.settle();
    }

    pub(super) fn slot(&mut self, region: &str, number: u8) -> &mut [u8] {
        let at = usize::from(number) * SIZE.bytes();
        let disk = self.disks.get_mut(region).expect("a region");
        &mut disk[at..at + SIZE.bytes()]
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        loop {
            self.settle();
            let due = |host: &Host| host.heartbeat.next_timeout().filter(|_| host.running);
            let next = self.hosts.iter().filter_map(due).min();
            let next_ms = next.map_or(u64::MAX, |next| next.as_millis() as u64);
            if next_ms > end_ms {
                self.now_ms = end_ms;
                return;
            }
            self.now_ms = self.now_ms.max(next_ms);
            let now = self.now();
            for host in self.hosts.iter_mut().filter(|host| due(host) <= Some(now) && host.running)
            {
                host.heartbeat.handle_timeout(now);
            }
        }
    }

    /// When something was first told to a node, in milliseconds.
    pub(super) fn when(&self, number: u8, what: &str) -> Option<u64> {
        self.log.iter().find(|(_, who, told)| *who == number && told == what).map(|entry| entry.0)
    }

    /// Everything that was told to a node.
    pub(super) fn told(&self, number: u8) -> Vec<&str> {
        let its = self.log.iter().filter(|(_, who, _)| *who == number);
        its.map(|(_, _, what)| what.as_str()).collect()
    }

    pub(super) fn wall(&self) -> u64 {
        WALL_SECONDS + self.now_ms / 1000
    }

    /// Does what the engines want, until they want nothing.
    pub(super) fn settle(&mut self) {
        loop {
            let next = self.hosts.iter_mut().filter(|host| host.running).find_map(|host| {
                host.heartbeat.poll_output().map(|output| (host.me.get(), output))
            });
            let Some((number, output)) = next else { return };
            self.perform(number, output);
        }
    }

    fn perform(&mut self, number: u8, output: Output) {
        let told = match output {
            Output::ReadSlots { region, first, last } => {
                return self.read(number, region, first, last);
            }
            Output::WriteSlot { region, bytes, .. } => return self.write(number, region, bytes),
            Output::Negotiate { to, key, kind, payload } => {
                if self.network {
                    self.deliver(to, key, kind, &payload);
                }
                format!("{kind:?} to {to}")
            }
            Output::NodeUp(node) => format!("up {node}"),
            Output::NodeDown { node, configured: true } => format!("down {node}"),
            Output::NodeDown { node, configured: false } => format!("down {node}, of nobody"),
            Output::Steady(region) => format!("steady {}", self.host(number).regions[&region]),
            Output::StartFailed { error, .. } => format!("failed: {error}"),
            Output::Fence(fence) => format!("fence: {fence}"),
            Output::Stopped { how, .. } => format!("{how:?}"),
        };
        self.log.push((self.now_ms, number, told));
    }

    fn deliver(&mut self, to: NodeId, key: u32, kind: Negotiation, payload: &[u8]) {
        let now = self.now();
        let host = self.host(to.get());
        if host.running {
            host.heartbeat.negotiation(now, key, kind, payload);
        }
    }

    fn read(&mut self, number: u8, region: RegionId, first: NodeId, last: NodeId) {
        let (now, wall) = (self.now(), self.wall());
        let name = self.host(number).regions[&region];
        let bytes =
            &self.disks[name][first.index() * SIZE.bytes()..(last.index() + 1) * SIZE.bytes()];
        let bytes = bytes.to_vec();
        let host = self.host(number);
        let read = match host.faults.get(name) {
            Some(Fault::Reads) => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(&bytes[..]),
        };
        host.heartbeat.slots_read(now, region, wall, read);
    }

    fn write(&mut self, number: u8, region: RegionId, bytes: Vec<u8>) {
        let (now, now_ms) = (self.now(), self.now_ms);
        let host = self.host(number);
        let name = host.regions[&region];
        let fault = host.faults.get(name).copied();
        match fault {
            Some(Fault::Hang) => return host.hung.push((region, bytes)),
            Some(Fault::Writes) => {
                let error = io::ErrorKind::TimedOut.into();
                return host.heartbeat.slot_written(now, region, Err(error));
            }
            Some(Fault::Lost) => {}
            Some(Fault::Reads) | None => {
                let block = Block::decode(&bytes).expect("a right block");
                self.writes.push((now_ms, number, block, name));
                self.slot(name, number).copy_from_slice(&bytes);
            }
        }
        self.host(number).heartbeat.slot_written(now, region, Ok(()));
    }
}
