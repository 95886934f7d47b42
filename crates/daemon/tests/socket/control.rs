//! Status, listings, revocation, values and the stack, through the socket.

use std::time::Instant;

use dlm::{Errno, LockFlags, Mode};
use stackglue_daemon::control::{Bytes, Name, RevokeItem, RevokeStep, StackItem, ValueItem};
use stackglue_daemon::{Client, ClientError, ControlRequest, Event, LockRequest};

use crate::support::{
    Daemon, counter, event, expect_locked, lock, lock_with, locks, no_event, one, refused, request,
    status, unlock,
};

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a name")
}

fn refusal(client: &mut Client, request: &ControlRequest) -> (i32, String) {
    match client.control(request).expect("sent").last() {
        Some(Err(ClientError::Refused { errno, text })) => (errno, text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_listing_names_who_waits_for_whom() {
    let daemon = Daemon::start();
    let (mut a, mut b, mut c) = (daemon.client("a"), daemon.client("b"), daemon.client("c"));
    let purpose = LockRequest { purpose: "first", ..LockRequest::new(b"n", Mode::PR) };
    a.lock(&purpose).expect("sent");
    event(&mut a);
    b.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    no_event(&mut b);
    let (free, token) = lock(&mut c, "free", Mode::EX);
    let mut listed = locks(&mut c);
    listed.sort_by_key(|lock| (lock.name.clone(), lock.queue.clone()));
    let [alone, holds, waits] = &listed[..] else { panic!("{listed:?}") };

    assert_eq!((alone.name.to_string().as_str(), alone.token), ("free", token));
    assert_eq!((holds.mode.as_deref(), holds.requested.as_deref()), (Some("PR"), None));
    assert_eq!((holds.queue.as_str(), holds.command.as_str()), ("granted", "a"));
    assert_eq!((holds.purpose.as_str(), holds.group.as_str()), ("first", "default"));
    assert_eq!((holds.pid, holds.node, holds.orphan), (Some(std::process::id()), 1, false));
    assert_eq!(holds.waits_for, []);

    assert_eq!((waits.mode.as_deref(), waits.requested.as_deref()), (None, Some("EX")));
    assert_eq!((waits.queue.as_str(), waits.command.as_str()), ("waiting", "b"));
    assert_eq!(waits.token, 0);
    let [blocker] = &waits.waits_for[..] else { panic!("{waits:?}") };
    assert_eq!((blocker.id, blocker.command.as_str()), (holds.id, "a"));
    assert_eq!((blocker.mode.as_str(), blocker.purpose.as_str()), ("PR", "first"));
    unlock(&mut c, free);
}

#[test]
fn a_listing_can_be_of_one_group_and_one_name() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    for (group, lock_name) in [("", "n"), ("", "m"), ("g", "n")] {
        let request = LockRequest { group, ..LockRequest::new(lock_name.as_bytes(), Mode::EX) };
        client.lock(&request).expect("sent");
        event(&mut client);
    }
    let count = |client: &mut Client, group: Option<&str>, wanted: Option<&str>| {
        let request =
            ControlRequest::Locks { group: group.map(str::to_owned), name: wanted.map(name) };
        client.control(&request).expect("sent").count()
    };
    assert_eq!(count(&mut client, None, None), 3);
    assert_eq!(count(&mut client, Some(""), None), 2);
    assert_eq!(count(&mut client, Some("g"), Some("n")), 1);
    assert_eq!(count(&mut client, None, Some("n")), 2);
    assert_eq!(count(&mut client, Some("nowhere"), None), 0);
}

#[test]
fn a_listing_longer_than_what_a_client_may_have_unread_arrives_whole() {
    let daemon = Daemon::start_with(|config| config.limits.output_bytes_max = 256 * 1024);
    let mut client = daemon.client(&"c".repeat(500));
    for number in 0..3000 {
        lock(&mut client, &format!("n{number}"), Mode::EX);
    }
    let mut names: Vec<Name> = locks(&mut client).into_iter().map(|lock| lock.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3000);
}

#[test]
fn events_that_come_during_an_answer_are_kept() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    let (held, _) = lock(&mut a, "n", Mode::EX);
    b.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    no_event(&mut b);
    status(&mut a);
    let event = a.next_event(Some(Instant::now())).expect("the daemon is there");
    assert_eq!(event, Some(Event::Blocking { handle: held, level: Mode::EX }));
}

#[test]
fn an_answer_that_is_dropped_early_leaves_nothing_behind() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    for number in 0..100 {
        lock(&mut client, &format!("n{number}"), Mode::EX);
    }
    let request = ControlRequest::Locks { group: None, name: None };
    assert!(client.control(&request).expect("sent").next().is_some_and(|item| item.is_ok()));
    assert_eq!(status(&mut client).locks, 100);
    let (handle, _) = lock(&mut client, "more", Mode::EX);
    unlock(&mut client, handle);
}

