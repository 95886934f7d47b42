//! What can go wrong.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::job::Output;

/// Why the lab, a guest or a command in a guest did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lab's own command failed. Nothing is known to be left behind by it.
    #[error("`lab {arguments}` failed ({status}): {stderr}")]
    Script {
        /// What it was asked.
        arguments: String,
        /// How it ended, for people.
        status: String,
        /// What it said, without the last line end.
        stderr: String,
    },
    /// A guest is dead: killed, or it fenced itself.
    #[error("guest {guest} is dead; its last words:\n{last_words}")]
    Dead {
        /// Which guest, from 1.
        guest: u8,
        /// The end of its console.
        last_words: String,
    },
    /// Nothing came in time. What was asked may still happen.
    #[error("guest {guest}: no {what} within {limit:?}")]
    Late {
        /// Which guest, from 1.
        guest: u8,
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// A command in a guest ended with another status than 0.
    #[error("`{command}` in guest {guest} ended with status {}: {}{}", output.code, output.stdout, output.stderr)]
    Status {
        /// Which guest, from 1.
        guest: u8,
        /// What was run.
        command: String,
        /// Everything it said.
        output: Box<Output>,
    },
    /// Something of the lab is not what it should be.
    #[error("{path}: {problem}")]
    Unexpected {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or process of the lab could not be used.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// Says what an I/O error is about.
pub(crate) fn about<T>(what: impl ToString, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::Io { what: what.to_string(), source })
}
