//! The contract of CTDB's cluster mutex helpers.

use std::io::Read;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, Ran, Running, STAY, eventually};

const HELPER: [&str; 3] = ["lock", "--ctdb-helper", "ctdb"];

/// The first byte that a helper says.
fn first_byte(command: &mut Command) -> (char, Child) {
    let mut child = command.spawn().expect("it starts");
    let mut byte = [0];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("a byte");
    (char::from(byte[0]), child)
}

#[test]
fn a_helper_says_0_and_holds_the_lock_until_it_is_terminated() {
    let host = Host::new();
    let (said, mut helper) = first_byte(&mut host.command(&HELPER));
    assert_eq!(said, '0');
    assert_eq!(host.run(&["lock", "-n", "ctdb", "true"]).status, 1);
    kill_process(Pid::from_child(&helper), Signal::TERM).expect("it runs");
    let mut rest = String::new();
    helper.stdout.as_mut().expect("a pipe").read_to_string(&mut rest).expect("text");
    assert!(rest.is_empty() && helper.wait().expect("a child of ours").success());
    assert!(host.locks().is_empty(), "given back before its end");
}

#[test]
fn a_helper_says_1_when_the_lock_is_held_and_2_when_it_waited_in_vain() {
    let host = Host::new();
    let _holder = host.hold(&[&["ctdb"], &STAY[..]].concat());
    let ran = host.run(&HELPER);
    assert_eq!(ran.out, "1", "{ran:?}");
    let ran = host.run(&["lock", "--ctdb-helper", "-w", "0.2", "ctdb"]);
    assert_eq!(ran.out, "2", "{ran:?}");
    assert!(ran.err.contains("sleep 600"), "{ran:?}");
}

#[test]
fn a_helper_says_3_and_why_when_it_cannot_try() {
    let host = Host::new();
    let ran = host.run(&["lock", "--ctdb-helper", &"x".repeat(65)]);
    assert_eq!(ran.out, "3", "{ran:?}");
    assert!(ran.err.contains("65 bytes"), "{ran:?}");
    let mut command = host.command(&HELPER);
    let output = command.env("STACKGLUE_NO_AUTOSTART", "1").output().expect("it runs");
    let ran = Ran::from(output);
    assert_eq!((ran.out.as_str(), ran.err.lines().count()), ("3", 1), "{ran:?}");
}

#[test]
fn a_helper_leaves_when_its_parent_is_gone() {
    let host = Host::new();
    let script = r#"echo held; "$0" lock --ctdb-helper ctdb > said; echo left"#;
    let mut parent = Running::start(host.shell(script));
    parent.expect_line("held");
    host.await_queue("granted", 1);
    parent.signal(Signal::KILL);
    host.await_no_lock();
    assert_eq!(std::fs::read_to_string(host.path("said")).expect("written"), "0");
}

#[test]
fn a_helper_ends_when_its_lock_is_lost() {
    let host = Host::new();
    let (said, mut helper) = first_byte(&mut host.command(&HELPER));
    assert_eq!(said, '0');
    host.kill_daemon();
    eventually("its end", || helper.try_wait().expect("a child of ours").is_some());
    assert!(!helper.wait().expect("a child of ours").success());
}
