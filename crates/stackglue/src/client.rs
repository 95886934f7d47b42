//! A connection whose locks are waited for instead of called back.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use dlm::{Errno, LockFlags, Mode};

use crate::connection::Core;
use crate::waiter::Waiter;
use crate::{
    ConnectError, Connection, DisconnectError, Glue, Lksb, LockRequest, LockingProtocol, Operation,
    ProtocolVersion, RecoveryHandler,
};

/// A connection with a locking protocol of its own, in which an operation returns its outcome: to a
/// thread that blocks, or to a future of any runtime.
///
/// A handle: clones are the same connection. It stays open until the last handle and the last
/// [`HeldLock`](crate::HeldLock) are gone, or until [`disconnect`](Self::disconnect).
///
/// Nothing that blocks, and not the drop of the last handle, may happen inside the blocking handler.
/// Starting or dropping a request and dropping a held lock (but the connection's last) is fine there.
///
/// ```no_run
/// # fn run(glue: &stackglue::Glue) -> Result<(), Box<dyn std::error::Error>> {
/// use stackglue::{BlockedLock, LockClient, Mode, ProtocolVersion};
/// use std::time::Duration;
///
/// let client = LockClient::connect(
///     glue,
///     None,
///     "",
///     "inventory",
///     ProtocolVersion { major: 1, minor: 0 },
///     |blocked: &BlockedLock<'_>| println!("someone wants {}", blocked.level()),
///     Box::new(|node| println!("node {node} died")),
/// )?;
/// let held = client.lock("shelf 7", Mode::EX).wait_timeout(Duration::from_secs(5))?;
/// // ... the shelf is ours ...
/// held.unlock().wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LockClient(Arc<Client>);

struct Client {
    connection: Connection,
    /// How many locks are held or waited for; [`CLOSED`] once the group is being left.
    locks: AtomicUsize,
}

/// Not a number of locks.
const CLOSED: usize = usize::MAX;

impl LockClient {
    /// Joins a group, as [`Glue::connect`] does. `blocking` is called when a lock that is held is in
    /// the way of a request.
    ///
    /// # Errors
    ///
    /// Those of [`Glue::connect`].
    pub fn connect(
        glue: &Glue,
        stack: Option<&str>,
        cluster: &str,
        group: &str,
        version: ProtocolVersion,
        blocking: impl Fn(&BlockedLock<'_>) + Send + Sync + 'static,
        recovery: RecoveryHandler,
    ) -> Result<LockClient, ConnectError> {
        let blocking = Box::new(blocking);
        let protocol = Arc::new(WaitProtocol { version, blocking, core: OnceLock::new() });
        let connection = glue.connect(stack, cluster, group, protocol.clone(), recovery)?;
        // No lock exists before this line, so no callback misses it.
        protocol.core.get_or_init(|| Arc::downgrade(connection.core()));
        Ok(LockClient(Arc::new(Client { connection, locks: AtomicUsize::new(0) })))
    }

    /// A request for a new lock on the resource of this name (1 to 64 bytes, any byte), to be waited
    /// for in one of several ways. Nothing happens before that.
    pub fn lock(&self, name: impl AsRef<[u8]>, mode: Mode) -> LockRequest {
        LockRequest::new(self.clone(), name.as_ref(), mode)
    }

    /// The connection beneath. Its callbacks are this client's: status blocks of the caller's own
    /// must not be used with it.
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Leaves the group, as [`Connection::disconnect`] does.
    ///
    /// # Errors
    ///
    /// `EBUSY` when locks are held or waited for; else those of [`Connection::disconnect`].
    pub fn disconnect(&self, hangup_pending: bool) -> Result<(), DisconnectError> {
        let group = || self.connection().group().to_owned();
        let locks = &self.0.locks;
        match locks.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {}
            Err(CLOSED) => return Err(DisconnectError::Left { group: group() }),
            Err(locks) => return Err(DisconnectError::LocksHeld { group: group(), locks }),
        }
        let left = self.connection().disconnect(hangup_pending);
        if left.is_err() {
            locks.store(0, Ordering::Release);
        }
        left
    }

