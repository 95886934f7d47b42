//! The domain under test, and what the other nodes do.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::time::Duration;

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{
    CallError, CallId, Domain, DomainConfig, Event, LockKey, LockSnapshot, Output, PeerAddress,
    ResourceSnapshot,
};
use stackglue_o2cb::{NodeId, NodeMap, Now};

/// Replies to a master request.
pub(crate) const NO: i32 = 0;
pub(crate) const YES: i32 = 1;
pub(crate) const MAYBE: i32 = 2;
pub(crate) const ERROR: i32 = 3;

/// Bits of the reply to an assertion.
pub(crate) const REASSERT: i32 = 1;
pub(crate) const MASTERY_REF: i32 = 2;

pub(crate) const NAME: LockName = name(b"S000000000000000000000200000000");

pub(crate) const fn name(bytes: &[u8]) -> LockName {
    match LockName::new(bytes) {
        Some(name) => name,
        None => panic!("1 to 32 bytes"),
    }
}

pub(crate) fn n(number: u8) -> NodeId {
    NodeId::new(number).expect("below 255")
}

pub(crate) fn map(nodes: &[u8]) -> NodeMap {
    nodes.iter().map(|&number| n(number)).collect()
}

pub(crate) fn domain_name() -> DomainName {
    DomainName::new(b"632A924FDD844190BDA93C0DF6B94899").expect("32 bytes")
}

/// A value block that begins with that byte.
pub(crate) fn value(first: u8) -> [u8; 64] {
    std::array::from_fn(|at| if at == 0 { first } else { 0xa5 })
}

/// A message that has a type.
pub(crate) trait Wire: Sized + PartialEq + Debug {
    const KIND: MessageType;
    fn read(payload: &[u8]) -> Self;
    fn write(&self) -> Vec<u8>;
}

macro_rules! wire {
    ($($message:ident)*) => {$(
        impl Wire for $message {
            const KIND: MessageType = MessageType::$message;

            fn read(payload: &[u8]) -> Self {
                $message::decode(payload).expect("what the engine sends can be decoded")
            }

            fn write(&self) -> Vec<u8> {
                let mut payload = Vec::new();
                self.encode(&mut payload);
                payload
            }
        }
    )*};
}

wire! {
    MasterRequest AssertMaster CreateLock ConvertLock ProxyAst UnlockLock DerefLockres MigrateRequest
    MigLockres QueryJoin AssertJoined CancelJoin ExitDomain MasterRequery LockRequest RecoDataDone
    BeginReco FinalizeReco QueryRegion QueryNodeinfo BeginExit DerefDone
}

/// A message of the engine.
#[derive(Debug)]
struct Sent {
    to: NodeId,
    kind: MessageType,
    payload: Vec<u8>,
    call: CallId,
}

#[derive(Debug)]
enum Out {
    Sent(Sent),
    Event(Event),
}

pub(crate) struct Rig {
    pub(crate) domain: Domain,
    pub(crate) now: Now,
    me: u8,
    /// What the engine has put out and no test has looked at.
    out: VecDeque<Out>,
    /// Messages that a test has looked at and not answered.
    open: BTreeMap<CallId, NodeId>,
    cookies: u64,
}

pub(crate) fn config(me: u8, live: &[u8]) -> DomainConfig {
    let address = |number: u8| PeerAddress {
        node: n(number),
        address: Ipv4Addr::new(192, 0, 2, number),
        port: 7777,
    };
    DomainConfig {
        me: n(me),
        name: domain_name(),
        nodes: (1..=9).map(address).collect(),
        regions: None,
        fs_version: (1, 0),
        live: map(live),
        ordinal: 0,
        seed: 7,
    }
}

impl Rig {
    /// A domain that is not joined.
    pub(crate) fn new(config: DomainConfig) -> Rig {
        let me = config.me.get();
        let (domain, now) = (Domain::new(config), Now::from_secs(100));
        Rig { domain, now, me, out: VecDeque::new(), open: BTreeMap::new(), cookies: 0 }
    }

    /// A member `me` of a domain whose other members are `others`, in ascending order.
    pub(crate) fn joined(me: u8, others: &[u8]) -> Rig {
        let live: Vec<u8> = others.iter().copied().chain([me]).collect();
        let mut rig = Rig::new(config(me, &live));
        rig.join();
        for &other in others {
            rig.respond::<QueryJoin>(other, JoinReply::Ok { dlm_minor: 3, fs_minor: 0 }.pack());
        }
        for &other in others {
            rig.respond::<QueryNodeinfo>(other, 0);
        }
        for &other in others {
            rig.respond::<QueryRegion>(other, 0);
        }
        for &other in others {
            rig.respond::<AssertJoined>(other, 0);
        }
        assert_eq!(rig.event(), Event::Joined { fs_version: (1, 0) });
        rig.is_silent();
        rig
    }

