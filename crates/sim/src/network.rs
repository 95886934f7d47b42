//! Connections: streams of bytes that are slow, held up, cut into pieces, and lost.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use o2cb::NodeId;
use o2cb::o2net::{CloseReason, Header, LinkId};

use crate::hostile::Forged;
use crate::node::address;
use crate::tap::Tap;
use crate::world::{Event, Happens, World};

/// What travels on a connection.
#[derive(Debug)]
pub(crate) enum Item {
    /// The connection is established.
    Established,
    Bytes(Box<[u8]>),
    /// Bytes that the sender's engine did not send: some that are to be refused.
    Forged(Box<Forged>),
    /// The sender has closed it.
    End,
    /// It ends with an error.
    Error(i32),
}

const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;

/// How often a connection request is sent before it fails.
const ATTEMPTS_MAX: u32 = 6;

/// After how long what was not acknowledged is sent again.
const RETRANSMIT: Duration = Duration::from_millis(700);

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) connections: Vec<Connection>,
    /// By sender, then receiver.
    links: Vec<Vec<Link>>,
}

/// What one node sends another goes this way.
#[derive(Clone, Debug, Default)]
struct Link {
    cuts: u32,
    slower: Duration,
}

/// Its first end connects, the second accepts.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) life: u64,
    state: EndState,
    link: Option<LinkId>,
    /// The socket took less than it was given.
    full: bool,
    /// Sent and not read yet.
    in_flight: usize,
    /// When the last thing that was sent arrives: later ones come behind it.
    arrives: Duration,
    /// What waits for a cut to end.
    held: VecDeque<Item>,
    /// Something that was sent is lost, and nobody is there to send it again: nothing comes behind it.
    broken: bool,
    pub(crate) tap: Tap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndState {
    Connecting,
    Open,
    Closed,
}

impl End {
    fn new(node: usize, life: u64, state: EndState, link: Option<LinkId>) -> End {
        End {
            node,
            life,
            state,
            link,
            full: false,
            in_flight: 0,
            arrives: Duration::ZERO,
            held: VecDeque::new(),
            broken: false,
            tap: Tap::default(),
        }
    }
}

impl Network {
    pub(crate) fn new(nodes: usize) -> Network {
        Network { connections: Vec::new(), links: vec![vec![Link::default(); nodes]; nodes] }
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.links[from][to].cuts > 0
    }

    pub(crate) fn slow_down(&mut self, from: usize, to: usize, by: Duration) {
        self.links[from][to].slower += by;
    }

    pub(crate) fn speed_up(&mut self, from: usize, to: usize, by: Duration) {
        let link = &mut self.links[from][to];
        link.slower = link.slower.saturating_sub(by);
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.links[from][to].cuts += 1;
    }

    /// Whatever was done to a link is over, but for what is held up.
    pub(crate) fn heal(&mut self, from: usize, to: usize) {
        let link = &mut self.links[from][to];
        link.slower = Duration::ZERO;
        link.cuts = link.cuts.min(1);
    }
}

impl World {
    /// A cut is over: what was held up goes on.
    pub(crate) fn mend(&mut self, from: usize, to: usize) {
        let link = &mut self.network.links[from][to];
        link.cuts = link.cuts.saturating_sub(1);
        if link.cuts > 0 {
            return;
        }
        for connection in 0..self.network.connections.len() {
            for end in 0..2 {
                let ends = &mut self.network.connections[connection].ends;
                if ends[end].node != from || ends[1 - end].node != to {
                    continue;
                }
                // At once: what was sent later may be about to arrive.
                for item in std::mem::take(&mut ends[end].held) {
                    self.arrive(connection, end, item);
                }
            }
        }
    }

    pub(crate) fn connect(&mut self, index: usize, link: LinkId, to: Ipv4Addr) {
        let Some(target) = self.nodes.iter().position(|node| address(node.id) == to) else {
            return self.fail("harness", format!("nobody has the address {to}"));
        };
        let ends = [
            End::new(index, self.nodes[index].life, EndState::Connecting, Some(link)),
            End::new(target, 0, EndState::Closed, None),
        ];
        let connection = self.network.connections.len();
        self.network.connections.push(Connection { ends });
        self.add_socket(index, link.node(), (connection, 0));
        let wait = self.latency(index, target);
        self.after(wait, Event::Syn { connection, attempt: 0 });
    }

    /// A node has one socket to each peer: a new one takes the old one's place.
    fn add_socket(&mut self, index: usize, peer: NodeId, socket: (usize, usize)) {
        let Some(up) = &mut self.nodes[index].up else { return };
        if let Some((connection, end)) = up.sockets.insert(peer, socket) {
            self.close_end(connection, end);
        }
    }

