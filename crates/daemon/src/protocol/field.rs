//! Fields of a frame: read with every length checked, written in the same order.

use dlm::Mode;

use super::{COMMAND_LEN_MAX, FRAME_LEN_MAX, VERSION};

/// Why a frame was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The frame has no type.
    #[error("a frame of 0 bytes: every frame has at least its type")]
    Empty,
    /// The first byte names no frame that may come from that side.
    #[error("unknown frame type {kind:#04x}")]
    UnknownType {
        /// The byte.
        kind: u8,
    },
    /// The frame ends inside a field.
    #[error("the {frame} frame ends inside its {field}")]
    Truncated {
        /// The frame.
        frame: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Bytes are left after the last field.
    #[error("the {frame} frame has {extra} bytes too many")]
    Trailing {
        /// The frame.
        frame: &'static str,
        /// How many.
        extra: usize,
    },
    /// A mode byte that is no mode.
    #[error("unknown lock mode {number}: modes are 0 (NL) to 5 (EX)")]
    UnknownMode {
        /// The byte.
        number: u8,
    },
    /// Flag bits that the call does not have.
    #[error("the {frame} frame has unknown flags {bits:#010x}")]
    UnknownFlags {
        /// The frame.
        frame: &'static str,
        /// The bits that are not known.
        bits: u32,
    },
    /// Text that is not UTF-8.
    #[error("the {field} in the {frame} frame is not UTF-8")]
    NotText {
        /// The frame.
        frame: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A Hello that does not start with the magic: something else talks to this socket.
    #[error("the first frame does not start with SGLU: this is the socket of stackglued")]
    Magic,
    /// A Hello of another protocol version.
    #[error(
        "protocol version {version} is not spoken here, only version {VERSION}: use the stackglue and the stackglued of one release"
    )]
    Version {
        /// The version asked for.
        version: u16,
    },
    /// A Hello whose command is too long.
    #[error("the command in the Hello frame has {len} bytes: the longest is {COMMAND_LEN_MAX}")]
    CommandTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// An error code that is not known.
    #[error("unknown error code {code}")]
    UnknownCode {
        /// The number.
        code: u16,
    },
    /// A length prefix of 0 or above the limit.
    #[error("a frame of {len} bytes: a frame has 1 to {FRAME_LEN_MAX}")]
    Length {
        /// The length asked for, in bytes.
        len: u64,
    },
}

impl Malformed {
    /// A word for the counter of frames refused for this reason.
    pub const fn counter(&self) -> &'static str {
        match self {
            Malformed::Empty | Malformed::Length { .. } => "length",
            Malformed::UnknownType { .. } => "type",
            Malformed::Truncated { .. } => "truncated",
            Malformed::Trailing { .. } => "trailing",
            Malformed::UnknownMode { .. } => "mode",
            Malformed::UnknownFlags { .. } => "flags",
            Malformed::NotText { .. } => "text",
            Malformed::Magic => "magic",
            Malformed::Version { .. } => "version",
            Malformed::CommandTooLong { .. } => "command",
            Malformed::UnknownCode { .. } => "code",
        }
    }
}

/// Takes the fields of one frame off its front.
pub(super) struct Fields<'a> {
    frame: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(frame: &'static str, rest: &'a [u8]) -> Fields<'a> {
        Fields { frame, rest }
    }

    pub(super) fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(Malformed::Truncated { frame: self.frame, field })?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(Malformed::Truncated { frame: self.frame, field })?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array(field).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, Malformed> {
        self.array(field).map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn mode(&mut self) -> Result<Mode, Malformed> {
        let number = self.u8("mode")?;
        Mode::from_number(number).ok_or(Malformed::UnknownMode { number })
    }

    pub(super) fn text(&mut self, field: &'static str, len: usize) -> Result<&'a str, Malformed> {
        let bytes = self.bytes(field, len)?;
        str::from_utf8(bytes).map_err(|_| Malformed::NotText { frame: self.frame, field })
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Everything that is left, as text.
    pub(super) fn rest_text(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        self.text(field, self.rest.len())
    }

    /// The flag bits, all of them in `known`.
    pub(super) fn flags(&mut self, known: u32) -> Result<u32, Malformed> {
        let bits = self.u32("flags")?;
        match bits & !known {
            0 => Ok(bits),
            bits => Err(Malformed::UnknownFlags { frame: self.frame, bits }),
        }
    }

    pub(super) fn end(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(Malformed::Trailing { frame: self.frame, extra }),
        }
    }
}

/// Writes one frame behind what `out` has: the length goes in when the payload is complete.
///
/// Text at the end of a frame that would not fit is cut, between characters.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, kind: u8) -> Writer<'a> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(kind);
        Writer { out, start }
    }

    pub(super) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn i32(self, value: i32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub(super) fn rest_text(self, text: &str) -> Self {
        let used = self.out.len() - self.start - 4;
        self.bytes(super::cut(text, FRAME_LEN_MAX - used).as_bytes())
    }

    pub(super) fn end(self) {
        let len = (self.out.len() - self.start - 4) as u32;
        self.out[self.start..self.start + 4].copy_from_slice(&len.to_le_bytes());
    }
}
