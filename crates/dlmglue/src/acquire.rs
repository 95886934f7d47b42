//! Waiting for a level: as a future, or on a thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crate::Level;
use crate::queue::{Failure, Ticket};
use crate::resource::Resource;
use crate::sync::thread;

/// A user that waits for a level of a resource, and has it when the future ends well. Dropped
/// before that, it waits no longer; a grant that came meanwhile is given up.
#[must_use = "nothing happens before it is polled"]
pub(crate) struct Acquire<'a> {
    resource: &'a Resource,
    level: Level,
    patient: bool,
    ticket: Option<Ticket>,
}

impl<'a> Acquire<'a> {
    /// An impatient user fails where it would have to wait.
    pub(crate) fn new(resource: &'a Resource, level: Level, patient: bool) -> Acquire<'a> {
        Acquire { resource, level, patient, ticket: None }
    }

    /// Blocks until the level is granted or refused.
    pub(crate) fn wait(mut self) -> Result<(), Failure> {
        let waker = thread_waker();
        loop {
            if let Some(outcome) = self.look(&waker) {
                return outcome;
            }
            thread::park();
        }
    }

    /// As [`wait`](Self::wait), but `None` when it did not come by the deadline.
    #[cfg(not(loom))]
    pub(crate) fn wait_until(mut self, deadline: Instant) -> Option<Result<(), Failure>> {
        let waker = thread_waker();
        loop {
            if let Some(outcome) = self.look(&waker) {
                return Some(outcome);
            }
            match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return self.withdraw(),
            }
        }
    }

    #[cfg(loom)]
    pub(crate) fn wait_until(self, _: Instant) -> Option<Result<(), Failure>> {
        Some(self.wait())
    }

    /// Waits no longer; the outcome if it has come already.
    pub(crate) fn withdraw(&mut self) -> Option<Result<(), Failure>> {
        self.ticket.take().and_then(|ticket| self.resource.withdraw(ticket))
    }

    pub(crate) fn look(&mut self, waker: &Waker) -> Option<Result<(), Failure>> {
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None if self.resource.word.enter(self.level) => return Some(Ok(())),
            None => match self.resource.queue(self.level, self.patient, waker) {
                Ok(ticket) => *self.ticket.insert(ticket),
                Err(failure) => return Some(Err(failure)),
            },
        };
        let outcome = self.resource.fetch(ticket, waker);
        if outcome.is_some() {
            self.ticket = None;
        }
        outcome
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.look(context.waker()) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        // A model that failed is over: its threads are taken down with what they hold.
        if cfg!(loom) && std::thread::panicking() {
            return;
        }
        if let Some(Ok(())) = self.withdraw() {
            self.resource.leave(self.level);
        }
    }
}

/// Wakes the thread that calls this.
fn thread_waker() -> Waker {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    Waker::from(Arc::new(Unpark(thread::current())))
}
