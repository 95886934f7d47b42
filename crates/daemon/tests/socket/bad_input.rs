//! What a daemon must bear: none of it costs anybody else a lock.

use std::io::Write;
use std::time::Duration;

use dlm::{Errno, LockFlags, Mode};
use stackglue_daemon::protocol::{FromClient, FromDaemon, LockFrame};
use stackglue_daemon::{Client, ClientError, Event, LockRequest};

use crate::support::{Daemon, Raw, counter, event, lock, no_event, refused, status, unlock};

fn lock_frame<'a>(handle: u32, name: &'a [u8]) -> LockFrame<'a> {
    let flags = LockFlags::empty();
    LockFrame { handle, mode: Mode::EX, flags, group: b"", name, purpose: "", lvb: b"" }
}

/// Asserts that `client` still holds its lock on `n`, and that the daemon serves.
fn still_held(daemon: &Daemon, client: &mut Client) {
    no_event(client);
    let mut other = daemon.client("other");
    assert_eq!(refused(&mut other, "n", Mode::EX, LockFlags::NOQUEUE).0, Errno::EAGAIN);
}

#[test]
fn malformed_frames_cost_their_client_and_nobody_else() {
    let daemon = Daemon::start();
    let mut holder = daemon.client("holder");
    lock(&mut holder, "n", Mode::EX);
    let lock_bytes = |mode: u8, flags: u32, tail: &[u8]| {
        let mut bytes = vec![2, 7, 0, 0, 0, mode];
        bytes.extend(flags.to_le_bytes());
        bytes.extend([0, 1, 0, 0, b'x']);
        bytes.extend(tail);
        let mut frame = (bytes.len() as u32).to_le_bytes().to_vec();
        frame.extend(bytes);
        frame
    };
    let cases: [(&str, Vec<u8>, &str, &str); 9] = [
        ("4 GiB", vec![0xff; 4], "a frame of 4294967295 bytes", "length"),
        ("nothing", vec![0; 4], "a frame of 0 bytes", "length"),
        ("64 KiB and one", 65537u32.to_le_bytes().to_vec(), "a frame of 65537 bytes", "length"),
        ("a type", vec![1, 0, 0, 0, 0x77], "unknown frame type 0x77", "type"),
        ("a mode", lock_bytes(6, 0, b""), "unknown lock mode 6", "mode"),
        ("flags", lock_bytes(5, 2, b""), "unknown flags 0x00000002", "flags"),
        ("too much", lock_bytes(5, 0, b"?"), "1 bytes too many", "trailing"),
        ("too little", vec![3, 0, 0, 0, 2, 7, 0], "ends inside its handle", "truncated"),
        ("Hello again", hello(1), "only the first", "order"),
    ];
    for (what, bytes, words, reason) in cases {
        let before = counter(&mut holder, &format!("bad_frames.{reason}"));
        let mut raw = daemon.raw();
        raw.send(&FromClient::Lock(lock_frame(1, b"own")));
        raw.frame().expect("granted");
        raw.bytes(&bytes);
        let said = raw.last_words();
        assert!(said.contains(words), "{what}: {said}");
        assert_eq!(counter(&mut holder, &format!("bad_frames.{reason}")), before + 1, "{what}");
        // Its own lock went with it.
        let mut other = daemon.client("other");
        lock(&mut other, "own", Mode::EX);
    }
    still_held(&daemon, &mut holder);
}

fn hello(version: u16) -> Vec<u8> {
    let mut frame = vec![10, 0, 0, 0, 1];
    frame.extend(b"SGLU");
    frame.extend(version.to_le_bytes());
    frame.extend([1, 0, b'c']);
    frame
}

#[test]
fn a_first_frame_that_is_no_hello_of_this_version_is_refused() {
    let daemon = Daemon::start();
    let cases = [
        (hello(2), "protocol version 2 is not spoken here"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "a frame of 542393671 bytes"),
        (b"\x05\0\0\0\x01GETX".to_vec(), "does not start with SGLU"),
        (b"\x01\0\0\0\x04".to_vec(), "ends inside its id"),
        (b"\x05\0\0\0\x04\0\0\0\0".to_vec(), "Hello is the first frame"),
    ];
    for (bytes, words) in cases {
        let mut raw = daemon.mute();
        raw.bytes(&bytes);
        let said = raw.last_words();
        assert!(said.contains(words), "{bytes:?}: {said}");
    }
}

#[test]
fn half_a_frame_and_then_nothing_is_a_client_that_is_gone() {
    let daemon = Daemon::start();
    let mut holder = daemon.client("holder");
    lock(&mut holder, "n", Mode::EX);
    for bytes in [&b"\x10"[..], b"\x10\0\0\0", b"\x10\0\0\0\x02\x01\0"] {
        let mut raw = daemon.raw();
        raw.bytes(bytes);
        drop(raw);
    }
    daemon.wait_for(|status| status.counters.get("bad_frames.half") == Some(&3));
    still_held(&daemon, &mut holder);
}

