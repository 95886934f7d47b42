//! `stackglue revoke`: asks for a lock back.

use daemon::control::{ControlRequest, RevokeItem, RevokeStep};
use rustix::process::getuid;

use crate::arguments::RevokeArguments;
use crate::exit::{Failure, SOFTWARE};
use crate::table::tame;
use crate::{name, print, session};

/// Asks the holders, and prints what they do.
pub(crate) fn run(arguments: &RevokeArguments) -> Result<u8, Failure> {
    let name = name::resource(&arguments.name)?;
    let nobody = format!("nobody holds {name}\n");
    let request = ControlRequest::Revoke {
        group: arguments.group.clone(),
        name,
        force: arguments.force,
        grace_ms: arguments.grace.as_millis().try_into().unwrap_or(u32::MAX),
        reason: format!("user {} asked for it with `stackglue revoke`", getuid().as_raw()),
    };
    let Some(mut client) = session::connect_if_running("stackglue revoke")? else {
        print::text(&nobody);
        return Ok(0);
    };
    let mut steps = 0;
    for item in client.control(&request)? {
        let item: RevokeItem = serde_json::from_value(item?)
            .map_err(|error| Failure::new(SOFTWARE, format!("the daemon sent {error}")))?;
        print::text(&describe(&item));
        steps += 1;
    }
    if steps == 0 {
        print::text(&nobody);
    }
    Ok(0)
}

fn describe(item: &RevokeItem) -> String {
    let who = match item.pid {
        Some(pid) => format!("process {pid}"),
        None => "a process that is gone".into(),
    };
    let command = match item.command.as_str() {
        "" => String::new(),
        command => format!(" ({})", tame(command, usize::MAX)),
    };
    let mode = &item.mode;
    match item.step {
        RevokeStep::Asked => format!("asked {who}{command} for its lock in {mode}\n"),
        RevokeStep::Released => format!("{who}{command} gave it back\n"),
        RevokeStep::Taken => format!("took it from {who}{command}\n"),
        RevokeStep::Purged => format!("dropped the lock in {mode} of {who}{command}\n"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_told_in_a_line() {
        let item = |step, pid| RevokeItem {
            step,
            pid,
            command: "sleep 60".into(),
            purpose: String::new(),
            mode: "EX".into(),
        };
        let asked = describe(&item(RevokeStep::Asked, Some(7)));
        assert_eq!(asked, "asked process 7 (sleep 60) for its lock in EX\n");
        let taken = describe(&item(RevokeStep::Taken, Some(7)));
        assert_eq!(taken, "took it from process 7 (sleep 60)\n");
        let purged = describe(&item(RevokeStep::Purged, None));
        assert_eq!(purged, "dropped the lock in EX of a process that is gone (sleep 60)\n");
    }
}
