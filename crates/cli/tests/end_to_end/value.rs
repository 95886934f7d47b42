//! `stackglue value`.

use rustix::process::Signal;

use crate::host::{Host, STAY};

#[test]
fn a_value_is_kept_until_it_is_cleared() {
    let host = Host::new();
    host.run(&["value", "get", "demo"]).expect_sentence(1, &["demo", "no value"]);
    host.run_well(&["value", "set", "demo", "first"]);
    host.run_well(&["value", "set", "demo", "second"]);
    assert_eq!(host.run_well(&["value", "get", "demo"]).out, "second\n");
    host.run(&["value", "get", "-g", "grp", "demo"]).expect_sentence(1, &["no value"]);
    host.run_well(&["value", "clear", "demo"]);
    assert_eq!(host.run(&["value", "get", "demo"]).status, 1);
    assert_eq!(host.run(&["value", "clear", "demo"]).status, 1);
}

#[test]
fn a_value_has_64_bytes_at_most() {
    let host = Host::new();
    let longest = "v".repeat(64);
    host.run_well(&["value", "set", "demo", &longest]);
    host.run(&["value", "set", "demo", &format!("{longest}v")]).expect_sentence(64, &["65 bytes"]);
    assert_eq!(host.run_well(&["value", "get", "demo"]).out, format!("{longest}\n"));
}

#[test]
fn a_value_whose_possible_writer_was_lost_is_printed_and_not_trusted() {
    let host = Host::new();
    host.run_well(&["value", "set", "demo", "stale"]);
    let holder = host.hold(&[&["demo"], &STAY[..]].concat());
    holder.signal(Signal::KILL);
    drop(holder);
    crate::host::eventually("a value that is not valid", || {
        let ran = host.run(&["value", "get", "demo"]);
        ran.status == 2 && ran.out == "stale\n" && ran.err.contains("not valid")
    });
    host.run_well(&["value", "set", "demo", "fresh"]);
    assert_eq!(host.run_well(&["value", "get", "demo"]).out, "fresh\n");
}

#[test]
fn a_value_that_somebody_may_be_writing_is_not_read() {
    let host = Host::new();
    host.run_well(&["value", "set", "demo", "old"]);
    let holder = host.hold(&[&["demo"], &STAY[..]].concat());
    let pid = holder.pid().to_string();
    host.run(&["value", "get", "demo"]).expect_sentence(1, &["demo", &pid]);
}

#[test]
fn a_lock_that_is_given_back_leaves_the_value_alone() {
    let host = Host::new();
    host.run_well(&["value", "set", "demo", "kept"]);
    host.run_well(&["lock", "demo", "true"]);
    assert_eq!(host.run_well(&["value", "get", "demo"]).out, "kept\n");
}
