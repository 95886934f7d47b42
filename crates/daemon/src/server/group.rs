//! The groups that the daemon is connected to: joined on first use, left when their last lock is gone.
//!
//! A stack of several nodes takes its time to join and to leave, and may wait for a node that does not
//! answer. Then a thread of its own does it, requests for the group wait meanwhile, and the loop goes on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use slab::Slab;
use stackglue::{ConnectError, Connection, Errno, Glue};

use super::lock::{GroupProtocol, Tally};
use super::parked::{Parked, ParkingLot};
use super::process::Shared;
use crate::protocol::DEFAULT_GROUP;

/// A group that this host is a member of, or is about to be.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) protocol: Arc<GroupProtocol>,
    pub(super) tally: Arc<Tally>,
    pub(super) node: u32,
    membership: Membership,
    was_used: bool,
}

enum Membership {
    /// Being joined.
    Joining(ParkingLot),
    Member(Arc<Connection>),
    /// Being left; what comes meanwhile waits until it can be joined again.
    Leaving(ParkingLot, Vec<StillThere>),
}

/// Dropped when a group that is being left is left.
type StillThere = mpsc::Sender<Infallible>;

impl Group {
    /// The connection, if it is a member.
    #[inline]
    pub(super) fn connection(&self) -> Option<&Arc<Connection>> {
        match &self.membership {
            Membership::Member(connection) => Some(connection),
            Membership::Joining(_) | Membership::Leaving(..) => None,
        }
    }

    /// What waits until it is a member; `None` when it is.
    #[inline]
    pub(super) fn parked(&mut self) -> Option<&mut ParkingLot> {
        match &mut self.membership {
            Membership::Member(_) => None,
            Membership::Joining(parked) | Membership::Leaving(parked, _) => Some(parked),
        }
    }

    /// Requests for locks that wait until it is a member.
    pub(super) fn parked_locks(&self) -> impl Iterator<Item = &stackglue::Lksb> {
        let parked = match &self.membership {
            Membership::Member(_) => None,
            Membership::Joining(parked) | Membership::Leaving(parked, _) => Some(parked),
        };
        parked.into_iter().flat_map(ParkingLot::locks)
    }
}

/// What a thread that joined or left a group has to say.
pub(super) enum GroupEvent {
    Joined { key: usize, outcome: Result<Joined, ConnectError> },
    Left { key: usize },
}

/// A group that was joined.
pub(super) struct Joined {
    connection: Arc<Connection>,
    protocol: Arc<GroupProtocol>,
}

/// What becomes of requests that waited for a group.
pub(super) struct Settled {
    pub(super) parked: Vec<Parked>,
    /// Why they are refused; `None`: they go on.
    pub(super) refusal: Option<(Errno, String)>,
    /// The group to forget afterwards.
    pub(super) forget: Option<usize>,
}

/// Every group, and the way to more.
pub(super) struct Groups {
    context: Context,
    /// Whether joining and leaving may take long.
    is_slow: bool,
    /// This host's node number, before a group tells it.
    node: u32,
    groups: Slab<Group>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// When to look for groups that have had no lock for a while.
    sweep_ms: Option<u64>,
}

/// What it takes to join a group.
#[derive(Clone)]
struct Context {
    glue: Glue,
    cluster: String,
    shared: Arc<Shared>,
}

impl Groups {
    pub(super) fn new(
        glue: Glue,
        cluster: String,
        shared: Arc<Shared>,
        is_slow: bool,
        node: u32,
    ) -> Groups {
        Groups {
            context: Context { glue, cluster, shared },
            is_slow,
            node,
            groups: Slab::new(),
            by_name: HashMap::new(),
            sweep_ms: None,
        }
    }

