//! The epoch of fencing tokens: a number on disk that grows with every start of the daemon.
//!
//! A token is `epoch << 40 | grants in this epoch`. The epoch is on disk, durably, before the first
//! grant, so no token of this run can equal one of an earlier run. Without it nothing is granted.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The highest epoch: 24 bits.
pub const EPOCH_MAX: u32 = (1 << 24) - 1;

/// Why there is no new epoch. Displays as one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A file or the directory cannot be read or written.
    #[error(
        "the fencing epoch in {} cannot be stored, so nothing may be granted: {error} ({doing})",
        directory.display()
    )]
    Storage {
        /// The state directory.
        directory: PathBuf,
        /// The step that failed.
        doing: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The file holds no epoch.
    #[error(
        "{} does not hold a fencing epoch but {found:?}: restore it, or write a number that is higher \
         than every earlier one, or tokens repeat", file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The beginning of what it holds.
        found: String,
    },
    /// There is no higher epoch.
    #[error("{} holds the last fencing epoch {EPOCH_MAX}: no token after it would grow", file.display())]
    Exhausted {
        /// The file.
        file: PathBuf,
    },
}

/// Stores and returns the next epoch in `directory`, which is made if need be. Blocks while another
/// daemon does the same. On return the number is on disk, or the disk lies.
///
/// # Errors
///
/// [`TokenError`]; the epoch on disk is the old or the new one, never another.
pub fn next_epoch(directory: &Path) -> Result<u32, TokenError> {
    let failed =
        |doing| move |error| TokenError::Storage { directory: directory.to_owned(), doing, error };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed("making the directory"))?;
    // Daemons of two sockets may share one directory; the old file is replaced, so it is no place to
    // lock.
    let lock = File::create(directory.join("epoch.lock")).map_err(failed("making epoch.lock"))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| failed("locking epoch.lock")(error.into()))?;

    let file = directory.join("epoch");
    let last = match fs::read(&file) {
        Ok(bytes) => parse(&bytes).ok_or_else(|| TokenError::Corrupt {
            file: file.clone(),
            found: String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned(),
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(failed("reading epoch")(error)),
    };
    if last >= EPOCH_MAX {
        return Err(TokenError::Exhausted { file });
    }
    let next = last + 1;
    let temporary = directory.join("epoch.new");
    let mut new = File::create(&temporary).map_err(failed("making epoch.new"))?;
    new.write_all(format!("{next}\n").as_bytes()).map_err(failed("writing epoch.new"))?;
    new.sync_all().map_err(failed("writing epoch.new to disk"))?;
    fs::rename(&temporary, &file).map_err(failed("renaming epoch.new to epoch"))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("writing the directory to disk"))?;
    Ok(next)
}

/// A decimal number and a newline, written by nobody but [`next_epoch`].
fn parse(bytes: &[u8]) -> Option<u32> {
    let digits = str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|epoch| is_plain && *epoch <= EPOCH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn epochs_grow_by_one_and_survive_in_a_directory_made_for_them() {
        let top = directory();
        let state = top.path().join("a/b");
        for expected in 1..=3 {
            assert_eq!(next_epoch(&state).expect("stored"), expected);
        }
        assert_eq!(fs::read_to_string(state.join("epoch")).expect("a file"), "3\n");
    }

    #[test]
    fn daemons_that_start_at_once_get_different_epochs() {
        let top = directory();
        let mut epochs: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| next_epoch(top.path()).expect("stored"))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        epochs.sort_unstable();
        assert_eq!(epochs, (1..=8).collect::<Vec<u32>>());
    }

    #[test]
    fn a_file_that_holds_no_epoch_is_refused_and_left_as_it_is() {
        let top = directory();
        for found in ["", "\n", "12", "x\n", "-1\n", "+1\n", "1 \n", "16777216\n", "99999999999\n"]
        {
            fs::write(top.path().join("epoch"), found).expect("written");
            let refused = next_epoch(top.path()).expect_err("corrupt");
            assert!(matches!(refused, TokenError::Corrupt { .. }), "{found:?}: {refused}");
            assert_eq!(fs::read_to_string(top.path().join("epoch")).expect("a file"), found);
        }
        fs::write(top.path().join("epoch"), [0xff, 0xfe]).expect("written");
        assert!(matches!(next_epoch(top.path()), Err(TokenError::Corrupt { .. })));
    }

    #[test]
    fn after_the_last_epoch_there_is_none() {
        let top = directory();
        fs::write(top.path().join("epoch"), "16777214\n").expect("written");
        assert_eq!(next_epoch(top.path()).expect("the last"), EPOCH_MAX);
        assert!(matches!(next_epoch(top.path()), Err(TokenError::Exhausted { .. })));
    }

    #[test]
    fn a_full_disk_is_refused_and_the_old_epoch_stays() {
        let top = directory();
        assert_eq!(next_epoch(top.path()).expect("stored"), 1);
        // Writes to the new file fail with ENOSPC, as on a full disk.
        std::os::unix::fs::symlink("/dev/full", top.path().join("epoch.new")).expect("a link");
        let refused = next_epoch(top.path()).expect_err("full");
        assert!(refused.to_string().contains("No space left"), "{refused}");
        assert_eq!(fs::read_to_string(top.path().join("epoch")).expect("a file"), "1\n");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_refused() {
        let top = directory();
        fs::write(top.path().join("file"), "").expect("written");
        let refused = next_epoch(&top.path().join("file/state")).expect_err("no directory");
        assert!(matches!(refused, TokenError::Storage { .. }), "{refused}");
    }
}
