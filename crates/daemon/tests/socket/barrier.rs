//! Processes of an earlier daemon still run: the next one serves, and grants nothing before they have
//! ended.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dlm::{Errno, LockFlags, Mode};
use stackglue_daemon::control::{Bytes, Name, ValueItem};
use stackglue_daemon::{Client, ClientError, ControlRequest, Event, LockRequest};
use tempfile::TempDir;

use crate::support::{
    Daemon, PATIENCE, counter, event, expect_locked, lock, lock_with, locks, no_event, one,
    refused, request, status, unlock,
};

/// A child of a holder whose daemon has gone: what `stackglue lock --on-loss notify` leaves.
struct Heir(Child);

impl Heir {
    /// Returns the directory for the next daemon.
    fn new() -> (Heir, TempDir) {
        let daemon = Daemon::start();
        let mut holder = daemon.client("holder");
        lock(&mut holder, "n", Mode::EX);
        holder.make_inheritable().expect("inheritable");
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat runs");
        drop(holder);
        (Heir(child), daemon.stop())
    }

    fn with_daemon() -> (Heir, Daemon) {
        let (heir, directory) = Heir::new();
        (heir, Daemon::start_in(directory, |_| ()))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("cat ends");
    }
}

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
fn requests_wait_for_the_earlier_holder_and_are_granted_in_their_order() {
    let (heir, daemon) = Heir::with_daemon();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    let first = a.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    no_event(&mut a);
    let second = b.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    no_event(&mut b);
    std::thread::sleep(Duration::from_millis(200));
    no_event(&mut a);
    heir.end();
    let token = expect_locked(&mut a, first, Mode::EX);
    assert_eq!(token >> 40, u64::from(daemon.epoch()));
    assert_eq!(event(&mut a), Event::Blocking { handle: first, level: Mode::EX });
    unlock(&mut a, first);
    assert!(expect_locked(&mut b, second, Mode::EX) > token);
    unlock(&mut b, second);
    assert_eq!(status(&mut b).locks, 0);
}

#[test]
fn who_does_not_want_to_wait_is_told_the_pids() {
    let (heir, daemon) = Heir::with_daemon();
    let mut client = daemon.client("a");
    let (errno, text) = refused(&mut client, "other", Mode::CR, LockFlags::NOQUEUE);
    assert_eq!(errno, Errno::EAGAIN);
    let expected = format!("processes of a stackglued that died still run: pid {}", heir.pid());
    assert!(text.ends_with(&expected), "{text}");
    let value = ControlRequest::Value { group: String::new(), name: name("n") };
    assert_eq!(refusal(&mut client, &value), (Errno::EAGAIN.number(), text.clone()));
    let revoke = ControlRequest::Revoke {
        group: String::new(),
        name: name("n"),
        force: true,
        grace_ms: 0,
        reason: String::new(),
    };
    assert_eq!(refusal(&mut client, &revoke), (Errno::EAGAIN.number(), text));
    assert_eq!(status(&mut client).locks, 0);
    heir.end();
    daemon.wait_for(|status| status.earlier_holders.is_none());
    lock_with(&mut client, "other", Mode::CR, LockFlags::NOQUEUE);
}

#[test]
fn status_and_listing_tell_who_waits_and_for_whom() {
    let (heir, daemon) = Heir::with_daemon();
    let mut client = daemon.client("a");
    let asked = LockRequest { purpose: "why", group: "g", ..LockRequest::new(b"n", Mode::PW) };
    let handle = client.lock(&asked).expect("sent");
    let told = status(&mut client);
    assert_eq!((told.earlier_holders, told.locks), (Some(vec![heir.pid()]), 1));
    let listed = locks(&mut client);
    let [waits] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((waits.id, waits.queue.as_str(), waits.mode.as_deref()), (0, "waiting", None));
    assert_eq!((waits.group.as_str(), waits.requested.as_deref()), ("g", Some("PW")));
    assert_eq!((waits.command.as_str(), waits.purpose.as_str()), ("a", "why"));
    let elsewhere = ControlRequest::Locks { group: Some("h".into()), name: None };
    assert_eq!(client.control(&elsewhere).expect("sent").count(), 0);
    heir.end();
    expect_locked(&mut client, handle, Mode::PW);
    assert_eq!(status(&mut client).earlier_holders, None);
}

