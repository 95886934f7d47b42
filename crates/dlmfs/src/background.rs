//! Serving in the background: the command returns when the file system can be used.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Starts `program` and waits until it calls [`detach`]: then it lives on by itself. `Err` has its exit
/// status when it ends before; it has said why on standard error.
///
/// # Errors
///
/// The program cannot be started or waited for.
pub fn start<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> io::Result<Result<(), ExitStatus>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = [0];
    let ready = match &mut child.stdout {
        Some(stdout) => loop {
            match stdout.read(&mut said) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome? > 0,
            }
        },
        None => false,
    };
    if ready { Ok(Ok(())) } else { child.wait().map(Err) }
}

/// Tells the process that started this one that it is ready, and leaves its session and its terminal.
/// What is printed from now on goes to `log`, if there is one.
///
/// # Errors
///
/// `/dev/null` cannot be opened, or not put in place of the terminal.
pub fn detach(log: Option<File>) -> io::Result<()> {
    // Fails for the leader of a process group, who needs none.
    let _ = rustix::process::setsid();
    // `/` is in nobody's way.
    std::env::set_current_dir("/")?;
    // Whoever waits for this may have gone.
    let _ = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(log.as_ref().unwrap_or(&nowhere))?;
    Ok(())
}
