//! Locks under test: what was asked of each, and what its callbacks said.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dlm::{Errno, LockFlags, Mode, ResourceName, StatusFlags};
use parking_lot::{Condvar, Mutex};

use super::Setup;
use super::setup::{Capabilities, VERSION};
use crate::{Connection, Lksb, LockingProtocol, ProtocolVersion};

/// How long a stack may take for anything before the suite gives up on it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What a callback said about an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Granted(Mode, StatusFlags),
    Failed(Errno),
    Unlocked,
    Cancelled,
    UnlockFailed(Errno),
}

impl Setup {
    /// A connection to a group of its own, all of whose callbacks are recorded.
    pub(super) fn group(&self) -> Group {
        self.group_with("conformance", |_, _| ())
    }

    /// As [`group`](Self::group); `then` runs at the end of each callback, with the mode of a BAST.
    pub(super) fn group_with(
        &self,
        name: &str,
        then: impl Fn(&Lksb, Option<Mode>) + Send + Sync + 'static,
    ) -> Group {
        let protocol = Arc::new(Recorder { events: AtomicU64::new(0), then });
        let connection = self
            .glue
            .connect(Some(&self.label), "", name, protocol, Box::new(|_| ()))
            .unwrap_or_else(|error| panic!("{error}"));
        Group {
            connection: Arc::new(connection),
            capabilities: self.capabilities,
            blocks: Mutex::default(),
        }
    }
}

/// Writes every callback into the journal of its lock.
struct Recorder<F> {
    events: AtomicU64,
    then: F,
}

impl<F: Fn(&Lksb, Option<Mode>) + Send + Sync> Recorder<F> {
    fn record(&self, lksb: &Lksb, outcome: Outcome) {
        journal(lksb).write(|entries| entries.outcomes.push_back((self.next(), outcome)));
        (self.then)(lksb, None);
    }

    /// The place of a callback among all of the connection.
    fn next(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }
}

impl<F: Fn(&Lksb, Option<Mode>) + Send + Sync> LockingProtocol for Recorder<F> {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, lksb: &Lksb) {
        let granted = |()| Outcome::Granted(lksb.mode().expect("granted in a mode"), lksb.flags());
        self.record(lksb, lksb.status().map_or_else(Outcome::Failed, granted));
    }

    fn blocking_ast(&self, lksb: &Lksb, level: Mode) {
        journal(lksb).write(|entries| entries.levels.push_back((self.next(), level)));
        (self.then)(lksb, Some(level));
    }

    fn unlock_ast(&self, lksb: &Lksb, result: Result<(), Errno>) {
        let outcome = match (result, lksb.status()) {
            (Ok(()), Err(Errno::ECANCEL)) => Outcome::Cancelled,
            (Ok(()), _) => Outcome::Unlocked,
            (Err(errno), _) => Outcome::UnlockFailed(errno),
        };
        self.record(lksb, outcome);
    }
}

/// Hangs off each status block.
#[derive(Default)]
struct Journal {
    entries: Mutex<Entries>,
    changed: Condvar,
}

/// What has not been asked about yet, each with its place among all callbacks of the connection.
#[derive(Default)]
struct Entries {
    outcomes: VecDeque<(u64, Outcome)>,
    levels: VecDeque<(u64, Mode)>,
}

impl Journal {
    fn write(&self, write: impl FnOnce(&mut Entries)) {
        write(&mut self.entries.lock());
        self.changed.notify_all();
    }

    /// Waits for the next entry of one list.
    #[track_caller]
    fn next<T>(&self, list: impl Fn(&mut Entries) -> &mut VecDeque<T>, what: &str) -> T {
        let mut entries = self.entries.lock();
        let is_empty = |entries: &mut Entries| list(entries).is_empty();
        self.changed.wait_while_for(&mut entries, is_empty, PATIENCE);
        list(&mut entries).pop_front().unwrap_or_else(|| panic!("no {what} came"))
    }
}

fn journal(lksb: &Lksb) -> &Journal {
    lksb.state().expect("every status block of the suite has a journal")
}

