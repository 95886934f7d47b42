//! What goes over the wire, seen from outside: counted, logged, checked, and lain in wait for.

use std::collections::{BTreeMap, VecDeque};

use o2cb::NodeId;
use o2cb::o2dlm::message::{LockName, MessageType, Status};
use o2cb::o2net::{HANDSHAKE_LEN, HEADER_LEN, Header, Kind};

use crate::fault::Fault;
use crate::world::{Event, World};

/// What one end of a connection has sent.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    shaken: bool,
    partial: Vec<u8>,
    /// Requests without an answer, by number: their message types.
    unanswered: BTreeMap<u32, u16>,
    /// How many bytes of frames there were, and how many of them the receiver has read.
    sent: u64,
    read: u64,
    /// Where requests end that were not read yet, and their keys.
    ends: VecDeque<(u64, u32)>,
}

impl Tap {
    pub(crate) fn awaits_answers(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether the last byte was that of a whole frame.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.shaken && self.partial.is_empty()
    }

    pub(crate) fn is_shaken(&self) -> bool {
        self.shaken
    }

    /// A request that the node has not made will be answered.
    pub(crate) fn will_be_answered(&mut self, number: u32, message_type: u16) {
        self.unanswered.insert(number, message_type);
    }

    /// The receiver has read so many more bytes: the keys of the requests that were whole with them.
    pub(crate) fn was_read(&mut self, len: usize) -> Vec<u32> {
        self.read += len as u64;
        let read = self.read;
        let mut keys = Vec::new();
        while let Some((_, key)) = self.ends.pop_front_if(|(end, _)| *end <= read) {
            keys.push(key);
        }
        keys
    }
}

impl World {
    /// Looks at what a node sends; whether it gets out: a node that stops before does not send it.
    pub(crate) fn tap(
        &mut self,
        from: usize,
        to: usize,
        connection: usize,
        end: usize,
        bytes: &[u8],
    ) -> bool {
        let mut gets_out = true;
        let tap = &mut self.network.connections[connection].ends[end].tap;
        tap.sent += bytes.len() as u64;
        let sent = tap.sent;
        let mut partial = std::mem::take(&mut tap.partial);
        partial.extend_from_slice(bytes);
        let mut rest = &partial[..];
        if !tap.shaken && rest.len() >= HANDSHAKE_LEN {
            tap.shaken = true;
            rest = &rest[HANDSHAKE_LEN..];
        }
        let shaken = tap.shaken;
        while let Some(start) = rest.first_chunk::<HEADER_LEN>().filter(|_| shaken) {
            let header = match Header::from_bytes(start) {
                Ok(header) => header,
                Err(error) => {
                    self.fail("I22 well-formed", format!("node {from} sends no frame: {error}"));
                    return true;
                }
            };
            let len = HEADER_LEN + usize::from(header.data_len);
            let Some(frame) = rest.get(..len) else { break };
            gets_out &= self.frame(from, to, connection, end, &header, &frame[HEADER_LEN..]);
            rest = &rest[len..];
            if header.kind == Kind::Request {
                let ends = &mut self.network.connections[connection].ends[end].tap.ends;
                ends.push_back((sent - rest.len() as u64, header.key));
            }
        }
        let rest = rest.to_vec();
        self.network.connections[connection].ends[end].tap.partial = rest;
        gets_out
    }

    pub(crate) fn frame(
        &mut self,
        from: usize,
        to: usize,
        connection: usize,
        end: usize,
        header: &Header,
        payload: &[u8],
    ) -> bool {
        let (sender, receiver) = (self.nodes[from].id, self.nodes[to].id);
        let ends = &mut self.network.connections[connection].ends;
        match header.kind {
            Kind::Request => {
                let number = header.number;
                let was = ends[end].tap.unanswered.insert(number, header.message_type);
                if was.is_some() {
                    let what = format!("request {number} of n{sender} was not answered yet");
                    self.fail("I7 exactly once", what);
                }
                let Some(message) = MessageType::from_wire(header.message_type) else {
                    self.coverage.count("message: negotiation");
                    self.note(|| format!("n{sender} > n{receiver} negotiation"));
                    return true;
                };
                self.last_message = self.now;
                self.coverage.count(name_of(message));
                self.note(|| line(sender, receiver, message, payload));
                self.springs(from, to, message)
            }
            Kind::Status => {
                let asked = ends[1 - end].tap.unanswered.remove(&header.number);
                let Some(asked) = asked else {
                    let number = header.number;
                    let what = format!("n{sender} answers request {number}, which is answered");
                    self.fail("I7 exactly once", what);
                    return true;
                };
                if let Some(message) = MessageType::from_wire(asked) {
                    self.last_message = self.now;
                    let status = (header.system_status, header.status);
                    self.count_status(message, status);
                    self.note(|| {
                        format!("n{sender} > n{receiver} = {message:?} {}", said(message, status))
                    });
                }
                true
            }
            Kind::KeepaliveRequest => {
                self.coverage.count("keepalive");
                true
            }
            Kind::KeepaliveResponse => true,
        }
    }

