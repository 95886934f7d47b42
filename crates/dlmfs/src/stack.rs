//! The way to the stack that serves this host, and what becomes of its locks when it is gone.

use std::fmt;
use std::sync::{Arc, Weak};

use dlm::{Errno, NodeNumber, ResourceName};
use parking_lot::{Condvar, Mutex};
use stackglue::{ConnectError, ConnectRefused, Connection, Glue, O2CB, Plugin};

use crate::lock_file::{Callbacks, LockFile, VERSION, Wakes};

/// Says that the stack is gone, and every lock with it; the text says why. Called once, by a thread
/// that may block: it returns when nobody has a file open any more that was locked through that stack.
/// Until then nobody else should be given those locks.
pub type Lost = Box<dyn Fn(&str) + Send + Sync>;

/// Finds the stack that serves this host. Asked when the first domain is joined, and again when the
/// stack that was found is gone. May block.
pub type FindStack = dyn Fn(Lost) -> Result<Arc<dyn Plugin>, ConnectRefused> + Send + Sync;

/// The stack in use, if there is one.
pub(crate) struct Stack {
    find: Box<FindStack>,
    wakes: Wakes,
    life: Mutex<Option<Life>>,
}

/// The time from when a stack was found until it was lost.
#[derive(Clone)]
struct Life {
    glue: Glue,
    locks: Arc<Locks>,
}

/// The lock files of one life.
#[derive(Default)]
struct Locks {
    state: Mutex<LocksState>,
    /// A file was closed after the stack was lost.
    closed: Condvar,
}

#[derive(Default)]
struct LocksState {
    files: Vec<Weak<LockFile>>,
    is_lost: bool,
}

/// A domain that this host is a member of. Dropped, it is left.
pub(crate) struct Domain {
    connection: Arc<Connection>,
    locks: Arc<Locks>,
    wakes: Wakes,
}

impl Stack {
    pub(crate) fn new(find: Box<FindStack>, wakes: Wakes) -> Stack {
        Stack { find, wakes, life: Mutex::new(None) }
    }

    /// Joins a domain, with whatever stack serves this host. Blocks until it is joined.
    pub(crate) fn join(&self, domain: &str) -> Result<Domain, Errno> {
        let life = self.life().map_err(|refused| {
            tracing::error!(domain, "no stack: {refused}");
            refused.errno
        })?;
        let node_died = {
            let domain = domain.to_owned();
            Box::new(move |node: NodeNumber| tracing::warn!(%node, domain, "a node died"))
        };
        // Its own: the locks of a domain are told apart by it.
        let protocol = Arc::new(Callbacks);
        let connection = life.glue.connect(None, "", domain, protocol, node_died).map_err(
            |error: ConnectError| {
                tracing::error!(domain, "a domain cannot be joined: {error}");
                error.errno()
            },
        )?;
        Ok(Domain {
            connection: Arc::new(connection),
            locks: life.locks,
            wakes: self.wakes.clone(),
        })
    }

    fn life(&self) -> Result<Life, ConnectRefused> {
        let mut current = self.life.lock();
        if let Some(life) = &*current
            && !life.locks.state.lock().is_lost
        {
            return Ok(life.clone());
        }
        // What holds on to the stack that is gone goes with its domains.
        *current = None;
        let locks = Arc::new(Locks::default());
        let lost = {
            let locks = Arc::clone(&locks);
            Box::new(move |reason: &str| locks.lose(reason))
        };
        let plugin = (self.find)(lost)?;
        let glue = Glue::new();
        let label = if plugin.name() == O2CB { O2CB } else { ANY_OTHER };
        let refused =
            |errno, error: &dyn fmt::Display| ConnectRefused { errno, reason: error.to_string() };
        glue.register(plugin).map_err(|error| refused(error.errno(), &error))?;
        glue.set_max_protocol(VERSION).map_err(|error| refused(error.errno(), &error))?;
        glue.set_cluster_stack(label).map_err(|error| refused(error.errno(), &error))?;
        let life = Life { glue, locks };
        *current = Some(life.clone());
        Ok(life)
    }
}

impl Domain {
    /// The lock file of a name that has none.
    pub(crate) fn make_file(&self, name: ResourceName<'_>) -> Arc<LockFile> {
        let file = LockFile::new(name, &self.connection, &self.wakes);
        let mut state = self.locks.state.lock();
        if state.files.len() == state.files.capacity() {
            state.files.retain(|file| file.strong_count() > 0);
        }
        state.files.push(Arc::downgrade(&file));
        let is_lost = state.is_lost;
        drop(state);
        if is_lost {
            file.lose();
        }
        file
    }

    /// A file was closed.
    pub(crate) fn closed(&self) {
        // Locked, or whoever counts the open files could miss it.
        if self.locks.state.lock().is_lost {
            self.locks.closed.notify_all();
        }
    }

    /// Leaves the domain. Blocks until no callback of it can come any more.
    pub(crate) fn leave(&self) {
        if let Err(error) = self.connection.disconnect(false) {
            tracing::error!("{error}");
        }
    }
}

impl Locks {
    fn lose(&self, reason: &str) {
        tracing::error!("every lock is lost: {reason}");
        let files = {
            let mut state = self.state.lock();
            state.is_lost = true;
            state.files.clone()
        };
        for file in files.iter().filter_map(Weak::upgrade) {
            file.lose();
        }
        let is_held = |file: &Weak<LockFile>| file.upgrade().is_some_and(|file| file.is_held());
        let mut state = self.state.lock();
        while state.files.iter().any(is_held) {
            self.closed.wait(&mut state);
        }
        tracing::info!("nobody has a file open that was locked before");
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Domain").field(&self.connection).finish()
    }
}

/// The label of a stack that is not `o2cb`. A daemon's stack answers to any; the user stack in this
/// process knows no other.
const ANY_OTHER: &str = "solo";
