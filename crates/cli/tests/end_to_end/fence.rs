//! A node that has lost its disk is fenced, and what becomes of its locks' holders then.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Cluster;
use crate::host::{Running, runs};

/// A holder on node 1, and node 2 waits for the lock.
struct Fenced {
    cluster: Cluster,
    holder: Running,
    command: Pid,
    waiter: Running,
}

impl Fenced {
    /// The holder is told of a loss, and does nothing about it.
    fn start(policy: &str, script: &str) -> Fenced {
        let cluster = Cluster::start(2, &format!("on_fence = \"{policy}\"\n"));
        let arguments = ["lock", "--on-loss", "notify", "demo", "-c", script];
        let mut holder = Running::start(cluster.command(1, &arguments));
        holder.expect_line("held");
        let command = holder.pid_line();
        let waiter = Running::start(cluster.command(2, &["lock", "demo", "echo", "mine"]));
        cluster.host(2).await_queue("waiting", 1);
        Fenced { cluster, holder, command, waiter }
    }

    /// Until the other node has the lock.
    fn fall(mut self) -> (Running, Pid) {
        self.cluster.take_disk_away(1);
        assert_eq!(self.cluster.exit_status(1), Some(75));
        let ran = self.waiter.end();
        assert_eq!((ran.status, &*ran.out), (0, "mine\n"), "{ran:?}");
        (self.holder, self.command)
    }
}

#[test]
fn a_fenced_node_kills_those_who_hold_a_lock() {
    let fenced = Fenced::start("kill", STAYS);
    let (holder, command) = fenced.fall();
    assert!(!runs(command));
    assert_eq!(holder.end().status, 137);
}

#[test]
fn a_fenced_node_freezes_those_who_hold_a_lock() {
    let fenced = Fenced::start("freeze", STAYS);
    let (holder, command) = fenced.fall();
    assert_eq!([holder.pid(), command].map(state), [Some('T'); 2], "stopped");
}

#[test]
fn a_fenced_node_tells_those_who_hold_a_lock_and_leaves_them_alone() {
    let fenced = Fenced::start("notify", GOES_ON);
    let (mut holder, command) = fenced.fall();
    holder.expect_line("told");
    assert!(runs(command));
    kill_process(command, Signal::KILL).expect("it runs");
    let ran = holder.end();
    assert_eq!(ran.status, 137);
    assert!(ran.err.contains("this node was fenced: no good write"), "{ran:?}");
}

const STAYS: &str = "echo held; echo $$; exec sleep 600";
const GOES_ON: &str = "trap 'echo told' USR1; echo held; echo $$; while :; do sleep 0.02; done";

fn state(process: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
