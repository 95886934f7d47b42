//! A cluster: a group joined, and the locks of it that are cached here.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dlm::{Errno, NodeNumber, ResourceName};
use parking_lot::Mutex;
use stackglue::{ConnectError, Connection, Glue, ProtocolVersion, RecoveryHandler};

use crate::acquire::Acquire;
use crate::epoch::{Clock, EPOCH_NAME, Epochs};
use crate::error::{Error, ErrorKind, Holder};
use crate::glue_lock::{self, GlueProtocol};
use crate::membership::Membership;
use crate::queue::Failure;
use crate::resource::Resource;
use crate::table::Table;
use crate::worker::Worker;
use crate::{ClusterLock, ClusterRwLock, Level, SmallValue};

/// What a glue that has announced no maximum yet announces for us.
const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// How to join a group.
///
/// ```no_run
/// # fn run(glue: &stackglue::Glue) -> Result<(), Box<dyn std::error::Error>> {
/// use stackglue_dlmglue::ClusterOptions;
///
/// let cluster = ClusterOptions::new("inventory")
///     .recovery(|node| eprintln!("node {node} died"))
///     .connect(glue)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is joined before `connect`"]
pub struct ClusterOptions {
    group: String,
    stack: Option<String>,
    cluster: String,
    membership: Membership,
    recovery: RecoveryHandler,
    clock: Clock,
}

impl ClusterOptions {
    /// To join that group on the stack that is selected on this host.
    pub fn new(group: &str) -> ClusterOptions {
        ClusterOptions {
            group: group.to_owned(),
            stack: None,
            cluster: String::new(),
            membership: Membership::new(),
            recovery: Box::new(|_| ()),
            clock: Arc::new(SystemTime::now),
        }
    }

    /// The label of the stack that is expected.
    pub fn stack(mut self, label: &str) -> ClusterOptions {
        self.stack = Some(label.to_owned());
        self
    }

    /// The name of the cluster, where the stack has one.
    pub fn cluster(mut self, name: &str) -> ClusterOptions {
        self.cluster = name.to_owned();
        self
    }

    /// What tells that this node is no longer a member.
    pub fn membership(mut self, membership: &Membership) -> ClusterOptions {
        self.membership = membership.clone();
        self
    }

    /// Called for each node that dies, before anybody gets what it held.
    pub fn recovery(
        mut self,
        handler: impl Fn(NodeNumber) + Send + Sync + 'static,
    ) -> ClusterOptions {
        self.recovery = Box::new(handler);
        self
    }

    /// What tells the time for [fencing tokens](crate#fencing-tokens): the system's clock, unless this is
    /// called. For tests and simulations.
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> ClusterOptions {
        self.clock = Arc::new(now);
        self
    }

    /// Joins. Blocks as long as the stack takes.
    ///
    /// # Errors
    ///
    /// Those of [`Glue::connect`].
    pub fn connect(self, glue: &Glue) -> Result<Cluster, ConnectError> {
        let version = glue.max_protocol().unwrap_or(VERSION);
        // Refused only when another thread has just announced another one, which `connect` reports.
        let _ = glue.set_max_protocol(version);
        let connection = glue.connect(
            self.stack.as_deref(),
            &self.cluster,
            &self.group,
            Arc::new(GlueProtocol(version)),
            self.recovery,
        )?;
        let joined = Arc::new(Joined(Arc::new(connection)));
        Ok(Cluster::over(joined, self.membership, self.clock))
    }
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterOptions")
            .field("group", &self.group)
            .field("stack", &self.stack)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// A group joined, with the locks of it that are cached here. A handle: clones are the same.
///
/// It is left when the last handle, the last lock and with them the last guard are gone. That
/// blocks until every cached lock is given back, so it must not happen inside a callback of the
/// stack.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

pub(crate) struct Inner {
    table: Table,
    epochs: Epochs,
    /// Forgotten, but not yet taken back by the stack.
    leaving: Mutex<Vec<Arc<Resource>>>,
    membership: Membership,
    worker: Worker,
    joined: Arc<Joined>,
}

/// The group, which is left when this is dropped. A callback that is just ending may keep a
/// resource and with it the connection a moment longer, but must not be what leaves.
struct Joined(Arc<Connection>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Err(error) = self.0.disconnect(false) {
            tracing::error!(%error, "a cluster is not left");
        }
    }
}