#[test]
fn a_frame_may_come_a_byte_at_a_time() {
    let daemon = Daemon::start();
    let mut raw = daemon.raw();
    let mut bytes = Vec::new();
    FromClient::Lock(lock_frame(1, b"n")).encode(&mut bytes);
    for byte in bytes {
        raw.bytes(&[byte]);
    }
    assert!(matches!(raw.frame().as_deref(), Some([0x82, ..])), "Locked");
}

#[test]
fn names_groups_and_values_that_cannot_be_cost_the_request_and_not_the_connection() {
    let daemon = Daemon::start();
    let mut raw = daemon.raw();
    raw.send(&FromClient::Lock(lock_frame(1, b"n")));
    raw.frame().expect("granted");
    let long = [b'x'; 65];
    let cases = [
        (lock_frame(2, b""), Errno::EINVAL, "the resource name is empty"),
        (lock_frame(2, &long), Errno::ENAMETOOLONG, "the resource name has 65 bytes"),
        (
            LockFrame { group: &long, ..lock_frame(2, b"m") },
            Errno::ENAMETOOLONG,
            "the group name has 65 bytes",
        ),
        (LockFrame { group: b"\xff", ..lock_frame(2, b"m") }, Errno::EINVAL, "is not UTF-8"),
        (
            LockFrame { group: b"a\x1bb", ..lock_frame(2, b"m") },
            Errno::EINVAL,
            "has control characters",
        ),
        (LockFrame { lvb: &long, ..lock_frame(2, b"m") }, Errno::E2BIG, "the value has 65 bytes"),
        (
            LockFrame { flags: LockFlags::EXPEDITE, ..lock_frame(2, b"m") },
            Errno::EINVAL,
            "do not go together",
        ),
        (
            LockFrame { flags: LockFlags::CONVERT, ..lock_frame(2, b"") },
            Errno::ENOENT,
            "no lock of this client has the handle 2",
        ),
        (
            LockFrame { flags: LockFlags::CONVERT, ..lock_frame(1, b"n") },
            Errno::EINVAL,
            "a conversion keeps group, name and purpose",
        ),
    ];
    for (frame, expected, words) in cases {
        raw.send(&FromClient::Lock(frame));
        let answer = raw.frame().expect("an answer");
        match FromDaemon::decode(&answer) {
            Ok(FromDaemon::Refused { handle, errno, text }) => {
                assert_eq!((handle, errno), (frame.handle, expected.number()), "{text}");
                assert!(text.contains(words), "{text}");
            }
            other => panic!("{other:?} to {frame:?}"),
        }
    }
    let mut other = daemon.client("other");
    assert_eq!(refused(&mut other, "n", Mode::EX, LockFlags::NOQUEUE).0, Errno::EAGAIN);
    assert_eq!(status(&mut other).locks, 1);
}

#[test]
fn a_binary_name_of_64_bytes_is_a_name() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let name: Vec<u8> = (0..64).map(|byte| byte * 3).collect();
    let handle = client.lock(&LockRequest::new(&name, Mode::EX)).expect("sent");
    crate::support::expect_locked(&mut client, handle, Mode::EX);
    assert_eq!(crate::support::locks(&mut client)[0].name.as_bytes(), name);
}

#[test]
fn the_client_refuses_what_the_daemon_would() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let long = [b'x'; 65];
    for request in [
        LockRequest::new(b"", Mode::EX),
        LockRequest::new(&long, Mode::EX),
        LockRequest { purpose: &"p".repeat(256), ..LockRequest::new(b"n", Mode::EX) },
    ] {
        assert!(matches!(client.lock(&request), Err(ClientError::Invalid(_))));
    }
    let (handle, _) = lock(&mut client, "n", Mode::EX);
    let refused = client.unlock_with_value(handle, &long);
    assert!(matches!(refused, Err(ClientError::Invalid(_))));
    unlock(&mut client, handle);
}

