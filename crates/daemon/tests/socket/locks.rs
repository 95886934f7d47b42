//! Locks through the socket.

use std::os::fd::AsFd;

use dlm::{Errno, LockFlags, Mode, StatusFlags};
use stackglue_daemon::{Client, ClientError, ControlRequest, Event, LockRequest};

use crate::support::{
    Daemon, event, expect_locked, lock, lock_with, locks, no_event, refused, request, status,
    unlock,
};

#[test]
fn a_lock_is_granted_and_given_back_and_its_token_grows_with_every_grant() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let mut token_last = 0;
    for _ in 0..100 {
        let (handle, token) = lock(&mut client, "n", Mode::EX);
        assert!(token > token_last);
        assert_eq!(token >> 40, u64::from(daemon.epoch()));
        token_last = token;
        unlock(&mut client, handle);
    }
}

#[test]
fn welcome_tells_the_stack_the_node_and_the_epoch() {
    let daemon = Daemon::start();
    let client = daemon.client("a");
    let welcome = client.welcome();
    assert_eq!((welcome.stack.as_str(), welcome.node, welcome.version), ("solo", 1, 1));
    assert_eq!(welcome.epoch, daemon.epoch());
}

#[test]
fn a_waiter_is_granted_when_the_holders_socket_closes() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    let (_, first) = lock(&mut a, "n", Mode::EX);
    let handle = b.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    no_event(&mut b);
    drop(a);
    assert!(expect_locked(&mut b, handle, Mode::EX) > first);
}

#[test]
fn a_lock_lives_until_the_last_copy_of_the_socket_is_closed() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    lock(&mut a, "n", Mode::EX);
    let inherited = a.as_fd().try_clone_to_owned().expect("a copy");
    drop(a);
    for _ in 0..100 {
        assert_eq!(refused(&mut b, "n", Mode::EX, LockFlags::NOQUEUE).0, Errno::EAGAIN);
    }
    let handle = b.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    drop(inherited);
    expect_locked(&mut b, handle, Mode::EX);
}

#[test]
fn a_waiter_that_hangs_up_is_in_nobodys_way() {
    let daemon = Daemon::start();
    let (mut a, mut b, mut c) = (daemon.client("a"), daemon.client("b"), daemon.client("c"));
    let (held, _) = lock(&mut a, "n", Mode::PR);
    b.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    no_event(&mut b);
    let handle = c.lock(&LockRequest::new(b"n", Mode::PR)).expect("sent");
    no_event(&mut c);
    drop(b);
    expect_locked(&mut c, handle, Mode::PR);
    assert_eq!(event(&mut a), Event::Blocking { handle: held, level: Mode::EX });
}

#[test]
fn a_refusal_names_the_holder_its_command_and_its_purpose() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("backup --all"), daemon.client("b"));
    let request = LockRequest { purpose: "nightly run", ..LockRequest::new(b"n", Mode::EX) };
    a.lock(&request).expect("sent");
    event(&mut a);
    let (errno, text) = refused(&mut b, "n", Mode::PR, LockFlags::NOQUEUE);
    assert_eq!(errno, Errno::EAGAIN);
    let pid = std::process::id();
    let expected =
        format!("\"n\" in group default is held: EX by pid {pid} (backup --all: nightly run) for ");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn a_cancel_has_one_outcome_whether_it_wins_or_loses() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    let (held, _) = lock(&mut a, "n", Mode::EX);
    let waiting = b.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    b.cancel(waiting).expect("sent");
    let cancelled =
        Event::Unlocked { handle: waiting, result: Err(Errno::ECANCEL), text: String::new() };
    assert_eq!(event(&mut b), cancelled);
    no_event(&mut b);
    assert_eq!(event(&mut a), Event::Blocking { handle: held, level: Mode::EX });
    unlock(&mut a, held);
    let (granted, _) = lock(&mut b, "n", Mode::EX);
    b.cancel(granted).expect("sent");
    no_event(&mut b);
    assert_eq!(refused(&mut a, "n", Mode::EX, LockFlags::NOQUEUE).0, Errno::EAGAIN);
}

