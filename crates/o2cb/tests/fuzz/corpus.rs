//! What kernels sent each other in the captures.

use std::path::Path;
use std::sync::LazyLock;

use stackglue_o2cb::o2dlm::message::MessageType;
use stackglue_o2cb::o2net::{HANDSHAKE_LEN, HEADER_LEN};

use crate::pcap;

const O2NET_PORT: u16 = 7777;
const REQUEST: u16 = 0xfa55;

/// A request of a node, whose number is the last byte of its address.
pub(crate) struct Request {
    pub(crate) from: u8,
    pub(crate) kind: MessageType,
    pub(crate) payload: Vec<u8>,
}

/// Frames of connections, some at a time: long streams would say nothing more.
pub(crate) static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut pieces = Vec::new();
    for stream in streams() {
        let frames: Vec<&[u8]> = frames_of(&stream.frames).collect();
        pieces.extend(frames.chunks(20).map(<[_]>::concat));
    }
    pieces
});

/// Handshakes, and what follows at once.
pub(crate) static STARTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let whole = streams().into_iter().filter(|stream| !stream.handshake.is_empty());
    let start = |stream: Stream| {
        let len = stream.frames.len().min(200);
        [&stream.handshake, &stream.frames[..len]].concat()
    };
    whole.map(start).collect()
});

/// Every request.
pub(crate) static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let mut requests = Vec::new();
    for stream in streams() {
        for frame in frames_of(&stream.frames) {
            let be16 = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            if be16(0) == REQUEST {
                let kind = MessageType::from_wire(be16(4)).expect("a message of o2dlm");
                let payload = frame[HEADER_LEN..].to_vec();
                requests.push(Request { from: stream.from, kind, payload });
            }
        }
    }
    requests
});

/// One direction of a connection.
struct Stream {
    from: u8,
    /// Empty where the connection began before the capture.
    handshake: Vec<u8>,
    frames: Vec<u8>,
}

fn streams() -> Vec<Stream> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let files = std::fs::read_dir(directory).expect("the captures are there");
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable directory").path()).collect();
    // What a seed means is not to depend on the order of a directory.
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    let mut streams = Vec::new();
    for path in paths {
        for stream in pcap::streams(&std::fs::read(&path).expect("a readable capture")) {
            if [stream.from.port(), stream.to.port()].contains(&O2NET_PORT) {
                let len = if stream.whole { HANDSHAKE_LEN.min(stream.bytes.len()) } else { 0 };
                let (handshake, frames) = stream.bytes.split_at(len);
                streams.push(Stream {
                    from: stream.from.ip().octets()[3],
                    handshake: handshake.to_vec(),
                    frames: frames.to_vec(),
                });
            }
        }
    }
    streams
}

fn frames_of(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        let (frame, rest) = bytes.split_at_checked(HEADER_LEN + usize::from(len))?;
        bytes = rest;
        Some(frame)
    })
}
