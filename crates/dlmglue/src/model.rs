//! Every interleaving of request, cancel, grant, BAST and unlock on one resource.
//!
//! This node's side is the real one. The lock manager beneath is as small as it can be and behaves
//! as o2dlm: nobody looks for deadlocks, and a cancel that finds nothing waiting says nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::Level;
use crate::acquire::Acquire;
use crate::resource::{DlmLock, Resource};
use crate::state::Missing;

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
    /// Does something under the master's own lock, lets in whoever can be, and delivers what
    /// follows for this node, one callback at a time.
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
        let mut at = 0;
        while let Some(&(owner, level)) = queues.waiting.get(at) {
            let (other, held) = match owner {
                Owner::Us => (queues.theirs, &mut queues.ours),
                Owner::Them => (queues.ours, &mut queues.theirs),
            };
            if other > level.compatible() {
                at += 1;
                continue;
            }
            *held = level;
            queues.waiting.remove(at);
            match owner {
                Owner::Us => {
                    queues.grants += 1;
                    queues.told = Level::NL;
                    queues.callbacks.push(Callback::Granted);
                }
                Owner::Them => self.changed.notify_all(),
            }
        }
        // Those in the way of who waits are told.
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

    fn name(&self) -> &[u8] {
        b"model"
    }

    fn token(&self) -> u64 {
        self.0.queues.lock().expect("no poisoned model").grants + 1
    }
}

/// A node with that level, beside another one.
fn world(ours: Level, theirs: Level, missing: Option<Missing>) -> (Arc<Master>, Arc<Resource>) {
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
    if let Some(missing) = missing {
        resource.leave_out(missing);
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
fn explore(missing: Option<Missing>, model: impl Fn(Option<Missing>) + Send + Sync + 'static) {
    let run = AssertUnwindSafe(|| loom::model(move || model(missing)));
    let outcome = catch_unwind(run);
    assert_eq!(outcome.is_err(), missing.is_some(), "{missing:?}");
}

/// This node and another one have PR, and both want EX. The other one does not give way, so the
/// only way out is that this node takes its request back: wherever the BAST finds it.
fn two_want_more(missing: Option<Missing>) {
    let (master, resource) = world(Level::PR, Level::PR, missing);
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
    explore(Some(Missing::Pending), two_want_more);
}

/// A user gets PR, and the call that asked for it returns late: another user has asked for EX by
/// then, and so has the other node.
fn a_late_return(missing: Option<Missing>) {
    let (master, resource) = world(Level::NL, Level::PR, missing);
    let threads = [
        thread::spawn({
            let master = Arc::clone(&master);
            move || master.they_use(Level::EX)
        }),
        thread::spawn({
            let resource = Arc::clone(&resource);
            move || hold(&resource, Level::PR)
        }),
    ];
    hold(&resource, Level::EX);
    for other in threads {
        other.join().expect("no thread of the model panics");
    }
}

#[test]
fn a_call_that_returns_late_is_not_taken_for_a_later_one() {
    explore(None, a_late_return);
}

#[test]
fn without_the_generation_a_late_return_is() {
    explore(Some(Missing::Generation), a_late_return);
}

/// Two users of this node and one elsewhere, each of whom must be alone and see what the last one
/// did.
fn three_exclude_each_other(missing: Option<Missing>) {
    let (master, resource) = world(Level::EX, Level::NL, missing);
    let count = Arc::new(loom::cell::Cell::new(0));
    let other = thread::spawn({
        let (resource, count) = (Arc::clone(&resource), Arc::clone(&count));
        move || count_up(&resource, &count)
    });
    let far = thread::spawn({
        let master = Arc::clone(&master);
        move || master.they_use(Level::EX)
    });
    count_up(&resource, &count);
    other.join().expect("no thread of the model panics");
    far.join().expect("no thread of the model panics");
    hold(&resource, Level::PR);
    assert_eq!(count.get(), 2);
}

/// loom finds two accesses at once, and one that does not see the one before.
fn count_up(resource: &Resource, count: &loom::cell::Cell<u32>) {
    assert_eq!(Acquire::new(resource, Level::EX, true).wait(), Ok(()));
    count.set(count.get() + 1);
    resource.leave(Level::EX);
}

#[test]
fn users_here_and_elsewhere_exclude_each_other() {
    explore(None, three_exclude_each_other);
}

#[test]
fn a_wake_up_that_is_dropped_is_found() {
    explore(Some(Missing::WakeUp), three_exclude_each_other);
}

#[test]
fn a_look_that_is_dropped_is_found() {
    explore(Some(Missing::Look), three_exclude_each_other);
}

/// A user loses patience at any moment: whether its request is taken back or granted, nothing of it
/// is left in the way of others.
#[test]
fn a_user_that_goes_away_leaves_nothing_in_the_way() {
    explore(None, |missing| {
        let (master, resource) = world(Level::NL, Level::PR, missing);
        let far = thread::spawn({
            let master = Arc::clone(&master);
            move || master.they_use(Level::EX)
        });
        let impatient = thread::spawn({
            let resource = Arc::clone(&resource);
            move || {
                let mut acquire = Acquire::new(&resource, Level::EX, true);
                let waker = std::task::Waker::noop();
                let polled = acquire.look(waker).or_else(|| acquire.withdraw());
                if polled == Some(Ok(())) {
                    resource.leave(Level::EX);
                }
            }
        });
        hold(&resource, Level::PR);
        impatient.join().expect("no thread of the model panics");
        far.join().expect("no thread of the model panics");
    });
}

/// The lock is dropped while it is asked for and wanted elsewhere, and serves again afterwards.
#[test]
fn a_lock_that_is_let_go_of_is_asked_for_anew() {
    explore(None, |missing| {
        let (master, resource) = world(Level::EX, Level::NL, missing);
        let far = thread::spawn({
            let master = Arc::clone(&master);
            move || master.they_use(Level::PR)
        });
        let dropping = thread::spawn({
            let resource = Arc::clone(&resource);
            move || resource.let_go(std::task::Waker::noop())
        });
        hold(&resource, Level::EX);
        dropping.join().expect("no thread of the model panics");
        far.join().expect("no thread of the model panics");
        hold(&resource, Level::PR);
    });
}