/// A group joined for one test. Dropping it gives up every lock, then leaves.
pub(super) struct Group {
    pub(super) connection: Arc<Connection>,
    pub(super) capabilities: Capabilities,
    blocks: Mutex<Vec<Lksb>>,
}

impl Group {
    pub(super) fn resource(&self, name: impl AsRef<[u8]>) -> Resource<'_> {
        Resource { group: self, name: name.as_ref().to_vec() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        for lksb in self.blocks.get_mut().drain(..) {
            let deadline = Instant::now() + PATIENCE;
            while lksb.lock_id() != 0 && Instant::now() < deadline {
                // What waits must be taken back before a lock can be dropped on every stack.
                let _ = self.connection.unlock(&lksb, LockFlags::CANCEL);
                match self.connection.unlock(&lksb, LockFlags::empty()) {
                    // The lock is another block's now, or nobody's.
                    Err(Errno::ENOENT) => break,
                    _ if lksb.lock_id() != 0 => thread::sleep(Duration::from_millis(1)),
                    _ => {}
                }
            }
        }
    }
}

/// One resource of a group.
pub(super) struct Resource<'g> {
    pub(super) group: &'g Group,
    name: Vec<u8>,
}

impl<'g> Resource<'g> {
    /// A status block that has no lock yet.
    pub(super) fn new_lock(&self) -> Lock<'g> {
        let lksb = Lksb::new(Journal::default());
        self.group.blocks.lock().push(lksb.clone());
        Lock { group: self.group, name: self.name.clone(), lksb }
    }

    /// A lock that is granted.
    #[track_caller]
    pub(super) fn granted(&self, mode: Mode) -> Lock<'g> {
        self.granted_with(mode, LockFlags::empty())
    }

    /// A lock that is granted, asked for with flags.
    #[track_caller]
    pub(super) fn granted_with(&self, mode: Mode, flags: LockFlags) -> Lock<'g> {
        let lock = self.new_lock();
        lock.request(mode, flags);
        lock.is_granted(mode);
        lock
    }

    /// A request that waits.
    #[track_caller]
    pub(super) fn waiting(&self, mode: Mode) -> Lock<'g> {
        self.waiting_with(mode, LockFlags::empty())
    }

    /// A request that waits, made with flags.
    #[track_caller]
    pub(super) fn waiting_with(&self, mode: Mode, flags: LockFlags) -> Lock<'g> {
        let lock = self.new_lock();
        lock.request(mode, flags);
        lock.waits();
        lock
    }

    /// What a request with `NOQUEUE` says; the lock if it is granted.
    #[track_caller]
    pub(super) fn attempt(&self, mode: Mode, flags: LockFlags) -> Result<Lock<'g>, Errno> {
        let lock = self.new_lock();
        lock.attempt(mode, flags).map(|()| lock)
    }

    /// Two round trips to the resource: whatever its master owes to earlier operations has come when
    /// this returns. Two, because o2dlm delivers the ASTs of a batch ahead of its BASTs. A null lock
    /// gets past everything: with `EXPEDITE` in fs/dlm, always in o2dlm, which drops that flag.
    #[track_caller]
    fn settle(&self) {
        for _ in 0..2 {
            let lock = self.new_lock();
            lock.request(Mode::NL, LockFlags::EXPEDITE);
            lock.is_granted(Mode::NL);
            lock.unlock();
        }
    }
}

/// One lock under test.
pub(super) struct Lock<'g> {
    group: &'g Group,
    name: Vec<u8>,
    pub(super) lksb: Lksb,
}

