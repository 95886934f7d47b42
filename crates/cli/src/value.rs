//! `stackglue value`: the value kept with a lock's name.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use daemon::control::{Bytes, ControlRequest, ValueItem};
use dlm::LVB_LEN_MAX;

use crate::arguments::{ValueArguments, ValueName, ValueVerb};
use crate::exit::{CONFLICT, Failure, NOT_VALID, USAGE, warn};
use crate::{name, print, session};

/// Reads, writes or drops a value.
pub(crate) fn run(arguments: &ValueArguments) -> Result<u8, Failure> {
    match &arguments.verb {
        ValueVerb::Get(of) => get(of),
        ValueVerb::Set { of, text } => {
            let value = text.as_bytes();
            if value.len() > LVB_LEN_MAX {
                let len = value.len();
                let sentence = format!("the value has {len} bytes: the longest is {LVB_LEN_MAX}");
                return Err(Failure::new(USAGE, sentence));
            }
            let (group, name) = (of.group.clone(), name::resource(&of.name)?);
            ask(&ControlRequest::SetValue { group, name, value: Bytes(value.to_vec()) })?;
            Ok(0)
        }
        ValueVerb::Clear(of) => {
            let (group, name) = (of.group.clone(), name::resource(&of.name)?);
            ask(&ControlRequest::ClearValue { group, name })?;
            Ok(0)
        }
    }
}

fn get(of: &ValueName) -> Result<u8, Failure> {
    let (group, name) = (of.group.clone(), name::resource(&of.name)?);
    let shown = name.to_string();
    let items = ask(&ControlRequest::Value { group, name })?;
    // A name that has no value reads as zeros, as it does in fs/dlm.
    let end = |value: &[u8]| value.iter().rposition(|&byte| byte != 0);
    let Some((end, item)) = items.first().and_then(|item| Some((end(&item.value.0)?, item))) else {
        return Err(Failure::new(CONFLICT, format!("\"{shown}\" has no value")));
    };
    let mut out = std::io::stdout().lock();
    let printed = out.write_all(&item.value.0[..=end]).and_then(|()| out.write_all(b"\n"));
    print::tolerate_a_closed_pipe(printed.and_then(|()| out.flush()));
    if item.valid {
        return Ok(0);
    }
    warn(&format!(
        "the value of \"{shown}\" is not valid: who could have written it last was lost"
    ));
    Ok(NOT_VALID)
}

fn ask(request: &ControlRequest) -> Result<Vec<ValueItem>, Failure> {
    let mut client = session::connect_or_start("stackglue value")?;
    Ok(client.control(request)?.read_all()?)
}
