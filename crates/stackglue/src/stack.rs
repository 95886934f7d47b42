//! What a stack plugin offers to the glue (`fs/ocfs2/stackglue.h: struct ocfs2_stack_operations`).

use std::sync::Arc;

use dlm::{Errno, LockFlags, Mode, NodeNumber, Queue, ResourceName};

use crate::{Lksb, LockingProtocol, ProtocolVersion, RecoveryHandler};

/// A stack plugin: `o2cb` or `user`.
pub trait Plugin: Send + Sync {
    /// The plugin's name, as in `loaded_cluster_plugins`.
    fn name(&self) -> &'static str;

    /// Joins a group.
    ///
    /// Returns only when node-down events of the group are delivered and lock requests are served.
    ///
    /// # Errors
    ///
    /// Whatever kept the stack from joining; nothing is left behind.
    fn connect(
        &self,
        request: ConnectRequest<'_>,
    ) -> Result<Box<dyn StackConnection>, ConnectRefused>;

    /// Whether connections of this stack have cluster-wide POSIX locks.
    fn supports_plocks(&self) -> bool {
        false
    }
}

/// What a plugin is told when it joins a group.
#[non_exhaustive]
pub struct ConnectRequest<'a> {
    /// The four-letter label that selected the plugin: says where members come from.
    pub label: &'a str,
    /// Cluster name; empty when the caller has none.
    pub cluster: &'a str,
    /// Group to join: 1 to 64 bytes without NUL.
    pub group: &'a str,
    /// The locking protocol: the highest version it speaks, and its callbacks.
    pub protocol: Arc<dyn LockingProtocol>,
    /// To be called for each node that dies.
    pub recovery: RecoveryHandler,
}

/// A stack's reason for not joining a group: an errno, and a sentence that says what was wrong and
/// what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ConnectRefused {
    /// For callers that decide by number.
    pub errno: Errno,
    /// For people.
    pub reason: String,
}

/// One group that this host is a member of, as a stack serves it.
///
/// Dropped by the glue after [`disconnect`](Self::disconnect).
pub trait StackConnection: Send + Sync {
    /// The locking protocol that the group's nodes agreed on.
    fn version(&self) -> ProtocolVersion;

    /// This host's node number in the group.
    ///
    /// # Errors
    ///
    /// `EINVAL` or `ENOENT` when it is not known.
    fn this_node(&self) -> Result<NodeNumber, Errno>;

    /// Asks for a new lock, or with `CONVERT` for another mode of the lock of this block.
    ///
    /// `Ok` means that the outcome comes by lock AST, perhaps before this returns; `Err` that none
    /// comes. `EAGAIN` of a `NOQUEUE` call may come either way.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `EBUSY`, `ENOENT` and others as the stack documents.
    fn lock(
        &self,
        mode: Mode,
        lksb: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno>;

    /// Drops the lock of this block, or with `CANCEL` takes back what it waits for.
    ///
    /// `Ok` means that the outcome comes by unlock AST, except for a cancel that lost the race to the
    /// grant: then the lock AST is the only callback.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `EBUSY`, `ENOENT` and others as the stack documents.
    fn unlock(&self, lksb: &Lksb, flags: LockFlags) -> Result<(), Errno>;

    /// The process that owned the lock of this block is gone: drops the lock and marks a value block
    /// it could have written not valid, or keeps it as an orphan if its last lock call had
    /// `PERSISTENT`. No callback of the block begins after this returns.
    ///
    /// # Errors
    ///
    /// `ENOENT` when the block has no lock; `EOPNOTSUPP` when the stack cannot.
    fn abandon(&self, lksb: &Lksb) -> Result<Abandoned, Errno>;

    /// Drops every orphan on this node for which `condemned` is true, and marks the value blocks they
    /// could have written not valid. Returns how many were dropped. `condemned` must not use the
    /// connection: it is asked while resources are held up.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` when the stack has no orphans.
    fn purge(&self, condemned: &dyn Fn(&Lksb) -> bool) -> Result<usize, Errno> {
        let _ = condemned;
        Err(Errno::EOPNOTSUPP)
    }

    /// Shows every resource known to this node, one after the other. The visitor holds up the
    /// resources it is being shown: it should copy what it needs and return.
    fn visit_resources(&self, visitor: &mut dyn FnMut(ResourceView<'_>));

    /// Shows the resource of that name, if it is known to this node.
    fn visit_resource(&self, name: ResourceName<'_>, visitor: &mut dyn FnMut(ResourceView<'_>)) {
        self.visit_resources(&mut |resource| {
            if resource.name == name {
                visitor(resource);
            }
        });
    }

    /// One line about the lock of this block for a person who debugs.
    fn dump_lksb(&self, lksb: &Lksb) -> String;

    /// Takes or drops a cluster-wide POSIX lock.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` when the stack has none.
    fn plock(&self, inode: u64, operation: PlockOperation) -> Result<(), Errno> {
        let _ = (inode, operation);
        Err(Errno::EOPNOTSUPP)
    }

    /// Leaves the group. No callback comes after this returns.
    ///
    /// # Errors
    ///
    /// Whatever kept the stack from leaving; then the connection is still good.
    fn disconnect(&self) -> Result<(), Errno>;
}

/// What became of the lock of a process that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It was dropped.
    Dropped,
    /// It stays granted until it is adopted or purged.
    Orphaned,
}

/// One resource, as [`StackConnection::visit_resources`] shows it.
#[derive(Debug)]
pub struct ResourceView<'a> {
    /// Its name.
    pub name: ResourceName<'a>,
    /// The node that decides about it.
    pub master: NodeNumber,
    /// Its locks: granted, then converting, then waiting, each in queue order.
    pub locks: &'a [LockView<'a>],
    /// Its value block, if one was ever written.
    pub lvb: Option<&'a [u8]>,
    /// Whether the value block may be trusted.
    pub lvb_valid: bool,
}

/// One lock of a [`ResourceView`].
#[derive(Debug)]
pub struct LockView<'a> {
    /// The stack's id of the lock, unique among those that exist on this node in the group.
    pub id: u32,
    /// The node whose process holds or wants it.
    pub node: NodeNumber,
    /// Its status block, when the owner is on this node.
    pub lksb: Option<&'a Lksb>,
    /// Which queue it is in.
    pub queue: Queue,
    /// The mode it holds.
    pub granted: Option<Mode>,
    /// The mode it waits for.
    pub requested: Option<Mode>,
    /// Whether its process is gone and it waits to be adopted or purged.
    pub orphan: bool,
    /// Ids of the locks on this resource that keep it waiting.
    pub waits_for: Vec<u32>,
}

/// A POSIX lock operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlockOperation {
    /// Take a read or write lock over a byte range, waiting if asked to.
    Lock {
        /// A write lock excludes every other.
        write: bool,
        /// Wait for conflicting locks instead of failing with `EAGAIN`.
        wait: bool,
        /// First byte.
        start: u64,
        /// Last byte.
        end: u64,
        /// Who owns it: locks of one owner do not conflict.
        owner: u64,
    },
    /// Drop what the owner has in a byte range.
    Unlock {
        /// First byte.
        start: u64,
        /// Last byte.
        end: u64,
        /// Who owns it.
        owner: u64,
    },
}
