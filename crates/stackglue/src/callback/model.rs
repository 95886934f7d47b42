//! Every interleaving of threads that post callbacks of one lock and deliver them.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};

use super::{Callback, CallbackQueue};
use dlm::Errno;

/// A stack with one lock, and what its owner was told.
struct World {
    queue: CallbackQueue,
    /// The stack's own lock: how many callbacks were posted.
    posted: Mutex<i32>,
    in_callback: AtomicBool,
    told: Mutex<Vec<i32>>,
}

impl World {
    fn post_and_deliver(&self) {
        let mut posted = self.posted.lock().expect("no poisoned model");
        *posted += 1;
        let mut next = self.queue.post(Callback::unlock(Errno::from_number(*posted), None), || ());
        drop(posted);
        while let Some(callback) = next {
            assert!(!self.in_callback.swap(true, Ordering::Relaxed), "two callbacks at once");
            let number = callback.status().map_or(0, Errno::number);
            self.told.lock().expect("no poisoned model").push(number);
            self.in_callback.store(false, Ordering::Relaxed);
            next = self.queue.next();
        }
    }
}

/// Runs as many threads as `posts` has entries, each of which posts that often.
fn every_callback_comes_once_and_in_order(posts: &'static [usize]) {
    loom::model(move || {
        let world = Arc::new(World {
            queue: CallbackQueue::new(),
            posted: Mutex::new(0),
            in_callback: AtomicBool::new(false),
            told: Mutex::new(Vec::new()),
        });
        let run = |world: &World, posts| (0..posts).for_each(|_| world.post_and_deliver());
        let others: Vec<_> = posts[1..]
            .iter()
            .map(|&posts| {
                let world = Arc::clone(&world);
                loom::thread::spawn(move || run(&world, posts))
            })
            .collect();
        run(&world, posts[0]);
        for other in others {
            other.join().expect("no thread of the model panics");
        }
        let expected: Vec<i32> = (1..).take(posts.iter().sum()).collect();
        assert_eq!(*world.told.lock().expect("no poisoned model"), expected);
    });
}

#[test]
fn two_threads_that_post_twice() {
    every_callback_comes_once_and_in_order(&[2, 2]);
}

#[test]
fn three_threads_that_post_once() {
    every_callback_comes_once_and_in_order(&[1, 1, 1]);
}

/// A block that is free again with the last callback of its lock, and taken by a thread that posts under
/// another lock of the stack.
#[test]
fn a_block_that_is_used_again_at_once() {
    loom::model(|| {
        let queue = Arc::new(CallbackQueue::new());
        let free = Arc::new(AtomicBool::new(true));
        let in_callback = Arc::new(AtomicBool::new(false));
        let told = Arc::new(AtomicU32::new(0));
        let use_once = {
            let told = Arc::clone(&told);
            move |bit: u32| {
                let taken = free.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed);
                if taken.is_err() {
                    return 0;
                }
                let last = Callback::unlock(Errno::from_number(bit as i32), None);
                let mut next = queue.post(last, || free.store(true, Ordering::Release));
                while let Some(callback) = next {
                    assert!(!in_callback.swap(true, Ordering::Relaxed), "two callbacks at once");
                    let bit = callback.status().map_or(0, Errno::number) as u32;
                    assert_eq!(told.fetch_or(bit, Ordering::Relaxed) & bit, 0, "told twice");
                    in_callback.store(false, Ordering::Relaxed);
                    next = queue.next();
                }
                bit
            }
        };
        let other = {
            let use_once = use_once.clone();
            loom::thread::spawn(move || use_once(1) | use_once(2))
        };
        let used = use_once(4) | other.join().expect("no thread of the model panics");
        assert_eq!(told.load(Ordering::Relaxed), used, "a callback was lost");
    });
}
