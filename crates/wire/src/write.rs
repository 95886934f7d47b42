//! From frames to few `write`s.

use std::io::{self, ErrorKind, Write};

/// Collects frames and writes them in bulk.
///
/// Everything added between two [`flush`](Self::flush)es goes out with one `write`, if the socket takes
/// it. Frames are encoded in place through [`bytes`](Self::bytes). When the peer reads too slowly,
/// [`is_over`](Self::is_over) tells; what to do about it is the owner's choice.
#[derive(Debug)]
pub struct WriteBuffer {
    bytes: Vec<u8>,
    /// How much of `bytes` the socket took.
    sent: usize,
    unsent_max: usize,
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Everything is with the socket.
    Done,
    /// The socket is full: flush again when it is writable.
    Blocked,
}

impl WriteBuffer {
    /// An empty buffer that is [over](Self::is_over) with more than `unsent_max` bytes in it.
    pub fn new(unsent_max: usize) -> WriteBuffer {
        WriteBuffer { bytes: Vec::new(), sent: 0, unsent_max }
    }

    /// Where to append whole frames.
    #[inline]
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes that the socket has not taken.
    #[inline]
    pub fn unsent_len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether more waits than the limit.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.unsent_len() > self.unsent_max
    }

    /// Writes what there is: one `write` unless the socket takes only a part.
    ///
    /// # Errors
    ///
    /// Those of `write`, except for `EAGAIN` and `EINTR`. The connection is of no more use then.
    #[inline]
    pub fn flush(&mut self, stream: &mut impl Write) -> io::Result<Flush> {
        while self.sent < self.bytes.len() {
            match stream.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.forget_sent();
                    return Ok(Flush::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > CAPACITY_KEPT {
            self.bytes.shrink_to(CAPACITY_KEPT);
        }
        Ok(Flush::Done)
    }

    /// Moves the rest to the front once that costs less than it frees, so that a peer that is always a
    /// little behind does not make the buffer grow.
    fn forget_sent(&mut self) {
        if self.sent >= self.unsent_len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// What an idle connection keeps after a burst, in bytes.
const CAPACITY_KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use mio::net::UnixStream;

    use super::*;

    #[test]
    fn frames_added_between_two_flushes_go_out_with_one_write() {
        struct Count(usize, Vec<u8>);
        impl Write for Count {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                self.1.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut buffer = WriteBuffer::new(100);
        let mut stream = Count(0, Vec::new());
        for _ in 0..10 {
            buffer.bytes().extend_from_slice(b"frame");
        }
        assert_eq!(buffer.flush(&mut stream).expect("a flush"), Flush::Done);
        assert_eq!(buffer.flush(&mut stream).expect("a flush"), Flush::Done);
        assert_eq!((stream.0, stream.1), (1, b"frame".repeat(10)));
    }

    #[test]
    fn a_peer_that_does_not_read_is_noticed_and_loses_nothing_once_it_does() {
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        let mut buffer = WriteBuffer::new(1000);
        let frame: Vec<u8> = (0..=255).collect();
        let mut sent_len = 0;
        while !buffer.is_over() {
            buffer.bytes().extend_from_slice(&frame);
            sent_len += frame.len();
            buffer.flush(&mut here).expect("a flush");
        }
        assert_eq!(buffer.flush(&mut here).expect("a flush"), Flush::Blocked);
        let mut received = Vec::new();
        let mut room = [0; 4096];
        while received.len() < sent_len {
            match there.read(&mut room) {
                Ok(len) => received.extend_from_slice(&room[..len]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            buffer.flush(&mut here).expect("a flush");
        }
        assert_eq!(received, frame.repeat(sent_len / frame.len()));
        assert!(!buffer.is_over());
    }

    #[test]
    fn a_closed_peer_is_an_error() {
        let (mut here, there) = UnixStream::pair().expect("a pair");
        drop(there);
        let mut buffer = WriteBuffer::new(1000);
        buffer.bytes().push(1);
        assert_eq!(buffer.flush(&mut here).expect_err("EPIPE").kind(), ErrorKind::BrokenPipe);
    }
}
