//! Engines wired to each other: a network without sockets, under a virtual clock.

use std::collections::VecDeque;

use stackglue_o2cb::Now;
use stackglue_o2cb::o2net::{
    CloseReason, Incoming, LinkId, Net, NetError, NodeState, Output, SystemStatus,
};

use crate::solo::{address, ms, net, node};

/// What a node saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Request { from: u8, payload: Vec<u8> },
    Completed { token: u64, result: Result<i32, NetError> },
    Up(u8),
    Error(u8),
    StillUp(u8),
}

/// One end of a connection, and what is on its way from there.
#[derive(Debug)]
struct End {
    at: u8,
    link: LinkId,
    sent: VecDeque<u8>,
    closed: bool,
}

/// Nodes 1 to 4. Requests are answered with their payload's length.
pub(crate) struct Rig {
    pub(crate) now: Now,
    nets: Vec<Net>,
    pub(crate) seen: Vec<Vec<Seen>>,
    wires: Vec<[End; 2]>,
    /// Bytes are delivered this many at a time.
    pub(crate) chunk_len: usize,
    /// Nothing is delivered, and nothing is lost.
    pub(crate) cut: bool,
}

impl Rig {
    /// All nodes are up and do not know of each other.
    pub(crate) fn new(chunk_len: usize) -> Rig {
        Rig {
            now: ms(1_000_000),
            nets: (1..=4).map(net).collect(),
            seen: vec![Vec::new(); 4],
            wires: Vec::new(),
            chunk_len,
            cut: false,
        }
    }

    pub(crate) fn net(&mut self, of: u8) -> &mut Net {
        &mut self.nets[usize::from(of) - 1]
    }

    /// Node `at` sees the heartbeat of `of`.
    pub(crate) fn heartbeat_up(&mut self, at: u8, of: u8) {
        let now = self.now;
        self.net(at).heartbeat_up(now, node(of));
        self.settle();
    }

    pub(crate) fn heartbeat_down(&mut self, at: u8, of: u8) {
        let now = self.now;
        self.net(at).heartbeat_down(now, node(of));
        self.settle();
    }

    /// Two nodes see each other and are connected.
    pub(crate) fn join(&mut self, a: u8, b: u8) {
        self.heartbeat_up(a.min(b), a.max(b));
        self.heartbeat_up(a.max(b), a.min(b));
    }

    /// Sends; what happens then is not waited for.
    pub(crate) fn send(
        &mut self,
        from: u8,
        to: u8,
        payload: &[u8],
        token: u64,
    ) -> Result<(), NetError> {
        let now = self.now;
        self.net(from).send(now, node(to), 500, 1, payload, token)
    }

    pub(crate) fn state(&mut self, at: u8, of: u8) -> NodeState {
        self.net(at).node_state(node(of)).expect("the node is configured")
    }

    /// What a node saw since it was last asked.
    pub(crate) fn take_seen(&mut self, at: u8) -> Vec<Seen> {
        std::mem::take(&mut self.seen[usize::from(at) - 1])
    }

    /// All connections are reset: what is on its way is lost, and both ends are told.
    pub(crate) fn reset(&mut self) {
        let now = self.now;
        for end in std::mem::take(&mut self.wires).into_iter().flatten() {
            if !end.closed {
                let reason = CloseReason::Failed { errno: 104 };
                self.net(end.at).closed(now, end.link, reason);
            }
        }
        self.settle();
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time_ms: u64) {
        let end = self.now + ms(time_ms);
        while let Some(at) = self.nets.iter().filter_map(Net::next_timeout).min()
            && at <= end
        {
            self.now = self.now.max(at);
            let now = self.now;
            for net in &mut self.nets {
                net.handle_timeout(now);
            }
            self.settle();
        }
        self.now = end;
    }

    /// Lets everything happen that needs no time.
    pub(crate) fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for at in 1..=4 {
                while let Some(output) = self.net(at).poll_output() {
                    busy = true;
                    self.handle(at, output);
                }
                while let Some(link) = self.net(at).next_dirty() {
                    busy = true;
                    self.write(at, link);
                }
            }
            busy |= !self.cut && self.deliver();
        }
    }

    fn handle(&mut self, at: u8, output: Output) {
        let seen = &mut self.seen[usize::from(at) - 1];
        match output {
            Output::Connect { link, node, from, .. } => {
                assert_eq!(from, address(at));
                self.connect(at, link, node.get());
            }
            Output::Close { link, .. } => {
                self.end(at, link).closed = true;
            }
            Output::Completed { token, result } => seen.push(Seen::Completed { token, result }),
            Output::ConnectionUp(node) => seen.push(Seen::Up(node.get())),
            Output::ConnectionError(node) => seen.push(Seen::Error(node.get())),
            Output::Introduced { node, ours } => {
                panic!("{node} ({ours}): the rig has kernels only")
            }
            Output::StillUp(node) => seen.push(Seen::StillUp(node.get())),
        }
    }

    fn connect(&mut self, at: u8, link: LinkId, to: u8) {
        let now = self.now;
        self.net(at).connected(now, link);
        match self.net(to).accepted(now, address(at)) {
            Ok(accepted) => {
                let end = |at, link| End { at, link, sent: VecDeque::new(), closed: false };
                self.wires.push([end(at, link), end(to, accepted)]);
            }
            Err(_) => self.net(at).closed(now, link, CloseReason::Ended),
        }
    }

    fn end(&mut self, at: u8, link: LinkId) -> &mut End {
        let mut ends = self.wires.iter_mut().flatten();
        ends.find(|end| end.at == at && end.link == link).expect("the link is wired")
    }

    fn write(&mut self, at: u8, link: LinkId) {
        let bytes = self.net(at).unsent(link).to_vec();
        self.net(at).sent(link, bytes.len());
        self.end(at, link).sent.extend(bytes);
    }

    /// One chunk of each direction of each wire; whether there was any. An end that was closed is told
    /// after what was sent before.
    fn deliver(&mut self) -> bool {
        let mut busy = false;
        let mut wires = std::mem::take(&mut self.wires);
        for wire in &mut wires {
            for to in [0, 1] {
                let len = self.chunk_len.min(wire[1 - to].sent.len());
                let bytes: Vec<u8> = wire[1 - to].sent.drain(..len).collect();
                if wire[to].closed {
                    continue;
                }
                let (at, link, now) = (wire[to].at, wire[to].link, self.now);
                if !bytes.is_empty() {
                    busy = true;
                    self.receive(at, link, &bytes);
                } else if wire[1 - to].closed {
                    busy = true;
                    wire[to].closed = true;
                    self.net(at).closed(now, link, CloseReason::Ended);
                }
            }
        }
        wires.retain(|wire| !wire.iter().all(|end| end.closed));
        self.wires = wires;
        busy
    }

    fn receive(&mut self, at: u8, link: LinkId, bytes: &[u8]) {
        let index = usize::from(at) - 1;
        let (now, seen) = (self.now, &mut self.seen[index]);
        self.nets[index].received(now, link, bytes, &mut |net, incoming| match incoming {
            Incoming::Request { id, from, payload, .. } => {
                net.reply(now, id, SystemStatus::None, payload.len() as i32);
                seen.push(Seen::Request { from: from.get(), payload: payload.to_vec() });
            }
            Incoming::Completed { token, result } => seen.push(Seen::Completed { token, result }),
        });
    }
}