#[test]
fn status_counts_what_there_is_and_what_was() {
    let daemon = Daemon::start();
    let (mut a, b) = (daemon.client("a"), daemon.client("b"));
    lock(&mut a, "n", Mode::EX);
    refused(&mut a, "n", Mode::EX, LockFlags::NOQUEUE);
    let status = status(&mut a);
    assert_eq!((status.clients, status.locks, status.orphans), (2, 1, 0));
    assert_eq!((status.stack.as_str(), status.plugin.as_str(), status.node), ("solo", "user", 1));
    assert_eq!((status.pid, status.epoch), (std::process::id(), daemon.epoch()));
    assert_eq!(status.socket, daemon.socket().display().to_string());
    assert_eq!(status.groups.len(), 1);
    assert_eq!((status.groups[0].name.as_str(), status.groups[0].locks), ("default", 1));
    assert_eq!((status.counters["granted"], status.counters["refused"]), (1, 1));
    drop(b);
}

#[test]
fn the_largest_items_fit_a_frame() {
    let daemon = Daemon::start();
    let mut clients: Vec<Client> = (0..12).map(|_| daemon.client(&"\"".repeat(1024))).collect();
    let purpose = "\\".repeat(255);
    for (number, client) in clients.iter_mut().enumerate() {
        let mode = if number < 10 { Mode::PR } else { Mode::EX };
        client
            .lock(&LockRequest { purpose: &purpose, ..LockRequest::new(b"n", mode) })
            .expect("sent");
        status(client);
    }
    let listed = locks(&mut clients[0]);
    assert_eq!(listed.len(), 12);
    assert!(listed.iter().any(|lock| lock.waits_for.len() == 8));
    for number in 0..256 {
        let group = format!("{}{number:03}", "\"".repeat(61));
        let request = LockRequest { group: &group, ..LockRequest::new(b"n", Mode::EX) };
        clients[11].lock(&request).expect("sent");
    }
    assert_eq!(status(&mut clients[11]).groups.len(), 256);
}

fn revoke(lock_name: &str, force: bool, grace_ms: u32) -> ControlRequest {
    ControlRequest::Revoke {
        group: String::new(),
        name: name(lock_name),
        force,
        grace_ms,
        reason: "maintenance".into(),
    }
}

fn steps(items: &[RevokeItem]) -> Vec<RevokeStep> {
    items.iter().map(|item| item.step).collect()
}

#[test]
fn a_revoked_holder_is_asked_and_its_release_ends_the_revocation() {
    let daemon = Daemon::start();
    let (mut holder, mut operator) = (daemon.client("holder"), daemon.client("operator"));
    let (handle, _) = lock(&mut holder, "n", Mode::EX);
    let asking = std::thread::spawn(move || {
        let answer = operator.control(&revoke("n", false, 60_000)).expect("sent");
        answer.read_all::<RevokeItem>()
    });
    let reason = "maintenance".to_owned();
    assert_eq!(event(&mut holder), Event::Revoked { handle, grace_ms: 60_000, reason });
    unlock(&mut holder, handle);
    let items = asking.join().expect("no panic").expect("released");
    assert_eq!(steps(&items), [RevokeStep::Asked, RevokeStep::Released]);
    assert_eq!((items[0].command.as_str(), items[0].mode.as_str()), ("holder", "EX"));
}

#[test]
fn a_holder_that_does_not_let_go_is_named_when_the_grace_time_is_over_and_keeps_its_lock() {
    let daemon = Daemon::start();
    let (mut holder, mut operator) = (daemon.client("holder"), daemon.client("operator"));
    lock(&mut holder, "n", Mode::PR);
    let (errno, text) = refusal(&mut operator, &revoke("n", false, 20));
    assert_eq!(errno, Errno::EBUSY.number());
    let expected = format!("\"n\" is still held by pid {} (holder) in PR", std::process::id());
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(refused(&mut operator, "n", Mode::EX, LockFlags::NOQUEUE).0, Errno::EAGAIN);
}