#[test]
fn a_cancelled_conversion_leaves_the_lock_in_its_old_mode() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    lock(&mut a, "n", Mode::PR);
    let (handle, _) = lock(&mut b, "n", Mode::PR);
    b.convert(handle, Mode::EX, LockFlags::empty(), None).expect("sent");
    b.cancel(handle).expect("sent");
    let cancelled = Event::Unlocked { handle, result: Err(Errno::ECANCEL), text: String::new() };
    assert_eq!(event(&mut b), cancelled);
    unlock(&mut b, handle);
}

#[test]
fn a_holder_in_the_way_is_told_once_and_may_convert_down() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    let (held, _) = lock(&mut a, "n", Mode::EX);
    let wanted = b.lock(&LockRequest::new(b"n", Mode::PR)).expect("sent");
    assert_eq!(event(&mut a), Event::Blocking { handle: held, level: Mode::PR });
    no_event(&mut a);
    a.convert(held, Mode::PR, LockFlags::empty(), None).expect("sent");
    expect_locked(&mut a, held, Mode::PR);
    expect_locked(&mut b, wanted, Mode::PR);
}

#[test]
fn a_second_conversion_while_one_waits_is_ebusy_and_the_first_goes_on() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    let (held, _) = lock(&mut a, "n", Mode::PR);
    let (handle, _) = lock(&mut b, "n", Mode::PR);
    b.convert(handle, Mode::EX, LockFlags::empty(), None).expect("sent");
    b.convert(handle, Mode::NL, LockFlags::empty(), None).expect("sent");
    assert!(matches!(event(&mut b), Event::Refused { errno: Errno::EBUSY, .. }));
    assert!(matches!(event(&mut a), Event::Blocking { .. }));
    unlock(&mut a, held);
    expect_locked(&mut b, handle, Mode::EX);
}

