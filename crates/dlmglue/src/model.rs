//! Every interleaving of request, cancel, grant, BAST and unlock on one resource.
//!
//! This node's side is the real one. The lock manager beneath is as small as it can be and behaves as
//! o2dlm: conversions wait in the order in which they came, nobody looks for deadlocks, a cancel that
//! finds nothing waiting says nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::Level;
use crate::acquire::Acquire;
use crate::queue::Failure;
use crate::resource::{DlmLock, Resource};
use crate::state::{Mutant, STREAK_MAX};

/// The lock manager's view of a resource with two locks: one of this node, one of another node that
/// is played by a thread.
struct Master {
    queues: Mutex<Queues>,
    /// The other node has been granted something.
    changed: Condvar,
    resource: std::sync::OnceLock<Arc<Resource>>,
}

struct Queues {
    ours: Level,
    theirs: Level,
    /// What waits, in order.
    waiting: Vec<(Owner, Level)>,
    /// Callbacks of this node's lock that nobody has delivered yet.
    callbacks: Vec<Callback>,
    delivering: bool,
    /// The level that this node was told somebody waits for, with what it has now.
    told: Level,
    /// Grants of this node, which are its tokens.
    grants: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Owner {
    Us,
    Them,
}

#[derive(Clone, Copy, Debug)]
enum Callback {
    Granted,
    Blocking(Level),
    Refused(dlm::Errno),
    Unlocked,
}

impl Master {
    /// Does something under the master's own lock, lets in whoever can be, and delivers what follows
    /// for this node, one callback at a time.
    fn act<T>(&self, action: impl FnOnce(&mut Queues) -> T) -> T {
        let mut queues = self.queues.lock().expect("no poisoned model");
        let result = action(&mut queues);
        self.grant(&mut queues);
        if queues.delivering {
            return result;
        }
        while !queues.callbacks.is_empty() {
            queues.delivering = true;
            let callback = queues.callbacks.remove(0);
            drop(queues);
            self.deliver(callback);
            queues = self.queues.lock().expect("no poisoned model");
            queues.delivering = false;
        }
        result
    }

    fn grant(&self, queues: &mut Queues) {
        while let Some(&(owner, level)) = queues.waiting.first() {
            let (other, held) = match owner {
                Owner::Us => (queues.theirs, &mut queues.ours),
                Owner::Them => (queues.ours, &mut queues.theirs),
            };
            if other > level.compatible() {
                break;
            }
            *held = level;
            queues.waiting.remove(0);
            match owner {
                Owner::Us => {
                    queues.grants += 1;
                    queues.told = Level::NL;
                    queues.callbacks.push(Callback::Granted);
                }
                Owner::Them => self.changed.notify_all(),
            }
        }
        // Who waits has those in its way told of it, also behind another one.
        for &(owner, level) in &queues.waiting {
            if owner == Owner::Them && queues.ours > level.compatible() && queues.told < level {
                queues.told = level;
                queues.callbacks.push(Callback::Blocking(level));
            }
        }
    }

    fn deliver(&self, callback: Callback) {
        let resource = self.resource.get().expect("set before the first call");
        match callback {
            Callback::Granted => resource.lock_ast(Ok(())),
            Callback::Refused(errno) => resource.lock_ast(Err(errno)),
            Callback::Unlocked => resource.unlock_ast(Ok(())),
            // As `Lksb` does: what is no longer in the way is not reported.
            Callback::Blocking(level) if resource.word.look().level() > level.compatible() => {
                resource.blocking_ast(level);
            }
            Callback::Blocking(_) => {}
        }
    }

