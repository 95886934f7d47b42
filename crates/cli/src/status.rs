//! `stackglue status`: the daemon as a whole.

use std::fmt::Write;

use daemon::control::{ControlRequest, StatusItem};

use crate::arguments::StatusArguments;
use crate::exit::{Failure, NOT_RUNNING, SOFTWARE};
use crate::table::{lay_out, span, tame};
use crate::{print, session};

/// Prints what the daemon tells about itself.
pub(crate) fn run(arguments: &StatusArguments) -> Result<u8, Failure> {
    let Some(mut client) = session::connect_if_running("stackglue status")? else {
        let socket = daemon::location::default_socket();
        let sentence = format!("no daemon runs at {}", socket.display());
        return Err(Failure::new(NOT_RUNNING, sentence));
    };
    let items: Vec<StatusItem> = client.control(&ControlRequest::Status {})?.read_all()?;
    let Some(status) = items.first() else {
        return Err(Failure::new(SOFTWARE, "the daemon said nothing about itself"));
    };
    if arguments.json {
        print::json(status);
    } else {
        print::text(&describe(status));
    }
    Ok(0)
}

fn describe(status: &StatusItem) -> String {
    let StatusItem { version, pid, socket, stack, node, epoch, .. } = status;
    let plugin = if status.plugin.is_empty() { "not loaded" } else { &status.plugin };
    let up = span(status.uptime_ms);
    let mut text = format!(
        "stackglued {version}, process {pid}, up {up}\n\
         socket     {socket}\n\
         stack      {stack} (plugin {plugin}), node {node}\n\
         epoch      {epoch}\n\
         processes  {}\n\
         locks      {}, and {} whose process is gone\n",
        status.clients, status.locks, status.orphans
    );
    if let Some(pids) = &status.earlier_holders {
        let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
        let pids = if pids.is_empty() { "unknown".to_owned() } else { pids.join(", ") };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "waits for  processes of a stackglued that died, before anything is granted: pid {pids}"
        );
    }
    if !status.groups.is_empty() {
        let rows: Vec<_> = status
            .groups
            .iter()
            .map(|group| {
                let numbers = [group.node as usize, group.locks, group.orphans];
                let [node, locks, orphans] = numbers.map(|number| number.to_string());
                [tame(&group.name, usize::MAX), node, locks, orphans]
            })
            .collect();
        text.push('\n');
        text.push_str(&lay_out(["GROUP", "NODE", "LOCKS", "ORPHANS"], &rows));
    }
    let counted: Vec<_> = status.counters.iter().filter(|(_, count)| **count > 0).collect();
    if !counted.is_empty() {
        text.push('\n');
        let rows = counted.iter().map(|(name, count)| [(*name).clone(), count.to_string()]);
        text.push_str(&lay_out(["COUNTER", "COUNT"], &rows.collect::<Vec<_>>()));
    }
    text
}

#[cfg(test)]
mod tests {
    use daemon::control::GroupItem;

    use super::*;

    #[test]
    fn groups_and_counters_follow_the_daemon_when_there_are_any() {
        let mut status = StatusItem {
            version: "1.2.3".into(),
            pid: 99,
            socket: "/run/s".into(),
            stack: "solo".into(),
            plugin: String::new(),
            node: 1,
            epoch: 4,
            uptime_ms: 61_000,
            clients: 2,
            locks: 3,
            orphans: 1,
            earlier_holders: None,
            groups: Vec::new(),
            counters: [("granted".to_owned(), 0)].into(),
        };
        let idle = describe(&status);
        assert!(idle.starts_with("stackglued 1.2.3, process 99, up 1m01s\n"), "{idle}");
        assert!(idle.contains("solo (plugin not loaded), node 1\n"), "{idle}");
        assert!(!idle.contains("GROUP") && !idle.contains("COUNTER"), "{idle}");
        assert!(!idle.contains("waits for"), "{idle}");
        status.earlier_holders = Some(vec![12, 13]);
        let waits = describe(&status);
        assert!(waits.ends_with("before anything is granted: pid 12, 13\n"), "{waits}");
        status.groups.push(GroupItem { name: "default".into(), node: 1, locks: 3, orphans: 1 });
        status.counters.insert("refused".into(), 5);
        let busy = describe(&status);
        assert!(busy.contains("\ndefault  1     3      1\n"), "{busy}");
        assert!(busy.contains("\nrefused  5\n") && !busy.contains("\ngranted"), "{busy}");
    }
}
