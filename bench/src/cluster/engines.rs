//! Engines of several nodes in one thread and in virtual time, over links that all take equally long.

use std::collections::VecDeque;
use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use o2cb::o2dlm::message::{DomainName, LkmFlags, LockMode, LockName, MessageType};
use o2cb::o2dlm::{CallError, CallId, Domain, DomainConfig, Event, LockKey, Output, PeerAddress};
use o2cb::{NodeId, NodeMap, Now};

use crate::names::names;

/// How long every frame is on its way.
pub(crate) const LINK: Duration = Duration::from_millis(1);

/// The members of one domain. Nodes are counted from 0.
pub(crate) struct Engines {
    nodes: Vec<Domain>,
    alive: Vec<bool>,
    now: Now,
    /// In the order of their arrival, since every link takes equally long.
    frames: VecDeque<(Now, Frame)>,
    events: VecDeque<(usize, Event)>,
    starts: u64,
}

struct Frame {
    from: usize,
    to: usize,
    body: Body,
}

enum Body {
    Request { call: CallId, message: MessageType, payload: Vec<u8> },
    Status { call: CallId, result: Result<i32, CallError> },
}

impl Engines {
    /// That many, which have joined one after the other and have nothing left to say.
    pub(crate) fn joined(count: usize) -> Result<Engines, Box<dyn Error>> {
        let mut engines = Engines {
            nodes: Vec::new(),
            alive: vec![true; count],
            now: Now::from_secs(1),
            frames: VecDeque::new(),
            events: VecDeque::new(),
            starts: 0,
        };
        for node in 0..count {
            let domain = engines.new_domain(node);
            engines.nodes.push(domain);
        }
        for node in 0..count {
            engines.join(node)?;
        }
        Ok(engines)
    }

    fn new_domain(&mut self, node: usize) -> Domain {
        self.starts += 1;
        let count = self.alive.len();
        let peer = |node: usize| PeerAddress {
            node: id(node),
            address: Ipv4Addr::new(10, 0, 0, node as u8 + 1),
            port: 7777,
        };
        Domain::new(DomainConfig {
            me: id(node),
            name: DomainName::new(b"bench").expect("a short name"),
            nodes: (0..count).map(peer).collect(),
            regions: None,
            fs_version: (1, 0),
            live: (0..count).filter(|&node| self.alive[node]).map(id).collect::<NodeMap>(),
            ordinal: 0,
            seed: self.starts,
        })
    }

    fn join(&mut self, node: usize) -> Result<(), Box<dyn Error>> {
        self.act(node, |domain, now| domain.join(now));
        match self.next_event() {
            Some((joined, Event::Joined { .. })) if joined == node => {}
            other => return Err(format!("node {node} does not join: {other:?}").into()),
        }
        self.rest()
    }

    /// The time.
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    /// A node's engine, to look at it.
    pub(crate) fn node(&self, node: usize) -> &Domain {
        &self.nodes[node]
    }

    /// Does something to a node's engine, and takes what follows.
    pub(crate) fn act<T>(&mut self, node: usize, act: impl FnOnce(&mut Domain, Now) -> T) -> T {
        let result = act(&mut self.nodes[node], self.now);
        self.drain(node);
        result
    }

    /// The next thing that a user hears, when its time has come. `None` when nothing is left to do.
    pub(crate) fn next_event(&mut self) -> Option<(usize, Event)> {
        while self.events.is_empty() && self.step() {}
        self.events.pop_front()
    }

    /// [`next_event`](Self::next_event), but no later than at that time; `None` when it has come.
    pub(crate) fn next_event_until(&mut self, deadline: Now) -> Option<(usize, Event)> {
        while self.events.is_empty() && self.next_time().is_some_and(|at| at <= deadline) {
            self.step();
        }
        let event = self.events.pop_front();
        if event.is_none() {
            self.now = self.now.max(deadline);
        }
        event
    }

    /// Waits until every frame has arrived.
    ///
    /// # Errors
    ///
    /// When a user hears something meanwhile.
    pub(crate) fn rest(&mut self) -> Result<(), Box<dyn Error>> {
        while !self.frames.is_empty() {
            self.step();
        }
        match self.events.pop_front() {
            None => Ok(()),
            Some((node, event)) => Err(format!("node {node} heard {event:?}").into()),
        }
    }

