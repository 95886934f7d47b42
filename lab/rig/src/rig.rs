//! A lab that is up.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::error::{Error, about};
use crate::guest::Guest;
use crate::options::LabOptions;
use crate::owner::{self, Owner};
use crate::script::Script;

/// A lab of this process. Goes down when it is dropped, or when the process dies.
///
/// Several labs may be up at once; each has a directory and a network namespace of its own.
pub struct Lab {
    pub(crate) script: Script,
    options: LabOptions,
    nodes: Vec<Node>,
    /// Last: it takes the lab down.
    _owner: Owner,
}

/// One line of the node list that all guests have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node number.
    pub number: u8,
    /// `uG` for guest `G`; `x` and the number for an extra node.
    pub name: String,
    /// Guest `G` has the last number `G`, extra node `i` (from 0) has `100 + i`.
    pub address: Ipv4Addr,
}

impl Lab {
    /// Why the lab cannot run on this machine, in words for people. Missing packages are no reason as
    /// long as there is an `apt-get`.
    pub fn available() -> Result<(), String> {
        match Script::of(std::env::temp_dir()).run(&["check"]) {
            Ok(_) => Ok(()),
            Err(Error::Script { stderr, .. }) => {
                Err(stderr.strip_prefix("lab: ").unwrap_or(&stderr).to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Installs what is missing (Debian packages), boots the guests and brings their stack up: about
    /// 15 seconds with o2cb, most of it the kernel's own wait for steady heartbeats. Takes down the
    /// labs of dead processes first.
    pub fn up(options: LabOptions) -> Result<Lab, Error> {
        owner::sweep();
        let (script, owner) = Owner::new()?;
        script.run(&["setup"])?;
        script.run(&options.arguments())?;
        let list = script.directory.join("run/etc/nodes");
        let text = about(list.display(), fs::read_to_string(&list))?;
        let nodes = text.lines().map(node).collect::<Option<_>>();
        let nodes = nodes.ok_or(Error::Unexpected { path: list, problem: text })?;
        Ok(Lab { script, options, nodes, _owner: owner })
    }

    /// What it was made of.
    pub fn options(&self) -> &LabOptions {
        &self.options
    }

    /// Guest `number`, from 1, dead or alive.
    ///
    /// # Panics
    ///
    /// If the lab was not brought up with that many.
    pub fn guest(&self, number: u8) -> Guest<'_> {
        let guests = self.options.guests;
        assert!((1..=guests).contains(&number), "guest {number}: the lab has 1 to {guests}");
        Guest { lab: self, number }
    }

    /// All guests, dead or alive.
    pub fn guests(&self) -> impl Iterator<Item = Guest<'_>> {
        (1..=self.options.guests).map(|number| self.guest(number))
    }

    /// The node list: the guests, then the extra nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node list as `/etc/ocfs2/cluster.conf`; the cluster is named `lab`.
    pub fn cluster_conf(&self) -> PathBuf {
        self.directory().join("run/etc/cluster.conf")
    }

    /// The shared disk. Guests have it as `/dev/ubda`; both sides see each other's writes at once.
    pub fn image(&self) -> PathBuf {
        self.directory().join("shared.img")
    }

    /// The lab's directory. It is removed with the lab.
    pub fn directory(&self) -> &Path {
        &self.script.directory
    }
}

/// From `number name address`.
fn node(line: &str) -> Option<Node> {
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let name = words.next()?.to_owned();
    let address = words.next()?.parse().ok()?;
    Some(Node { number, name, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_node_list_is_a_number_a_name_and_an_address() {
        let address = Ipv4Addr::new(10, 77, 0, 101);
        let expected = Node { number: 101, name: "x101".to_owned(), address };
        assert_eq!(node("101 x101 10.77.0.101"), Some(expected));
        for line in ["", "1", "1 u1", "1 u1 10.77.0", "256 u1 10.77.0.1"] {
            assert_eq!(node(line), None, "{line}");
        }
    }
}
