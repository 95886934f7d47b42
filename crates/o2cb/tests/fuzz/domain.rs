//! A member of a domain, with locks of several nodes, and whatever another member may send it, in the
//! middle of a recovery, a migration or a join.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{
    CallError, CallId, Domain, DomainConfig, DomainState, Event, LockKey, Output, PeerAddress,
};
use stackglue_o2cb::{NodeId, Now};

use crate::driver::Target;
use crate::messages::decode_all;
use crate::program::{
    LOST, ME, MOVING, OURS, SEARCHED, STRANGER, Step, THEIRS, domain_name, make, n, name, steps,
};

#[test]
fn domain() {
    Target {
        name: "domain",
        inputs: 1500,
        make: &make,
        check: &|input| {
            let Some((situation, program)) = input.split_first() else { return };
            let mut world = World::new(*situation);
            for step in steps(program) {
                world.step(step);
                world.check();
            }
            world.end();
        },
    }
    .run();
}

struct Sent {
    to: u8,
    kind: MessageType,
    payload: Vec<u8>,
    call: CallId,
}

/// The domain, and what its users know.
struct World {
    domain: Domain,
    now: Now,
    sent: Vec<Sent>,
    /// Locks of our users: the name, and the mode once they have been told of one.
    held: BTreeMap<LockKey, (LockName, Option<LockMode>)>,
    dead: Vec<u8>,
    /// What the other nodes can have made us keep.
    bound: usize,
}

impl World {
    fn new(situation: u8) -> World {
        let peer = |number: u8| PeerAddress {
            node: n(number),
            address: Ipv4Addr::new(192, 0, 2, number),
            port: 7777,
        };
        let config = DomainConfig {
            me: n(ME),
            name: domain_name(),
            nodes: (1..=5).map(peer).collect(),
            regions: None,
            fs_version: (1, 0),
            live: (1..=4).map(n).collect(),
            ordinal: 0,
            seed: 7,
        };
        let mut world = World {
            domain: Domain::new(config),
            now: Duration::from_secs(100),
            sent: Vec::new(),
            held: BTreeMap::new(),
            dead: Vec::new(),
            bound: 100,
        };
        world.domain.join(world.now);
        world.drain();
        world.answer_all();
        assert_eq!(world.domain.members().iter().count(), 4, "it has joined");
        world.domain.node_up(world.now, n(STRANGER));
        world.fill();
        world.begin(situation);
        world
    }

    /// Names with locks of several nodes, granted and waiting.
    fn fill(&mut self) {
        let none = LkmFlags::empty();
        for (bytes, mode) in [(OURS[0], LockMode::EX), (OURS[1], LockMode::PR)] {
            self.lock(bytes, mode);
            self.answer_all();
            self.lock(bytes, LockMode::EX);
            for from in [1, 3] {
                let (cookie, node) = (Cookie::new(n(from), 1), n(from));
                self.ask(from, &MasterRequest { node, flags: 0, name: name(bytes) });
                let flags = LkmFlags::VALBLK;
                let create =
                    CreateLock { cookie, flags, node, mode: LockMode::PR, name: name(bytes) };
                self.ask(from, &create);
            }
            self.answer_all();
        }
        for (bytes, owner) in [(THEIRS, 1), (LOST, 4)] {
            let key = self.lock(bytes, LockMode::PR);
            let is_asked =
                |sent: &Sent| sent.kind == MessageType::MasterRequest && sent.to == owner;
            self.answer_all_with(|sent| if is_asked(sent) { 1 } else { plausible(sent) });
            let snapshot = self.domain.resource(&name(bytes)).expect("it is being locked");
            assert_eq!(snapshot.owner, Some(n(owner)));
            let cookie = snapshot.locks[0].cookie;
            let ast = ProxyAst {
                cookie,
                flags: none,
                node: n(owner),
                kind: AstKind::Ast,
                blocked: None,
                name: name(bytes),
                lvb: None,
            };
            self.ask(owner, &ast);
            assert_eq!(self.held[&key].1, Some(LockMode::PR));
        }
        assert_eq!(self.held.values().filter(|(_, mode)| mode.is_some()).count(), 4);
        self.check();
    }

