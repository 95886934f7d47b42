//! Where the daemon's socket is, and the files beside it.
//!
//! | file | what |
//! |---|---|
//! | `S` | the socket |
//! | `S.lock` | locked with `flock` by the one daemon of the socket; holds its pid |
//! | `S.holders.EPOCH` | locked shared by every process that asked for a lock, and its children |
//! | `S.start` | locked by the client that starts a daemon |
//! | `S.log` | standard error of a daemon that a client started |

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::groups_file;

/// The socket of the host's daemon.
pub const SYSTEM_SOCKET: &str = "/run/stackglue/stackglued.sock";

/// The environment variable that names another socket.
pub const SOCKET_VARIABLE: &str = "STACKGLUE_SOCKET";

/// Why a socket's place cannot be used. Displays as one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The directory belongs to somebody else.
    #[error(
        "{} belongs to user {owner}, who could put anything in the place of the socket: remove it, or \
         set {SOCKET_VARIABLE} to a path in a directory of your own", directory.display()
    )]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// Its owner's uid.
        owner: u32,
    },
    /// The directory can be written by others.
    #[error(
        "{} can be written by others (mode {mode:04o}), who could put anything in the place of the \
         socket: `chmod go-w` it, or use a directory of its own", directory.display()
    )]
    Writable {
        /// The directory.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What should be the directory is something else, or cannot be looked at or made.
    #[error("{} cannot be the directory of the socket: {error}", directory.display())]
    Unusable {
        /// The directory.
        directory: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is in the place of the socket that is none.
    #[error("{} is in the way: it is no socket; remove it or choose another path", socket.display())]
    NotASocket {
        /// The path.
        socket: PathBuf,
    },
}

/// The socket that this process should use: `STACKGLUE_SOCKET` if it is set; [`SYSTEM_SOCKET`] if it
/// exists or this is root; otherwise one of this user alone, below `XDG_RUNTIME_DIR` or `/tmp`.
pub fn default_socket() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    // A socket that may not be looked at is there all the same: its daemon is the host's.
    let system_exists = match fs::symlink_metadata(SYSTEM_SOCKET) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    };
    choose(|name| env::var_os(name), uid, system_exists)
}

/// The directory of the token store: `STACKGLUE_STATE_DIR` if it is set, `/var/lib/stackglue` for root,
/// otherwise one of this user below `XDG_STATE_HOME` or `~/.local/state`.
///
/// `None` when this user has no home directory.
pub fn default_state_dir() -> Option<PathBuf> {
    choose_state_dir(|name| env::var_os(name), rustix::process::geteuid().as_raw())
}

/// Refuses a socket below `/tmp` whose directory is not this user's own: whoever owns it could answer
/// in the daemon's place.
///
/// # Errors
///
/// [`LocationError`]. A directory that is not there is no error.
pub fn check_before_connecting(socket: &Path) -> Result<(), LocationError> {
    let uid = rustix::process::geteuid().as_raw();
    if socket != tmp_socket(uid) {
        return Ok(());
    }
    let directory = directory_of(socket);
    match fs::symlink_metadata(&directory) {
        Ok(metadata) => check_directory(&directory, &metadata, uid),
        Err(_) => Ok(()),
    }
}

/// Makes the socket's directory if need be (mode 0755 for root, whose socket has a group, else 0700)
/// and refuses one that others could tamper with.
pub(crate) fn prepare_directory(socket: &Path) -> Result<(), LocationError> {
    let uid = rustix::process::geteuid().as_raw();
    let directory = directory_of(socket);
    let unusable = |error| LocationError::Unusable { directory: directory.clone(), error };
    let mode = if uid == 0 { 0o755 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(&directory) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unusable(error)),
    }
    let metadata = fs::symlink_metadata(&directory).map_err(unusable)?;
    check_directory(&directory, &metadata, uid)
}

