//! One daemon per socket, and none that grants what the processes of a dead one still use.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
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

/// The file that clients of this daemon lock before they ask for anything. Removed when dropped, unless
/// somebody has it locked: the next daemon must find those.
#[derive(Debug)]
pub(crate) struct HoldersFile(PathBuf);

impl HoldersFile {
    /// Makes it, for those who may use the socket.
    pub(crate) fn create(
        socket: &Path,
        epoch: u32,
        mode: u32,
        gid: Option<u32>,
    ) -> Result<HoldersFile, DaemonError> {
        let path = location::holders_file(socket, epoch);
        let failed = |what| {
            let path = path.clone();
            move |error| DaemonError::File { what, path, error }
        };
        // Epochs come again when the state directory was lost or is another one: who has locked this file
        // already is not ours.
        for number in 0.. {
            let aside =
                location::holders_file(socket, epoch).with_added_extension(number.to_string());
            if !path.exists() {
                break;
            }
            if !aside.exists() {
                fs::rename(&path, aside).map_err(failed("rename"))?;
            }
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("make"))?;
        let made = HoldersFile(path.clone());
        if let Some(gid) = gid {
            fchown(&file, None, Some(gid)).map_err(failed("give to the socket's group"))?;
        }
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed("set the mode of"))?;
        Ok(made)
    }
}

impl Drop for HoldersFile {
    fn drop(&mut self) {
        // What stays is looked at by the next daemon.
        if let Ok(file) = File::open(&self.0)
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Processes that an earlier daemon of the socket may have granted locks to, and children that
/// inherited one. While there are any nothing may be granted.
#[derive(Debug)]
pub(crate) struct EarlierHolders {
    files: Vec<(PathBuf, File)>,
}

impl EarlierHolders {
    /// Looks for them; removes the files that nobody has locked. `None` when there is nobody.
    pub(crate) fn find(
        socket: &Path,
        own: &HoldersFile,
    ) -> Result<Option<EarlierHolders>, DaemonError> {
        let failed = |what, path: &Path, error| {
            let path = path.to_owned();
            DaemonError::File { what, path, error }
        };
        let paths = location::holders_files(socket)
            .map_err(|error| failed("list what is beside", socket, error))?;
        let mut files = Vec::new();
        for path in paths.into_iter().filter(|path| *path != own.0) {
            let file = File::open(&path).map_err(|error| failed("open", &path, error))?;
            files.push((path, file));
        }
        let mut earlier = EarlierHolders { files };
        Ok(earlier.poll().then_some(earlier))
    }

    /// Whether any are left. Does not wait.
    pub(crate) fn poll(&mut self) -> bool {
        self.files.retain(|(path, file)| {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    if let Err(error) = fs::remove_file(path) {
                        tracing::warn!(%error, path = %path.display(), "cannot be removed");
                    }
                    false
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => true,
                Err(error) => {
                    tracing::error!(%error, path = %path.display(), "cannot be locked");
                    true
                }
            }
        });
        !self.files.is_empty()
    }

    /// Their process ids, as far as this user may know, in rising order. Reads all of `/proc`.
    pub(crate) fn pids(&self) -> Vec<u32> {
        // As the kernel names them, whatever links are in the path of the socket.
        let names: Vec<PathBuf> = self
            .files
            .iter()
            .filter_map(|(_, file)| {
                fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
            })
            .collect();
        pids_with_open(&names)
    }
}

/// Other processes that have one of these files open, as far as this user may know.
pub(crate) fn pids_with_open(files: &[PathBuf]) -> Vec<u32> {
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own)
        .filter(|pid| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
            descriptors.into_iter().flatten().flatten().any(|descriptor| {
                fs::read_link(descriptor.path()).is_ok_and(|target| files.contains(&target))
            })
        })
        .collect();
    pids.sort_unstable();
    pids
}

#[cfg(test)]
mod tests {
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

    fn holders_file(socket: &Path, epoch: u32) -> HoldersFile {
        HoldersFile::create(socket, epoch, 0o660, None).expect("made")
    }

    /// What a client of that daemon has.
    fn hold(socket: &Path, epoch: u32) -> File {
        let file = File::open(location::holders_file(socket, epoch)).expect("made");
        flock(&file, FlockOperation::LockShared).expect("shared");
        file
    }

    fn count(socket: &Path) -> usize {
        location::holders_files(socket).expect("a directory").len()
    }

    /// A daemon that dies removes nothing.
    fn die(file: HoldersFile) {
        std::mem::forget(file);
    }

    #[test]
    fn files_that_nobody_has_locked_are_removed_and_hold_up_nobody() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("s");
        (1..4).for_each(|epoch| die(holders_file(&socket, epoch)));
        die(holders_file(&top.path().join("s2"), 1));
        let own = holders_file(&socket, 4);
        assert!(EarlierHolders::find(&socket, &own).expect("looked").is_none());
        assert_eq!(count(&socket), 1, "its own");
        assert_eq!(count(&top.path().join("s2")), 1, "another socket's");
    }

    #[test]
    fn earlier_holders_are_there_until_the_last_of_every_epoch_has_ended() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("s");
        let holders = [1, 1, 2].map(|epoch| {
            let path = location::holders_file(&socket, epoch);
            if !path.exists() {
                die(holders_file(&socket, epoch));
            }
            hold(&socket, epoch)
        });
        let own = holders_file(&socket, 3);
        let mut earlier = EarlierHolders::find(&socket, &own).expect("looked").expect("two files");
        for holder in holders {
            assert!(earlier.poll());
            drop(holder);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        // A child of another test may have inherited the files for a moment.
        while earlier.poll() {
            assert!(Instant::now() < deadline, "{earlier:?}");
            thread::yield_now();
        }
        assert_eq!(count(&socket), 1, "its own");
    }

    #[test]
    fn a_file_of_the_same_epoch_is_not_taken_for_its_own() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("s");
        for _ in 0..2 {
            die(holders_file(&socket, 7));
            std::mem::forget(hold(&socket, 7));
        }
        let own = holders_file(&socket, 7);
        let own_holder = hold(&socket, 7);
        let mut earlier = EarlierHolders::find(&socket, &own).expect("looked").expect("two files");
        assert_eq!(earlier.files.len(), 2);
        assert!(earlier.poll());
        drop(own_holder);
    }

    #[test]
    fn a_daemon_that_leaves_in_order_leaves_its_file_only_for_those_who_have_it_locked() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("s");
        let own = holders_file(&socket, 1);
        let holder = hold(&socket, 1);
        drop(own);
        assert_eq!(count(&socket), 1);
        let own = holders_file(&socket, 2);
        let mut earlier = EarlierHolders::find(&socket, &own).expect("looked").expect("a holder");
        assert!(earlier.poll());
        drop((holder, own));
        assert_eq!(count(&socket), 1, "that of the first");
    }

    #[test]
    fn the_processes_of_earlier_holders_are_named_whatever_the_path_of_the_socket() {
        let top = tempfile::tempdir().expect("a directory");
        fs::create_dir(top.path().join("real")).expect("made");
        std::os::unix::fs::symlink("real", top.path().join("link")).expect("a link");
        let socket = top.path().join("link/s");
        die(holders_file(&socket, 1));
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(hold(&socket, 1))
            .spawn()
            .expect("cat runs");
        let own = holders_file(&socket, 2);
        let earlier = EarlierHolders::find(&socket, &own).expect("looked").expect("a child");
        assert_eq!(earlier.pids(), [child.id()]);
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }
}
