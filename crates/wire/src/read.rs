//! From what `read` returns to frames.

use std::io::{self, ErrorKind, Read};

use crate::{Extent, FrameError, Framing};

/// Collects the bytes of a stream and hands out the frames in them.
///
/// Call [`fill`](Self::fill) when the stream is readable, then [`next_frame`](Self::next_frame) until
/// it returns `None`. Its buffer grows to the length of the longest frame that was announced and
/// allowed, and never beyond.
#[derive(Debug)]
pub struct FrameReader<F> {
    framing: F,
    buffer: Vec<u8>,
    /// What was read and not handed out is `buffer[start..end]`.
    start: usize,
    end: usize,
}

/// What one `read` brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Bytes.
    Some {
        /// Whether it returned fewer bytes than there was room for. Then a stream socket is drained:
        /// an edge-triggered poller will tell of the next byte.
        drained: bool,
    },
    /// None now: the stream is not blocking, or a signal arrived.
    WouldBlock,
    /// None ever again: the peer closed.
    End,
}

impl<F: Framing> FrameReader<F> {
    /// A reader that has read nothing.
    pub fn new(framing: F) -> FrameReader<F> {
        FrameReader { framing, buffer: vec![0; BUFFER_LEN_MIN], start: 0, end: 0 }
    }

    /// Reads once.
    ///
    /// # Errors
    ///
    /// Those of `read`, except for `EAGAIN` and `EINTR`: see [`Fill::WouldBlock`].
    #[inline]
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<Fill> {
        self.make_room();
        let room = &mut self.buffer[self.end..];
        let room_len = room.len();
        match stream.read(room) {
            Ok(0) => Ok(Fill::End),
            Ok(len) => {
                self.end += len;
                Ok(Fill::Some { drained: len < room_len })
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(Fill::WouldBlock),
                _ => Err(error),
            },
        }
    }

    /// The next frame that is complete.
    ///
    /// # Errors
    ///
    /// [`FrameError`] for a length that is not allowed, and again on every later call.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        match self.extent()? {
            Some(Extent { skip, len }) if len <= self.end - self.start => {
                let start = self.start;
                self.start += len;
                Ok(Some(&self.buffer[start + skip..start + len]))
            }
            _ => Ok(None),
        }
    }

    /// Whether a frame has begun and not ended.
    pub fn is_inside_a_frame(&self) -> bool {
        self.start != self.end
    }

    fn extent(&self) -> Result<Option<Extent>, FrameError> {
        match self.buffer[self.start..self.end].get(..F::HEADER_LEN) {
            Some(header) => self.framing.extent(header).map(Some),
            None => Ok(None),
        }
    }

    /// Leaves room for at least one byte, and for the whole frame that has begun.
    #[inline]
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            return;
        }
        let frame_len = match self.extent() {
            Ok(Some(extent)) => extent.len,
            _ => F::HEADER_LEN,
        };
        if self.start + frame_len > self.buffer.len() || self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let len = frame_len.max(self.end + 1);
            if len > self.buffer.len() {
                self.buffer.resize(len, 0);
            }
        }
    }
}

/// Room for many small frames in one `read`.
const BUFFER_LEN_MIN: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::LengthPrefixed;

    /// Gives a stream out in pieces of chosen lengths.
    struct Pieces<'a> {
        bytes: &'a [u8],
        lens: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let len = self.lens.next().copied().unwrap_or(1).min(room.len()).min(self.bytes.len());
            room[..len].copy_from_slice(&self.bytes[..len]);
            self.bytes = &self.bytes[len..];
            Ok(len)
        }
    }

    fn read_all(mut stream: Pieces<'_>, len_max: usize) -> (Vec<Vec<u8>>, usize) {
        let mut reader = FrameReader::new(LengthPrefixed { len_max });
        let mut frames = Vec::new();
        while let Ok(Fill::Some { .. }) = reader.fill(&mut stream) {
            while let Ok(Some(frame)) = reader.next_frame() {
                frames.push(frame.to_vec());
            }
        }
        (frames, reader.buffer.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9000), 0..8),
            lens in prop::collection::vec(1usize..6000, 1..8),
        ) {
            let mut bytes = Vec::new();
            for frame in &sent {
                bytes.extend((frame.len() as u32).to_le_bytes());
                bytes.extend(frame);
            }
            let stream = Pieces { bytes: &bytes, lens: lens.iter().cycle() };
            let (frames, buffer_len) = read_all(stream, 9000);
            prop_assert_eq!(frames, sent);
            prop_assert!(buffer_len <= 9004);
        }

        #[test]
        fn arbitrary_bytes_never_make_the_buffer_outgrow_the_longest_frame(
            bytes in prop::collection::vec(any::<u8>(), 0..20_000),
            lens in prop::collection::vec(1usize..6000, 1..8),
        ) {
            let mut stream = Pieces { bytes: &bytes, lens: lens.iter().cycle() };
            let mut reader = FrameReader::new(LengthPrefixed { len_max: 5000 });
            'stream: while let Ok(Fill::Some { .. }) = reader.fill(&mut stream) {
                loop {
                    match reader.next_frame() {
                        Ok(Some(frame)) => prop_assert!((1..=5000).contains(&frame.len())),
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
            prop_assert!(reader.buffer.len() <= 5004);
        }
    }

    #[test]
    fn a_length_of_4_gib_is_refused_before_anything_is_allocated() {
        let bytes = [0xff; 4];
        let mut stream = Pieces { bytes: &bytes, lens: [4].iter().cycle() };
        let mut reader = FrameReader::new(LengthPrefixed { len_max: 65536 });
        assert!(reader.fill(&mut stream).is_ok());
        let refused = FrameError { len: 0xffff_ffff, len_min: 1, len_max: 65536 };
        assert_eq!(reader.next_frame(), Err(refused));
        assert_eq!(reader.next_frame(), Err(refused));
        assert_eq!(reader.buffer.len(), BUFFER_LEN_MIN);
    }

    #[test]
    fn a_length_of_0_is_refused() {
        let mut stream = Pieces { bytes: &[0; 4], lens: [4].iter().cycle() };
        let mut reader = FrameReader::new(LengthPrefixed { len_max: 65536 });
        assert!(reader.fill(&mut stream).is_ok());
        assert!(reader.next_frame().is_err());
    }
}