    /// The other node asks for a level, has it, and gives it up.
    fn they_use(&self, level: Level) {
        self.act(|queues| queues.waiting.push((Owner::Them, level)));
        let mut queues = self.queues.lock().expect("no poisoned model");
        while queues.theirs < level {
            queues = self.changed.wait(queues).expect("no poisoned model");
        }
        drop(queues);
        self.act(|queues| {
            assert!(queues.ours <= level.compatible(), "two nodes hold what excludes each other");
            queues.theirs = Level::NL;
        });
    }
}

struct OurLock(Arc<Master>);

impl DlmLock for OurLock {
    fn lock(&self, level: Level, _: bool, noqueue: bool) -> Result<(), dlm::Errno> {
        self.0.act(|queues| {
            if noqueue && (queues.theirs > level.compatible() || !queues.waiting.is_empty()) {
                queues.callbacks.push(Callback::Refused(dlm::Errno::EAGAIN));
            } else {
                queues.waiting.push((Owner::Us, level));
            }
        });
        Ok(())
    }

    fn down(&self, level: Level, _: Option<[u8; 64]>) -> Result<(), dlm::Errno> {
        self.0.act(|queues| {
            assert!(queues.ours > level, "no way down");
            queues.ours = level;
            queues.told = Level::NL;
            queues.callbacks.push(Callback::Granted);
        });
        Ok(())
    }

    fn cancel(&self) -> Result<(), dlm::Errno> {
        self.0.act(|queues| {
            let before = queues.waiting.len();
            queues.waiting.retain(|(owner, _)| *owner != Owner::Us);
            if queues.waiting.len() < before {
                queues.callbacks.push(Callback::Unlocked);
            }
        });
        Ok(())
    }

    fn unlock(&self, _: Option<[u8; 64]>) -> Result<(), dlm::Errno> {
        self.0.act(|queues| {
            queues.ours = Level::NL;
            queues.callbacks.push(Callback::Unlocked);
        });
        Ok(())
    }

    fn value(&self) -> Option<[u8; 64]> {
        None
    }

    fn token(&self) -> u64 {
        self.0.queues.lock().expect("no poisoned model").grants + 1
    }
}

/// A node with that level, beside another one.
fn world(ours: Level, theirs: Level, mutant: Option<Mutant>) -> (Arc<Master>, Arc<Resource>) {
    let queues = Queues {
        ours: Level::NL,
        theirs: Level::NL,
        waiting: Vec::new(),
        callbacks: Vec::new(),
        delivering: false,
        told: Level::NL,
        grants: 0,
    };
    let master = Arc::new(Master {
        queues: Mutex::new(queues),
        changed: Condvar::new(),
        resource: std::sync::OnceLock::new(),
    });
    let resource = Arc::new(Resource::new(Box::new(OurLock(Arc::clone(&master)))));
    assert!(master.resource.set(Arc::clone(&resource)).is_ok());
    if ours != Level::NL {
        hold(&resource, ours);
    }
    master.queues.lock().expect("no poisoned model").theirs = theirs;
    if let Some(mutant) = mutant {
        resource.break_in(mutant);
    }
    (master, resource)
}

/// Takes a level and gives it up again.
fn hold(resource: &Resource, level: Level) {
    assert_eq!(Acquire::new(resource, level, true).wait(), Ok(()));
    let seen = resource.word.look();
    assert!(seen.level() >= level, "used without being held");
    resource.leave(level);
}

/// Runs a model with the machine whole, or broken and expected to be found out.
fn explore(mutant: Option<Mutant>, model: impl Fn(Option<Mutant>) + Send + Sync + 'static) {
    let run = AssertUnwindSafe(|| loom::model(move || model(mutant)));
    let outcome = catch_unwind(run);
    assert_eq!(outcome.is_err(), mutant.is_some(), "{mutant:?}");
}

/// This node and another one have PR, and both want EX. The other one does not give way, so the only
/// way out is that this node takes its request back: wherever the BAST finds it.
fn two_want_more(mutant: Option<Mutant>) {
    let (master, resource) = world(Level::PR, Level::PR, mutant);
    let other = thread::spawn({
        let master = Arc::clone(&master);
        move || master.they_use(Level::EX)
    });
    hold(&resource, Level::EX);
    other.join().expect("no thread of the model panics");
}

#[test]
fn of_two_that_want_more_than_they_share_both_get_it() {
    explore(None, two_want_more);
}

#[test]
fn without_pending_a_cancel_comes_too_early() {
    explore(Some(Mutant::NoPending), two_want_more);
}
