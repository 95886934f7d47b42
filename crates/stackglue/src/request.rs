//! Requests on the locks of a [`LockClient`](crate::LockClient), and the ways to wait for them.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use dlm::{Errno, LockFlags, Mode};

use crate::held::Handle;
use crate::{HeldLock, LockClient, LockError, Operation};

/// A request for a new lock. Made by [`LockClient::lock`]; starts when it is waited for.
#[must_use = "a request does nothing until it is waited for"]
pub struct LockRequest {
    client: LockClient,
    name: Box<[u8]>,
    mode: Mode,
    flags: LockFlags,
    state: Option<Box<dyn Any + Send + Sync>>,
}

impl LockRequest {
    pub(crate) fn new(client: LockClient, name: &[u8], mode: Mode) -> LockRequest {
        LockRequest { client, name: name.into(), mode, flags: LockFlags::empty(), state: None }
    }

    /// Adds flags: `NOQUEUE` to fail with `EAGAIN` instead of waiting, `VALBLK` to read the value
    /// block and to move it in every later operation on this lock.
    pub fn flags(mut self, flags: LockFlags) -> LockRequest {
        self.flags |= flags;
        self
    }

    /// Hangs the user's own state off the lock, for the blocking handler to find.
    pub fn state<S: Any + Send + Sync>(mut self, state: S) -> LockRequest {
        self.state = Some(Box::new(state));
        self
    }

    /// Blocks until the lock is granted or refused.
    ///
    /// # Errors
    ///
    /// [`LockError::Refused`] with the stack's errno, such as `EAGAIN` of a `NOQUEUE` request.
    pub fn wait(self) -> Result<HeldLock, LockError> {
        let handle = self.start()?;
        let outcome = handle.waiter().wait();
        handle.finish_lock(outcome)
    }

    /// As [`wait`](Self::wait), but takes the request back when the time is over. A grant that comes
    /// before the request is taken back is a success.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], else as [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<HeldLock, LockError> {
        let handle = self.start()?;
        let outcome = handle.wait_timeout(timeout);
        handle.finish_lock(outcome)
    }

    /// As [`wait`](Self::wait), for a future. Dropping the future takes the request back, and drops
    /// the lock if its grant came first.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub async fn wait_async(self) -> Result<HeldLock, LockError> {
        let handle = self.start()?;
        let outcome = handle.settled().await;
        handle.finish_lock(outcome)
    }

    /// As [`wait_timeout`](Self::wait_timeout), for a future: the time is over when `timer` is ready.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    pub async fn wait_until(self, timer: impl Future) -> Result<HeldLock, LockError> {
        let handle = self.start()?;
        let outcome = handle.settled_before(timer).await;
        handle.finish_lock(outcome)
    }

    fn start(self) -> Result<Handle, LockError> {
        Handle::lock(self.client, self.name, self.mode, self.flags, self.state)
    }
}

/// A request for another mode of a lock that is held. Made by [`HeldLock::convert`]; starts when it
/// is waited for. Whatever the outcome, the lock stays held, in the mode that
/// [`HeldLock::mode`] says.
#[must_use = "a request does nothing until it is waited for"]
pub struct ConvertRequest<'a> {
    handle: &'a Handle,
    mode: Mode,
    flags: LockFlags,
}

impl<'a> ConvertRequest<'a> {
    pub(crate) fn new(handle: &'a Handle, mode: Mode) -> ConvertRequest<'a> {
        ConvertRequest { handle, mode, flags: LockFlags::CONVERT }
    }

    /// Adds flags, such as `NOQUEUE` or `QUECVT`.
    pub fn flags(mut self, flags: LockFlags) -> ConvertRequest<'a> {
        self.flags |= flags;
        self
    }

    /// Blocks until the conversion is granted or refused.
    ///
    /// # Errors
    ///
    /// [`LockError::Refused`] with the stack's errno, such as `EAGAIN` or `EDEADLK`.
    pub fn wait(self) -> Result<(), LockError> {
        let _ = self.handle.waiter().wait();
        self.start()?;
        let outcome = self.handle.waiter().wait();
        self.finish(outcome)
    }

