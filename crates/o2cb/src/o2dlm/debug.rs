//! A domain as text, for a person or a script that knows the files of a kernel's
//! `/sys/kernel/debug/o2dlm/DOMAIN` (`fs/ocfs2/dlm/dlmdebug.c`): the same lines and fields. Counts of
//! references are those of this engine, and times are seconds or milliseconds where a kernel has ticks.

use std::fmt::Write;

use super::domain::{Domain, DomainState};
use super::mastery::{Mle, MleKind};
use super::message::{LockMode, LockName, Queue};
use super::resource::{Lock, Notice, Pending, Resource, State};
use crate::attributes::numbers;
use crate::{NodeId, NodeMap, Now};

/// A debug file of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugFile {
    /// The domain: its members, its lists, its recovery.
    DlmState,
    /// Every resource with its locks.
    LockingState,
    /// Every name whose master is being looked for, or that moves.
    MleState,
    /// Every resource that is forgotten soon.
    PurgeList,
}

impl DebugFile {
    /// Every file.
    pub const ALL: [DebugFile; 4] =
        [DebugFile::DlmState, DebugFile::LockingState, DebugFile::MleState, DebugFile::PurgeList];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            DebugFile::DlmState => "dlm_state",
            DebugFile::LockingState => "locking_state",
            DebugFile::MleState => "mle_state",
            DebugFile::PurgeList => "purge_list",
        }
    }
}

impl Domain {
    /// The text of a debug file, at a time. `pid` is the process that serves the domain.
    pub fn debug_text(&self, file: DebugFile, now: Now, pid: u32) -> String {
        let mut text = String::new();
        let written = match file {
            DebugFile::DlmState => self.write_state(&mut text, pid),
            DebugFile::LockingState => self.write_resources(&mut text),
            DebugFile::MleState => self.write_mles(&mut text),
            DebugFile::PurgeList => self.write_unused(&mut text, now),
        };
        written.expect("writing to a string does not fail");
        text
    }

    fn write_state(&self, text: &mut String, pid: u32) -> std::fmt::Result {
        let (major, minor) = (super::domain::DLM_VERSION.0, self.dlm_minor);
        let state = match self.state {
            DomainState::New => "NEW",
            DomainState::Joined => "JOINED",
            DomainState::InShutdown => "IN SHUTDOWN",
            DomainState::Leaving | DomainState::Left => "LEAVING",
        };
        let name = String::from_utf8_lossy(self.name().as_bytes());
        writeln!(text, "Domain: {name}  Key: 0x{:08x}  Protocol: {major}.{minor}", self.key())?;
        writeln!(text, "Thread Pid: {pid}  Node: {}  State: {state}", self.me)?;
        let joins = u8::from(self.state != DomainState::Left);
        writeln!(text, "Number of Joins: {joins}  Joining Node: {}", number(self.joining))?;
        writeln!(text, "Domain Map: {}", map(self.members))?;
        writeln!(text, "Exit Domain Map: {}", map(self.exiting))?;
        writeln!(text, "Live Map: {}", map(self.live))?;
        let (resources, made) = (self.tables.resources.len(), self.tables.made);
        writeln!(text, "Lock Resources: {resources} ({made})")?;
        let made = self.mles_made;
        writeln!(text, "MLEs: {} ({})", self.mles.len(), made.iter().sum::<u64>())?;
        for ((index, title), made) in
            ["Blocking", "Mastery", "Migration"].iter().enumerate().zip(made)
        {
            let now = self.mles.values().filter(|mle| mle.kind.index() == index).count();
            writeln!(text, "  {title}: {now} ({made})")?;
        }
        let resources = || self.tables.resources.iter().map(|(_, resource)| resource);
        let unused = resources().filter(|resource| resource.unused_since.is_some()).count();
        let in_use = |any: bool| if any { "InUse" } else { "Empty" };
        let has = |bast| {
            let is_bast = |notice: &Notice| matches!(notice, Notice::Bast { .. }) == bast;
            resources().any(|resource| resource.notices.iter().any(is_bast))
        };
        writeln!(
            text,
            "Lists: Dirty={}  Purge={}  PendingASTs={}  PendingBASTs={}",
            in_use(!self.dirty.is_empty()),
            in_use(unused > 0),
            in_use(has(false)),
            in_use(has(true)),
        )?;
        writeln!(text, "Purge Count: {unused}  Refs: {joins}")?;
        writeln!(text, "Dead Node: {}", number(self.recovery.dead()))?;
        let active = if self.recovery.is_active() { "ACTIVE" } else { "INACTIVE" };
        let master = number(self.recovery.master());
        writeln!(text, "Recovery Pid: {pid}  Master: {master}  State: {active}")?;
        writeln!(text, "Recovery Map: {}", map(self.recovery.pending()))?;
        writeln!(text, "Recovery Node State:")?;
        for node in self.recovery.outstanding().iter() {
            writeln!(text, "\t{node} - REQUESTED")?;
        }
        Ok(())
    }

