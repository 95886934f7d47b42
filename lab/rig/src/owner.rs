//! Which process a lab belongs to, and what becomes of it when that process dies.
//!
//! The owner holds an advisory lock on the file `owner` in the lab's directory, and a pipe to a guard
//! (`lab guard`). The guard takes the lab down when the pipe closes, however that came about. Should
//! the guard be killed too, the next lab finds the directory with its lock free, and takes it down.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::error::{Error, about};
use crate::script::Script;

/// A lab's directory, for as long as this lives.
pub(crate) struct Owner {
    lock: Option<File>,
    guard: Child,
}

impl Owner {
    /// Makes a directory for a lab.
    pub(crate) fn new() -> Result<(Script, Owner), Error> {
        let directory = about("a directory for the lab", {
            tempfile::Builder::new().prefix(PREFIX).tempdir()
        })?;
        let script = Script::of(directory.keep());
        let lock = about(script.directory.join(OWNER).display(), lock(&script.directory))?;
        let mut guard = script.command(["guard"]);
        guard.env("LAB_DISPOSABLE", "1");
        // Out of our process group: what ends us by a signal to the group must not end the guard.
        guard.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let guard = about("lab guard", guard.process_group(0).spawn())?;
        Ok((script, Owner { lock: Some(lock), guard }))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // The guard takes the lock too, to be alone with the lab: it must be free before.
        drop(self.lock.take());
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn lock(directory: &Path) -> io::Result<File> {
    // It gets its name when it is locked, or a sweep might take it for a dead owner's.
    let unnamed = directory.join("owner.new");
    let mut file = File::create_new(&unnamed)?;
    file.lock()?;
    writeln!(file, "{}", std::process::id())?;
    fs::rename(unnamed, directory.join(OWNER))?;
    Ok(file)
}

/// Takes down the labs of owners that died. What cannot be taken down stays for the next sweep.
pub(crate) fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // Others may make such directories too, and must not make us remove things by them.
        let ours = named
            && fs::symlink_metadata(entry.path()).is_ok_and(|metadata| {
                metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw()
            });
        if ours && let Some(lock) = abandoned(&entry.path()) {
            let _ = Script::of(entry.path()).run(&["down"]);
            let _ = fs::remove_dir_all(entry.path());
            drop(lock);
        }
    }
}

/// The lock of an owner that died.
fn abandoned(directory: &Path) -> Option<File> {
    let file = File::open(directory.join(OWNER)).ok()?;
    file.try_lock().ok().map(|()| file)
}

const PREFIX: &str = "stackglue-lab-";
const OWNER: &str = "owner";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_abandoned_when_its_owner_no_longer_holds_the_lock() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(abandoned(directory.path()).is_none(), "it has no owner yet");
        let owner = lock(directory.path()).expect("nobody else locks it");
        assert!(abandoned(directory.path()).is_none());
        drop(owner);
        assert!(abandoned(directory.path()).is_some());
    }
}
