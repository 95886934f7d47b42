//! How a send fails.

/// Why a message was not sent, or not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// There is no connection, and none is being made: the peer does not heartbeat, it was refused, or
    /// the connection was lost. The message was not sent.
    #[error("not connected to the node")]
    NotConnected,
    /// The connection was lost before the status came. The peer may have handled the message.
    #[error("the connection to the node was lost before it answered")]
    HostDown,
    /// The peer has no handler for the type and key.
    #[error("the node has no handler for the message")]
    NoHandler,
    /// The peer's handler takes shorter payloads.
    #[error("the payload is longer than the node's handler takes")]
    Overflow,
    /// A node does not send to itself.
    #[error("a node does not send to itself")]
    ToSelf,
    /// The payload is longer than a frame's.
    #[error("a payload of {0} bytes: a frame has at most {max}", max = super::PAYLOAD_MAX)]
    TooLong(usize),
    /// More requests or bytes than this node holds for one peer. The message was not sent.
    #[error("too many messages for the node are on their way or waiting")]
    OutOfMemory,
    /// The peer answered with a system status that no node may send. It may have handled the message.
    #[error("the node answered with the system status {0}, which does not exist")]
    UnknownSystemStatus(u32),
}

impl NetError {
    /// The errno, positive.
    pub const fn errno(self) -> i32 {
        match self {
            NetError::NotConnected => errno::ENOTCONN,
            NetError::HostDown => errno::EHOSTDOWN,
            NetError::NoHandler => errno::ENOPROTOOPT,
            NetError::Overflow => errno::EOVERFLOW,
            NetError::ToSelf => errno::ELOOP,
            NetError::TooLong(_) => errno::EINVAL,
            NetError::OutOfMemory => errno::ENOMEM,
            NetError::UnknownSystemStatus(_) => errno::EPROTO,
        }
    }

    /// See [`is_host_down`].
    pub const fn is_host_down(self) -> bool {
        is_host_down(self.errno())
    }
}

/// Whether the lock manager takes a positive errno for "the node is down"
/// (`fs/ocfs2/dlm/dlmcommon.h: dlm_is_host_down`).
pub const fn is_host_down(errno: i32) -> bool {
    matches!(
        errno,
        errno::EBADF
            | errno::ECONNREFUSED
            | errno::ENOTCONN
            | errno::ECONNRESET
            | errno::EPIPE
            | errno::EHOSTDOWN
            | errno::EHOSTUNREACH
            | errno::ETIMEDOUT
            | errno::ECONNABORTED
            | errno::ENETDOWN
            | errno::ENETUNREACH
            | errno::ENETRESET
            | errno::ESHUTDOWN
            | errno::ENOPROTOOPT
            | errno::EINVAL
    )
}

/// Linux's numbers.
mod errno {
    pub(super) const EBADF: i32 = 9;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const EPIPE: i32 = 32;
    pub(super) const ELOOP: i32 = 40;
    pub(super) const EPROTO: i32 = 71;
    pub(super) const EOVERFLOW: i32 = 75;
    pub(super) const ENOPROTOOPT: i32 = 92;
    pub(super) const ENETDOWN: i32 = 100;
    pub(super) const ENETUNREACH: i32 = 101;
    pub(super) const ENETRESET: i32 = 102;
    pub(super) const ECONNABORTED: i32 = 103;
    pub(super) const ECONNRESET: i32 = 104;
    pub(super) const ENOTCONN: i32 = 107;
    pub(super) const ESHUTDOWN: i32 = 108;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const ECONNREFUSED: i32 = 111;
    pub(super) const EHOSTDOWN: i32 = 112;
    pub(super) const EHOSTUNREACH: i32 = 113;
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviour 121, and the errnos of 101 to 104.
    #[test]
    fn errors_have_the_kernel_s_errnos_and_class() {
        for (error, errno, host_down) in [
            (NetError::NotConnected, 107, true),
            (NetError::HostDown, 112, true),
            (NetError::NoHandler, 92, true),
            (NetError::Overflow, 75, false),
            (NetError::ToSelf, 40, false),
            (NetError::TooLong(4073), 22, true),
            (NetError::OutOfMemory, 12, false),
            (NetError::UnknownSystemStatus(4), 71, false),
        ] {
            assert_eq!((error.errno(), error.is_host_down()), (errno, host_down), "{error}");
        }
    }
}
