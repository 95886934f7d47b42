//! Some daemons on the stack `o2cb`, over loopback, with a file to heartbeat in.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use crate::host::{Host, eventually};

/// The daemons of a cluster, each on a host of its own; killed when dropped.
pub(crate) struct Cluster {
    hosts: Vec<Host>,
    daemons: Vec<Child>,
}

impl Cluster {
    /// Starts nodes from 1 on, with this in the configuration of all, and waits until they serve.
    pub(crate) fn start(nodes: u8, more: &str) -> Cluster {
        let hosts: Vec<_> = (0..nodes).map(|_| Host::new()).collect();
        let (conf, heartbeat) = (hosts[0].path("cluster.conf"), hosts[0].path("heartbeat"));
        let conf_option = format!("--conf={}", conf.display());
        hosts[0].run_well(&["o2cb", "init", &conf_option, "test"]);
        let network = Network::free(nodes);
        for number in 1..=nodes {
            let (ip, port) = (network.address(number).to_string(), network.port.to_string());
            let (number, name) = (number.to_string(), format!("node{number}"));
            hosts[0].run_well(&[
                "o2cb",
                "add-node",
                &conf_option,
                "--ip",
                &ip,
                "--port",
                &port,
                "--number",
                &number,
                "test",
                &name,
            ]);
        }
        hosts[0].run_well(&["o2cb".as_ref(), "heartbeat-file".as_ref(), heartbeat.as_os_str()]);
        let daemons = hosts.iter().zip(1..).map(|(host, number)| {
            let text = format!(
                "stack = \"o2cb\"\n[o2cb]\nconf = {conf:?}\nnode = \"node{number}\"\n\
                 heartbeat = [{{ path = {heartbeat:?}, name = \"test\" }}]\ndead_threshold = 4\n{more}"
            );
            fs::write(host.path("conf"), text).expect("written");
            let log = File::create(host.path("log")).expect("a log");
            // A write above a limit is then an error, and not the end of the process.
            let mut daemon = host.shell("trap '' XFSZ; exec \"$0\" daemon --config conf");
            daemon.stdout(Stdio::null()).stderr(log).spawn().expect("it starts")
        });
        let mut cluster = Cluster { daemons: daemons.collect(), hosts };
        for number in 1..=nodes.into() {
            eventually("a daemon that serves", || {
                let ended = cluster.daemons[number - 1].try_wait().expect("a child of ours");
                assert!(ended.is_none(), "{}", cluster.log(number));
                cluster.host(number).socket().exists()
            });
        }
        cluster
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    fn log(&self, number: usize) -> String {
        fs::read_to_string(self.host(number).path("log")).unwrap_or_default()
    }

    pub(crate) fn command(&self, number: usize, arguments: &[&str]) -> Command {
        let mut command = self.host(number).command(arguments);
        command.env("STACKGLUE_NO_AUTOSTART", "1");
        command
    }

    pub(crate) fn nodes(&self, number: usize) -> Vec<Value> {
        let ran = self.host(number).run_well(&["nodes", "--json"]);
        ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub(crate) fn signal(&self, number: usize, signal: Signal) -> Pid {
        let daemon = Pid::from_child(&self.daemons[number - 1]);
        kill_process(daemon, signal).expect("it runs");
        daemon
    }

    /// From now on no write of this node's daemon to a file succeeds.
    pub(crate) fn take_disk_away(&self, number: usize) {
        let daemon = Pid::from_child(&self.daemons[number - 1]);
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        prlimit(Some(daemon), Resource::Fsize, none).expect("it runs");
    }

    /// Waits until a daemon has ended by itself; its exit status.
    pub(crate) fn exit_status(&mut self, number: usize) -> Option<i32> {
        let daemon = &mut self.daemons[number - 1];
        eventually("the end of a daemon", || daemon.try_wait().is_ok_and(|ended| ended.is_some()));
        daemon.wait().expect("a child of ours").code()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Loopback addresses with a port that nobody has.
struct Network {
    /// 127, and these two of it.
    net: (u8, u8),
    port: u16,
}

impl Network {
    fn free(nodes: u8) -> Network {
        static CLUSTERS: AtomicU8 = AtomicU8::new(1);
        let net = (CLUSTERS.fetch_add(1, Ordering::Relaxed), (std::process::id() % 250) as u8);
        let port = (7777..8777).find(|port| {
            let mut addresses = (1..=nodes).map(|number| address(net, number));
            addresses.all(|address| TcpListener::bind((address, *port)).is_ok())
        });
        Network { net, port: port.expect("a port") }
    }

    fn address(&self, number: u8) -> Ipv4Addr {
        address(self.net, number)
    }
}

fn address(net: (u8, u8), number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, net.0, net.1, number)
}
