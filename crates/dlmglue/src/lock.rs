//! An exclusive lock of the cluster.

use std::fmt;
use std::time::{Duration, Instant};

use crate::cluster::{Handle, Patience};
use crate::{Error, Level};

/// A lock that excludes every other user: in this program, on this host, in the cluster.
///
/// Made by [`Cluster::lock`](crate::Cluster::lock). The node keeps the lock when its user is done,
/// and gives it back when another node asks; until then taking it again is one atomic operation. A
/// handle: clones are the same lock. Not recursive.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let glue = stackglue::Glue::new();
/// # glue.set_cluster_stack("solo")?;
/// # glue.register(std::sync::Arc::new(stackglue_user::UserPlugin::new(Default::default())))?;
/// use stackglue_dlmglue::Cluster;
///
/// let cluster = Cluster::connect(&glue, "printers")?;
/// let lock = cluster.lock("printer 1")?;
/// let guard = lock.lock()?;
/// println!("the printer is ours; who prints with a lower token than {} is late", guard.token());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClusterLock {
    handle: Handle,
}

impl ClusterLock {
    pub(crate) fn new(handle: Handle) -> ClusterLock {
        ClusterLock { handle }
    }

    /// Blocks until the lock is ours.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused),
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost).
    #[inline]
    pub fn lock(&self) -> Result<LockGuard<'_>, Error> {
        self.take(Patience::Forever)
    }

    /// Takes the lock if nobody has it, here or elsewhere. Asks the cluster, but waits for no other
    /// user.
    ///
    /// On `o2cb` a node that merely caches the lock is in the way too, and is not asked to give it
    /// up: there [`try_lock_for`](Self::try_lock_for) a short while finds out whether it is in use.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldWait`](crate::ErrorKind::WouldWait), else as [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> Result<LockGuard<'_>, Error> {
        self.take(Patience::None)
    }

    /// As [`lock`](Self::lock), but gives up when the time is over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut), else as [`lock`](Self::lock).
    pub fn try_lock_for(&self, timeout: Duration) -> Result<LockGuard<'_>, Error> {
        self.take(patience(timeout))
    }

    /// As [`lock`](Self::lock), for a future of any runtime. Dropping the future takes the request
    /// back.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub async fn lock_async(&self) -> Result<LockGuard<'_>, Error> {
        self.handle.acquire_async(Level::EX).await?;
        Ok(LockGuard { handle: &self.handle })
    }

    /// Has `hook` called before this node gives the lock to another one, while nobody uses it: to
    /// write what must be written first. On a thread of the cluster's own, so it may block; it must
    /// not use this lock. `false`, and nothing changes, when there is a hook already.
    pub fn before_giving_up(&self, hook: impl Fn() + Send + Sync + 'static) -> bool {
        self.handle.flush_with(move |_| hook())
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        self.handle.resource.name()
    }

    /// What this node has of the lock at this moment, used or not; not what it is giving up.
    pub fn cached(&self) -> Level {
        self.handle.resource.word.look().level()
    }

    #[inline]
    fn take(&self, patience: Patience) -> Result<LockGuard<'_>, Error> {
        self.handle.acquire(Level::EX, patience)?;
        Ok(LockGuard { handle: &self.handle })
    }
}

impl fmt::Debug for ClusterLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterLock").field(&self.handle.resource).finish()
    }
}

/// A [`ClusterLock`] that is ours until this is dropped.
#[must_use = "dropping it gives up the lock"]
pub struct LockGuard<'a> {
    handle: &'a Handle,
}

impl LockGuard<'_> {
    /// The fencing token: whoever has the lock after another node had it has a higher one. Guards
    /// that this node takes without giving the lock back in between have the same.
    pub fn token(&self) -> u64 {
        self.handle.resource.block.token()
    }

    /// Whether somebody waits for the lock, here or elsewhere: a reason to make it short.
    pub fn is_wanted(&self) -> bool {
        self.handle.resource.word.is_closed()
    }

    /// Why the lock counts for nothing any more; `None` while it is ours.
    pub fn lost(&self) -> Option<&str> {
        self.handle.lost()
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.handle.resource.leave(Level::EX);
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("token", &self.token()).finish_non_exhaustive()
    }
}

/// Until then; for ever when that is too far away to be a moment.
pub(crate) fn patience(timeout: Duration) -> Patience {
    Instant::now().checked_add(timeout).map_or(Patience::Forever, Patience::Until)
}