impl Cluster {
    /// Joins a group on the stack that is selected on this host; [`ClusterOptions`] says more.
    ///
    /// # Errors
    ///
    /// Those of [`Glue::connect`].
    pub fn connect(glue: &Glue, group: &str) -> Result<Cluster, ConnectError> {
        ClusterOptions::new(group).connect(glue)
    }

    /// Another cache beside this one, as another process of this host would have it: what the one
    /// holds is in the way of the other. For programs that want to see contention without a second
    /// host.
    pub fn beside(&self) -> Cluster {
        let clock = self.0.epochs.clock();
        Cluster::over(Arc::clone(&self.0.joined), self.0.membership.clone(), clock)
    }

    /// The lock of that name (1 to 64 bytes, any; 32 on `o2cb`), which excludes every other user in
    /// the cluster. Nothing is asked of the stack before it is taken.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Name`], [`ErrorKind::Reserved`].
    pub fn lock(&self, name: impl AsRef<[u8]>) -> Result<ClusterLock, Error> {
        Ok(ClusterLock::new(self.handle(name.as_ref())?))
    }

    /// The value of that name, shared by the cluster. Where it was never written, or was lost with
    /// the node that wrote it, it reads as `initial`.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub fn value<T: SmallValue>(
        &self,
        name: impl AsRef<[u8]>,
        initial: T,
    ) -> Result<ClusterRwLock<T>, Error> {
        Ok(ClusterRwLock::new(self.handle(name.as_ref())?, initial))
    }

    /// Gives back every lock that nobody has a handle of and no callback is busy with, and forgets
    /// it; how many. They are taken from the stack anew when they are used again. Does not wait for
    /// the stack.
    pub fn release_unused(&self) -> usize {
        let unused = self.0.table.take_unused();
        for resource in &unused {
            resource.let_go(std::task::Waker::noop());
        }
        let count = unused.len();
        let mut leaving = self.0.leaving.lock();
        leaving.extend(unused);
        leaving.retain(|resource| !resource.is_gone());
        count
    }

    /// The name of the group.
    pub fn group(&self) -> &str {
        self.0.connection().group()
    }

    /// This host's node number.
    ///
    /// # Errors
    ///
    /// When the stack does not know it.
    pub fn this_node(&self) -> Result<NodeNumber, Errno> {
        self.0.connection().this_node()
    }

    /// Why this node is no longer a member; `None` when it is one.
    pub fn lost(&self) -> Option<&str> {
        self.0.membership.lost()
    }

    fn over(joined: Arc<Joined>, membership: Membership, clock: Clock) -> Cluster {
        let inner = Arc::new(Inner {
            table: Table::new(),
            epochs: Epochs::new(glue_lock::resource(&joined.0, EPOCH_NAME), clock),
            leaving: Mutex::default(),
            membership,
            worker: Worker::new(),
            joined,
        });
        inner.membership.add(&inner);
        Cluster(inner)
    }

    #[inline]
    pub(crate) fn handle(&self, name: &[u8]) -> Result<Handle, Error> {
        let connection = self.0.connection();
        let checked = match ResourceName::new(name) {
            Err(error) => Err(ErrorKind::Name(error)),
            Ok(_) if name == EPOCH_NAME => Err(ErrorKind::Reserved),
            Ok(_) => Ok(()),
        };
        if let Err(kind) = checked {
            return Err(Error::new(connection.group(), name, Level::NL, kind));
        }
        let mut new = false;
        let resource = self.0.table.get(name, || {
            new = true;
            glue_lock::resource(connection, name)
        });
        // Whoever lost membership may not have known this one.
        if new && self.lost().is_some() {
            resource.lose();
        }
        Ok(Handle { resource, cluster: self.clone() })
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(self.0.connection()).finish()
    }
}

impl Inner {
    fn connection(&self) -> &Arc<Connection> {
        &self.joined.0
    }