fn check_directory(directory: &Path, metadata: &Metadata, uid: u32) -> Result<(), LocationError> {
    let directory = directory.to_owned();
    if !metadata.is_dir() {
        let error = ErrorKind::NotADirectory.into();
        return Err(LocationError::Unusable { directory, error });
    }
    if metadata.uid() != uid && metadata.uid() != 0 {
        return Err(LocationError::Foreign { directory, owner: metadata.uid() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(LocationError::Writable { directory, mode });
    }
    Ok(())
}

/// Removes a socket that a daemon left behind. Only for the one who holds the daemon lock.
pub(crate) fn remove_stale(socket: &Path) -> Result<(), LocationError> {
    let unusable = |error| LocationError::Unusable { directory: directory_of(socket), error };
    match fs::symlink_metadata(socket) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            fs::remove_file(socket).map_err(unusable)
        }
        Ok(_) => Err(LocationError::NotASocket { socket: socket.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unusable(error)),
    }
}

/// What a user can do who may not use a socket.
pub(crate) fn permission_advice(socket: &Path) -> String {
    let group = fs::metadata(socket).ok().and_then(|metadata| groups_file::name_of(metadata.gid()));
    let path = socket.display();
    match group {
        Some(group) if group != "root" => format!(
            "permission denied at {path}: ask to be added to the group {group} (`usermod -aG {group} \
             USER`), then log in again"
        ),
        _ => format!(
            "permission denied at {path}: ask the administrator to set socket_group in {} to a group \
             that you are in",
            crate::config::SYSTEM_CONFIG
        ),
    }
}

pub(crate) fn daemon_lock_file(socket: &Path) -> PathBuf {
    beside(socket, ".lock")
}

pub(crate) fn holders_file(socket: &Path, epoch: u32) -> PathBuf {
    beside(socket, &format!("{HOLDERS_SUFFIX}{epoch}"))
}

/// Every holders file beside the socket, of whatever daemon.
pub(crate) fn holders_files(socket: &Path) -> io::Result<Vec<PathBuf>> {
    let mut prefix = socket.file_name().unwrap_or_default().to_owned();
    prefix.push(HOLDERS_SUFFIX);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory_of(socket))? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

pub(crate) fn start_lock_file(socket: &Path) -> PathBuf {
    beside(socket, ".start")
}

pub(crate) fn log_file(socket: &Path) -> PathBuf {
    beside(socket, ".log")
}

fn beside(socket: &Path, suffix: &str) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn directory_of(socket: &Path) -> PathBuf {
    match socket.parent() {
        Some(directory) if directory != Path::new("") => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn choose(variable: impl Fn(&str) -> Option<OsString>, uid: u32, system_exists: bool) -> PathBuf {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(socket) = set(SOCKET_VARIABLE) {
        return socket.into();
    }
    if system_exists || uid == 0 {
        return SYSTEM_SOCKET.into();
    }
    match set("XDG_RUNTIME_DIR") {
        Some(directory) => Path::new(&directory).join("stackglue/stackglued.sock"),
        None => tmp_socket(uid),
    }
}

fn choose_state_dir(variable: impl Fn(&str) -> Option<OsString>, uid: u32) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = set("STACKGLUE_STATE_DIR") {
        return Some(directory);
    }
    if uid == 0 {
        return Some("/var/lib/stackglue".into());
    }
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("stackglue"))
}

fn tmp_socket(uid: u32) -> PathBuf {
    format!("/tmp/stackglue-{uid}/stackglued.sock").into()
}

const HOLDERS_SUFFIX: &str = ".holders.";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn chosen(variables: &[(&str, &str)], uid: u32, system_exists: bool) -> String {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        choose(variable, uid, system_exists).display().to_string()
    }

    #[test]
    fn the_variable_wins_then_the_hosts_socket_then_the_users_own() {
        let own = [(SOCKET_VARIABLE, "/x/y"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(chosen(&own, 7, true), "/x/y");
        assert_eq!(chosen(&own[1..], 7, true), SYSTEM_SOCKET);
        assert_eq!(chosen(&own[1..], 0, false), SYSTEM_SOCKET);
        assert_eq!(chosen(&own[1..], 7, false), "/run/user/7/stackglue/stackglued.sock");
        assert_eq!(chosen(&[], 7, false), "/tmp/stackglue-7/stackglued.sock");
        assert_eq!(chosen(&[(SOCKET_VARIABLE, "")], 0, false), SYSTEM_SOCKET);
    }

    #[test]
    fn state_is_kept_per_user() {
        let variable = |name: &str| (name == "HOME").then(|| "/home/u".into());
        let own = Some("/home/u/.local/state/stackglue".into());
        assert_eq!(choose_state_dir(variable, 7), own);
        assert_eq!(choose_state_dir(variable, 0), Some("/var/lib/stackglue".into()));
        assert_eq!(choose_state_dir(|_| None, 7), None);
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let top = tempfile::tempdir().expect("a directory");
        let directory = top.path().join("open");
        fs::create_dir(&directory).expect("a directory");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o775)).expect("chmod");
        let refused = prepare_directory(&directory.join("s")).expect_err("writable by others");
        assert!(matches!(refused, LocationError::Writable { mode: 0o775, .. }), "{refused}");
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let top = tempfile::tempdir().expect("a directory");
        let metadata = fs::symlink_metadata(top.path()).expect("metadata");
        let other = metadata.uid() + 1;
        let refused = check_directory(top.path(), &metadata, other);
        let owner = metadata.uid();
        if owner == 0 {
            assert!(refused.is_ok(), "root may own what others use");
            std::os::unix::fs::chown(top.path(), Some(1), None).expect("root may chown");
            let refused = prepare_directory(&top.path().join("s")).expect_err("somebody else's");
            assert!(matches!(refused, LocationError::Foreign { owner: 1, .. }), "{refused}");
        } else {
            assert!(matches!(refused, Err(LocationError::Foreign { .. })));
        }
    }

    #[test]
    fn a_directory_is_made_and_a_link_to_one_is_not_followed() {
        let top = tempfile::tempdir().expect("a directory");
        let socket = top.path().join("made/s");
        prepare_directory(&socket).expect("made");
        assert!(top.path().join("made").is_dir());
        std::os::unix::fs::symlink(top.path().join("made"), top.path().join("link"))
            .expect("a link");
        let refused = prepare_directory(&top.path().join("link/s")).expect_err("a link");
        assert!(matches!(refused, LocationError::Unusable { .. }), "{refused}");
    }

    #[test]
    fn only_a_socket_is_removed_as_stale() {
        let top = tempfile::tempdir().expect("a directory");
        let path = top.path().join("s");
        remove_stale(&path).expect("nothing there");
        fs::write(&path, "precious").expect("a file");
        let refused = remove_stale(&path).expect_err("a file");
        assert!(matches!(refused, LocationError::NotASocket { .. }), "{refused}");
        fs::remove_file(&path).expect("removed");
        drop(UnixListener::bind(&path).expect("a socket"));
        remove_stale(&path).expect("stale");
        assert!(!path.exists());
    }
}
