//! The thread that runs hooks: the only down-converts that do not happen on the thread that made
//! them possible, since a hook may block and a callback must not.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Level;
use crate::resource::Resource;

/// How long a stack may take to take locks back before that is given up.
const PATIENCE: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce() + Send>;

/// One thread for each cluster, started by the first hook.
pub(crate) struct Worker {
    running: Arc<Mutex<Option<Running>>>,
}

struct Running {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Worker {
    pub(crate) fn new() -> Worker {
        Worker { running: Arc::default() }
    }

    /// Has `hook` called before the resource gives up EX, with the level that it keeps. `false`
    /// when it has a hook already.
    pub(crate) fn serve(
        &self,
        resource: &Arc<Resource>,
        hook: impl Fn(Level) + Send + Sync + 'static,
    ) -> bool {
        let hook = Arc::new(hook);
        let running = Arc::clone(&self.running);
        let weak: Weak<Resource> = Arc::downgrade(resource);
        resource.flush_with(Box::new(move |level| {
            let (hook, weak) = (Arc::clone(&hook), Weak::clone(&weak));
            let job: Job = Box::new(move || {
                // A hook that panics has written what it could; the lock goes on all the same.
                let called = std::panic::AssertUnwindSafe(|| hook(level));
                if std::panic::catch_unwind(called).is_err() {
                    tracing::error!("a hook panicked before a lock was given up");
                }
                if let Some(resource) = weak.upgrade() {
                    resource.flushed();
                }
            });
            hand_over(&running, job);
        }))
    }

    /// Waits until every job is done.
    pub(crate) fn stop(&self) {
        let Some(Running { jobs, thread }) = self.running.lock().take() else { return };
        drop(jobs);
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the thread that runs hooks has panicked");
        }
    }
}

fn hand_over(running: &Mutex<Option<Running>>, job: Job) {
    let mut slot = running.lock();
    let running = slot.get_or_insert_with(|| {
        let (jobs, receiver) = channel::<Job>();
        let work = move || receiver.into_iter().for_each(|job| job());
        Running { jobs, thread: thread::spawn(work) }
    });
    // The thread ends only after its sender is gone.
    let _ = running.jobs.send(job);
}

/// Gives resources back to the stack that nobody uses, and waits until it has taken them.
pub(crate) fn give_back(resources: &[Arc<Resource>]) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    for resource in resources {
        resource.let_go(&waker);
    }
    let deadline = Instant::now() + PATIENCE;
    for resource in resources {
        while !resource.is_gone() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                tracing::error!(?resource, "the stack does not take a lock back");
                return;
            };
            thread::park_timeout(left);
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
