//! F14, F37, F38: frames that must not be taken, slipped in between two of a node's own: each is
//! refused and counted, and changes nothing.
//!
//! Only what the protocol can tell is sent: TCP has its checksums, o2net has no numbers that would show
//! a request to be there twice, and nobody can see that a valid mode was another one.

use o2cb::o2dlm::message::{
    AssertFlags, AssertJoined, AssertMaster, AstKind, BeginExit, BeginReco, CancelJoin,
    ConvertLock, Cookie, CreateLock, DerefDone, DerefLockres, DomainName, ExitDomain, FinalizeReco,
    JOIN_KEY, LkmFlags, LockMode, LockName, LockRequest, LvbFlags, MasterRequery, MasterRequest,
    MessageType, MigFlags, MigLock, MigLockres, MigrateRequest, ProxyAst, QueryJoin, QueryNodeinfo,
    QueryRegion, Queue, RecoDataDone, UnlockLock,
};
use o2cb::o2net::{HEADER_LEN, Header, Kind, LinkId, PAYLOAD_MAX};
use o2cb::{NodeId, NodeMap};

use crate::rng::Rng;
use crate::world::World;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// A message of a type that there is not.
    UnknownType(u16),
    /// It is for a domain that nobody has.
    UnknownKey(MessageType),
    /// It is longer than its type allows.
    Overlong(MessageType),
    /// It is shorter than its type allows.
    Truncated(MessageType),
    /// Some of its bits are others, in a field that is checked.
    Flipped(MessageType),
    /// Bytes that mean nothing.
    Random(MessageType),
    /// It speaks for another node than the one that it comes from.
    OtherNode(MessageType),
    /// An answer comes a second time.
    Replayed,
}

/// What is no frame, and what comes behind it cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Garbage {
    /// A bit of the magic is another.
    Magic,
    /// The header announces more than a frame holds.
    TooLong,
    Random,
    /// The second half of a frame is missing.
    Half,
}

/// What is slipped in.
#[derive(Debug)]
pub(crate) struct Forged {
    pub(crate) bytes: Vec<u8>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Frame(Forgery),
    Garbage(Garbage),
}

/// What a node counts of what it refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    malformed: u64,
    wrong_sender: u64,
    contradictions: u64,
    unknown_messages: u64,
    unknown_statuses: u64,
    bad_frames: u64,
}

/// Messages that name a resource, and are for members.
pub(crate) const NAMING: &[MessageType] = &[
    MessageType::MasterRequest,
    MessageType::AssertMaster,
    MessageType::CreateLock,
    MessageType::ConvertLock,
    MessageType::ProxyAst,
    MessageType::UnlockLock,
    MessageType::DerefLockres,
    MessageType::MigrateRequest,
    MessageType::MigLockres,
    MessageType::MasterRequery,
    MessageType::DerefDone,
];

/// Messages that do not, and are for members.
pub(crate) const NAMELESS: &[MessageType] = &[
    MessageType::ExitDomain,
    MessageType::BeginExit,
    MessageType::LockRequest,
    MessageType::RecoDataDone,
    MessageType::BeginReco,
    MessageType::FinalizeReco,
];

/// Messages of those who join: their key is the same for all domains.
pub(crate) const JOINING: &[MessageType] = &[
    MessageType::QueryJoin,
    MessageType::AssertJoined,
    MessageType::CancelJoin,
    MessageType::QueryRegion,
    MessageType::QueryNodeinfo,
];

/// Numbers of requests that are forged: no node has so many under way.
const NUMBERS: u32 = 0x4000_0000;

impl Forgery {
    /// For the counts.
    fn name(self) -> &'static str {
        match self {
            Forgery::UnknownType(_) => "refused: unknown type",
            Forgery::UnknownKey(_) => "refused: unknown domain",
            Forgery::Overlong(_) => "refused: too long",
            Forgery::Truncated(_) => "refused: too short",
            Forgery::Flipped(_) => "refused: flipped bits",
            Forgery::Random(_) => "refused: random bytes",
            Forgery::OtherNode(_) => "refused: another node's number",
            Forgery::Replayed => "refused: replayed answer",
        }
    }
}

impl World {
    /// Slips a frame in, if there is a place for it now.
    pub(crate) fn forge(&mut self, from: usize, to: usize, forgery: Forgery) -> bool {
        let Some((connection, _)) = self.connection_of(from, to) else { return false };
        if matches!(forgery, Forgery::Replayed) && !self.is_idle(connection) {
            return false;
        }
        self.hostile.forged += 1;
        let number = NUMBERS + self.hostile.forged as u32;
        let bytes = self.forged_frame(from, to, forgery, number);
        let answered = match forgery {
            Forgery::Replayed => None,
            Forgery::UnknownType(kind) => Some((number, kind)),
            Forgery::UnknownKey(message)
            | Forgery::Overlong(message)
            | Forgery::Truncated(message)
            | Forgery::Flipped(message)
            | Forgery::Random(message)
            | Forgery::OtherNode(message) => Some((number, message.to_wire())),
        };
        self.slip_in(from, to, answered, Forged { bytes, what: What::Frame(forgery) })
    }

