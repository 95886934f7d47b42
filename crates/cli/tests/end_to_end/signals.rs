//! Signals sent to the command `stackglue lock`.

use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;

use crate::host::{Host, Running, STAY, eventually, runs};

#[test]
fn a_signal_is_passed_on_and_the_command_decides_what_it_means() {
    let host = Host::new();
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::TERM, "TERM"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        let script = format!("trap 'exit 9' {name}; echo held; while :; do sleep 0.02; done");
        let holder = host.hold(&["demo", "--", "sh", "-c", &script]);
        holder.signal(signal);
        let ran = holder.end();
        assert_eq!((ran.status, ran.err.as_str()), (9, ""), "{name}");
    }
    host.await_no_lock();
}

#[test]
fn a_signal_that_ends_the_command_is_in_the_exit_status() {
    let host = Host::new();
    let holder = host.hold(&[&["demo"], &STAY[..]].concat());
    holder.signal(Signal::INT);
    assert_eq!(holder.end().status, 130);
    host.await_no_lock();
}

#[test]
fn a_signal_ends_the_wait_and_takes_the_request_back() {
    let host = Host::new();
    let _holder = host.hold(&[&["demo"], &STAY[..]].concat());
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::USR1, 138)] {
        let waiter = Running::start(host.command(&["lock", "demo", "echo", "never"]));
        host.await_queue("waiting", 1);
        waiter.signal(signal);
        let ran = waiter.end();
        assert_eq!((ran.status, ran.out.as_str()), (status, ""));
        assert_eq!(host.locks().len(), 1);
    }
}

#[test]
fn signals_that_were_ignored_stay_ignored() {
    let host = Host::new();
    let script = r#"trap '' HUP; exec "$0" lock demo -- sh -c 'kill -HUP $$; echo survived'"#;
    let ran = Running::start(host.shell(script)).end();
    assert_eq!((ran.status, ran.out.as_str()), (0, "survived\n"), "{ran:?}");
}

#[test]
fn a_key_on_the_terminal_reaches_the_command_once() {
    let host = Host::new();
    // `script` makes a terminal whose foreground is the shell's process group.
    let command =
        r#"trap "echo pressed" INT; echo held; while [ ! -e stop ]; do sleep 0.02; done; exit 0"#;
    let line = format!("exec \"$STACKGLUE\" lock demo -- sh -c '{command}'");
    let mut terminal = host.shell("exec script -qec \"$LINE\" /dev/null");
    terminal.env("LINE", line).env("STACKGLUE", env!("CARGO_BIN_EXE_stackglue"));
    let mut child = terminal.stdin(Stdio::piped()).spawn().expect("script runs");
    let mut keys = child.stdin.take().expect("a pipe");
    let screen = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = std::io::BufRead::lines(screen).map(|line| line.expect("text"));
    assert_eq!(lines.next().as_deref().map(str::trim), Some("held"));
    keys.write_all(b"\x03").expect("the terminal reads");
    let seen = lines.next().expect("a line");
    assert!(seen.contains("pressed"), "{seen:?}");
    std::fs::write(host.path("stop"), "").expect("written");
    let rest: Vec<_> = lines.collect();
    assert!(!rest.iter().any(|line| line.contains("pressed")), "{rest:?}");
    assert!(child.wait().expect("a child of ours").success());
}

#[test]
fn a_killed_stackglue_takes_its_command_and_its_lock_along() {
    let host = Host::new();
    let script = ["--", "sh", "-c", "echo held; echo $$; exec sleep 600"];
    let mut holder = host.hold(&[&["demo"], &script[..]].concat());
    let command = holder.pid_line();
    holder.signal(Signal::KILL);
    eventually("the command's end", || !runs(command));
    host.await_no_lock();
}
