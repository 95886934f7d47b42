//! Why something was not mounted or unmounted: one sentence each, which says what to do.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a file system was not mounted, or not served to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The kernel has no FUSE here.
    #[error(
        "there is no /dev/fuse: run `modprobe fuse`, or in a container give it the device \
         (`--device /dev/fuse --cap-add SYS_ADMIN`)"
    )]
    NoDevice,
    /// This process may not use FUSE.
    #[error(
        "/dev/fuse may not be opened: become root, or in a container give it the device \
         (`--device /dev/fuse --cap-add SYS_ADMIN`)"
    )]
    DeviceDenied,
    /// FUSE cannot be used.
    #[error("/dev/fuse cannot be opened: {0}")]
    Device(#[source] io::Error),
    /// Users who are not root need a helper to mount.
    #[error("only root can mount without fusermount3: become root, or install the package fuse3")]
    NoHelper,
    /// There is nothing to mount on.
    #[error("the mount point {} does not exist: make it with `mkdir`", point.display())]
    NoPoint {
        /// The mount point.
        point: PathBuf,
    },
    /// What is to be mounted on is no directory.
    #[error("the mount point {} is not a directory: give a directory", point.display())]
    NotADirectory {
        /// The mount point.
        point: PathBuf,
    },
    /// The mount point cannot be looked at.
    #[error("the mount point {} cannot be used: {error}", point.display())]
    Point {
        /// The mount point.
        point: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is mounted there already.
    #[error("it is mounted at {} already: unmount it first, with `umount`", point.display())]
    AlreadyMounted {
        /// The mount point.
        point: PathBuf,
    },
    /// It is not mounted there.
    #[error("nothing of ours is mounted at {}: `findmnt -t fuse` shows what is where", point.display())]
    NotMounted {
        /// The mount point.
        point: PathBuf,
    },
    /// The process of another mount there has died.
    #[error(
        "{kind} is mounted at {}, and its process is gone: unmount it with `umount -l`",
        point.display()
    )]
    DeadOther {
        /// The mount point.
        point: PathBuf,
        /// The type of what is there.
        kind: String,
    },
    /// The kernel refuses to mount.
    #[error(
        "mounting at {} is not permitted: become root, or in a container give it the right \
         (`--cap-add SYS_ADMIN`, and an AppArmor profile that allows mounts)",
        point.display()
    )]
    NotPermitted {
        /// The mount point.
        point: PathBuf,
    },
    /// Mounting failed.
    #[error("mounting at {} failed: {error}", point.display())]
    Mount {
        /// The mount point.
        point: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody uses what is to be unmounted.
    #[error("{} is in use: `fuser -vm {}` shows by whom", point.display(), point.display())]
    Busy {
        /// The mount point.
        point: PathBuf,
    },
    /// Unmounting failed.
    #[error("unmounting {} failed: {error}", point.display())]
    Unmount {
        /// The mount point.
        point: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The kernel's list of mounts cannot be read.
    #[error("what is mounted cannot be read from /proc/self/mountinfo: {0}")]
    Table(#[source] io::Error),
    /// The connection to the kernel broke while the file system was served.
    #[error("the file system at {} ended: {error}", point.display())]
    Served {
        /// The mount point.
        point: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What serves the file system cannot be set up.
    #[error("no event loop can be made: {0}")]
    Loop(#[source] io::Error),
    /// A mount option that is not known.
    #[error("mount option {option:?} is not known: leave it out")]
    Option {
        /// The option.
        option: String,
    },
}

impl MountError {
    /// Whether rights are what is missing.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::DeviceDenied | Self::NoHelper | Self::NotPermitted { .. } => true,
            Self::Point { error, .. } => error.kind() == ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    pub(super) fn point(point: &Path, error: io::Error) -> MountError {
        let point = point.to_owned();
        match error.kind() {
            ErrorKind::NotFound => Self::NoPoint { point },
            ErrorKind::NotADirectory => Self::NotADirectory { point },
            _ => Self::Point { point, error },
        }
    }

    pub(super) fn refused(point: &Path, error: io::Error) -> MountError {
        let point = point.to_owned();
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::PERM | Errno::ACCESS) => Self::NotPermitted { point },
            Some(Errno::NODEV) => Self::NoDevice,
            _ => Self::Mount { point, error },
        }
    }
}
