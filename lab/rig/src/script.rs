//! The lab's own command, `lab/lab`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, about};

/// The command with one lab's directory and namespace.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) directory: PathBuf,
    pub(crate) namespace: String,
}

impl Script {
    /// The lab in `directory`, whose namespace is named like it.
    pub(crate) fn of(directory: PathBuf) -> Script {
        let namespace = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Script { directory, namespace }
    }

    pub(crate) fn command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(path());
        command.args(arguments).stdin(Stdio::null());
        command.env("LAB_DIR", &self.directory).env("LAB_NS", &self.namespace);
        // Every lab may have the same addresses: each is in a namespace of its own.
        command.env_remove("LAB_NET");
        command
    }

    /// Runs it to its end; what it printed.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String, Error> {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let words = words.join(" ");
        let output = about(format!("lab {words}"), self.command(arguments).output())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        Err(Error::Script { arguments: words, status: output.status.to_string(), stderr })
    }
}

/// Where the command is.
pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("lab")
}