    pub(crate) fn syn(&mut self, connection: usize, attempt: u32) {
        let ends = &self.network.connections[connection].ends;
        let (from, to) = (ends[0].node, ends[1].node);
        if ends[0].state != EndState::Connecting {
            return;
        }
        if self.network.is_cut(from, to) || !self.nodes[to].powered {
            if attempt < ATTEMPTS_MAX {
                let wait = Duration::from_secs(1 << attempt);
                return self.after(wait, Event::Syn { connection, attempt: attempt + 1 });
            }
            let item = Item::Error(ETIMEDOUT);
            return self.hand_over(connection, 1, item);
        }
        if self.nodes[to].up.is_none() {
            return self.push(connection, 1, Item::Error(ECONNREFUSED));
        }
        let life = self.nodes[to].life;
        self.network.connections[connection].ends[1] = End::new(to, life, EndState::Open, None);
        self.push(connection, 1, Item::Established);
        self.node_after(Duration::ZERO, to, Happens::Accept { connection });
    }

    pub(crate) fn accept(&mut self, index: usize, connection: usize) {
        if self.network.connections[connection].ends[1].state != EndState::Open {
            return;
        }
        let peer = self.nodes[self.network.connections[connection].ends[0].node].id;
        let local = self.local(index);
        let me = self.nodes[index].id;
        let Some(up) = &mut self.nodes[index].up else { return };
        match up.stack.accepted(local, address(peer)) {
            Ok(link) => {
                self.coverage.count("connection accepted");
                self.note(|| format!("n{peer} ~ n{me} connected"));
                self.network.connections[connection].ends[1].link = Some(link);
                self.add_socket(index, peer, (connection, 1));
            }
            Err(refusal) => {
                self.coverage.count(match refusal {
                    o2cb::o2net::Refusal::Busy(_) => "refused: busy",
                    o2cb::o2net::Refusal::HeartbeatDown(_) => "refused: heartbeat down",
                    _ => "refused: other",
                });
                self.note(|| format!("n{peer} ~ n{me} refused: {refusal}"));
                self.close_end(connection, 1);
            }
        }
    }

    /// Writes what there is to write on a link, as far as its socket takes it.
    pub(crate) fn write(&mut self, index: usize, link: LinkId) {
        let buffer = self.plan.net.send_buffer;
        loop {
            let Some(up) = &mut self.nodes[index].up else { return };
            let Some(&(connection, end)) = up.sockets.get(&link.node()) else { return };
            let ends = &mut self.network.connections[connection].ends;
            if ends[end].link != Some(link) || ends[end].state != EndState::Open {
                return;
            }
            let unsent = up.stack.unsent(link);
            if unsent.is_empty() {
                return;
            }
            let room = buffer.saturating_sub(ends[end].in_flight);
            if room == 0 {
                ends[end].full = true;
                self.coverage.count("F13 full send buffer");
                return;
            }
            let mut bytes: Box<[u8]> = unsent[..room.min(unsent.len())].into();
            up.stack.sent(link, bytes.len());
            let to = ends[1 - end].node;
            if ends[end].tap.is_between_frames() {
                bytes = self.refuse_some((index, to), (connection, end), bytes);
            } else if !ends[end].tap.is_shaken() {
                self.announce(index, to, &mut bytes);
            }
            let ends = &mut self.network.connections[connection].ends;
            ends[end].in_flight += bytes.len();
            if self.tap(index, to, connection, end, &bytes) {
                self.push(connection, end, Item::Bytes(bytes));
            }
        }
    }

    pub(crate) fn writable(&mut self, index: usize, connection: usize, end: usize) {
        let found = &mut self.network.connections[connection].ends[end];
        found.full = false;
        if let Some(link) = found.link {
            self.write(index, link);
        }
    }

    fn latency(&mut self, from: usize, to: usize) -> Duration {
        let net = self.plan.net;
        let mut wait = self.micros(net.latency_us) + self.network.links[from][to].slower;
        if self.rng.chance(net.tail.0) {
            wait += Duration::from_millis(self.rng.below(net.tail.1));
            self.coverage.count("F1 late segment");
        }
        wait
    }

    /// Sends something from one end of a connection, behind all that was sent before.
    fn push(&mut self, connection: usize, end: usize, item: Item) {
        let ends = &self.network.connections[connection].ends;
        let (from, to) = (ends[end].node, ends[1 - end].node);
        let wait = self.latency(from, to);
        let sender = &mut self.network.connections[connection].ends[end];
        sender.arrives = sender.arrives.max(self.now + wait);
        let at = sender.arrives;
        self.at(at, Event::Arrive { connection, from: end, item });
    }