    #[inline]
    pub(super) fn get(&self, key: usize) -> Option<&Group> {
        self.groups.get(key)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Group> {
        self.groups.get_mut(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().map(|(_, group)| group)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.iter_mut().map(|(_, group)| group)
    }

    /// The place of a group by its name, if there is one.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(named(name)).copied()
    }

    /// The place of a group, which is joined if need be; the empty name is the default group's. It may
    /// not be a member yet.
    #[inline]
    pub(super) fn join(&mut self, name: &[u8]) -> Result<usize, (Errno, String)> {
        let name = named(name);
        if let Some(&key) = self.by_name.get(name) {
            self.groups[key].was_used = true;
            return Ok(key);
        }
        let text = str::from_utf8(name).map_err(|_| {
            let shown = String::from_utf8_lossy(name);
            (Errno::EINVAL, format!("the group name {shown:?} is not UTF-8"))
        })?;
        if text.chars().any(char::is_control) {
            let text = format!("the group name {text:?} has control characters: leave them out");
            return Err((Errno::EINVAL, text));
        }
        let groups_max = self.context.shared.limits.groups_max;
        if self.groups.len() >= groups_max {
            let text = format!("{groups_max} groups are connected already: no more are allowed");
            return Err((Errno::ENOSPC, text));
        }
        let key = if self.is_slow { self.join_slowly(text)? } else { self.join_at_once(text)? };
        self.by_name.insert(name.into(), key);
        let interval_ms = self.sweep_interval_ms();
        self.sweep_ms.get_or_insert(self.context.shared.now_ms() + interval_ms);
        Ok(key)
    }

    fn join_at_once(&mut self, name: &str) -> Result<usize, (Errno, String)> {
        let tally = Arc::new(Tally::default());
        let joined = self.context.connect(name, &tally);
        let Joined { connection, protocol } =
            joined.map_err(|error| (error.errno(), error.to_string()))?;
        let node = connection.this_node().map_or(0, |node| node.0);
        let membership = Membership::Member(connection);
        let name = name.to_owned();
        Ok(self.groups.insert(Group { name, membership, protocol, tally, node, was_used: true }))
    }

    fn join_slowly(&mut self, name: &str) -> Result<usize, (Errno, String)> {
        let tally = Arc::new(Tally::default());
        let protocol = self.context.protocol(name, &tally);
        let key = self.groups.insert(Group {
            name: name.to_owned(),
            membership: Membership::Joining(ParkingLot::default()),
            protocol,
            tally: tally.clone(),
            node: self.node,
            was_used: true,
        });
        match self.context.start_joining(key, name, &tally) {
            Ok(()) => Ok(key),
            Err(refusal) => {
                self.groups.remove(key);
                Err(refusal)
            }
        }
    }

    /// Takes note of what a thread has done: what waited for it is to be gone on with, in the order
    /// of the answers.
    pub(super) fn settle(&mut self, event: GroupEvent) -> Option<Settled> {
        match event {
            GroupEvent::Joined { key, outcome } => {
                let group = self.groups.get_mut(key)?;
                let parked = group.parked().map(ParkingLot::take).unwrap_or_default();
                match outcome {
                    Ok(Joined { connection, protocol }) => {
                        group.node = connection.this_node().map_or(0, |node| node.0);
                        group.membership = Membership::Member(connection);
                        group.protocol = protocol;
                        Some(Settled { parked, refusal: None, forget: None })
                    }
                    Err(error) => {
                        tracing::warn!(group = group.name, %error, "a group cannot be joined");
                        let refusal = Some((error.errno(), error.to_string()));
                        Some(Settled { parked, refusal, forget: Some(key) })
                    }
                }
            }
            GroupEvent::Left { key } => {
                let group = self.groups.get_mut(key)?;
                let mut parked = ParkingLot::default();
                if let Some(waiting) = group.parked() {
                    std::mem::swap(waiting, &mut parked);
                }
                if parked.is_empty() {
                    self.forget(key);
                    return None;
                }
                match self.context.start_joining(key, &group.name, &group.tally) {
                    Ok(()) => {
                        group.membership = Membership::Joining(parked);
                        None
                    }
                    Err(refusal) => Some(Settled {
                        parked: parked.take(),
                        refusal: Some(refusal),
                        forget: Some(key),
                    }),
                }
            }
        }
    }

    /// Forgets a group that could not be joined, or was left.
    pub(super) fn forget(&mut self, key: usize) {
        if let Some(group) = self.groups.try_remove(key) {
            self.by_name.remove(group.name.as_bytes());
        }
    }

    /// Joins the default group and leaves it: a stack that cannot be used says so when the daemon
    /// starts, not at the first lock. Returns this host's node number, 0 if the stack does not tell.
    pub(super) fn probe(&self) -> Result<u32, ConnectError> {
        let Joined { connection, .. } = self.context.connect(DEFAULT_GROUP, &Arc::default())?;
        let node = connection.this_node().map_or(self.node, |node| node.0);
        leave(&connection);
        Ok(node)
    }

    /// Leaves a group that nobody uses, now. Whether it takes its time: then a [`GroupEvent::Left`] comes.
    pub(super) fn leave_unused(&mut self, key: usize) -> bool {
        self.leave_where(|at, group| at == key && group.tally.is_empty());
        self.get(key).is_some_and(|group| matches!(group.membership, Membership::Leaving(..)))
    }

    /// When [`sweep`](Self::sweep) wants to be called.
    pub(super) fn sweep_at_ms(&self) -> Option<u64> {
        self.sweep_ms
    }

    /// Leaves the groups that have no lock and were not used since the last sweep.
    ///
    /// Not at once: a process that takes and drops one lock again and again would join and leave as
    /// often.
    pub(super) fn sweep(&mut self) {
        self.leave_where(|_, group| !std::mem::take(&mut group.was_used) && group.tally.is_empty());
        let interval_ms = self.sweep_interval_ms();
        self.sweep_ms =
            (!self.groups.is_empty()).then(|| self.context.shared.now_ms() + interval_ms);
    }

    /// Leaves the groups that have no lock, now.
    pub(super) fn leave_idle(&mut self) {
        self.leave_where(|_, group| group.tally.is_empty());
    }

    /// Leaves the group of that name if nobody uses it. If that takes its time, what is returned is
    /// disconnected when it is left.
    pub(super) fn leave_if_unused(&mut self, name: &str) -> Option<mpsc::Receiver<Infallible>> {
        let key = self.find(name.as_bytes())?;
        self.leave_unused(key);
        let group = self.groups.get_mut(key)?;
        let Membership::Leaving(_, waiting) = &mut group.membership else { return None };
        let (still_there, left) = mpsc::channel();
        waiting.push(still_there);
        Some(left)
    }

    /// Leaves every group, whatever locks there are. Waits for those that take long, but not for ever.
    pub(super) fn leave_all(&mut self) {
        if !self.is_slow {
            self.leave_where(|_, _| true);
            return;
        }
        let (done, left) = mpsc::channel();
        let mut leaving = 0;
        for (_, group) in &self.groups {
            let Some(connection) = group.connection().cloned() else { continue };
            let done = done.clone();
            let started = thread::Builder::new().spawn(move || {
                leave(&connection);
                // Fails when nobody waits any more.
                let _ = done.send(());
            });
            leaving += usize::from(started.is_ok());
        }
        let deadline = Instant::now() + LEAVING_PATIENCE;
        for _ in 0..leaving {
            let patience = deadline.saturating_duration_since(Instant::now());
            if left.recv_timeout(patience).is_err() {
                tracing::warn!("not every group could be left: the other nodes recover them");
                return;
            }
        }
    }

    pub(super) fn locks(&self) -> usize {
        self.iter().map(|group| group.tally.locks.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn orphans(&self) -> usize {
        self.iter().map(|group| group.tally.orphans.load(Ordering::Relaxed)).sum()
    }

    fn sweep_interval_ms(&self) -> u64 {
        if self.is_slow { SLOW_SWEEP_INTERVAL_MS } else { SWEEP_INTERVAL_MS }
    }

    fn leave_where(&mut self, mut unwanted: impl FnMut(usize, &mut Group) -> bool) {
        let (by_name, shared, is_slow) = (&mut self.by_name, &self.context.shared, self.is_slow);
        self.groups.retain(|key, group| {
            let Some(connection) = group.connection().cloned() else { return true };
            if !unwanted(key, group) {
                return true;
            }
            if is_slow {
                let shared = shared.clone();
                let started = thread::Builder::new().spawn(move || {
                    leave(&connection);
                    shared.group_event(GroupEvent::Left { key });
                });
                if started.is_ok() {
                    group.membership = Membership::Leaving(ParkingLot::default(), Vec::new());
                }
                return true;
            }
            let left = leave(&connection);
            if left {
                by_name.remove(group.name.as_bytes());
            }
            !left
        });
    }
}

impl Context {
    fn protocol(&self, name: &str, tally: &Arc<Tally>) -> Arc<GroupProtocol> {
        Arc::new(GroupProtocol {
            shared: self.shared.clone(),
            tally: tally.clone(),
            group: name.to_owned(),
            connection: OnceLock::new(),
        })
    }

    /// Blocks for as long as the stack takes to join.
    fn connect(&self, name: &str, tally: &Arc<Tally>) -> Result<Joined, ConnectError> {
        let protocol = self.protocol(name, tally);
        let dead = {
            let name = name.to_owned();
            Box::new(move |node| tracing::warn!(%node, group = name, "a node of the group died"))
        };
        let connection =
            self.glue.connect(None, &self.cluster, name, protocol.clone(), dead).map(Arc::new)?;
        // The protocol is new: nothing was set.
        let _ = protocol.connection.set(Arc::downgrade(&connection));
        Ok(Joined { connection, protocol })
    }

    fn start_joining(
        &self,
        key: usize,
        name: &str,
        tally: &Arc<Tally>,
    ) -> Result<(), (Errno, String)> {
        let (context, name, tally) = (self.clone(), name.to_owned(), tally.clone());
        let joining = move || {
            let outcome = context.connect(&name, &tally);
            context.shared.group_event(GroupEvent::Joined { key, outcome });
        };
        thread::Builder::new().spawn(joining).map(drop).map_err(|error| {
            (Errno::EAGAIN, format!("no thread can be started to join a group: {error}"))
        })
    }
}

fn leave(connection: &Connection) -> bool {
    match connection.disconnect(false) {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "a group cannot be left");
            false
        }
    }
}

fn named(name: &[u8]) -> &[u8] {
    if name.is_empty() { DEFAULT_GROUP.as_bytes() } else { name }
}

const SWEEP_INTERVAL_MS: u64 = 1000;

/// Other nodes take part in joining and leaving.
const SLOW_SWEEP_INTERVAL_MS: u64 = 60_000;

/// A node that does not answer is not waited for any longer than this.
const LEAVING_PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;

