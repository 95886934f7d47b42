//! One daemon per socket, and none that grants what the processes of a dead one still use.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::DaemonError;
use crate::location;

/// The right to serve a socket, until dropped.
#[derive(Debug)]
pub(crate) struct Instance(
    // Held for its lock.
    #[expect(dead_code, reason = "the open file is what holds the lock")] File,
);

impl Instance {
    /// Takes the daemon lock. A daemon that is leaving is waited for; one that serves is an error.
    pub(crate) fn acquire(socket: &Path, patience: Duration) -> Result<Instance, DaemonError> {
        let path = location::daemon_lock_file(socket);
        let failed = |what| {
            let path = path.clone();
            move |error| DaemonError::File { what, path, error }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open"))?;
        let deadline = Instant::now() + patience;
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK && error != Errno::INTR {
                return Err(failed("lock")(error.into()));
            }
            if UnixStream::connect(socket).is_ok() || Instant::now() >= deadline {
                let mut pid = String::new();
                // Whatever the file holds, the answer is the same: somebody has the lock.
                let _ = file.read_to_string(&mut pid);
                let pid = match pid.trim().parse::<u32>() {
                    Ok(pid) => format!(" (pid {pid})"),
                    Err(_) => String::new(),
                };
                return Err(DaemonError::Running { socket: socket.to_owned(), pid });
            }
            thread::sleep(Duration::from_millis(5));
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed("write"))?;
        Ok(Instance(file))
    }
}

/// Makes the holders file for those who may use the socket, and waits until no process has it locked:
/// until every process that a dead daemon granted a lock to, and every child that inherited one, has
/// ended. A daemon that stopped in order leaves none.
pub(crate) fn wait_for_holders(
    socket: &Path,
    mode: u32,
    gid: Option<u32>,
) -> Result<(), DaemonError> {
    let path = location::holders_file(socket);
    let failed = |what| {
        let path = path.clone();
        move |error| DaemonError::File { what, path, error }
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open"))?;
    if let Some(gid) = gid {
        fchown(&file, None, Some(gid)).map_err(failed("give to the socket's group"))?;
    }
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed("set the mode of"))?;
    let mut next_report = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(error) => return Err(failed("lock")(error.into())),
        }
        if next_report <= Instant::now() {
            let pids = pids_with_open(&path);
            tracing::warn!(
                ?pids,
                "an earlier stackglued granted locks to processes that still run: nothing is granted \
                 before they have ended"
            );
            next_report = Instant::now() + REPORT_INTERVAL;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Processes that have a file open, as far as this user may know.
fn pids_with_open(file: &Path) -> Vec<u32> {
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own)
        .filter(|pid| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
            descriptors.into_iter().flatten().flatten().any(|descriptor| {
                fs::read_link(descriptor.path()).is_ok_and(|target| target == file)
            })
        })
        .collect()
}

const REPORT_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_second_daemon_of_a_socket_is_refused_and_told_the_pid_of_the_first() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("s");
        let first = Instance::acquire(&socket, Duration::ZERO).expect("the first");
        let refused = Instance::acquire(&socket, Duration::ZERO).expect_err("the second");
        assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
        assert_eq!(refused.exit_status(), 69);
        drop(first);
        Instance::acquire(&socket, Duration::ZERO).expect("after the first");
    }

    #[test]
    fn a_daemon_that_is_leaving_is_waited_for() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("s");
        let first = Instance::acquire(&socket, Duration::ZERO).expect("the first");
        thread::scope(|scope| {
            let second = scope.spawn(|| Instance::acquire(&socket, Duration::from_secs(30)));
            drop(first);
            second.join().expect("no panic").expect("after the first");
        });
    }

    #[test]
    fn a_new_daemon_waits_for_the_last_holder_and_names_it() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("s");
        wait_for_holders(&socket, 0o660, None).expect("no holder");
        let path = location::holders_file(&socket);
        let holder = File::open(&path).expect("made");
        flock(&holder, FlockOperation::LockShared).expect("shared");
        let (done, waits) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || done.send(wait_for_holders(&socket, 0o660, None)));
            let early = waits.recv_timeout(Duration::from_millis(100));
            assert!(early.is_err(), "a holder is left");
            drop(holder);
            waits.recv_timeout(Duration::from_secs(30)).expect("in time").expect("no holder");
        });
    }

    #[test]
    fn processes_that_have_the_file_open_are_found() {
        let top = tempfile::tempdir().expect("a directory");
        let path = top.path().join("f");
        let file = File::create(&path).expect("made");
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(file)
            .spawn()
            .expect("cat runs");
        assert_eq!(pids_with_open(&path), [child.id()]);
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }
}
