//! Three daemons on the stack `o2cb`, over loopback, with a file to heartbeat in.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::host::{Host, Running, STAY, eventually, runs};

/// The daemons of a cluster, each on a host of its own; killed when dropped.
struct Cluster {
    hosts: Vec<Host>,
    daemons: Vec<Child>,
}

impl Cluster {
    /// Starts nodes 1 to 3 and waits until they serve.
    fn start() -> Cluster {
        let hosts: Vec<_> = (0..3).map(|_| Host::new()).collect();
        let (conf, heartbeat) = (hosts[0].path("cluster.conf"), hosts[0].path("heartbeat"));
        let conf_option = format!("--conf={}", conf.display());
        hosts[0].run_well(&["o2cb", "init", &conf_option, "test"]);
        let network = Network::free();
        for number in 1..=3 {
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
                 heartbeat = [{{ path = {heartbeat:?}, name = \"test\" }}]\ndead_threshold = 4\n"
            );
            fs::write(host.path("conf"), text).expect("written");
            let log = File::create(host.path("log")).expect("a log");
            let mut daemon = host.command(&["daemon", "--config"]);
            daemon.arg(host.path("conf")).stdout(Stdio::null()).stderr(log);
            daemon.spawn().expect("it starts")
        });
        let mut cluster = Cluster { daemons: daemons.collect(), hosts };
        for number in 1..=3 {
            eventually("a daemon that serves", || {
                let ended = cluster.daemons[number - 1].try_wait().expect("a child of ours");
                assert!(ended.is_none(), "{}", cluster.log(number));
                cluster.host(number).socket().exists()
            });
        }
        cluster
    }

    fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    fn log(&self, number: usize) -> String {
        fs::read_to_string(self.host(number).path("log")).unwrap_or_default()
    }

    fn command(&self, number: usize, arguments: &[&str]) -> Command {
        let mut command = self.host(number).command(arguments);
        command.env("STACKGLUE_NO_AUTOSTART", "1");
        command
    }

    fn nodes(&self, number: usize) -> Vec<Value> {
        let ran = self.host(number).run_well(&["nodes", "--json"]);
        ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn signal(&self, number: usize, signal: Signal) -> Pid {
        let daemon = Pid::from_child(&self.daemons[number - 1]);
        kill_process(daemon, signal).expect("it runs");
        daemon
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
    third: u8,
    port: u16,
}

impl Network {
    fn free() -> Network {
        let process = std::process::id();
        let third = (process % 250) as u8;
        let port = (7777..8777).find(|port| {
            let address = |number| Ipv4Addr::new(127, 99, third, number);
            (1..=3).all(|number| TcpListener::bind((address(number), *port)).is_ok())
        });
        Network { third, port: port.expect("a port") }
    }

    fn address(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 99, self.third, number)
    }
}

/// One start for all of it: a node takes ten seconds to be steady.
#[test]
fn three_daemons_exclude_each_other_and_a_dead_one_s_lock_goes_to_who_waits() {
    let cluster = Cluster::start();

    // Each command sees no other one at work.
    let script = "mkdir busy && sleep 0.05 && rmdir busy";
    let busy = cluster.host(1).path("");
    let counts = (0..12).map(|round| {
        let mut command = cluster.command(round % 3 + 1, &["lock", "counter", "-c", script]);
        command.current_dir(&busy);
        Running::start(command)
    });
    for ran in counts.collect::<Vec<_>>().into_iter().map(Running::end) {
        assert_eq!(ran.status, 0, "{ran:?}");
    }

    // What the stack has not is told in a sentence, and what it has no number for is not set.
    let ran = cluster.host(2).run(&["lock", "-m", "PW", "n", "true"]);
    ran.expect_sentence(64, &["PW", "the stack o2cb has NL, PR and EX only"]);
    let ran = cluster.host(2).run(&["lock", &"n".repeat(33), "true"]);
    ran.expect_sentence(64, &["33 bytes", "at most 32"]);
    cluster.host(2).run(&["stack", "solo"]).expect_sentence(1, &["configuration"]);
    let mut command = cluster.command(3, &["lock", "n", "-c", "echo \"${STACKGLUE_TOKEN-none}\""]);
    command.env("STACKGLUE_TOKEN", "7");
    assert_eq!(Running::start(command).end().out, "none\n");

    let nodes = cluster.nodes(1);
    assert_eq!(nodes.len(), 3);
    for node in &nodes {
        assert_eq!(node["is_alive"], true, "{node}");
        let link = if node["is_this"] == true { "" } else { "connected" };
        assert_eq!(node["link"], link, "{node}");
    }

    // Orderly: who holds a lock is stopped before the next one has it.
    let keeps_on = "trap '' TERM; echo held; while :; do sleep 0.05; done";
    let mut holder = cluster.command(1, &["lock", "--grace", "1", "demo", "-c", keeps_on]);
    let mut holder = {
        holder.current_dir(&busy);
        Running::start(holder)
    };
    holder.expect_line("held");
    let holder_pid = holder.pid();
    let waiter = Running::start(cluster.command(3, &["lock", "demo", "echo", "mine"]));
    cluster.host(3).await_queue("waiting", 1);
    let daemon = cluster.signal(1, Signal::TERM);
    let ran = waiter.end();
    assert_eq!((ran.status, &*ran.out), (0, "mine\n"), "{ran:?}");
    assert!(!runs(holder_pid), "the holder was stopped before");
    assert_eq!(holder.end().status, 75);
    eventually("the end of the daemon", || !runs(daemon));

    // Not orderly: the others take note when the heartbeat stays away.
    let holding = [&["lock", "--grace", "0", "demo"], &STAY[..]].concat();
    let mut holder = Running::start(cluster.command(2, &holding));
    holder.expect_line("held");
    let waiter = Running::start(cluster.command(3, &["lock", "demo", "echo", "mine"]));
    cluster.host(3).await_queue("waiting", 1);
    let since = Instant::now();
    cluster.signal(2, Signal::KILL);
    let ran = waiter.end();
    assert_eq!((ran.status, &*ran.out), (0, "mine\n"), "{ran:?}");
    assert!(since.elapsed() > Duration::from_secs(4), "not before the node is dead");
    assert_eq!(holder.end().status, 75);
    let nodes = cluster.nodes(3);
    let alive = nodes.iter().filter(|node| node["is_alive"] == true).count();
    assert_eq!(alive, 1, "{nodes:?}");
}
