//! `/etc/ocfs2/cluster.conf`: clusters, their nodes and heartbeat regions.
//!
//! It has to be the same on every node: nodes compare their lists when one of them joins a domain, and
//! refuse the one whose list differs.

mod file;
mod lex;
mod parse;
mod problem;
mod write;

use std::net::Ipv4Addr;

use crate::{NODES_MAX, NodeId};

pub use file::{DEFAULT_PATH, FileError};
pub use parse::Examination;
pub use problem::{ConfError, ConfProblem, ConfRemark, Remark};

/// The port of a node that was added without one. A default of the tools: the kernel has none.
pub const DEFAULT_PORT: u16 = 7777;

/// The largest port of a node: the kernel refuses 65535 (`o2nm_node_ipv4_port_store`).
pub const PORT_MAX: u16 = 65534;

/// How many global heartbeat regions a cluster can have (`O2NM_MAX_REGIONS`): they travel in one message.
pub const REGIONS_MAX: usize = 32;

/// How long a region's name can be (`O2HB_MAX_REGION_NAME_LEN`): that of a UUID in hexadecimal digits.
pub const REGION_NAME_LEN_MAX: usize = 32;

/// How long the name of a cluster or node can be (`O2NM_MAX_NAME_LEN`).
pub const NAME_LEN_MAX: usize = 64;

/// How long the name of a new cluster can be: what a volume's superblock has room for.
pub const NEW_CLUSTER_NAME_LEN_MAX: usize = 16;

/// A configuration: several clusters may be described, one of them is brought online.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterConf {
    /// The clusters, as they were described. No two have one name.
    pub clusters: Vec<Cluster>,
}

/// A cluster of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Where its nodes heartbeat.
    pub heartbeat_mode: HeartbeatMode,
    /// Its nodes, as they were described. No two have one name, number or address.
    pub nodes: Vec<NodeConf>,
    /// The names of its global heartbeat regions: at most [`REGIONS_MAX`]. Their order matters: regions
    /// are numbered as they are registered, and the number is in the key of a region's messages.
    pub regions: Vec<String>,
}

/// Where nodes heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeartbeatMode {
    /// On each volume that is mounted.
    #[default]
    Local,
    /// On the regions that the configuration names, whatever is mounted.
    Global,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConf {
    /// Its name: its host's, without the domain.
    pub name: String,
    /// Its number.
    pub number: NodeId,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// The port it listens on: 1 to [`PORT_MAX`].
    pub port: u16,
}

/// A node to add; what it does not say is chosen.
#[derive(Clone, Debug)]
pub struct NewNode<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// The port it listens on; [`DEFAULT_PORT`] when not given.
    pub port: Option<u16>,
    /// Its number; the lowest that no node has when not given.
    pub number: Option<NodeId>,
}

impl ClusterConf {
    /// The cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The cluster of that name, to change it.
    pub fn cluster_mut(&mut self, name: &str) -> Option<&mut Cluster> {
        self.clusters.iter_mut().find(|cluster| cluster.name == name)
    }

    /// Adds a cluster without nodes, with heartbeat on its volumes.
    pub fn add_cluster(&mut self, name: &str) -> Result<&mut Cluster, ConfProblem> {
        if !is_new_cluster_name(name) {
            return Err(ConfProblem::NewClusterName { name: name.to_owned() });
        }
        if self.cluster(name).is_some() {
            return Err(ConfProblem::DuplicateCluster { name: name.to_owned() });
        }
        self.clusters.push(Cluster {
            name: name.to_owned(),
            heartbeat_mode: HeartbeatMode::Local,
            nodes: Vec::new(),
            regions: Vec::new(),
        });
        Ok(self.clusters.last_mut().expect("it was just put there"))
    }
}

impl Cluster {
    /// The node of that number.
    pub fn node(&self, number: NodeId) -> Option<&NodeConf> {
        self.nodes.iter().find(|node| node.number == number)
    }