#[test]
fn unlocking_twice_or_what_is_another_clients_is_enoent() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.client("a"), daemon.client("b"));
    let (first, _) = lock(&mut a, "m", Mode::EX);
    let (held, _) = lock(&mut a, "n", Mode::EX);
    unlock(&mut a, first);
    for (client, handle) in [(&mut a, first), (&mut b, held)] {
        client.unlock(handle).expect("sent");
        match event(client) {
            Event::Unlocked { result: Err(Errno::ENOENT), text, .. } => {
                assert!(text.contains("no lock of this client has the handle"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    still_held(&daemon, &mut a);
}

#[test]
fn a_handle_in_use_cannot_name_a_second_lock() {
    let daemon = Daemon::start();
    let mut raw = daemon.raw();
    raw.send(&FromClient::Lock(lock_frame(1, b"a")));
    raw.send(&FromClient::Lock(lock_frame(1, b"b")));
    assert!(raw.last_words().contains("the lock handle 1 is in use"));
}

/// Sends lock requests until the daemon hangs up.
fn flood(mut raw: Raw, mut frame: impl FnMut(u32) -> Vec<u8>) -> String {
    let mut writer = raw.0.try_clone().expect("a copy");
    let writing = std::thread::spawn({
        let frames: Vec<Vec<u8>> = (1..2000).map(&mut frame).collect();
        move || frames.iter().all(|frame| writer.write_all(frame).is_ok())
    });
    let mut words = String::new();
    while let Some(frame) = raw.frame() {
        if let Ok(FromDaemon::Error { text, .. }) = FromDaemon::decode(&frame) {
            words = text.to_owned();
        }
    }
    writing.join().expect("no panic");
    words
}

#[test]
fn a_client_that_takes_too_many_locks_is_disconnected_and_nobody_else() {
    let daemon = Daemon::start_with(|config| config.limits.locks_per_client_max = 100);
    let mut holder = daemon.client("holder");
    lock(&mut holder, "n", Mode::EX);
    let words = flood(daemon.raw(), |handle| {
        let mut bytes = Vec::new();
        FromClient::Lock(lock_frame(handle, &handle.to_le_bytes())).encode(&mut bytes);
        bytes
    });
    assert_eq!(words, "this client has more than 100 locks: disconnected");
    daemon.wait_for(|status| status.locks == 1);
    still_held(&daemon, &mut holder);
    assert_eq!(counter(&mut holder, "clients_limited"), 1);
}

#[test]
fn a_client_with_too_many_requests_that_wait_is_disconnected_and_nobody_else() {
    let daemon = Daemon::start_with(|config| config.limits.waiting_per_client_max = 100);
    let mut holder = daemon.client("holder");
    lock(&mut holder, "n", Mode::EX);
    let words = flood(daemon.raw(), |handle| {
        let mut bytes = Vec::new();
        FromClient::Lock(lock_frame(handle, b"n")).encode(&mut bytes);
        bytes
    });
    assert_eq!(words, "this client has more than 100 requests that wait: disconnected");
    daemon.wait_for(|status| status.locks == 1);
    assert!(matches!(event(&mut holder), Event::Blocking { .. }));
    still_held(&daemon, &mut holder);
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_nobody_else() {
    let daemon = Daemon::start_with(|config| config.limits.output_bytes_max = 256 * 1024);
    let mut holder = daemon.client("holder");
    lock(&mut holder, "n", Mode::EX);
    let mut raw = daemon.raw();
    raw.0.set_write_timeout(Some(crate::support::PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    let request = br#"{"request":"status"}"#;
    for id in 0..100 {
        FromClient::Request { id, json: request }.encode(&mut bytes);
    }
    // As long as the daemon takes them.
    while raw.0.write_all(&bytes).is_ok() {}
    daemon.wait_for(|status| status.counters.get("clients_limited") == Some(&1));
    still_held(&daemon, &mut holder);
}

#[test]
fn who_says_nothing_is_hung_up_on() {
    let daemon = Daemon::start_with(|config| config.limits.hello_timeout_ms = 50);
    let mut holder = daemon.client("holder");
    lock(&mut holder, "n", Mode::EX);
    assert_eq!(daemon.mute().last_words(), "no Hello came in time");
    still_held(&daemon, &mut holder);
}

#[test]
fn one_client_too_many_is_told_so() {
    let daemon = Daemon::start_with(|config| config.limits.clients_max = 2);
    let mut holder = daemon.client("holder");
    let second = daemon.client("second");
    match Client::connect(&daemon.socket(), "third") {
        Err(ClientError::Rejected { text }) => {
            assert_eq!(text, "2 clients are connected already: no more are allowed");
        }
        other => panic!("{other:?}"),
    }
    drop(second);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while Client::connect(&daemon.socket(), "third").is_err() {
        assert!(std::time::Instant::now() < deadline, "there is room again");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(counter(&mut holder, "clients_refused") >= 1);
}

#[test]
fn one_group_too_many_is_refused() {
    let daemon = Daemon::start_with(|config| config.limits.groups_max = 1);
    let mut client = daemon.client("a");
    lock(&mut client, "n", Mode::EX);
    client.lock(&LockRequest { group: "b", ..LockRequest::new(b"n", Mode::EX) }).expect("sent");
    match event(&mut client) {
        Event::Refused { errno, text, .. } => {
            assert_eq!(errno, Errno::ENOSPC);
            assert_eq!(text, "1 groups are connected already: no more are allowed");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_control_request_that_is_not_known_is_refused_and_the_connection_goes_on() {
    let daemon = Daemon::start();
    let mut raw = daemon.raw();
    for json in [&b"{}"[..], b"not json", b"\xff", b"{\"request\":\"reboot\"}", b""] {
        raw.send(&FromClient::Request { id: 5, json });
        let answer = raw.frame().expect("an answer");
        match FromDaemon::decode(&answer) {
            Ok(FromDaemon::End { id: 5, errno, text }) => {
                assert_eq!(errno, Errno::EINVAL.number());
                assert!(text.starts_with("this control request is not known"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}