    fn forged_frame(&mut self, from: usize, to: usize, forgery: Forgery, number: u32) -> Vec<u8> {
        let me = self.nodes[from].id;
        let key = domain_name().key();
        let frame = |message: MessageType, key: u32, payload: Vec<u8>| {
            let key = if JOINING.contains(&message) { JOIN_KEY } else { key };
            framed(message.to_wire(), key, number, &payload)
        };
        match forgery {
            Forgery::UnknownType(kind) => {
                let payload = self.content(me, to).encode(MessageType::MasterRequest);
                framed(kind, key, number, &payload)
            }
            Forgery::UnknownKey(message) => {
                let payload = self.content(me, to).encode(message);
                framed(message.to_wire(), key ^ 1, number, &payload)
            }
            Forgery::Overlong(message) => {
                let mut payload = self.content(me, to).encode(message);
                payload.resize(message.payload_max() + 1, 0);
                frame(message, key, payload)
            }
            Forgery::Truncated(message) => {
                let mut payload = self.content(me, to).encode(message);
                payload.truncate(self.rng.below(message.payload_min() as u64) as usize);
                frame(message, key, payload)
            }
            Forgery::Flipped(message) => {
                let payload = self.content(me, to).encode(message);
                frame(message, key, flipped(message, payload, &mut self.rng))
            }
            Forgery::Random(message) => frame(message, key, random(message, &mut self.rng)),
            Forgery::OtherNode(message) => {
                let others: Vec<NodeId> =
                    self.nodes.iter().map(|node| node.id).filter(|id| *id != me).collect();
                let claims = self.rng.pick(&others);
                frame(message, key, self.content(claims, to).encode(message))
            }
            Forgery::Replayed => {
                let header = Header::request(MessageType::CreateLock.to_wire(), key, 0, 0);
                Header { kind: Kind::Status, ..header }.to_bytes().to_vec()
            }
        }
    }

    /// Sends what is no frame.
    pub(crate) fn send_garbage(&mut self, from: usize, to: usize, garbage: Garbage) -> bool {
        let forged = self.garbage(from, to, garbage);
        self.slip_in(from, to, None, forged)
    }

    pub(crate) fn garbage(&mut self, from: usize, to: usize, garbage: Garbage) -> Forged {
        let me = self.nodes[from].id;
        let key = domain_name().key();
        let payload = self.content(me, to).encode(MessageType::MasterRequest);
        let mut bytes = framed(MessageType::MasterRequest.to_wire(), key, NUMBERS, &payload);
        match garbage {
            Garbage::Magic => {
                while is_header(&bytes) {
                    let bit = self.rng.below(16);
                    bytes[bit as usize / 8] ^= 1 << (bit % 8);
                }
            }
            Garbage::TooLong => {
                let len = self.rng.between(PAYLOAD_MAX as u64 + 1, u64::from(u16::MAX)) as u16;
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
            }
            Garbage::Random => {
                bytes.iter_mut().for_each(|byte| *byte = self.rng.next() as u8);
                while is_header(&bytes) {
                    bytes[0] = self.rng.next() as u8;
                }
            }
            Garbage::Half => bytes.truncate(HEADER_LEN + payload.len() / 2),
        }
        Forged { bytes, what: What::Garbage(garbage) }
    }

    /// A node reads what was slipped in.
    pub(crate) fn take_forged(&mut self, index: usize, from: usize, link: LinkId, forged: &Forged) {
        let sender = self.nodes[from].id;
        let peer = |world: &World| {
            let up = world.nodes[index].up.as_ref()?;
            up.stack.peers().find(|peer| peer.node == sender)
        };
        let busy = peer(self).is_none_or(|peer| peer.outstanding > 0);
        if busy && matches!(forged.what, What::Frame(Forgery::Replayed)) {
            // It might answer a request that has the number now, and nobody could tell.
            return;
        }
        let (picture, mut counted) = (self.picture(index), self.counted(index, sender));
        let cut = self.rng.below(forged.bytes.len() as u64) as usize;
        let (one, other) = forged.bytes.split_at(cut);
        let local = self.local(index);
        let Some(up) = &mut self.nodes[index].up else { return };
        up.stack.received(local, link, one);
        up.stack.received(local, link, other);
        self.count_expected(index, from, forged.what, &mut counted);
        let after = self.counted(index, sender);
        let me = self.nodes[index].id;
        let what = forged.what;
        self.note(|| format!("n{me} refuses of n{sender} {what:?}"));
        if after != counted {
            let text = format!("n{me} counts {after:?} after {what:?}, and not {counted:?}");
            return self.fail("I22 refused", text);
        }
        match what {
            What::Frame(forgery) => {
                self.coverage.count(forgery.name());
                if self.picture(index) != picture {
                    self.fail("I22 refused", format!("{what:?} changes something on n{me}"));
                }
            }
            What::Garbage(Garbage::Half) => self.coverage.count("refused: half a frame"),
            What::Garbage(_) => {
                self.coverage.count("refused: no frame");
                if peer(self).is_some_and(|peer| peer.state.is_connected()) {
                    let text = format!("n{me} goes on reading n{sender} after {what:?}");
                    self.fail("I22 refused", text);
                }
            }
        }
    }

