//! A thread that waits for what another one completes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use dlm::{Errno, Mode};
use stackglue::{Lksb, LockingProtocol, ProtocolVersion};

use super::nodes::VERSION;

/// The thread that made it, asleep until as many completions came as it expects: subject and
/// reference wake it in the same way.
#[derive(Debug)]
pub(crate) struct Caller {
    thread: Thread,
    outstanding: AtomicUsize,
}

impl Caller {
    /// Of this thread.
    pub(crate) fn new() -> Arc<Caller> {
        Arc::new(Caller { thread: thread::current(), outstanding: AtomicUsize::new(0) })
    }

    /// From now on, [`wait`](Self::wait) is for so many.
    pub(crate) fn expect(&self, completions: usize) {
        self.outstanding.store(completions, Ordering::Release);
    }

    /// One more has completed.
    pub(crate) fn complete(&self) {
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.thread.unpark();
        }
    }

    /// Blocks until all have come. Panics when that takes so long that something must be wrong.
    pub(crate) fn wait(&self) {
        let mut deadline = None;
        while self.outstanding.load(Ordering::Acquire) > 0 {
            match deadline {
                None => {
                    // No clock is read in the case that counts.
                    thread::park_timeout(WAIT_MAX);
                    if self.outstanding.load(Ordering::Acquire) > 0 {
                        deadline = Some(Instant::now() + WAIT_MAX);
                    }
                }
                Some(deadline) => {
                    assert!(Instant::now() < deadline, "an operation never completes");
                    thread::park_timeout(WAIT_MAX);
                }
            }
        }
    }
}

/// Callbacks that tell a [`Caller`] and do nothing else.
#[derive(Debug)]
pub(crate) struct Telling(pub(crate) Arc<Caller>);

impl LockingProtocol for Telling {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, lksb: &Lksb) {
        assert_eq!(lksb.status(), Ok(()), "nobody is in the way");
        self.0.complete();
    }

    fn blocking_ast(&self, _: &Lksb, _: Mode) {}

    fn unlock_ast(&self, _: &Lksb, result: Result<(), Errno>) {
        assert_eq!(result, Ok(()), "the lock was held");
        self.0.complete();
    }
}

const WAIT_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_waits_for_the_last_completion() {
        let caller = Caller::new();
        caller.expect(2);
        let other = Arc::clone(&caller);
        let thread = thread::spawn(move || {
            other.complete();
            other.complete();
        });
        caller.wait();
        thread.join().expect("it ends");
        assert_eq!(caller.outstanding.load(Ordering::Relaxed), 0);
    }
}
