//! `stackglue locks`: who holds what, who waits, and for whom.

use daemon::control::{BlockerItem, ControlRequest, LockItem};
use dlm::Mode;

use crate::arguments::LocksArguments;
use crate::exit::{Failure, warn};
use crate::table::{lay_out, span, tame};
use crate::{name, print, session};

/// Prints every lock that was asked for.
pub(crate) fn run(arguments: &LocksArguments) -> Result<u8, Failure> {
    let name = arguments.name.as_deref().map(name::resource).transpose()?;
    let request = ControlRequest::Locks { group: arguments.group.clone(), name };
    let locks: Vec<LockItem> = match session::connect_if_running("stackglue locks")? {
        Some(mut client) => client.control(&request)?.read_all()?,
        None => {
            warn("no daemon runs, so there are no locks");
            Vec::new()
        }
    };
    if arguments.json {
        locks.iter().for_each(print::json);
    } else {
        let rows: Vec<_> = locks.iter().map(row).collect();
        print::text(&lay_out(HEADING, &rows));
    }
    Ok(0)
}

/// Names those of `locks` that keep a lock in mode `wanted` waiting, as the daemon does in what it
/// refuses; empty when there are none.
pub(crate) fn holders(locks: &[LockItem], wanted: Mode) -> String {
    let mut holders: Vec<_> = locks
        .iter()
        .filter_map(|lock| {
            let mode = lock.mode.as_deref()?.parse::<Mode>().ok()?;
            (!mode.is_compatible_with(wanted)).then(|| format!("{mode} by {}", owner(lock)))
        })
        .collect();
    let more = holders.len().saturating_sub(HOLDERS_NAMED_MAX);
    holders.truncate(HOLDERS_NAMED_MAX);
    match more {
        0 => holders.join(", "),
        more => format!("{}, and {more} more", holders.join(", ")),
    }
}

fn owner(lock: &LockItem) -> String {
    let orphan = if lock.orphan { "an orphan of " } else { "" };
    let Some(pid) = lock.pid else { return format!("{orphan}node {}", lock.node) };
    let command = tame(&lock.command, WORDS_CHARS_MAX);
    let purpose = match lock.purpose.as_str() {
        "" => String::new(),
        purpose => format!(": {}", tame(purpose, WORDS_CHARS_MAX)),
    };
    format!("{orphan}pid {pid} ({command}{purpose}) for {}", span(lock.age_ms))
}

fn row(lock: &LockItem) -> [String; 12] {
    let mode = match (&lock.mode, &lock.requested) {
        (Some(held), Some(wanted)) => format!("{held}->{wanted}"),
        (held, wanted) => held.as_ref().or(wanted.as_ref()).cloned().unwrap_or_default(),
    };
    let queue = if lock.orphan { format!("{}, orphan", lock.queue) } else { lock.queue.clone() };
    let waits_for: Vec<_> = lock.waits_for.iter().map(blocker).collect();
    [
        tame(&lock.group, usize::MAX),
        lock.name.to_string(),
        mode,
        queue,
        lock.node.to_string(),
        lock.master.map_or_else(String::new, |master| master.to_string()),
        lock.pid.map_or_else(String::new, |pid| pid.to_string()),
        tame(&lock.command, WORDS_CHARS_MAX),
        tame(&lock.purpose, WORDS_CHARS_MAX),
        span(lock.age_ms),
        span(lock.wait_ms),
        waits_for.join(", "),
    ]
}

fn blocker(blocker: &BlockerItem) -> String {
    let who = match blocker.pid {
        _ if blocker.orphan => "orphan".into(),
        Some(pid) => pid.to_string(),
        None => format!("node {}", blocker.node),
    };
    format!("{who} ({})", blocker.mode)
}

const HOLDERS_NAMED_MAX: usize = 8;

const HEADING: [&str; 12] = [
    "GROUP",
    "NAME",
    "MODE",
    "QUEUE",
    "NODE",
    "MASTER",
    "PID",
    "COMMAND",
    "PURPOSE",
    "AGE",
    "WAIT",
    "WAITS FOR",
];

/// The most characters of a command or a purpose in a table or a sentence; JSON has all of them.
const WORDS_CHARS_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use daemon::control::Name;

    use super::*;

    fn lock(mode: Option<&str>, requested: Option<&str>) -> LockItem {
        LockItem {
            group: "default".into(),
            name: Name::new(b"demo").expect("a name"),
            id: 1,
            mode: mode.map(Into::into),
            requested: requested.map(Into::into),
            queue: "granted".into(),
            node: 1,
            master: Some(1),
            pid: Some(4711),
            uid: Some(0),
            command: "sleep 60".into(),
            purpose: "a nap".into(),
            age_ms: 12_000,
            wait_ms: 0,
            orphan: false,
            token: 7,
            waits_for: Vec::new(),
        }
    }

    #[test]
    fn a_conversion_shows_both_modes_and_a_request_the_one_it_waits_for() {
        assert_eq!(row(&lock(Some("PR"), Some("EX")))[2], "PR->EX");
        assert_eq!(row(&lock(None, Some("EX")))[2], "EX");
        assert_eq!(row(&lock(Some("CW"), None))[2], "CW");
    }

    #[test]
    fn a_waiter_shows_whom_it_waits_for() {
        let mut waiter = lock(None, Some("EX"));
        let blocker = |pid, orphan| BlockerItem {
            id: 1,
            node: 3,
            pid,
            command: String::new(),
            purpose: String::new(),
            mode: "PR".into(),
            age_ms: 0,
            orphan,
        };
        waiter.waits_for =
            vec![blocker(Some(12), false), blocker(None, false), blocker(Some(9), true)];
        assert_eq!(row(&waiter)[11], "12 (PR), node 3 (PR), orphan (PR)");
    }

    #[test]
    fn those_in_the_way_are_named_with_command_purpose_and_age_and_nobody_else() {
        let locks = [lock(Some("PR"), Some("EX")), lock(Some("CR"), None), lock(None, Some("EX"))];
        let text = holders(&locks, Mode::CW);
        assert_eq!(text, "PR by pid 4711 (sleep 60: a nap) for 12s");
        assert_eq!(holders(&locks, Mode::PR), "");
        let many: Vec<_> = (0..10).map(|_| lock(Some("CR"), None)).collect();
        assert!(holders(&many, Mode::EX).ends_with(", and 2 more"));
    }
}
