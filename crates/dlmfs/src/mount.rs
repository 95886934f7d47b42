//! Mounting a file system of this crate at a path, and unmounting it.
//!
//! What can go wrong before anything is mounted is told in one sentence that says what to do. A mount
//! whose process has died (`transport endpoint is not connected`) is taken away first.

mod error;
mod options;
mod table;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use fuse3::raw::Filesystem;
use fuse3::raw::{MountHandle, Session};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount};
use rustix::process::geteuid;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

pub use error::MountError;
pub use options::Options;
use table::{Entry, mounts_at};

/// A file system to be mounted: as what, where and how.
///
/// ```no_run
/// use stackglue_dlmfs::mount::{Mount, Options};
///
/// # fn serve(filesystem: impl fuse3::raw::Filesystem + Send + Sync + 'static)
/// # -> Result<(), stackglue_dlmfs::mount::MountError> {
/// let mount = Mount::new("stackglue-dlmfs", "/dlm".as_ref(), Options::default());
/// mount.serve(filesystem, || println!("it can be used"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mount {
    kind: &'static str,
    point: PathBuf,
    options: Options,
}

/// How serving a mount has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was unmounted: nobody has a file open any more.
    Unmounted,
    /// This process was told to end: somebody may.
    ToldTo,
}

impl Mount {
    /// To be mounted at `point`. `mount` and `/proc/mounts` show it as the type `fuse.KIND`.
    pub fn new(kind: &'static str, point: &Path, options: Options) -> Mount {
        Mount { kind, point: point.to_owned(), options }
    }

    /// Mounts, calls `ready`, and serves until somebody unmounts it or this process is told to end
    /// (SIGTERM, SIGINT, SIGHUP): then it is unmounted, whoever uses it.
    ///
    /// Blocks. One thread serves every request, so what a request waits for must be a future.
    ///
    /// # Errors
    ///
    /// [`MountError`]; before `ready` nothing is left behind.
    pub fn serve<F>(&self, filesystem: F, ready: impl FnOnce()) -> Result<End, MountError>
    where
        F: Filesystem + Send + Sync + 'static,
    {
        let point = self.prepare()?;
        // Requests become tasks of one thread, and begin in the order in which the kernel sent them:
        // an interrupt never overtakes what it interrupts, nor an unlink the close before it.
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(MountError::Loop)?;
        let outcome = runtime.block_on(self.mount_and_wait(&point, filesystem, ready));
        // A read of the device may still be going on, for as long as somebody uses what was detached.
        runtime.shutdown_background();
        outcome
    }

    async fn mount_and_wait<F>(
        &self,
        point: &Path,
        filesystem: F,
        ready: impl FnOnce(),
    ) -> Result<End, MountError>
    where
        F: Filesystem + Send + Sync + 'static,
    {
        let mut told_to_end = told_to_end().map_err(MountError::Loop)?;
        let mut handle = self.mount(point, filesystem).await?;
        let device = mounts_at(point)?.last().map(|entry| entry.device.clone());
        ready();
        tokio::select! {
            ended = &mut handle => match ended {
                Ok(()) => Ok(End::Unmounted),
                Err(error) => Err(MountError::Served { point: point.to_owned(), error }),
            },
            () = &mut told_to_end => {
                let detached = device.map_or(Ok(()), |device| detach_own(point, &device));
                // It ends when the last file is closed. That is served until then: closes may be on their way.
                let ended = timeout(LAST_CLOSES, &mut handle).await;
                // Dropped, it would unmount whatever is at that path by then.
                std::mem::forget(handle);
                detached?;
                Ok(if ended.is_ok() { End::Unmounted } else { End::ToldTo })
            }
        }
    }

    async fn mount<F>(&self, point: &Path, filesystem: F) -> Result<MountHandle, MountError>
    where
        F: Filesystem + Send + Sync + 'static,
    {
        // Two that are mounted at once would cover each other: whoever comes second sees the first.
        let underlying = lock_directory(point)?;
        self.refuse_a_second(point)?;
        let session = Session::new(self.options.for_fuse(self.kind));
        let mounted = if geteuid().is_root() {
            let mounted = session.mount(filesystem, point).await;
            if mounted.is_ok() && !self.options.flags.is_empty() {
                // FUSE's own options have none of them.
                let flags = MountFlags::BIND | self.options.flags;
                mount_remount(point, flags, "")
                    .map_err(|errno| MountError::refused(point, errno.into()))?;
            }
            mounted
        } else {
            // The helper mounts with nosuid and nodev, whatever is asked for.
            session.mount_with_unprivileged(filesystem, point).await
        };
        drop(underlying);
        mounted.map_err(|error| MountError::refused(point, error))
    }