    fn count_status(&mut self, message: MessageType, (system, status): (u32, i32)) {
        if system != 0 {
            self.coverage.count("status: no handler");
        } else if is_lock_status(message)
            && let Some(status) = Status::from_wire(status)
        {
            self.coverage.count(match status {
                Status::Normal => return,
                Status::CancelGrant => "status: CANCELGRANT",
                Status::IvLockId => "status: IVLOCKID",
                Status::NotQueued => "status: NOTQUEUED",
                Status::Forward => "status: FORWARD",
                Status::Denied => "status: DENIED",
                Status::Recovering => "status: RECOVERING",
                Status::Migrating => "status: MIGRATING",
                _ => "status: other",
            });
        }
    }

    /// Springs the ambushes that are laid for a message; whether the message gets out.
    fn springs(&mut self, from: usize, to: usize, message: MessageType) -> bool {
        let mut gets_out = true;
        for at in 0..self.ambushes.len() {
            let (index, left) = self.ambushes[at];
            let Fault::Ambush { message: waited, sender, before, back, .. } =
                self.plan.faults[index].fault
            else {
                continue;
            };
            if waited != message || left == 0 {
                continue;
            }
            self.ambushes[at].1 = left - 1;
            if left > 1 {
                continue;
            }
            self.coverage.count("F26 ambush sprung");
            let node = if sender { from } else { to };
            let life = self.nodes[node].life;
            gets_out &= !(sender && before);
            let wait = match (sender, before) {
                (true, _) | (false, true) => std::time::Duration::ZERO,
                // It has arrived by then, and most of what follows from it has not.
                (false, false) => self.millis((0, 30)),
            };
            self.after(wait, Event::PowerOff { node, life, back });
        }
        gets_out
    }
}

fn is_lock_status(message: MessageType) -> bool {
    matches!(
        message,
        MessageType::CreateLock
            | MessageType::ConvertLock
            | MessageType::UnlockLock
            | MessageType::ProxyAst
    )
}

fn said(message: MessageType, (system, status): (u32, i32)) -> String {
    if system != 0 {
        return format!("no handler ({system})");
    }
    if is_lock_status(message)
        && let Some(status) = Status::from_wire(status)
    {
        return format!("{status:?}");
    }
    status.to_string()
}

fn line(from: NodeId, to: NodeId, message: MessageType, payload: &[u8]) -> String {
    let name = name_in(message, payload).map(|name| name.to_string()).unwrap_or_default();
    format!("n{from} > n{to} {message:?} {name}")
}

/// The resource that a message is about.
fn name_in(message: MessageType, payload: &[u8]) -> Option<LockName> {
    use o2cb::o2dlm::message as m;
    match message {
        MessageType::MasterRequest => m::MasterRequest::decode(payload).ok().map(|m| m.name),
        MessageType::AssertMaster => m::AssertMaster::decode(payload).ok().map(|m| m.name),
        MessageType::CreateLock => m::CreateLock::decode(payload).ok().map(|m| m.name),
        MessageType::ConvertLock => m::ConvertLock::decode(payload).ok().map(|m| m.name),
        MessageType::ProxyAst => m::ProxyAst::decode(payload).ok().map(|m| m.name),
        MessageType::UnlockLock => m::UnlockLock::decode(payload).ok().map(|m| m.name),
        MessageType::DerefLockres => m::DerefLockres::decode(payload).ok().map(|m| m.name),
        MessageType::DerefDone => m::DerefDone::decode(payload).ok().map(|m| m.name),
        MessageType::MigrateRequest => m::MigrateRequest::decode(payload).ok().map(|m| m.name),
        MessageType::MigLockres => m::MigLockres::decode(payload).ok().map(|m| m.name),
        MessageType::MasterRequery => m::MasterRequery::decode(payload).ok().map(|m| m.name),
        _ => None,
    }
}

/// For the counts.
pub(crate) fn name_of(message: MessageType) -> &'static str {
    match message {
        MessageType::MasterRequest => "message: MasterRequest",
        MessageType::AssertMaster => "message: AssertMaster",
        MessageType::CreateLock => "message: CreateLock",
        MessageType::ConvertLock => "message: ConvertLock",
        MessageType::ProxyAst => "message: ProxyAst",
        MessageType::UnlockLock => "message: UnlockLock",
        MessageType::DerefLockres => "message: DerefLockres",
        MessageType::MigrateRequest => "message: MigrateRequest",
        MessageType::MigLockres => "message: MigLockres",
        MessageType::QueryJoin => "message: QueryJoin",
        MessageType::AssertJoined => "message: AssertJoined",
        MessageType::CancelJoin => "message: CancelJoin",
        MessageType::ExitDomain => "message: ExitDomain",
        MessageType::MasterRequery => "message: MasterRequery",
        MessageType::LockRequest => "message: LockRequest",
        MessageType::RecoDataDone => "message: RecoDataDone",
        MessageType::BeginReco => "message: BeginReco",
        MessageType::FinalizeReco => "message: FinalizeReco",
        MessageType::QueryRegion => "message: QueryRegion",
        MessageType::QueryNodeinfo => "message: QueryNodeinfo",
        MessageType::BeginExit => "message: BeginExit",
        MessageType::DerefDone => "message: DerefDone",
    }
}
