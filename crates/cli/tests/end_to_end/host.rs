//! A host of one test: a socket and a token store of its own, and the daemon that the first command
//! starts there.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

/// Long enough for a loaded machine, and never waited for in full when things work.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends its daemon, and with it its locks, when dropped.
pub(crate) struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A file of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// `stackglue` with these arguments, on this host.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        self.set_up(Command::new(program()), arguments)
    }

    /// `sh -c SCRIPT`, where `$0` is `stackglue` on this host.
    pub(crate) fn shell(&self, script: &str) -> Command {
        self.set_up(Command::new("sh"), &["-c", script, program()])
    }

    /// Any program with more arguments, on this host.
    pub(crate) fn set_up<S: AsRef<OsStr>>(&self, mut command: Command, arguments: &[S]) -> Command {
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("STACKGLUE_SOCKET", self.socket())
            .env("STACKGLUE_STATE_DIR", self.path("state"))
            .env_remove("STACKGLUE_NO_AUTOSTART")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `stackglue` to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        Ran::from(self.command(arguments).output().expect("stackglue starts"))
    }

    /// Runs `stackglue` and expects status 0.
    pub(crate) fn run_well<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.status, 0, "{ran:?}");
        ran
    }

    /// Starts `stackglue lock ARGUMENTS` and waits until its command has said `held`.
    pub(crate) fn hold<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        let mut command = self.command(&["lock"]);
        command.args(arguments);
        let mut running = Running::start(command);
        running.expect_line("held");
        running
    }

    /// Every lock of this host.
    pub(crate) fn locks(&self) -> Vec<Value> {
        let ran = self.run_well(&["locks", "--json"]);
        ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Waits until so many locks are in a queue.
    pub(crate) fn await_queue(&self, queue: &str, count: usize) {
        eventually(&format!("{count} locks {queue}"), || {
            self.locks().iter().filter(|lock| lock["queue"] == queue).count() == count
        });
    }

    pub(crate) fn await_no_lock(&self) {
        eventually("no lock", || self.locks().is_empty());
    }

    /// The daemon's process, while one runs.
    pub(crate) fn daemon(&self) -> Option<Pid> {
        let ran = self.run(&["status", "--json"]);
        if ran.status != 0 {
            return None;
        }
        let status: Value = serde_json::from_str(&ran.out).expect("JSON");
        Pid::from_raw(status["pid"].as_i64()?.try_into().ok()?)
    }

    /// Kills the daemon and waits until it is gone.
    pub(crate) fn kill_daemon(&self) {
        let daemon = self.daemon().expect("a daemon runs");
        kill_process(daemon, Signal::KILL).expect("it runs");
        eventually("the daemon's end", || !runs(daemon));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon() {
            let _ = kill_process(daemon, Signal::KILL);
        }
    }
}

/// What a program that has ended left.
#[derive(Debug)]
pub(crate) struct Ran {
    /// As a shell sees it: 128 and the signal when one ended the program.
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Expects a status and one sentence on standard error that has these words.
    #[track_caller]
    pub(crate) fn expect_sentence(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "one line: {self:?}");
        assert!(self.err.starts_with("stackglue: "), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word}: {self:?}");
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { status: status(output.status), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// A program that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command.spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Running { child, out }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// The next line of its output; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn expect_line(&mut self, expected: &str) {
        let line = self.line();
        if line != expected {
            let mut err = String::new();
            let _ = self.child.kill();
            if let Some(mut pipe) = self.child.stderr.take() {
                let _ = pipe.read_to_string(&mut err);
            }
            panic!("{line:?} instead of {expected:?}: {err}");
        }
    }

    /// The next line of its output as a process id.
    pub(crate) fn pid_line(&mut self) -> Pid {
        Pid::from_raw(self.line().parse().expect("a number")).expect("a pid")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Waits for its end; what it printed since then is in the result.
    pub(crate) fn end(self) -> Ran {
        self.end_within(PATIENCE)
    }

    /// Waits for its end for a time that is long enough for it.
    pub(crate) fn end_within(mut self, patience: Duration) -> Ran {
        within(patience, "the end of the command", || self.has_ended());
        let status = status(self.child.wait().expect("a child of ours"));
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).expect("text");
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut err).expect("text");
        }
        Ran { status, out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition, for [`PATIENCE`] at most.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(PATIENCE, what, condition);
}

#[track_caller]
fn within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub(crate) fn runs(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rfind(')').and_then(|end| stat[end + 1..].trim_start().chars().next());
    test_kill_process(process).is_ok() && !matches!(state, None | Some('Z' | 'X'))
}

/// A command that says `held` and then stays for as long as a test may take.
pub(crate) const STAY: [&str; 4] = ["--", "sh", "-c", "echo held; exec sleep 600"];

pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_stackglue")
}

fn status(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("one of both")
}
