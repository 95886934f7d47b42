//! With no daemon and no configuration, the first client starts one for its user.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};

use crate::client::{Client, ClientError};
use crate::config::SYSTEM_CONFIG;
use crate::location;

/// Set to anything: no client starts a daemon.
pub const NO_AUTOSTART_VARIABLE: &str = "STACKGLUE_NO_AUTOSTART";

/// Connects to the daemon of this user, and starts one if nobody listens: `program daemon`, which is
/// this command itself, on stack `solo`. It leaves when it was idle for ten seconds.
///
/// Of any number of clients that find no daemon exactly one starts one. Blocks until the daemon
/// serves, ten seconds at most.
///
/// # Errors
///
/// [`ClientError::NotRunning`] when none may be started, because `STACKGLUE_NO_AUTOSTART` is set or the
/// host has a configuration; [`ClientError::CannotStart`]; and those of [`Client::connect`].
pub fn connect_or_start(command: &str, program: &Path) -> Result<Client, ClientError> {
    connect_or_start_at(&location::default_socket(), command, program)
}

/// [`connect_or_start`] at a socket that the caller chose.
///
/// # Errors
///
/// Those of [`connect_or_start`].
pub fn connect_or_start_at(
    socket: &Path,
    command: &str,
    program: &Path,
) -> Result<Client, ClientError> {
    location::check_before_connecting(socket).map_err(cannot_start)?;
    let forbidden = if std::env::var_os(NO_AUTOSTART_VARIABLE).is_some() {
        Some("STACKGLUE_NO_AUTOSTART is set: start one with `stackglue daemon`")
    } else if Path::new(SYSTEM_CONFIG).exists()
        || (socket == Path::new(location::SYSTEM_SOCKET) && !rustix::process::geteuid().is_root())
    {
        Some("start it with `systemctl start stackglued`")
    } else {
        None
    };
    start_unless(socket, command, program, forbidden)
}

fn start_unless(
    socket: &Path,
    command: &str,
    program: &Path,
    forbidden: Option<&'static str>,
) -> Result<Client, ClientError> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match Client::connect(socket, command) {
            Err(ClientError::Left { .. }) if Instant::now() < deadline => continue,
            Err(ClientError::NotRunning { socket, .. }) => {
                if let Some(advice) = forbidden {
                    return Err(ClientError::NotRunning { socket, advice });
                }
            }
            outcome => return outcome,
        }
        location::prepare_directory(socket).map_err(cannot_start)?;
        // Whoever waits here finds the daemon that the one before started.
        let _starting = start_lock(socket).map_err(cannot_start)?;
        match Client::connect(socket, command) {
            Err(ClientError::NotRunning { .. }) => {
                if let Err(error) = start(socket, program, deadline) {
                    // Somebody who takes no start lock may have been faster.
                    return Client::connect(socket, command).map_err(|_| error);
                }
            }
            Err(ClientError::Left { .. }) if Instant::now() < deadline => {}
            outcome => return outcome,
        }
    }
}

/// Locks the start lock; released when dropped.
fn start_lock(socket: &Path) -> io::Result<File> {
    let path = location::start_lock_file(socket);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Starts a daemon and waits until it serves.
fn start(socket: &Path, program: &Path, deadline: Instant) -> Result<(), ClientError> {
    let log_file = location::log_file(socket);
    // An earlier daemon may still be writing to it.
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&log_file);
    let log = log.map_err(cannot_start)?;
    let log_len = log.metadata().map_err(cannot_start)?.len();
    let mut child = Command::new(program)
        .args(["daemon", "--detached", "--idle-exit", IDLE_EXIT_S, "--socket"])
        .arg(socket)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| cannot_start(format!("{}: {error}", program.display())))?;
    match wait_ready(&mut child, deadline) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let status = child.wait().map_err(cannot_start)?;
            let said = last_sentence(&log_file, log_len).unwrap_or_else(|| status.to_string());
            Err(cannot_start(said))
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let said = last_sentence(&log_file, log_len).unwrap_or_default();
            let log = log_file.display();
            Err(cannot_start(format!("it is not ready after 10 s, see {log}: {said}")))
        }
        Err(error) => Err(cannot_start(error)),
    }
}

