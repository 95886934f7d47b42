//! A configuration as text, as the classic tools write it.

use std::fmt;

use super::ClusterConf;

impl ClusterConf {
    /// The text of the file.
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

/// The text of the file: clusters, then regions, then nodes; every attribute behind a tab, an empty line
/// after every stanza.
impl fmt::Display for ClusterConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cluster in &self.clusters {
            writeln!(f, "cluster:")?;
            writeln!(f, "\tname = {}", cluster.name)?;
            writeln!(f, "\theartbeat_mode = {}", cluster.heartbeat_mode.name())?;
            writeln!(f, "\tnode_count = {}\n", cluster.nodes.len())?;
        }
        for cluster in &self.clusters {
            for region in &cluster.regions {
                writeln!(f, "heartbeat:")?;
                writeln!(f, "\tcluster = {}", cluster.name)?;
                writeln!(f, "\tregion = {region}\n")?;
            }
        }
        for cluster in &self.clusters {
            for node in &cluster.nodes {
                writeln!(f, "node:")?;
                writeln!(f, "\tcluster = {}", cluster.name)?;
                writeln!(f, "\tnumber = {}", node.number)?;
                writeln!(f, "\tip_port = {}", node.port)?;
                writeln!(f, "\tip_address = {}", node.address)?;
                writeln!(f, "\tname = {}\n", node.name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::Ipv4Addr;
    use std::process::Command;

    use super::super::{HeartbeatMode, NewNode};
    use super::*;

    fn conf() -> ClusterConf {
        let mut conf = ClusterConf::default();
        let cluster = conf.add_cluster("alpha").expect("added");
        cluster.heartbeat_mode = HeartbeatMode::Global;
        cluster.regions.push("632A924FDD844190BDA93C0DF6B94899".into());
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let node = NewNode { name: "n1", address, port: None, number: None };
        cluster.add_node(&node).expect("added");
        conf.add_cluster("beta").expect("added");
        conf
    }

    // Behaviour 12.
    #[test]
    fn attributes_stand_behind_a_tab_and_stanzas_end_with_an_empty_line() {
        let expected = "\
cluster:
	name = alpha
	heartbeat_mode = global
	node_count = 1

cluster:
	name = beta
	heartbeat_mode = local
	node_count = 0

heartbeat:
	cluster = alpha
	region = 632A924FDD844190BDA93C0DF6B94899

node:
	cluster = alpha
	number = 0
	ip_port = 7777
	ip_address = 10.0.0.1
	name = n1

";
        assert_eq!(conf().to_text(), expected);
        assert_eq!(ClusterConf::parse(expected), Ok(conf()));
    }

    // Behaviour 12.
    #[test]
    fn the_classic_tool_adds_to_what_we_wrote_and_we_read_what_it_wrote() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cluster.conf");
        conf().save(&path).expect("written");
        let added = Command::new("o2cb")
            .arg(format!("--config-file={}", path.display()))
            .args(["add-node", "--ip", "10.0.0.2", "--port", "8000", "beta", "n2"])
            .output();
        let added = match added {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return println!("skipped: there is no o2cb of ocfs2-tools");
            }
            added => added.expect("it starts"),
        };
        assert!(added.status.success(), "{added:?}");
        let mut expected = conf();
        let address = Ipv4Addr::new(10, 0, 0, 2);
        let node = NewNode { name: "n2", address, port: Some(8000), number: None };
        expected.cluster_mut("beta").expect("there").add_node(&node).expect("added");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, expected.to_text());
        assert_eq!(ClusterConf::load(&path).expect("it is good"), expected);
    }
}
