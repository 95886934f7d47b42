//! Why the daemon does not run, and the exit status that says so.

use std::io;
use std::path::PathBuf;

use o2cb::StartError;
use stackglue::{AttributeError, ConnectError};

use crate::config::ConfigError;
use crate::location::LocationError;
use crate::server::fence;
use crate::token::TokenError;

/// Why the daemon did not start, or stopped. Displays as one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The socket's place cannot be used.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// There is no new fencing epoch.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Another daemon serves the socket.
    #[error(
        "another stackglued{pid} serves {}: stop it first, or give this one another socket",
        socket.display()
    )]
    Running {
        /// The socket.
        socket: PathBuf,
        /// ` (pid N)`, if known.
        pid: String,
    },
    /// The group that should use the socket does not exist.
    #[error(
        "socket_group = {group:?}: no such group in /etc/group; create it with `groupadd {group}`"
    )]
    NoGroup {
        /// The group.
        group: String,
    },
    /// The stack label, or the heartbeat control program, cannot be set.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// The stack cannot be used.
    #[error("stack {label:?} cannot be used here: {error}")]
    Stack {
        /// Its label.
        label: String,
        /// Why.
        error: ConnectError,
    },
    /// The stack's plugin is not part of this daemon.
    #[error(
        "stack {label:?} needs the {plugin} plugin, which this stackglued does not have: choose \
         another one with `stack = \"...\"` in the configuration, such as \"solo\""
    )]
    NoPlugin {
        /// The label.
        label: String,
        /// The plugin's name.
        plugin: &'static str,
    },
    /// The node of the stack `o2cb` does not start.
    #[error("the node does not start: {error}{}", cause(.error))]
    Node {
        /// Why.
        error: StartError,
    },
    /// The node had to stop at once: it has lost its disk or its peers.
    #[error("this node was fenced: {reason}")]
    Fenced {
        /// What it has lost.
        reason: String,
    },
    /// A file beside the socket cannot be made or locked.
    #[error("cannot {what} {}: {error}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// The event loop failed.
    #[error("the event loop failed: {0}")]
    Loop(io::Error),
}

impl DaemonError {
    pub(crate) fn from_stack(label: &str, error: ConnectError) -> DaemonError {
        let label = label.to_owned();
        match error {
            ConnectError::NoPlugin { plugin, .. } => DaemonError::NoPlugin { label, plugin },
            error => DaemonError::Stack { label, error },
        }
    }

    /// The exit status of `stackglued`, from `sysexits.h`.
    ///
    /// | status | name | when |
    /// |---|---|---|
    /// | 69 | `EX_UNAVAILABLE` | another daemon serves the socket, or the stack cannot be used |
    /// | 71 | `EX_OSERR` | the event loop failed |
    /// | 73 | `EX_CANTCREAT` | the token store, the socket or a file beside it cannot be made |
    /// | 75 | `EX_TEMPFAIL` | the node of the stack `o2cb` did not start, or was fenced |
    /// | 77 | `EX_NOPERM` | the socket's directory is not safe |
    /// | 78 | `EX_CONFIG` | the configuration is wrong |
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Running { .. } | Self::Stack { .. } | Self::NoPlugin { .. } => 69,
            Self::Loop(_) => 71,
            Self::Node { .. } | Self::Config(ConfigError::Device { .. }) | Self::Fenced { .. } => {
                fence::EXIT_STATUS
            }
            Self::Token(_) | Self::File { .. } => 73,
            Self::Location(LocationError::Foreign { .. } | LocationError::Writable { .. }) => 77,
            Self::Location(_) => 73,
            Self::Config(_) | Self::Attribute(_) | Self::NoGroup { .. } => 78,
        }
    }
}

/// What a disk's error keeps to itself.
fn cause(error: &StartError) -> String {
    match error {
        StartError::Disk(_) => {
            let source = std::error::Error::source(error);
            source.map(|source| format!(": {source}")).unwrap_or_default()
        }
        _ => String::new(),
    }
}
