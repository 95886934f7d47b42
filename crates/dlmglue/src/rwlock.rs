//! A small value that the cluster shares.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::block::Value;
use crate::cluster::{Handle, Patience};
use crate::lock::patience;
use crate::{Error, Level, SmallValue, Version};

/// A value of up to [`VALUE_LEN_MAX`](crate::VALUE_LEN_MAX) bytes, of which every node sees the
/// last write.
///
/// Made by [`Cluster::value`](crate::Cluster::value). The value travels with the lock, in the value
/// block of the resource: reading it where the lock is cached is one atomic operation to take, one
/// to release. A handle: clones are the same value.
///
/// The value lives as long as somebody in the cluster has its lock, used or cached; a write whose
/// node dies before another one asked for the lock is lost, and with it the value: it then reads as
/// the initial one, and [`ReadGuard::version`] is `None`. What must survive belongs on a disk.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let glue = stackglue::Glue::new();
/// # glue.set_cluster_stack("solo")?;
/// # glue.register(std::sync::Arc::new(stackglue_user::UserPlugin::new(Default::default())))?;
/// use stackglue_dlmglue::Cluster;
///
/// let cluster = Cluster::connect(&glue, "shop")?;
/// let visits = cluster.value("visits", 0_u64)?;
/// *visits.write()? += 1;
/// assert_eq!(*visits.read()?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClusterRwLock<T> {
    handle: Handle,
    initial: T,
}

impl<T: SmallValue> ClusterRwLock<T> {
    pub(crate) fn new(handle: Handle, initial: T) -> ClusterRwLock<T> {
        ClusterRwLock { handle, initial }
    }

    /// Blocks until the value can be read: shared with other readers, here and elsewhere. A thread
    /// that reads must not read again before it is done: a writer may be waiting in between.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused),
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost).
    #[inline]
    pub fn read(&self) -> Result<ReadGuard<'_, T>, Error> {
        self.take_shared(Patience::Forever)
    }

    /// Reads if no writer is in the way, here or elsewhere; see
    /// [`ClusterLock::try_lock`](crate::ClusterLock::try_lock).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldWait`](crate::ErrorKind::WouldWait), else as [`read`](Self::read).
    pub fn try_read(&self) -> Result<ReadGuard<'_, T>, Error> {
        self.take_shared(Patience::None)
    }

    /// As [`read`](Self::read), but gives up when the time is over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut), else as [`read`](Self::read).
    pub fn try_read_for(&self, timeout: Duration) -> Result<ReadGuard<'_, T>, Error> {
        self.take_shared(patience(timeout))
    }

    /// As [`read`](Self::read), for a future. Dropping it takes the request back.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_async(&self) -> Result<ReadGuard<'_, T>, Error> {
        self.handle.acquire_async(Level::PR).await?;
        Ok(self.reading())
    }

    /// Blocks until the value is ours alone.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    #[inline]
    pub fn write(&self) -> Result<WriteGuard<'_, T>, Error> {
        self.take_exclusive(Patience::Forever)
    }

    /// Writes if nobody has it, here or elsewhere; see
    /// [`ClusterLock::try_lock`](crate::ClusterLock::try_lock).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldWait`](crate::ErrorKind::WouldWait), else as [`read`](Self::read).
    pub fn try_write(&self) -> Result<WriteGuard<'_, T>, Error> {
        self.take_exclusive(Patience::None)
    }

    /// As [`write`](Self::write), but gives up when the time is over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut), else as [`read`](Self::read).
    pub fn try_write_for(&self, timeout: Duration) -> Result<WriteGuard<'_, T>, Error> {
        self.take_exclusive(patience(timeout))
    }

    /// As [`write`](Self::write), for a future. Dropping it takes the request back.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn write_async(&self) -> Result<WriteGuard<'_, T>, Error> {
        self.handle.acquire_async(Level::EX).await?;
        Ok(self.writing())
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
    fn take_shared(&self, patience: Patience) -> Result<ReadGuard<'_, T>, Error> {
        self.handle.acquire(Level::PR, patience)?;
        Ok(self.reading())
    }

    #[inline]
    fn take_exclusive(&self, patience: Patience) -> Result<WriteGuard<'_, T>, Error> {
        self.handle.acquire(Level::EX, patience)?;
        Ok(self.writing())
    }

    /// With the level held.
    #[inline]
    fn reading(&self) -> ReadGuard<'_, T> {
        ReadGuard {
            hold: Hold { handle: &self.handle, level: Level::PR },
            value: self.current(),
            of: self,
        }
    }

    #[inline]
    fn writing(&self) -> WriteGuard<'_, T> {
        WriteGuard {
            hold: Hold { handle: &self.handle, level: Level::EX },
            value: self.current(),
            changed: false,
            of: self,
        }
    }

    #[inline]
    fn current(&self) -> T {
        let value = self.handle.resource.block.value();
        value
            .and_then(|value| T::from_bytes(value.as_bytes()))
            .unwrap_or_else(|| self.initial.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for ClusterRwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterRwLock")
            .field("resource", &self.handle.resource)
            .field("initial", &self.initial)
            .finish()
    }
}

