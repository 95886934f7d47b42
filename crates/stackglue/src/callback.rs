//! The callbacks of one lock: one at a time, in the order in which they were posted.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;

use dlm::{Errno, Mode, StatusFlags};

use crate::sync::{AtomicU8, Mutex};

/// One callback of one lock, as a stack posts it.
///
/// Packed into one word because it is made, handed on and taken apart within nanoseconds: an enum's
/// bytes written one by one and read back at once cost more than the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Callback(NonZeroU64);

impl Callback {
    /// A lock or convert call completed: with what status (`None` for granted), which status flags,
    /// and in which mode the lock is held afterwards.
    #[inline]
    pub const fn lock(status: Option<Errno>, flags: StatusFlags, mode: Option<Mode>) -> Callback {
        Callback::pack(LOCK, status, flags, mode)
    }

    /// An unlock or cancel call completed: `EUNLOCK`, `ECANCEL` or why it failed, and the mode in which
    /// the lock is held afterwards.
    #[inline]
    pub const fn unlock(status: Option<Errno>, mode: Option<Mode>) -> Callback {
        Callback::pack(UNLOCK, status, StatusFlags::empty(), mode)
    }

    /// The lock is in the way of a request for this mode.
    #[inline]
    pub const fn blocking(level: Mode) -> Callback {
        Callback::pack(BLOCKING, None, StatusFlags::empty(), Some(level))
    }

    /// Whether a lock or convert call completed.
    #[inline]
    pub(crate) const fn is_lock(self) -> bool {
        self.0.get() as u8 == LOCK
    }

    /// The mode that the lock is in the way of, for a blocking callback.
    #[inline]
    pub(crate) const fn blocking_level(self) -> Option<Mode> {
        if self.0.get() as u8 == BLOCKING { self.mode() } else { None }
    }

    /// Why the call failed, or `EUNLOCK`, or `ECANCEL`; `None` for success.
    #[inline]
    pub(crate) const fn status(self) -> Option<Errno> {
        Errno::from_number((self.0.get() >> STATUS_SHIFT) as i32)
    }

    /// The status flags of the completion.
    #[inline]
    pub(crate) const fn flags(self) -> StatusFlags {
        StatusFlags::from_bits_retain((self.0.get() >> FLAGS_SHIFT) as u8)
    }

    /// The mode held afterwards, or the mode that is blocked.
    #[inline]
    pub(crate) const fn mode(self) -> Option<Mode> {
        Mode::from_number((self.0.get() >> MODE_SHIFT) as u8)
    }

    #[inline]
    pub(crate) const fn to_word(self) -> u64 {
        self.0.get()
    }

    /// The callback of a word that [`to_word`](Self::to_word) gave.
    #[inline]
    pub(crate) const fn from_word(word: u64) -> Callback {
        Callback(NonZeroU64::new(word).expect("every callback has a kind"))
    }

    #[inline]
    const fn pack(
        kind: u8,
        status: Option<Errno>,
        flags: StatusFlags,
        mode: Option<Mode>,
    ) -> Callback {
        let status = match status {
            Some(errno) => errno.number() as u64,
            None => 0,
        };
        let mode = match mode {
            Some(mode) => mode.number(),
            None => NO_MODE,
        };
        let word = (kind as u64)
            | (mode as u64) << MODE_SHIFT
            | (flags.bits() as u64) << FLAGS_SHIFT
            | status << STATUS_SHIFT;
        Callback::from_word(word)
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0.get() as u8 {
            LOCK => "lock",
            UNLOCK => "unlock",
            _ => "blocking",
        };
        f.debug_struct("Callback")
            .field("kind", &kind)
            .field("status", &self.status())
            .field("flags", &self.flags())
            .field("mode", &self.mode())
            .finish()
    }
}

/// Lets one thread at a time deliver the callbacks of a lock; what others post meanwhile waits for it.
///
/// A callback that meets no other costs two plain accesses to post and one compare-and-swap to be done
/// with; the queue behind the mutex is touched only when callbacks meet.
#[derive(Debug)]
pub(crate) struct CallbackQueue {
    /// `IDLE`, `DELIVERING`, or `QUEUED`: delivering, with `waiting` not empty.
    state: AtomicU8,
    /// Boxed because almost no lock ever has one: a deque of its own would double the status block.
    #[expect(clippy::box_collection, reason = "32 bytes a lock otherwise")]
    waiting: Mutex<Option<Box<VecDeque<Callback>>>>,
}

impl CallbackQueue {
    pub(crate) fn new() -> CallbackQueue {
        CallbackQueue { state: AtomicU8::new(IDLE), waiting: Mutex::new(None) }
    }

    /// Gives the callback back when the caller is to deliver it, and keeps it when a delivery that
    /// goes on will. Calls for one queue must not overlap: a stack makes them under its own lock.
    ///
    /// `posted` runs when the callback has its place and nobody can have delivered it yet: whoever acts
    /// on what it does posts behind this one.
    #[inline]
    pub(crate) fn post(&self, callback: Callback, posted: impl FnOnce()) -> Option<Callback> {
        // Only a post leaves IDLE, and posts do not overlap: nobody can come in between.
        if self.state.load(Ordering::Acquire) == IDLE {
            self.state.store(DELIVERING, Ordering::Relaxed);
            posted();
            return Some(callback);
        }
        self.post_behind(callback, posted)
    }