    fn write_resources(&self, text: &mut String) -> std::fmt::Result {
        for (_, resource) in &self.tables.resources {
            self.write_resource(text, resource)?;
        }
        Ok(())
    }

    fn write_resource(&self, text: &mut String, resource: &Resource) -> std::fmt::Result {
        writeln!(text, "NAME:{}", shown(&resource.name))?;
        let queued = resource.locks().count();
        let in_flight = (resource.users as usize).saturating_sub(queued);
        writeln!(
            text,
            "LRES:{FORMAT_VERSION},{owner},{state},{last_used},{purge},{dirty},{recovering},\
             {in_flight},{migrating},{asts},{refs}",
            owner = number(resource.owner),
            state = kernel_state(resource),
            last_used = resource.unused_since.map_or(0, |since| since.as_millis()),
            purge = u8::from(resource.unused_since.is_some()),
            dirty = u8::from(resource.state.contains(State::DIRTY)),
            recovering = u8::from(resource.state.contains(State::RECOVERING)),
            migrating = u8::from(self.migrations.contains_key(&resource.name)),
            asts = resource.notices.iter().count() + resource.asts_out as usize,
            refs = 1 + resource.users,
        )?;
        writeln!(text, "RMAP:{}", map(resource.refmap))?;
        text.push_str("LVBX:");
        // Most of the text, where there are many resources: not by way of a formatter.
        for byte in resource.lvb() {
            text.extend(
                [byte >> 4, byte & 0xf].map(|digit| char::from(HEX_DIGITS[usize::from(digit)])),
            );
        }
        text.push('\n');
        for key in resource.locks() {
            write_lock(text, self.tables.lock(key))?;
        }
        text.push('\n');
        Ok(())
    }

    fn write_mles(&self, text: &mut String) -> std::fmt::Result {
        let name = String::from_utf8_lossy(self.name().as_bytes());
        writeln!(text, "Dumping MLEs for Domain: {name}")?;
        for (name, mle) in &self.mles {
            write_mle(text, name, mle)?;
        }
        // There are no buckets here, of which a kernel tells the fullest.
        let total = self.mles.len();
        writeln!(text, "Total: {total}, Longest: {total}")
    }

    fn write_unused(&self, text: &mut String, now: Now) -> std::fmt::Result {
        let name = String::from_utf8_lossy(self.name().as_bytes());
        writeln!(text, "Dumping Purgelist for Domain: {name}")?;
        let mut total = 0;
        for (_, resource) in &self.tables.resources {
            let Some(since) = resource.unused_since else { continue };
            let seconds = now.saturating_sub(since).as_secs();
            writeln!(text, "{}\t{seconds}", shown(&resource.name))?;
            total += 1;
        }
        writeln!(text, "Total on list: {total}")
    }
}