    /// The node that this host is, by its host name: the node's name is the host's, case aside, or what
    /// the host's has before a dot.
    pub fn local_node(&self, hostname: &str) -> Option<&NodeConf> {
        self.nodes.iter().find(|node| node.is_host(hostname))
    }

    /// The lowest number that no node has.
    pub fn unused_number(&self) -> Option<NodeId> {
        (0..NODES_MAX as u8).filter_map(NodeId::new).find(|&number| self.node(number).is_none())
    }

    /// Adds a node. The cluster is as before when that cannot be.
    pub fn add_node(&mut self, new: &NewNode<'_>) -> Result<&NodeConf, ConfProblem> {
        let number =
            new.number.or_else(|| self.unused_number()).ok_or(ConfProblem::NoNumberLeft)?;
        let port = new.port.unwrap_or(DEFAULT_PORT);
        self.push_node(NodeConf { name: new.name.to_owned(), number, address: new.address, port })?;
        Ok(self.nodes.last().expect("it was just put there"))
    }

    /// Puts a node in, if its values are possible and no other node has them.
    fn push_node(&mut self, node: NodeConf) -> Result<(), ConfProblem> {
        check_name("node", &node.name, NAME_LEN_MAX)?;
        check_port(node.port.into())?;
        if self.nodes.iter().any(|other| other.name == node.name) {
            return Err(ConfProblem::DuplicateNode { name: node.name });
        }
        if let Some(other) = self.node(node.number) {
            let (number, of) = (node.number, other.name.clone());
            return Err(ConfProblem::NumberTaken { number, of });
        }
        if let Some(other) = self.nodes.iter().find(|other| other.address == node.address) {
            let (address, of) = (node.address, other.name.clone());
            return Err(ConfProblem::AddressTaken { address, of });
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Puts a heartbeat region in, if its name is possible and it is not there.
    fn push_region(&mut self, name: &str) -> Result<(), ConfProblem> {
        check_name("region", name, REGION_NAME_LEN_MAX)?;
        if self.regions.iter().any(|other| other == name) {
            return Err(ConfProblem::DuplicateRegion { name: name.to_owned() });
        }
        if self.regions.len() == REGIONS_MAX {
            return Err(ConfProblem::TooManyRegions);
        }
        self.regions.push(name.to_owned());
        Ok(())
    }
}

impl NodeConf {
    /// Whether this node is the host of that name.
    pub fn is_host(&self, hostname: &str) -> bool {
        let (own, host) = (self.name.as_bytes(), hostname.as_bytes());
        host.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own))
            && matches!(host.get(own.len()), None | Some(b'.'))
    }
}

impl HeartbeatMode {
    /// The mode of a name, in any case.
    pub fn from_name(name: &str) -> Option<HeartbeatMode> {
        [HeartbeatMode::Local, HeartbeatMode::Global]
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(name))
    }

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            HeartbeatMode::Local => "local",
            HeartbeatMode::Global => "global",
        }
    }
}