    pub(crate) fn arrive(&mut self, connection: usize, from: usize, item: Item) {
        let ends = &mut self.network.connections[connection].ends;
        let (sender, receiver) = (ends[from].node, ends[1 - from].node);
        if ends[from].broken {
            return;
        }
        if self.network.links[sender][receiver].cuts > 0 {
            return ends[from].held.push_back(item);
        }
        if !self.nodes[receiver].powered {
            // Nobody acknowledges it.
            if ends[from].state != EndState::Closed {
                self.after(RETRANSMIT, Event::Arrive { connection, from, item });
            }
            return;
        }
        self.hand_over(connection, from, item);
    }

    /// Something has reached the receiver's machine.
    fn hand_over(&mut self, connection: usize, from: usize, item: Item) {
        let ends = &self.network.connections[connection].ends;
        let receiver = &ends[1 - from];
        let node = &self.nodes[receiver.node];
        let alive = node.up.is_some() && node.life == receiver.life;
        if receiver.state == EndState::Closed || !alive {
            let is_news = matches!(item, Item::Bytes(_) | Item::Established);
            if is_news && ends[from].state != EndState::Closed {
                self.push(connection, 1 - from, Item::Error(ECONNRESET));
            }
            return;
        }
        let (node, life) = (receiver.node, receiver.life);
        let happens = Happens::Arrived { connection, from, item };
        self.at(self.now, Event::Node { node, life, happens });
    }

    /// A node takes what has arrived.
    pub(crate) fn take(&mut self, index: usize, connection: usize, from: usize, item: Item) {
        let local = self.local(index);
        let end = 1 - from;
        if let Item::Bytes(bytes) = &item {
            self.acknowledge(connection, from, bytes.len());
        }
        let receiver = &mut self.network.connections[connection].ends[end];
        let (state, link) = (receiver.state, receiver.link);
        let (Some(up), Some(link)) = (&mut self.nodes[index].up, link) else { return };
        if state == EndState::Closed {
            return;
        }
        match item {
            Item::Established => {
                receiver.state = EndState::Open;
                up.stack.connected(local, link);
            }
            Item::Bytes(bytes) => {
                let sender = &mut self.network.connections[connection].ends[from];
                let (node, life, keys) =
                    (sender.node, sender.life, sender.tap.was_read(bytes.len()));
                self.forget_lives(index);
                self.check_old_frames(index, node, life, &keys);
                self.read(index, connection, end, link, &bytes);
                self.note_lives(index);
            }
            Item::Forged(forged) => {
                let sender = self.network.connections[connection].ends[from].node;
                self.take_forged(index, sender, link, &forged);
            }
            Item::End => self.lost(index, connection, end, CloseReason::Ended),
            Item::Error(errno) => self.lost(index, connection, end, CloseReason::Failed { errno }),
        }
    }

    fn acknowledge(&mut self, connection: usize, from: usize, len: usize) {
        let buffer = self.plan.net.send_buffer;
        let sender = &mut self.network.connections[connection].ends[from];
        sender.in_flight = sender.in_flight.saturating_sub(len);
        if sender.full && sender.in_flight <= buffer / 2 {
            sender.full = false;
            let (node, life) = (sender.node, sender.life);
            let happens = Happens::Writable { connection, end: from };
            let wait = self.micros(self.plan.net.latency_us);
            self.after(wait, Event::Node { node, life, happens });
        }
    }

