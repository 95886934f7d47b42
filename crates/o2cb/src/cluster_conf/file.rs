//! The configuration in its file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{ClusterConf, ConfError};

/// Where the configuration is.
pub const DEFAULT_PATH: &str = "/etc/ocfs2/cluster.conf";

/// The most that a file can have: 255 nodes and 32 regions of many clusters, and their comments.
const LEN_MAX: u64 = 1 << 20;

/// Why a file could not be read or written. The file that was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// What the file says cannot be.
    #[error("{}, {error}", path.display())]
    Conf {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        #[source]
        error: ConfError,
    },
    /// The system refused something.
    #[error("cannot {verb} {}: {error}", path.display())]
    Io {
        /// What was to be done.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        error: io::Error,
    },
}

impl ClusterConf {
    /// Reads the file. One that is missing is a configuration without clusters.
    pub fn load(path: &Path) -> Result<ClusterConf, FileError> {
        let text = ClusterConf::read(path)?.unwrap_or_default();
        ClusterConf::parse(text).map_err(|error| FileError::Conf { path: path.to_owned(), error })
    }

    /// The bytes of the file, to [`examine`](Self::examine) them; `None` when it is missing.
    pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
        read_limited(path).map_err(io_error("read", path))
    }

    /// Writes the file: another one beside it that then takes its place, readable by everybody. Readers
    /// see the old or the new one. A configuration that would not read back as it is, is not written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let text = self.to_text();
        let read_back = ClusterConf::parse(&text)
            .map_err(|error| FileError::Conf { path: path.to_owned(), error })?;
        let replaced = if read_back == *self {
            replace(path, text.as_bytes())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it would not read back as it is"))
        };
        replaced.map_err(io_error("write", path))
    }
}

fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError::Io { verb, path, error }
}

fn read_limited(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LEN_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LEN_MAX {
        let sentence = format!("it has more than {LEN_MAX} bytes: this is no configuration");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, sentence));
    }
    Ok(Some(text))
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "this names no file");
    let name = path.file_name().ok_or_else(no_file)?.to_string_lossy();
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let beside = directory.join(format!(".{name}.{}", std::process::id()));
    // Of a process that had our number and died.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    // The umask has no say in it.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviour 1.
    #[test]
    fn a_missing_file_is_an_empty_configuration() {
        let directory = tempfile::tempdir().expect("a directory");
        let conf = ClusterConf::load(&directory.path().join("none")).expect("no error");
        assert_eq!(conf, ClusterConf::default());
    }

    // Behaviour 12.
    #[test]
    fn a_written_file_is_readable_by_everybody_and_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cluster.conf");
        let mut conf = ClusterConf::default();
        for name in ["alpha", "beta"] {
            conf.add_cluster(name).expect("added");
            conf.save(&path).expect("written");
            assert_eq!(ClusterConf::load(&path).expect("read"), conf);
        }
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn what_would_read_back_as_something_else_is_not_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cluster.conf");
        let mut conf = ClusterConf::default();
        conf.add_cluster("alpha").expect("added").name = "a\nnode:".into();
        conf.save(&path).expect_err("refused");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = ClusterConf::load(Path::new("/dev/zero")).expect_err("refused");
        assert!(error.to_string().contains("/dev/zero"), "{error}");
    }
}
