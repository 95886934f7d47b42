//! Every o2dlm message that real kernels (6.1) sent each other in the captures of
//! `tests/fixtures/captures`, decoded and encoded again to the same bytes.

mod support {
    pub(crate) mod pcap;
}

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stackglue_o2cb::o2dlm::message::*;
use support::pcap::{self, Stream};

/// What each type of message occurs in all captures together.
const COUNTS: &[(MessageType, usize)] = &[
    (MessageType::MasterRequest, 177),
    (MessageType::AssertMaster, 162),
    (MessageType::CreateLock, 96),
    (MessageType::ConvertLock, 165),
    (MessageType::ProxyAst, 329),
    (MessageType::UnlockLock, 47),
    (MessageType::DerefLockres, 16),
    (MessageType::MigrateRequest, 1),
    (MessageType::MigLockres, 4),
    (MessageType::QueryJoin, 24),
    (MessageType::AssertJoined, 13),
    (MessageType::ExitDomain, 7),
    (MessageType::MasterRequery, 1),
    (MessageType::LockRequest, 1),
    (MessageType::RecoDataDone, 1),
    (MessageType::BeginReco, 1),
    (MessageType::FinalizeReco, 2),
    (MessageType::QueryRegion, 13),
    (MessageType::QueryNodeinfo, 13),
    (MessageType::BeginExit, 7),
];

#[test]
fn every_request_of_a_kernel_decodes_and_encodes_to_the_same_bytes() {
    let mut counts = BTreeMap::new();
    for capture in captures() {
        for frame in capture.frames.iter().filter(|frame| frame.magic == REQUEST) {
            let kind = frame.kind();
            *counts.entry(kind).or_insert(0) += 1;
            let again = reencode(kind, frame.payload)
                .unwrap_or_else(|error| panic!("{}: {error}: {frame:?}", capture.name));
            assert_eq!(again, frame.payload, "{}: {kind}", capture.name);
        }
    }
    for (kind, count) in &counts {
        println!("{kind}: {count}");
    }
    assert_eq!(counts, COUNTS.iter().copied().collect());
}

#[test]
fn every_status_of_a_kernel_has_the_meaning_of_its_type() {
    let mut counts = BTreeMap::new();
    for capture in captures() {
        for frame in capture.frames.iter().filter(|frame| frame.magic == STATUS) {
            let (kind, status) = (frame.kind(), frame.status);
            *counts.entry(kind).or_insert(0) += 1;
            let known = match kind {
                MessageType::CreateLock
                | MessageType::ConvertLock
                | MessageType::ProxyAst
                | MessageType::UnlockLock => {
                    Status::from_wire(status).is_some_and(|known| known.to_wire() == status)
                }
                MessageType::QueryJoin => {
                    JoinReply::unpack(status).is_some_and(|reply| reply.pack() == status)
                }
                MessageType::MasterRequest | MessageType::AssertMaster => (0..=3).contains(&status),
                MessageType::MasterRequery => (0..=255).contains(&status),
                MessageType::DerefLockres | MessageType::MigrateRequest => {
                    (0..=1).contains(&status)
                }
                _ => status == 0,
            };
            assert!(known, "{}: {kind} answered {status}", capture.name);
        }
    }
    // Each request was answered.
    assert_eq!(counts, COUNTS.iter().copied().collect());
}

#[test]
fn every_key_is_the_fixed_one_or_that_of_a_domain() {
    for capture in captures() {
        let domain = |frame: &Frame<'_>| {
            let asked = frame.magic == REQUEST && frame.kind() == MessageType::QueryJoin;
            asked.then(|| QueryJoin::decode(frame.payload).expect("decodes").domain.key())
        };
        let domains: BTreeSet<u32> = capture.frames.iter().filter_map(domain).collect();
        for frame in capture.frames.iter().filter(|frame| frame.magic <= STATUS) {
            let fixed = matches!(
                frame.kind(),
                MessageType::QueryJoin
                    | MessageType::AssertJoined
                    | MessageType::CancelJoin
                    | MessageType::QueryRegion
                    | MessageType::QueryNodeinfo
            );
            let known = if fixed { frame.key == JOIN_KEY } else { domains.contains(&frame.key) };
            assert!(known, "{}: {:#x} of {}", capture.name, frame.key, frame.kind());
        }
    }
}

/// The payload as this crate writes what it has read.
fn reencode(kind: MessageType, payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    macro_rules! by_type {
        ($($message:ident)*) => {
            match kind {
                $(MessageType::$message => $message::decode(payload)?.encode(&mut out),)*
            }
        };
    }
    by_type! {
        MasterRequest AssertMaster CreateLock ConvertLock ProxyAst UnlockLock DerefLockres
        MigrateRequest MigLockres QueryJoin AssertJoined CancelJoin ExitDomain MasterRequery
        LockRequest RecoDataDone BeginReco FinalizeReco QueryRegion QueryNodeinfo BeginExit DerefDone
    }
    Ok(out)
}

const REQUEST: u16 = 0xFA55;
const STATUS: u16 = 0xFA56;
const KEEPALIVES: [u16; 2] = [0xFA57, 0xFA58];
const HEADER_LEN: usize = 24;
const HANDSHAKE_LEN: usize = 32;
const O2NET_PORT: u16 = 7777;

struct Capture {
    name: String,
    frames: Vec<Frame<'static>>,
}

#[derive(Debug)]
struct Frame<'a> {
    magic: u16,
    number: u16,
    status: i32,
    key: u32,
    payload: &'a [u8],
}

impl Frame<'_> {
    fn kind(&self) -> MessageType {
        MessageType::from_wire(self.number)
            .unwrap_or_else(|| panic!("{} is no message of o2dlm", self.number))
    }
}

fn captures() -> Vec<Capture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let files = std::fs::read_dir(&directory).expect("the captures are there");
    let mut captures = Vec::new();
    for file in files {
        let path = file.expect("a readable directory").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("o2-") && name.ends_with(".pcap") {
            let streams = pcap::streams(&std::fs::read(&path).expect("a readable capture"));
            let o2net =
                |stream: &Stream| [stream.from.port(), stream.to.port()].contains(&O2NET_PORT);
            let frames = streams.into_iter().filter(o2net).flat_map(|stream| {
                let bytes: &'static [u8] = stream.bytes.leak();
                frames(if stream.whole { &bytes[HANDSHAKE_LEN.min(bytes.len())..] } else { bytes })
            });
            captures.push(Capture { name, frames: frames.collect() });
        }
    }
    assert_eq!(captures.len(), 8);
    captures
}

/// The frames of one direction, their headers checked.
fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let be16 = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let be32 = |at: usize| u32::from(be16(at)) << 16 | u32::from(be16(at + 2));
        let end = HEADER_LEN + usize::from(be16(2));
        let frame = Frame {
            magic: be16(0),
            number: be16(4),
            status: be32(12) as i32,
            key: be32(16),
            payload: &bytes[HEADER_LEN..end],
        };
        assert_eq!((be16(6), be32(8)), (0, 0), "padding and system status");
        if frame.magic == REQUEST {
            assert_eq!(frame.status, 0, "status of a request");
        } else {
            assert!(frame.payload.is_empty(), "a payload without a request");
        }
        if KEEPALIVES.contains(&frame.magic) {
            assert_eq!(bytes[2..HEADER_LEN], [0; HEADER_LEN - 2], "a keepalive");
        } else {
            assert!([REQUEST, STATUS].contains(&frame.magic), "magic {:#x}", frame.magic);
        }
        frames.push(frame);
        bytes = &bytes[end..];
    }
    frames
}
