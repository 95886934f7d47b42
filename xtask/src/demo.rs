//! `cargo xtask demo`: a cluster of three daemons on this machine, that loses one of them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::shell::{cargo, target_directory};

/// Builds the programs and tells the story.
pub(crate) fn run() -> ExitCode {
    let build = ["build", "--quiet", "--locked", "--package", "stackglue-cli"];
    if !cargo(build).args(["--package", "stackglue-daemon"]).succeeds() {
        return ExitCode::FAILURE;
    }
    let since = Instant::now();
    let told = Cluster::make().map_err(|error| error.to_string()).and_then(|mut cluster| {
        let told = tell(&mut cluster);
        if told.is_err() {
            cluster.print_logs();
        }
        told
    });
    match told {
        Ok(()) => {
            say(&format!("That was all, in {:.0} s; nothing is left running.", elapsed(since)));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn tell(cluster: &mut Cluster) -> Result<(), String> {
    say(
        "Three nodes with one cluster.conf and one file to heartbeat in, as three hosts would share a disk.",
    );
    cluster.configure()?;
    say("Each daemon heartbeats for ten seconds before it serves, so that everybody has seen it.");
    cluster.start()?;
    cluster.show(2, &["nodes"])?;

    say(
        "`stackglue lock ledger` on all three: node 1 asks first and has it, the others wait in a queue.",
    );
    let mut first = cluster.lock(1, "writes the ledger", "echo held; exec sleep 600")?;
    first.line()?;
    let told = "echo held; sleep 2";
    let mut second = cluster.lock(2, "reconciles it", told)?;
    cluster.until_waiting(2)?;
    let mut third = cluster.lock(3, "prints it", told)?;
    cluster.until_waiting(3)?;
    say("`stackglue locks` on node 1, the master of the name, which knows the locks of all nodes:");
    cluster.show(1, &["locks", "ledger"])?;

    say(
        "kill -9 of the daemon of node 1. Its heartbeat stops, and its holder is told and stopped.",
    );
    let since = Instant::now();
    cluster.kill(1);
    second.line()?;
    let seconds = elapsed(since);
    say(&format!(
        "Node 2 has the lock {seconds:.1} s later: the others saw {DEAD_THRESHOLD} heartbeats in a row stay away \
         (2 s each), recovered, and granted. The usual threshold is 31."
    ));
    cluster.show(2, &["nodes"])?;
    cluster.show(2, &["locks", "ledger"])?;
    third.line()?;
    say("Node 2 gave it back after 2 s, and node 3 has it now.");
    third.end()?;
    second.end()?;
    drop(first);
    say("SIGTERM to the two that are left: they leave their groups, say so on the disk, and end.");
    cluster.stop()
}

/// The daemons, their places and whatever they were told to do. Ends what it started when dropped.
struct Cluster {
    directory: PathBuf,
    daemons: Vec<Child>,
    port: u16,
}

impl Cluster {
    fn make() -> std::io::Result<Cluster> {
        let directory = std::env::temp_dir().join(format!("stackglue-demo-{}", std::process::id()));
        fs::create_dir(&directory)?;
        let is_free = |port: &u16| {
            (1..=NODES).all(|node| TcpListener::bind((address(node).as_str(), *port)).is_ok())
        };
        let port = (7777..8777).find(is_free).unwrap_or(7777);
        Ok(Cluster { directory, daemons: Vec::new(), port })
    }

    fn configure(&self) -> Result<(), String> {
        let (conf, heartbeat) = (self.path("cluster.conf"), self.path("heartbeat"));
        let conf_option = format!("--conf={}", conf.display());
        self.run(1, &["o2cb", "init", &conf_option, "demo"])?;
        let port = self.port.to_string();
        for node in 1..=NODES {
            let (ip, number) = (address(node), node.to_string());
            self.run(
                1,
                &[
                    "o2cb",
                    "add-node",
                    &conf_option,
                    "--ip",
                    &ip,
                    "--port",
                    &port,
                    "--number",
                    &number,
                    "demo",
                    &format!("host{node}"),
                ],
            )?;
        }
        self.run(1, &["o2cb", "heartbeat-file", &heartbeat.display().to_string()])?;
        for node in 1..=NODES {
            let text = format!(
                "stack = \"o2cb\"\n[o2cb]\nconf = {conf:?}\nnode = \"host{node}\"\n\
                 heartbeat = [{{ path = {heartbeat:?}, name = \"demo\" }}]\n\
                 dead_threshold = {DEAD_THRESHOLD}\n"
            );
            fs::create_dir(self.path(&format!("{node}")))
                .and_then(|()| fs::write(self.path(&format!("{node}/conf")), text))
                .map_err(|error| {
                    format!("cannot write below {}: {error}", self.directory.display())
                })?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), String> {
        for node in 1..=NODES {
            let log = File::create(self.path(&format!("{node}/log")));
            let log = log.map_err(|error| format!("cannot write a log: {error}"))?;
            let mut daemon = self.command(node, "stackglued");
            daemon.arg("--config").arg(self.path(&format!("{node}/conf"))).stderr(log);
            let started = daemon.stdout(Stdio::null()).spawn();
            self.daemons
                .push(started.map_err(|error| format!("stackglued does not start: {error}"))?);
        }
        for node in 1..=NODES {
            let socket = self.path(&format!("{node}/socket"));
            let daemon = &mut self.daemons[node - 1];
            until(&format!("the daemon of node {node} serves"), || {
                socket.exists() || !matches!(daemon.try_wait(), Ok(None))
            })?;
            if !socket.exists() {
                return Err(format!("the daemon of node {node} did not start"));
            }
        }
        Ok(())
    }

    /// Starts a command under the lock.
    fn lock(&self, node: usize, purpose: &str, script: &str) -> Result<Holder, String> {
        let mut command = self.command(node, "stackglue");
        command.args(["lock", "--grace", "1", "--purpose", purpose, "ledger", "-c", script]);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("stackglue does not start: {error}"))?;
        let out = child.stdout.take().ok_or("no output of stackglue")?;
        Ok(Holder { child, out: BufReader::new(Box::new(out)) })
    }

    fn until_waiting(&self, node: usize) -> Result<(), String> {
        until(&format!("a request waits on node {node}"), || {
            let locks = self.command(node, "stackglue").args(["locks", "--json"]).output();
            locks.is_ok_and(|locks| String::from_utf8_lossy(&locks.stdout).contains("\"waiting\""))
        })
    }

    /// Runs `stackglue` for the reader to see.
    fn show(&self, node: usize, arguments: &[&str]) -> Result<(), String> {
        println!("\n  host{node}$ stackglue {}", arguments.join(" "));
        for line in self.run(node, arguments)?.lines() {
            println!("  {line}");
        }
        Ok(())
    }

    fn run(&self, node: usize, arguments: &[&str]) -> Result<String, String> {
        let shown = format!("stackglue {}", arguments.join(" "));
        let output = self.command(node, "stackglue").args(arguments).output();
        let output = output.map_err(|error| format!("cannot run {shown}: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
            return Err(format!("{shown} failed: {said}"));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn kill(&mut self, node: usize) {
        let daemon = &mut self.daemons[node - 1];
        // It can only have ended before.
        let _ = daemon.kill();
        let _ = daemon.wait();
    }

    fn stop(&mut self) -> Result<(), String> {
        for daemon in &self.daemons[1..] {
            let stopped = Command::new("kill").arg(daemon.id().to_string()).status();
            stopped.map_err(|error| format!("cannot run kill: {error}"))?;
        }
        for daemon in &mut self.daemons[1..] {
            until("a daemon ends", || !matches!(daemon.try_wait(), Ok(None)))?;
        }
        Ok(())
    }

    fn command(&self, node: usize, program: &str) -> Command {
        let mut command = Command::new(target_directory().join("debug").join(program));
        command
            .env("STACKGLUE_SOCKET", self.path(&format!("{node}/socket")))
            .env("STACKGLUE_STATE_DIR", self.path(&format!("{node}/state")))
            .env("STACKGLUE_NO_AUTOSTART", "1")
            .stdin(Stdio::null());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(name)
    }

    fn print_logs(&self) {
        for node in 1..=NODES {
            let log = fs::read_to_string(self.path(&format!("{node}/log"))).unwrap_or_default();
            for line in log.lines() {
                eprintln!("host{node}: {line}");
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 1..=self.daemons.len() {
            self.kill(node);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A `stackglue lock` that runs; killed when dropped.
struct Holder {
    child: Child,
    out: BufReader<Box<dyn Read>>,
}

impl Holder {
    /// Waits for the line that its command prints when it has the lock.
    fn line(&mut self) -> Result<(), String> {
        let mut line = String::new();
        match self.out.read_line(&mut line) {
            Ok(_) if line == "held\n" => Ok(()),
            _ => Err("a command under the lock did not run".to_owned()),
        }
    }

    fn end(mut self) -> Result<(), String> {
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            ended => Err(format!("a command under the lock failed: {ended:?}")),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: &str) {
    println!("\n{line}");
}

fn elapsed(since: Instant) -> f32 {
    since.elapsed().as_secs_f32()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() >= deadline {
            return Err(format!("waited in vain until {what}"));
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn address(node: usize) -> String {
    format!("127.0.0.{node}")
}

const NODES: usize = 3;

/// Heartbeats that stay away before a node is dead: three are the fewest.
const DEAD_THRESHOLD: u32 = 4;

const PATIENCE: Duration = Duration::from_secs(40);