    pub(crate) fn lose(&self) {
        // Those too that are being given back: nobody takes them any more.
        for resource in self.table.all().iter().chain(self.leaving.lock().iter()) {
            resource.lose();
        }
        self.epochs.resource.lose();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody has a handle, so nobody holds or waits.
        let mut resources = self.table.all();
        resources.append(self.leaving.get_mut());
        resources.push(Arc::clone(&self.epochs.resource));
        crate::worker::give_back(&resources);
        self.worker.stop();
    }
}

/// One resource, and the cluster that it is of.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) resource: Arc<Resource>,
    cluster: Cluster,
}

/// How long a user waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Forever,
}

impl Handle {
    /// Takes a level, on the short way if that is open.
    #[inline]
    pub(crate) fn acquire(&self, level: Level, patience: Patience) -> Result<(), Error> {
        if self.resource.word.enter(level) { Ok(()) } else { self.acquire_slowly(level, patience) }
    }

    #[cold]
    fn acquire_slowly(&self, level: Level, patience: Patience) -> Result<(), Error> {
        wait(&self.resource, level, patience).map_err(|kind| self.error(level, kind))?;
        if level == Level::EX && self.resource.token_missing() {
            let epochs = &self.cluster.0.epochs;
            // Held for a moment only by each, so whoever would not wait for others waits for this.
            let patience = match patience {
                Patience::None => Patience::Forever,
                patience => patience,
            };
            if let Err(kind) = wait(&epochs.resource, Level::EX, patience) {
                self.resource.leave(level);
                return Err(self.error(level, kind));
            }
            self.take_token();
        }
        Ok(())
    }

    /// As [`acquire`](Self::acquire), for a future.
    pub(crate) async fn acquire_async(&self, level: Level) -> Result<(), Error> {
        let granted = Acquire::new(&self.resource, level, true).await;
        granted.map_err(|failure| self.error(level, failure.into()))?;
        if level == Level::EX && self.resource.token_missing() {
            // Given back if the future is dropped.
            let held = Held { resource: &self.resource, level };
            let counted = Acquire::new(&self.cluster.0.epochs.resource, Level::EX, true).await;
            counted.map_err(|failure| self.error(level, failure.into()))?;
            self.take_token();
            std::mem::forget(held);
        }
        Ok(())
    }

    /// With both the resource and the count of epochs held in EX.
    fn take_token(&self) {
        let epochs = &self.cluster.0.epochs;
        let token = epochs.take();
        epochs.resource.leave(Level::EX);
        self.resource.set_token(token);
    }

    /// Has `hook` called before this node gives up EX.
    pub(crate) fn flush_with(&self, hook: impl Fn(Level) + Send + Sync + 'static) -> bool {
        self.cluster.0.worker.serve(&self.resource, hook)
    }

    pub(crate) fn lost(&self) -> Option<&str> {
        if !self.resource.word.is_lost() {
            return None;
        }
        Some(self.cluster.lost().unwrap_or("the stack did not take the lock back"))
    }

    fn error(&self, level: Level, kind: ErrorKind) -> Error {
        let kind = match kind {
            ErrorKind::Lost(_) => ErrorKind::Lost(self.lost().unwrap_or_default().to_owned()),
            kind => kind,
        };
        let connection = self.cluster.0.connection();
        let error = Error::new(connection.group(), self.resource.name(), level, kind);
        if error.is_busy() { error.with_holders(self.holders(level)) } else { error }
    }

    /// Those in the way of that level, as far as this node knows.
    fn holders(&self, level: Level) -> Vec<Holder> {
        let mut holders = Vec::new();
        let Ok(name) = ResourceName::new(self.resource.name()) else { return holders };
        self.cluster.0.connection().visit_resource(name, &mut |view| {
            let own = |lksb| self.resource.is(lksb);
            holders.extend(view.locks.iter().filter_map(|lock| {
                let mode = lock.granted.filter(|mode| !mode.is_compatible_with(level.mode()))?;
                let theirs = !lock.lksb.is_some_and(own);
                theirs.then_some(Holder { node: lock.node, mode })
            }));
        });
        if holders.is_empty() && self.resource.word.look().is_used_above(level.compatible()) {
            let held = self.resource.word.look();
            let mode = if held.has_writer() { Level::EX } else { Level::PR }.mode();
            holders.extend(self.cluster.this_node().ok().map(|node| Holder { node, mode }));
        }
        holders
    }
}

