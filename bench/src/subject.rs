//! What is measured: a connection of the glue to a group of this host alone.

use std::cell::Cell;
use std::error::Error;
use std::sync::Arc;

use dlm::{Errno, LockFlags, Mode, ResourceName};
use stackglue::{Connection, Glue, Lksb, LockingProtocol, ProtocolVersion};
use user::{UserOptions, UserPlugin};

use crate::names::Name;

/// A connection whose locks nobody else wants.
pub(crate) struct Subject(Connection);

impl Subject {
    /// Joins a group on stack `solo`, as a program without a daemon does.
    pub(crate) fn connect() -> Result<Subject, Box<dyn Error>> {
        let glue = Glue::new();
        glue.set_max_protocol(VERSION)?;
        glue.set_cluster_stack("solo")?;
        glue.register(Arc::new(UserPlugin::new(UserOptions {
            epoch: 1,
            ..UserOptions::default()
        })))?;
        let connection =
            glue.connect(Some("solo"), "", "bench", Arc::new(Counting), Box::new(|_| {}))?;
        Ok(Subject(connection))
    }

    /// A new lock. Panics unless the stack takes the request.
    #[inline]
    pub(crate) fn lock(&self, mode: Mode, lksb: &Lksb, name: &Name) {
        self.request(mode, lksb, name, LockFlags::empty());
    }

    /// Another mode. Panics unless the stack takes the request.
    #[inline]
    pub(crate) fn convert(&self, mode: Mode, lksb: &Lksb, name: &Name) {
        self.request(mode, lksb, name, LockFlags::CONVERT);
    }

    /// The end of a lock. Panics unless the stack takes the request.
    #[inline]
    pub(crate) fn unlock(&self, lksb: &Lksb) {
        self.0.unlock(lksb, LockFlags::empty()).expect("the lock is held");
    }

    #[inline]
    fn request(&self, mode: Mode, lksb: &Lksb, name: &Name, flags: LockFlags) {
        let name = ResourceName::new(name).expect("every name has 32 bytes");
        self.0.lock(mode, lksb, flags, name).expect("the request is a proper one");
    }
}

/// Completions, with success, that were delivered on this thread: one that had to hop is missing.
pub(crate) fn completions() -> u64 {
    COMPLETIONS.get()
}

/// Runs `work` and panics unless every one of its operations completed on this thread meanwhile.
pub(crate) fn inline<T>(operations: usize, work: impl FnOnce() -> T) -> T {
    let before = completions();
    let result = work();
    assert_eq!(completions() - before, operations as u64, "operations completed inline");
    result
}

thread_local! {
    static COMPLETIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts completions, which is the least that a callback can do.
struct Counting;

impl Counting {
    #[inline]
    fn count(result: Result<(), Errno>) {
        if result.is_ok() {
            COMPLETIONS.set(COMPLETIONS.get() + 1);
        }
    }
}

impl LockingProtocol for Counting {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, lksb: &Lksb) {
        Counting::count(lksb.status());
    }

    fn blocking_ast(&self, _: &Lksb, _: Mode) {}

    fn unlock_ast(&self, _: &Lksb, result: Result<(), Errno>) {
        Counting::count(result);
    }
}

const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };
