//! Frames: a header of 24 bytes, and a payload. Big-endian.

/// Bytes of a header.
pub const HEADER_LEN: usize = 24;

/// The longest payload, in bytes (`O2NET_MAX_PAYLOAD_BYTES`): a page of 4096 without the header.
pub const PAYLOAD_MAX: usize = 4096 - HEADER_LEN;

/// What a frame is, told by its magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message; it is answered with a status.
    Request,
    /// The answer to a request, without a payload.
    Status,
    /// "Are you there"; it is answered with a keepalive response.
    KeepaliveRequest,
    /// "I am here".
    KeepaliveResponse,
}

impl Kind {
    /// The magic.
    pub const fn magic(self) -> u16 {
        match self {
            Kind::Request => 0xfa55,
            Kind::Status => 0xfa56,
            Kind::KeepaliveRequest => 0xfa57,
            Kind::KeepaliveResponse => 0xfa58,
        }
    }

    const fn from_magic(magic: u16) -> Option<Kind> {
        Some(match magic {
            0xfa55 => Kind::Request,
            0xfa56 => Kind::Status,
            0xfa57 => Kind::KeepaliveRequest,
            0xfa58 => Kind::KeepaliveResponse,
            _ => return None,
        })
    }
}

/// How the messaging layer itself answers a request.
///
/// The kernel also has "died" (3), which it sets locally and never sends. A kernel that receives 4 or
/// more crashes (`fs/ocfs2/cluster/tcp.c: o2net_sys_err_to_errno`), and so there is no way to say that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemStatus {
    /// The handler ran; the status is its result.
    None,
    /// Nothing is registered for the type and key.
    NoHandler,
    /// The payload is longer than the handler takes.
    Overflow,
}

impl SystemStatus {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            SystemStatus::None => 0,
            SystemStatus::NoHandler => 1,
            SystemStatus::Overflow => 2,
        }
    }

    /// The system status of a number.
    ///
    /// # Errors
    ///
    /// The number itself, for one that no node may send.
    pub const fn from_number(number: u32) -> Result<SystemStatus, u32> {
        match number {
            0 => Ok(SystemStatus::None),
            1 => Ok(SystemStatus::NoHandler),
            2 => Ok(SystemStatus::Overflow),
            other => Err(other),
        }
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Bytes of payload that follow, at most [`PAYLOAD_MAX`].
    pub data_len: u16,
    /// What the message is; 0 is invalid.
    pub message_type: u16,
    /// 0; a status repeats that of its request.
    pub padding: u16,
    /// See [`SystemStatus`]; as the peer sent it.
    pub system_status: u32,
    /// The handler's result.
    pub status: i32,
    /// Who the message is for, together with its type.
    pub key: u32,
    /// The message number: the sender's, repeated by the status.
    pub number: u32,
}

/// A header after which the stream is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not the magic of any kind of frame.
    #[error("the magic {0:#06x} is of no kind of frame")]
    UnknownMagic(u16),
    /// A payload longer than [`PAYLOAD_MAX`].
    #[error("a payload of {0} bytes: a frame has at most {PAYLOAD_MAX}")]
    TooLong(u16),
}

impl Header {
    /// The header of a keepalive request or response: nothing but the magic.
    pub const fn keepalive(kind: Kind) -> Header {
        Header {
            kind,
            data_len: 0,
            message_type: 0,
            padding: 0,
            system_status: 0,
            status: 0,
            key: 0,
            number: 0,
        }
    }

    /// The header of a request.
    pub const fn request(message_type: u16, key: u32, number: u32, data_len: u16) -> Header {
        Header { message_type, key, number, data_len, ..Header::keepalive(Kind::Request) }
    }

    /// The header as it travels.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..2].copy_from_slice(&self.kind.magic().to_be_bytes());
        bytes[2..4].copy_from_slice(&self.data_len.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.message_type.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.padding.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.system_status.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.status.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.key.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// The header from the wire.
    ///
    /// # Errors
    ///
    /// [`FrameError`] for an unknown magic, or a payload that is too long.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Result<Header, FrameError> {
        let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let kind = Kind::from_magic(half(0)).ok_or(FrameError::UnknownMagic(half(0)))?;
        let data_len = half(2);
        if usize::from(data_len) > PAYLOAD_MAX {
            return Err(FrameError::TooLong(data_len));
        }
        Ok(Header {
            kind,
            data_len,
            message_type: half(4),
            padding: half(6),
            system_status: word(8),
            status: word(12).cast_signed(),
            key: word(16),
            number: word(20),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUERY_JOIN: [u8; 24] = [
        0xfa, 0x55, 0, 0x68, 1, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66, 0x6c, 0x61, 0x72, 0, 0,
        0, 0,
    ];

    // Behaviour 113.
    #[test]
    fn a_query_join_request_has_the_known_header() {
        assert_eq!(Header::request(510, 0x666c_6172, 0, 104).to_bytes(), QUERY_JOIN);
    }

    #[test]
    fn the_known_statuses_of_a_query_join_request_are_read() {
        let mut bytes = QUERY_JOIN;
        bytes[1] = 0x56;
        bytes[3] = 0;
        bytes[12..16].copy_from_slice(&[1, 3, 0, 0]);
        let ok = Header {
            kind: Kind::Status,
            status: 0x0103_0000,
            ..Header::request(510, 0x666c_6172, 0, 0)
        };
        assert_eq!(Header::from_bytes(&bytes), Ok(ok));
        bytes[8..16].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
        let no_handler = Header { system_status: 1, status: 0, ..ok };
        assert_eq!(Header::from_bytes(&bytes), Ok(no_handler));
    }

    // Behaviour 135.
    #[test]
    fn a_negative_status_is_in_two_s_complement() {
        let header = Header { status: -22, ..Header::request(1, 2, 3, 0) };
        assert_eq!(header.to_bytes()[12..16], [0xff, 0xff, 0xff, 0xea]);
    }

    // Behaviour 120.
    #[test]
    fn a_system_status_is_one_of_three_numbers() {
        for number in 0..=2 {
            assert_eq!(SystemStatus::from_number(number).map(SystemStatus::number), Ok(number));
        }
        for number in [3, 4, u32::MAX] {
            assert_eq!(SystemStatus::from_number(number), Err(number));
        }
    }

    proptest! {
        #[test]
        fn a_header_that_is_read_is_written_the_same(
            mut bytes: [u8; 24], magic in 0xfa50u16..0xfa60, len in 0u16..5000,
        ) {
            bytes[..2].copy_from_slice(&magic.to_be_bytes());
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            match Header::from_bytes(&bytes) {
                Ok(header) => prop_assert_eq!(header.to_bytes(), bytes),
                Err(FrameError::UnknownMagic(read)) => {
                    prop_assert!(read == magic && !(0xfa55..=0xfa58).contains(&magic));
                }
                Err(FrameError::TooLong(read)) => prop_assert!(read == len && len > 4072),
            }
        }
    }
}
