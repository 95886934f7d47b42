//! The lock is lost, or its holder is killed, while the command runs.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, Running, STAY, eventually, runs};

/// Says `held` and its process id, writes `told` when it gets a signal, and goes on until the file
/// `stop` is there; then it writes `old` to `order`.
fn keeps_on(signal: &str) -> String {
    format!(
        "trap 'echo told' {signal}; echo held; echo $$; \
         while [ ! -e stop ]; do sleep 0.02; done; echo old >> order"
    )
}

#[test]
fn a_lost_daemon_ends_the_command_and_what_it_started() {
    let host = Host::new();
    let script = "echo held; echo $$; sleep 600 & echo $!; wait";
    let mut holder = host.hold(&["demo", "--", "sh", "-c", script]);
    let (command, background) = (holder.pid_line(), holder.pid_line());
    host.kill_daemon();
    let ran = holder.end();
    ran.expect_sentence(75, &["demo", "was lost", "killed after 10.0 s"]);
    assert!(!runs(command) && !runs(background));
}

#[test]
fn a_command_that_does_not_stop_is_killed_after_the_grace_time() {
    let host = Host::new();
    let holder = host.hold(&["--grace", "0.3", "demo", "--", "sh", "-c", &keeps_on("TERM")]);
    host.kill_daemon();
    let ran = holder.end();
    assert_eq!(ran.status, 75, "{ran:?}");
    assert!(ran.out.contains("told"), "asked before it was killed: {ran:?}");
    assert!(!host.path("order").exists());
}

#[test]
fn a_command_that_is_to_be_notified_is_told_and_goes_on() {
    let host = Host::new();
    let script = format!("{}; exit 3", keeps_on("USR1"));
    let mut holder = host.hold(&["--on-loss", "notify", "demo", "--", "sh", "-c", &script]);
    holder.pid_line();
    host.kill_daemon();
    holder.expect_line("told");
    fs::write(host.path("stop"), "").expect("written");
    let ran = holder.end();
    ran.expect_sentence(3, &["demo", "was lost", "SIGUSR1"]);
}

#[test]
fn a_new_daemon_grants_nothing_before_the_holders_of_the_old_one_have_ended() {
    let host = Host::new();
    let (_holder, command) = hold_without_daemon(&host);
    let next = ["lock", "demo", "--", "sh", "-c", "echo new >> order"];
    let next = Running::start(host.command(&next));
    host.await_queue("waiting", 1);
    std::thread::sleep(Duration::from_millis(200));
    assert!(runs(command) && !host.path("order").exists());
    fs::write(host.path("stop"), "").expect("written");
    let ran = next.end();
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(host.path("order")).expect("written"), "old\nnew\n");
}

/// A holder whose daemon was killed, and whose command goes on until the file `stop` is there.
fn hold_without_daemon(host: &Host) -> (Running, Pid) {
    let mut holder =
        host.hold(&["--on-loss", "notify", "demo", "--", "sh", "-c", &keeps_on("USR1")]);
    let command = holder.pid_line();
    host.kill_daemon();
    holder.expect_line("told");
    (holder, command)
}

#[test]
fn while_the_holders_of_a_dead_daemon_run_nobody_waits_longer_than_he_wants_to() {
    let host = Host::new();
    let (mut holder, command) = hold_without_daemon(&host);
    let since = Instant::now();
    let command = command.to_string();
    let ran = host.run(&["lock", "-n", "demo", "echo", "never"]);
    ran.expect_sentence(1, &["processes of a stackglued that died still run", &command]);
    assert_eq!(ran.out, "");
    let ran = host.run(&["lock", "-w", "0.5", "demo", "echo", "never"]);
    ran.expect_sentence(1, &["within 0.5 s"]);
    assert_eq!(ran.out, "");
    let waits = Running::start(host.command(&["lock", "demo", "echo", "never"]));
    host.await_queue("waiting", 1);
    waits.signal(Signal::INT);
    assert_eq!(waits.end().status, 130);
    host.await_no_lock();
    host.run(&["value", "get", "demo"]).expect_sentence(1, &[&command]);
    assert!(since.elapsed() < Duration::from_secs(9), "no timeout of a start");
    assert!(!holder.has_ended());
}

#[test]
fn status_tells_that_the_holders_of_a_dead_daemon_run() {
    let host = Host::new();
    let (holder, command) = hold_without_daemon(&host);
    host.run(&["lock", "-n", "demo", "true"]);
    let ran = host.run_well(&["status"]);
    let pids = format!("{}, {command}", holder.pid());
    assert!(ran.out.contains("waits for  processes of a stackglued that died"), "{ran:?}");
    assert!(ran.out.contains(&pids), "{pids}: {ran:?}");
    let first = host.daemon();
    host.run(&["lock", "-n", "demo", "true"]);
    assert_eq!(host.daemon(), first, "one daemon is enough");
    fs::write(host.path("stop"), "").expect("written");
    holder.end();
    host.run_well(&["lock", "-w", "50", "demo", "true"]);
    let ran = host.run_well(&["status", "--json"]);
    assert!(!ran.out.contains("earlier_holders"), "{ran:?}");
}