#[test]
fn by_force_a_lock_is_taken_its_process_told_and_the_next_granted() {
    let daemon = Daemon::start();
    let (mut holder, mut next) = (daemon.client("holder"), daemon.client("next"));
    let (handle, _) = lock_with(&mut holder, "n", Mode::EX, LockFlags::PERSISTENT);
    let wanted = next.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    let mut operator = daemon.client("operator");
    let answer = operator.control(&revoke("n", true, 0)).expect("sent");
    let items: Vec<RevokeItem> = answer.read_all().expect("taken");
    assert_eq!(steps(&items), [RevokeStep::Asked, RevokeStep::Taken]);
    expect_locked(&mut next, wanted, Mode::EX);
    assert!(matches!(event(&mut holder), Event::Blocking { .. }));
    assert!(matches!(event(&mut holder), Event::Revoked { .. }));
    match event(&mut holder) {
        Event::Lost { handle: lost, reason } => {
            assert_eq!(lost, handle);
            assert_eq!(reason, "it was revoked by force: maintenance");
        }
        other => panic!("{other:?}"),
    }
    // Its connection is as good as before.
    let (again, _) = lock(&mut holder, "m", Mode::EX);
    unlock(&mut holder, again);
    assert_eq!(status(&mut operator).orphans, 0);
}

#[test]
fn an_orphan_is_dropped_at_once() {
    let daemon = Daemon::start();
    let mut a = daemon.client("a");
    lock_with(&mut a, "n", Mode::EX, LockFlags::PERSISTENT);
    drop(a);
    daemon.wait_for(|status| status.orphans == 1);
    let mut operator = daemon.client("operator");
    let answer = operator.control(&revoke("n", false, 60_000)).expect("sent");
    let items: Vec<RevokeItem> = answer.read_all().expect("dropped");
    assert_eq!(steps(&items), [RevokeStep::Purged]);
    lock(&mut operator, "n", Mode::EX);
}

#[test]
fn revoking_what_nobody_holds_is_enoent() {
    let daemon = Daemon::start();
    let mut operator = daemon.client("operator");
    assert_eq!(refusal(&mut operator, &revoke("n", true, 0)).0, Errno::ENOENT.number());
    let (handle, _) = lock(&mut operator, "n", Mode::NL);
    assert_eq!(refusal(&mut operator, &revoke("n", true, 0)).0, Errno::ENOENT.number());
    unlock(&mut operator, handle);
}

#[test]
fn a_revocation_ends_with_the_one_who_asked() {
    let daemon = Daemon::start();
    let (mut holder, mut operator) = (daemon.client("holder"), daemon.client("operator"));
    lock(&mut holder, "n", Mode::EX);
    operator.control(&revoke("n", true, 3_600_000)).expect("sent");
    assert!(matches!(event(&mut holder), Event::Revoked { .. }));
    drop(operator);
    daemon.wait_for(|status| status.clients == 2);
    no_event(&mut holder);
    assert_eq!(counter(&mut holder, "revokes"), 1);
    assert_eq!(counter(&mut holder, "taken"), 0);
}

fn set(lock_name: &str, value: &[u8]) -> ControlRequest {
    let value = Bytes(value.to_vec());
    ControlRequest::SetValue { group: String::new(), name: name(lock_name), value }
}

