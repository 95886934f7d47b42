//! Rows P12 and P13: how many locks and unlocks go over one connection.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use dlm::{Errno, LockFlags, Mode, ResourceName};
use stackglue::{Connection, Lksb, LockingProtocol, ProtocolVersion};

use super::caller::{Caller, Telling};
use super::frames::Frames;
use super::nodes::{Nodes, VERSION};
use super::raw::Echo;
use crate::method::{Comparison, time_each};
use crate::names::{Name, names};
use crate::row::Row;

/// P12: pairs of lock and unlock a second, with 64 on their way to another node, against half the
/// frames that an echo of the same window sends back. P13: the same against an echo that has a system
/// call for each frame.
pub(crate) fn rows(
    nodes: &Nodes,
    placement: &str,
    pairs: usize,
    print: &mut dyn FnMut(Row),
) -> Result<(), Box<dyn Error>> {
    let pipeline = Pipeline::connect(nodes)?;
    let frame = Frames::new().create;
    let cases = [
        ("P12", "64 pairs, batched echo", Echo::batched(frame, WINDOW)?, BATCHED_MIN),
        ("P13", "64 pairs, frame by frame", Echo::one_by_one(frame, WINDOW)?, ONE_BY_ONE_MIN),
    ];
    for (row, case, echo, target) in cases {
        let found = Comparison::run(
            |_| time_each(pairs, || echo.run(2 * pairs)),
            |_| time_each(pairs, || pipeline.run(pairs)),
        );
        print(Row::of_rates(row, case, &found, target, placement));
    }
    Ok(())
}

/// Locks on names that another node masters, each locked and unlocked again and again.
struct Pipeline {
    shared: Arc<Shared>,
    names: Vec<Name>,
    lksbs: Vec<Lksb>,
    /// Null locks, so that no name is forgotten on the master.
    _held: Vec<Lksb>,
    _master: Connection,
}

struct Shared {
    connection: OnceLock<Connection>,
    left: AtomicUsize,
    caller: Arc<Caller>,
}

impl Pipeline {
    fn connect(nodes: &Nodes) -> Result<Pipeline, Box<dyn Error>> {
        let caller = Caller::new();
        let master = nodes.connect(0, "pipeline", Arc::new(Telling(Arc::clone(&caller))))?;
        let names = names(WINDOW);
        let held: Vec<Lksb> = names.iter().map(|_| Lksb::new(())).collect();
        caller.expect(WINDOW);
        for (name, lksb) in names.iter().zip(&held) {
            master.lock(Mode::NL, lksb, LockFlags::empty(), ResourceName::new(name)?)?;
        }
        caller.wait();
        let left = AtomicUsize::new(0);
        let shared = Arc::new(Shared { connection: OnceLock::new(), left, caller });
        let connection = nodes.connect(1, "pipeline", Arc::new(Pump(Arc::downgrade(&shared))))?;
        shared.connection.get_or_init(|| connection);
        let lksbs = names.iter().map(|name| Lksb::new(*name)).collect();
        Ok(Pipeline { shared, names, lksbs, _held: held, _master: master })
    }

    /// So many pairs, at least a window.
    fn run(&self, pairs: usize) {
        let first = pairs.min(WINDOW);
        self.shared.left.store(pairs - first, Ordering::Release);
        self.shared.caller.expect(first);
        for (name, lksb) in self.names.iter().zip(&self.lksbs).take(first) {
            self.shared.lock(lksb, name);
        }
        self.shared.caller.wait();
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Before it goes, whose last handle might otherwise be dropped inside a callback.
        if let Some(Err(error)) = self.shared.connection.get().map(|all| all.disconnect(false)) {
            eprintln!("stackglue-bench: {error}");
        }
    }
}

impl Shared {
    fn connection(&self) -> &Connection {
        self.connection.get().expect("callbacks come when there is one")
    }

    fn lock(&self, lksb: &Lksb, name: &Name) {
        let name = ResourceName::new(name).expect("every name has 32 bytes");
        let asked = self.connection().lock(Mode::EX, lksb, LockFlags::empty(), name);
        asked.expect("the request is a proper one");
    }
}

/// Callbacks that ask for the next thing.
struct Pump(Weak<Shared>);

impl LockingProtocol for Pump {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, lksb: &Lksb) {
        assert_eq!(lksb.status(), Ok(()), "nobody is in the way");
        let Some(shared) = self.0.upgrade() else { return };
        shared.connection().unlock(lksb, LockFlags::empty()).expect("the lock is held");
    }

    fn blocking_ast(&self, _: &Lksb, _: Mode) {}

    fn unlock_ast(&self, lksb: &Lksb, result: Result<(), Errno>) {
        assert_eq!(result, Ok(()), "the lock was held");
        let Some(shared) = self.0.upgrade() else { return };
        let one_less = |left: usize| left.checked_sub(1);
        let again = shared.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
        match lksb.state::<Name>() {
            Some(name) if again.is_ok() => shared.lock(lksb, name),
            _ => shared.caller.complete(),
        }
    }
}

const WINDOW: usize = 64;

const BATCHED_MIN: f64 = 0.35;

const ONE_BY_ONE_MIN: f64 = 8.0;
