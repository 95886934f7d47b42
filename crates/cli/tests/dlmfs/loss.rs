//! The mount's process dies; the daemon dies.

use std::fs;
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::host::{Host, eventually};
use crate::mounted::{How, Mounted, can_mount, errno};

#[test]
fn the_locks_of_a_mount_whose_process_dies_are_gone_and_it_can_be_mounted_again() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let mut mounted = Mounted::with_domain(&host, "m");
    let held = mounted.open("l", How::Exclusive).expect("free");
    mounted.kill();
    host.await_no_lock();
    let told = errno(held.write_at(b"x", 0));
    assert!(matches!(told, Errno::NOTCONN | Errno::CONNABORTED), "{told}");
    assert_eq!(errno(fs::metadata(&mounted.point)), Errno::NOTCONN);
    let again = Mounted::with_domain(&host, "m");
    again.open("l", How::TryExclusive).expect("free");
}

#[test]
fn a_mount_that_is_told_to_end_is_unmounted_though_it_is_used() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let mut mounted = Mounted::with_domain(&host, "m");
    let _held = mounted.open("l", How::Exclusive).expect("free");
    assert!(mounted.end());
    assert_eq!(fs::read_dir(&mounted.point).expect("the directory beneath").count(), 0);
    host.await_no_lock();
}

#[test]
fn what_was_written_is_in_force_when_the_mount_is_gone() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let value = || host.run_well(&["value", "get", "-g", "d", "l"]).out;
    for is_unmounted in [true, false] {
        host.run_well(&["value", "set", "-g", "d", "l", "old"]);
        let mut mounted = Mounted::with_domain(&host, "m");
        let written = mounted.open("l", How::Exclusive).expect("free");
        written.write_at(b"new", 0).expect("held");
        drop(written);
        if is_unmounted {
            host.run_well(&["umount", "m"]);
            assert!(mounted.ended(), "unmounted");
        } else {
            assert!(mounted.end(), "told to end");
        }
        assert_eq!(value(), "new\n", "unmounted: {is_unmounted}");
    }
}

#[test]
fn what_may_be_being_written_when_the_mount_is_told_to_end_is_not_trusted() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    host.run_well(&["value", "set", "-g", "d", "l", "old"]);
    let mut mounted = Mounted::with_domain(&host, "m");
    let held = mounted.open("l", How::Exclusive).expect("free");
    held.write_at(b"new", 0).expect("held");
    assert!(mounted.end());
    eventually("a value that is not valid", || {
        let ran = host.run(&["value", "get", "-g", "d", "l"]);
        ran.status == 2 && ran.err.contains("not valid")
    });
}

#[test]
fn a_daemon_that_dies_takes_its_locks_and_a_domain_made_again_is_joined_through_the_next() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let mounted = Mounted::with_domain(&host, "m");
    let held = mounted.open("l", How::Exclusive).expect("free");
    held.write_at(b"x", 0).expect("held");
    host.kill_daemon();
    let mut polled = [PollFd::new(&held, PollFlags::IN)];
    assert_eq!(poll(&mut polled, None), Ok(1), "whoever polls is told");
    assert!(polled[0].revents().contains(PollFlags::ERR));
    assert_eq!(errno(held.read_at(&mut [0; 1], 0)), Errno::IO);
    assert_eq!(errno(held.write_at(b"x", 0)), Errno::IO);
    assert_eq!(errno(mounted.open("l", How::Shared)), Errno::IO);
    assert_eq!(errno(mounted.open("new", How::Shared)), Errno::IO);

    // Another daemon grants nothing while somebody may still believe in a lock of the dead one.
    fs::create_dir(mounted.path("again")).expect("joined through a new daemon");
    let status = host.run_well(&["status", "--json"]).out;
    assert!(status.contains("earlier_holders"), "{status}");
    drop(held);
    eventually("a lock in the new domain", || {
        let path = mounted.path("again/l");
        crate::mounted::open(&path, How::TryExclusive).is_ok()
    });
    for name in ["l", "new"] {
        fs::remove_file(mounted.path("d").join(name)).expect("nobody has it open");
    }
    fs::remove_dir(mounted.path("d")).expect("empty");
    fs::create_dir(mounted.path("d")).expect("joined again");
    mounted.open("l", How::TryExclusive).expect("free");
}
