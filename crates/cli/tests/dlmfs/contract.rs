//! What the file system asks of the daemon, and the file that a kernel's has elsewhere. What each call answers
//! is compared with a kernel's, call by call, in `crates/dlmfs/tests/calls`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use rustix::fs::statfs;
use rustix::io::Errno;

use crate::host::Host;
use crate::mounted::{How, Mounted, can_mount, errno};

#[test]
fn a_domain_is_joined_when_its_directory_is_made_and_left_when_it_is_gone() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let mounted = Mounted::with_domain(&host, "m");
    let is_joined = || host.run_well(&["status", "--json"]).out.contains("\"name\":\"d\"");
    assert!(is_joined());
    drop(mounted.open("l", How::Shared).expect("a lock"));
    assert_eq!(errno(fs::remove_dir(mounted.path("d"))), Errno::NOTEMPTY);
    assert!(is_joined());
    fs::remove_file(mounted.path("d/l")).expect("nobody has it open");
    fs::remove_dir(mounted.path("d")).expect("empty");
    assert!(!is_joined());
    fs::create_dir(mounted.path("d")).expect("joined again");
    assert!(is_joined());
}

#[test]
fn many_opens_of_one_file_on_one_node_share_its_lock() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let mounted = Mounted::with_domain(&host, "m");
    let shared = mounted.open("l", How::Shared).expect("free");
    let exclusive = mounted.open("l", How::TryExclusive).expect("no other node is in the way");
    let second = mounted.open("l", How::TryExclusive).expect("nodes are excluded, not processes");
    assert_eq!(host.locks().len(), 1);
    for file in [shared, exclusive, second] {
        assert_eq!(errno(fs::remove_file(mounted.path("d/l"))), Errno::BUSY);
        drop(file);
    }
    assert_eq!(host.locks().len(), 1, "the lock stays when nobody has it open");
    fs::remove_file(mounted.path("d/l")).expect("nobody has it open");
    assert_eq!(host.locks().len(), 0);
}

#[test]
fn the_root_tells_what_the_file_system_can_do() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let mounted = Mounted::new(&host, "m");
    let path = mounted.path(".capabilities");
    assert_eq!(fs::read(&path).expect("read"), b"bast stackglue");
    assert_eq!(fs::metadata(&path).expect("it").mode(), 0o100444);
    assert_eq!(
        errno(File::options().write(true).open(&path).and_then(|mut f| f.write(b"x"))),
        Errno::INVAL
    );
    assert_eq!(errno(fs::remove_file(&path)), Errno::PERM);
    assert_eq!(fs::read_dir(&mounted.point).expect("the root").count(), 0, "not listed");
    let told = statfs(&mounted.point).expect("statfs");
    assert_eq!((told.f_namelen, told.f_blocks), (255, 0));
}