/// Whether the classic tools would add or register a cluster of this name.
fn is_new_cluster_name(name: &str) -> bool {
    (1..=NEW_CLUSTER_NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A name becomes a directory of the configuration tree, and a line of the file.
fn check_name(what: &'static str, name: &str, len_max: usize) -> Result<(), ConfProblem> {
    if name.len() > len_max {
        return Err(ConfProblem::NameTooLong { what, name: name.to_owned(), len_max });
    }
    let strange = |c: char| c == '/' || c.is_control();
    let blank = |c: char| c.is_whitespace();
    let padded = name.starts_with(blank) || name.ends_with(blank);
    if name.is_empty() || name == "." || name == ".." || name.contains(strange) || padded {
        return Err(ConfProblem::BadName { what, name: name.to_owned() });
    }
    Ok(())
}

fn check_port(port: u64) -> Result<u16, ConfProblem> {
    match u16::try_from(port) {
        Ok(0) => Err(ConfProblem::PortZero),
        Ok(port) if port <= PORT_MAX => Ok(port),
        _ => Err(ConfProblem::PortTooLarge { port }),
    }
}

#[cfg(test)]
mod tests {
    use dlm::Errno;

    use super::*;

    fn new(name: &str, last_octet: u8) -> NewNode<'_> {
        let address = Ipv4Addr::new(10, 0, 0, last_octet);
        NewNode { name, address, port: None, number: None }
    }

    fn cluster(conf: &mut ClusterConf) -> &mut Cluster {
        conf.add_cluster("alpha").expect("a good name")
    }

    // Behaviour 11.
    #[test]
    fn a_host_is_the_node_whose_name_its_own_begins_with_up_to_a_dot() {
        let mut conf = ClusterConf::default();
        let cluster = cluster(&mut conf);
        cluster.add_node(&new("alpha", 1)).expect("added");
        for (host, is) in [
            ("alpha", true),
            ("Alpha.example.org", true),
            ("alpha2", false),
            ("alph", false),
            ("", false),
            ("alphä", false),
            (".alpha", false),
        ] {
            assert_eq!(cluster.local_node(host).is_some(), is, "{host:?}");
        }
        cluster.nodes[0].name = "alph".into();
        assert_eq!(cluster.local_node("Alpha.example.org"), None);
    }

    #[test]
    fn a_node_gets_the_lowest_unused_number_and_the_usual_port() {
        let mut conf = ClusterConf::default();
        let cluster = cluster(&mut conf);
        cluster.add_node(&new("a", 1)).expect("added");
        cluster.add_node(&NewNode { number: NodeId::new(2), ..new("c", 3) }).expect("added");
        let node = cluster.add_node(&new("b", 2)).expect("added");
        assert_eq!((node.number.get(), node.port), (1, 7777));
        for number in 3..=254u8 {
            let address = Ipv4Addr::new(10, 0, 1, number);
            let name = format!("n{number}");
            cluster.add_node(&NewNode { address, ..new(&name, 0) }).expect("added");
        }
        assert_eq!(cluster.add_node(&new("z", 99)), Err(ConfProblem::NoNumberLeft));
    }

    // Behaviours 17 and 10.
    #[test]
    fn no_two_nodes_have_one_name_number_or_address() {
        let mut conf = ClusterConf::default();
        let cluster = cluster(&mut conf);
        cluster.add_node(&new("a", 1)).expect("added");
        for (node, errno) in [
            (new("a", 2), Errno::ENOMEM),
            (new("b", 1), Errno::EEXIST),
            (NewNode { number: NodeId::new(0), ..new("b", 2) }, Errno::EEXIST),
            (NewNode { port: Some(0), ..new("b", 2) }, Errno::EINVAL),
            (NewNode { port: Some(65535), ..new("b", 2) }, Errno::ERANGE),
            (new("", 2), Errno::EINVAL),
            (new("..", 2), Errno::EINVAL),
            (new("a/b", 2), Errno::EINVAL),
            (new("a\nb", 2), Errno::EINVAL),
            (new(" b", 2), Errno::EINVAL),
            (new(&"x".repeat(65), 2), Errno::ENAMETOOLONG),
        ] {
            let refused = cluster.add_node(&node).map(|_| ()).map_err(|problem| problem.errno());
            assert_eq!(refused, Err(errno), "{node:?}");
        }
        assert_eq!(cluster.nodes.len(), 1);
        assert!(cluster.add_node(&new(&"x".repeat(64), 2)).is_ok());
    }

    #[test]
    fn a_new_cluster_s_name_is_that_of_a_superblock() {
        let mut conf = ClusterConf::default();
        assert!(conf.add_cluster("alpha").is_ok());
        for (name, errno) in [
            ("", Errno::EINVAL),
            ("my_cluster", Errno::EINVAL),
            ("seventeenletters1", Errno::EINVAL),
            ("alpha", Errno::ENOENT),
        ] {
            assert_eq!(conf.add_cluster(name).map_err(|p| p.errno()).err(), Some(errno), "{name}");
        }
        assert!(conf.add_cluster("sixteenletters16").is_ok());
    }
}