    /// Whether no callback is being delivered or waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Acquire) == IDLE
    }

    /// The callback to deliver next, or `None` when the delivery is over.
    #[inline]
    pub(crate) fn next(&self) -> Option<Callback> {
        match self.exchange(DELIVERING, IDLE) {
            Ok(_) => None,
            Err(_) => self.next_waiting(),
        }
    }

    #[cold]
    fn post_behind(&self, callback: Callback, posted: impl FnOnce()) -> Option<Callback> {
        let mut slot = self.waiting.lock();
        let waiting = slot.get_or_insert_default();
        if !waiting.back().is_some_and(|last| makes_needless(*last, callback)) {
            waiting.push_back(callback);
        }
        let first = loop {
            // The delivery can have ended before it saw the queue; then this thread begins one.
            match self.state.load(Ordering::Acquire) {
                IDLE if self.exchange(IDLE, DELIVERING).is_ok() => {
                    let first = waiting.pop_front();
                    *slot = None;
                    break first;
                }
                DELIVERING if self.exchange(DELIVERING, QUEUED).is_ok() => break None,
                QUEUED => break None,
                _ => {}
            }
        };
        // The queue is still locked: a delivery cannot take the callback before this is done.
        posted();
        first
    }

    #[cold]
    fn next_waiting(&self) -> Option<Callback> {
        let mut slot = self.waiting.lock();
        let next = slot.as_mut().and_then(|waiting| waiting.pop_front());
        if slot.as_ref().is_none_or(|waiting| waiting.is_empty()) {
            *slot = None;
            self.state.store(DELIVERING, Ordering::Release);
        }
        next
    }

    #[inline]
    fn exchange(&self, from: u8, to: u8) -> Result<u8, u8> {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// Whether an undelivered BAST makes the one directly behind it needless
/// (`fs/dlm/ast.c: dlm_add_lkb_callback`).
fn makes_needless(earlier: Callback, later: Callback) -> bool {
    match (earlier.blocking_level(), later.blocking_level()) {
        (Some(earlier), Some(later)) => earlier == later || (earlier > later && earlier > Mode::PR),
        _ => false,
    }
}

/// Stands for "no mode" in a word or an atomic.
pub(crate) const NO_MODE: u8 = u8::MAX;

const LOCK: u8 = 1;
const UNLOCK: u8 = 2;
const BLOCKING: u8 = 3;
const MODE_SHIFT: u32 = 8;
const FLAGS_SHIFT: u32 = 16;
const STATUS_SHIFT: u32 = 32;

const IDLE: u8 = 0;
const DELIVERING: u8 = 1;
const QUEUED: u8 = 2;

#[cfg(all(test, loom))]
mod model;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_callback_says_what_was_packed_into_it() {
        let modes = Mode::ALL.map(Some).into_iter().chain([None]);
        for (mode, bits) in modes.flat_map(|mode| [0, 1, 7, 255].map(|bits| (mode, bits))) {
            let flags = StatusFlags::from_bits_retain(bits);
            for status in [None, Some(Errno::EAGAIN), Some(Errno::EUNLOCK)] {
                let lock = Callback::lock(status, flags, mode);
                assert!(lock.is_lock() && lock.blocking_level().is_none());
                assert_eq!((lock.status(), lock.flags(), lock.mode()), (status, flags, mode));
                let unlock = Callback::unlock(status, mode);
                assert!(!unlock.is_lock() && unlock.blocking_level().is_none());
                assert_eq!((unlock.status(), unlock.mode()), (status, mode));
            }
        }
        for level in Mode::ALL {
            assert_eq!(Callback::blocking(level).blocking_level(), Some(level));
        }
    }

    #[test]
    fn a_bast_behind_an_undelivered_one_that_covers_it_is_dropped() {
        let bast = Callback::blocking;
        let cases = [
            (Mode::PR, Mode::PR, false),
            (Mode::EX, Mode::PR, false),
            (Mode::PR, Mode::EX, true),
            (Mode::PR, Mode::CW, true), // CW is lower but not covered by PR
        ];
        for (earlier, later, kept) in cases {
            let queue = CallbackQueue::new();
            let first = Callback::lock(None, StatusFlags::empty(), None);
            assert_eq!(queue.post(first, || ()), Some(first));
            assert_eq!(queue.post(bast(earlier), || ()), None);
            assert_eq!(queue.post(bast(later), || ()), None);
            assert_eq!(queue.next(), Some(bast(earlier)));
            assert_eq!(queue.next(), kept.then_some(bast(later)), "{earlier} then {later}");
        }
    }

    #[test]
    fn a_delivery_that_ended_leaves_the_next_callback_to_its_poster() {
        let queue = CallbackQueue::new();
        let bast = Callback::blocking(Mode::EX);
        for _ in 0..3 {
            assert_eq!(queue.post(bast, || ()), Some(bast));
            assert_eq!(queue.next(), None);
        }
    }
}