    use mio::{Poll, Token, Waker};
    use user::{UserOptions, UserPlugin};

    use super::*;
    use crate::config::{Limits, OnFence};
    use crate::control::ControlRequest;
    use crate::server::process::Process;

    const SOON: Duration = Duration::from_secs(20);

    /// Groups of a stack that takes its time, and their events.
    fn slow_groups() -> (Groups, Arc<Shared>, Poll) {
        let poll = Poll::new().expect("a poller");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        let shared = Arc::new(Shared::new(Limits::default(), OnFence::default(), waker));
        let glue = Glue::new();
        glue.register(Arc::new(UserPlugin::new(UserOptions::default()))).expect("the first");
        glue.set_max_protocol(stackglue::ProtocolVersion { major: 1, minor: 0 })
            .expect("the first");
        glue.set_cluster_stack("solo").expect("it is there");
        (Groups::new(glue, String::new(), shared.clone(), true, 1), shared, poll)
    }

    /// Waits for the next event, and settles it.
    fn settle_next(groups: &mut Groups, shared: &Shared) -> Option<Settled> {
        let deadline = Instant::now() + SOON;
        loop {
            let mut events = shared.take_group_events();
            if let Some(event) = events.pop() {
                assert!(events.is_empty(), "one at a time");
                return groups.settle(event);
            }
            assert!(Instant::now() < deadline, "waited in vain for a group");
            thread::yield_now();
        }
    }

    #[test]
    fn who_waits_until_a_group_is_left_hears_of_it_though_somebody_joins_it_again() {
        let (mut groups, shared, _poll) = slow_groups();
        for is_wanted in [false, true] {
            assert!(groups.leave_if_unused("g").is_none(), "nobody has joined it");
            let key = groups.join(b"g").expect("begun");
            assert!(groups.leave_if_unused("g").is_none(), "not yet joined");
            settle_next(&mut groups, &shared);
            let waiting = [(); 2].map(|()| groups.leave_if_unused("g").expect("it takes its time"));
            for left in &waiting {
                assert_eq!(left.try_recv(), Err(mpsc::TryRecvError::Empty));
            }
            if is_wanted {
                let process = Arc::new(Process::new(0, 1, 0, true, 1));
                let request = ControlRequest::Join { group: "g".to_owned() };
                let parked = groups.get_mut(key).and_then(Group::parked).expect("being left");
                parked.park_request(&process, 1, request);
            }
            settle_next(&mut groups, &shared);
            for left in waiting {
                assert_eq!(left.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
            }
            assert_eq!(groups.find(b"g").is_some(), is_wanted);
        }
    }
}
