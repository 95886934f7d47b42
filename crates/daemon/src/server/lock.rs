//! A lock of a process: what hangs off its status block, and what the process is told about it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use stackglue::{
    Connection, Errno, Lksb, LockFlags, LockingProtocol, Mode, NAME_LEN_MAX, ProtocolVersion,
    ResourceName,
};

use super::listing;
use super::process::{Process, Shared, printable};
use super::value::ValueEvent;
use crate::protocol::FromDaemon;

/// The daemon's locking protocol: clients agree on what they store in value blocks among themselves.
pub(super) const LOCKING_PROTOCOL: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// What hangs off the status block of a lock.
pub(super) struct LockState {
    pub(super) process: Arc<Process>,
    pub(super) role: Role,
    /// The group's place.
    pub(super) group: usize,
    name: [u8; NAME_LEN_MAX],
    name_len: u8,
    pub(super) purpose: Box<str>,
    pub(super) asked_ms: u64,
    /// When the last lock call was made.
    call_ms: AtomicU64,
    /// When it was granted.
    granted_ms: AtomicU64,
    /// Mode and flags of the last lock call.
    wanted: AtomicU8,
    flags: AtomicU32,
    /// Whether the last lock call has no outcome yet.
    waits: AtomicBool,
    /// Whether it is out of its group's tally.
    ended: AtomicBool,
}

/// Whose lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A process's, by its handle.
    Client(u32),
    /// The daemon's own, for an operation on a value; once an orphan, it keeps the value alive.
    Value(u64),
}

impl LockState {
    pub(super) fn new(
        process: &Arc<Process>,
        role: Role,
        group: usize,
        name: ResourceName<'_>,
        purpose: &str,
        now_ms: u64,
    ) -> LockState {
        let bytes = name.as_bytes();
        let mut name = [0; NAME_LEN_MAX];
        name[..bytes.len()].copy_from_slice(bytes);
        LockState {
            process: process.clone(),
            role,
            group,
            name,
            name_len: bytes.len() as u8,
            purpose: printable(purpose),
            asked_ms: now_ms,
            call_ms: AtomicU64::new(now_ms),
            granted_ms: AtomicU64::new(now_ms),
            wanted: AtomicU8::new(Mode::NL.number()),
            flags: AtomicU32::new(0),
            waits: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> ResourceName<'_> {
        ResourceName::new(&self.name[..self.name_len.into()]).expect("it was one before")
    }

    /// Notes a lock call that is about to be made.
    pub(super) fn begin(&self, mode: Mode, flags: LockFlags, now_ms: u64) {
        self.wanted.store(mode.number(), Ordering::Relaxed);
        self.flags.store(flags.bits(), Ordering::Relaxed);
        self.call_ms.store(now_ms, Ordering::Relaxed);
        self.waits.store(true, Ordering::Relaxed);
    }

    /// Notes the outcome of a lock call. `false` when there was none under way.
    pub(super) fn finish(&self) -> bool {
        self.waits.swap(false, Ordering::Relaxed)
    }

    /// Takes a process's lock out of the tally of its group, once: that it has ended and that its
    /// process is gone may be learned on two threads.
    pub(super) fn end(&self, tally: &Tally) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            tally.lock_ended();
        }
    }

    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// The mode of the last lock call.
    pub(super) fn wanted(&self) -> Mode {
        Mode::from_number(self.wanted.load(Ordering::Relaxed)).unwrap_or(Mode::NL)
    }

    pub(super) fn flags(&self) -> LockFlags {
        LockFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// How long the last call has waited, or had waited when it was granted.
    pub(super) fn wait_ms(&self, now_ms: u64) -> u64 {
        let until = if self.waits() { now_ms } else { self.granted_ms.load(Ordering::Relaxed) };
        until.saturating_sub(self.call_ms.load(Ordering::Relaxed))
    }
}

/// How much a group is used.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Locks of connected processes and of operations on values, those that wait included.
    pub(super) locks: AtomicUsize,
    pub(super) orphans: AtomicUsize,
    /// Connected processes that have joined it, with or without locks.
    pub(super) members: AtomicUsize,
}

impl Tally {
    pub(super) fn is_empty(&self) -> bool {
        [&self.locks, &self.orphans, &self.members]
            .into_iter()
            .all(|count| count.load(Ordering::Relaxed) == 0)
    }

