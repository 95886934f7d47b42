//! The daemon as a program.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use sd_notify::NotifyState;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::error::DaemonError;
use crate::server::Server;

/// The command line of `stackglued` and of `stackglue daemon`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Read this configuration instead of /etc/stackglue/stackglued.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve this socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Use the stack of this label
    #[arg(long, value_name = "LABEL")]
    pub stack: Option<String>,
    /// Keep the fencing epoch in this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
    /// Leave after so many seconds without a client and a lock
    #[arg(long, value_name = "SECONDS")]
    pub idle_exit: Option<u64>,
    /// Started by a client: leave its session, say on standard output when ready
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// What `main` does: closes what was inherited, runs the daemon, prints what kept it from running and
/// returns [`DaemonError::exit_status`].
///
/// To be called first thing in `main`: it closes every file descriptor above standard error, whoever
/// opened it. A daemon started by `stackglue lock` below another `stackglue lock` would otherwise keep
/// the socket of the outer one open, and its lock held.
pub fn start(options: &Options) -> ExitCode {
    close_inherited();
    log_to_stderr();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The status counts also when nobody can be told.
            let _ = writeln!(std::io::stderr(), "stackglued: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

/// Has this process log to standard error what the environment variable `STACKGLUE_LOG` asks for.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("STACKGLUE_LOG")
        // FUSE's library warns of every answer that came after the interrupt of its request.
        .unwrap_or_else(|_| "info,fuse3=error".into());
    // Fails only when a subscriber is set already; then that one counts.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        // A log that cannot be written is no reason to panic: least of all while this node is fenced.
        .log_internal_errors(false)
        .try_init();
}

/// Runs the daemon until SIGTERM, SIGINT, or until it was idle for long enough.
///
/// # Errors
///
/// [`DaemonError`].
pub fn run(options: &Options) -> Result<(), DaemonError> {
    if options.detached {
        // Fails for the leader of a process group, who needs none.
        let _ = rustix::process::setsid();
    }
    let config = Config::load(options)?;
    raise_descriptor_limit();
    let mut server = Server::bind(config)?;
    server.stop_on_signals()?;
    tracing::info!(socket = %server.socket().display(), epoch = server.epoch(), "ready");
    if options.detached {
        // The client that waits for this may have gone.
        let _ = writeln!(std::io::stdout(), "ready");
        return server.run();
    }
    notify_ready();
    let outcome = server.run();
    notify(NotifyState::Stopping);
    outcome
}

/// Tells systemd, if it started this process, that it is ready.
pub fn notify_ready() {
    notify(NotifyState::Ready);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// A process costs a descriptor: the usual soft limit of 1024 is for programs that use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Closes every file descriptor above standard error, whoever opened it: what is to outlive the command
/// that started it must not keep the locks of that command.
pub fn close_inherited() {
    let descriptors: Vec<i32> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in descriptors.into_iter().filter(|descriptor| *descriptor > 2) {
        // The list's own descriptor is closed already.
        let _ = nix::unistd::close(descriptor);
    }
}
