//! What a blocked thread or an awaited future waits on: the progress of one lock's operation.

use std::any::Any;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use dlm::Errno;
use parking_lot::{Condvar, Mutex};

use crate::Operation;

/// Hangs off the lock status block of a [`HeldLock`](crate::HeldLock).
pub(crate) struct Waiter {
    pub(crate) name: Box<[u8]>,
    /// The user's own state.
    pub(crate) state: Option<Box<dyn Any + Send + Sync>>,
    progress: Mutex<Progress>,
    settled: Condvar,
}

struct Progress {
    /// The operation whose outcome has not come yet. At most one: a second would be refused.
    in_flight: Option<Operation>,
    /// The outcome of the last operation.
    outcome: Result<(), Errno>,
    /// Nobody holds or wants the lock any more.
    abandoned: bool,
    waker: Option<Waker>,
}

impl Waiter {
    pub(crate) fn new(name: Box<[u8]>, state: Option<Box<dyn Any + Send + Sync>>) -> Waiter {
        let progress = Progress { in_flight: None, outcome: Ok(()), abandoned: false, waker: None };
        Waiter { name, state, progress: Mutex::new(progress), settled: Condvar::new() }
    }

    /// To be called before the operation's call: the outcome may come before the call returns.
    pub(crate) fn begin(&self, operation: Operation) {
        self.progress.lock().in_flight = Some(operation);
    }

    /// Records an outcome. Returns the operation that it ends, if the lock was abandoned meanwhile.
    pub(crate) fn settle(&self, outcome: Result<(), Errno>) -> Option<Operation> {
        let mut progress = self.progress.lock();
        let ended = progress.in_flight.take();
        progress.outcome = outcome;
        let waker = progress.waker.take();
        let abandoned = progress.abandoned;
        drop(progress);
        self.settled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
        ended.filter(|_| abandoned)
    }

    /// Marks the lock abandoned and returns what is in flight: whoever ends that drops the lock.
    pub(crate) fn abandon(&self) -> Option<Operation> {
        let mut progress = self.progress.lock();
        progress.abandoned = true;
        progress.in_flight
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.progress.lock().abandoned
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.progress.lock().in_flight.is_some()
    }

    /// Blocks until nothing is in flight; the last outcome.
    pub(crate) fn wait(&self) -> Result<(), Errno> {
        let mut progress = self.progress.lock();
        self.settled.wait_while(&mut progress, |progress| progress.in_flight.is_some());
        progress.outcome
    }

    /// As [`wait`](Self::wait), but `None` when the deadline comes first.
    pub(crate) fn wait_until(&self, deadline: Instant) -> Option<Result<(), Errno>> {
        let mut progress = self.progress.lock();
        let in_flight = |progress: &mut Progress| progress.in_flight.is_some();
        let late = self.settled.wait_while_until(&mut progress, in_flight, deadline).timed_out();
        (!late).then_some(progress.outcome)
    }

    /// As [`wait`](Self::wait), for one future at a time.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<(), Errno>> {
        let mut progress = self.progress.lock();
        if progress.in_flight.is_none() {
            return Poll::Ready(progress.outcome);
        }
        match &mut progress.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