    pub(super) fn lock_ended(&self) {
        self.locks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The locking protocol of one group: turns callbacks into frames.
pub(super) struct GroupProtocol {
    pub(super) shared: Arc<Shared>,
    pub(super) tally: Arc<Tally>,
    pub(super) group: String,
    /// Set once the group is connected; weak because the connection owns the protocol.
    pub(super) connection: OnceLock<Weak<Connection>>,
}

impl LockingProtocol for GroupProtocol {
    fn max_version(&self) -> ProtocolVersion {
        LOCKING_PROTOCOL
    }

    fn lock_ast(&self, lksb: &Lksb) {
        let Some(state) = lksb.state::<LockState>() else { return };
        let call = state.flags() & (LockFlags::ORPHAN | LockFlags::CONVERT);
        if lksb.status().is_ok() && call == LockFlags::ORPHAN {
            self.tally.orphans.fetch_sub(1, Ordering::Relaxed);
        }
        match state.role {
            Role::Value(operation) => {
                state.finish();
                self.value_event(operation, lksb.status());
            }
            Role::Client(handle) => match lksb.status() {
                Ok(()) => self.locked(handle, state, lksb),
                Err(errno) => self.refused(handle, state, lksb, errno),
            },
        }
    }

    fn blocking_ast(&self, lksb: &Lksb, level: Mode) {
        if let Some(state) = lksb.state::<LockState>()
            && let Role::Client(handle) = state.role
        {
            self.shared.counters.blocking.count();
            state.process.send(&self.shared, &FromDaemon::Blocking { handle, level });
        }
    }

    fn unlock_ast(&self, lksb: &Lksb, result: Result<(), Errno>) {
        let Some(state) = lksb.state::<LockState>() else { return };
        // Operations on values abandon their locks, which calls nobody.
        let Role::Client(handle) = state.role else { return };
        let errno = match (result, lksb.status()) {
            (Err(errno), _) | (Ok(()), Err(errno @ Errno::ECANCEL)) => Some(errno),
            (Ok(()), _) => None,
        };
        let text = match result {
            Ok(()) => String::new(),
            Err(errno) => unlock_text(state.name(), errno),
        };
        match errno {
            None => self.shared.counters.unlocked.count(),
            Some(Errno::ECANCEL) => self.shared.counters.cancelled.count(),
            Some(_) => {}
        }
        let frame =
            FromDaemon::Unlocked { handle, errno: errno.map_or(0, Errno::number), text: &text };
        // A failed unlock leaves what waits waiting.
        let finished = result.is_ok() && state.finish();
        let ended = result.is_ok() && lksb.mode().is_none();
        self.tell(state, &frame, finished, ended.then_some(handle));
    }
}

impl GroupProtocol {
    fn locked(&self, handle: u32, state: &LockState, lksb: &Lksb) {
        self.shared.counters.granted.count();
        state.granted_ms.store(self.shared.callback_ms(), Ordering::Relaxed);
        let value;
        let lvb: &[u8] = if state.flags().contains(LockFlags::VALBLK) {
            value = lksb.lvb();
            &value
        } else {
            b""
        };
        let mode = lksb.mode().unwrap_or(Mode::NL);
        let (flags, token) = (lksb.flags(), lksb.token());
        let frame = FromDaemon::Locked { handle, mode, flags, token, lvb };
        self.tell(state, &frame, state.finish(), None);
    }

    fn refused(&self, handle: u32, state: &LockState, lksb: &Lksb, errno: Errno) {
        self.shared.counters.refused.count();
        let connection = self.connection.get().and_then(Weak::upgrade);
        let connection = connection.as_deref();
        let text = refusal_text(&self.shared, connection, &self.group, state, lksb, errno);
        let frame = FromDaemon::Refused { handle, errno: errno.number(), text: &text };
        let ended = lksb.mode().is_none().then_some(handle);
        self.tell(state, &frame, state.finish(), ended);
    }

    /// Sends the frame and settles the accounts of the process before it can see it.
    fn tell(&self, state: &LockState, frame: &FromDaemon<'_>, finished: bool, ended: Option<u32>) {
        if ended.is_some() {
            state.end(&self.tally);
        }
        state.process.send_with(&self.shared, frame, |process| {
            process.waiting -= usize::from(finished);
            if let Some(handle) = ended {
                process.locks.remove(&handle);
            }
        });
    }

    fn value_event(&self, operation: u64, outcome: Result<(), Errno>) {
        self.shared.value_events.lock().push(ValueEvent { operation, outcome });
        self.shared.wake();
    }
}

/// Why a lock call was refused, naming who is in the way where somebody is.
pub(super) fn refusal_text(
    shared: &Shared,
    connection: Option<&Connection>,
    group: &str,
    state: &LockState,
    lksb: &Lksb,
    errno: Errno,
) -> String {
    let name = state.name();
    match errno {
        Errno::EAGAIN => {
            let held = connection
                .map(|connection| listing::holders_text(shared, connection, state, lksb))
                .unwrap_or_else(|| "in use".to_owned());
            format!("\"{name}\" in group {group} is {held}")
        }
        Errno::ENOENT if state.flags().contains(LockFlags::ORPHAN) => {
            format!("\"{name}\" in group {group} has no orphan to adopt in that mode")
        }
        Errno::EDEADLK => format!(
            "converting \"{name}\" in group {group} would wait for a conversion that waits for it: \
             give the lock up, or convert it down first"
        ),
        Errno::EBUSY => {
            format!("an operation on \"{name}\" is under way: wait for its outcome first")
        }
        Errno::EINVAL => {
            format!("the mode and the flags asked for \"{name}\" do not go together: {errno}")
        }
        errno => format!("\"{name}\" in group {group} cannot be locked: {errno}"),
    }
}

/// Why an unlock call failed.
pub(super) fn unlock_text(name: ResourceName<'_>, errno: Errno) -> String {
    match errno {
        Errno::EBUSY => format!("an operation on \"{name}\" is under way: cancel it first"),
        errno => format!("\"{name}\" cannot be unlocked: {errno}"),
    }
}