    /// What is under way when the program starts.
    fn begin(&mut self, situation: u8) {
        match situation % 8 {
            0 => {}
            1 => {
                // Somebody else drives a recovery.
                self.dies(4);
                self.ask(1, &BeginReco { node: n(1), dead: n(4) });
                self.ask(1, &LockRequest { node: n(1), dead: n(4) });
            }
            2 => {
                // We drive one.
                self.dies(4);
                self.answer_all_but(&[MessageType::FinalizeReco]);
            }
            3 => {
                // Half of a resource has come.
                let lock = MigLock {
                    cookie: Cookie::new(n(3), 3),
                    queue: Queue::Granted,
                    lvb_flags: LvbFlags::empty(),
                    mode: Some(LockMode::PR),
                    convert: None,
                    highest_blocked: None,
                    node: n(3),
                };
                self.ask(
                    3,
                    &MigLockres {
                        owner: Some(n(3)),
                        flags: MigFlags::MIGRATION,
                        total: 2,
                        cookie: 1,
                        name: name(MOVING),
                        lvb: [0; LVB_LEN],
                        locks: vec![lock],
                    },
                );
            }
            4 => {
                // A name moves between two others, and a lock of ours on it waits.
                let (old_master, new_master) = (n(1), n(3));
                self.ask(3, &MigrateRequest { old_master, new_master, name: name(THEIRS) });
                self.lock(THEIRS, LockMode::EX);
            }
            5 => {
                self.lock(SEARCHED, LockMode::EX);
            }
            6 => {
                let live = (1..=5).map(n).collect();
                let (dlm_version, fs_version, domain) = ((1, 3), (1, 0), domain_name());
                let node = n(STRANGER);
                self.ask(STRANGER, &QueryJoin { node, dlm_version, fs_version, domain, live });
            }
            _ => {
                // A conversion of ours is at its master.
                let key = self.key(THEIRS);
                self.held.entry(key).and_modify(|held| held.1 = held.1.min(Some(LockMode::PR)));
                let flags = LkmFlags::VALBLK;
                self.domain.convert(self.now, key, LockMode::EX, flags, &[1; 64]).expect("granted");
                self.drain();
            }
        }
        self.check();
    }

    fn key(&self, bytes: &[u8]) -> LockKey {
        let found = self.held.iter().find(|(_, held)| held.0 == name(bytes) && held.1.is_some());
        *found.expect("a lock on it is granted").0
    }

    fn lock(&mut self, bytes: &[u8], mode: LockMode) -> LockKey {
        let flags = LkmFlags::VALBLK;
        let key = self.domain.lock(self.now, name(bytes), mode, flags).expect("accepted");
        self.held.insert(key, (name(bytes), None));
        self.drain();
        key
    }

    fn ask<M: Encode>(&mut self, from: u8, message: &M) {
        self.request(from, M::KIND, &message.bytes());
    }

    fn request(&mut self, from: u8, kind: MessageType, payload: &[u8]) {
        let before = self.domain.counters();
        let status = self.domain.request(self.now, n(from), kind, payload);
        let after = self.domain.counters();
        assert!(can_take(kind, status), "{kind} of n{from} is answered {status}");
        let malformed = u64::from(!decode_all(kind, payload));
        assert_eq!(after.malformed - before.malformed, malformed, "{kind} of n{from}");
        let lies = u64::from(claimed(kind, payload).is_some_and(|node| node != n(from)));
        assert_eq!(after.wrong_sender - before.wrong_sender, lies, "{kind} of n{from}");
        // A resource, an entry of its search, and its locks.
        self.bound += 2 + payload.len() / 16;
        self.drain();
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Request { from, kind, payload } => {
                if !self.dead.contains(&from) {
                    self.request(from, kind, payload);
                }
            }
            Step::Answer { which, status } => {
                if !self.sent.is_empty() {
                    let sent = self.sent.remove(usize::from(which) % self.sent.len());
                    let status = status.unwrap_or_else(|| plausible(&sent));
                    self.domain.completed(self.now, sent.call, Ok(status));
                    self.drain();
                }
            }
            Step::Pass { millis } => self.pass(millis),
            // Somebody stays, or there is nobody to hear.
            Step::Dies { node } => {
                if !self.dead.contains(&node) && self.dead.len() < 2 {
                    self.dies(node);
                }
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        let mut fired = 0;
        while let Some(at) = self.domain.next_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.domain.handle_timeout(self.now);
            fired += 1;
            assert!(fired < 10_000, "timers without end");
            self.drain();
        }
        self.now = until;
    }

