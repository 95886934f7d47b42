//! The host: the production path from the glue down, and what its callbacks say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use stackglue::{
    Connection, Errno, Glue, Lksb, LockFlags, LockingProtocol, Mode, ProtocolVersion, StatusFlags,
};
use user::{UserOptions, UserPlugin};

const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// One life of the daemon.
pub(super) struct Host {
    glue: Glue,
    handlers: Arc<Handlers>,
    connection: Arc<Connection>,
}

impl Host {
    /// A daemon starts, and joins the lockspace.
    pub(super) fn start(epoch: u32, hash_seed: u64) -> Host {
        let glue = Glue::new();
        let options = UserOptions { epoch, hash_seed: Some(hash_seed) };
        glue.register(Arc::new(UserPlugin::new(options))).expect("the first plugin");
        glue.set_max_protocol(VERSION).expect("the first maximum");
        glue.set_cluster_stack("solo").expect("a label, and no stack in use");
        let (handlers, connection) = join(&glue);
        Host { glue, handlers, connection }
    }

    /// Leaves the lockspace and joins it again. What came while it was left is told.
    pub(super) fn rejoin(&mut self) -> Vec<Told> {
        self.connection.disconnect(false).expect("it is joined");
        let late = self.told();
        (self.handlers, self.connection) = join(&self.glue);
        late
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The callbacks since it was asked last, in their order.
    pub(super) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.handlers.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn join(glue: &Glue) -> (Arc<Handlers>, Arc<Connection>) {
    let handlers = Arc::new(Handlers::default());
    let protocol: Arc<dyn LockingProtocol> = handlers.clone();
    let alone = Box::new(|node| panic!("node {node} died, and this host is alone"));
    let connection =
        glue.connect(Some("solo"), "", "g", protocol, alone).expect("it can be joined");
    let connection = Arc::new(connection);
    handlers.connection.get_or_init(|| Arc::downgrade(&connection));
    (handlers, connection)
}

/// What hangs off a status block.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) claim: usize,
    /// Its user unlocks inside the notice, once.
    pub(super) at_once: AtomicBool,
}

/// A callback, and what the status block said then.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Lock {
        claim: usize,
        status: Result<(), Errno>,
        mode: Option<Mode>,
        details: Details,
    },
    Unlock {
        claim: usize,
        result: Result<(), Errno>,
        status: Result<(), Errno>,
        mode: Option<Mode>,
    },
    Notice {
        claim: usize,
        level: Mode,
    },
    /// Inside a notice, its user has unlocked.
    UnlockedAtOnce {
        claim: usize,
    },
    /// ... and was refused.
    RefusedAtOnce {
        claim: usize,
        errno: Errno,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) flags: StatusFlags,
    pub(super) token: u64,
    pub(super) block: [u8; 64],
}

#[derive(Default)]
struct Handlers {
    told: Mutex<Vec<Told>>,
    connection: OnceLock<Weak<Connection>>,
}

impl Handlers {
    fn tell(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }
}

impl LockingProtocol for Handlers {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, lksb: &Lksb) {
        let details = Details { flags: lksb.flags(), token: lksb.token(), block: lksb.lvb() };
        let claim = mark(lksb).claim;
        self.tell(Told::Lock { claim, status: lksb.status(), mode: lksb.mode(), details });
    }

    fn blocking_ast(&self, lksb: &Lksb, level: Mode) {
        let Mark { claim, at_once } = mark(lksb);
        self.tell(Told::Notice { claim: *claim, level });
        if at_once.swap(false, Ordering::Relaxed)
            && let Some(connection) = self.connection.get().and_then(Weak::upgrade)
        {
            self.tell(Told::UnlockedAtOnce { claim: *claim });
            if let Err(errno) = connection.unlock(lksb, LockFlags::empty()) {
                self.tell(Told::RefusedAtOnce { claim: *claim, errno });
            }
        }
    }

    fn unlock_ast(&self, lksb: &Lksb, result: Result<(), Errno>) {
        let claim = mark(lksb).claim;
        self.tell(Told::Unlock { claim, result, status: lksb.status(), mode: lksb.mode() });
    }
}

fn mark(lksb: &Lksb) -> &Mark {
    lksb.state().expect("every status block of this world has one")
}
