//! `stackglue doctor`: what keeps this host from its cluster.

use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use daemon::control::{ControlRequest, NodeItem};
use daemon::{Config, HeartbeatPlace, O2cbConfig, Options};
use o2cb::cluster_conf::{Cluster, NodeConf};
use o2cb::heartbeat::disk::{Access, Disk};
use o2cb::{NODES_MAX, NodeId, RegionOptions};

use crate::arguments::DoctorArguments;
use crate::exit::{CONFLICT, Failure};
use crate::table::tame;
use crate::{print, session};

/// Examines everything and prints what it finds.
pub(crate) fn run(arguments: &DoctorArguments) -> Result<u8, Failure> {
    let options = Options { config: arguments.config.clone(), ..Options::default() };
    let findings = match Config::load(&options) {
        Ok(config) if config.is_o2cb() => examine(&config.o2cb),
        Ok(config) => {
            let what = format!("the stack is {:?}, which needs nothing", config.stack);
            vec![Finding::good(what)]
        }
        Err(error) => vec![Finding::bad(error.to_string(), "mend the configuration")],
    };
    for finding in &findings {
        print::text(&finding.line());
    }
    Ok(if findings.iter().any(|finding| finding.advice.is_some()) { CONFLICT } else { 0 })
}

/// What was found, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    what: String,
    advice: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>) -> Finding {
        Finding { what: what.into(), advice: None }
    }

    fn bad(what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { what: what.into(), advice: Some(advice.into()) }
    }

    fn line(&self) -> String {
        match &self.advice {
            None => format!("good  {}\n", self.what),
            Some(advice) => format!("bad   {}; {advice}\n", self.what),
        }
    }
}

fn examine(config: &O2cbConfig) -> Vec<Finding> {
    let cluster = match config.cluster() {
        Ok(cluster) => cluster,
        Err(error) => {
            return vec![Finding::bad(error.to_string(), "`stackglue o2cb check` tells more")];
        }
    };
    let me = match config.me(&cluster) {
        Ok(me) => me,
        Err(error) => {
            return vec![Finding::bad(error.to_string(), "nothing else can be looked at before")];
        }
    };
    let conf = config.conf.display();
    let mut findings = vec![Finding::good(format!(
        "{conf}: cluster {}, of whose {} nodes this host is number {me}",
        cluster.name,
        cluster.nodes.len()
    ))];
    findings.push(timings(config));
    let seen = running(me);
    for node in &cluster.nodes {
        let peer = seen.iter().find(|peer| peer.node == u32::from(node.number.get()));
        findings.push(match peer {
            _ if node.number == me => listens(node, !seen.is_empty()),
            Some(peer) => linked(peer),
            None => reach(node),
        });
    }
    findings.extend(heartbeat(config, &cluster, me));
    findings
}

/// What the daemon of this host sees of the cluster, if it runs and is that node.
fn running(me: NodeId) -> Vec<NodeItem> {
    let Ok(Some(mut client)) = session::connect_if_running("stackglue doctor") else {
        return Vec::new();
    };
    let (stack, node) = (client.welcome().stack.clone(), client.welcome().node);
    if stack != "o2cb" || node != u32::from(me.get()) {
        return Vec::new();
    }
    let answer = client.control(&ControlRequest::Nodes {}).and_then(|answer| answer.read_all());
    answer.unwrap_or_default()
}

/// The daemon knows better than any trial whether a peer can be reached.
fn linked(peer: &NodeItem) -> Finding {
    let NodeItem { node, name, address, link, last_error, .. } = peer;
    let name = tame(name, usize::MAX);
    match (peer.is_alive, link.as_str()) {
        (true, "connected") => {
            Finding::good(format!("node {node}, {name}, lives and is connected"))
        }
        (true, link) => Finding::bad(
            format!(
                "node {node}, {name}, lives, and the connection to {address} is {link}: {last_error}"
            ),
            "see whether a firewall is between, and whether its cluster.conf and timings are the same",
        ),
        (false, _) => Finding::bad(
            format!("node {node}, {name}, does not heartbeat"),
            "start it, and see whether it has the same heartbeat region",
        ),
    }
}

/// They go together, or the configuration could not have been read; is there time to stop?
fn timings(config: &O2cbConfig) -> Finding {
    let timeouts = &config.timeouts;
    let dead_s = timeouts.dead_ms() / 1000;
    let what = format!(
        "a node is dead after {dead_s} s without heartbeat, a connection after {} s of silence: both \
         have to be the same on all nodes",
        timeouts.idle_timeout_ms / 1000
    );
    if timeouts.dead_ms() < GRACE_MS {
        return Finding::bad(
            what,
            "a command that lost its daemon may have 10 s to stop: set dead_threshold to 6 or more, or \
             give `stackglue lock` a shorter --grace",
        );
    }
    Finding::good(what)
}