    /// Whether it can be mounted there. Takes dead mounts away. Returns the path without links.
    fn prepare(&self) -> Result<PathBuf, MountError> {
        check_device()?;
        if !geteuid().is_root() && !helper_is_installed() {
            return Err(MountError::NoHelper);
        }
        let point = resolve(&self.point)?;
        while let Err(error) = fs::metadata(&point) {
            if !is_dead(&error) {
                return Err(MountError::point(&self.point, error));
            }
            self.take_away_dead(&point)?;
        }
        if !fs::metadata(&point).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(MountError::NotADirectory { point: self.point.clone() });
        }
        self.refuse_a_second(&point)?;
        Ok(point)
    }

    fn take_away_dead(&self, point: &Path) -> Result<(), MountError> {
        let top = mounts_at(point)?.pop();
        let dead = match top {
            Some(entry) if entry.kind == fuse_type(self.kind) => entry,
            other => {
                let kind = other.map_or_else(|| "something".to_owned(), |entry| entry.kind);
                return Err(MountError::DeadOther { point: point.to_owned(), kind });
            }
        };
        tracing::info!(point = %point.display(), "a mount whose process is gone is taken away");
        detach_own(point, &dead.device)
    }

    fn refuse_a_second(&self, point: &Path) -> Result<(), MountError> {
        match mounts_at(point)?.last() {
            Some(entry) if entry.kind == fuse_type(self.kind) => {
                Err(MountError::AlreadyMounted { point: point.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

/// Unmounts what [`Mount::serve`] of this kind has mounted there, alive or dead.
///
/// # Errors
///
/// [`MountError::NotMounted`]; [`MountError::Busy`] when somebody uses it.
pub fn unmount(kind: &str, point: &Path) -> Result<(), MountError> {
    let resolved = resolve(point)?;
    match mounts_at(&resolved)?.last() {
        Some(entry) if entry.kind == fuse_type(kind) => unmount_top(&resolved, false),
        _ => Err(MountError::NotMounted { point: point.to_owned() }),
    }
}

/// Unmounts the topmost mount at `point`, busy or not, if it is still the one of this device.
fn detach_own(point: &Path, device: &str) -> Result<(), MountError> {
    match mounts_at(point)?.last() {
        Some(Entry { device: top, .. }) if top == device => unmount_top(point, true),
        _ => Ok(()),
    }
}

fn unmount_top(point: &Path, detach: bool) -> Result<(), MountError> {
    if !geteuid().is_root() {
        return unmount_as_user(point, detach);
    }
    let flags = if detach { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(point, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(MountError::Busy { point: point.to_owned() }),
        Err(error) => Err(MountError::Unmount { point: point.to_owned(), error: error.into() }),
    }
}

fn unmount_as_user(point: &Path, detach: bool) -> Result<(), MountError> {
    let failed = |error| MountError::Unmount { point: point.to_owned(), error };
    let mut helper = Command::new(HELPER);
    helper.arg("-u").args(detach.then_some("-z")).arg("--").arg(point);
    let status = helper.stdin(Stdio::null()).status().map_err(failed)?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(io::Error::other(format!("{HELPER} ended with {status}")))),
    }
}

/// Without symbolic links. The last component may be a dead mount, which cannot be looked at.
fn resolve(point: &Path) -> Result<PathBuf, MountError> {
    let error = match fs::canonicalize(point) {
        Ok(resolved) => return Ok(resolved),
        Err(error) if is_dead(&error) => error,
        Err(error) => return Err(MountError::point(point, error)),
    };
    let absolute = std::path::absolute(point).map_err(|error| MountError::point(point, error))?;
    match (absolute.parent().map(fs::canonicalize), absolute.file_name()) {
        (Some(Ok(parent)), Some(name)) => Ok(parent.join(name)),
        _ => Err(MountError::point(point, error)),
    }
}

fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOTCONN | Errno::CONNABORTED)
    )
}

fn check_device() -> Result<(), MountError> {
    let opened = File::options().read(true).write(true).open(DEVICE);
    match opened.and_then(|device| device.metadata()) {
        Ok(metadata) if metadata.file_type().is_char_device() && metadata.rdev() != 0 => Ok(()),
        Ok(_) => Err(MountError::NoDevice),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(MountError::NoDevice),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NODEV | Errno::NXIO) => Err(MountError::NoDevice),
            Some(Errno::ACCESS | Errno::PERM) => Err(MountError::DeviceDenied),
            _ => Err(MountError::Device(error)),
        },
    }
}

fn helper_is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(HELPER).is_file())
}

fn lock_directory(point: &Path) -> Result<File, MountError> {
    let failed = |error| MountError::point(point, error);
    let flags = i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or_default();
    let directory = File::options().read(true).custom_flags(flags).open(point).map_err(failed)?;
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    Ok(directory)
}

/// Resolves when this process is told to end.
fn told_to_end() -> io::Result<impl Future<Output = ()> + Unpin> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
            _ = hang_up.recv() => (),
        }
    }))
}

fn fuse_type(kind: &str) -> String {
    format!("fuse.{kind}")
}

const DEVICE: &str = "/dev/fuse";
/// Mounts for users who are not root.
const HELPER: &str = "fusermount3";

/// How long files may stay open when the process is told to end.
const LAST_CLOSES: Duration = Duration::from_secs(1);