    /// Its connection is gone first, and with it what was sent there.
    fn dies(&mut self, node: u8) {
        self.dead.push(node);
        self.lose(node);
        self.domain.node_down(self.now, n(node));
        self.drain();
        self.lose(node);
    }

    fn lose(&mut self, node: u8) {
        while let Some(at) = self.sent.iter().position(|sent| sent.to == node) {
            let sent = self.sent.remove(at);
            self.domain.completed(self.now, sent.call, Err(CallError::HostDown));
            self.drain();
        }
    }

    fn answer_all(&mut self) {
        self.answer_all_with(plausible);
    }

    fn answer_all_but(&mut self, kinds: &[MessageType]) {
        while let Some(at) = self.sent.iter().position(|sent| !kinds.contains(&sent.kind)) {
            let sent = self.sent.remove(at);
            self.answer(&sent, plausible(&sent));
        }
    }

    fn answer_all_with(&mut self, status: impl Fn(&Sent) -> i32) {
        let mut answered = 0;
        while !self.sent.is_empty() {
            let sent = self.sent.remove(0);
            self.answer(&sent, status(&sent));
            answered += 1;
            assert!(answered < 100_000, "{} and what follows, without end", sent.kind);
        }
    }

    fn answer(&mut self, sent: &Sent, status: i32) {
        let gone = self.dead.contains(&sent.to);
        let result = if gone { Err(CallError::HostDown) } else { Ok(status) };
        self.domain.completed(self.now, sent.call, result);
        self.drain();
        // As a recovery needs it.
        if sent.kind == MessageType::LockRequest && !gone {
            let request = LockRequest::decode(&sent.payload).expect("ours");
            self.ask(sent.to, &RecoDataDone { node: n(sent.to), dead: request.dead });
        }
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.domain.poll_output() {
            outputs += 1;
            assert!(outputs < 2000, "outputs without end");
            match output {
                Output::Send { to, message, payload, call } => {
                    assert!(decode_all(message, &payload), "{message} of ours");
                    assert_ne!(to, n(ME), "{message} to ourselves");
                    self.sent.push(Sent { to: to.get(), kind: message, payload, call });
                }
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: Event) {
        let text = format!("{event:?} is of no lock of our users");
        match event {
            Event::Granted { lock, mode, .. } => {
                self.held.get_mut(&lock).expect(&text).1 = Some(mode);
            }
            Event::Refused { lock, gone: true, .. } | Event::Unlocked { lock, gone: true, .. } => {
                let (_, mode) = self.held.remove(&lock).expect(&text);
                assert_eq!(mode, None, "a lock that was held is gone");
            }
            Event::Blocked { lock, .. } => assert!(self.held.contains_key(&lock), "{text}"),
            _ => {}
        }
    }

    /// What our users hold is still theirs, and excludes what it did; what is kept is bounded by what
    /// was sent.
    fn check(&self) {
        assert_eq!(self.domain.state(), DomainState::Joined);
        let mut kept = self.domain.mastery_entries().count();
        for resource in self.domain.resources() {
            kept += 1 + resource.locks.len();
        }
        assert!(kept <= self.bound, "{kept} resources, locks and searches");
        for (key, (name, mode)) in &self.held {
            let Some(mode) = mode else { continue };
            let resource = self.domain.resource(name).expect("a lock is held on it");
            let lock = resource.locks.iter().find(|lock| lock.key == *key).expect("it is held");
            assert_eq!((lock.node, lock.mode), (n(ME), *mode), "{name}");
            assert!(matches!(lock.queue, Some(Queue::Granted | Queue::Converting)), "{name}");
            let ours = OURS.iter().any(|ours| name.as_bytes() == *ours);
            if ours {
                assert_eq!(resource.owner, Some(n(ME)), "{name}");
            }
            // Where another node decides, it can lie, before and after it hands over.
            for other in resource.locks.iter().filter(|other| ours && other.key != *key) {
                assert!(
                    other.queue == Some(Queue::Blocked) || other.mode.compatible(*mode),
                    "{name}: {other:?} beside {lock:?}"
                );
            }
        }
    }

    /// The others behave from now on, and the attacker is gone: so are its locks, and what it began.
    fn end(&mut self) {
        for node in [3, 1] {
            if !self.dead.contains(&node) && self.dead.len() < 2 {
                self.dies(node);
            }
        }
        for _ in 0..60 {
            self.answer_all();
            self.pass(1000);
            self.check();
        }
        let recovered = !self.domain.is_recovering();
        for resource in self.domain.resources().filter(|_| recovered) {
            let gone = |node: NodeId| !self.domain.members().contains(node);
            let left = resource.locks.iter().find(|lock| gone(lock.node));
            assert_eq!(left, None, "{}", resource.name);
        }
    }
}

/// A message that a node may send.
trait Encode {
    const KIND: MessageType;
    fn bytes(&self) -> Vec<u8>;
}

macro_rules! encode {
    ($($message:ident)*) => {$(
        impl Encode for $message {
            const KIND: MessageType = MessageType::$message;

            fn bytes(&self) -> Vec<u8> {
                let mut bytes = Vec::new();
                self.encode(&mut bytes);
                bytes
            }
        }
    )*};
}

encode! {
    MasterRequest CreateLock ProxyAst QueryJoin BeginReco LockRequest RecoDataDone MigLockres
    MigrateRequest
}

/// Whom a message says that it is from, where it can be decoded and says so.
fn claimed(kind: MessageType, payload: &[u8]) -> Option<NodeId> {
    macro_rules! node {
        ($($message:ident)*) => {
            match kind {
                $(MessageType::$message => Some($message::decode(payload).ok()?.node),)*
                MessageType::MigrateRequest => Some(MigrateRequest::decode(payload).ok()?.new_master),
                MessageType::MigLockres => None,
            }
        };
    }
    node! {
        MasterRequest AssertMaster CreateLock ConvertLock ProxyAst UnlockLock DerefLockres QueryJoin
        AssertJoined CancelJoin ExitDomain MasterRequery LockRequest RecoDataDone BeginReco
        FinalizeReco QueryRegion QueryNodeinfo BeginExit DerefDone
    }
}

/// A kernel's answer that does not say much.
fn plausible(sent: &Sent) -> i32 {
    match sent.kind {
        MessageType::QueryJoin => JoinReply::Ok { dlm_minor: 3, fs_minor: 0 }.pack(),
        MessageType::MasterRequery => 255,
        _ => 0,
    }
}

/// Whether a kernel takes that answer without crashing, whatever it had asked.
fn can_take(kind: MessageType, status: i32) -> bool {
    match kind {
        MessageType::MasterRequest | MessageType::AssertMaster => (0..=3).contains(&status),
        // fs/ocfs2/dlm/dlmlock.c: dlm_send_remote_lock_request.
        MessageType::CreateLock | MessageType::ConvertLock | MessageType::UnlockLock => {
            Status::from_wire(status).is_some_and(|known| known != Status::Rejected)
        }
        // RECOVERING and MIGRATING are its end (dlmast.c: dlm_send_proxy_ast_msg).
        MessageType::ProxyAst => [0, 11].contains(&status),
        MessageType::MasterRequery => (0..=255).contains(&status),
        MessageType::QueryJoin => JoinReply::unpack(status).is_some(),
        MessageType::DerefLockres => [0, 1, -22].contains(&status),
        MessageType::MigrateRequest => [0, 1, -12, -17, -22].contains(&status),
        // Not EFAULT (dlmrecovery.c: dlm_send_mig_lockres_msg).
        MessageType::MigLockres | MessageType::LockRequest => [0, -12, -22].contains(&status),
        MessageType::BeginReco | MessageType::AssertJoined => [0, -11].contains(&status),
        MessageType::RecoDataDone
        | MessageType::DerefDone
        | MessageType::QueryRegion
        | MessageType::QueryNodeinfo => [0, -22].contains(&status),
        MessageType::CancelJoin
        | MessageType::ExitDomain
        | MessageType::BeginExit
        | MessageType::FinalizeReco => status == 0,
    }
}