#[test]
fn a_request_that_is_taken_back_has_one_outcome_and_never_comes() {
    let (heir, daemon) = Heir::with_daemon();
    let mut client = daemon.client("a");
    let cancelled = client.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    let dropped = client.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    let kept = client.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    client.cancel(cancelled).expect("sent");
    let text = String::new();
    let gone = Event::Unlocked { handle: cancelled, result: Err(Errno::ECANCEL), text };
    assert_eq!(event(&mut client), gone);
    client.cancel(cancelled).expect("sent");
    no_event(&mut client);
    unlock(&mut client, dropped);
    client.convert(kept, Mode::PR, LockFlags::empty(), None).expect("sent");
    match event(&mut client) {
        Event::Refused { handle, errno: Errno::EBUSY, .. } if handle == kept => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(status(&mut client).locks, 1);
    heir.end();
    expect_locked(&mut client, kept, Mode::EX);
    no_event(&mut client);
    assert_eq!(counter(&mut client, "cancelled"), 1);
    assert_eq!(locks(&mut client).len(), 1);
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let (heir, daemon) = Heir::with_daemon();
    let mut client = daemon.client("gone");
    for number in 0..100 {
        let asked = request("n", Mode::EX, LockFlags::PERSISTENT);
        let group = if number % 2 == 0 { "" } else { "g" };
        client.lock(&LockRequest { group, ..asked }).expect("sent");
    }
    assert_eq!(status(&mut client).locks, 100);
    drop(client);
    daemon.wait_for(|status| status.clients == 1 && status.locks == 0 && status.orphans == 0);
    let mut client = daemon.client("a");
    let handle = client.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    heir.end();
    expect_locked(&mut client, handle, Mode::EX);
    assert_eq!(locks(&mut client).len(), 1);
}

#[test]
fn values_are_written_when_the_earlier_holder_has_ended() {
    let (heir, daemon) = Heir::with_daemon();
    let group = String::new;
    let write = |to: &str| {
        let value = Bytes(b"v".to_vec());
        ControlRequest::SetValue { group: group(), name: name(to), value }
    };
    let mut gone = daemon.client("gone");
    gone.control(&write("never")).expect("sent");
    assert_eq!(status(&mut gone).clients, 1);
    drop(gone);
    daemon.wait_for(|status| status.clients == 1);
    let mut client = daemon.client("a");
    let (ending, ended) = mpsc::channel();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        ending.send(()).expect("somebody waits");
        heir.end();
    });
    let written = client.control(&write("n")).expect("sent").read_all::<ValueItem>();
    assert_eq!(written.expect("written"), []);
    assert_eq!(ended.try_recv(), Ok(()), "not before");
    ends.join().expect("no panic");
    let mut value = |of: &str| {
        one::<ValueItem>(&mut client, &ControlRequest::Value { group: group(), name: name(of) })
    };
    assert_eq!(value("n").value.0[..2], *b"v\0");
    assert_eq!(value("never").value.0[..2], [0; 2]);
}

#[test]
fn a_daemon_that_dies_while_it_waits_leaves_the_earlier_holder_to_the_next() {
    let (heir, daemon) = Heir::with_daemon();
    let mut client = daemon.client("a");
    client.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    no_event(&mut client);
    let directory = daemon.stop();
    drop(client);
    let daemon = Daemon::start_in(directory, |_| ());
    let mut client = daemon.client("b");
    let (_, text) = refused(&mut client, "n", Mode::EX, LockFlags::NOQUEUE);
    assert!(text.ends_with(&format!("pid {}", heir.pid())), "{text}");
    heir.end();
    let handle = client.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    expect_locked(&mut client, handle, Mode::EX);
}

#[test]
fn requests_that_wait_count_against_the_limits_of_their_client() {
    let (heir, directory) = Heir::new();
    let daemon = Daemon::start_in(directory, |config| config.limits.waiting_per_client_max = 3);
    let mut client = daemon.client("a");
    for _ in 0..4 {
        // The last may find that the daemon has hung up.
        let _ = client.lock(&LockRequest::new(b"n", Mode::EX));
    }
    match client.next_event(Some(Instant::now() + PATIENCE)) {
        Err(ClientError::ConnectionLost { reason }) => {
            assert!(reason.contains("more than 3 requests that wait"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    daemon.wait_for(|status| status.locks == 0);
    heir.end();
}

#[test]
fn a_client_that_asks_a_daemon_that_has_gone_is_told_that_it_is_gone() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let directory = daemon.stop();
    let daemon = Daemon::start_in(directory, |_| ());
    match client.lock(&LockRequest::new(b"n", Mode::EX)) {
        Err(ClientError::ConnectionLost { reason }) => {
            assert!(reason.starts_with("the daemon is gone, and its "), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    lock(&mut daemon.client("b"), "n", Mode::EX);
}

#[test]
fn an_earlier_holder_does_not_keep_an_idle_daemon_but_those_who_wait_do() {
    let idle_exit = Duration::from_millis(500);
    let (heir, directory) = Heir::new();
    let mut daemon = Daemon::start_in(directory, |config| config.idle_exit = Some(idle_exit));
    let mut client = daemon.client("a");
    let handle = client.lock(&LockRequest::new(b"n", Mode::EX)).expect("sent");
    std::thread::sleep(idle_exit * 2);
    no_event(&mut client);
    client.cancel(handle).expect("sent");
    event(&mut client);
    drop(client);
    daemon.wait();
    heir.end();
}
