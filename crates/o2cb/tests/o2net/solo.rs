//! One engine, whose peers are the test.

use std::net::Ipv4Addr;
use std::time::Duration;

use stackglue_o2cb::o2net::{
    CloseReason, HEADER_LEN, Handshake, Header, Incoming, Kind, LinkId, Net, NetConfig, NetError,
    NodeState, Output, RequestId, SystemStatus,
};
use stackglue_o2cb::{NodeId, Now};

/// The handshake of a node with default times.
pub(crate) const HANDSHAKE: Handshake = Handshake {
    protocol_version: 11,
    connector_id: 1,
    heartbeat_timeout_ms: 60_000,
    idle_timeout_ms: 30_000,
    keepalive_delay_ms: 2000,
    reconnect_delay_ms: 2000,
};

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("tests use numbers below 255")
}

pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

pub(crate) fn ms(ms: u64) -> Now {
    Duration::from_millis(ms)
}

/// An engine of a cluster of nodes 1 to 4.
pub(crate) fn net(me: u8) -> Net {
    let nodes = (1..=4).map(|number| (node(number), address(number), 7777)).collect();
    Net::new(NetConfig::with_defaults(node(me), nodes)).expect("the configuration adds up")
}

pub(crate) fn request(message_type: u16, number: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header::request(message_type, 0x666c_6172, number, payload.len() as u16);
    [&header.to_bytes(), payload].concat()
}

pub(crate) fn status(number: u32, system_status: u32, status: i32) -> Vec<u8> {
    let header = Header {
        kind: Kind::Status,
        system_status,
        status,
        ..Header::request(510, 0x666c_6172, number, 0)
    };
    header.to_bytes().to_vec()
}

/// A request that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) id: RequestId,
    pub(crate) message_type: u16,
    pub(crate) payload: Vec<u8>,
}

/// Completions, as tokens and results.
pub(crate) type Completions = Vec<(u64, Result<i32, NetError>)>;

pub(crate) struct Solo {
    pub(crate) net: Net,
    pub(crate) now: Now,
    pub(crate) arrived: Vec<Arrived>,
    pub(crate) completed: Completions,
}

impl Solo {
    pub(crate) fn new(me: u8) -> Solo {
        Solo { net: net(me), now: ms(1_000_000), arrived: Vec::new(), completed: Vec::new() }
    }

    /// Node 1, with a valid connection from node 2.
    pub(crate) fn valid() -> (Solo, LinkId) {
        let mut solo = Solo::new(1);
        let link = solo.accept_valid();
        solo.outputs();
        (solo, link)
    }

    /// A valid connection from node 2 whose heartbeat is up from now on, if it was not.
    pub(crate) fn accept_valid(&mut self) -> LinkId {
        self.net.heartbeat_up(self.now, node(2));
        let link = self.net.accepted(self.now, address(2)).expect("node 2 may connect");
        self.feed(link, &HANDSHAKE.to_bytes());
        assert_eq!(self.sent(link), HANDSHAKE.to_bytes());
        link
    }

    /// The link of the one connection that is asked for.
    pub(crate) fn connecting(&mut self) -> LinkId {
        match self.outputs()[..] {
            [Output::Connect { link, .. }] => link,
            ref others => panic!("one connection is asked for: {others:?}"),
        }
    }

    pub(crate) fn feed(&mut self, link: LinkId, bytes: &[u8]) {
        let Solo { net, now, arrived, completed } = self;
        net.received(*now, link, bytes, &mut |_, incoming| match incoming {
            Incoming::Request { id, message_type, payload, .. } => {
                arrived.push(Arrived { id, message_type, payload: payload.to_vec() });
            }
            Incoming::Completed { token, result } => completed.push((token, result)),
        });
    }

    /// What is unsent; it is sent now.
    pub(crate) fn sent(&mut self, link: LinkId) -> Vec<u8> {
        let bytes = self.net.unsent(link).to_vec();
        self.net.sent(link, bytes.len());
        bytes
    }

    /// The message numbers of the frames that are sent now.
    pub(crate) fn sent_numbers(&mut self, link: LinkId) -> Vec<u32> {
        let bytes = self.sent(link);
        let mut rest = &bytes[..];
        let mut numbers = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = Header::from_bytes(header).expect("frames are well-formed");
            numbers.push(header.number);
            rest = &after[header.data_len.into()..];
        }
        numbers
    }

    /// What is to be done, without completions, which are put to the others.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.net.poll_output() {
            match output {
                Output::Completed { token, result } => self.completed.push((token, result)),
                other => outputs.push(other),
            }
        }
        outputs
    }

    pub(crate) fn completions(&mut self) -> Completions {
        std::mem::take(&mut self.completed)
    }

    /// Lets time pass, timer by timer; what was to be done, and after how many milliseconds.
    pub(crate) fn pass(&mut self, time_ms: u64) -> Vec<(u64, Output)> {
        let start = self.now;
        let end = start + ms(time_ms);
        let mut all = Vec::new();
        while let Some(at) = self.net.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.net.handle_timeout(self.now);
            let after = (self.now - start).as_millis() as u64;
            all.extend(self.outputs().into_iter().map(|output| (after, output)));
        }
        self.now = end;
        all
    }

    pub(crate) fn send(&mut self, to: u8, payload: &[u8], token: u64) -> Result<(), NetError> {
        self.net.send(self.now, node(to), 510, 0x666c_6172, payload, token)
    }

    pub(crate) fn reply(&mut self, request: RequestId, system_status: SystemStatus, status: i32) {
        self.net.reply(self.now, request, system_status, status);
    }

    pub(crate) fn state(&self, of: u8) -> NodeState {
        self.net.node_state(node(of)).expect("the node is configured")
    }

    pub(crate) fn close(&mut self, link: LinkId) {
        self.net.closed(self.now, link, CloseReason::Ended);
    }
}