    /// A new lock, granted.
    pub(crate) fn lock_and_wait(
        &mut self,
        node: usize,
        name: LockName,
        mode: LockMode,
    ) -> Result<LockKey, Box<dyn Error>> {
        let asked = self.act(node, |domain, now| domain.lock(now, name, mode, LkmFlags::empty()));
        let lock = asked.map_err(|status| format!("{name} is not locked: {status:?}"))?;
        match self.next_event() {
            Some((at, Event::Granted { lock: granted, .. })) if (at, granted) == (node, lock) => {
                Ok(lock)
            }
            other => Err(format!("{name} is not granted: {other:?}").into()),
        }
    }

    /// A node vanishes with what it had sent; the others see that at once, in that order.
    pub(crate) fn kill(&mut self, dead: usize, observers: &[usize]) {
        self.alive[dead] = false;
        self.frames.retain(|(_, frame)| frame.from != dead && frame.to != dead);
        for &observer in observers {
            self.act(observer, |domain, now| domain.node_down(now, id(dead)));
        }
    }

    /// A node that was killed starts anew and joins.
    pub(crate) fn revive(&mut self, node: usize) -> Result<(), Box<dyn Error>> {
        self.alive[node] = true;
        self.nodes[node] = self.new_domain(node);
        for other in (0..self.nodes.len()).filter(|&other| other != node) {
            self.act(other, |domain, now| domain.node_up(now, id(node)));
        }
        self.join(node)
    }

    /// Does the next thing; whether there was one.
    pub(crate) fn step(&mut self) -> bool {
        let (timer, arrival) = (self.next_timer(), self.next_arrival());
        match (timer, arrival) {
            (Some((at, node)), arrival) if arrival.is_none_or(|arrival| at < arrival) => {
                self.now = self.now.max(at);
                self.act(node, |domain, now| domain.handle_timeout(now));
            }
            (_, Some(_)) => {
                if let Some((at, frame)) = self.frames.pop_front() {
                    self.now = at;
                    self.deliver(frame);
                }
            }
            _ => return false,
        }
        true
    }

    fn next_timer(&self) -> Option<(Now, usize)> {
        let alive = self.nodes.iter().enumerate().filter(|&(node, _)| self.alive[node]);
        alive.filter_map(|(node, domain)| Some((domain.next_timeout()?, node))).min()
    }

    fn next_arrival(&self) -> Option<Now> {
        self.frames.front().map(|(at, _)| *at)
    }

    fn next_time(&self) -> Option<Now> {
        self.next_timer().map(|(at, _)| at).into_iter().chain(self.next_arrival()).min()
    }

    fn deliver(&mut self, frame: Frame) {
        let Frame { from, to, body } = frame;
        let (now, domain) = (self.now, &mut self.nodes[to]);
        match body {
            Body::Request { call, message, payload } => {
                let status = domain.request(now, id(from), message, &payload);
                self.send(to, from, Body::Status { call, result: Ok(status) });
            }
            Body::Status { call, result } => domain.completed(now, call, result),
        }
        self.drain(to);
    }

    fn send(&mut self, from: usize, to: usize, body: Body) {
        self.frames.push_back((self.now + LINK, Frame { from, to, body }));
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].poll_output() {
            match output {
                Output::Send { to, message, payload, call } => {
                    let to = usize::from(to.get()) - 1;
                    if self.alive[to] {
                        self.send(node, to, Body::Request { call, message, payload });
                    } else {
                        let (now, lost) = (self.now, Err(CallError::HostDown));
                        self.nodes[node].completed(now, call, lost);
                    }
                }
                Output::Event(event) => self.events.push_back((node, event)),
            }
        }
    }
}

/// A name of a bench, for the engine.
pub(crate) fn lock_name(number: usize) -> LockName {
    lock_names(number + 1)[number]
}

/// So many different names.
pub(crate) fn lock_names(count: usize) -> Vec<LockName> {
    let name = |name: &[u8; 32]| LockName::new(name).expect("every name has 32 bytes");
    names(count).iter().map(name).collect()
}

fn id(node: usize) -> NodeId {
    NodeId::new(node as u8 + 1).expect("few nodes")
}