    fn counted(&self, index: usize, sender: NodeId) -> Counted {
        let mut counted = Counted::default();
        let Some(up) = &self.nodes[index].up else { return counted };
        for (_, domain) in up.stack.domains() {
            let counters = domain.counters();
            counted.malformed += counters.malformed;
            counted.wrong_sender += counters.wrong_sender;
            counted.contradictions += counters.contradictions + counters.bad_replies;
        }
        for peer in up.stack.peers().filter(|peer| peer.node == sender) {
            counted.unknown_messages = peer.counters.unknown_messages;
            counted.unknown_statuses = peer.counters.unknown_statuses;
            counted.bad_frames = peer.counters.bad_frames;
        }
        counted
    }

    /// What is counted besides, when such a thing is refused.
    fn count_expected(&mut self, index: usize, from: usize, what: What, counted: &mut Counted) {
        let up = self.nodes[index].up.as_ref();
        let is_in = up.is_some_and(|up| up.domains[0].id.is_some());
        let forgery = match what {
            What::Frame(forgery) => forgery,
            What::Garbage(garbage) => {
                counted.bad_frames += u64::from(garbage != Garbage::Half);
                return;
            }
        };
        let sender = self.nodes[from].id;
        let refused = match forgery {
            Forgery::UnknownType(_) | Forgery::UnknownKey(_) | Forgery::Overlong(_) => {
                &mut counted.unknown_messages
            }
            Forgery::Replayed => {
                *self.hostile.answers.entry((sender, index)).or_default() += 1;
                &mut counted.unknown_statuses
            }
            Forgery::OtherNode(message) if !is_in && JOINING.contains(&message) => return,
            _ if !is_in => &mut counted.unknown_messages,
            Forgery::OtherNode(_) => {
                self.hostile.refusals[index] += 1;
                &mut counted.wrong_sender
            }
            _ => {
                self.hostile.refusals[index] += 1;
                &mut counted.malformed
            }
        };
        *refused += 1;
    }

    /// What a node knows of its domains.
    fn picture(&self, index: usize) -> String {
        let Some(up) = &self.nodes[index].up else { return String::new() };
        let domains = up.stack.domains().map(|(_, domain)| {
            let resources: Vec<_> = domain.resources().collect();
            let names: Vec<_> = domain.mastery_entries().collect();
            let (state, members) = (domain.state(), domain.members());
            format!("{state:?} {members:?} {} {names:?} {resources:?}", domain.recovery_state())
        });
        domains.collect()
    }

    /// What a message says that is about something which its receiver knows.
    fn content(&mut self, node: NodeId, to: usize) -> Content {
        let up = self.nodes[to].up.as_ref();
        let engine = up.and_then(|up| up.stack.domain(up.domains[0].id?));
        let resources = engine.into_iter().flat_map(|engine| engine.resources());
        let named: Vec<(LockName, Cookie)> = resources
            .flat_map(|resource| {
                let theirs = resource.locks.into_iter().filter(|lock| lock.node == node);
                theirs.map(move |lock| (resource.name, lock.cookie))
            })
            .take(16)
            .collect();
        let (name, cookie) = match named.is_empty() {
            true => (LockName::new(b"name 0").expect("a name"), Cookie::new(node, 1)),
            false => self.rng.pick(&named),
        };
        let all: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        Content { node, other: self.rng.pick(&all), name, cookie, live: all.into_iter().collect() }
    }
}

/// The first domain: each world has it.
fn domain_name() -> DomainName {
    DomainName::new(b"domain0").expect("a name")
}

fn framed(kind: u16, key: u32, number: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header::request(kind, key, number, payload.len() as u16);
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn is_header(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|header| Header::from_bytes(header).is_ok())
}

/// Flips bits until the message is not one any more.
fn flipped(message: MessageType, payload: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    loop {
        let mut bytes = payload.clone();
        for _ in 0..rng.between(1, 8) {
            let bit = rng.below(8 * bytes.len() as u64);
            bytes[bit as usize / 8] ^= 1 << (bit % 8);
        }
        if !decodes(message, &bytes) {
            return bytes;
        }
    }
}