#[test]
fn a_daemon_started_below_a_holder_does_not_wait_for_itself() {
    let host = Host::new();
    // The holder's command starts the next daemon, which inherits what the command inherited.
    let script =
        format!("trap '\"$STACKGLUE\" lock -w 0.1 x true; echo told' USR1; {}", keeps_on("HUP"));
    let mut command =
        host.command(&["lock", "--on-loss", "notify", "demo", "--", "sh", "-c", &script]);
    command.env("STACKGLUE", env!("CARGO_BIN_EXE_stackglue"));
    let mut holder = Running::start(command);
    holder.expect_line("held");
    holder.pid_line();
    host.kill_daemon();
    holder.expect_line("told");
    fs::write(host.path("stop"), "").expect("written");
    assert_eq!(holder.end().status, 0);
    host.run_well(&["lock", "-w", "20", "demo", "true"]);
}

#[test]
fn nobody_has_the_lock_before_the_last_heir_of_a_killed_stackglue_is_gone() {
    let host = Host::new();
    let script = "sleep 600 & echo held; echo $!; wait";
    let mut holder = host.hold(&["demo", "--", "sh", "-c", script]);
    let heir = holder.pid_line();
    holder.signal(Signal::KILL);
    let next = Running::start(host.command(&["lock", "demo", "--", "echo", "mine"]));
    host.await_queue("waiting", 1);
    assert_eq!(host.locks().len(), 2, "the heir still has it");
    kill_process(heir, Signal::KILL).expect("it still runs");
    assert_eq!(next.end().out, "mine\n");
}

#[test]
fn a_command_is_dead_when_the_next_one_runs_whoever_was_killed() {
    let host = Host::new();
    for _ in 0..10 {
        let script = "echo held; echo $$; while :; do :; done";
        let mut holder = host.hold(&["demo", "--", "sh", "-c", script]);
        let command = holder.pid_line();
        // A process gives up its descriptors, and with them the lock, on its way through do_exit
        // (kernel/exit.c): it may still be shown as running then, but with PF_EXITING (4) set and
        // its memory gone, and never runs an instruction of its own again.
        let check = format!(
            "set -- $(cat /proc/{command}/stat 2>&-); \
             case $3 in ''|Z|X) echo dead;; *) [ $(($9 & 4)) != 0 ] && echo dead || echo \"$*\";; esac"
        );
        let next = Running::start(host.command(&["lock", "demo", "-c", &check]));
        host.await_queue("waiting", 1);
        holder.signal(Signal::KILL);
        assert_eq!(next.end().out, "dead\n");
    }
}

#[test]
fn a_revoked_lock_is_given_back_when_its_command_has_stopped() {
    let host = Host::new();
    let holder = host.hold(&[&["demo"], &STAY[..]].concat());
    let pid = holder.pid().to_string();
    let ran = host.run_well(&["revoke", "demo"]);
    assert!(ran.out.contains(&format!("asked process {pid} (")), "{ran:?}");
    assert!(ran.out.contains("gave it back"), "{ran:?}");
    holder.end().expect_sentence(75, &["demo", "is revoked", "stackglue revoke"]);
    host.await_no_lock();
}

#[test]
fn a_holder_that_keeps_a_revoked_lock_is_named_and_loses_it_only_by_force() {
    let host = Host::new();
    let mut holder =
        host.hold(&["--on-loss", "notify", "demo", "--", "sh", "-c", &keeps_on("USR1")]);
    holder.pid_line();
    let pid = holder.pid().to_string();
    let ran = host.run(&["revoke", "demo", "--grace", "0.2"]);
    ran.expect_sentence(1, &["demo", &pid]);
    holder.expect_line("told");
    assert_eq!(host.run(&["lock", "-n", "demo", "true"]).status, 1);

    let ran = host.run_well(&["revoke", "demo", "--grace", "0.2", "--force"]);
    assert!(ran.out.contains(&format!("took it from process {pid}")), "{ran:?}");
    host.run_well(&["lock", "-n", "demo", "true"]);
    holder.expect_line("told");
    fs::write(host.path("stop"), "").expect("written");
    assert_eq!(holder.end().status, 0);
}

#[test]
fn a_command_is_stopped_before_its_lock_is_taken_by_force() {
    let host = Host::new();
    let mut holder = host.hold(&["--grace", "60", "demo", "--", "sh", "-c", &keeps_on("TERM")]);
    let command = holder.pid_line();
    let ran = host.run_well(&["revoke", "demo", "--grace", "4", "--force"]);
    assert!(ran.out.contains("gave it back"), "{ran:?}");
    assert!(!runs(command));
    eventually("its end", || holder.has_ended());
}
