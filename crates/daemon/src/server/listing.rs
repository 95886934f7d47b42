//! Who holds what, who waits for whom: copied from the stack in one go, sent as fast as it is read.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use stackglue::{Connection, Lksb, LockView, Mode, Queue};

use super::group::{Group, Groups};
use super::lock::LockState;
use super::process::{Process, Shared};
use crate::control::{BlockerItem, LockItem, Name, TextItem};

/// Who keeps a request for the lock of `lksb` from being granted, for an error message.
pub(super) fn holders_text(
    shared: &Shared,
    connection: &Connection,
    state: &LockState,
    lksb: &Lksb,
) -> String {
    let now_ms = shared.now_ms();
    let mut holders = Vec::new();
    let mut holders_count = 0;
    let own = connection.this_node().ok();
    let mut elsewhere = None;
    connection.visit_resource(state.name(), &mut |resource| {
        elsewhere = own.filter(|own| *own != resource.master).map(|_| resource.master.0);
        for lock in resource.locks {
            let Some(mode) = lock.granted else { continue };
            let is_own = lock.lksb.is_some_and(|other| other.is(lksb));
            if is_own || mode.is_compatible_with(state.wanted()) {
                continue;
            }
            holders_count += 1;
            if holders.len() < HOLDERS_NAMED_MAX {
                holders.push(format!("{mode} by {}", Who::of(lock, now_ms)));
            }
        }
    });
    match holders_count {
        // Only the master knows the locks of others.
        0 if elsewhere.is_some_and(|master| master < NO_NODE) => format!(
            "held or wanted on another node: node {}, its master, knows by whom",
            elsewhere.unwrap_or_default()
        ),
        0 => "wanted by others who wait already".to_owned(),
        1..=HOLDERS_NAMED_MAX => format!("held: {}", holders.join(", ")),
        more => format!("held: {}, and {} more", holders.join(", "), more - holders.len()),
    }
}

/// A process that holds or wants a lock, for a person.
struct Who<'a> {
    state: Option<&'a LockState>,
    node: u32,
    orphan: bool,
    now_ms: u64,
}

impl<'a> Who<'a> {
    fn of(lock: &LockView<'a>, now_ms: u64) -> Who<'a> {
        let state = lock.lksb.and_then(|lksb| lksb.state());
        Who { state, node: lock.node.0, orphan: lock.orphan, now_ms }
    }
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(state) = self.state else { return write!(f, "node {}", self.node) };
        let orphan = if self.orphan { "an orphan of " } else { "" };
        write!(f, "{orphan}pid {} ({}", state.process.pid, state.process.command())?;
        if !state.purpose.is_empty() {
            write!(f, ": {}", state.purpose)?;
        }
        let age_ms = self.now_ms.saturating_sub(state.asked_ms);
        match age_ms / 1000 {
            0 => write!(f, ") for {age_ms} ms"),
            seconds @ 1..120 => write!(f, ") for {seconds} s"),
            seconds @ 120..7200 => write!(f, ") for {} min", seconds / 60),
            seconds => write!(f, ") for {} h", seconds / 3600),
        }
    }
}

/// The answer to a request for every lock, or for a text: what is left of it to send.
pub(super) struct Listing {
    process: Arc<Process>,
    id: u32,
    rest: Rest,
}

enum Rest {
    Locks(VecDeque<Copied>),
    Text { text: String, sent: usize },
}

impl Listing {
    /// Copies the locks of the groups and resources asked for.
    ///
    /// The requests in `parked` wait for processes of an earlier daemon, or for their group to be joined,
    /// and the stack does not know them.
    pub(super) fn new<'a>(
        process: &Arc<Process>,
        id: u32,
        groups: &Groups,
        parked: impl Iterator<Item = &'a Lksb>,
        group: Option<&str>,
        name: Option<&Name>,
    ) -> Listing {
        let mut locks = VecDeque::new();
        for connected in groups.iter() {
            if group.is_some_and(|wanted| wanted != connected.name) {
                continue;
            }
            let group: Arc<str> = connected.name.as_str().into();
            let Some(connection) = connected.connection() else { continue };
            connection.visit_resources(&mut |resource| {
                if name.is_none_or(|wanted| wanted.as_bytes() == resource.name.as_bytes()) {
                    let resource_name: Arc<[u8]> = resource.name.as_bytes().into();
                    let master = Some(resource.master.0).filter(|&master| master < NO_NODE);
                    let copy =
                        |lock| Copied::new(&group, &resource_name, master, lock, resource.locks);
                    locks.extend(resource.locks.iter().map(copy));
                }
            });
        }
        for lksb in parked {
            let Some(state) = lksb.state::<LockState>() else { continue };
            let Some(connected) = groups.get(state.group) else { continue };
            if group.is_none_or(|wanted| wanted == connected.name)
                && name.is_none_or(|wanted| wanted.as_bytes() == state.name().as_bytes())
            {
                locks.push_back(Copied::parked(connected, state, lksb));
            }
        }
        Listing { process: process.clone(), id, rest: Rest::Locks(locks) }
    }

    /// A text, in parts that fit a frame.
    pub(super) fn of_text(process: &Arc<Process>, id: u32, text: String) -> Listing {
        Listing { process: process.clone(), id, rest: Rest::Text { text, sent: 0 } }
    }

    pub(super) fn is_for(&self, process: &Arc<Process>) -> bool {
        Arc::ptr_eq(&self.process, process)
    }

    /// Whether something can be sent: the process reads what it gets.
    pub(super) fn can_go_on(&self) -> bool {
        self.process.state().out.unsent_len() < UNSENT_MAX
    }

    /// Sends as much as the process may have unread. `true` when that was all.
    pub(super) fn go_on(&mut self, shared: &Shared) -> bool {
        while self.can_go_on() {
            let is_sent = match &mut self.rest {
                Rest::Locks(locks) => locks.pop_front().map(|lock| {
                    self.process.item(shared, self.id, &lock.to_item(shared.now_ms()));
                }),
                Rest::Text { text, sent } => next_part(text, sent).map(|part| {
                    self.process.item(shared, self.id, &TextItem { text: part.to_owned() });
                }),
            };
            if is_sent.is_none() {
                self.process.end(shared, self.id, Ok(()));
                return true;
            }
        }
        false
    }
}