#[test]
fn a_value_goes_from_writer_to_reader_and_is_not_valid_once_a_writer_died() {
    let daemon = Daemon::start();
    let (mut a, mut b, mut c) = (daemon.client("a"), daemon.client("b"), daemon.client("c"));
    let (keeper, _) = lock(&mut b, "n", Mode::NL);
    let (writer, _) = lock(&mut a, "n", Mode::EX);
    a.unlock_with_value(writer, b"hello").expect("sent");
    assert!(matches!(event(&mut a), Event::Unlocked { result: Ok(()), .. }));
    b.convert(keeper, Mode::PR, LockFlags::VALBLK, None).expect("sent");
    match event(&mut b) {
        Event::Locked { lvb, flags, .. } => {
            assert_eq!((&lvb[..6], lvb.len()), (&b"hello\0"[..], 64));
            assert!(!flags.contains(StatusFlags::VALNOTVALID));
        }
        other => panic!("{other:?}"),
    }
    b.convert(keeper, Mode::NL, LockFlags::empty(), None).expect("sent");
    expect_locked(&mut b, keeper, Mode::NL);
    lock(&mut c, "n", Mode::EX);
    let wanted = b.convert(keeper, Mode::PR, LockFlags::VALBLK, None);
    wanted.expect("sent");
    drop(c);
    match event(&mut b) {
        Event::Locked { flags, .. } => assert!(flags.contains(StatusFlags::VALNOTVALID)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_persistent_lock_outlives_its_process_is_listed_and_can_be_adopted() {
    let daemon = Daemon::start();
    let mut a = daemon.client("a");
    lock_with(&mut a, "n", Mode::EX, LockFlags::PERSISTENT);
    drop(a);
    daemon.wait_for(|status| status.orphans == 1 && status.locks == 0);
    let mut b = daemon.client("b");
    let (errno, text) = refused(&mut b, "n", Mode::PR, LockFlags::NOQUEUE);
    assert_eq!(errno, Errno::EAGAIN);
    assert!(text.contains("EX by an orphan of pid"), "{text}");
    assert!(locks(&mut b)[0].orphan);
    let (adopted, _) = lock_with(&mut b, "n", Mode::EX, LockFlags::ORPHAN);
    assert!(!locks(&mut b)[0].orphan);
    daemon.wait_for(|status| status.orphans == 0 && status.locks == 1);
    unlock(&mut b, adopted);
}

#[test]
fn what_is_no_orphan_cannot_be_adopted() {
    let daemon = Daemon::start();
    let mut a = daemon.client("a");
    let (errno, text) = refused(&mut a, "n", Mode::EX, LockFlags::ORPHAN);
    assert_eq!(errno, Errno::ENOENT);
    assert_eq!(text, "\"n\" in group default has no orphan to adopt in that mode");
}

#[test]
fn the_same_name_in_another_group_is_another_resource() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    lock(&mut a, "n", Mode::EX);
    let other = LockRequest { group: "other", ..LockRequest::new(b"n", Mode::EX) };
    let handle = b.lock(&other).expect("sent");
    expect_locked(&mut b, handle, Mode::EX);
    let default = LockRequest { group: "default", ..request("n", Mode::EX, LockFlags::NOQUEUE) };
    b.lock(&default).expect("sent");
    assert!(matches!(event(&mut b), Event::Refused { errno: Errno::EAGAIN, .. }));
}

#[test]
fn a_group_without_locks_is_left_and_its_tokens_still_grow_when_it_is_joined_again() {
    let daemon = Daemon::start();
    let mut a = daemon.client("a");
    let mut token_last = 0;
    for _ in 0..2 {
        for _ in 0..3 {
            let (handle, token) = lock(&mut a, "n", Mode::EX);
            assert!(token > token_last, "{token:#x} after {token_last:#x}");
            token_last = token;
            unlock(&mut a, handle);
        }
        daemon.wait_for(|status| status.groups.is_empty());
    }
}

#[test]
fn a_group_that_was_joined_is_left_when_the_last_process_leaves_it() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    let join = ControlRequest::Join { group: "g".into() };
    let leave = ControlRequest::Leave { group: "g".into() };
    let ask = |client: &mut Client, request: &ControlRequest| {
        client.control(request).expect("sent").read_all::<serde_json::Value>().map(|_| ())
    };
    let joined =
        || status(&mut daemon.client("status")).groups.iter().any(|group| group.name == "g");
    for client in [&mut a, &mut b] {
        ask(client, &join).expect("joined");
        assert!(joined());
    }
    ask(&mut a, &leave).expect("it had joined");
    assert!(joined(), "somebody else keeps it");
    let refused = ask(&mut a, &leave).expect_err("it has left");
    assert!(matches!(refused, ClientError::Refused { errno: 2, .. }), "{refused}");
    ask(&mut b, &leave).expect("it had joined");
    assert!(!joined(), "left at once");

    // Each join wants a leave of its own.
    for client in [&mut a, &mut b] {
        for _ in 0..3 {
            ask(client, &join).expect("joined");
        }
    }
    for client in [&mut a, &mut b] {
        for _ in 0..3 {
            assert!(joined());
            ask(client, &leave).expect("it had joined");
        }
        let refused = ask(client, &leave).expect_err("it has left");
        assert!(matches!(refused, ClientError::Refused { errno: 2, .. }), "{refused}");
    }
    assert!(!joined(), "left at once");
    ask(&mut b, &join).expect("joined");
    ask(&mut b, &join).expect("joined");
    drop(b);
    daemon.wait_for(|status| status.groups.is_empty());
}

#[test]
fn tokens_grow_across_restarts_of_the_daemon() {
    let mut directory = tempfile::tempdir().expect("a directory");
    let mut token_last = 0;
    for _ in 0..3 {
        let daemon = Daemon::start_in(directory, |_| ());
        let mut client = daemon.client("a");
        let (_, token) = lock(&mut client, "n", Mode::EX);
        assert!(token > token_last);
        token_last = token;
        drop(client);
        directory = daemon.stop();
    }
}

#[test]
fn a_daemon_that_stops_tells_every_holder_that_its_lock_is_lost() {
    let daemon = Daemon::start();
    let mut a = daemon.client("a");
    let (handle, _) = lock(&mut a, "n", Mode::EX);
    let stopping = std::thread::spawn(|| daemon.stop());
    assert!(matches!(event(&mut a), Event::Lost { handle: lost, .. } if lost == handle));
    match a.next_event(None) {
        Err(ClientError::ConnectionLost { reason }) => assert_eq!(reason, "stackglued stops"),
        other => panic!("{other:?}"),
    }
    stopping.join().expect("stopped");
}

#[test]
fn ten_thousand_locks_of_one_process_go_with_it() {
    let daemon = Daemon::start();
    let mut a = daemon.client("a");
    for number in 0..10_000 {
        lock(&mut a, &format!("n{number}"), Mode::EX);
    }
    drop(a);
    daemon.wait_for(|status| status.locks == 0);
    let mut b = daemon.client("b");
    assert_eq!(locks(&mut b), []);
    lock(&mut b, "n0", Mode::EX);
}
