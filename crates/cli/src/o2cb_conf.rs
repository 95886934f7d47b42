//! `stackglue o2cb`: the configuration of the classic stack.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::Path;

use dlm::Errno;
use o2cb::RegionOptions;
use o2cb::cluster_conf::{Cluster, ClusterConf, ConfProblem, Examination, FileError, NewNode};
use o2cb::heartbeat::disk::{DiskError, create_region_file};

use crate::arguments::{ConfFile, O2cbVerb};
use crate::exit::{CONFIG, CONFLICT, Failure, USAGE};
use crate::print;
use crate::table::{lay_out, tame};

/// Changes or checks the configuration.
pub(crate) fn run(verb: &O2cbVerb) -> Result<u8, Failure> {
    match verb {
        O2cbVerb::Init { conf: ConfFile { path }, cluster } => init(path, cluster)?,
        O2cbVerb::AddNode { conf: ConfFile { path }, ip, port, number, cluster, name } => {
            let address = ip.map_or_else(|| resolve(name), Ok)?;
            add_node(path, cluster, &NewNode { name, address, port: *port, number: *number })?;
        }
        O2cbVerb::HeartbeatFile { path } => heartbeat_file(path)?,
        O2cbVerb::Check { conf: ConfFile { path } } => return check(path),
    }
    Ok(0)
}

fn init(path: &Path, name: &str) -> Result<(), Failure> {
    let mut conf = ClusterConf::load(path)?;
    conf.add_cluster(name).map_err(refused)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|error| {
            Failure::file(&error, format!("cannot make {}: {error}", directory.display()))
        })?;
    }
    conf.save(path)?;
    print::text(&format!("{}: cluster {name}, without nodes\n", path.display()));
    Ok(())
}

fn add_node(path: &Path, name: &str, node: &NewNode<'_>) -> Result<(), Failure> {
    let mut conf = ClusterConf::load(path)?;
    let Some(cluster) = conf.cluster_mut(name) else {
        let sentence = format!(
            "{} has no cluster {name:?}: add it with `stackglue o2cb init`",
            path.display()
        );
        return Err(Failure::new(CONFLICT, sentence));
    };
    let node = cluster.add_node(node).map_err(refused)?.clone();
    conf.save(path)?;
    print::text(&format!(
        "{}: cluster {name}, node {} is {} at {}:{}\n",
        path.display(),
        node.number,
        node.name,
        node.address,
        node.port
    ));
    Ok(())
}

fn heartbeat_file(path: &Path) -> Result<(), Failure> {
    let region =
        RegionOptions::of_file("", path).map_err(|error| Failure::new(USAGE, error.to_string()))?;
    create_region_file(path, region.geometry).map_err(|error| match error {
        DiskError::Create { source, .. } if source.kind() == ErrorKind::AlreadyExists => {
            let sentence = format!("{} is there already, and is left alone", path.display());
            Failure::new(CONFLICT, sentence)
        }
        DiskError::Create { source, .. } => {
            Failure::file(&source, format!("cannot make {}: {source}", path.display()))
        }
        error => Failure::os("make a heartbeat region", error),
    })?;
    print::text(&format!(
        "{}: a heartbeat region; list it as {{ path = {path:?}, name = \"NAME\" }} in [o2cb] of \
         stackglued.toml on every node\n",
        path.display()
    ));
    Ok(())
}

/// The first IPv4 address of a name.
fn resolve(name: &str) -> Result<Ipv4Addr, Failure> {
    let remedy = "give the node's address with --ip";
    let addresses = (name, 0).to_socket_addrs().map_err(|error| {
        Failure::os(&format!("find the address of {name}"), format!("{error}; {remedy}"))
    })?;
    let mut addresses = addresses.filter_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    addresses
        .next()
        .ok_or_else(|| Failure::new(CONFLICT, format!("{name} has no IPv4 address; {remedy}")))
}

fn check(path: &Path) -> Result<u8, Failure> {
    let Some(text) = ClusterConf::read(path)? else {
        let path = path.display();
        let advice = "`stackglue o2cb init` makes one";
        print::text(&format!("{path}: there is no such file, which is no cluster; {advice}\n"));
        return Ok(0);
    };
    let examination = ClusterConf::examine(text);
    let uname = rustix::system::uname();
    let verdict = verdict(path, &examination, &uname.nodename().to_string_lossy());
    print::text(&verdict);
    Ok(if examination.errors.is_empty() { 0 } else { CONFLICT })
}