/// What comes behind the first `sent` bytes of a text, as much as fits a frame.
fn next_part<'a>(text: &'a str, sent: &mut usize) -> Option<&'a str> {
    let end = text.floor_char_boundary(*sent + TEXT_PART_LEN);
    let part = text.get(*sent..end).filter(|part| !part.is_empty())?;
    *sent = end;
    Some(part)
}

/// What a listing needs of one lock.
struct Copied {
    group: Arc<str>,
    name: Arc<[u8]>,
    id: u32,
    node: u32,
    master: Option<u32>,
    lksb: Option<Lksb>,
    queue: Queue,
    granted: Option<Mode>,
    requested: Option<Mode>,
    orphan: bool,
    blockers: Vec<Blocker>,
}

struct Blocker {
    id: u32,
    node: u32,
    lksb: Option<Lksb>,
    mode: Mode,
    orphan: bool,
}

impl Copied {
    fn new(
        group: &Arc<str>,
        name: &Arc<[u8]>,
        master: Option<u32>,
        lock: &LockView<'_>,
        all: &[LockView<'_>],
    ) -> Copied {
        let blockers = lock.waits_for.iter().take(BLOCKERS_MAX).filter_map(|id| {
            let blocker = all.iter().find(|other| other.id == *id)?;
            Some(Blocker {
                id: blocker.id,
                node: blocker.node.0,
                lksb: blocker.lksb.cloned(),
                mode: blocker.granted.or(blocker.requested)?,
                orphan: blocker.orphan,
            })
        });
        Copied {
            group: group.clone(),
            name: name.clone(),
            id: lock.id,
            node: lock.node.0,
            master,
            lksb: lock.lksb.cloned(),
            queue: lock.queue,
            granted: lock.granted,
            requested: lock.requested,
            orphan: lock.orphan,
            blockers: blockers.collect(),
        }
    }

    fn parked(group: &Group, state: &LockState, lksb: &Lksb) -> Copied {
        Copied {
            group: group.name.as_str().into(),
            name: state.name().as_bytes().into(),
            id: 0,
            node: group.node,
            master: None,
            lksb: Some(lksb.clone()),
            queue: Queue::Waiting,
            granted: None,
            requested: Some(state.wanted()),
            orphan: false,
            blockers: Vec::new(),
        }
    }

    fn to_item(&self, now_ms: u64) -> LockItem {
        let state = self.lksb.as_ref().and_then(|lksb| lksb.state::<LockState>());
        let process = state.map(|state| &state.process);
        let queue = match self.queue {
            Queue::Granted => "granted",
            Queue::Converting => "converting",
            Queue::Waiting => "waiting",
        };
        LockItem {
            group: self.group.to_string(),
            name: Name::new(&self.name).expect("a resource has a name"),
            id: self.id,
            mode: self.granted.map(|mode| mode.to_string()),
            requested: self.requested.map(|mode| mode.to_string()),
            queue: queue.to_owned(),
            node: self.node,
            master: self.master,
            pid: process.map(|process| process.pid),
            uid: process.map(|process| process.uid),
            command: process.map_or("", |process| process.command()).to_owned(),
            purpose: state.map_or("", |state| &state.purpose).to_owned(),
            age_ms: state.map_or(0, |state| now_ms.saturating_sub(state.asked_ms)),
            wait_ms: state.map_or(0, |state| state.wait_ms(now_ms)),
            orphan: self.orphan,
            token: self.lksb.as_ref().map_or(0, Lksb::token),
            waits_for: self.blockers.iter().map(|blocker| blocker.to_item(now_ms)).collect(),
        }
    }
}

impl Blocker {
    fn to_item(&self, now_ms: u64) -> BlockerItem {
        let state = self.lksb.as_ref().and_then(|lksb| lksb.state::<LockState>());
        let process = state.map(|state| &state.process);
        BlockerItem {
            id: self.id,
            node: self.node,
            pid: process.map(|process| process.pid),
            command: process.map_or("", |process| process.command()).to_owned(),
            purpose: state.map_or("", |state| &state.purpose).to_owned(),
            mode: self.mode.to_string(),
            age_ms: state.map_or(0, |state| now_ms.saturating_sub(state.asked_ms)),
            orphan: self.orphan,
        }
    }
}

/// Holders named in an error message.
const HOLDERS_NAMED_MAX: usize = 3;

/// Blockers listed of one lock: with many waiters on one resource each waits for all before it, and an
/// item must fit a frame whatever the commands and purposes are.
const BLOCKERS_MAX: usize = 8;

/// The number of no node: nobody knows yet who is the master.
const NO_NODE: u32 = 255;

/// Bytes of a listing that the process has not read, above which the rest must wait.
const UNSENT_MAX: usize = 128 * 1024;

/// A part of a text: fits a frame also when JSON needs six bytes for each.
const TEXT_PART_LEN: usize = 8 * 1024;
