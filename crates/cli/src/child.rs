//! The command that runs under a lock, started so that it does not outlive its lock.
//!
//! The command keeps copies of our connection to the daemon and of the holders file: whatever becomes of
//! this process, the lock lasts until the command is gone. So that this is soon, the kernel is asked to
//! kill the command when we die. Only the command itself can ask for that, before it runs; this program
//! is therefore started once more, asks, and becomes the command. No `unsafe` code between `fork` and
//! `exec` is needed.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::exit::{Failure, NOT_EXECUTABLE, NOT_FOUND, OS_ERROR, USAGE};

/// First argument of the start that becomes the command; then come our process id and the command.
pub(crate) const STARTER: &str = "__exec";

/// Starts a command with other environment variables than ours: set, or taken away.
///
/// Must be called on the main thread: the kernel kills the command when the thread ends that started it.
pub(crate) fn start(
    command: &[OsString],
    environment: impl IntoIterator<Item = (&'static str, Option<OsString>)>,
) -> Result<Child, Failure> {
    // The link leads to this very program even when an update has replaced its file.
    let mut start = Command::new("/proc/self/exe");
    for (name, value) in environment {
        match value {
            Some(value) => start.env(name, value),
            None => start.env_remove(name),
        };
    }
    start
        .arg0("stackglue")
        .arg(STARTER)
        .arg(std::process::id().to_string())
        .args(command)
        .spawn()
        .map_err(|error| Failure::os("start a process", error))
}

/// Becomes the command. Returns only when that failed.
pub(crate) fn become_command(arguments: &[OsString]) -> Failure {
    let [parent, program, arguments @ ..] = arguments else {
        return Failure::new(USAGE, format!("{STARTER} is for the use of stackglue itself"));
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Failure::os("ask to be killed with the process that holds the lock", error);
    }
    // It may have died before we asked; then nobody would kill us.
    let now = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if now.as_deref().map(AsRef::as_ref) != Some(parent.as_os_str()) {
        return Failure::new(OS_ERROR, "the process that holds the lock is gone");
    }
    let error = Command::new(program).args(arguments).exec();
    let shown = program.display();
    match error.kind() {
        ErrorKind::NotFound => Failure::new(NOT_FOUND, format!("{shown}: command not found")),
        _ => Failure::new(NOT_EXECUTABLE, format!("{shown}: cannot be run: {error}")),
    }
}
