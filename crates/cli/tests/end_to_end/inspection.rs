//! `stackglue locks`, `status` and `stack`.

use crate::host::{Host, Running, STAY};

#[test]
fn every_lock_is_listed_with_its_owner_and_whom_it_waits_for() {
    let host = Host::new();
    let holder = host.hold(&[&["-g", "grp", "--purpose", "a nap", "a\\b\n"], &STAY[..]].concat());
    let waiter = Running::start(host.command(&["lock", "-s", "-g", "grp", "a\\b\n", "true"]));
    host.await_queue("waiting", 1);
    let locks = host.locks();
    let of = |running: &Running| {
        let pid = running.pid().as_raw_nonzero().get();
        locks.iter().find(|lock| lock["pid"] == pid).expect("its lock")
    };
    let (held, waiting) = (of(&holder), of(&waiter));
    for (field, value) in [
        ("group", "grp"),
        ("name", "a\\\\b\\x0a"),
        ("mode", "EX"),
        ("queue", "granted"),
        ("command", "sh -c echo held; exec sleep 600"),
        ("purpose", "a nap"),
    ] {
        assert_eq!(held[field], value, "{field}");
    }
    assert!(held["requested"].is_null() && waiting["mode"].is_null());
    assert_eq!((&waiting["requested"], &waiting["command"]), (&"PR".into(), &"true".into()));
    assert_eq!((&held["node"], &held["orphan"]), (&1.into(), &false.into()));
    assert!(held["age_ms"].as_u64() >= waiting["age_ms"].as_u64());
    assert!(waiting["wait_ms"].is_u64() && held["token"].as_u64() > Some(0));
    let blockers = waiting["waits_for"].as_array().expect("an array");
    assert_eq!(blockers.len(), 1);
    assert_eq!(blockers[0]["pid"], held["pid"]);
    assert_eq!(blockers[0]["purpose"], "a nap");

    let table = host.run_well(&["locks"]).out;
    let mut lines = table.lines();
    let heading: Vec<_> = lines.next().expect("a heading").split_whitespace().collect();
    assert_eq!(heading[..6], ["GROUP", "NAME", "MODE", "QUEUE", "NODE", "MASTER"]);
    let blocker = format!("{} (EX)", holder.pid());
    assert_eq!(lines.filter(|line| line.ends_with(&blocker)).count(), 1, "{table}");
}

#[test]
fn a_listing_can_be_of_one_group_or_one_name() {
    let host = Host::new();
    let _one = host.hold(&[&["one"], &STAY[..]].concat());
    let _other = host.hold(&[&["-g", "grp", "two"], &STAY[..]].concat());
    for (arguments, count) in [
        (&["locks", "--json"][..], 2),
        (&["locks", "--json", "-g", "grp"], 1),
        (&["locks", "--json", "one"], 1),
        (&["locks", "--json", "-g", "grp", "one"], 0),
        (&["locks", "--json", "-g", "none"], 0),
    ] {
        assert_eq!(host.run_well(arguments).out.lines().count(), count, "{arguments:?}");
    }
}

#[test]
fn looking_starts_no_daemon() {
    let host = Host::new();
    let ran = host.run_well(&["locks"]);
    assert_eq!((ran.out.lines().count(), ran.err.lines().count()), (1, 1), "{ran:?}");
    assert_eq!(host.run_well(&["locks", "--json"]).out, "");
    host.run(&["status"]).expect_sentence(3, &["no daemon", "socket"]);
    assert!(host.run_well(&["revoke", "demo"]).out.contains("nobody holds demo"));
    assert!(host.daemon().is_none());
}

#[test]
fn status_shows_the_daemon_and_its_groups() {
    let host = Host::new();
    let _holder = host.hold(&[&["-g", "grp", "demo"], &STAY[..]].concat());
    let shown = host.run_well(&["status"]).out;
    let pid = host.daemon().expect("it runs");
    assert!(shown.contains(&format!("process {pid},")), "{shown}");
    assert!(shown.contains("solo (plugin user), node 1"), "{shown}");
    assert!(shown.contains(&host.socket().display().to_string()), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("grp ")), "{shown}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let host = Host::new();
    host.run_well(&["lock", "demo", "true"]);
    let ran = Running::start(host.shell(r#""$0" status > /dev/full"#)).end();
    ran.expect_sentence(71, &["standard output"]);
    let ran =
        Running::start(host.shell(r#"{ sleep 0.1; "$0" status; echo $? > s; } | true"#)).end();
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
}

#[test]
fn the_stack_is_shown_and_not_changed_while_it_is_used() {
    let host = Host::new();
    assert_eq!(host.run_well(&["stack"]).out, "solo\n");
    for label in ["", "sol", "solos"] {
        let ran = host.run(&["stack", label]);
        assert_eq!((ran.status, ran.err.lines().count()), (64, 1), "{label:?}: {ran:?}");
    }
    let _holder = host.hold(&[&["demo"], &STAY[..]].concat());
    host.run(&["stack", "o2cb"]).expect_sentence(1, &["solo"]);
    assert_eq!(host.run_well(&["stack"]).out, "solo\n");
}
