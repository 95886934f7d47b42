//! The byte stream of a peer: a handshake and what follows, or frames behind a good handshake.

use std::net::Ipv4Addr;
use std::time::Duration;

use stackglue_o2cb::o2net::{
    Handshake, Incoming, LinkId, Net, NetConfig, OUTSTANDING_MAX, Output, SystemStatus,
    UNSENT_LEN_MAX,
};
use stackglue_o2cb::{NodeId, Now};

use crate::corpus::{STARTS, STREAMS};
use crate::driver::Target;
use crate::mutate::mutated;

const NOW: Now = Duration::from_secs(1000);
const REQUESTS_OUT: u64 = 8;

/// One byte that says how the stream is split, then the stream.
#[test]
fn frames() {
    Target {
        name: "frames",
        inputs: 3000,
        make: &|rng| [vec![rng.next() as u8], mutated(rng, &STREAMS, 40_000)].concat(),
        check: &|input| {
            let mut peer = Peer::new();
            peer.feed(&HANDSHAKE.to_bytes());
            for token in 0..REQUESTS_OUT {
                peer.net.send(NOW, node(2), 510, 1, b"question", token).expect("it is connected");
            }
            peer.check(input);
        },
    }
    .run();
}

#[test]
fn handshakes() {
    Target {
        name: "handshakes",
        inputs: 3000,
        make: &|rng| [vec![rng.next() as u8], mutated(rng, &STARTS, 2000)].concat(),
        check: &|input| Peer::new().check(input),
    }
    .run();
}

const HANDSHAKE: Handshake = Handshake {
    protocol_version: 11,
    connector_id: 1,
    heartbeat_timeout_ms: 60_000,
    idle_timeout_ms: 30_000,
    keepalive_delay_ms: 2000,
    reconnect_delay_ms: 2000,
};

fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("below 255")
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

/// Node 1, connected to node 2.
struct Peer {
    net: Net,
    link: LinkId,
    requests: u64,
    completed: Vec<u64>,
    closed: bool,
}

impl Peer {
    fn new() -> Peer {
        let nodes = (1..=3).map(|number| (node(number), address(number), 7777)).collect();
        let config = NetConfig::with_defaults(node(1), nodes);
        let mut net = Net::new(config).expect("the configuration adds up");
        net.heartbeat_up(NOW, node(2));
        let link = net.accepted(NOW, address(2)).expect("node 2 may connect");
        Peer { net, link, requests: 0, completed: Vec::new(), closed: false }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let Peer { net, link, requests, completed, .. } = self;
        net.received(NOW, *link, bytes, &mut |net, incoming| match incoming {
            Incoming::Request { id, from, .. } => {
                assert_eq!(from, node(2));
                *requests += 1;
                net.reply(NOW, id, SystemStatus::None, 0);
            }
            Incoming::Completed { token, .. } => completed.push(token),
        });
        while let Some(output) = self.net.poll_output() {
            match output {
                Output::Close { .. } => self.closed = true,
                Output::Completed { token, .. } => self.completed.push(token),
                _ => {}
            }
        }
    }

    /// Whatever comes, in pieces: what is kept is bounded by what came, no request completes twice, and
    /// all do at the end.
    fn check(mut self, input: &[u8]) {
        let Some((split, mut stream)) = input.split_first() else { return };
        let mut split = usize::from(*split);
        let len = stream.len();
        while !stream.is_empty() {
            split = split * 31 % 251;
            let (piece, rest) = stream.split_at(stream.len().min(1 << (split % 12)));
            stream = rest;
            self.feed(piece);
            // A peer that does not read: answers pile up, up to a bound.
            assert!(self.net.unsent(self.link).len() <= UNSENT_LEN_MAX + 4096);
        }
        assert!(self.requests <= len as u64 / 24, "more requests than headers");
        assert!(self.completed.len() <= OUTSTANDING_MAX);
        let report = self.net.node_states().next().expect("node 2 is the first peer");
        assert!(report.counters.bad_frames <= 1);
        self.net.heartbeat_down(NOW, node(2));
        self.feed(&[]);
        self.completed.sort_unstable();
        let all: Vec<u64> = (0..self.completed.len() as u64).collect();
        assert_eq!(self.completed, all, "a request completed twice, or not at all");
        assert!(self.completed.is_empty() || all.len() as u64 == REQUESTS_OUT);
        assert!(self.net.unsent(self.link).is_empty());
    }
}
