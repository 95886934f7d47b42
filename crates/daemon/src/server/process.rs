//! A connected process: its locks, and what is to be sent to it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mio::Waker;
use parking_lot::{Mutex, MutexGuard};
use stackglue::{Errno, Lksb, Mode};
use wire::WriteBuffer;

use super::counters::Counters;
use super::group::GroupEvent;
use super::value::ValueEvent;
use crate::config::{Limits, OnFence};
use crate::protocol::{ErrorCode, FRAME_LEN_MAX, FromDaemon, Malformed};

/// Text of a process for the eyes of others: on one line, and without what a terminal would obey.
pub(super) fn printable(text: &str) -> Box<str> {
    match text.chars().any(char::is_control) {
        false => text.into(),
        true => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
    }
}

/// Why the daemon ends a connection: a sentence for the process, and for the log.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) code: ErrorCode,
    pub(super) text: String,
}

impl Ending {
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Ending {
        Ending { code, text: text.into() }
    }

    pub(super) fn malformed(error: &Malformed) -> Ending {
        let code = match error {
            Malformed::Version { .. } => ErrorCode::Version,
            _ => ErrorCode::Protocol,
        };
        Ending::new(code, error.to_string())
    }

    pub(super) fn limit(what: &str, max: usize) -> Ending {
        let text = format!("this client has more than {max} {what}: disconnected");
        Ending::new(ErrorCode::Limit, text)
    }
}

/// What the loop's thread and callbacks, which may run on any thread, have in common.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    pub(super) started: Instant,
    /// Milliseconds since the start, read once per turn of the loop: a grant reads no clock.
    pub(super) clock_ms: AtomicU64,
    /// What happens when this node is fenced: may be changed while it runs.
    pub(super) on_fence: Mutex<OnFence>,
    pub(super) stop: AtomicBool,
    /// Outcomes for the operations on values.
    pub(super) value_events: Mutex<Vec<ValueEvent>>,
    /// Groups that were joined or left.
    group_events: Mutex<Vec<GroupEvent>>,
    /// Why this node had to stop at once.
    pub(super) fenced: OnceLock<String>,
    /// Everybody who is connected, by place.
    pub(super) connected: Mutex<HashMap<usize, Arc<Process>>>,
    waker: Waker,
    /// Whether the loop sleeps, or is about to.
    asleep: AtomicBool,
    /// Processes with something to send.
    unsent: Mutex<Vec<Arc<Process>>>,
}

impl Shared {
    pub(super) fn new(limits: Limits, on_fence: OnFence, waker: Waker) -> Shared {
        Shared {
            limits,
            counters: Counters::default(),
            started: Instant::now(),
            clock_ms: AtomicU64::new(0),
            on_fence: Mutex::new(on_fence),
            stop: AtomicBool::new(false),
            value_events: Mutex::default(),
            group_events: Mutex::default(),
            fenced: OnceLock::new(),
            connected: Mutex::default(),
            waker,
            asleep: AtomicBool::new(false),
            unsent: Mutex::default(),
        }
    }

    #[inline]
    pub(super) fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed)
    }

    /// The time for a callback, which may come while the loop sleeps and its clock stands still.
    #[inline]
    pub(super) fn callback_ms(&self) -> u64 {
        if self.asleep.load(Ordering::Relaxed) {
            return self.started.elapsed().as_millis() as u64;
        }
        self.now_ms()
    }

    /// To be called before the loop sleeps. `false`: something came up, it must not.
    pub(super) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.unsent.lock().is_empty()
            && self.value_events.lock().is_empty()
            && self.group_events.lock().is_empty()
            && !self.stop.load(Ordering::SeqCst)
    }

    /// To be called when the loop is awake.
    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// Wakes the loop, unless this is its own thread or another one did.
    #[inline]
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "the event loop cannot be woken");
        }
    }

    /// Takes the list of processes with something to send, and leaves an empty one.
    pub(super) fn take_unsent(&self, into: &mut Vec<Arc<Process>>) {
        into.clear();
        std::mem::swap(into, &mut *self.unsent.lock());
    }

    /// Tells the loop that a group was joined or left.
    pub(super) fn group_event(&self, event: GroupEvent) {
        self.group_events.lock().push(event);
        self.wake();
    }

    pub(super) fn take_group_events(&self) -> Vec<GroupEvent> {
        std::mem::take(&mut *self.group_events.lock())
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }
}

