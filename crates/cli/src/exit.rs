//! Exit statuses, and the one sentence that goes with a failure.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use daemon::ClientError;
use dlm::Errno;

use crate::table::tame;

/// The lock is held by others and we were not to wait, or not any longer; nothing was found; the daemon
/// refused for now. `flock(1)` has the same.
pub(crate) const CONFLICT: u8 = 1;
/// `stackglue value get`: there is a value, but it may not be trusted.
pub(crate) const NOT_VALID: u8 = 2;
/// `stackglue status`: no daemon runs. `systemctl status` has the same.
pub(crate) const NOT_RUNNING: u8 = 3;
/// What was typed cannot be (`EX_USAGE` of `sysexits.h`).
pub(crate) const USAGE: u8 = 64;
/// There is no daemon to ask (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
/// The daemon and this program do not understand each other (`EX_SOFTWARE`).
pub(crate) const SOFTWARE: u8 = 70;
/// The system refused something (`EX_OSERR`).
pub(crate) const OS_ERROR: u8 = 71;
/// The lock was lost or revoked while the command ran, and the command was stopped (`EX_TEMPFAIL`).
pub(crate) const LOST: u8 = 75;
/// This user may not do that (`EX_NOPERM`).
pub(crate) const NOT_PERMITTED: u8 = 77;
/// A configuration is wrong (`EX_CONFIG`).
pub(crate) const CONFIG: u8 = 78;
/// The command was found and cannot be run, as in a shell.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found, as in a shell.
pub(crate) const NOT_FOUND: u8 = 127;

/// Why we did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    /// Empty when there is nothing to say.
    sentence: String,
}

impl Failure {
    pub(crate) fn new(status: u8, sentence: impl Into<String>) -> Failure {
        Failure { status, sentence: sentence.into() }
    }

    /// The same with another status.
    pub(crate) fn with_status(self, status: u8) -> Failure {
        Failure { status, ..self }
    }

    pub(crate) fn os(what: &str, error: impl std::fmt::Display) -> Failure {
        Failure::new(OS_ERROR, format!("cannot {what}: {error}"))
    }

    /// The system refused to do something to a file.
    pub(crate) fn file(error: &std::io::Error, sentence: impl Into<String>) -> Failure {
        let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
        Failure::new(if denied { NOT_PERMITTED } else { OS_ERROR }, sentence)
    }

    /// Tells it on standard error.
    pub(crate) fn report(self) -> ExitCode {
        if !self.sentence.is_empty() {
            warn(&self.sentence);
        }
        ExitCode::from(self.status)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let status = match &error {
            ClientError::NotRunning { .. }
            | ClientError::CannotStart { .. }
            | ClientError::Left { .. }
            | ClientError::ConnectionLost { .. } => UNAVAILABLE,
            ClientError::PermissionDenied { .. } => NOT_PERMITTED,
            ClientError::Refused { errno, .. } => of_errno(*errno),
            ClientError::Invalid(_) => USAGE,
            ClientError::Io { .. } => OS_ERROR,
            _ => SOFTWARE,
        };
        Failure::new(status, error.to_string())
    }
}

/// The status for what the daemon refused with this errno.
pub(crate) fn of_errno(errno: i32) -> u8 {
    match Errno::from_number(errno) {
        Some(Errno::EAGAIN | Errno::EBUSY | Errno::ENOENT | Errno::ETIMEDOUT) => CONFLICT,
        Some(Errno::EINVAL | Errno::ENAMETOOLONG | Errno::E2BIG) => USAGE,
        Some(Errno::EPERM | Errno::EACCES) => NOT_PERMITTED,
        Some(Errno::EHOSTDOWN | Errno::ESRCH | Errno::ENOTCONN) => UNAVAILABLE,
        _ => OS_ERROR,
    }
}

/// A command's own status, or 128 and the signal that ended it.
pub(crate) fn of_command(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(after_signal));
    // Both are in range: the kernel keeps 8 bits of a status, and signals end at 64.
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(SOFTWARE)
}

/// 128 and the signal.
pub(crate) fn after_signal(signal: i32) -> i32 {
    128 + signal
}

/// Prints `stackglue: SENTENCE` on standard error, in one write and on one line; nobody is left to tell
/// when that fails.
pub(crate) fn warn(sentence: &str) {
    // Commands and purposes in it are the words of others.
    let line = format!("stackglue: {}\n", tame(&sentence.replace('\n', " "), usize::MAX));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_s_status_is_its_own_or_128_and_the_signal() {
        assert_eq!(of_command(ExitStatus::from_raw(0)), 0);
        assert_eq!(of_command(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(of_command(ExitStatus::from_raw(9)), 137);
        assert_eq!(of_command(ExitStatus::from_raw(64)), 192);
    }

    #[test]
    fn a_conflict_a_mistake_and_a_failure_have_different_statuses() {
        assert_eq!(of_errno(Errno::EAGAIN.number()), CONFLICT);
        assert_eq!(of_errno(Errno::EINVAL.number()), USAGE);
        assert_eq!(of_errno(Errno::ENOSPC.number()), OS_ERROR);
        assert_eq!(of_errno(0), OS_ERROR);
    }
}
