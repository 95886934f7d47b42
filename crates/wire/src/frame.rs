//! How long a frame is.

/// Knows the length of a frame from its first bytes.
pub trait Framing {
    /// Bytes needed before the length of the frame is known; at least 1.
    const HEADER_LEN: usize;

    /// The extent of the frame that starts with `header`, which is [`HEADER_LEN`](Self::HEADER_LEN)
    /// bytes long.
    ///
    /// # Errors
    ///
    /// [`FrameError`] for a length that is not allowed. The connection is of no more use then: where
    /// the next frame would start is not known.
    fn extent(&self, header: &[u8]) -> Result<Extent, FrameError>;
}

/// Where a frame lies in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes at its start that are of no interest to the reader of frames.
    pub skip: usize,
    /// All of its bytes; at least the header's.
    pub len: usize,
}

/// A frame whose length is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {len} bytes: a frame has {len_min} to {len_max}")]
pub struct FrameError {
    /// The length that the header tells.
    pub len: u64,
    /// The shortest allowed.
    pub len_min: usize,
    /// The longest allowed.
    pub len_max: usize,
}

/// Frames of 1 to `len_max` bytes, each behind its length as a little-endian `u32`. The reader returns
/// them without the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthPrefixed {
    /// The longest frame, in bytes, without its prefix.
    pub len_max: usize,
}

impl Framing for LengthPrefixed {
    const HEADER_LEN: usize = 4;

    #[inline]
    fn extent(&self, header: &[u8]) -> Result<Extent, FrameError> {
        let len = header.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if len == 0 || len as usize > self.len_max {
            return Err(FrameError { len: len.into(), len_min: 1, len_max: self.len_max });
        }
        Ok(Extent { skip: 4, len: 4 + len as usize })
    }
}