/// A process, as long as it is connected; its orphans remember it longer.
pub(super) struct Process {
    /// Its place among the sessions.
    pub(super) key: usize,
    pub(super) pid: u32,
    pub(super) uid: u32,
    /// Whether it may do what concerns everybody: root and the daemon's own user.
    pub(super) is_admin: bool,
    pub(super) command: OnceLock<Box<str>>,
    state: Mutex<ProcessState>,
}

/// The part of a process that changes.
pub(super) struct ProcessState {
    pub(super) out: WriteBuffer,
    /// Locks by the handles that the process gave them.
    pub(super) locks: HashMap<u32, Lksb>,
    /// Groups that it has joined, and how often.
    pub(super) groups: BTreeMap<usize, u64>,
    /// Calls that have no outcome yet.
    pub(super) waiting: usize,
    is_listed_as_unsent: bool,
    is_gone: bool,
}

impl Process {
    pub(super) fn new(
        key: usize,
        pid: u32,
        uid: u32,
        is_admin: bool,
        output_bytes_max: usize,
    ) -> Process {
        Process {
            key,
            pid,
            uid,
            is_admin,
            command: OnceLock::new(),
            state: Mutex::new(ProcessState {
                out: WriteBuffer::new(output_bytes_max),
                locks: HashMap::new(),
                groups: BTreeMap::new(),
                waiting: 0,
                is_listed_as_unsent: false,
                is_gone: false,
            }),
        }
    }

    pub(super) fn command(&self) -> &str {
        self.command.get().map_or("", |command| command)
    }

    #[inline]
    pub(super) fn state(&self) -> MutexGuard<'_, ProcessState> {
        self.state.lock()
    }

    /// Puts a frame behind what is to be sent.
    pub(super) fn send(self: &Arc<Process>, shared: &Shared, frame: &FromDaemon<'_>) {
        self.send_with(shared, frame, |_| ());
    }

    /// Puts a frame behind what is to be sent, and changes what follows from it, in one step.
    #[inline]
    pub(super) fn send_with(
        self: &Arc<Process>,
        shared: &Shared,
        frame: &FromDaemon<'_>,
        change: impl FnOnce(&mut ProcessState),
    ) {
        let mut state = self.state.lock();
        change(&mut state);
        if state.is_gone {
            return;
        }
        // A peer that is over the limit is about to be disconnected: what it does not read anyway need
        // not pile up until then.
        if !state.out.is_over() {
            frame.encode(state.out.bytes());
        }
        if !state.is_listed_as_unsent {
            state.is_listed_as_unsent = true;
            shared.unsent.lock().push(self.clone());
            drop(state);
            shared.wake();
        }
    }

    /// Ends the answer to a control request.
    pub(super) fn end(
        self: &Arc<Process>,
        shared: &Shared,
        id: u32,
        outcome: Result<(), (Errno, String)>,
    ) {
        let (errno, text) = match &outcome {
            Ok(()) => (0, ""),
            Err((errno, text)) => (errno.number(), text.as_str()),
        };
        self.send_with(shared, &FromDaemon::End { id, errno, text }, |state| state.waiting -= 1);
    }

    /// Sends one part of the answer to a control request.
    pub(super) fn item(
        self: &Arc<Process>,
        shared: &Shared,
        id: u32,
        item: &impl serde::Serialize,
    ) {
        let json = serde_json::to_vec(item).expect("items are plain data");
        debug_assert!(json.len() + 5 <= FRAME_LEN_MAX, "an item of {} bytes", json.len());
        self.send(shared, &FromDaemon::Item { id, json: &json });
    }

    /// Whether it holds a lock that keeps anybody out.
    pub(super) fn holds_a_lock(&self) -> bool {
        let keeps_out = |lksb: &Lksb| lksb.mode().is_some_and(|mode| mode != Mode::NL);
        self.state().locks.values().any(keeps_out)
    }

    /// Forgets everything that is to be sent, and returns the locks.
    pub(super) fn go(&self) -> HashMap<u32, Lksb> {
        let mut state = self.state.lock();
        state.is_gone = true;
        state.out = WriteBuffer::new(0);
        std::mem::take(&mut state.locks)
    }
}

impl ProcessState {
    /// To be called when everything is with the socket, or the loop waits until it takes more.
    #[inline]
    pub(super) fn unlist(&mut self) {
        self.is_listed_as_unsent = false;
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} uid {} {:?}", self.pid, self.uid, self.command())
    }
}
