//! A lock that is held until dropped, and what can go wrong with one.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use dlm::{Errno, LVB_LEN_MAX, LockFlags, Mode, ResourceName};

use crate::client::drop_lock;
use crate::waiter::Waiter;
use crate::{ConvertRequest, Lksb, LockClient, LockContext, LockError, Operation, UnlockRequest};

/// A lock of a [`LockClient`]. Dropping it unlocks, without waiting for the outcome.
#[must_use = "dropping it unlocks"]
pub struct HeldLock(Handle);

impl HeldLock {
    /// The mode held, after the last conversion that has ended.
    pub fn mode(&self) -> Option<Mode> {
        self.0.lksb.mode()
    }

    /// The fencing token of the last grant; see [`Lksb::token`].
    pub fn token(&self) -> u64 {
        self.0.lksb.token()
    }

    /// The name of the resource.
    pub fn name(&self) -> &[u8] {
        &self.0.waiter().name
    }

    /// A copy of the value block, as the last operation with `VALBLK` or
    /// [`set_lvb`](Self::set_lvb) left it.
    pub fn lvb(&self) -> [u8; LVB_LEN_MAX] {
        self.0.lksb.lvb()
    }

    /// Whether the value block may be trusted; see [`Lksb::lvb_valid`].
    pub fn lvb_valid(&self) -> bool {
        self.0.lksb.lvb_valid()
    }

    /// Sets the value block, zeros behind `value`. It reaches the resource when the lock is converted
    /// down or unlocked, from `PW` or `EX`.
    ///
    /// # Errors
    ///
    /// `E2BIG` when it is longer than [`LVB_LEN_MAX`] bytes.
    pub fn set_lvb(&self, value: &[u8]) -> Result<(), Errno> {
        self.0.lksb.set_lvb(value)?;
        self.0.moves_lvb.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A request for another mode, to be waited for in one of several ways.
    pub fn convert(&mut self, mode: Mode) -> ConvertRequest<'_> {
        ConvertRequest::new(&self.0, mode)
    }

    /// A request to drop the lock, to be waited for. Dropping the request unlocks too.
    pub fn unlock(self) -> UnlockRequest {
        UnlockRequest::new(self.0)
    }

    /// The lock status block.
    pub fn lksb(&self) -> &Lksb {
        &self.0.lksb
    }
}

impl fmt::Debug for HeldLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeldLock").field(&self.0.lksb).finish()
    }
}

/// A lock of a client from its first call on; gives it up when dropped, whatever its state.
pub(crate) struct Handle {
    client: LockClient,
    lksb: Lksb,
    /// Whether the lock was counted into the client.
    counted: bool,
    /// Whether every operation carries the value block.
    moves_lvb: AtomicBool,
    /// The mode of the first request, for errors.
    requested: Mode,
}

impl Handle {
    /// Makes the lock's first call.
    pub(crate) fn lock(
        client: LockClient,
        name: Box<[u8]>,
        mode: Mode,
        flags: LockFlags,
        state: Option<Box<dyn Any + Send + Sync>>,
    ) -> Result<Handle, LockError> {
        let mut handle = Handle {
            client,
            lksb: Lksb::new(Waiter::new(name, state)),
            counted: false,
            moves_lvb: AtomicBool::new(flags.contains(LockFlags::VALBLK)),
            requested: mode,
        };
        match handle.client.enter() {
            Ok(()) => handle.counted = true,
            Err(errno) => return Err(handle.error(Operation::Lock, mode, errno)),
        }
        handle.start(Operation::Lock, mode, flags)?;
        Ok(handle)
    }

    pub(crate) fn waiter(&self) -> &Waiter {
        self.lksb.state().expect("made by Handle::lock")
    }

    /// Starts a lock or convert call. Nothing may be in flight.
    pub(crate) fn start(
        &self,
        operation: Operation,
        mode: Mode,
        flags: LockFlags,
    ) -> Result<(), LockError> {
        let waiter = self.waiter();
        let name = ResourceName::new(&waiter.name)
            .map_err(|reason| LockError::Name { context: self.context(operation, mode), reason })?;
        waiter.begin(operation);
        let core = self.client.connection().core();
        core.lock(mode, &self.lksb, flags | self.lvb_flag(), name).map_err(|errno| {
            waiter.settle(Err(errno));
            self.error(operation, mode, errno)
        })
    }

    /// Starts to unlock; returns the mode that was held. Nothing may be in flight.
    pub(crate) fn start_unlock(&self) -> Result<Mode, LockError> {
        let mode = self.lksb.mode().unwrap_or(self.requested);
        let waiter = self.waiter();
        waiter.begin(Operation::Unlock);
        self.client.connection().core().unlock(&self.lksb, self.lvb_flag()).map_err(|errno| {
            waiter.settle(Err(errno));
            self.error(Operation::Unlock, mode, errno)
        })?;
        Ok(mode)
    }

    /// Takes back what is in flight. The outcome still comes.
    pub(crate) fn cancel(&self) -> Result<(), Errno> {
        self.client.connection().core().unlock(&self.lksb, LockFlags::CANCEL)
    }

    pub(crate) fn finish_lock(self, outcome: Result<(), Errno>) -> Result<HeldLock, LockError> {
        match outcome {
            Ok(()) => Ok(HeldLock(self)),
            Err(errno) => Err(self.error(Operation::Lock, self.requested, errno)),
        }
    }

    pub(crate) fn error(&self, operation: Operation, mode: Mode, errno: Errno) -> LockError {
        let context = self.context(operation, mode);
        match errno {
            Errno::ETIMEDOUT => LockError::TimedOut { context },
            errno => LockError::Refused { context, errno },
        }
    }

    fn context(&self, operation: Operation, mode: Mode) -> LockContext {
        LockContext {
            operation,
            group: self.client.connection().group().to_owned(),
            name: self.waiter().name.clone(),
            mode,
        }
    }

    fn lvb_flag(&self) -> LockFlags {
        match self.moves_lvb.load(Ordering::Relaxed) {
            true => LockFlags::VALBLK,
            false => LockFlags::empty(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        match self.waiter().abandon() {
            // Whichever wins, the cancel or the grant, its callback sees that the lock is abandoned.
            Some(Operation::Lock | Operation::Convert) => {
                if let Err(errno) = self.cancel() {
                    tracing::debug!(%errno, "a dropped request ended before it was taken back");
                }
            }
            Some(Operation::Unlock) => {}
            None if self.lksb.mode().is_some() => {
                drop_lock(self.client.connection().core(), &self.lksb, self.lvb_flag());
            }
            None => {}
        }
        if self.counted {
            self.client.leave();
        }
    }
}
