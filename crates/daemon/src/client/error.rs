//! What goes wrong between a process and the daemon.

use std::io;
use std::path::PathBuf;

/// Why a client call failed. Each displays as one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no stackglued listens at {}: {advice}", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// This user may not use the daemon.
    #[error("{text}")]
    PermissionDenied {
        /// Which socket, and how to be let in.
        text: String,
    },
    /// No daemon runs and none could be started.
    #[error("no daemon runs and none could be started: {reason}")]
    CannotStart {
        /// Why.
        reason: String,
    },
    /// The daemon was leaving when we connected: connect again.
    #[error("the daemon at {} was leaving: try again", socket.display())]
    Left {
        /// The socket.
        socket: PathBuf,
    },
    /// The daemon did not let this process in.
    #[error("{text}")]
    Rejected {
        /// Why.
        text: String,
    },
    /// The connection ended. Every lock of this client is gone.
    #[error("{reason}")]
    ConnectionLost {
        /// Why.
        reason: String,
    },
    /// What answers at the socket does not speak the protocol.
    #[error("what listens at {} does not speak the protocol of this stackglue: {reason}", socket.display())]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// What it sent.
        reason: String,
    },
    /// The daemon refused a control request.
    #[error("{text}")]
    Refused {
        /// Why, as an errno.
        errno: i32,
        /// Why.
        text: String,
    },
    /// An argument that cannot be; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// A system call failed.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was tried, and on which file.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}
