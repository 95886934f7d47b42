//! One kernel of the lab.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, about};
use crate::job::{Job, Output};
use crate::process;
use crate::rig::Lab;
use crate::wait::eventually;

/// One kernel of the lab, dead or alive.
///
/// In it the host's files are under their own paths (writes stay in the guest), the tools of
/// `lab/src` are in `/lab/bin`, dlmfs is on `/dlm`.
#[derive(Clone, Copy)]
pub struct Guest<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) number: u8,
}

impl<'lab> Guest<'lab> {
    /// Its place in the lab, from 1. Its node number is `guest_base` more.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Runs a shell command to its end, at most for a minute, and takes what it printed.
    pub fn exec(&self, command: &str) -> Result<Output, Error> {
        self.exec_within(command, EXEC_LIMIT)
    }

    /// Runs a shell command to its end, at most for `limit`. After that it is left running.
    pub fn exec_within(&self, command: &str, limit: Duration) -> Result<Output, Error> {
        Job::start(*self, command, false)?.wait(limit)
    }

    /// Starts a shell command and leaves it running. It also runs on when the [`Job`] is dropped.
    pub fn spawn(&self, command: &str) -> Result<Job<'lab>, Error> {
        Job::start(*self, command, true)
    }

    /// Ends it as if the power went: its peers hear nothing, not even that it is gone.
    pub fn kill(&self) -> Result<(), Error> {
        self.script("kill", &[])
    }

    /// Boots it again after it died, with its stack.
    pub fn boot(&self) -> Result<(), Error> {
        self.script("boot", &[])
    }

    /// Freezes it: no heartbeat, no answers, memory and connections kept.
    pub fn pause(&self) -> Result<(), Error> {
        self.script("pause", &[])
    }

    /// Thaws it.
    pub fn resume(&self) -> Result<(), Error> {
        self.script("resume", &[])
    }

    /// Plugs its network cable in, or pulls it. The disk is not affected.
    pub fn link(&self, up: bool) -> Result<(), Error> {
        self.script("link", &[if up { "up" } else { "down" }])
    }

    /// Whether its kernel runs, be it frozen. One that fenced itself does not.
    pub fn is_alive(&self) -> bool {
        process::runs(&self.file("pid"))
    }

    /// Waits until it is dead: for one that is to fence itself.
    pub fn wait_dead(&self, limit: Duration) -> Result<(), Error> {
        match eventually(limit, || !self.is_alive()) {
            true => Ok(()),
            false => Err(Error::Late { guest: self.number, what: "death".to_owned(), limit }),
        }
    }

    /// Its kernel log with timestamps, from the guest itself.
    pub fn dmesg(&self) -> Result<String, Error> {
        self.exec("dmesg")?.success()
    }

    /// Its console since the lab came up, over all its boots: the kernel log without timestamps, and
    /// its last words. There is one of dead guests too.
    pub fn console(&self) -> Result<String, Error> {
        let path = self.file("console.log");
        let bytes = about(path.display(), fs::read(&path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Lines of the console in which the kernel complains, without those that contain one of `allowed`.
    pub fn kernel_errors(&self, allowed: &[&str]) -> Result<Vec<String>, Error> {
        Ok(complaints(&self.console()?, allowed))
    }

    /// The directory that it has as `/lab`, emptied when it boots. What it writes there is to be seen
    /// here once it has closed the file.
    pub fn mailbox(&self) -> PathBuf {
        self.file("box")
    }

    /// The end of the console, for messages.
    pub(crate) fn last_words(&self) -> String {
        let console = self.console().unwrap_or_default();
        let lines: Vec<&str> = console.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].join("\n")
    }

    /// A file of this guest in the lab's directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.lab.directory().join(format!("run/g{}", self.number)).join(name)
    }

    fn script(&self, verb: &str, arguments: &[&str]) -> Result<(), Error> {
        let number = self.number.to_string();
        let words = [&[verb, &number], arguments].concat();
        self.lab.script.run(&words).map(drop)
    }
}

fn complaints(log: &str, allowed: &[&str]) -> Vec<String> {
    let complains = |line: &&str| COMPLAINTS.iter().any(|word| line.contains(word));
    let unexpected = |line: &&str| !allowed.iter().any(|word| line.contains(word));
    log.lines().filter(complains).filter(unexpected).map(str::to_owned).collect()
}

/// What kernels write when something is wrong. ocfs2 marks its own lines with ERROR, or ends them
/// with the errno (fs/ocfs2/cluster/masklog.h: `mlog_errno`).
const COMPLAINTS: [&str; 10] = [
    "ERROR",
    "BUG",
    "Oops",
    "WARNING:",
    "Kernel panic",
    "Call Trace",
    "fence",
    "fencing",
    "blocked for more than",
    "status = -",
];
const EXEC_LIMIT: Duration = Duration::from_secs(60);
const LAST_WORDS_LINES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_the_lines_that_mean_an_error_and_are_not_allowed() {
        let log = "o2net: Connected to node u1\n\
            (kworker/u2:1,27,0):o2net_send_message_vec:1068 ERROR: status = -107\n\
            o2quo: fencing this node\n\
            (a,1,0):dlm_f:3 ERROR: status = -92\n";
        assert_eq!(complaints(log, &[]).len(), 3);
        assert_eq!(complaints(log, &["o2net_send", "dlm_f"]), ["o2quo: fencing this node"]);
        assert!(complaints("", &[]).is_empty());
    }
}