impl Lock<'_> {
    /// Makes a lock call.
    pub(super) fn call(&self, mode: Mode, flags: LockFlags) -> Result<(), Errno> {
        let name = ResourceName::new(&self.name).expect("the suite's names are short");
        self.group.connection.lock(mode, &self.lksb, flags, name)
    }

    /// Makes an unlock call.
    pub(super) fn call_unlock(&self, flags: LockFlags) -> Result<(), Errno> {
        self.group.connection.unlock(&self.lksb, flags)
    }

    /// Makes a lock call that is accepted.
    #[track_caller]
    pub(super) fn request(&self, mode: Mode, flags: LockFlags) {
        assert_eq!(self.call(mode, flags), Ok(()), "{mode} with {flags:?}");
    }

    /// Makes a convert call that is accepted.
    #[track_caller]
    pub(super) fn convert(&self, mode: Mode, flags: LockFlags) {
        self.request(mode, flags | LockFlags::CONVERT);
    }

    /// Converts, to be granted without waiting.
    #[track_caller]
    pub(super) fn converts(&self, mode: Mode, flags: LockFlags) -> StatusFlags {
        self.convert(mode, flags);
        self.is_granted(mode).1
    }

    /// Makes a lock call and says how it ends, whichever way the stack reports it.
    #[track_caller]
    pub(super) fn attempt(&self, mode: Mode, flags: LockFlags) -> Result<(), Errno> {
        self.call(mode, flags)?;
        match self.outcome().1 {
            Outcome::Granted(..) => Ok(()),
            Outcome::Failed(errno) => Err(errno),
            other => panic!("a lock call ended as {other:?}"),
        }
    }

    /// Unlocks a lock that is granted.
    #[track_caller]
    pub(super) fn unlock(&self) {
        self.unlock_with(LockFlags::empty());
    }

    /// Unlocks a lock that is granted, with flags.
    #[track_caller]
    pub(super) fn unlock_with(&self, flags: LockFlags) {
        assert_eq!(self.call_unlock(flags), Ok(()));
        assert_eq!(self.outcome().1, Outcome::Unlocked);
        assert_eq!(self.lksb.mode(), None);
    }

    /// Cancels something that waits.
    #[track_caller]
    pub(super) fn cancel(&self) {
        assert_eq!(self.call_unlock(LockFlags::CANCEL), Ok(()));
        assert_eq!(self.outcome().1, Outcome::Cancelled);
    }

    /// The next outcome, and its place among all callbacks.
    #[track_caller]
    pub(super) fn outcome(&self) -> (u64, Outcome) {
        journal(&self.lksb).next(|entries| &mut entries.outcomes, "outcome")
    }

    /// The next outcome is a grant: its place among all callbacks, and its flags.
    #[track_caller]
    pub(super) fn is_granted(&self, mode: Mode) -> (u64, StatusFlags) {
        match self.outcome() {
            (place, Outcome::Granted(granted, flags)) => {
                assert_eq!((granted, self.lksb.mode()), (mode, Some(mode)));
                (place, flags)
            }
            (_, other) => panic!("{other:?} instead of a grant in {mode}"),
        }
    }

    #[track_caller]
    pub(super) fn fails(&self, errno: Errno) {
        assert_eq!(self.outcome().1, Outcome::Failed(errno));
    }

    /// No outcome comes.
    #[track_caller]
    pub(super) fn waits(&self) {
        self.settle();
        let outcomes = &journal(&self.lksb).entries.lock().outcomes;
        assert!(outcomes.is_empty(), "unexpected {outcomes:?}");
    }

    /// The mode of the next blocking callback.
    #[track_caller]
    pub(super) fn is_blocking(&self, level: Mode) -> u64 {
        let (place, blocked) =
            journal(&self.lksb).next(|entries| &mut entries.levels, "blocking callback");
        assert_eq!(blocked, level);
        place
    }

    /// No blocking callback comes.
    #[track_caller]
    pub(super) fn is_not_blocking(&self) {
        self.settle();
        let levels = &journal(&self.lksb).entries.lock().levels;
        assert!(levels.is_empty(), "unexpected {levels:?}");
    }

    /// Forgets the blocking callbacks so far.
    #[track_caller]
    pub(super) fn forget_blocking(&self) {
        self.settle();
        journal(&self.lksb).entries.lock().levels.clear();
    }

    #[track_caller]
    fn settle(&self) {
        self.group.resource(&self.name).settle();
    }
}
