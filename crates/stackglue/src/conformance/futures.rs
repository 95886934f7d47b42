//! The async forms of lock, convert and unlock, and what dropping a future does.

use std::future::{Future, pending, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use dlm::Mode::{EX, NL, PR};
use dlm::{Errno, LockFlags};

use super::Setup;
use super::client::{attempt, comes_free};
use super::group::PATIENCE;
use crate::{LockClient, LockError};

/// Wakes a thread, and counts how often.
struct Unparker {
    thread: Thread,
    wakes: AtomicUsize,
}

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Release);
        self.thread.unpark();
    }
}

impl Unparker {
    fn of_this_thread() -> Arc<Unparker> {
        Arc::new(Unparker { thread: thread::current(), wakes: AtomicUsize::new(0) })
    }

    /// Blocks until there was a wake since the last time.
    #[track_caller]
    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.wakes.swap(0, Ordering::Acquire) == 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the future was not woken");
            thread::park_timeout(left);
        }
    }
}

/// Runs a future to its end, polling it again only after a wake.
#[track_caller]
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let unparker = Unparker::of_this_thread();
    let waker = Waker::from(unparker.clone());
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => unparker.wait(),
        }
    }
}

/// Polls a future once; it is not ready.
#[track_caller]
fn poll_pending<F: Future>(future: Pin<&mut F>) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.poll(&mut context).is_pending());
}

/// Waits until nobody is in the way of EX any more, and that the resource can be had.
#[track_caller]
fn is_free(client: &LockClient) {
    comes_free(client, EX).unlock().wait().expect("held");
}

pub fn a_future_ends_with_the_grant(setup: &Setup) {
    let client = setup.client();
    let holder = client.lock("r", EX).wait().expect("free");
    let waiter = client.clone();
    let task = thread::spawn(move || run(waiter.lock("r", PR).wait_async()));
    holder.unlock().wait().expect("held");
    let held = task.join().expect("no panic").expect("given up");
    assert_eq!(held.mode(), Some(PR));
    run(held.unlock().wait_async()).expect("held");
    is_free(&client);
}

