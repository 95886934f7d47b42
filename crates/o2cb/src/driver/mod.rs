//! The driver: disks, sockets, clocks and threads around the engine of one node.
//!
//! The engine stands behind one mutex. A caller's thread enters it, and writes to sockets what follows
//! from its call before it leaves; one thread waits for sockets and timers; each heartbeat region has a
//! thread for its disk. Callbacks are posted under the mutex, which puts them in order, and delivered
//! behind it.

mod attributes;
mod disks;
mod group;
mod inner;
mod options;
mod regions;
mod sockets;
mod status;

use std::cell::Cell;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::{Poll, Token, Waker};
use parking_lot::{Condvar, Mutex};

pub use options::{FenceHandler, NodeOptions, RegionOptions, StartError};
pub use status::{DomainStatus, NodeStatus, PeerStatus};

use group::Deliveries;
pub use group::mode_of;
pub(crate) use group::{Group, Pending};
use inner::Inner;

use crate::heartbeat::{Heartbeat, HeartbeatConfig, Mode, RegionId};
use crate::o2net::{CONNECTOR_STACKGLUE, Net, NetConfig};
use crate::stack::{DomainId, Stack};
use crate::{NodeId, NodeMap, Now};

/// A running node: heartbeats, is connected to its peers, and serves lock domains. A handle: clones are
/// the same node.
///
/// It goes on until [`stop`](Self::stop), also when every handle is dropped: a node that vanishes
/// without a word is recovered by the others.
#[derive(Clone)]
pub struct O2cbNode(Arc<Shared>);

pub(crate) struct Shared {
    started: Instant,
    pub(crate) options: NodeOptions,
    inner: Mutex<Inner>,
    /// Something that a thread may wait for has changed.
    changed: Condvar,
    waker: Waker,
    stopping: AtomicBool,
}

impl O2cbNode {
    /// Starts a node: opens its listener, starts its heartbeat, and returns when that is steady (some
    /// 10 s), so that every live node has had a chance to see it.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running.
    pub fn start(options: NodeOptions) -> Result<O2cbNode, StartError> {
        options.check()?;
        let me = options.me;
        let nodes: NodeMap = options.cluster.nodes.iter().map(|node| node.number).collect();
        let heartbeat = Heartbeat::new(HeartbeatConfig {
            me,
            nodes,
            mode: options.mode(),
            dead_threshold: options.timeouts.dead_threshold,
        })?;
        let addresses =
            options.cluster.nodes.iter().map(|node| (node.number, node.address, node.port));
        let net = Net::new(NetConfig {
            me,
            nodes: addresses.collect(),
            heartbeat_timeout_ms: options.timeouts.write_timeout_ms(),
            idle_timeout_ms: options.timeouts.idle_timeout_ms,
            keepalive_delay_ms: options.timeouts.keepalive_delay_ms,
            reconnect_delay_ms: options.timeouts.reconnect_delay_ms,
            dead_threshold: options.timeouts.dead_threshold,
            connector_id: CONNECTOR_STACKGLUE,
        })?;
        let own = options.own_node()?;
        let listener = TcpListener::bind((own.address, own.port)).map_err(|source| {
            StartError::Listen { address: own.address, port: own.port, source }
        })?;
        listener.set_nonblocking(true).map_err(StartError::Threads)?;
        let poll = Poll::new().map_err(StartError::Threads)?;
        let waker = Waker::new(poll.registry(), sockets::WAKER).map_err(StartError::Threads)?;
        let registry = poll.registry().try_clone().map_err(StartError::Threads)?;
        let inner = Inner::new(Stack::new(me, heartbeat, net), options.timeouts, registry);
        let shared = Arc::new(Shared {
            started: Instant::now(),
            options,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            waker,
            stopping: AtomicBool::new(false),
        });
        let node = O2cbNode(shared);
        sockets::run(&node, poll, listener).map_err(StartError::Threads)?;
        if let Err(error) = node.start_regions(&node.0.options.regions) {
            node.stop();
            return Err(error);
        }
        Ok(node)
    }

