//! Everything that a command has started.

use std::collections::HashMap;

use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

/// From now on a descendant whose parent has ended becomes our child, instead of vanishing from sight
/// below init.
///
/// Not done from the start: what a command left running in the background on purpose is not ours to
/// stop, unless it still ran under the lock when that was lost.
pub(crate) fn adopt() {
    // Kernels since 3.4 have it. Elsewhere the command is stopped and what it started is not found.
    let _ = set_child_subreaper(Some(getpid()));
}

/// Sends a signal to the command and its descendants.
pub(crate) fn signal(command: Pid, signal: Signal) {
    for process in running(command) {
        // Fails when it has just ended, or became another user: that one is out of reach.
        let _ = kill_process(process, signal);
    }
}

/// The command and its descendants, as far as they run.
///
/// Whoever is in a session of its own has left on purpose, as daemons do, and is not among them: the
/// lock's own daemon, for one, which may be a child of this very process.
pub(crate) fn running(command: Pid) -> Vec<Pid> {
    let sessions = [Process::read("self").map(|own| own.session), Some(command.as_raw_pid())];
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for process in processes() {
        if sessions.contains(&Some(process.session)) && !matches!(process.state, 'Z' | 'X') {
            children.entry(process.parent).or_default().push(process.pid);
        }
    }
    let mut found = Vec::new();
    let mut ancestors = vec![getpid()];
    while let Some(ancestor) = ancestors.pop() {
        let children = children.remove(&ancestor).unwrap_or_default();
        ancestors.extend(&children);
        found.extend(children);
    }
    found
}

/// What `/proc/PID/stat` tells of one process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: Pid,
    state: char,
    parent: Pid,
    /// 0 when the session's leader is outside our pid namespace, as in a container that somebody entered;
    /// `getsid` of rustix does not expect that.
    session: i32,
}

impl Process {
    /// `process` is a name below `/proc`.
    fn read(process: &str) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        Process::from_stat(&stat)
    }

    /// The second field, the command in parentheses, may have spaces and parentheses itself.
    fn from_stat(stat: &str) -> Option<Process> {
        let pid = |number: &str| Pid::from_raw(number.parse().ok()?);
        let (before, after) = (stat.find(' ')?, stat.rfind(')')?);
        let mut fields = stat[after + 1..].split_ascii_whitespace();
        Some(Process {
            pid: pid(&stat[..before])?,
            state: fields.next()?.chars().next()?,
            parent: pid(fields.next()?)?,
            session: fields.nth(1)?.parse().ok()?,
        })
    }
}

fn processes() -> impl Iterator<Item = Process> {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let name = name.to_str()?;
        name.parse::<u32>().ok()?;
        Process::read(name)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_command_s_name_does_not_confuse_the_fields_behind_it() {
        let pid = |number| Pid::from_raw(number).expect("not 0");
        let read = Process::from_stat("12 (a) R 7 (b) S 3 4 5 0 -1");
        let expected = Process { pid: pid(12), state: 'S', parent: pid(3), session: 5 };
        assert_eq!(read, Some(expected));
        assert_eq!(Process::from_stat(""), None);
        assert_eq!(Process::from_stat("12 (sh) S 1"), None);
    }

    #[test]
    fn a_session_led_from_outside_the_pid_namespace_is_a_session() {
        let read = Process::from_stat("12 (a) S 3 0 0 0 -1").expect("a process");
        assert_eq!(read.session, 0);
    }

    #[test]
    fn what_a_command_started_is_found_unless_it_ended_or_made_a_session() {
        let script = "sleep 60 & echo $!; setsid sh -c 'echo $$; exec sleep 60' & wait";
        let mut child =
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("sh");
        let command = Pid::from_child(&child);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut pid = || {
            let line = lines.next().expect("a line").expect("text");
            Pid::from_raw(line.parse().expect("a number")).expect("a pid")
        };
        let [one, other] = [pid(), pid()];
        let leads = |pid: Pid| {
            let pid = pid.as_raw_pid();
            Process::read(&pid.to_string()).expect("it runs").session == pid
        };
        let (stayed, left) = if leads(one) { (other, one) } else { (one, other) };
        let found = running(command);
        assert!(found.contains(&command) && found.contains(&stayed) && !found.contains(&left));
        for process in [stayed, left] {
            kill_process(process, Signal::KILL).expect("it runs");
        }
        child.wait().expect("it ends");
        let found = running(command);
        assert!(!found.contains(&command) && !found.contains(&stayed));
    }
}
