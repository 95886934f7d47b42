//! The attributes of a node as text: what the files below configfs' `cluster` and debugfs' `o2hb` read
//! and accept (`fs/ocfs2/cluster/nodemanager.c`, `heartbeat.c`).

mod text;

use std::fmt::Write;

use dlm::Errno;

use crate::cluster_conf::{Cluster, HeartbeatMode, NodeConf};
use crate::heartbeat::{GlobalRegions, RegionMap};
use crate::{NodeId, NodeMap, Timeouts};

/// A node as its attributes show it.
///
/// A path is the names from the root on. The node runs, so it has what a kernel's has when it heartbeats:
/// every region is started, and every node has its address, port and number.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// The cluster.
    pub cluster: Cluster,
    /// The local node.
    pub me: NodeId,
    /// The timings in force.
    pub timeouts: Timeouts,
    /// Whether there is a connection to another node, or one is being made: then two of the timings
    /// cannot change.
    pub has_peers: bool,
    /// What happens when it is fenced.
    pub fence: FenceMethod,
    /// The heartbeat regions.
    pub regions: Vec<RegionAttributes>,
    /// Nodes whose heartbeat is seen.
    pub live: NodeMap,
    /// The regions of global mode by what they are.
    pub global: GlobalRegions,
}

/// What happens to a node that is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceMethod {
    /// One of [`all`](Self::all).
    pub word: &'static str,
    /// What it can be. A kernel has `reset` and `panic`.
    pub all: &'static [&'static str],
}

/// A heartbeat region as its attributes show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionAttributes {
    /// Its name.
    pub name: String,
    /// The size of a block in bytes.
    pub block_bytes: usize,
    /// Where it begins, in blocks.
    pub start_block: u64,
    /// How many blocks it has.
    pub blocks: u8,
    /// The name of its device.
    pub device: String,
    /// The thread that heartbeats on it; `None` when there is none yet.
    pub pid: Option<i32>,
    /// Its number in global mode; 0 in local mode.
    pub number: u8,
    /// Milliseconds since it last wrote well; 0 if it never did.
    pub elapsed_ms: u32,
    /// Whether it cannot be removed.
    pub is_pinned: bool,
    /// Nodes whose heartbeat is seen on it.
    pub live: NodeMap,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Names.
    Directory,
    /// Text that can only be read: mode 0444.
    ReadOnly,
    /// Text that can be written too: mode 0644.
    Writable,
}

/// What a write asks for, after it was found to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it is so already, or a kernel accepts the text and ignores it.
    Nothing,
    /// Other timings.
    Timeouts(Timeouts),
    /// Another method to fence this node.
    FenceMethod(&'static str),
}

impl Attributes {
    /// What is in a directory, in the order of the kernel; `None` if there is no such directory.
    pub fn list(&self, path: &[&str]) -> Option<Vec<(String, Entry)>> {
        let files = |entry: Entry, names: &[&str]| -> Vec<(String, Entry)> {
            names.iter().map(|name| ((*name).to_owned(), entry)).collect()
        };
        let directories = |names: Vec<String>| -> Vec<(String, Entry)> {
            names.into_iter().map(|name| (name, Entry::Directory)).collect()
        };
        let regions = || self.regions.iter().map(|region| region.name.clone()).collect();
        Some(match path {
            [] => files(Entry::Directory, &["cluster", "o2hb"]),
            ["cluster"] => directories(vec![self.cluster.name.clone()]),
            ["cluster", name, rest @ ..] if *name == self.cluster.name => match rest {
                [] => [
                    files(Entry::Writable, &CLUSTER_FILES),
                    files(Entry::Directory, &["node", "heartbeat"]),
                ]
                .concat(),
                ["node"] => {
                    directories(self.cluster.nodes.iter().map(|node| node.name.clone()).collect())
                }
                ["node", node] if self.node(node).is_some() => files(Entry::Writable, &NODE_FILES),
                ["heartbeat"] => {
                    [files(Entry::Writable, &HEARTBEAT_FILES), directories(regions())].concat()
                }
                ["heartbeat", region] if self.region(region).is_some() => {
                    [files(Entry::Writable, &REGION_FILES), files(Entry::ReadOnly, &["pid"])]
                        .concat()
                }
                _ => return None,
            },
            ["o2hb"] => [files(Entry::ReadOnly, &O2HB_FILES), directories(regions())].concat(),
            ["o2hb", region] if self.region(region).is_some() => {
                files(Entry::ReadOnly, &O2HB_REGION_FILES)
            }
            _ => return None,
        })
    }