    /// Bytes come in one read or in several.
    fn read(&mut self, index: usize, connection: usize, end: usize, link: LinkId, bytes: &[u8]) {
        let splits = self.rng.chance(self.plan.net.split_reads);
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = match splits {
                true if self.rng.chance(50) => 1,
                true => self.rng.between(1, rest.len() as u64) as usize,
                false => rest.len(),
            };
            let (piece, after) = rest.split_at(len);
            rest = after;
            if self.network.connections[connection].ends[end].state != EndState::Open {
                return;
            }
            let local = self.local(index);
            let Some(up) = &mut self.nodes[index].up else { return };
            up.stack.received(local, link, piece);
            if splits {
                self.coverage.count("F12 split read");
                self.settle(index);
            }
        }
    }

    /// A node hears that its connection has ended.
    fn lost(&mut self, index: usize, connection: usize, end: usize, reason: CloseReason) {
        let local = self.local(index);
        let me = self.nodes[index].id;
        let found = &mut self.network.connections[connection].ends[end];
        found.state = EndState::Closed;
        let Some(link) = found.link else { return };
        self.note(|| format!("n{me} ~ n{} lost: {reason}", link.node()));
        self.coverage.count("connection lost");
        let Some(up) = &mut self.nodes[index].up else { return };
        if up.sockets.get(&link.node()) == Some(&(connection, end)) {
            up.sockets.remove(&link.node());
        }
        up.stack.closed(local, link, reason);
    }

    /// The engine closes a connection.
    pub(crate) fn close_link(&mut self, index: usize, link: LinkId) {
        let Some(up) = &mut self.nodes[index].up else { return };
        let Some(&(connection, end)) = up.sockets.get(&link.node()) else { return };
        if self.network.connections[connection].ends[end].link == Some(link) {
            up.sockets.remove(&link.node());
            self.close_end(connection, end);
        }
    }

    fn close_end(&mut self, connection: usize, end: usize) {
        let found = &mut self.network.connections[connection].ends[end];
        let was = std::mem::replace(&mut found.state, EndState::Closed);
        if was == EndState::Open {
            self.push(connection, end, Item::End);
        }
    }

    /// What becomes of the connections of a process that ends: its machine closes them, or is off.
    pub(crate) fn drop_sockets(&mut self, index: usize, silently: bool) {
        for connection in 0..self.network.connections.len() {
            for end in 0..2 {
                let found = &mut self.network.connections[connection].ends[end];
                if found.node != index || found.state == EndState::Closed {
                    continue;
                }
                if silently {
                    found.state = EndState::Closed;
                    found.broken |= !found.held.is_empty();
                    found.held.clear();
                } else {
                    self.close_end(connection, end);
                }
            }
        }
    }

    /// The connection between two nodes, from the first one's end.
    pub(crate) fn connection_of(&self, one: usize, other: usize) -> Option<(usize, usize)> {
        let up = self.nodes[one].up.as_ref()?;
        let (connection, end) = *up.sockets.get(&self.nodes[other].id)?;
        let ends = &self.network.connections[connection].ends;
        ends.iter().all(|end| end.state == EndState::Open).then_some((connection, end))
    }

    /// Whether nothing is on its way on a connection, and no request without its answer.
    pub(crate) fn is_idle(&self, connection: usize) -> bool {
        let ends = &self.network.connections[connection].ends;
        ends.iter().all(|end| end.in_flight == 0 && !end.tap.awaits_answers())
    }

    /// Puts something between two frames that a node sends, if there is a place for it now. Of a
    /// request, its number and type.
    pub(crate) fn slip_in(
        &mut self,
        from: usize,
        to: usize,
        request: Option<(u32, u16)>,
        forged: Forged,
    ) -> bool {
        let Some((connection, end)) = self.connection_of(from, to) else { return false };
        let tap = &mut self.network.connections[connection].ends[end].tap;
        if !tap.is_between_frames() {
            return false;
        }
        if let Some((number, message_type)) = request {
            tap.will_be_answered(number, message_type);
            let answers = self.hostile.answers.entry((self.nodes[to].id, from)).or_default();
            *answers += 1;
        }
        self.push(connection, end, Item::Forged(Box::new(forged)));
        true
    }

    /// The same, and it is read at once: nothing else is on its way.
    pub(crate) fn comes_at_once(&mut self, from: usize, to: usize, forged: &Forged) -> bool {
        let Some((connection, end)) = self.connection_of(from, to) else { return false };
        let ends = &self.network.connections[connection].ends;
        let (true, Some(link)) = (ends[end].tap.is_between_frames(), ends[1 - end].link) else {
            return false;
        };
        if !self.is_idle(connection) {
            return false;
        }
        self.take_forged(to, from, link, forged);
        self.settle(to);
        true
    }

    /// Whether a node can answer for itself on a connection: whose other end that is.
    pub(crate) fn can_answer(&self, index: usize, connection: usize, end: usize) -> bool {
        let (node, answers) =
            (&self.nodes[index], &self.network.connections[connection].ends[1 - end]);
        let runs = node.up.is_some() && node.life == answers.life && node.pauses == 0;
        runs && answers.state == EndState::Open && answers.tap.is_between_frames()
    }

    /// Sends an answer that is not of the node's engine.
    pub(crate) fn answer_for(
        &mut self,
        from: usize,
        to: usize,
        (connection, end): (usize, usize),
        answer: &Header,
    ) {
        self.frame(from, to, connection, end, answer, &[]);
        let bytes: Box<[u8]> = answer.to_bytes().into();
        self.network.connections[connection].ends[end].in_flight += bytes.len();
        self.push(connection, end, Item::Bytes(bytes));
    }

    /// Ends a connection at both ends, at once; what is on its way is lost.
    pub(crate) fn reset(&mut self, connection: usize) {
        for end in 0..2 {
            let index = self.network.connections[connection].ends[end].node;
            let reason = CloseReason::Failed { errno: ECONNRESET };
            self.lost(index, connection, end, reason);
            self.settle(index);
        }
    }
}
