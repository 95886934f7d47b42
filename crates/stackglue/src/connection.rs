//! A connection: one group that this host is a member of.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dlm::{Errno, LockFlags, Mode, NodeNumber, ResourceName};
use parking_lot::Mutex;

use crate::glue::StackUse;
use crate::{
    Abandoned, DisconnectError, Lksb, PlockOperation, ProtocolVersion, ResourceView,
    StackConnection,
};

/// A connection to a group, made by [`Glue::connect`](crate::Glue::connect).
///
/// Locks are asked for by [`lock`](Self::lock) and given up by [`unlock`](Self::unlock); outcomes
/// come through the connection's locking protocol. Dropping a connection leaves the group, without a
/// hang-up. Leaving waits for callbacks that run, so neither [`disconnect`](Self::disconnect) nor the
/// drop may happen inside one.
pub struct Connection {
    core: Arc<Core>,
    cluster: String,
    group: String,
    plocks: bool,
    /// The use of the stack; `None` once the group was left.
    pinned: Mutex<Option<StackUse>>,
}

impl Connection {
    /// Asks for a new lock, or with `CONVERT` for another mode of the lock that `lksb` has.
    ///
    /// The first call with an `lksb` binds it to this connection. `Ok` means that the outcome comes
    /// by lock AST, perhaps before this returns; after an error none comes. A `NOQUEUE` call that
    /// would have to wait says `EAGAIN` here or in the AST, as the stack does it. Never blocks for
    /// another lock.
    ///
    /// # Errors
    ///
    /// `EINVAL` when `lksb` belongs to another connection or the group was left; else the stack's.
    #[inline]
    pub fn lock(
        &self,
        mode: Mode,
        lksb: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno> {
        self.core.lock(mode, lksb, flags, name)
    }

    /// Drops the lock that `lksb` has, or with `CANCEL` takes back what it waits for.
    ///
    /// `Ok` means that the outcome comes by unlock AST, perhaps before this returns, except for a
    /// cancel that lost the race to the grant: then the lock AST is the only callback.
    ///
    /// # Errors
    ///
    /// `EINVAL` when `lksb` was never used or belongs to another connection, or the group was left;
    /// else the stack's.
    #[inline]
    pub fn unlock(&self, lksb: &Lksb, flags: LockFlags) -> Result<(), Errno> {
        self.core.unlock(lksb, flags)
    }

    /// The locking protocol that the group's nodes agreed on.
    pub fn version(&self) -> ProtocolVersion {
        self.core.stack.version()
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The cluster's name; empty when the caller had none.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// This host's node number in the group.
    ///
    /// # Errors
    ///
    /// `EINVAL` or `ENOENT` when it is not known.
    pub fn this_node(&self) -> Result<NodeNumber, Errno> {
        self.core.usable()?;
        self.core.stack.this_node()
    }

    /// One line about the lock of `lksb` for a person who debugs.
    pub fn dump_lksb(&self, lksb: &Lksb) -> String {
        match self.core.owns(lksb) {
            Ok(()) => self.core.stack.dump_lksb(lksb),
            Err(_) => format!("{lksb:?} has no lock of group {:?}", self.group),
        }
    }

    /// Whether the stack has cluster-wide POSIX locks.
    pub fn supports_plocks(&self) -> bool {
        self.plocks
    }

    /// Takes or drops a cluster-wide POSIX lock.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` when the stack has none; else the stack's.
    pub fn plock(&self, inode: u64, operation: PlockOperation) -> Result<(), Errno> {
        if !self.plocks {
            tracing::warn!(group = self.group, inode, "the stack has no POSIX locks");
            return Err(Errno::EOPNOTSUPP);
        }
        self.core.usable()?;
        self.core.stack.plock(inode, operation)
    }

    /// Drops the lock of a process that is gone, or keeps it as an orphan; see
    /// [`StackConnection::abandon`].
    ///
    /// # Errors
    ///
    /// `EINVAL` when `lksb` was never used or belongs to another connection; `ENOENT` when it has no
    /// lock; `EOPNOTSUPP` when the stack cannot.
    pub fn abandon(&self, lksb: &Lksb) -> Result<Abandoned, Errno> {
        self.core.owns(lksb)?;
        self.core.stack.abandon(lksb)
    }

    /// Drops every orphan of this node that is `condemned`, and returns how many were dropped; see
    /// [`StackConnection::purge`].
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` when the stack has no orphans; `EINVAL` when the group was left.
    pub fn purge(&self, condemned: &dyn Fn(&Lksb) -> bool) -> Result<usize, Errno> {
        self.core.usable()?;
        self.core.stack.purge(condemned)
    }

    /// Shows every resource known to this node; nothing when the group was left. The visitor holds
    /// up the resources it is being shown: it copies what it needs and returns.
    pub fn visit_resources(&self, visitor: &mut dyn FnMut(ResourceView<'_>)) {
        if self.core.usable().is_ok() {
            self.core.stack.visit_resources(visitor);
        }
    }

    /// Shows the resource of that name, if it is known to this node; see
    /// [`visit_resources`](Self::visit_resources).
    pub fn visit_resource(
        &self,
        name: ResourceName<'_>,
        visitor: &mut dyn FnMut(ResourceView<'_>),
    ) {
        if self.core.usable().is_ok() {
            self.core.stack.visit_resource(name, visitor);
        }
    }

    /// Leaves the group. Blocks until no callback of this connection can come any more. All locks
    /// should have been dropped before.
    ///
    /// With `hangup_pending` the stack still counts as in use afterwards, until
    /// [`Glue::hangup`](crate::Glue::hangup) of this group.
    ///
    /// # Errors
    ///
    /// The stack's, and then the connection is still good; `EINVAL` when the group was left already.
    pub fn disconnect(&self, hangup_pending: bool) -> Result<(), DisconnectError> {
        let mut pinned = self.pinned.lock();
        if pinned.is_none() {
            return Err(DisconnectError::Left { group: self.group.clone() });
        }
        self.core
            .leave()
            .map_err(|errno| DisconnectError::Refused { group: self.group.clone(), errno })?;
        if let Some(pinned) = pinned.take()
            && hangup_pending
        {
            pinned.leave_to_hangup(&self.group);
        }
        Ok(())
    }

    pub(crate) fn new(
        id: u32,
        stack: Box<dyn StackConnection>,
        cluster: &str,
        group: &str,
        pinned: StackUse,
    ) -> Connection {
        Connection {
            core: Arc::new(Core { id, left: AtomicBool::new(false), stack }),
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            plocks: pinned.plugin().supports_plocks(),
            pinned: Mutex::new(Some(pinned)),
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.pinned.get_mut().is_some()
            && let Err(errno) = self.core.leave()
        {
            tracing::error!(group = self.group, %errno, "a dropped connection cannot leave");
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("group", &self.group)
            .field("cluster", &self.cluster)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// The part of a connection that a callback may keep alive: dropping it leaves no group.
pub(crate) struct Core {
    id: u32,
    left: AtomicBool,
    stack: Box<dyn StackConnection>,
}

impl Core {
    #[inline]
    pub(crate) fn lock(
        &self,
        mode: Mode,
        lksb: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno> {
        self.usable()?;
        if !lksb.bind(self.id) {
            return Err(Errno::EINVAL);
        }
        self.stack.lock(mode, lksb, flags, name)
    }

    #[inline]
    pub(crate) fn unlock(&self, lksb: &Lksb, flags: LockFlags) -> Result<(), Errno> {
        self.owns(lksb)?;
        self.stack.unlock(lksb, flags)
    }

    /// Whether the group was not left yet.
    #[inline]
    pub(crate) fn usable(&self) -> Result<(), Errno> {
        if self.left.load(Ordering::Relaxed) { Err(Errno::EINVAL) } else { Ok(()) }
    }

    #[inline]
    fn owns(&self, lksb: &Lksb) -> Result<(), Errno> {
        self.usable()?;
        if lksb.is_bound_to(self.id) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn leave(&self) -> Result<(), Errno> {
        // First, so that nobody gets a lock in a group that is being left.
        self.left.store(true, Ordering::Relaxed);
        self.stack.disconnect().inspect_err(|_| self.left.store(false, Ordering::Relaxed))
    }
}