    pub(crate) fn join(&mut self) {
        self.domain.join(self.now);
        self.drain();
    }

    pub(crate) fn leave(&mut self) {
        self.domain.leave(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.domain.poll_output() {
            self.out.push_back(match output {
                Output::Send { to, message, payload, call } => {
                    Out::Sent(Sent { to, kind: message, payload, call })
                }
                Output::Event(event) => Out::Event(event),
            });
        }
    }

    /// A request of another node: the status it gets.
    pub(crate) fn request<M: Wire>(&mut self, from: u8, message: &M) -> i32 {
        self.request_raw(from, M::KIND, &message.write())
    }

    pub(crate) fn request_raw(&mut self, from: u8, kind: MessageType, payload: &[u8]) -> i32 {
        let status = self.domain.request(self.now, n(from), kind, payload);
        self.drain();
        status
    }

    /// Messages that are out, in the order they were sent.
    pub(crate) fn messages(&self) -> Vec<(u8, MessageType)> {
        self.out
            .iter()
            .filter_map(|out| match out {
                Out::Sent(sent) => Some((sent.to.get(), sent.kind)),
                Out::Event(_) => None,
            })
            .collect()
    }

    /// Takes the first message of its type to that node out of those that are out.
    pub(crate) fn sent<M: Wire>(&mut self, to: u8) -> (CallId, M) {
        let (call, payload) = self.sent_raw(to, M::KIND);
        (call, M::read(&payload))
    }

    pub(crate) fn sent_raw(&mut self, to: u8, kind: MessageType) -> (CallId, Vec<u8>) {
        let wanted = |out: &Out| matches!(out, Out::Sent(s) if s.to == n(to) && s.kind == kind);
        let Some(at) = self.out.iter().position(wanted) else {
            panic!("no {kind} to node {to} among {:#?}", self.out)
        };
        let Some(Out::Sent(sent)) = self.out.remove(at) else { unreachable!("it is a message") };
        self.open.insert(sent.call, sent.to);
        (sent.call, sent.payload)
    }

    /// As [`sent`](Self::sent), and exactly this one.
    pub(crate) fn expect<M: Wire>(&mut self, to: u8, message: &M) -> CallId {
        let (call, sent) = self.sent::<M>(to);
        assert_eq!(sent, *message, "to node {to}");
        call
    }

    /// Another node's status for a message.
    pub(crate) fn reply(&mut self, call: CallId, status: i32) {
        self.complete(call, Ok(status));
    }

    pub(crate) fn complete(&mut self, call: CallId, result: Result<i32, CallError>) {
        self.open.remove(&call).expect("it waits for its status");
        self.domain.completed(self.now, call, result);
        self.drain();
    }

    /// A node answers the first message of its type.
    pub(crate) fn respond<M: Wire>(&mut self, from: u8, status: i32) -> M {
        let (call, message) = self.sent::<M>(from);
        self.reply(call, status);
        message
    }

    /// Every other member answers the first message of its type, in ascending order.
    pub(crate) fn all_respond<M: Wire>(&mut self, status: i32) -> Vec<M> {
        self.others().into_iter().map(|other| self.respond::<M>(other, status)).collect()
    }

    pub(crate) fn others(&self) -> Vec<u8> {
        let members = self.domain.members();
        members.iter().map(NodeId::get).filter(|&number| number != self.me).collect()
    }

    /// The first event that no test has looked at.
    pub(crate) fn event(&mut self) -> Event {
        let Some(at) = self.out.iter().position(|out| matches!(out, Out::Event(_))) else {
            panic!("no event among {:#?}", self.out)
        };
        let Some(Out::Event(event)) = self.out.remove(at) else { unreachable!("it is an event") };
        event
    }

    /// Whether what the engine put out first, of what is left, is an event.
    pub(crate) fn is_event_first(&self) -> bool {
        matches!(self.out.front(), Some(Out::Event(_)))
    }

    /// Nothing is out.
    #[track_caller]
    pub(crate) fn is_silent(&self) {
        assert!(self.out.is_empty(), "{:#?}", self.out);
    }

    /// Time passes; what is due happens when it is due.
    pub(crate) fn pass(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(at) = self.domain.next_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.domain.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    pub(crate) fn node_up(&mut self, node: u8) {
        self.domain.node_up(self.now, n(node));
        self.drain();
    }

    /// A node's heartbeat is gone, and with it its connection: what is sent to it is lost.
    pub(crate) fn node_down(&mut self, node: u8) {
        self.lose(n(node));
        self.domain.node_down(self.now, n(node));
        self.drain();
        self.lose(n(node));
    }

    fn lose(&mut self, gone: NodeId) {
        loop {
            let lost = |out: &Out| matches!(out, Out::Sent(sent) if sent.to == gone);
            if let Some(at) = self.out.iter().position(lost) {
                if let Some(Out::Sent(sent)) = self.out.remove(at) {
                    self.open.insert(sent.call, gone);
                }
            } else if let Some((&call, _)) = self.open.iter().find(|(_, to)| **to == gone) {
                self.complete(call, Err(CallError::HostDown));
            } else {
                return;
            }
        }
    }

    /// A member's heartbeat is gone.
    pub(crate) fn dies(&mut self, node: u8) {
        self.node_down(node);
        assert_eq!(self.event(), Event::NodeDown(n(node)));
    }
}

/// Names and locks.
impl Rig {
    pub(crate) fn lock(&mut self, name: LockName, mode: LockMode, flags: LkmFlags) -> LockKey {
        let key = self.domain.lock(self.now, name, mode, flags).expect("accepted");
        self.drain();
        key
    }

    pub(crate) fn convert(&mut self, key: LockKey, mode: LockMode, flags: LkmFlags) {
        self.convert_with(key, mode, flags, &[0; 64]);
    }

    pub(crate) fn convert_with(
        &mut self,
        key: LockKey,
        mode: LockMode,
        flags: LkmFlags,
        value: &[u8; 64],
    ) {
        self.domain.convert(self.now, key, mode, flags, value).expect("accepted");
        self.drain();
    }

    pub(crate) fn unlock(&mut self, key: LockKey) {
        self.domain.unlock(self.now, key, None).expect("accepted");
        self.drain();
    }

    pub(crate) fn unlock_with(&mut self, key: LockKey, value: &[u8; 64]) {
        self.domain.unlock(self.now, key, Some(value)).expect("accepted");
        self.drain();
    }

    pub(crate) fn cancel(&mut self, key: LockKey) {
        self.domain.cancel(self.now, key).expect("accepted");
        self.drain();
    }

    pub(crate) fn resource(&self, name: LockName) -> ResourceSnapshot {
        self.domain.resource(&name).unwrap_or_else(|| panic!("{name} is not known"))
    }

    pub(crate) fn is_known(&self, name: LockName) -> bool {
        self.domain.resource(&name).is_some()
    }

    pub(crate) fn snapshot(&self, key: LockKey) -> LockSnapshot {
        let mut locks = self.domain.resources().flat_map(|resource| resource.locks);
        locks.find(|lock| lock.key == key).expect("it is on a queue")
    }

    /// A lock of ours was granted: the mode, and the value if it was read.
    pub(crate) fn granted(&mut self, key: LockKey) -> (LockMode, Option<[u8; 64]>) {
        match self.event() {
            Event::Granted { lock, mode, lvb } if lock == key => (mode, lvb.map(|lvb| *lvb)),
            event => panic!("{event:?}"),
        }
    }

    pub(crate) fn unlocked(&mut self, key: LockKey, status: Status, gone: bool) {
        assert_eq!(self.event(), Event::Unlocked { lock: key, status, gone });
    }

    /// This node becomes the master of a name, with a lock of its own.
    pub(crate) fn mastered(&mut self, name: LockName, mode: LockMode) -> LockKey {
        let key = self.lock(name, mode, LkmFlags::empty());
        self.all_respond::<MasterRequest>(NO);
        self.all_respond::<AssertMaster>(0);
        assert_eq!(self.granted(key), (mode, None));
        self.is_silent();
        key
    }

    /// This node becomes the master of a name for which it has no lock, and `referrer` knows it.
    pub(crate) fn mastered_for(&mut self, referrer: u8, name: LockName) {
        let key = self.mastered(name, LockMode::NL);
        self.referred(referrer, name);
        self.unlock(key);
        self.unlocked(key, Status::Normal, true);
        self.is_silent();
    }

    /// Another node asks for the master, which we are; all accept the assertion that follows.
    pub(crate) fn referred(&mut self, from: u8, name: LockName) {
        assert_eq!(self.request(from, &MasterRequest { node: n(from), flags: 0, name }), YES);
        self.all_respond::<AssertMaster>(0);
    }

    /// A lock of ours whose master another node turns out to be; it is asked for the lock.
    pub(crate) fn found_at(
        &mut self,
        owner: u8,
        name: LockName,
        mode: LockMode,
        flags: LkmFlags,
    ) -> LockKey {
        let key = self.lock(name, mode, flags);
        let others = self.others();
        for &other in &others {
            self.respond::<MasterRequest>(other, if other == owner { YES } else { NO });
        }
        if others.len() > 1 {
            self.respond::<MasterRequest>(owner, YES);
        }
        key
    }

    /// A granted lock of ours at another master.
    pub(crate) fn lock_at(&mut self, owner: u8, name: LockName, mode: LockMode) -> LockKey {
        let key = self.found_at(owner, name, mode, LkmFlags::empty());
        self.respond::<CreateLock>(owner, 0);
        assert_eq!(self.ast(owner, key, None), 0);
        assert_eq!(self.granted(key), (mode, None));
        self.is_silent();
        key
    }

    /// The master grants a lock of ours.
    pub(crate) fn ast(&mut self, owner: u8, key: LockKey, lvb: Option<[u8; 64]>) -> i32 {
        self.proxy_ast(owner, key, AstKind::Ast, None, lvb)
    }

    /// The master says that a lock of ours is in the way.
    pub(crate) fn bast(&mut self, owner: u8, key: LockKey, mode: LockMode) -> i32 {
        self.proxy_ast(owner, key, AstKind::Bast, Some(mode), None)
    }

    fn proxy_ast(
        &mut self,
        owner: u8,
        key: LockKey,
        kind: AstKind,
        blocked: Option<LockMode>,
        lvb: Option<[u8; 64]>,
    ) -> i32 {
        let found = self.domain.resources().find_map(|resource| {
            let lock = resource.locks.iter().find(|lock| lock.key == key)?;
            Some((resource.name, lock.cookie))
        });
        let (name, cookie) = found.expect("the lock is on a queue");
        let flags = LkmFlags::empty();
        self.request(owner, &ProxyAst { cookie, flags, node: n(owner), kind, blocked, name, lvb })
    }

    /// A cookie that no lock of that node has.
    pub(crate) fn cookie(&mut self, node: u8) -> Cookie {
        self.cookies += 1;
        Cookie::new(n(node), self.cookies)
    }

    /// Another node asks us for a lock: the status, and the lock's cookie.
    pub(crate) fn create(
        &mut self,
        from: u8,
        name: LockName,
        mode: LockMode,
        flags: LkmFlags,
    ) -> (Status, Cookie) {
        let cookie = self.cookie(from);
        let status = self.request(from, &CreateLock { cookie, flags, node: n(from), mode, name });
        (Status::from_wire(status).expect("a status of o2dlm"), cookie)
    }

    /// Another node gets a lock of us, and its AST.
    pub(crate) fn created(&mut self, from: u8, name: LockName, mode: LockMode) -> Cookie {
        let (status, cookie) = self.create(from, name, mode, LkmFlags::empty());
        assert_eq!(status, Status::Normal);
        self.grants(from, cookie, None);
        cookie
    }

    /// The engine grants another node's lock.
    pub(crate) fn grants(&mut self, to: u8, cookie: Cookie, lvb: Option<[u8; 64]>) {
        let ast = self.respond::<ProxyAst>(to, 0);
        assert_eq!((ast.cookie, ast.kind, ast.blocked), (cookie, AstKind::Ast, None));
        assert_eq!(ast.lvb, lvb);
    }

    /// The engine tells another node that its lock is in the way.
    pub(crate) fn notifies(&mut self, to: u8, cookie: Cookie, mode: LockMode) {
        let bast = self.respond::<ProxyAst>(to, 0);
        assert_eq!((bast.cookie, bast.kind, bast.blocked), (cookie, AstKind::Bast, Some(mode)));
    }

    /// Another node asks us to convert its lock.
    pub(crate) fn converts(
        &mut self,
        from: u8,
        cookie: Cookie,
        mode: LockMode,
        flags: LkmFlags,
        lvb: Option<[u8; 64]>,
    ) -> Status {
        let flags = flags | LkmFlags::CONVERT;
        let message = ConvertLock { cookie, flags, node: n(from), mode, name: NAME, lvb };
        Status::from_wire(self.request(from, &message)).expect("a status of o2dlm")
    }

    /// Another node asks us to drop its lock, or to cancel its request.
    pub(crate) fn unlocks(
        &mut self,
        from: u8,
        cookie: Cookie,
        flags: LkmFlags,
        lvb: Option<[u8; 64]>,
    ) -> Status {
        let message = UnlockLock { cookie, flags, node: n(from), name: NAME, lvb };
        Status::from_wire(self.request(from, &message)).expect("a status of o2dlm")
    }
}
