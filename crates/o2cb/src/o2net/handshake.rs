//! The handshake: the first bytes of either direction.

/// Bytes of a handshake.
pub const HANDSHAKE_LEN: usize = 32;

/// The version of the protocol (`O2NET_PROTOCOL_VERSION`). It also covers what file systems send
/// through their locks, and so it is 11 although o2net itself did not change that often.
pub const PROTOCOL_VERSION: u64 = 11;

/// The connector id of kernels.
pub const CONNECTOR_KERNEL: u64 = 1;

/// The connector id of our nodes, at which kernels do not look. It says that a BAST right behind an AST
/// is understood; kernels' dlmfs gives the lock up before the user who waited for it has had it.
pub const CONNECTOR_STACKGLUE: u64 = u64::from_be_bytes(*b"stackglu");

/// What nodes tell each other before anything else. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// [`PROTOCOL_VERSION`].
    pub protocol_version: u64,
    /// [`CONNECTOR_KERNEL`] or [`CONNECTOR_STACKGLUE`]. It need not agree.
    pub connector_id: u64,
    /// How long a node may miss heartbeats.
    pub heartbeat_timeout_ms: u32,
    /// How long nothing may be received.
    pub idle_timeout_ms: u32,
    /// After how long without receiving a keepalive request is sent.
    pub keepalive_delay_ms: u32,
    /// How long until another attempt to connect.
    pub reconnect_delay_ms: u32,
}

/// Why nodes do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeMismatch {
    /// Another version of the protocol.
    #[error("the peer's protocol version is {theirs}, this node's is {ours}")]
    Version {
        /// This node's.
        ours: u64,
        /// The peer's.
        theirs: u64,
    },
    /// Another idle timeout.
    #[error("the peer's idle timeout is {theirs} ms, this node's is {ours} ms")]
    IdleTimeout {
        /// This node's, in milliseconds.
        ours: u32,
        /// The peer's, in milliseconds.
        theirs: u32,
    },
    /// Another keepalive delay.
    #[error("the peer's keepalive delay is {theirs} ms, this node's is {ours} ms")]
    KeepaliveDelay {
        /// This node's, in milliseconds.
        ours: u32,
        /// The peer's, in milliseconds.
        theirs: u32,
    },
    /// Another heartbeat timeout, and so another dead threshold.
    #[error("the peer's heartbeat timeout is {theirs} ms, this node's is {ours} ms")]
    HeartbeatTimeout {
        /// This node's, in milliseconds.
        ours: u32,
        /// The peer's, in milliseconds.
        theirs: u32,
    },
}

impl Handshake {
    /// The handshake as it travels.
    pub fn to_bytes(&self) -> [u8; HANDSHAKE_LEN] {
        let mut bytes = [0; HANDSHAKE_LEN];
        bytes[0..8].copy_from_slice(&self.protocol_version.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.connector_id.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.heartbeat_timeout_ms.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.idle_timeout_ms.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.keepalive_delay_ms.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.reconnect_delay_ms.to_be_bytes());
        bytes
    }

    /// The handshake from the wire. Any 32 bytes are one; [`check`](Self::check) says if it is good.
    pub fn from_bytes(bytes: &[u8; HANDSHAKE_LEN]) -> Handshake {
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        Handshake {
            protocol_version: long(0),
            connector_id: long(8),
            heartbeat_timeout_ms: word(16),
            idle_timeout_ms: word(20),
            keepalive_delay_ms: word(24),
            reconnect_delay_ms: word(28),
        }
    }

    /// Whether a peer with that handshake fits this node, whose handshake this is
    /// (`fs/ocfs2/cluster/tcp.c: o2net_check_handshake`, in its order).
    ///
    /// # Errors
    ///
    /// The first difference that matters.
    pub fn check(&self, theirs: &Handshake) -> Result<(), HandshakeMismatch> {
        let (version, their_version) = (self.protocol_version, theirs.protocol_version);
        if version != their_version {
            return Err(HandshakeMismatch::Version { ours: version, theirs: their_version });
        }
        let (ours, theirs_ms) = (self.idle_timeout_ms, theirs.idle_timeout_ms);
        if ours != theirs_ms {
            return Err(HandshakeMismatch::IdleTimeout { ours, theirs: theirs_ms });
        }
        let (ours, theirs_ms) = (self.keepalive_delay_ms, theirs.keepalive_delay_ms);
        if ours != theirs_ms {
            return Err(HandshakeMismatch::KeepaliveDelay { ours, theirs: theirs_ms });
        }
        let (ours, theirs_ms) = (self.heartbeat_timeout_ms, theirs.heartbeat_timeout_ms);
        if ours != theirs_ms {
            return Err(HandshakeMismatch::HeartbeatTimeout { ours, theirs: theirs_ms });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULT: Handshake = Handshake {
        protocol_version: 11,
        connector_id: 1,
        heartbeat_timeout_ms: 60_000,
        idle_timeout_ms: 30_000,
        keepalive_delay_ms: 2000,
        reconnect_delay_ms: 2000,
    };

    // Behaviour 93.
    #[test]
    fn the_default_handshake_has_the_known_bytes() {
        let bytes = [
            0, 0, 0, 0, 0, 0, 0, 0x0b, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xea, 0x60, 0, 0, 0x75, 0x30,
            0, 0, 7, 0xd0, 0, 0, 7, 0xd0,
        ];
        assert_eq!(DEFAULT.to_bytes(), bytes);
        assert_eq!(Handshake::from_bytes(&bytes), DEFAULT);
    }

    // Behaviours 94, 95 and 96.
    #[test]
    fn a_handshake_is_checked_in_the_kernel_s_order() {
        let mut theirs = Handshake { connector_id: 7, reconnect_delay_ms: 9, ..DEFAULT };
        assert_eq!(DEFAULT.check(&theirs), Ok(()));
        theirs.heartbeat_timeout_ms = 58_000;
        let heartbeat = HandshakeMismatch::HeartbeatTimeout { ours: 60_000, theirs: 58_000 };
        assert_eq!(DEFAULT.check(&theirs), Err(heartbeat));
        theirs.keepalive_delay_ms = 1;
        let keepalive = HandshakeMismatch::KeepaliveDelay { ours: 2000, theirs: 1 };
        assert_eq!(DEFAULT.check(&theirs), Err(keepalive));
        theirs.idle_timeout_ms = 2;
        let idle = HandshakeMismatch::IdleTimeout { ours: 30_000, theirs: 2 };
        assert_eq!(DEFAULT.check(&theirs), Err(idle));
        for version in [10, 12] {
            theirs.protocol_version = version;
            let mismatch = HandshakeMismatch::Version { ours: 11, theirs: version };
            assert_eq!(DEFAULT.check(&theirs), Err(mismatch));
        }
    }

    proptest! {
        #[test]
        fn a_handshake_that_is_read_is_written_the_same(bytes: [u8; 32]) {
            prop_assert_eq!(Handshake::from_bytes(&bytes).to_bytes(), bytes);
        }
    }
}