fn write_lock(text: &mut String, lock: &Lock) -> std::fmt::Result {
    let queue = match lock.queue {
        Some(Queue::Converting) => 1,
        Some(Queue::Blocked) => 2,
        _ => 0,
    };
    let flag = |flag: bool| u8::from(flag);
    let pending = |pending| flag(lock.pending.contains(pending));
    writeln!(
        text,
        "LOCK:{FORMAT_VERSION},{queue},{mode},{convert},{node},{cookie},{ast_queued},{bast_queued},\
         {ast_out},{bast_out},{converts},{locks},{cancels},{unlocks},1",
        mode = lock.mode.to_wire(),
        convert = lock.convert.map_or(NO_MODE, LockMode::to_wire),
        node = lock.node,
        cookie = lock.cookie,
        ast_queued = flag(lock.ast_queued),
        bast_queued = flag(lock.bast_queued),
        ast_out = flag(lock.ast_queued || lock.asts_out > 0),
        bast_out = flag(lock.bast_queued),
        converts = pending(Pending::CONVERT),
        locks = pending(Pending::LOCK),
        cancels = pending(Pending::CANCEL),
        unlocks = pending(Pending::UNLOCK),
    )
}

fn write_mle(text: &mut String, name: &LockName, mle: &Mle) -> std::fmt::Result {
    let (old, new) = match mle.kind {
        MleKind::Migration { old, new } => (old.get(), new.get()),
        MleKind::Block | MleKind::Master => (NO_NODE, NO_NODE),
    };
    let kind = kind_word(mle.kind);
    let name = shown(name);
    writeln!(text, "{name}\t{kind:>3}\tmas={old:3}\tnew={new:3}\tevt=1\tuse=1\tref=  1")?;
    writeln!(text, "Maybe={}", map(mle.maybe))?;
    writeln!(text, "Vote={}", map(mle.asked()))?;
    writeln!(text, "Response={}", map(mle.responded()))?;
    writeln!(text, "Node={}", map(mle.asked()))?;
    text.push('\n');
    Ok(())
}

/// Its flags as the numbers of a kernel (`fs/ocfs2/dlm/dlmcommon.h: DLM_LOCK_RES_*`).
fn kernel_state(resource: &Resource) -> u32 {
    [
        (State::RECOVERING, 0x02),
        (State::DIRTY, 0x08),
        (State::IN_PROGRESS, 0x10),
        (State::MIGRATING, 0x20),
        (State::DROPPING_REF, 0x40),
        (State::RECOVERY_WAITING, 0x4000),
    ]
    .into_iter()
    .filter(|(state, _)| resource.state.contains(*state))
    .map(|(_, number)| number)
    .sum()
}

fn kind_word(kind: MleKind) -> &'static str {
    match kind {
        MleKind::Block => "BLK",
        MleKind::Master => "MAS",
        MleKind::Migration { .. } => "MIG",
    }
}

/// A name for a person. The lock of a directory entry has the number of its inode behind a NUL, as 8
/// bytes; of other names, what is not printable is escaped, which a kernel does not do.
fn shown(name: &LockName) -> String {
    let bytes = name.as_bytes();
    if let [b'N', ..] = bytes
        && let Some((head, behind)) = bytes.split_at_checked(DENTRY_INODE_AT)
        && let Some(inode) = behind.first_chunk()
        && let Some((0, text)) = head.split_last()
        && text.iter().all(u8::is_ascii_graphic)
    {
        let inode = u64::from_be_bytes(*inode) as u32;
        return format!("{}{inode:08x}", String::from_utf8_lossy(text));
    }
    name.to_string()
}

fn map(nodes: NodeMap) -> String {
    numbers(nodes.iter().map(NodeId::get))
}

fn number(node: Option<NodeId>) -> u8 {
    node.map_or(NO_NODE, NodeId::get)
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
/// The version of the lines `LRES` and `LOCK`.
const FORMAT_VERSION: u32 = 1;
const NO_NODE: u8 = 255;
const NO_MODE: i8 = -1;
/// Where the number of the inode begins (`OCFS2_DENTRY_LOCK_INO_START`).
const DENTRY_INODE_AT: usize = 18;