    /// The text of a file; `None` if there is no such file.
    pub fn read(&self, path: &[&str]) -> Option<String> {
        match path {
            ["cluster", name, rest @ ..] if *name == self.cluster.name => self.read_cluster(rest),
            ["o2hb", file] => Some(match *file {
                "livenodes" => numbers(self.live.iter().map(NodeId::get)) + "\n",
                "live_regions" => regions_text(self.global.live),
                "quorum_regions" => regions_text(self.global.quorum),
                "failed_regions" => regions_text(self.global.failed),
                _ => return None,
            }),
            ["o2hb", region, file] => {
                let region = self.region(region)?;
                Some(match *file {
                    "livenodes" => numbers(region.live.iter().map(NodeId::get)) + "\n",
                    "num" => line(region.number),
                    "elapsed_time_in_ms" => line(region.elapsed_ms),
                    "pinned" => line(u8::from(region.is_pinned)),
                    _ => return None,
                })
            }
            _ => None,
        }
    }

    fn read_cluster(&self, path: &[&str]) -> Option<String> {
        Some(match path {
            ["idle_timeout_ms"] => line(self.timeouts.idle_timeout_ms),
            ["keepalive_delay_ms"] => line(self.timeouts.keepalive_delay_ms),
            ["reconnect_delay_ms"] => line(self.timeouts.reconnect_delay_ms),
            ["fence_method"] => line(self.fence.word),
            ["node", node, file] => {
                let node = self.node(node)?;
                match *file {
                    "num" => line(node.number),
                    "ipv4_port" => line(node.port),
                    "ipv4_address" => line(node.address),
                    "local" => line(u8::from(node.number == self.me)),
                    _ => return None,
                }
            }
            ["heartbeat", "dead_threshold"] => line(self.timeouts.dead_threshold),
            ["heartbeat", "mode"] => match self.cluster.heartbeat_mode {
                HeartbeatMode::Local => line("local"),
                HeartbeatMode::Global => line("global"),
            },
            ["heartbeat", region, file] => {
                let region = self.region(region)?;
                match *file {
                    "block_bytes" => line(region.block_bytes),
                    "start_block" => line(region.start_block),
                    "blocks" => line(region.blocks),
                    "dev" => line(&region.device),
                    "pid" => region.pid.map(line).unwrap_or_default(),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// Whether a text may be written to a file, and what follows from it.
    ///
    /// # Errors
    ///
    /// That of the kernel for this text and this state. `ENOENT` if there is no such file, `EACCES` if
    /// it can only be read. `EBUSY` for what only a restart can change.
    pub fn write(&self, path: &[&str], text: &[u8]) -> Result<Change, Errno> {
        self.read(path).ok_or(Errno::ENOENT)?;
        match path {
            ["cluster", _, rest @ ..] if rest.last() != Some(&"pid") => {
                self.write_cluster(rest, text)
            }
            _ => Err(Errno::EACCES),
        }
    }

    fn write_cluster(&self, path: &[&str], text: &[u8]) -> Result<Change, Errno> {
        let mut timeouts = self.timeouts;
        match path {
            ["idle_timeout_ms"] => {
                timeouts.idle_timeout_ms = text::milliseconds(text)?;
                self.change(timeouts, self.has_peers)
            }
            ["keepalive_delay_ms"] => {
                timeouts.keepalive_delay_ms = text::milliseconds(text)?;
                self.change(timeouts, self.has_peers)
            }
            ["reconnect_delay_ms"] => {
                timeouts.reconnect_delay_ms = text::milliseconds(text)?;
                self.change(timeouts, false)
            }
            ["fence_method"] => match text::word(text, self.fence.all)? {
                method if method == self.fence.word => Ok(Change::Nothing),
                method => Ok(Change::FenceMethod(method)),
            },
            ["node", node, file] => {
                self.write_node(self.node(node).ok_or(Errno::ENOENT)?, file, text)
            }
            // A kernel that has a region ignores both, and says that all is well.
            ["heartbeat", "dead_threshold"] => text::decimal(text).map(|_| Change::Nothing),
            ["heartbeat", "mode"] => text::heartbeat_mode(text).map(|_| Change::Nothing),
            // Those of a region that is started.
            _ => Err(Errno::EINVAL),
        }
    }

    fn change(&self, timeouts: Timeouts, is_late: bool) -> Result<Change, Errno> {
        timeouts.check().map_err(|error| error.errno())?;
        match timeouts == self.timeouts {
            true => Ok(Change::Nothing),
            false if is_late => Err(Errno::EINVAL),
            false => Ok(Change::Timeouts(timeouts)),
        }
    }

    /// Each is written once, and was. The order of the checks is the kernel's.
    fn write_node(&self, node: &NodeConf, file: &str, text: &[u8]) -> Result<Change, Errno> {
        let taken = |taken: bool| Err(if taken { Errno::EEXIST } else { Errno::EBUSY });
        let nodes = &self.cluster.nodes;
        match file {
            "ipv4_port" => text::port(text).and(Err(Errno::EBUSY)),
            "ipv4_address" => {
                let address = text::address(text)?;
                taken(nodes.iter().any(|other| other.address == address))
            }
            "num" => match u8::try_from(text::number(text)?).ok().and_then(NodeId::new) {
                None => Err(Errno::ERANGE),
                Some(number) => taken(nodes.iter().any(|other| other.number == number)),
            },
            _ => match (text::number(text)? != 0, node.number == self.me) {
                // The local node is one while its daemon runs.
                (true, false) | (false, true) => Err(Errno::EBUSY),
                (true, true) | (false, false) => Ok(Change::Nothing),
            },
        }
    }

    fn node(&self, name: &str) -> Option<&NodeConf> {
        self.cluster.nodes.iter().find(|node| node.name == name)
    }

    fn region(&self, name: &str) -> Option<&RegionAttributes> {
        self.regions.iter().find(|region| region.name == name)
    }
}

fn line(value: impl std::fmt::Display) -> String {
    format!("{value}\n")
}

fn regions_text(regions: RegionMap) -> String {
    numbers(regions.iter()) + "\n"
}

/// Numbers as debugfs shows them: each with a space behind it.
pub(crate) fn numbers(numbers: impl Iterator<Item = u8>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        // Writing to a string does not fail.
        let _ = write!(text, "{number} ");
        text
    })
}

const CLUSTER_FILES: [&str; 4] =
    ["idle_timeout_ms", "keepalive_delay_ms", "reconnect_delay_ms", "fence_method"];
const NODE_FILES: [&str; 4] = ["num", "ipv4_port", "ipv4_address", "local"];
const HEARTBEAT_FILES: [&str; 2] = ["dead_threshold", "mode"];
const REGION_FILES: [&str; 4] = ["block_bytes", "start_block", "blocks", "dev"];
const O2HB_FILES: [&str; 4] = ["livenodes", "live_regions", "quorum_regions", "failed_regions"];
const O2HB_REGION_FILES: [&str; 4] = ["livenodes", "num", "elapsed_time_in_ms", "pinned"];

#[cfg(test)]
mod tests;
