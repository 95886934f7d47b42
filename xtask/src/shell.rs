//! Running other programs from the top of the repository.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies below the top")
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Whether what is printed is looked at on a terminal, by someone who has not refused colours.
pub(crate) fn colours() -> bool {
    stdout().is_terminal() && stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// The cargo that runs this program.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Shell {
    Shell::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(arguments)
}

/// A program to run from the top of the repository, without standard input.
pub(crate) struct Shell(Command);

/// What a program printed while it also reached the person who runs us.
pub(crate) struct Heard {
    pub(crate) success: bool,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

impl Shell {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Shell {
        let mut command = Command::new(program);
        command
            .current_dir(root())
            .stdin(Stdio::null())
            .env("CARGO_TERM_COLOR", if colours() { "always" } else { "never" });
        Shell(command)
    }

    pub(crate) fn args<const N: usize>(mut self, arguments: [&str; N]) -> Shell {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Shell {
        self.0.env(name, value);
        self
    }

    /// The command as a person would type it.
    pub(crate) fn line(&self) -> String {
        let program = Path::new(self.0.get_program()).file_name().unwrap_or_default();
        let words = std::iter::once(program).chain(self.0.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    /// Runs it with its output going where ours goes.
    pub(crate) fn succeeds(mut self) -> bool {
        match self.0.status() {
            Ok(status) => status.success(),
            Err(error) => {
                eprintln!("cannot run {}: {error}", self.line());
                false
            }
        }
    }

    /// Runs it silently: whether it is there and content.
    pub(crate) fn answers(mut self) -> bool {
        self.0.stdout(Stdio::null()).stderr(Stdio::null());
        self.0.status().is_ok_and(|status| status.success())
    }

    /// Runs it silently, unless it fails: then what it complained.
    pub(crate) fn quietly(mut self) -> Result<(), String> {
        match self.0.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
            Err(error) => Err(format!("cannot run {}: {error}", self.line())),
        }
    }

    /// Runs it, passes its output on line by line, and keeps a copy.
    pub(crate) fn hear(self) -> Heard {
        self.hear_as("")
    }

    /// The same for one of several that run at once: `name` stands before each line that is passed on.
    pub(crate) fn hear_as(mut self, name: &str) -> Heard {
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match self.0.spawn() {
            Ok(child) => child,
            Err(error) => {
                eprintln!("cannot run {}: {error}", self.line());
                return Heard { success: false, text: String::new() };
            }
        };
        let err = child.stderr.take();
        let out = child.stdout.take();
        let text = thread::scope(|scope| {
            let err =
                scope.spawn(|| err.map_or_else(String::new, |pipe| tee(pipe, stderr(), name)));
            let out = out.map_or_else(String::new, |pipe| tee(pipe, stdout(), name));
            out + &err.join().unwrap_or_default()
        });
        Heard { success: child.wait().is_ok_and(|status| status.success()), text }
    }
}

/// Copies lines as they come; a reader of ours that went away stops the copy, not the program.
fn tee(from: impl Read, mut to: impl Write, name: &str) -> String {
    let mut text = String::new();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        text.push_str(&String::from_utf8_lossy(&line));
        // In one go: others may write to the same place.
        line.splice(0..0, name.bytes());
        let _ = to.write_all(&line).and_then(|()| to.flush());
        line.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_of_a_program_are_heard_and_its_status() {
        let heard = Shell::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).hear();
        assert!(!heard.success);
        assert_eq!(heard.text, "out\nerr\n");
    }

    #[test]
    fn a_quiet_program_is_heard_only_when_it_fails() {
        assert_eq!(Shell::new("sh").args(["-c", "echo noise >&2"]).quietly(), Ok(()));
        let complaint = Shell::new("sh").args(["-c", "echo out; echo why >&2; false"]).quietly();
        assert_eq!(complaint, Err("why".to_owned()));
        assert!(Shell::new("no-such-program-of-ours").quietly().is_err());
    }

    #[test]
    fn a_program_that_is_not_there_does_not_succeed() {
        assert!(!Shell::new("no-such-program-of-ours").answers());
        assert!(!Shell::new("no-such-program-of-ours").hear().success);
    }

    #[test]
    fn standard_input_is_empty() {
        assert_eq!(Shell::new("cat").hear().text, "");
    }
}
