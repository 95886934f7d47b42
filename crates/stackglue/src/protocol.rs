//! What a user of the glue brings to a connection: its locking protocol and its recovery handler.

use std::fmt;

use dlm::{Errno, Mode, NodeNumber};

use crate::Lksb;

/// Version of a locking protocol: one byte major, one byte minor.
///
/// Nodes with another major cannot share a group; a node joins a group whose minor is not above its
/// own maximum and then runs at the group's (`fs/ocfs2/stackglue.h: struct ocfs2_protocol_version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion {
    /// A group's nodes have the same.
    pub major: u8,
    /// The lower of two is spoken.
    pub minor: u8,
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The three callbacks of a connection, and its highest version
/// (`fs/ocfs2/stackglue.h: struct ocfs2_locking_protocol`).
///
/// Callbacks belong to the connection, never to a call; each is given the lock status block and finds
/// the rest in its [`state`](Lksb::state). The callbacks of one lock come one at a time and in the
/// order in which the lock manager decided; those of different locks may come at once on several
/// threads. A callback may run before the call that caused it returns, may call the glue again, and
/// must not block: it runs on the thread of whoever caused it.
pub trait LockingProtocol: Send + Sync {
    /// The highest version of the user's locking protocol. Must equal the glue's maximum.
    fn max_version(&self) -> ProtocolVersion;

    /// A lock or convert call completed: [`Lksb::status`] says how.
    fn lock_ast(&self, lksb: &Lksb);

    /// A lock that is held in the way of a request for `level`: give it up, or down to a mode
    /// compatible with `level`, when its users can spare it.
    fn blocking_ast(&self, lksb: &Lksb, level: Mode);

    /// An unlock or cancel call completed.
    fn unlock_ast(&self, lksb: &Lksb, result: Result<(), Errno>);
}

/// Called with the number of each node that left the group without saying so, before a lock of that
/// node is granted to anyone else.
pub type RecoveryHandler = Box<dyn Fn(NodeNumber) + Send + Sync>;
