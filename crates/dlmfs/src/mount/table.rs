//! What is mounted where, as the kernel lists it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::MountError;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Major and minor number of its device: another one for each mount of this crate.
    pub(super) device: String,
    /// The type, as in `fuse.stackglue-dlmfs`.
    pub(super) kind: String,
}

/// The mounts at exactly this path; the last one is the one that is seen.
pub(super) fn mounts_at(point: &Path) -> Result<Vec<Entry>, MountError> {
    let table = fs::read(MOUNTS).map_err(MountError::Table)?;
    Ok(table
        .split(|&byte| byte == b'\n')
        .filter_map(parse)
        .filter(|(at, _)| at == point)
        .map(|(_, entry)| entry)
        .collect())
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS...] - TYPE SOURCE OPTIONS` (proc_pid_mountinfo(5)).
fn parse(line: &[u8]) -> Option<(PathBuf, Entry)> {
    let mut words = line.split(|&byte| byte == b' ');
    let device = words.nth(2)?;
    let point = unescape(words.nth(1)?);
    let kind = words.skip_while(|word| *word != b"-").nth(1)?;
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    Some((point, Entry { device: text(device), kind: text(kind) }))
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| byte == b'\\');
        let octal = digits.and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &behind[3..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

const MOUNTS: &str = "/proc/self/mountinfo";

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_line_of_the_table_tells_path_device_and_type() {
        let line = b"36 35 0:98 / /mnt/a\\040b\\134 rw,nosuid shared:1 master:2 - fuse.x none rw";
        let (point, entry) = parse(line).expect("a line");
        assert_eq!(point.as_os_str().as_bytes(), b"/mnt/a b\\");
        assert_eq!(entry, Entry { device: "0:98".into(), kind: "fuse.x".into() });
    }

    #[test]
    fn what_is_no_line_of_the_table_is_passed_over() {
        for line in [&b""[..], b"1 2 3", b"1 2 0:3 / /mnt rw", b"1 2 0:3 / /mnt rw -"] {
            assert_eq!(parse(line), None);
        }
        assert_eq!(unescape(b"a\\9b\\1").as_os_str().as_bytes(), b"a\\9b\\1");
    }

    #[test]
    fn the_root_directory_is_always_a_mount() {
        let mounts = mounts_at(Path::new("/")).expect("a table");
        assert!(!mounts.is_empty());
    }
}
