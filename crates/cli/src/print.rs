//! Standard output that may be a pipe whose reader has gone.

use std::io::{self, Write};
use std::process::exit;

use serde::Serialize;

use crate::exit::{OS_ERROR, warn};

/// Prints a text as it is.
pub(crate) fn text(text: &str) {
    let mut out = io::stdout().lock();
    tolerate_a_closed_pipe(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Prints one JSON object on a line.
pub(crate) fn json(value: &impl Serialize) {
    let line = serde_json::to_string(value).map(|line| line + "\n");
    match line {
        Ok(line) => text(&line),
        Err(error) => tolerate_a_closed_pipe(Err(error.into())),
    }
}

/// Ends the program when standard output cannot be written: silently when its reader has seen enough,
/// as `head` has.
pub(crate) fn tolerate_a_closed_pipe(result: io::Result<()>) {
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            warn(&format!("cannot write to standard output: {error}"));
            exit(OS_ERROR.into());
        }
    }
}
