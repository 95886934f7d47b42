//! Names of resources and groups, as they are typed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use daemon::control::Name;
use daemon::protocol::GROUP_LEN_MAX;

use crate::exit::{Failure, USAGE};

/// A resource name: 1 to 64 bytes, any byte a shell can hand on.
pub(crate) fn resource(typed: &OsStr) -> Result<Name, Failure> {
    Name::new(typed.as_bytes()).map_err(|error| Failure::new(USAGE, error.to_string()))
}

/// A group name: 1 to 64 bytes of text.
pub(crate) fn group(typed: &str) -> Result<String, String> {
    match typed.len() {
        0 => Err("the group name is empty: leave the option away for the default group".into()),
        len if len > GROUP_LEN_MAX => {
            Err(format!("the group name has {len} bytes: the longest is {GROUP_LEN_MAX}"))
        }
        _ => Ok(typed.to_owned()),
    }
}
