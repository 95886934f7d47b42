//! `stackglue mount`, `stackglue umount`, and the mount helper that mount(8) starts.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;

use daemon::{Client, ClientError, DaemonPlugin, location};
use dlm::Errno;
use dlmfs::control::ControlFs;
use dlmfs::mount::{End, Filesystem, Mount, MountError, Options, unmount};
use dlmfs::{DlmFs, Lost, background};
use rustix::fs::OFlags;
use stackglue::{ConnectRefused, Plugin};

use crate::arguments::{HelperArguments, How, MountArguments, UmountArguments, What};
use crate::control::DaemonSource;
use crate::exit::{self, Failure, NOT_PERMITTED, OS_ERROR, USAGE};
use crate::session;

/// The program's name when mount(8) starts it as a helper: one of these, or a path that ends so.
const HELPERS: [&str; 2] = [DLMFS, "mount.fuse.stackglue-dlmfs"];

/// Whether a program of that name is the mount helper.
pub(crate) fn is_helper(program: &OsStr) -> bool {
    let name = Path::new(program).file_name();
    HELPERS.iter().any(|helper| name == Some(OsStr::new(helper)))
}

/// Mounts as mount(8) asks for it.
pub(crate) fn help(arguments: &HelperArguments) -> Result<u8, Failure> {
    mount_dlmfs(&arguments.how, &arguments.point)
}

/// Mounts.
pub(crate) fn run(arguments: &MountArguments) -> Result<u8, Failure> {
    match &arguments.what {
        What::Dlmfs(arguments) => mount_dlmfs(&arguments.how, &arguments.point),
        What::Control(arguments) => mount_control(&arguments.how, &arguments.point),
    }
}

/// Unmounts.
pub(crate) fn undo(arguments: &UmountArguments) -> Result<u8, Failure> {
    match unmount(DLMFS, &arguments.point) {
        Err(MountError::NotMounted { .. }) => unmount(CONTROL, &arguments.point)?,
        outcome => outcome?,
    }
    Ok(0)
}

fn mount_dlmfs(how: &How, point: &Path) -> Result<u8, Failure> {
    serve("dlmfs", DLMFS, how, point, || {
        // What keeps it from being used is told now, not when the first domain is joined.
        drop(session::connect_or_start(COMMAND)?);
        let filesystem = DlmFs::new(Box::new(find_daemon));
        let put_away = filesystem.put_away();
        let last = move |end| {
            put_away
                .run(end)
                .map_err(|error| Failure::os("wait until every lock is dropped", error))
        };
        Ok((filesystem, last))
    })
}

fn mount_control(how: &How, point: &Path) -> Result<u8, Failure> {
    let make = || Ok((ControlFs::new(Arc::new(DaemonSource)), |_| Ok(())));
    serve("control", CONTROL, how, point, make)
}

/// Mounts a file system, here or in the background. `word` is what is typed for it; `make` gives it, and
/// what is left to do when it is mounted no more.
fn serve<F, L>(
    word: &str,
    kind: &'static str,
    how: &How,
    point: &Path,
    make: impl FnOnce() -> Result<(F, L), Failure>,
) -> Result<u8, Failure>
where
    F: Filesystem + Send + Sync + 'static,
    L: FnOnce(End) -> Result<(), Failure>,
{
    let options = Options::parse(&how.option_list())?;
    if !how.foreground && !how.detached {
        return start_in_background(word, how, point);
    }
    daemon::close_inherited();
    daemon::log_to_stderr();
    let (filesystem, last) = make()?;
    let ready = || {
        if how.detached {
            if let Err(error) = background::detach(open_log(word)) {
                exit::warn(&format!("the terminal cannot be left: {error}"));
            }
        } else {
            daemon::notify_ready();
        }
    };
    let end = Mount::new(kind, point, options).serve(filesystem, ready)?;
    last(end)?;
    Ok(0)
}

fn start_in_background(word: &str, how: &How, point: &Path) -> Result<u8, Failure> {
    let list = how.option_list();
    let mut arguments: Vec<&OsStr> = ["mount", word, "--detached"].map(OsStr::new).to_vec();
    if !list.is_empty() {
        arguments.extend([OsStr::new("-o"), OsStr::new(&list)]);
    }
    arguments.extend([OsStr::new("--"), point.as_os_str()]);
    match background::start(&session::this_program(), arguments) {
        Ok(Ok(())) => Ok(0),
        // It has said why.
        Ok(Err(status)) => Err(Failure::new(status_of(status), "")),
        Err(error) => Err(Failure::os("serve in the background", error)),
    }
}

fn status_of(status: ExitStatus) -> u8 {
    match exit::of_command(status) {
        0 => OS_ERROR,
        status => status,
    }
}

/// The host's daemon as the stack of the file system.
fn find_daemon(lost: Lost) -> Result<Arc<dyn Plugin>, ConnectRefused> {
    let refused = |error: ClientError| {
        let errno = match &error {
            ClientError::PermissionDenied { .. } => Errno::EACCES,
            // What fs/dlm says where its control daemon does not run.
            _ => Errno::ESRCH,
        };
        ConnectRefused { errno, reason: error.to_string() }
    };
    let client: Client =
        daemon::connect_or_start(COMMAND, &session::this_program()).map_err(refused)?;
    let plugin = DaemonPlugin::new(client, move |reason| lost(reason)).map_err(refused)?;
    Ok(Arc::new(plugin))
}

/// Where the process in the background says what happens, beside the daemon's socket.
fn open_log(word: &str) -> Option<File> {
    let path = location::default_socket().with_added_extension(format!("{word}.log"));
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path).ok()
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Failure {
        let status = match &error {
            MountError::Option { .. } | MountError::NotADirectory { .. } => USAGE,
            MountError::AlreadyMounted { .. }
            | MountError::NotMounted { .. }
            | MountError::Busy { .. } => exit::CONFLICT,
            error if error.is_denied() => NOT_PERMITTED,
            _ => OS_ERROR,
        };
        Failure::new(status, error.to_string())
    }
}

const DLMFS: &str = "stackglue-dlmfs";
const CONTROL: &str = "stackglue-control";
/// What others see who ask who holds a lock.
const COMMAND: &str = "stackglue mount dlmfs";