    /// As [`wait`](Self::wait), but takes the conversion back when the time is over. A grant that
    /// comes before the conversion is taken back is a success.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], else as [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), LockError> {
        let _ = self.handle.waiter().wait();
        self.start()?;
        let outcome = self.handle.wait_timeout(timeout);
        self.finish(outcome)
    }

    /// As [`wait`](Self::wait), for a future. Dropping the future takes the conversion back; if its
    /// grant came first, the lock is in the new mode.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub async fn wait_async(self) -> Result<(), LockError> {
        let _ = self.handle.settled().await;
        self.start()?;
        let taken_back = CancelOnDrop(self.handle);
        let outcome = taken_back.0.settled().await;
        self.finish(outcome)
    }

    /// As [`wait_timeout`](Self::wait_timeout), for a future: the time is over when `timer` is ready.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    pub async fn wait_until(self, timer: impl Future) -> Result<(), LockError> {
        let _ = self.handle.settled().await;
        self.start()?;
        let taken_back = CancelOnDrop(self.handle);
        let outcome = taken_back.0.settled_before(timer).await;
        self.finish(outcome)
    }

    fn start(&self) -> Result<(), LockError> {
        self.handle.start(Operation::Convert, self.mode, self.flags)
    }

    fn finish(&self, outcome: Result<(), Errno>) -> Result<(), LockError> {
        outcome.map_err(|errno| self.handle.error(Operation::Convert, self.mode, errno))
    }
}

/// A request to drop a lock. Made by [`HeldLock::unlock`]. Dropping it unlocks too, without waiting.
#[must_use = "dropping the request unlocks without telling the outcome"]
pub struct UnlockRequest {
    handle: Handle,
}

impl UnlockRequest {
    pub(crate) fn new(handle: Handle) -> UnlockRequest {
        UnlockRequest { handle }
    }

    /// Blocks until the lock is dropped.
    ///
    /// # Errors
    ///
    /// [`LockError::Refused`] with the stack's errno.
    pub fn wait(self) -> Result<(), LockError> {
        let _ = self.handle.waiter().wait();
        let mode = self.handle.start_unlock()?;
        let outcome = self.handle.waiter().wait();
        self.finish(mode, outcome)
    }

    /// As [`wait`](Self::wait), for a future. Dropping the future unlocks all the same.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub async fn wait_async(self) -> Result<(), LockError> {
        let _ = self.handle.settled().await;
        let mode = self.handle.start_unlock()?;
        let outcome = self.handle.settled().await;
        self.finish(mode, outcome)
    }

    fn finish(&self, mode: Mode, outcome: Result<(), Errno>) -> Result<(), LockError> {
        outcome.map_err(|errno| self.handle.error(Operation::Unlock, mode, errno))
    }
}

impl Handle {
    /// Waits for what is in flight; the last outcome.
    async fn settled(&self) -> Result<(), Errno> {
        poll_fn(|context| self.waiter().poll(context)).await
    }

    /// As [`settled`](Self::settled), but takes the operation back when the timer is first:
    /// `Err(ETIMEDOUT)` then.
    async fn settled_before(&self, timer: impl Future) -> Result<(), Errno> {
        let mut timer = pin!(timer);
        let in_time = poll_fn(|context| match self.waiter().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => timer.as_mut().poll(context).map(|_| None),
        });
        match in_time.await {
            Some(outcome) => outcome,
            None if self.cancel().is_ok() => in_time_after_all(self.settled().await),
            None => self.late(),
        }
    }

    /// As [`settled_before`](Self::settled_before), for a thread.
    fn wait_timeout(&self, timeout: Duration) -> Result<(), Errno> {
        let outcome = match Instant::now().checked_add(timeout) {
            Some(deadline) => self.waiter().wait_until(deadline),
            None => Some(self.waiter().wait()),
        };
        match outcome {
            Some(outcome) => outcome,
            None if self.cancel().is_ok() => in_time_after_all(self.waiter().wait()),
            None => self.late(),
        }
    }

    /// The stack could not take the operation back: it ended just now, or it will end on its own.
    fn late(&self) -> Result<(), Errno> {
        if self.waiter().is_in_flight() { Err(Errno::ETIMEDOUT) } else { self.waiter().wait() }
    }
}

/// What an outcome means after a cancel at the end of the time: a grant that won is still a grant.
fn in_time_after_all(outcome: Result<(), Errno>) -> Result<(), Errno> {
    match outcome {
        Err(Errno::ECANCEL) => Err(Errno::ETIMEDOUT),
        outcome => outcome,
    }
}

/// Takes a conversion back when its future is dropped before the outcome came.
struct CancelOnDrop<'a>(&'a Handle);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.0.waiter().is_in_flight()
            && let Err(errno) = self.0.cancel()
        {
            tracing::debug!(%errno, "a dropped conversion ended before it was taken back");
        }
    }
}
