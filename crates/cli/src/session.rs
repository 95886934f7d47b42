//! Reaching the daemon, or being it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use daemon::{Client, ClientError, location};

use crate::exit::{Failure, NOT_PERMITTED, SOFTWARE};

/// Connects to the daemon; starts one for this user if none runs and none is configured. `command` is
/// what others see who ask who holds a lock.
pub(crate) fn connect_or_start(command: &str) -> Result<Client, Failure> {
    Ok(daemon::connect_or_start(command, &this_program())?)
}

/// The same, until `deadline` at most; `None` when that passed, and this process should end soon then.
///
/// A daemon that is started may take longer than that to be ready.
pub(crate) fn connect_or_start_until(
    command: &str,
    deadline: Instant,
) -> Result<Option<Client>, Failure> {
    let (sender, receiver) = mpsc::channel();
    let command = command.to_owned();
    thread::spawn(move || {
        // Fails when nobody waits any more.
        let _ = sender.send(connect_or_start(&command));
    });
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(connected) => connected.map(Some),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => {
            Err(Failure::new(SOFTWARE, "connecting to the daemon failed"))
        }
    }
}

/// Connects to the daemon; `None` when none runs.
pub(crate) fn connect_if_running(command: &str) -> Result<Option<Client>, Failure> {
    let socket = location::default_socket();
    location::check_before_connecting(&socket)
        .map_err(|error| Failure::new(NOT_PERMITTED, error.to_string()))?;
    match Client::connect(&socket, command) {
        Ok(client) => Ok(Some(client)),
        Err(ClientError::NotRunning { .. } | ClientError::Left { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Serves until told to stop.
pub(crate) fn be_the_daemon(options: &daemon::Options) -> ExitCode {
    daemon::start(options)
}

/// The file of this program; the kernel's own link to it when an update has replaced the file.
pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|program| program.exists())
        .unwrap_or_else(|| "/proc/self/exe".into())
}