/// Gives up a level when dropped.
struct Held<'a> {
    resource: &'a Resource,
    level: Level,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.resource.leave(self.level);
    }
}

fn wait(resource: &Resource, level: Level, patience: Patience) -> Result<(), ErrorKind> {
    let outcome = match patience {
        Patience::Until(deadline) => {
            let timed_out = ErrorKind::TimedOut;
            Acquire::new(resource, level, true).wait_until(deadline).ok_or(timed_out)?
        }
        Patience::Forever => Acquire::new(resource, level, true).wait(),
        Patience::None => Acquire::new(resource, level, false).wait(),
    };
    Ok(outcome?)
}

impl From<Failure> for ErrorKind {
    fn from(failure: Failure) -> ErrorKind {
        match failure {
            Failure::WouldWait => ErrorKind::WouldWait,
            Failure::Refused(errno) => ErrorKind::Refused(errno),
            Failure::Lost => ErrorKind::Lost(String::new()),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::OnceLock;

    use dlm::{LockFlags, Mode, StatusFlags};
    use stackglue::{
        Abandoned, Callback, ConnectRefused, ConnectRequest, Lksb, LockingProtocol, Plugin,
        ResourceView, StackConnection,
    };

    use super::*;

    /// A stack that grants everything and takes nothing back.
    #[derive(Clone, Default)]
    struct Greedy(Arc<OnceLock<Arc<dyn LockingProtocol>>>);

    impl Plugin for Greedy {
        fn name(&self) -> &'static str {
            "o2cb"
        }
        fn connect(
            &self,
            request: ConnectRequest<'_>,
        ) -> Result<Box<dyn StackConnection>, ConnectRefused> {
            let _ = self.0.set(request.protocol);
            Ok(Box::new(self.clone()))
        }
    }

    impl StackConnection for Greedy {
        fn version(&self) -> ProtocolVersion {
            VERSION
        }
        fn this_node(&self) -> Result<NodeNumber, Errno> {
            Ok(NodeNumber(1))
        }
        fn lock(
            &self,
            mode: Mode,
            lksb: &Lksb,
            _: LockFlags,
            _: ResourceName<'_>,
        ) -> Result<(), Errno> {
            let granted = lksb.post(Callback::lock(None, StatusFlags::empty(), Some(mode)));
            if let (Some(callback), Some(protocol)) = (granted, self.0.get()) {
                lksb.deliver(callback, protocol);
            }
            Ok(())
        }
        fn unlock(&self, _: &Lksb, _: LockFlags) -> Result<(), Errno> {
            Ok(())
        }
        fn abandon(&self, _: &Lksb) -> Result<Abandoned, Errno> {
            Err(Errno::EOPNOTSUPP)
        }
        fn visit_resources(&self, _: &mut dyn FnMut(ResourceView<'_>)) {}
        fn dump_lksb(&self, _: &Lksb) -> String {
            String::new()
        }
        fn disconnect(&self) -> Result<(), Errno> {
            Ok(())
        }
    }

    #[test]
    fn who_has_lost_membership_waits_for_no_lock_that_it_was_giving_back() {
        let glue = Glue::new();
        glue.register(Arc::new(Greedy::default())).expect("the first");
        let membership = Membership::new();
        let options = ClusterOptions::new("group").membership(&membership);
        let cluster = options.connect(&glue).expect("it takes all");
        drop(cluster.lock("name").expect("a name").try_lock_for(std::time::Duration::ZERO));
        assert_eq!(cluster.release_unused(), 1);
        let leaving = cluster.0.leaving.lock().clone();
        assert!(leaving.iter().all(|resource| !resource.is_gone()));
        membership.lose("fenced");
        assert!(leaving.len() == 1 && leaving.iter().all(|resource| resource.is_gone()));
    }
}
