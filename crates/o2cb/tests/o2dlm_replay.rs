//! Captures of real kernels (6.1), with the engine in the place of one of them: it gets the requests
//! that the kernel got, its users do what the kernel's did, and it has to answer as the kernel did and
//! to send what the kernel sent.
//!
//! Where the engine does it otherwise on purpose, in the questions and assertions about who masters a
//! name, its messages are answered as a kernel would have.

mod support {
    pub(crate) mod pcap;
}

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{
    CallId, Domain, DomainConfig, DomainState, Event, LockKey, Output, PeerAddress,
};
use stackglue_o2cb::{NodeId, NodeMap, Now};
use support::pcap::{self, Packet};

const VALBLK: LkmFlags = LkmFlags::VALBLK;
const NOQUEUE: LkmFlags = LkmFlags::NOQUEUE;

/// What the node's users, or its heartbeat, do.
#[derive(Clone, Copy, Debug)]
enum Op {
    Join,
    Leave,
    Lock(&'static [u8], LockMode, LkmFlags),
    /// With the value of the next value block that the node puts on the wire.
    Convert(&'static [u8], LockMode, LkmFlags),
    Unlock(&'static [u8]),
    Dead(u8),
}

use LockMode::{EX, NL, PR};
use Op::{Convert, Dead, Join, Leave, Lock, Unlock};

/// The master's side of creates, conversions, unlocks and drops of references.
#[test]
fn the_master_of_o2_lock_answers_as_the_kernel_did() {
    let script = [
        (1, Join),
        (17, Lock(b"a", EX, VALBLK)),
        (23, Convert(b"a", NL, VALBLK)),
        (49, Convert(b"a", PR, VALBLK)),
        (59, Convert(b"a", EX, VALBLK)),
        (73, Convert(b"a", NL, VALBLK)),
        (77, Lock(b"b", EX, VALBLK)),
    ];
    let replay = Replay::run("o2-lock.pcap", 1, &script);
    assert_eq!(replay.compared, 21);
}

#[test]
fn the_client_of_o2_lock_sends_what_the_kernel_sent() {
    let script = [
        (5, Join),
        (23, Lock(b"a", PR, VALBLK)),
        (42, Convert(b"a", EX, VALBLK)),
        (51, Convert(b"a", PR, VALBLK)),
        (61, Convert(b"a", NL, VALBLK)),
        (69, Convert(b"a", EX, VALBLK)),
        (83, Lock(b"b", PR, VALBLK | NOQUEUE)),
        (98, Lock(b"c", EX, VALBLK)),
        (104, Unlock(b"a")),
        (147, Unlock(b"c")),
        (147, Leave),
    ];
    Replay::run("o2-lock.pcap", 2, &script);
}

#[test]
fn the_master_of_o2_migrate_hands_over_as_the_kernel_did() {
    let script = [
        (1, Join),
        (48, Lock(b"m", EX, VALBLK)),
        (60, Convert(b"m", NL, VALBLK)),
        (108, Unlock(b"m")),
        (111, Leave),
    ];
    Replay::part("o2-migrate.pcap", 1, 1..179, &script);
}

#[test]
fn the_target_of_o2_migrate_takes_over_as_the_kernel_did() {
    let script = [
        (24, Join),
        (83, Lock(b"m", PR, VALBLK)),
        (159, Convert(b"m", NL, VALBLK)),
        (163, Convert(b"m", EX, VALBLK)),
        (224, Convert(b"m", PR, VALBLK)),
        (266, Unlock(b"m")),
        (266, Leave),
    ];
    Replay::run("o2-migrate.pcap", 3, &script);
}

#[test]
fn a_client_in_o2_migrate_follows_its_lock_to_the_new_master() {
    let script = [
        (8, Join),
        (60, Lock(b"m", PR, VALBLK)),
        (96, Convert(b"m", EX, VALBLK)),
        (165, Convert(b"m", NL, VALBLK)),
        (229, Unlock(b"m")),
        (232, Leave),
    ];
    Replay::run("o2-migrate.pcap", 2, &script);
}

/// The node that had left joins again; its cookies go on, which a lock of no consequence makes up for.
#[test]
fn the_last_member_of_o2_migrate_gets_what_the_others_leave() {
    let script = [
        (179, Join),
        (201, Lock(b"local", NL, LkmFlags::LOCAL)),
        (201, Unlock(b"local")),
        (201, Lock(b"m", PR, VALBLK)),
    ];
    Replay::part("o2-migrate.pcap", 1, 179..usize::MAX, &script);
}

#[test]
fn the_master_of_o2_death_master_answers_as_the_kernel_did_until_it_dies() {
    let script = [
        (1, Join),
        (46, Lock(b"s", EX, VALBLK)),
        (58, Convert(b"s", PR, VALBLK)),
        (107, Lock(b"x", PR, VALBLK)),
        (130, Lock(b"m", EX, VALBLK)),
    ];
    Replay::run("o2-death-master.pcap", 1, &script);
}

/// The recovery master. When the EX that it waited for is granted, its user gives way at once to the PR
/// behind it and asks again: what ocfs2 did there.
#[test]
fn the_recovery_master_of_o2_death_master_drives_as_the_kernel_did() {
    let script = [
        (7, Join),
        (58, Lock(b"s", PR, VALBLK)),
        (95, Lock(b"x", EX, VALBLK)),
        (117, Convert(b"x", NL, VALBLK)),
        (141, Lock(b"m", EX, VALBLK)),
        (233, Dead(1)),
        (256, Convert(b"m", PR, VALBLK)),
        (258, Convert(b"m", EX, VALBLK)),
    ];
    let replay = Replay::run("o2-death-master.pcap", 2, &script);
    assert!(!replay.domain.is_recovering());
}

/// A member, which hears of the death from the recovery master.
#[test]
fn a_member_of_o2_death_master_sends_its_locks_as_the_kernel_did() {
    let script = [
        (22, Join),
        (82, Lock(b"s", PR, VALBLK)),
        (162, Lock(b"m", PR, VALBLK)),
        (261, Convert(b"m", NL, VALBLK)),
    ];
    let replay = Replay::run("o2-death-master.pcap", 3, &script);
    assert!(!replay.domain.is_recovering());
}

#[test]
fn the_master_of_o2_death_holder_grants_when_the_holder_is_dead() {
    let script = [
        (1, Join),
        (16, Lock(b"m", EX, VALBLK)),
        (22, Convert(b"m", NL, VALBLK)),
        (33, Convert(b"m", EX, VALBLK)),
        (34, Dead(2)),
    ];
    let replay = Replay::run("o2-death-holder.pcap", 1, &script);
    let name = LockName::new(b"m").expect("a name");
    let resource = replay.domain.resource(&name).expect("it is known");
    assert_eq!((resource.locks.len(), resource.locks[0].mode), (1, EX));
    assert_eq!(resource.lvb, [0; 64]);
}

struct Frame {
    packet: Packet,
    from: NodeId,
    to: NodeId,
    request: bool,
    kind: MessageType,
    number: u32,
    status: i32,
    payload: Vec<u8>,
}

struct Sent {
    to: NodeId,
    kind: MessageType,
    payload: Vec<u8>,
    call: CallId,
    at: Now,
    is_new: bool,
}

struct Replay {
    capture: &'static str,
    domain: Domain,
    me: NodeId,
    now: Now,
    /// What the engine has sent and the kernel has not yet.
    out: VecDeque<Sent>,
    /// What both have sent, until the status comes.
    open: BTreeMap<(NodeId, MessageType, u32), CallId>,
    /// The engine's answers, until the kernel's come.
    answers: BTreeMap<(NodeId, MessageType, u32), i32>,
    locks: BTreeMap<&'static [u8], LockKey>,
    /// Notices that the engine has sent: both repeat them each time they look at the resource.
    notices: BTreeSet<Vec<u8>>,
    /// How many answers were compared.
    compared: usize,
    /// Messages of the kernel alone, and of the engine alone.
    kernel_only: Vec<String>,
    engine_only: Vec<String>,
}

/// How long a message of the engine waits for the kernel's. Questions and assertions about the master
/// differ; other things come when the kernel's threads have run, at the latest.
fn patience(kind: MessageType) -> Duration {
    match kind {
        MessageType::MasterRequest | MessageType::AssertMaster => Duration::from_millis(60),
        _ => Duration::from_secs(5),
    }
}

impl Replay {
    fn run(capture: &'static str, me: u8, script: &[(usize, Op)]) -> Replay {
        Replay::part(capture, me, 0..usize::MAX, script)
    }

    /// Of the capture, the packets of that range.
    fn part(
        capture: &'static str,
        me: u8,
        packets: Range<usize>,
        script: &[(usize, Op)],
    ) -> Replay {
        let mut frames = frames(capture);
        frames.retain(|frame| packets.contains(&frame.packet.number));
        let introduction = frames
            .iter()
            .find(|frame| frame.request && frame.kind == MessageType::QueryNodeinfo)
            .expect("somebody joins");
        let introduction = QueryNodeinfo::decode(&introduction.payload).expect("decodes");
        let peer = |entry: &NodeAddress| PeerAddress {
            node: entry.number,
            address: entry.address,
            port: entry.port,
        };
        let me = NodeId::new(me).expect("below 255");
        let nodes: Vec<PeerAddress> = introduction.nodes.iter().map(peer).collect();
        let live: NodeMap = nodes.iter().map(|peer| peer.node).collect();
        let config = DomainConfig {
            me,
            name: introduction.domain,
            nodes,
            regions: None,
            fs_version: (1, 0),
            live,
            ordinal: 0,
            seed: 1,
        };
        let mut replay = Replay {
            capture,
            domain: Domain::new(config),
            me,
            now: frames[0].packet.time,
            out: VecDeque::new(),
            open: BTreeMap::new(),
            answers: BTreeMap::new(),
            locks: BTreeMap::new(),
            notices: BTreeSet::new(),
            compared: 0,
            kernel_only: Vec::new(),
            engine_only: Vec::new(),
        };
        let mut script = script.iter().copied().peekable();
        for (at, frame) in frames.iter().enumerate() {
            if frame.from != me && frame.to != me {
                continue;
            }
            replay.pass(frame.packet.time);
            while let Some((_, op)) = script.next_if(|(packet, _)| *packet <= frame.packet.number) {
                replay.operate(op, &frames[at..]);
            }
            replay.frame(frame);
        }
        assert!(script.next().is_none(), "an operation behind the end of the capture");
        replay.pass(replay.now + Duration::from_secs(10));
        replay.judge();
        replay
    }

    fn operate(&mut self, op: Op, frames: &[Frame]) {
        let (domain, now) = (&mut self.domain, self.now);
        let place = |name: &[u8]| format!("{}: a lock on {name:?}", self.capture);
        match op {
            Join => domain.join(now),
            Leave => domain.leave(now),
            Lock(name, mode, flags) => {
                let lock = LockName::new(name).expect("a name");
                let key = domain.lock(now, lock, mode, flags).expect("accepted");
                self.locks.insert(name, key);
            }
            Convert(name, mode, flags) => {
                let value = next_value(self.me, name, frames);
                let key = *self.locks.get(name).unwrap_or_else(|| panic!("{}", place(name)));
                domain.convert(now, key, mode, flags, &value).expect("accepted");
            }
            Unlock(name) => {
                let value = next_value(self.me, name, frames);
                let key = self.locks.remove(name).unwrap_or_else(|| panic!("{}", place(name)));
                domain.unlock(now, key, Some(&value)).expect("accepted");
            }
            Dead(node) => domain.node_down(now, NodeId::new(node).expect("below 255")),
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.domain.poll_output() {
            match output {
                Output::Send { to, message, payload, call } => {
                    let is_new =
                        message != MessageType::ProxyAst || self.notices.insert(payload.clone());
                    let at = self.now;
                    self.out.push_back(Sent { to, kind: message, payload, call, at, is_new });
                }
                Output::Event(Event::Refused { lock, .. }) => {
                    self.locks.retain(|_, key| *key != lock);
                }
                Output::Event(_) => {}
            }
        }
    }

    /// Time passes; what the kernel has not sent in time is answered as a kernel would.
    fn pass(&mut self, until: Now) {
        loop {
            let timer = self.domain.next_timeout();
            let due = |sent: &Sent| sent.at + patience(sent.kind);
            let stale = self.out.iter().enumerate().min_by_key(|(_, sent)| due(sent));
            let (at, due) = stale.map(|(at, sent)| (at, due(sent))).unzip();
            let Some(next) = timer.into_iter().chain(due).min().filter(|&next| next <= until)
            else {
                break;
            };
            self.now = self.now.max(next);
            if due == Some(next)
                && let Some(sent) = at.and_then(|at| self.out.remove(at))
            {
                // We repeat a notice when we look at a resource, as the kernel does; not at the same time.
                if sent.is_new {
                    let what = format!("{} to {} {:02x?}", sent.kind, sent.to, sent.payload);
                    self.engine_only.push(what);
                }
                let status = self.plausible(&sent);
                self.domain.completed(self.now, sent.call, Ok(status));
            } else {
                self.domain.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = self.now.max(until);
    }

    /// A kernel's answer to what the kernel of the capture did not ask.
    fn plausible(&self, sent: &Sent) -> i32 {
        match sent.kind {
            MessageType::MasterRequest => {
                let name = MasterRequest::decode(&sent.payload).expect("decodes").name;
                let owner = self.domain.resource(&name).and_then(|resource| resource.owner);
                i32::from(owner == Some(sent.to))
            }
            _ => 0,
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let mine = frame.from == self.me;
        let peer = if mine { frame.to } else { frame.from };
        let id = (peer, frame.kind, frame.number);
        let what = format!(
            "{} packet {}: {} {} to {}",
            self.capture, frame.packet.number, frame.kind, frame.from, frame.to
        );
        match (mine, frame.request) {
            (false, true) => {
                let status = self.domain.request(self.now, peer, frame.kind, &frame.payload);
                self.answers.insert(id, status);
            }
            (true, false) => {
                let status = self.answers.remove(&id).unwrap_or_else(|| panic!("{what}: asked?"));
                // The engine's search is over with the YES; the kernel's, when its thread has run. An
                // assertion in between is a repetition for the one and news for the other: the bits
                // say again what the master knows since it said YES.
                let repetition = frame.kind == MessageType::AssertMaster && status == 0;
                if !repetition {
                    assert_eq!(status, frame.status, "{what}: our answer, the kernel's");
                }
                self.compared += 1;
            }
            (true, true) => {
                let same = |sent: &Sent| {
                    sent.to == peer && sent.kind == frame.kind && sent.payload == frame.payload
                };
                match self.out.iter().position(same).and_then(|at| self.out.remove(at)) {
                    Some(sent) => {
                        self.open.insert(id, sent.call);
                    }
                    None if self.notices.contains(&frame.payload) => {}
                    None => self.kernel_only.push(format!("{what} {:02x?}", frame.payload)),
                }
            }
            (false, false) => {
                if let Some(call) = self.open.remove(&id) {
                    self.domain.completed(self.now, call, Ok(frame.status));
                }
            }
        }
        self.drain();
    }

    /// All that differs is about who the master is.
    fn judge(&self) {
        let other =
            |text: &&String| !text.contains("MasterRequest") && !text.contains("AssertMaster");
        let kernel: Vec<&String> = self.kernel_only.iter().filter(other).collect();
        let engine: Vec<&String> = self.engine_only.iter().filter(other).collect();
        assert!(kernel.is_empty() && engine.is_empty(), "kernel: {kernel:#?} engine: {engine:#?}");
        assert_eq!(self.domain.counters().contradictions, 0);
        assert_eq!(self.domain.counters().malformed, 0);
        assert_ne!(self.domain.state(), DomainState::New);
    }
}

/// The value block that the node puts on the wire next for that name.
fn next_value(me: NodeId, name: &[u8], frames: &[Frame]) -> [u8; 64] {
    frames
        .iter()
        .filter(|frame| frame.from == me && frame.request)
        .find_map(|frame| {
            let (found, lvb) = match frame.kind {
                MessageType::ProxyAst => {
                    let ast = ProxyAst::decode(&frame.payload).ok()?;
                    (ast.name, ast.lvb)
                }
                MessageType::ConvertLock => {
                    let convert = ConvertLock::decode(&frame.payload).ok()?;
                    (convert.name, convert.lvb)
                }
                MessageType::UnlockLock => {
                    let unlock = UnlockLock::decode(&frame.payload).ok()?;
                    (unlock.name, unlock.lvb)
                }
                _ => return None,
            };
            lvb.filter(|_| found.as_bytes() == name)
        })
        .unwrap_or([0; 64])
}

const REQUEST: u16 = 0xFA55;
const STATUS: u16 = 0xFA56;
const HEADER_LEN: usize = 24;
const HANDSHAKE_LEN: usize = 32;
const O2NET_PORT: u16 = 7777;

/// The requests and statuses of a capture, in the order of their last bytes. A node's number is the
/// last byte of its address.
fn frames(capture: &str) -> Vec<Frame> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let file = std::fs::read(directory.join(capture)).expect("the capture is there");
    let mut frames = Vec::new();
    for stream in pcap::streams(&file) {
        if ![stream.from.port(), stream.to.port()].contains(&O2NET_PORT) {
            continue;
        }
        let node = |address: &std::net::SocketAddrV4| {
            NodeId::new(address.ip().octets()[3]).expect("below 255")
        };
        let mut at = if stream.whole { HANDSHAKE_LEN } else { 0 };
        while let Some(header) = stream.bytes.get(at..at + HEADER_LEN) {
            let be16 = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            let be32 = |at: usize| u32::from(be16(at)) << 16 | u32::from(be16(at + 2));
            let end = at + HEADER_LEN + usize::from(be16(2));
            let magic = be16(0);
            if [REQUEST, STATUS].contains(&magic) {
                frames.push(Frame {
                    packet: stream.completed_by(end),
                    from: node(&stream.from),
                    to: node(&stream.to),
                    request: magic == REQUEST,
                    kind: MessageType::from_wire(be16(4)).expect("a message of o2dlm"),
                    number: be32(20),
                    status: be32(12) as i32,
                    payload: stream.bytes[at + HEADER_LEN..end].to_vec(),
                });
            }
            at = end;
        }
    }
    frames.sort_by_key(|frame| frame.packet);
    frames
}