/// Whether the daemon says on its standard output that it serves; `false` when it ends before.
fn wait_ready(child: &mut Child, deadline: Instant) -> io::Result<bool> {
    let Some(mut stdout) = child.stdout.take() else { return Ok(false) };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(stdout.read(&mut [0; 64])? > 0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The last line of the log behind its first `skipped` bytes, without name, time and level.
fn last_sentence(log_file: &Path, skipped: u64) -> Option<String> {
    let mut log = File::open(log_file).ok()?;
    log.seek(SeekFrom::Start(skipped)).ok()?;
    let lines = BufReader::new(log).lines();
    let line = lines.map_while(Result::ok).filter(|line| !line.trim().is_empty()).last()?;
    if let Some(sentence) = line.strip_prefix("stackglued: ") {
        return Some(sentence.to_owned());
    }
    let logged = line.split_once("Z ").and_then(|(time, rest)| {
        let is_time = time.bytes().all(|byte| byte.is_ascii_digit() || b"-T:.".contains(&byte));
        let (_level, sentence) = rest.trim_start().split_once(' ')?;
        is_time.then(|| sentence.to_owned())
    });
    Some(logged.unwrap_or(line))
}

fn cannot_start(reason: impl ToString) -> ClientError {
    ClientError::CannotStart { reason: reason.to_string() }
}

const START_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_EXIT_S: &str = "10";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn where_no_daemon_may_be_started_the_error_says_what_to_do() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("s");
        let program = Path::new("/bin/false");
        let refused = start_unless(&socket, "test", program, Some("do this")).expect_err("none");
        assert!(matches!(refused, ClientError::NotRunning { .. }), "{refused}");
        assert!(refused.to_string().ends_with("do this"), "{refused}");
    }

    #[test]
    fn what_a_daemon_said_before_it_failed_is_in_the_error() {
        let top = tempfile::tempdir().expect("a directory");
        let program = top.path().join("program");
        let script = "#!/bin/sh\necho 'stackglued: the reason' >&2\nexit 73\n";
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
        let socket = top.path().join("s");
        fs::write(location::log_file(&socket), "of an earlier daemon\n").expect("written");
        let refused = start_unless(&socket, "test", &program, None).expect_err("it fails");
        assert!(matches!(refused, ClientError::CannotStart { .. }), "{refused}");
        assert!(refused.to_string().ends_with("started: the reason"), "{refused}");
        let log = fs::read_to_string(location::log_file(&socket)).expect("a log");
        assert_eq!(log, "of an earlier daemon\nstackglued: the reason\n");
    }

    #[test]
    fn the_sentence_of_a_log_is_its_last_line_without_name_time_and_level() {
        let top = tempfile::tempdir().expect("a directory");
        let log = top.path().join("log");
        let before = "stackglued: of an earlier daemon\n";
        for (line, sentence) in [
            ("", None),
            ("stackglued: no way\n\n", Some("no way")),
            ("2026-01-02T03:04:05.678901Z  WARN it waits Z here\n", Some("it waits Z here")),
            ("sh: Zed: not found\n", Some("sh: Zed: not found")),
            ("A to Z is said\n", Some("A to Z is said")),
        ] {
            fs::write(&log, format!("{before}{line}")).expect("written");
            assert_eq!(last_sentence(&log, before.len() as u64).as_deref(), sentence);
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let top = tempfile::tempdir().expect("a directory");
        let program = top.path().join("program");
        let refused = start_unless(&top.path().join("s"), "test", &program, None);
        let refused = refused.expect_err("not there").to_string();
        assert!(refused.contains(&program.display().to_string()), "{refused}");
    }
}