fn random(message: MessageType, rng: &mut Rng) -> Vec<u8> {
    loop {
        let len = rng.between(message.payload_min() as u64, message.payload_max() as u64);
        let bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
        if !decodes(message, &bytes) {
            return bytes;
        }
    }
}

/// What messages say.
struct Content {
    node: NodeId,
    other: NodeId,
    name: LockName,
    cookie: Cookie,
    live: NodeMap,
}

impl Content {
    fn encode(&self, message: MessageType) -> Vec<u8> {
        let mut out = Vec::new();
        let &Content { node, other, name, cookie, live } = self;
        let (flags, mode, domain, dead) =
            (LkmFlags::empty(), LockMode::EX, domain_name(), self.other);
        match message {
            MessageType::MasterRequest => MasterRequest { node, flags: 0, name }.encode(&mut out),
            MessageType::AssertMaster => {
                AssertMaster { node, flags: AssertFlags::empty(), name }.encode(&mut out);
            }
            MessageType::CreateLock => {
                CreateLock { cookie, flags, node, mode, name }.encode(&mut out);
            }
            MessageType::ConvertLock => {
                ConvertLock { cookie, flags, node, mode, name, lvb: None }.encode(&mut out);
            }
            MessageType::ProxyAst => {
                let (kind, blocked) = (AstKind::Bast, Some(mode));
                ProxyAst { cookie, flags, node, kind, blocked, name, lvb: None }.encode(&mut out);
            }
            MessageType::UnlockLock => {
                UnlockLock { cookie, flags, node, name, lvb: None }.encode(&mut out);
            }
            MessageType::DerefLockres => DerefLockres { node, name }.encode(&mut out),
            MessageType::MigrateRequest => {
                MigrateRequest { old_master: other, new_master: node, name }.encode(&mut out);
            }
            MessageType::MigLockres => self.locks().encode(&mut out),
            MessageType::QueryJoin => {
                let (dlm_version, fs_version) = ((1, 3), (1, 0));
                QueryJoin { node, dlm_version, fs_version, domain, live }.encode(&mut out);
            }
            MessageType::AssertJoined => AssertJoined { node, domain }.encode(&mut out),
            MessageType::CancelJoin => CancelJoin { node, domain }.encode(&mut out),
            MessageType::ExitDomain => ExitDomain { node }.encode(&mut out),
            MessageType::MasterRequery => MasterRequery { node, name }.encode(&mut out),
            MessageType::LockRequest => LockRequest { node, dead }.encode(&mut out),
            MessageType::RecoDataDone => RecoDataDone { node, dead }.encode(&mut out),
            MessageType::BeginReco => BeginReco { node, dead }.encode(&mut out),
            MessageType::FinalizeReco => {
                FinalizeReco { node, dead, stage2: false }.encode(&mut out);
            }
            MessageType::QueryRegion => {
                QueryRegion { node, domain, regions: Vec::new() }.encode(&mut out);
            }
            MessageType::QueryNodeinfo => {
                QueryNodeinfo { node, domain, nodes: Vec::new() }.encode(&mut out);
            }
            MessageType::BeginExit => BeginExit { node }.encode(&mut out),
            MessageType::DerefDone => DerefDone { node, name }.encode(&mut out),
        }
        out
    }

    fn locks(&self) -> MigLockres {
        let &Content { node, name, cookie, .. } = self;
        let lock = MigLock {
            cookie,
            queue: Queue::Granted,
            lvb_flags: LvbFlags::empty(),
            mode: Some(LockMode::EX),
            convert: None,
            highest_blocked: None,
            node,
        };
        MigLockres {
            owner: Some(node),
            flags: MigFlags::MIGRATION,
            total: 1,
            cookie: 0,
            name,
            lvb: [0; 64],
            locks: vec![lock],
        }
    }
}

/// Whether a message that names a resource is one.
fn decodes(message: MessageType, payload: &[u8]) -> bool {
    match message {
        MessageType::MasterRequest => MasterRequest::decode(payload).is_ok(),
        MessageType::AssertMaster => AssertMaster::decode(payload).is_ok(),
        MessageType::CreateLock => CreateLock::decode(payload).is_ok(),
        MessageType::ConvertLock => ConvertLock::decode(payload).is_ok(),
        MessageType::ProxyAst => ProxyAst::decode(payload).is_ok(),
        MessageType::UnlockLock => UnlockLock::decode(payload).is_ok(),
        MessageType::DerefLockres => DerefLockres::decode(payload).is_ok(),
        MessageType::MigrateRequest => MigrateRequest::decode(payload).is_ok(),
        MessageType::MigLockres => MigLockres::decode(payload).is_ok(),
        MessageType::MasterRequery => MasterRequery::decode(payload).is_ok(),
        _ => DerefDone::decode(payload).is_ok(),
    }
}