pub fn the_outcome_wakes_the_future(setup: &Setup) {
    let client = setup.client();
    let holder = client.lock("r", EX).wait().expect("free");
    let unparker = Unparker::of_this_thread();
    let waker = Waker::from(unparker.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(client.lock("r", EX).wait_async());
    assert!(future.as_mut().poll(&mut context).is_pending());
    holder.unlock().wait().expect("held");
    unparker.wait();
    assert!(matches!(future.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
}

pub fn a_refusal_comes_out_of_the_future(setup: &Setup) {
    let client = setup.client();
    let _holder = client.lock("r", EX).wait().expect("free");
    let refused = run(client.lock("r", PR).flags(LockFlags::NOQUEUE).wait_async());
    assert_eq!(refused.map_err(|error| error.errno()).err(), Some(Errno::EAGAIN));
}

pub fn a_lock_future_that_was_never_polled_does_nothing(setup: &Setup) {
    let client = setup.client();
    drop(client.lock("r", EX).wait_async());
    assert!(attempt(&client, EX).is_ok());
}

pub fn dropping_a_lock_future_takes_the_request_back(setup: &Setup) {
    let client = setup.client();
    let _reader = client.lock("r", PR).wait().expect("free");
    {
        let mut future = pin!(client.lock("r", EX).wait_async());
        poll_pending(future.as_mut());
    }
    // fs/dlm would not pass the waiting EX.
    let second = client.lock("r", PR).wait_timeout(PATIENCE).expect("nothing waits");
    second.unlock().wait().expect("held");
}

pub fn dropping_a_lock_future_after_the_grant_drops_the_lock(setup: &Setup) {
    let client = setup.client();
    let holder = client.lock("r", EX).wait().expect("free");
    {
        let mut future = pin!(client.lock("r", EX).wait_async());
        poll_pending(future.as_mut());
        holder.unlock().wait().expect("held");
        // Granted now, or about to be, and nobody polls again.
    }
    is_free(&client);
}

pub fn a_conversion_future_ends_with_the_grant(setup: &Setup) {
    let client = setup.client();
    let mut held = client.lock("r", PR).wait().expect("free");
    let other = client.lock("r", PR).wait().expect("shared");
    let task = thread::spawn(move || {
        let converted = run(held.convert(EX).wait_async());
        (converted, held.mode())
    });
    other.unlock().wait().expect("held");
    assert_eq!(task.join().expect("no panic"), (Ok(()), Some(EX)));
}

pub fn dropping_a_conversion_future_takes_the_conversion_back(setup: &Setup) {
    let client = setup.client();
    let mut held = client.lock("r", PR).wait().expect("free");
    let other = client.lock("r", PR).wait().expect("shared");
    {
        let mut future = pin!(held.convert(EX).wait_async());
        poll_pending(future.as_mut());
    }
    // A conversion that still waited would hold back a new request.
    let new = client.lock("r", PR).wait_timeout(PATIENCE).expect("nothing waits");
    assert_eq!(held.mode(), Some(PR));
    new.unlock().wait().expect("held");
    other.unlock().wait().expect("held");
    // The lock is usable at once, whether or not the cancel has been answered yet.
    held.convert(NL).wait().expect("down");
    is_free(&client);
}

pub fn dropping_a_conversion_future_after_the_grant_leaves_the_new_mode(setup: &Setup) {
    let client = setup.client();
    let mut held = client.lock("r", PR).wait().expect("free");
    let other = client.lock("r", PR).wait().expect("shared");
    {
        let mut future = pin!(held.convert(EX).wait_async());
        poll_pending(future.as_mut());
        other.unlock().wait().expect("held");
        drop(client.lock("r", NL).wait_timeout(PATIENCE).expect("behind the conversion"));
    }
    assert_eq!(held.mode(), Some(EX));
    assert_eq!(attempt(&client, PR).err(), Some(Errno::EAGAIN));
    held.unlock().wait().expect("held");
}

pub fn a_held_lock_dropped_with_a_conversion_in_flight_is_gone(setup: &Setup) {
    let client = setup.client();
    let mut held = client.lock("r", PR).wait().expect("free");
    let other = client.lock("r", PR).wait().expect("shared");
    {
        let mut future = pin!(held.convert(EX).wait_async());
        poll_pending(future.as_mut());
    }
    drop(held);
    other.unlock().wait().expect("held");
    is_free(&client);
}

pub fn dropping_an_unlock_future_unlocks_polled_or_not(setup: &Setup) {
    let client = setup.client();
    drop(client.lock("r", EX).wait().expect("free").unlock());
    is_free(&client);
    drop(client.lock("r", EX).wait().expect("free").unlock().wait_async());
    is_free(&client);
    {
        let mut future = pin!(client.lock("r", EX).wait().expect("free").unlock().wait_async());
        let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    is_free(&client);
}

pub fn a_timer_that_is_first_takes_the_request_back(setup: &Setup) {
    let client = setup.client();
    let mut holder = client.lock("r", PR).wait().expect("free");
    let error = run(client.lock("r", EX).wait_until(ready(()))).expect_err("held in PR");
    assert!(matches!(error, LockError::TimedOut { .. }), "{error}");
    let other = client.lock("r", PR).wait_timeout(PATIENCE).expect("nothing waits");
    let error = run(holder.convert(EX).wait_until(ready(()))).expect_err("shared");
    assert!(matches!(error, LockError::TimedOut { .. }), "{error}");
    assert_eq!(holder.mode(), Some(PR));
    other.unlock().wait().expect("held");
    run(holder.convert(EX).wait_until(pending::<()>())).expect("alone");
    assert_eq!(holder.mode(), Some(EX));
}

pub fn a_timer_that_never_ends_is_no_timer(setup: &Setup) {
    let client = setup.client();
    let held = run(client.lock("r", EX).wait_until(pending::<()>())).expect("free");
    assert_eq!(held.mode(), Some(EX));
}

pub fn futures_dropped_at_random_exclude_each_other_and_leak_nothing(setup: &Setup) {
    let client = setup.client();
    thread::scope(|scope| {
        for seed in 0..4_usize {
            let client = client.clone();
            scope.spawn(move || {
                for turn in 0..200 {
                    let mut future = pin!(client.lock("r", EX).wait_async());
                    for _ in 0..(seed + turn) % 4 {
                        let mut context = Context::from_waker(Waker::noop());
                        if let Poll::Ready(held) = future.as_mut().poll(&mut context) {
                            let held = held.expect("nothing refuses");
                            assert_eq!(held.mode(), Some(EX));
                            break;
                        }
                        thread::yield_now();
                    }
                }
            });
        }
    });
    is_free(&client);
}
