//! Locks that another node has: a second mount of the same daemon, or `stackglue lock`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, STAY, eventually};
use crate::mounted::{How, Mounted, can_mount, errno};

/// A shell that opens a file exclusively, says `held`, and waits for the end of its input.
pub(crate) fn opener(mounted: &Mounted, name: &str) -> Child {
    let path = mounted.path("d").join(name);
    Command::new("sh")
        .args(["-c", "exec 3<>\"$1\" && echo held && cat", "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts")
}

fn expect_held(child: &mut Child) {
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says something");
    assert_eq!(line, "held\n");
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().expect("it ends");
}

#[test]
fn two_mounts_of_one_daemon_exclude_each_other() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let (one, other) = (Mounted::with_domain(&host, "one"), Mounted::with_domain(&host, "other"));
    let held = one.open("l", How::Exclusive).expect("free");
    held.write_at(b"from one", 0).expect("written");
    assert_eq!(errno(other.open("l", How::TryExclusive)), Errno::TXTBSY);
    assert_eq!(errno(other.open("l", How::TryShared)), Errno::TXTBSY);
    assert!(other.path("d/l").exists(), "made before the lock was refused");
    let mut waiter = opener(&other, "l");
    host.await_queue("waiting", 1);
    drop(held);
    expect_held(&mut waiter);
    assert_eq!(errno(one.open("l", How::TryShared)), Errno::TXTBSY);
    end(waiter);
    let read = fs::read(other.path("d/l")).expect("free");
    assert_eq!(read[..9], *b"from one\0");
}

#[test]
fn the_lock_of_a_command_excludes_openers_and_is_excluded_by_them() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let mounted = Mounted::with_domain(&host, "m");
    let command = host.hold(&[&["-g", "d", "l"], &STAY[..]].concat());
    assert_eq!(errno(mounted.open("l", How::TryExclusive)), Errno::TXTBSY);
    let mut waiter = opener(&mounted, "l");
    host.await_queue("waiting", 1);
    drop(command);
    expect_held(&mut waiter);
    host.run(&["lock", "-n", "-g", "d", "l", "--", "true"]).expect_sentence(1, &["dlmfs"]);
    end(waiter);
    // The lock is kept here until somebody who waits asks for it.
    host.run_well(&["lock", "-g", "d", "l", "--", "true"]);
}

#[test]
fn an_open_that_waits_dies_at_once_of_a_signal_and_leaves_nothing() {
    if !can_mount() {
        return;
    }
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        let host = Host::new();
        let (one, other) =
            (Mounted::with_domain(&host, "one"), Mounted::with_domain(&host, "other"));
        let held = one.open("l", How::Exclusive).expect("free");
        let mut waiter = opener(&other, "l");
        host.await_queue("waiting", 1);
        // Others in the directory are not held up by the one who waits.
        drop(other.open("another", How::TryExclusive).expect("free"));
        assert_eq!(errno(fs::remove_file(other.path("d/l"))), Errno::BUSY);
        kill_process(Pid::from_child(&waiter), signal).expect("it runs");
        assert!(!waiter.wait().expect("it ends").success());
        eventually("the request taken back", || {
            host.locks().iter().all(|lock| lock["queue"] != "waiting")
        });
        drop(held);
        drop(one.open("l", How::TryExclusive).expect("nobody else wants it"));
        fs::remove_file(other.path("d/l")).expect("nobody has it open");
    }
}

#[test]
fn a_file_is_readable_while_somebody_else_waits_for_it() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let (one, other) = (Mounted::with_domain(&host, "one"), Mounted::with_domain(&host, "other"));
    let held = one.open("l", How::Exclusive).expect("free");
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(&held, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&now)), Ok(0), "nobody waits");
    let mut waiter = opener(&other, "l");
    // For as long as it takes: whoever waits for the lock wakes whoever polls.
    let mut polled = [PollFd::new(&held, PollFlags::IN | PollFlags::RDNORM)];
    assert_eq!(poll(&mut polled, None), Ok(1));
    assert_eq!(polled[0].revents(), PollFlags::IN | PollFlags::RDNORM);
    assert_eq!(errno(one.open("l", How::TryShared)), Errno::TXTBSY, "another node is first");
    drop(held);
    expect_held(&mut waiter);
    end(waiter);
}

#[test]
fn a_value_goes_with_the_lock_and_back() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let (one, other) = (Mounted::with_domain(&host, "one"), Mounted::with_domain(&host, "other"));
    for round in 0..20u8 {
        let (writer, reader) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let mut file = writer.open("l", How::Exclusive).expect("given up when it was closed");
        file.write_all(&[round + 1; 64]).expect("written");
        drop(file);
        let value = fs::read(reader.path("d").join("l")).or_else(|_| {
            drop(reader.open("l", How::Shared)?);
            fs::read(reader.path("d/l"))
        });
        assert_eq!(value.expect("read"), [round + 1; 64]);
    }
}