fn get(client: &mut Client, lock_name: &str) -> (Vec<u8>, bool) {
    let request = ControlRequest::Value { group: String::new(), name: name(lock_name) };
    let item: ValueItem = one(client, &request);
    let mut value = item.value.0;
    assert_eq!(value.len(), 64);
    value.truncate(value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    (value, item.valid)
}

fn done(client: &mut Client, request: &ControlRequest) {
    assert_eq!(client.control(request).expect("sent").count(), 0);
}

fn clear(lock_name: &str) -> ControlRequest {
    ControlRequest::ClearValue { group: String::new(), name: name(lock_name) }
}

#[test]
fn a_value_outlives_who_wrote_it_as_a_listed_orphan_until_it_is_cleared() {
    let daemon = Daemon::start();
    let mut writer = daemon.client("writer");
    done(&mut writer, &set("n", b"one"));
    done(&mut writer, &set("n", b"two"));
    drop(writer);
    let mut reader = daemon.client("reader");
    assert_eq!(get(&mut reader, "n"), (b"two".to_vec(), true));
    let listed = locks(&mut reader);
    let [keeper] = &listed[..] else { panic!("{listed:?}") };
    assert!(keeper.orphan);
    assert_eq!((keeper.mode.as_deref(), keeper.purpose.as_str()), (Some("NL"), "keeps the value"));
    assert_eq!((status(&mut reader).orphans, status(&mut reader).locks), (1, 0));
    done(&mut reader, &clear("n"));
    assert_eq!(status(&mut reader).orphans, 0);
    assert_eq!(get(&mut reader, "n").0, b"");
    assert_eq!(refusal(&mut reader, &clear("n")).0, Errno::ENOENT.number());
}

#[test]
fn reading_a_value_never_waits() {
    let daemon = Daemon::start();
    let (mut holder, mut reader) = (daemon.client("holder"), daemon.client("reader"));
    lock(&mut holder, "n", Mode::EX);
    let request = ControlRequest::Value { group: String::new(), name: name("n") };
    let (errno, text) = refusal(&mut reader, &request);
    assert_eq!(errno, Errno::EAGAIN.number());
    assert!(text.contains("held: EX by pid"), "{text}");
    assert_eq!(status(&mut reader).locks, 1);
}

#[test]
fn writing_a_value_waits_for_the_holder_and_writers_go_one_after_the_other() {
    let daemon = Daemon::start();
    let mut holder = daemon.client("holder");
    let (handle, _) = lock(&mut holder, "n", Mode::EX);
    let writers: Vec<_> = (0..4u8)
        .map(|number| {
            let mut writer = daemon.client("writer");
            std::thread::spawn(move || done(&mut writer, &set("n", &[number + 1])))
        })
        .collect();
    assert!(matches!(event(&mut holder), Event::Blocking { level: Mode::EX, .. }));
    unlock(&mut holder, handle);
    for writer in writers {
        writer.join().expect("written");
    }
    let (value, valid) = get(&mut holder, "n");
    assert!(valid && (1..=4).contains(&value[0]), "{value:?}");
    assert_eq!(status(&mut holder).orphans, 1, "one keeper");
}

#[test]
fn a_writer_that_hangs_up_while_it_waits_writes_nothing_and_keeps_the_old_value() {
    let daemon = Daemon::start();
    let (mut holder, mut writer) = (daemon.client("holder"), daemon.client("writer"));
    done(&mut holder, &set("n", b"old"));
    let (handle, _) = lock(&mut holder, "n", Mode::EX);
    writer.control(&set("n", b"new")).expect("sent");
    assert!(matches!(event(&mut holder), Event::Blocking { .. }));
    drop(writer);
    daemon.wait_for(|status| status.clients == 2 && status.locks == 1 && status.orphans == 1);
    unlock(&mut holder, handle);
    assert_eq!(get(&mut holder, "n"), (b"old".to_vec(), true));
}

#[test]
fn a_value_of_65_bytes_is_e2big() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    assert_eq!(refusal(&mut client, &set("n", &[1; 65])).0, Errno::E2BIG.number());
    done(&mut client, &set("n", &[1; 64]));
    assert_eq!(get(&mut client, "n"), (vec![1; 64], true));
}

#[test]
fn the_stack_cannot_change_while_a_lock_is_held_nor_to_one_that_cannot_be_used() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let stack = |client: &mut Client| one::<StackItem>(client, &ControlRequest::Stack {}).label;
    let to = |label: &str| ControlRequest::SetStack { label: label.into() };
    assert_eq!(stack(&mut client), "solo");
    let (handle, _) = lock(&mut client, "n", Mode::EX);
    assert_eq!(refusal(&mut client, &to("pcmk")).0, Errno::EBUSY.number());
    assert_eq!(refusal(&mut client, &to("toolong")).0, Errno::EINVAL.number());
    unlock(&mut client, handle);
    // The group is connected for a while after its last lock: that is not in the way.
    assert_eq!(refusal(&mut client, &to("o2cb")).0, Errno::ENOENT.number());
    assert_eq!(stack(&mut client), "solo");
    let item: StackItem = one(&mut client, &to("solo"));
    assert_eq!(item.label, "solo");
    client.lock(&request("n", Mode::EX, LockFlags::empty())).expect("sent");
    assert!(matches!(event(&mut client), Event::Locked { .. }));
}