fn listens(node: &NodeConf, is_running: bool) -> Finding {
    let address = SocketAddrV4::new(node.address, node.port);
    match TcpListener::bind(address) {
        _ if is_running => Finding::good(format!("this node runs, and listens on {address}")),
        Ok(_) => Finding::bad(
            format!("{address} is free: this node does not run"),
            "start it with `systemctl start stackglued`",
        ),
        Err(error) => Finding::bad(
            format!("this node does not run, and {address} cannot be listened on: {error}"),
            "see what has the port with `ss -ltnp`, or whether the address is this host's with `ip addr`",
        ),
    }
}

/// That the peer hangs up at once does not matter.
fn reach(node: &NodeConf) -> Finding {
    let address = SocketAddrV4::new(node.address, node.port);
    let name = &node.name;
    match TcpStream::connect_timeout(&SocketAddr::V4(address), CONNECT_PATIENCE) {
        Ok(_) => Finding::good(format!("node {}, {name}, listens on {address}", node.number)),
        Err(error) => Finding::bad(
            format!("node {}, {name}, is not reached at {address}: {error}", node.number),
            "see whether stackglued runs there, and whether a firewall is between",
        ),
    }
}

fn heartbeat(config: &O2cbConfig, cluster: &Cluster, me: NodeId) -> Vec<Finding> {
    if let Err(error) = config.regions(cluster)
        && config.heartbeat.is_empty()
    {
        return vec![Finding::bad(error.to_string(), "every node needs the same list")];
    }
    config.heartbeat.iter().map(|place| region(place, me)).collect()
}

/// Reads the whole region once, as each node does every two seconds.
fn region(place: &HeartbeatPlace, me: NodeId) -> Finding {
    let path = place.path().display();
    let advice = "see whether the device is there and is the same on all nodes";
    let opened = place.region().map_err(|error| error.to_string()).and_then(|region| {
        let RegionOptions { path, geometry, .. } = region;
        Disk::open(&path, geometry).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        })
    });
    let disk = match opened {
        Ok(disk) => disk,
        Err(what) => return Finding::bad(what, advice),
    };
    let blocks = disk.geometry().blocks();
    if me.get() >= blocks {
        return Finding::bad(
            format!("{path} has {blocks} slots, and none for node {me}"),
            "give this node a lower number, or the volume more slots",
        );
    }
    let last = NodeId::new(blocks.min(NODES_MAX as u8) - 1).unwrap_or(me);
    let first = NodeId::new(0).unwrap_or(me);
    let since = Instant::now();
    let read = disk.read_slots(first, last);
    let took_ms = since.elapsed().as_millis();
    match read {
        Err(error) => Finding::bad(format!("{path} cannot be read: {error}"), advice),
        Ok(_) if took_ms > READ_SLOW_MS => Finding::bad(
            format!("{path} was read in {took_ms} ms, and a heartbeat is due every 2000 ms"),
            "look at the load of the storage, or raise dead_threshold on all nodes",
        ),
        Ok(_) => {
            let how = match disk.access() {
                Access::Direct => "past the cache",
                Access::Cached => "through the cache, which is for nodes of one host alone",
            };
            Finding::good(format!("{path} was read in {took_ms} ms, {how}"))
        }
    }
}

/// What `stackglue lock` gives a command by default.
const GRACE_MS: u32 = 10_000;

const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// A quarter of the time between two heartbeats.
const READ_SLOW_MS: u128 = 500;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use o2cb::heartbeat::disk::create_region_file;

    use super::*;

    #[test]
    fn a_region_is_read_and_a_missing_one_is_told_with_advice() {
        let top = tempfile::tempdir().expect("a directory");
        let path = top.path().join("region");
        let me = NodeId::new(1).expect("a number");
        let place = HeartbeatPlace::File { path: path.clone(), name: "r".into() };
        let missing = region(&place, me).line();
        assert!(missing.starts_with("bad ") && missing.contains("same on all nodes"), "{missing}");
        create_region_file(&path, place.region().expect("a region").geometry).expect("made");
        let before = std::fs::read(&path).expect("read");
        let good = region(&place, me).line();
        assert!(good.starts_with("good ") && good.contains("was read in"), "{good}");
        assert_eq!(std::fs::read(&path).expect("read"), before, "nothing is written");
    }

    #[test]
    fn a_peer_that_listens_is_reached_and_another_is_not() {
        let peer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = peer.local_addr().expect("bound").port();
        let number = NodeId::new(7).expect("a number");
        let node = NodeConf { name: "g".into(), number, address: Ipv4Addr::LOCALHOST, port };
        assert!(reach(&node).line().starts_with("good  node 7, g, listens"));
        drop(peer);
        let line = reach(&node).line();
        assert!(line.starts_with("bad   node 7, g, is not reached"), "{line}");
        assert!(listens(&node, false).line().contains("does not run; start it"));
    }

    #[test]
    fn a_dead_time_below_the_grace_of_a_command_is_told() {
        let mut config = O2cbConfig::default();
        assert_eq!(timings(&config).advice, None);
        config.timeouts.dead_threshold = 4;
        assert!(timings(&config).line().contains("dead_threshold"));
    }
}