    /// Leaves: tells the peers on every disk, waits until that is written, and closes the connections
    /// then. The domains should have been left before; what is held in one that was not is recovered by
    /// its other members. Blocks for some seconds at most.
    pub fn stop(&self) {
        let wall = wall_seconds();
        self.0.act(|inner, now| {
            inner.domains.clear();
            let regions: Vec<RegionId> = inner.stack.heartbeat().region_ids().collect();
            let domains: Vec<DomainId> = inner.stack.domains().map(|(id, _)| id).collect();
            for domain in domains {
                inner.stack.remove_domain(domain);
            }
            for region in regions {
                if let Err(error) = inner.stack.remove_region(now, region, wall) {
                    tracing::warn!(%error, "a heartbeat region could not be left");
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut inner = self.0.inner.lock();
        while !inner.disks.is_empty() && inner.fenced.is_none() {
            if self.0.changed.wait_until(&mut inner, deadline).timed_out() {
                tracing::warn!("the last heartbeat was not written in 10 s");
                break;
            }
        }
        inner.disks.clear();
        inner.sockets.clear();
        drop(inner);
        self.0.stopping.store(true, Ordering::Release);
        self.0.wake();
        // The address is free when this returns.
        self.0.wait_for(Some(Duration::from_secs(5)), |inner| inner.closed.then_some(()));
    }

    /// This node's number.
    pub fn me(&self) -> NodeId {
        self.0.options.me
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl std::fmt::Debug for O2cbNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("O2cbNode").field("me", &self.me()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Now {
        TURN.get().unwrap_or_else(|| self.started.elapsed())
    }

    /// Tells what is the time, and that it is not to be asked for again until the thread that waits for
    /// sockets calls this once more.
    fn begin_turn(&self) {
        TURN.set(Some(self.started.elapsed()));
    }

    /// Does something to the engine, does what follows from it, and delivers callbacks behind the
    /// mutex.
    ///
    /// An engine that panics is in no state to go on, and its heartbeat may be over with the thread: the
    /// node is fenced, so that nobody relies on its locks when the others take them.
    pub(crate) fn act<T>(self: &Arc<Self>, action: impl FnOnce(&mut Inner, Now) -> T) -> T {
        self.enter(|inner| {
            let result = action(inner, self.now());
            (result, self.settle(inner))
        })
    }

    fn enter<T>(self: &Arc<Self>, turn: impl FnOnce(&mut Inner) -> (T, Deliveries)) -> T {
        let mut inner = self.inner.lock();
        let done = catch_unwind(AssertUnwindSafe(|| turn(&mut inner)));
        let (result, deliveries) = match done {
            Ok((result, deliveries)) => (Ok(result), deliveries),
            Err(panic) => {
                inner.stack.fence("its lock manager panicked, which is a bug".to_owned());
                inner.perform_outputs(self);
                self.changed.notify_all();
                (Err(panic), std::mem::take(&mut inner.deliveries))
            }
        };
        drop(inner);
        self.deliver(deliveries);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn settle(&self, inner: &mut Inner) -> Deliveries {
        inner.perform_outputs(self);
        // Callbacks of the thread that waits for sockets may add to what there is to send.
        if TURN.get().is_none() || inner.deliveries.are_more_than_callbacks() {
            inner.flush(self.now());
            inner.perform_outputs(self);
        }
        if inner.sleeps_too_long() {
            self.wake();
        }
        if std::mem::take(&mut inner.news) {
            self.changed.notify_all();
        }
        std::mem::take(&mut inner.deliveries)
    }

    /// Does what [`act`](Self::act) did not on a thread that flushes later, and all that follows.
    fn flush_all(self: &Arc<Self>) {
        while self.enter(|inner| {
            if !inner.stack.has_dirty() {
                return (false, Deliveries::default());
            }
            inner.flush(self.now());
            (true, self.settle(inner))
        }) {}
    }

    fn deliver(self: &Arc<Self>, deliveries: Deliveries) {
        let Deliveries { callbacks, deaths, fence } = deliveries;
        if let Some(reason) = fence {
            (self.options.fence)(&reason);
        }
        // Users hear of a death before anything that follows from it, and recovery waits for them.
        for death in deaths {
            (death.recovery)(dlm::NodeNumber(death.node.get().into()));
            self.act(|inner, now| {
                inner.stack.with_domain(now, death.domain, |domain| {
                    domain.users_told(now, death.node);
                });
            });
        }
        for (lksb, callback, protocol) in callbacks {
            lksb.deliver(callback, &protocol);
        }
    }

    /// Waits until `done` has an answer, or for so long.
    pub(crate) fn wait_for<T>(
        &self,
        limit: Option<Duration>,
        mut done: impl FnMut(&mut Inner) -> Option<T>,
    ) -> Option<T> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut inner = self.inner.lock();
        loop {
            if let Some(result) = done(&mut inner) {
                return Some(result);
            }
            match deadline {
                Some(deadline) => {
                    if self.changed.wait_until(&mut inner, deadline).timed_out() {
                        return done(&mut inner);
                    }
                }
                None => self.changed.wait(&mut inner),
            }
        }
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Inner, Now) -> T) -> T {
        look(&self.inner.lock(), self.now())
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "the thread that waits for sockets cannot be woken");
        }
    }
}

thread_local! {
    /// When its turn began, on the thread that waits for sockets. That one writes once when it has done
    /// all that was to be done, so that frames which belong together, and answers, share a segment. A
    /// caller's thread writes at once. (A kernel answers a message behind the callbacks that it causes,
    /// too.)
    static TURN: Cell<Option<Now>> = const { Cell::new(None) };
}

/// Seconds since 1970, for the sequence of a heartbeat block.
fn wall_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Where a peer's socket is among the tokens of the event loop.
fn token_of(node: NodeId) -> Token {
    Token(node.index())
}

/// The heartbeat mode of a configuration.
fn heartbeat_mode(mode: crate::cluster_conf::HeartbeatMode) -> Mode {
    match mode {
        crate::cluster_conf::HeartbeatMode::Local => Mode::Local,
        crate::cluster_conf::HeartbeatMode::Global => Mode::Global,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::Timeouts;
    use crate::cluster_conf::{ClusterConf, NewNode};
    use crate::heartbeat::disk::create_region_file;

    #[test]
    fn an_engine_that_panics_fences_the_node() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("heartbeat");
        let region = RegionOptions::of_file("test", &path).expect("a region");
        create_region_file(&path, region.geometry).expect("a file");
        let mut conf = ClusterConf::default();
        let cluster = conf.add_cluster("test").expect("a name");
        let process = std::process::id().to_le_bytes();
        let address = Ipv4Addr::new(127, 251, process[0], process[1].max(1));
        let me = NodeId::new(1).expect("a number");
        cluster
            .add_node(&NewNode { name: "one", number: Some(me), address, port: None })
            .expect("it fits");
        let (fences, fenced) = channel();
        let node = O2cbNode::start(NodeOptions {
            cluster: cluster.clone(),
            me,
            timeouts: Timeouts { dead_threshold: 5, ..Timeouts::default() },
            regions: vec![region],
            fence: Box::new(move |reason| {
                fences.send(reason.to_owned()).expect("somebody listens")
            }),
        })
        .unwrap_or_else(|error| panic!("{error}"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            node.shared().act(|_, _| panic!("as the test wants it"));
        }));
        assert!(panicked.is_err());
        assert_eq!(fenced.recv().expect("a reason"), "its lock manager panicked, which is a bug");
        assert!(node.status().fenced.is_some());
        node.stop();
    }
}