/// Everything about a configuration, for the host of that name.
fn verdict(path: &Path, examination: &Examination, hostname: &str) -> String {
    let Examination { conf, errors, remarks } = examination;
    let path = path.display();
    let mut text = match (errors.len(), remarks.len()) {
        (0, 0) => format!("{path}: good\n"),
        (0, remarks) => format!("{path}: good, with {}\n", count(remarks, "remark")),
        (errors, _) => format!("{path}: cannot be used, with {}\n", count(errors, "error")),
    };
    // Writing to a String cannot fail.
    for error in errors {
        let _ = writeln!(text, "  {error}");
    }
    for remark in remarks {
        let _ = writeln!(text, "  {remark} (a remark)");
    }
    for cluster in &conf.clusters {
        text.push('\n');
        text.push_str(&describe(cluster, hostname));
    }
    if conf.clusters.is_empty() && errors.is_empty() {
        text.push_str("it describes no cluster; `stackglue o2cb init` adds one\n");
    }
    text
}

fn describe(cluster: &Cluster, hostname: &str) -> String {
    let local = cluster.local_node(hostname);
    let hostname = tame(hostname, usize::MAX);
    let host = match local {
        Some(node) => format!("this host, {hostname}, is node {}", node.number),
        None => format!("this host, {hostname}, is none of its nodes"),
    };
    let mut text = format!(
        "cluster {}: {} heartbeat, {}, {}; {host}\n",
        tame(&cluster.name, usize::MAX),
        cluster.heartbeat_mode.name(),
        count(cluster.nodes.len(), "node"),
        count(cluster.regions.len(), "heartbeat region"),
    );
    if !cluster.nodes.is_empty() {
        let rows = cluster.nodes.iter().map(|node| {
            let here = local.is_some_and(|local| local.number == node.number);
            let here = if here { "this host" } else { "" };
            let name = tame(&node.name, usize::MAX);
            [
                node.number.to_string(),
                name,
                node.address.to_string(),
                node.port.to_string(),
                here.into(),
            ]
        });
        let rows: Vec<_> = rows.collect();
        text.push_str(&lay_out(["NUMBER", "NAME", "ADDRESS", "PORT", "HERE"], &rows));
    }
    for region in &cluster.regions {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "region {}", tame(region, usize::MAX));
    }
    text
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What cannot be added: because it is taken, or whatever there is already.
fn refused(problem: ConfProblem) -> Failure {
    use ConfProblem::{DuplicateCluster, DuplicateNode};
    let taken = matches!(problem, DuplicateCluster { .. } | DuplicateNode { .. })
        || matches!(problem.errno(), Errno::EEXIST | Errno::ENOSPC);
    Failure::new(if taken { CONFLICT } else { USAGE }, problem.to_string())
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        let sentence = error.to_string();
        match error {
            FileError::Conf { .. } => Failure::new(CONFIG, sentence),
            FileError::Io { error, .. } => Failure::file(&error, sentence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_has_every_line_that_is_wrong_and_says_which_node_this_host_is() {
        let text = "\
cluster:
	name = web
	node_count = 1
node:
	cluster = web
	name = a
	number = 0
	ip_address = 10.0.0.1
	ip_port = 7777
";
        let path = Path::new("/c");
        let good = verdict(path, &ClusterConf::examine(text), "A.example.org");
        let expected = "\
/c: good

cluster web: local heartbeat, 1 node, 0 heartbeat regions; this host, A.example.org, is node 0
NUMBER  NAME  ADDRESS   PORT  HERE
0       a     10.0.0.1  7777  this host
";
        assert_eq!(good, expected);
        let other = text.replace("node_count = 1", "node_count = 2").replace("7777", "0");
        let bad = verdict(path, &ClusterConf::examine(other), "b");
        let lines: Vec<_> = bad.lines().collect();
        assert_eq!(lines[0], "/c: cannot be used, with 1 error");
        assert!(lines[1].starts_with("  line 9: "), "{bad}");
        assert!(lines[2].starts_with("  line 3: ") && lines[2].ends_with("(a remark)"), "{bad}");
        assert!(bad.ends_with("this host, b, is none of its nodes\n"), "{bad}");
        let none = verdict(path, &ClusterConf::examine(""), "b");
        assert!(none.contains("describes no cluster"), "{none}");
    }
}