    /// Counts a lock in. A lock that came while the group is being left would never be answered:
    /// `EINVAL`.
    pub(crate) fn enter(&self) -> Result<(), Errno> {
        let one_more = |locks: usize| locks.checked_add(1);
        let counted = self.0.locks.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        counted.map(drop).map_err(|_| Errno::EINVAL)
    }

    /// Counts a lock out.
    pub(crate) fn leave(&self) {
        self.0.locks.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for LockClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockClient").field(&self.0.connection).finish()
    }
}

/// A lock that is held in the way of somebody's request, as the blocking handler is told.
///
/// It may not have been handed to its holder yet: the grant and the blocking callback may come right
/// after each other.
pub struct BlockedLock<'a> {
    lksb: &'a Lksb,
    waiter: &'a Waiter,
    level: Mode,
}

impl BlockedLock<'_> {
    /// The mode that somebody asks for.
    pub fn level(&self) -> Mode {
        self.level
    }

    /// The mode that is held.
    pub fn mode(&self) -> Option<Mode> {
        self.lksb.mode()
    }

    /// The name of the resource.
    pub fn name(&self) -> &[u8] {
        &self.waiter.name
    }

    /// The state given to [`LockRequest::state`], if it is an `S`.
    pub fn state<S: Any>(&self) -> Option<&S> {
        self.waiter.state.as_deref().and_then(|state| (state as &dyn Any).downcast_ref())
    }

    /// The lock status block: [`Lksb::is`] tells whose it is.
    pub fn lksb(&self) -> &Lksb {
        self.lksb
    }
}

impl fmt::Debug for BlockedLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockedLock").field("lksb", self.lksb).field("level", &self.level).finish()
    }
}

/// Turns callbacks into outcomes.
struct WaitProtocol {
    version: ProtocolVersion,
    blocking: Box<dyn Fn(&BlockedLock<'_>) + Send + Sync>,
    /// For dropping a lock whose grant came after everybody had lost interest. Not the connection
    /// itself: its last handle must not be dropped in a callback.
    core: OnceLock<Weak<Core>>,
}

impl WaitProtocol {
    fn settle(&self, lksb: &Lksb, outcome: Result<(), Errno>) {
        let ended = lksb.state::<Waiter>().and_then(|waiter| waiter.settle(outcome));
        if matches!(ended, Some(Operation::Lock | Operation::Convert))
            && lksb.mode().is_some()
            && let Some(core) = self.core.get().and_then(Weak::upgrade)
        {
            drop_lock(&core, lksb, LockFlags::empty());
        }
    }
}

impl LockingProtocol for WaitProtocol {
    fn max_version(&self) -> ProtocolVersion {
        self.version
    }

    fn lock_ast(&self, lksb: &Lksb) {
        self.settle(lksb, lksb.status());
    }

    fn blocking_ast(&self, lksb: &Lksb, level: Mode) {
        if let Some(waiter) = lksb.state::<Waiter>()
            && !waiter.is_abandoned()
        {
            (self.blocking)(&BlockedLock { lksb, waiter, level });
        }
    }

    fn unlock_ast(&self, lksb: &Lksb, result: Result<(), Errno>) {
        // A cancel that won is a success as an unlock call, and the end of the operation it ended.
        match lksb.status() {
            Err(Errno::ECANCEL) => self.settle(lksb, Err(Errno::ECANCEL)),
            _ => self.settle(lksb, result),
        }
    }
}

/// Drops a lock that nobody will wait for.
pub(crate) fn drop_lock(core: &Core, lksb: &Lksb, flags: LockFlags) {
    let Some(waiter) = lksb.state::<Waiter>() else { return };
    waiter.begin(Operation::Unlock);
    if let Err(errno) = core.unlock(lksb, flags) {
        waiter.settle(Err(errno));
        // After a disconnect the lock is gone already.
        if core.usable().is_ok() {
            tracing::error!(?lksb, %errno, "a dropped lock cannot be unlocked");
        }
    }
}
