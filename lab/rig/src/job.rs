//! A command in a guest.
//!
//! The guest's agent runs scripts out of a directory that host and guest share (`lab/guest/agent`).
//! A guest writes its files through to the host only when it closes them, so what a long command has
//! printed so far is asked of the guest.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, about};
use crate::guest::Guest;
use crate::wait::PAUSE;

/// A command that runs in a guest, or has ended there. Dropping it does not end it.
pub struct Job<'lab> {
    guest: Guest<'lab>,
    command: String,
    /// Its files in the mailbox.
    id: String,
}

/// How a command in a guest ended, and what it printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Which guest ran it, from 1.
    pub guest: u8,
    /// The command.
    pub command: String,
    /// What it printed, as text.
    pub stdout: String,
    /// What it complained, as text.
    pub stderr: String,
    /// Its exit status as the shell has it: 128 + N if signal N ended it.
    pub code: i32,
}

impl Output {
    /// What it printed, if it ended with 0.
    pub fn success(self) -> Result<String, Error> {
        match self.code {
            0 => Ok(self.stdout),
            _ => Err(Error::Status {
                guest: self.guest,
                command: self.command.clone(),
                output: Box::new(self),
            }),
        }
    }
}

impl<'lab> Job<'lab> {
    pub(crate) fn start(
        guest: Guest<'lab>,
        command: &str,
        detached: bool,
    ) -> Result<Job<'lab>, Error> {
        let id = format!("r{}", NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let job = Job { guest, command: command.to_owned(), id };
        if detached {
            job.write("cmd", command)?;
            job.write("sh", &wrapper(&job.id))?;
        } else {
            job.write("sh", &format!("{command}\n"))?;
        }
        job.alive()?;
        job.tell(&job.id)?;
        Ok(job)
    }

    /// Whether it has ended, together with its guest or before.
    pub fn has_ended(&self) -> bool {
        self.file("rc").exists() || !self.guest.is_alive()
    }

    /// Waits until it has ended, at most for `limit`.
    pub fn wait(&self, limit: Duration) -> Result<Output, Error> {
        let mut now = Instant::now();
        let (deadline, mut reminder) = (now + limit, now + REMINDER);
        while !self.file("rc").exists() {
            self.alive()?;
            now = Instant::now();
            if now >= deadline {
                return Err(self.late(format!("end of `{}`", self.command), limit));
            }
            if now >= reminder {
                // User-Mode Linux now and then loses the wake-up of a line that came in.
                self.tell("")?;
                reminder = now + REMINDER;
            }
            thread::sleep(PAUSE);
        }
        let code = self.read("rc")?;
        let code = code.trim().parse().map_err(|_| Error::Unexpected {
            path: self.file("rc"),
            problem: format!("not an exit status: {code}"),
        })?;
        let (stdout, stderr) = (self.read("out")?, self.read("err")?);
        Ok(Output { guest: self.guest.number, command: self.command.clone(), stdout, stderr, code })
    }

    /// What it has printed until now, on both streams. Of a dead guest's command nothing is known.
    pub fn so_far(&self) -> Result<String, Error> {
        let id = &self.id;
        self.guest.exec(&format!("cat /run/{id}.out /run/{id}.err 2>/dev/null; true"))?.success()
    }

    /// Waits until it has printed `text`, at most for `limit`. What it has printed by then.
    pub fn wait_for(&self, text: &str, limit: Duration) -> Result<String, Error> {
        let deadline = Instant::now() + limit;
        loop {
            // In this order: what it printed last, it printed before it ended.
            let ended = self.has_ended();
            let printed = self.so_far()?;
            if printed.contains(text) {
                return Ok(printed);
            }
            if ended || Instant::now() >= deadline {
                let what = format!("`{text}` from `{}`, which printed: {printed}", self.command);
                return Err(self.late(what, limit));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Kills it and what it started, unless it has ended; waits until it is gone.
    pub fn kill(&self) -> Result<Output, Error> {
        let kill = format!("kill -KILL -$(cat /run/{}.pid) 2>/dev/null; true", self.id);
        self.guest.exec(&kill)?;
        self.wait(KILL_LIMIT)
    }

    fn alive(&self) -> Result<(), Error> {
        match self.guest.is_alive() {
            true => Ok(()),
            false => {
                let last_words = self.guest.last_words();
                Err(Error::Dead { guest: self.guest.number, last_words })
            }
        }
    }

    fn late(&self, what: String, limit: Duration) -> Error {
        Error::Late { guest: self.guest.number, what, limit }
    }

    /// Sends the agent a line.
    fn tell(&self, line: &str) -> Result<(), Error> {
        let path = self.guest.file("cmd");
        // Opened for reading too, a FIFO does not wait for a reader: the guest may just have died.
        let pipe = OpenOptions::new().read(true).write(true).open(&path);
        about(
            path.display(),
            pipe.and_then(|mut pipe| pipe.write_all(format!("{line}\n").as_bytes())),
        )
    }

    fn file(&self, extension: &str) -> std::path::PathBuf {
        self.guest.mailbox().join(format!("{}.{extension}", self.id))
    }

    fn write(&self, extension: &str, text: &str) -> Result<(), Error> {
        let path = self.file(extension);
        about(path.display(), fs::write(&path, text))
    }

    fn read(&self, extension: &str) -> Result<String, Error> {
        let path = self.file(extension);
        let bytes = about(path.display(), fs::read(&path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Runs the command in a session of its own, so that it can be killed with all it started while its
/// output is still delivered.
fn wrapper(id: &str) -> String {
    format!(
        "setsid sh -c 'echo $$ >/run/{id}.pid; exec sh /lab/{id}.cmd' >/run/{id}.out 2>/run/{id}.err\n\
         rc=$?\n\
         cat /run/{id}.out\n\
         cat /run/{id}.err >&2\n\
         exit $rc\n"
    )
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);
const REMINDER: Duration = Duration::from_secs(1);
const KILL_LIMIT: Duration = Duration::from_secs(10);