/// A level that is held, and given up when this is dropped.
struct Hold<'a> {
    handle: &'a Handle,
    level: Level,
}

impl Drop for Hold<'_> {
    #[inline]
    fn drop(&mut self) {
        self.handle.resource.leave(self.level);
    }
}

/// A value that nobody changes until this is dropped.
#[must_use = "dropping it gives up the lock"]
pub struct ReadGuard<'a, T: SmallValue> {
    value: T,
    of: &'a ClusterRwLock<T>,
    hold: Hold<'a>,
}

impl<'a, T: SmallValue> ReadGuard<'a, T> {
    /// Which write the value is of; `None` when it is the initial one: it was never written, or
    /// lost with the node that wrote it.
    pub fn version(&self) -> Option<Version> {
        self.hold.handle.resource.block.version()
    }

    /// Why the value may be outdated; `None` while it is not.
    pub fn lost(&self) -> Option<&str> {
        self.hold.handle.lost()
    }

    /// Goes on to write, waiting for other readers. The second of the pair tells whether nobody has
    /// written in between: two readers that upgrade cannot both stay, so this one may have to let
    /// another writer in first. Then the guard shows what that one wrote.
    ///
    /// # Errors
    ///
    /// As [`ClusterRwLock::write`]; the value is not held any more then.
    pub fn upgrade(self) -> Result<(WriteGuard<'a, T>, bool), Error> {
        let of = self.of;
        if of.handle.resource.word.try_upgrade() {
            std::mem::forget(self.hold);
            return Ok((of.writing(), true));
        }
        let before = of.handle.resource.stamp();
        drop(self);
        let guard = of.write()?;
        let unchanged = before.is_good(of.handle.resource.stamp());
        Ok((guard, unchanged))
    }
}

impl<T: SmallValue> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: SmallValue + fmt::Debug> fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadGuard").field(&self.value).finish()
    }
}

/// A value that is ours alone until this is dropped, which writes it if it was changed.
#[must_use = "dropping it gives up the lock"]
pub struct WriteGuard<'a, T: SmallValue> {
    value: T,
    changed: bool,
    of: &'a ClusterRwLock<T>,
    hold: Hold<'a>,
}

impl<'a, T: SmallValue> WriteGuard<'a, T> {
    /// The fencing token; see [`LockGuard::token`](crate::LockGuard::token).
    pub fn token(&self) -> u64 {
        self.hold.handle.resource.block.token()
    }

    /// Which write the value was of when it was taken; see [`ReadGuard::version`].
    pub fn version(&self) -> Option<Version> {
        self.hold.handle.resource.block.version()
    }

    /// Why the lock counts for nothing any more; `None` while it is ours.
    pub fn lost(&self) -> Option<&str> {
        self.hold.handle.lost()
    }

    /// Goes on as a reader, with no writer in between.
    pub fn downgrade(mut self) -> ReadGuard<'a, T> {
        self.write_back();
        self.changed = false;
        self.hold.level = Level::PR;
        self.hold.handle.resource.downgrade();
        let of = self.of;
        let value = self.value.clone();
        // The reader's level goes over to the new guard.
        let hold = Hold { handle: self.hold.handle, level: Level::PR };
        self.hold.level = Level::NL;
        ReadGuard { value, of, hold }
    }

    fn write_back(&self) {
        if !self.changed {
            return;
        }
        match Value::new(self.value.to_bytes().as_ref()) {
            Some(value) => self.hold.handle.resource.block.set_value(&value),
            None => tracing::error!(
                name = ?self.of.name(),
                "a value that is too long for a value block is not written"
            ),
        }
    }
}

impl<T: SmallValue> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: SmallValue> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.value
    }
}

impl<T: SmallValue> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        self.write_back();
    }
}

impl<T: SmallValue + fmt::Debug> fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteGuard").field(&self.value).finish()
    }
}
