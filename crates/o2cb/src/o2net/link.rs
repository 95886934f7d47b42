//! One connection: what is received in pieces, what is to be sent.

use std::borrow::Cow;
use std::mem;

use super::frame::{FrameError, HEADER_LEN, Header};
use super::handshake::HANDSHAKE_LEN;
use super::outstanding::Outstanding;
use crate::NodeId;

/// How many bytes may be unsent before a peer counts as one that does not read.
pub const UNSENT_LEN_MAX: usize = 16 << 20;

/// What a send buffer keeps when it is empty.
const KEPT_CAPACITY: usize = 256 << 10;

/// A connection, or an attempt at one. It is never used again: the next one of the node is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId {
    node: NodeId,
    generation: u64,
}

impl LinkId {
    pub(super) fn new(node: NodeId, generation: u64) -> LinkId {
        LinkId { node, generation }
    }

    /// The peer. It has one connection at a time.
    pub const fn node(self) -> NodeId {
        self.node
    }
}

/// A request that waits for its answer. It is answered once, with
/// [`Net::reply`](super::Net::reply): one that is dropped hangs a thread of a kernel that sent it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a request that is not answered hangs its sender"]
pub struct RequestId {
    pub(super) link: LinkId,
    pub(super) header: Header,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// The socket is connected: this node's handshake was put out.
    pub(super) connected: bool,
    /// The peer's handshake was received.
    pub(super) valid: bool,
    /// The driver was told, or is going to be, that there are bytes to send.
    pub(super) dirty: bool,
    pub(super) outstanding: Outstanding,
    pub(super) unsent: SendBuffer,
    /// The piece whose end has not been received.
    partial: Vec<u8>,
}

impl Link {
    pub(super) fn new(id: LinkId) -> Link {
        Link {
            id,
            connected: false,
            valid: false,
            dirty: false,
            outstanding: Outstanding::default(),
            unsent: SendBuffer::default(),
            partial: Vec::new(),
        }
    }

    /// The next whole handshake or frame of the stream, which goes on with `rest`. It is borrowed from
    /// there, unless its start came earlier; in that case the buffer comes back with
    /// [`recycle`](Self::recycle).
    pub(super) fn next_piece<'a>(
        &mut self,
        rest: &mut &'a [u8],
    ) -> Result<Option<Cow<'a, [u8]>>, FrameError> {
        if self.partial.is_empty()
            && let Some((piece, after)) = rest.split_at_checked(self.piece_len(rest)?)
        {
            *rest = after;
            return Ok(Some(Cow::Borrowed(piece)));
        }
        loop {
            let missing = self.piece_len(&self.partial)? - self.partial.len();
            if missing == 0 {
                return Ok(Some(Cow::Owned(mem::take(&mut self.partial))));
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let (more, after) = rest.split_at(missing.min(rest.len()));
            self.partial.reserve_exact(missing);
            self.partial.extend_from_slice(more);
            *rest = after;
        }
    }

    /// Gives the buffer of an owned piece back, to be used again.
    pub(super) fn recycle(&mut self, mut piece: Vec<u8>) {
        piece.clear();
        self.partial = piece;
    }

    /// How long the piece is that starts with these bytes, as far as they tell: at least as long as
    /// what they are too few of.
    fn piece_len(&self, start: &[u8]) -> Result<usize, FrameError> {
        if !self.valid {
            return Ok(HANDSHAKE_LEN);
        }
        let Some(header) = start.first_chunk() else { return Ok(HEADER_LEN) };
        Header::from_bytes(header).map(|header| HEADER_LEN + usize::from(header.data_len))
    }
}

/// Bytes that are to be sent.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    bytes: Vec<u8>,
    /// How many of them were sent.
    sent: usize,
}

impl SendBuffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn advance(&mut self, len: usize) {
        self.sent += len.min(self.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_CAPACITY);
            self.sent = 0;
        } else if self.sent > self.bytes.len() / 2 {
            // What is moved was not sent more than what was: each byte costs one move at most.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(valid: bool) -> Link {
        let node = NodeId::new(1).expect("1 is a node number");
        Link { valid, ..Link::new(LinkId::new(node, 0)) }
    }

    fn stream(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for (number, payload) in (0..).zip(payloads) {
            stream.extend(Header::request(500, 1, number, payload.len() as u16).to_bytes());
            stream.extend(payload);
        }
        stream
    }

    // Behaviour 137.
    #[test]
    fn a_frame_is_found_wherever_it_is_split() {
        let stream = stream(&[vec![7; 30]]);
        for at in 0..=stream.len() {
            let mut link = link(true);
            let mut found = None;
            for part in [&stream[..at], &stream[at..]] {
                let mut rest = part;
                while let Ok(Some(piece)) = link.next_piece(&mut rest) {
                    assert_eq!(found.replace(piece.into_owned()), None);
                }
            }
            assert_eq!(found.as_ref(), Some(&stream), "split at {at}");
        }
    }

    // Behaviour 138, of the bytes that are kept.
    #[test]
    fn at_most_a_frame_is_kept() {
        let mut link = link(true);
        let stream = stream(&[vec![1; 4072], vec![2; 4072]]);
        for byte in &stream[..8191] {
            if let Ok(Some(Cow::Owned(piece))) = link.next_piece(&mut std::slice::from_ref(byte)) {
                link.recycle(piece);
            }
            assert!(link.partial.capacity() <= 4096);
        }
        assert_eq!(link.partial.len(), 4095);
    }

    proptest! {
        #[test]
        fn frames_are_the_same_in_any_split(
            payloads in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..100), 0..20),
            cuts in proptest::collection::vec(1usize..60, 1..20),
        ) {
            let stream = stream(&payloads);
            let mut link = link(true);
            let mut found = Vec::new();
            let mut left = &stream[..];
            for cut in cuts.iter().cycle() {
                let (mut rest, after) = left.split_at((*cut).min(left.len()));
                while let Some(piece) = link.next_piece(&mut rest)? {
                    found.push(piece[HEADER_LEN..].to_vec());
                    if let Cow::Owned(piece) = piece {
                        link.recycle(piece);
                    }
                }
                left = after;
                if left.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, payloads);
        }

        #[test]
        fn what_is_sent_is_what_was_pushed(steps in proptest::collection::vec((0u8.., 0usize..50), 0..99)) {
            let mut buffer = SendBuffer::default();
            let (mut pushed, mut sent) = (Vec::new(), Vec::<u8>::new());
            for (byte, len) in steps {
                buffer.push(&[byte; 20]);
                pushed.extend([byte; 20]);
                sent.extend(&buffer.as_slice()[..len.min(buffer.len())]);
                buffer.advance(len);
            }
            sent.extend(buffer.as_slice());
            prop_assert_eq!(sent, pushed);
        }
    }
}
