//! Running commands under locks.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::host::{Host, Running, STAY};

#[test]
fn a_command_runs_under_a_lock_without_any_set_up() {
    let host = Host::new();
    let ran = host.run_well(&["lock", "demo", "--", "echo", "held"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("held\n", ""));
}

#[test]
fn the_exit_status_is_the_command_s_or_128_and_the_signal() {
    let host = Host::new();
    for (script, status) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137)]
    {
        let ran = host.run(&["lock", "demo", "--", "sh", "-c", script]);
        assert_eq!((ran.status, ran.err.as_str()), (status, ""), "{script}");
    }
    host.await_no_lock();
}

#[test]
fn a_command_that_is_not_there_or_cannot_be_run_is_named_and_the_lock_is_given_back() {
    let host = Host::new();
    let ran = host.run(&["lock", "demo", "--", "no-such-command"]);
    ran.expect_sentence(127, &["no-such-command", "not found"]);
    let ran = host.run(&["lock", "demo", "--", "/"]);
    ran.expect_sentence(126, &["/: cannot be run"]);
    host.run_well(&["lock", "-n", "demo", "--", "true"]);
}

#[test]
fn the_command_sees_its_lock_in_the_environment() {
    let host = Host::new();
    let name = OsString::from_vec(b"n\xff\n".to_vec());
    let arguments = ["lock", "-g", "grp", "-s", "--on-loss", "notify"].map(OsStr::new);
    let mut command = host.command(&arguments);
    command.arg(&name).args(["--", "env", "-0"]);
    let output = command.output().expect("it runs");
    let variables: BTreeMap<&[u8], &[u8]> = output
        .stdout
        .split(|&byte| byte == 0)
        .filter_map(|line| {
            let equals = line.iter().position(|&byte| byte == b'=')?;
            Some((&line[..equals], &line[equals + 1..]))
        })
        .collect();
    let variable = |name: &str| variables.get(name.as_bytes()).copied().unwrap_or_default();
    assert_eq!(variable("STACKGLUE_NAME"), name.as_bytes());
    assert_eq!(variable("STACKGLUE_GROUP"), b"grp");
    assert_eq!(variable("STACKGLUE_MODE"), b"PR");
    assert_eq!(variable("STACKGLUE_ON_LOSS"), b"notify");
    let token = str::from_utf8(variable("STACKGLUE_TOKEN")).expect("text");
    assert!(token.parse::<u64>().expect("a number") > 0);
}

#[test]
fn without_waiting_a_held_lock_is_a_conflict_that_names_the_holder() {
    let host = Host::new();
    let holder = host.hold(&[&["--purpose", "a long nap", "demo"], &STAY[..]].concat());
    let pid = holder.pid().to_string();
    for patience in [&["-n"][..], &["-w", "0"]] {
        let ran = host.run(&[&["lock"], patience, &["demo", "true"]].concat());
        ran.expect_sentence(1, &["demo", &pid, "sleep 600", "a long nap"]);
    }
    let ran = host.run(&["lock", "-n", "-E", "42", "demo", "true"]);
    assert_eq!(ran.status, 42, "{ran:?}");
    let ran = host.run(&["lock", "-nq", "demo", "true"]);
    assert_eq!((ran.status, ran.err.as_str()), (1, ""));
    host.run_well(&["lock", "-n", "other", "true"]);
    host.run_well(&["lock", "-n", "-g", "elsewhere", "demo", "true"]);
}

#[test]
fn a_wait_that_ends_in_time_is_a_conflict_and_leaves_no_request_behind() {
    let host = Host::new();
    let holder = host.hold(&[&["demo"], &STAY[..]].concat());
    let start = Instant::now();
    let ran = host.run(&["lock", "-w", "0.4", "-E", "9", "demo", "echo", "never"]);
    assert!(start.elapsed() >= Duration::from_millis(400));
    ran.expect_sentence(9, &["demo", "0.4 s", &holder.pid().to_string(), "sleep 600"]);
    assert_eq!(ran.out, "");
    assert_eq!(host.locks().len(), 1);
}

#[test]
fn a_waiter_is_granted_when_the_holder_ends() {
    let host = Host::new();
    let holder = host.hold(&[&["demo"], &STAY[..]].concat());
    let waiter = Running::start(host.command(&["lock", "-w", "50", "demo", "echo", "mine"]));
    host.await_queue("waiting", 1);
    holder.signal(Signal::TERM);
    let ran = waiter.end();
    assert_eq!((ran.status, ran.out.as_str()), (0, "mine\n"), "{ran:?}");
}

#[test]
fn shared_locks_are_held_together_and_exclude_the_exclusive_one() {
    let host = Host::new();
    let _reader = host.hold(&[&["-s", "demo"], &STAY[..]].concat());
    let _another = host.hold(&[&["-n", "-m", "CR", "demo"], &STAY[..]].concat());
    host.run_well(&["lock", "-n", "-s", "demo", "true"]);
    assert_eq!(host.run(&["lock", "-n", "-x", "demo", "true"]).status, 1);
    assert_eq!(host.run(&["lock", "-n", "-m", "CW", "demo", "true"]).status, 1);
}

#[test]
fn what_a_command_leaves_in_the_background_does_not_keep_the_lock() {
    let host = Host::new();
    let script = "sleep 600 > background.out 2>&1 & echo $! > background";
    host.run_well(&["lock", "demo", "--", "sh", "-c", script]);
    host.run_well(&["lock", "-n", "demo", "true"]);
    host.kill_daemon();
    host.run_well(&["lock", "-w", "20", "demo", "true"]);
    let pid = std::fs::read_to_string(host.path("background")).expect("written");
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().expect("a number"));
    kill_process(pid.expect("a pid"), Signal::KILL).expect("it still runs");
}

#[test]
fn options_end_at_the_command_and_a_shell_line_may_take_its_place() {
    let host = Host::new();
    let ran = host.run_well(&["lock", "demo", "-x", "--", "echo", "-n", "--", "x"]);
    assert_eq!(ran.out, "-- x");
    let ran = host.run_well(&["lock", "demo", "echo", "-x", "--", "y"]);
    assert_eq!(ran.out, "-x -- y\n");
    let ran = host.run_well(&["lock", "demo", "-c", "echo $STACKGLUE_NAME; true"]);
    assert_eq!(ran.out, "demo\n");
}

#[test]
fn tokens_of_a_name_grow_with_every_grant_and_across_restarts_of_the_daemon() {
    let host = Host::new();
    let mut last = 0;
    for round in 0..6 {
        if round % 2 == 0 && round > 0 {
            host.kill_daemon();
        }
        let ran = host.run_well(&["lock", "demo", "-c", "echo $STACKGLUE_TOKEN"]);
        let token: u64 = ran.out.trim().parse().expect("a number");
        assert!(token > last, "{token} after {last}");
        last = token;
    }
}

#[test]
fn a_second_command_uses_the_daemon_that_the_first_one_started() {
    let host = Host::new();
    let commands: Vec<_> = (0..8)
        .map(|n| Running::start(host.command(&["lock", &format!("name{n}"), "echo", "held"])))
        .collect();
    for command in commands {
        let ran = command.end();
        assert_eq!((ran.status, ran.out.as_str()), (0, "held\n"), "{ran:?}");
    }
    let first = host.daemon().expect("it runs");
    host.run_well(&["lock", "demo", "true"]);
    assert_eq!(host.daemon(), Some(first));
}
