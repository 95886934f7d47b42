//! A connected socket: bytes in, bytes out.

use std::sync::Arc;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use wire::{Fill, Flush, FrameReader, LengthPrefixed};

use super::node::Node;
use super::process::{Ending, Process};
use crate::protocol::{ErrorCode, FRAME_LEN_MAX, Malformed};

/// One connected socket.
pub(super) struct Session {
    stream: UnixStream,
    reader: FrameReader<LengthPrefixed>,
    pub(super) process: Arc<Process>,
    /// Whether the loop waits until the socket takes more.
    is_blocked: bool,
}

/// How a turn of a session went.
#[derive(Debug)]
pub(super) enum Turn {
    /// Everything that there was is done.
    Done,
    /// There may be more to read.
    More,
    /// The peer hung up.
    Gone,
    /// The peer is to be disconnected.
    End(Ending),
}

impl Session {
    pub(super) fn new(stream: UnixStream, process: Arc<Process>) -> Session {
        let reader = FrameReader::new(LengthPrefixed { len_max: FRAME_LEN_MAX });
        Session { stream, reader, process, is_blocked: false }
    }

    /// Reads and serves what there is, but no more than one turn may.
    ///
    /// One `read` is enough where it returns less than there was room for: the poller tells of what
    /// comes later. Not so when the peer may have hung up already, of which nothing tells again.
    #[inline]
    pub(super) fn read(&mut self, node: &mut Node, may_be_closed: bool) -> Turn {
        for _ in 0..READS_PER_TURN {
            match self.reader.fill(&mut self.stream) {
                Ok(Fill::Some { drained }) => {
                    if let Err(ending) = self.serve(node) {
                        return Turn::End(ending);
                    }
                    if drained && !may_be_closed {
                        return Turn::Done;
                    }
                }
                Ok(Fill::WouldBlock) => return Turn::Done,
                Ok(Fill::End) => {
                    if self.reader.is_inside_a_frame() {
                        node.shared.counters.bad_frame("half");
                    }
                    return Turn::Gone;
                }
                Err(_) => return Turn::Gone,
            }
        }
        Turn::More
    }

    /// Writes what there is to send, if the socket takes it.
    #[inline]
    pub(super) fn flush(&mut self, registry: &Registry) -> Turn {
        let mut state = self.process.state();
        state.unlist();
        let is_over = state.out.is_over();
        let flushed = state.out.flush(&mut self.stream);
        drop(state);
        let is_blocked = match flushed {
            Ok(Flush::Done) => false,
            Ok(Flush::Blocked) => true,
            Err(_) => return Turn::Gone,
        };
        // What came while it was over the limit was not kept: there is no way back.
        if is_over {
            let text = "this client does not read what it is sent: disconnected";
            return Turn::End(Ending::new(ErrorCode::Limit, text));
        }
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            let interest = match is_blocked {
                true => Interest::READABLE | Interest::WRITABLE,
                false => Interest::READABLE,
            };
            let key = Token(self.process.key);
            if registry.reregister(&mut self.stream, key, interest).is_err() {
                return Turn::Gone;
            }
        }
        Turn::Done
    }

    /// Writes what the socket still takes. Nothing is read or written afterwards.
    pub(super) fn finish(&mut self, registry: &Registry) {
        // The peer may be gone, or may not read: then it has missed its last words.
        let _ = self.process.state().out.flush(&mut self.stream);
        let _ = registry.deregister(&mut self.stream);
    }

    fn serve(&mut self, node: &mut Node) -> Result<(), Ending> {
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => node.serve(&self.process, frame)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let error = Malformed::Length { len: error.len };
                    node.shared.counters.bad_frame(error.counter());
                    return Err(Ending::malformed(&error));
                }
            }
        }
    }
}

/// Bytes that one client may have served while others wait: this many times what one `read` takes.
const READS_PER_TURN: usize = 16;
