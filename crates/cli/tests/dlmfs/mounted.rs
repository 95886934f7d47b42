//! A mounted file system of one test.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::fs::OFlags;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, eventually};

/// Whether anything can be mounted here; says so if not.
pub(crate) fn can_mount() -> bool {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let can = device.is_ok() && rustix::process::geteuid().is_root();
    if !can {
        println!("skipped: there is no /dev/fuse here, or this is not root");
    }
    can
}

/// A mount, served in the foreground; unmounted when dropped.
pub(crate) struct Mounted {
    pub(crate) point: PathBuf,
    server: Child,
}

impl Mounted {
    pub(crate) fn new(host: &Host, name: &str) -> Mounted {
        let point = host.path(name);
        // A dead mount may be there, which can be neither seen nor made.
        let _ = fs::create_dir(&point);
        let mut command = host.command(&["mount", "dlmfs", "--foreground"]);
        command.arg(&point).stdout(Stdio::null()).stderr(Stdio::inherit());
        let server = command.spawn().expect("stackglue starts");
        let mounted = Mounted { point, server };
        eventually("the mount", || mounted.path(".capabilities").exists());
        mounted
    }

    /// With one domain, `d`.
    pub(crate) fn with_domain(host: &Host, name: &str) -> Mounted {
        let mounted = Mounted::new(host, name);
        fs::create_dir(mounted.path("d")).expect("a domain");
        mounted
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    /// Opens the file of that name in the domain `d`, which is made if need be.
    pub(crate) fn open(&self, name: &str, how: How) -> io::Result<File> {
        open(&self.path("d").join(name), how)
    }

    pub(crate) fn kill(&mut self) {
        self.server.kill().expect("it runs");
        self.server.wait().expect("it ends");
    }

    /// Tells the process to end, and returns whether it did so well.
    pub(crate) fn end(&mut self) -> bool {
        kill_process(Pid::from_child(&self.server), Signal::TERM).expect("it runs");
        self.ended()
    }

    /// Waits until the process has ended; whether it did so well.
    pub(crate) fn ended(&mut self) -> bool {
        self.server.wait().expect("it ends").success()
    }
}

/// Unmounts what is served in the background, should the test fail before.
pub(crate) struct UnmountAtEnd(pub(crate) PathBuf);

impl Drop for UnmountAtEnd {
    fn drop(&mut self) {
        // It may be unmounted already.
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // It may be unmounted already, and have ended with that.
        let _ = rustix::mount::unmount(&self.point, UnmountFlags::DETACH);
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// How a lock file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Shared,
    Exclusive,
    TryShared,
    TryExclusive,
}

pub(crate) fn open(path: &Path, how: How) -> io::Result<File> {
    let mut flags = OFlags::CREATE;
    flags.set(OFlags::NONBLOCK, matches!(how, How::TryShared | How::TryExclusive));
    OpenOptions::new()
        .read(true)
        .write(matches!(how, How::Exclusive | How::TryExclusive))
        .custom_flags(flags.bits() as i32)
        .mode(0o664)
        .open(path)
}

/// The errno of what was refused.
#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(outcome: io::Result<T>) -> rustix::io::Errno {
    let error = outcome.expect_err("refused");
    rustix::io::Errno::from_raw_os_error(error.raw_os_error().expect("the kernel's"))
}
