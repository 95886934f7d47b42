//! The arguments of `stackglue o2cb` and `stackglue slots`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use o2cb::NodeId;
use o2cb::cluster_conf::{DEFAULT_PATH, PORT_MAX};

/// Write and check the configuration of the classic OCFS2 stack.
///
/// The configuration names clusters, their nodes and heartbeat regions. It has to be the same on every
/// node of a cluster: nodes refuse one whose list of nodes differs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct O2cbArguments {
    #[command(subcommand)]
    pub(crate) verb: O2cbVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum O2cbVerb {
    /// Add a cluster.
    ///
    /// Adds a cluster without nodes to the configuration, and makes the file if there is none. Comments in
    /// the file are lost.
    Init {
        #[command(flatten)]
        conf: ConfFile,
        /// The cluster's name: 1 to 16 letters and digits.
        cluster: String,
    },
    /// Add a node to a cluster.
    ///
    /// Adds a node to a cluster of the configuration. Comments in the file are lost. Copy the file to every
    /// node of the cluster afterwards.
    AddNode {
        #[command(flatten)]
        conf: ConfFile,
        /// The node's address; that of its name when not given.
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<Ipv4Addr>,
        /// The port that the node listens on; 7777 when not given.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(PORT_MAX)))]
        port: Option<u16>,
        /// The node's number, 0 to 254; the lowest that is not in use when not given.
        #[arg(long, value_parser = node_number)]
        number: Option<NodeId>,
        /// The cluster's name.
        cluster: String,
        /// The node's name: its host's, without the domain.
        name: String,
    },
    /// Make a file for nodes to heartbeat in.
    ///
    /// Makes a file of zeros that is a heartbeat region, for clusters without an OCFS2 volume: on storage that
    /// all nodes share, or, for a trial, on one host. A device of its own with sectors of 512 bytes needs zeros
    /// in its first 256 KiB instead. Never overwrites a file.
    HeartbeatFile {
        /// The file.
        path: PathBuf,
    },
    /// Tell what is wrong with the configuration.
    ///
    /// Prints each cluster with its nodes, which of them this host is, and everything that is wrong or odd,
    /// with its line. Changes nothing.
    Check {
        #[command(flatten)]
        conf: ConfFile,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConfFile {
    /// The configuration.
    #[arg(long = "conf", value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) path: PathBuf,
}

/// Show which node has which slot of an OCFS2 volume.
///
/// Prints what the volume is, where its nodes heartbeat, and its slot map: the nodes that mount it, or that
/// died and are not recovered yet. Reads the device and changes nothing; what nodes write meanwhile may not
/// be seen.
#[derive(Debug, Args)]
#[command(after_help = SLOTS_EXAMPLES)]
pub(crate) struct SlotsArguments {
    /// The device, or an image of one.
    pub(crate) device: PathBuf,
}

fn node_number(typed: &str) -> Result<NodeId, String> {
    let number = typed.parse().ok().and_then(NodeId::new);
    number.ok_or_else(|| "a node's number is 0 to 254".into())
}

const EXAMPLES: &str = "\
Examples:
  stackglue o2cb init web
  stackglue o2cb add-node web db1 --ip 192.168.0.7
  stackglue o2cb check";

const SLOTS_EXAMPLES: &str = "\
Examples:
  stackglue slots /dev/sdb1";
