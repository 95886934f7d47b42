//! Three nodes of a cluster: locks that exclude each other, an orderly end, and a death.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use daemon::control::ControlRequest;
use daemon::{Client, Event, LockRequest};
use dlm::{Errno, Mode};
use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::host::{Running, STAY, eventually, runs};

/// One start for all of it: a node takes ten seconds to be steady.
#[test]
fn three_daemons_exclude_each_other_and_a_dead_one_s_lock_goes_to_who_waits() {
    let cluster = Cluster::start(3, "");

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

    // Who knocks and is no node is not answered, and is counted.
    let address = nodes[0]["address"].as_str().expect("an address");
    let mut stranger = TcpStream::connect(address).expect("it listens");
    assert_eq!(stranger.read(&mut [0]).expect("it closes"), 0);
    let status = cluster.host(1).run_well(&["status", "--json"]).out;
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["counters"]["o2net.strangers"], 1, "{status}");
    assert_eq!(status["counters"]["o2net.bad_frames"], 0, "{status}");

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

#[test]
fn a_cancel_that_is_repeated_has_no_outcome_of_its_own() {
    let cluster = Cluster::start(2, "");
    let _holder = cluster.host(1).hold(&[&["name"], &STAY[..]].concat());
    let mut waiter = Client::connect(&cluster.host(2).socket(), "waiter").expect("a daemon");
    let handle = waiter.lock(&LockRequest::new(b"name", Mode::EX)).expect("sent");
    cluster.host(2).await_queue("waiting", 1);
    let ask = |waiter: &mut Client| {
        let status = waiter.control(&ControlRequest::Status {}).expect("sent");
        status.read_all::<Value>().expect("answered");
    };
    // The other one has the lock, and cannot answer.
    cluster.signal(1, Signal::STOP);
    for _ in 0..3 {
        waiter.cancel(handle).expect("sent");
    }
    ask(&mut waiter);
    cluster.signal(1, Signal::CONT);
    let deadline = Some(Instant::now() + Duration::from_secs(20));
    let outcome = waiter.next_event(deadline).expect("the daemon is there");
    let text = String::new();
    assert_eq!(outcome, Some(Event::Unlocked { handle, result: Err(Errno::ECANCEL), text }));
    // Whatever else came would be sent before the answer to a request.
    ask(&mut waiter);
    assert_eq!(waiter.next_event(Some(Instant::now())).expect("the daemon is there"), None);
}
