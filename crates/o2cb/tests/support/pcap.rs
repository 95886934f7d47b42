//! Captures of a wire: the packets of a pcap file, and the TCP streams in them.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

/// A packet of the capture: its number, from 1, and when it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Packet {
    pub(crate) number: usize,
    pub(crate) time: Duration,
}

/// One direction of one TCP connection, put together again.
pub(crate) struct Stream {
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    /// Whether the connection began within the capture, so that these are its first bytes.
    pub(crate) whole: bool,
    pub(crate) bytes: Vec<u8>,
    /// How many bytes had come with each packet that brought some.
    arrived: Vec<(usize, Packet)>,
    next: u32,
    early: Vec<(u32, Vec<u8>)>,
}

impl Stream {
    /// Takes what a segment brings that is new; keeps what comes before its turn.
    fn segment(&mut self, packet: Packet, sequence: u32, data: &[u8]) {
        self.early.push((sequence, data.to_vec()));
        while let Some(at) = self.early.iter().position(|(seq, _)| ahead(*seq, self.next) <= 0) {
            let (sequence, data) = self.early.swap_remove(at);
            let known = usize::try_from(-ahead(sequence, self.next)).expect("not ahead");
            let new = data.get(known..).unwrap_or_default();
            self.bytes.extend_from_slice(new);
            self.next = self.next.wrapping_add(new.len() as u32);
        }
        self.arrived.push((self.bytes.len(), packet));
    }

    /// The packet that completed the first `len` bytes.
    #[allow(dead_code, reason = "not every test looks at the order of the streams")]
    pub(crate) fn completed_by(&self, len: usize) -> Packet {
        self.arrived[self.arrived.partition_point(|(arrived, _)| *arrived < len)].1
    }
}

/// How far one sequence number is ahead of another, around the wrap.
fn ahead(sequence: u32, of: u32) -> i64 {
    i64::from(sequence.wrapping_sub(of) as i32)
}

/// The streams of a capture (little-endian pcap of Ethernet), in the order of their first packets.
pub(crate) fn streams(file: &[u8]) -> Vec<Stream> {
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1], "a little-endian pcap file");
    assert_eq!(file[20..24], [1, 0, 0, 0], "of Ethernet");
    let mut streams: Vec<Stream> = Vec::new();
    let mut current: HashMap<(SocketAddrV4, SocketAddrV4), usize> = HashMap::new();
    for (packet, bytes) in packets(&file[24..]) {
        let Some(segment) = segment(bytes) else { continue };
        let direction = (segment.from, segment.to);
        let known = current.get(&direction).copied();
        // The same ports may serve a second connection; a SYN sent again is of the first one still.
        let fresh = segment.syn
            && known.is_none_or(|at| !streams[at].whole || !streams[at].bytes.is_empty());
        let at = match known {
            Some(at) if !fresh => at,
            _ if segment.data.is_empty() && !segment.syn => continue,
            _ => {
                streams.push(Stream {
                    from: segment.from,
                    to: segment.to,
                    whole: segment.syn,
                    bytes: Vec::new(),
                    arrived: Vec::new(),
                    next: segment.sequence.wrapping_add(u32::from(segment.syn)),
                    early: Vec::new(),
                });
                current.insert(direction, streams.len() - 1);
                streams.len() - 1
            }
        };
        if !segment.data.is_empty() {
            streams[at].segment(packet, segment.sequence, segment.data);
        }
    }
    for stream in &streams {
        assert!(stream.early.is_empty(), "{} to {}: a segment is missing", stream.from, stream.to);
    }
    streams
}

/// The packets of the file, each whole.
fn packets(mut records: &[u8]) -> impl Iterator<Item = (Packet, &[u8])> {
    let mut number = 0;
    std::iter::from_fn(move || {
        let header = records.get(..16)?;
        let field = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(field(8), field(12), "a packet was cut short");
        let (packet, rest) = records[16..].split_at(field(8) as usize);
        records = rest;
        number += 1;
        let time = Duration::new(field(0).into(), field(4) * 1000);
        Some((Packet { number, time }, packet))
    })
}

struct Segment<'a> {
    from: SocketAddrV4,
    to: SocketAddrV4,
    sequence: u32,
    syn: bool,
    data: &'a [u8],
}

/// The TCP segment of an Ethernet frame, if it is one over IPv4.
fn segment(packet: &[u8]) -> Option<Segment<'_>> {
    let (ethernet, ip) = packet.split_at_checked(14)?;
    if ethernet[12..] != [0x08, 0x00] || ip.first()? >> 4 != 4 || *ip.get(9)? != 6 {
        return None;
    }
    let be16 = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    // Short frames are padded: the length of the IP packet counts.
    let ip = &ip[..usize::from(be16(ip, 2))];
    let tcp = &ip[usize::from(ip[0] & 0xf) * 4..];
    let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).expect("4 bytes").into();
    Some(Segment {
        from: SocketAddrV4::new(address(12), be16(tcp, 0)),
        to: SocketAddrV4::new(address(16), be16(tcp, 2)),
        sequence: u32::from_be_bytes(tcp[4..8].try_into().expect("4 bytes")),
        syn: tcp[13] & 2 != 0,
        data: &tcp[usize::from(tcp[12] >> 4) * 4..],
    })
}
