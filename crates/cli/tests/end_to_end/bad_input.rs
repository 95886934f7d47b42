//! What cannot be: one sentence, a documented status, and nothing held is lost.

use std::fs;
use std::os::unix::net::UnixListener;

use crate::host::{Host, Ran, STAY};

#[test]
fn what_cannot_be_typed_is_refused_in_one_sentence_and_the_holder_keeps_its_lock() {
    let host = Host::new();
    let mut holder = host.hold(&[&["demo"], &STAY[..]].concat());
    let (long, long_purpose) = ("x".repeat(65), "x".repeat(256));
    let cases: [(&[&str], &str); 16] = [
        (&["lock", "", "true"], "empty"),
        (&["lock", &long, "true"], "65 bytes"),
        (&["lock", "-m", "XX", "demo", "true"], "NL, CR, CW, PR, PW, EX"),
        (&["lock", "-s", "-x", "demo", "true"], "cannot be used with"),
        (&["lock", "-n", "-w", "1", "demo", "true"], "cannot be used with"),
        (&["lock", "-w", "soon", "demo", "true"], "number of seconds"),
        (&["lock", "-E", "256", "demo", "true"], "256"),
        (&["lock", "-g", "", "demo", "true"], "group name is empty"),
        (&["lock", "-g", &long, "demo", "true"], "65 bytes"),
        (&["lock", "--purpose", &long_purpose, "demo", "true"], "256 bytes"),
        (&["lock", "demo"], "COMMAND"),
        (&["lock"], "NAME"),
        (&["locks", &long], "65 bytes"),
        (&["value", "set", "", "v"], "empty"),
        (&["revoke", "--grace", "-1", "demo"], "--grace"),
        (&["frobnicate"], "frobnicate"),
    ];
    for (arguments, word) in cases {
        host.run(arguments).expect_sentence(64, &[word]);
    }
    assert!(!holder.has_ended());
    assert_eq!(host.locks().len(), 1);
}

#[test]
fn without_a_daemon_that_may_be_started_there_is_no_lock() {
    let host = Host::new();
    let mut command = host.command(&["lock", "demo", "echo", "never"]);
    let output = command.env("STACKGLUE_NO_AUTOSTART", "1").output().expect("it runs");
    let ran = Ran::from(output);
    ran.expect_sentence(69, &["socket"]);
    assert_eq!(ran.out, "");
}

#[test]
fn a_socket_that_a_daemon_left_behind_is_replaced() {
    let host = Host::new();
    drop(UnixListener::bind(host.socket()).expect("a socket"));
    host.run_well(&["lock", "demo", "true"]);
}

#[test]
fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let host = Host::new();
    fs::write(host.socket(), "precious").expect("written");
    let ran = host.run(&["lock", "demo", "true"]);
    ran.expect_sentence(69, &["no socket"]);
    assert_eq!(fs::read_to_string(host.socket()).expect("still there"), "precious");
}

#[test]
fn a_token_store_that_cannot_be_written_starts_no_daemon_and_says_why() {
    let host = Host::new();
    fs::write(host.path("state"), "not a directory").expect("written");
    let ran = host.run(&["lock", "demo", "true"]);
    ran.expect_sentence(69, &["state"]);
}
