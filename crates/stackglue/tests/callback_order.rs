//! The callbacks of one lock, posted by many threads: in order, one at a time, each once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use stackglue::{Callback, Errno, Lksb, LockingProtocol, Mode, ProtocolVersion, StatusFlags};

const THREADS: i32 = 4;
const POSTS_PER_THREAD: i32 = 20_000;

/// Notes the status of each lock AST, and whether two callbacks were in progress at once.
#[derive(Default)]
struct Witness {
    busy: AtomicBool,
    seen: Mutex<Vec<i32>>,
}

impl LockingProtocol for Witness {
    fn max_version(&self) -> ProtocolVersion {
        ProtocolVersion { major: 1, minor: 0 }
    }

    fn lock_ast(&self, lksb: &Lksb) {
        assert!(!self.busy.swap(true, Ordering::AcqRel), "two callbacks of one lock at once");
        let status = lksb.status().expect_err("every post carries a number").number();
        self.seen.lock().expect("no panic").push(status);
        self.busy.store(false, Ordering::Release);
    }

    fn blocking_ast(&self, _: &Lksb, _: Mode) {}

    fn unlock_ast(&self, _: &Lksb, _: Result<(), Errno>) {}
}

#[test]
fn callbacks_of_one_lock_come_in_the_order_of_their_posts_one_at_a_time_and_once() {
    let lksb = Lksb::new(());
    let witness = Arc::new(Witness::default());
    let protocol: Arc<dyn LockingProtocol> = witness.clone();
    // The stack's own lock, and what it decides under it: here, the next number.
    let decided = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..POSTS_PER_THREAD {
                    let mut decided = decided.lock().expect("no panic");
                    *decided += 1;
                    let status = Errno::from_number(*decided);
                    let callback = Callback::lock(status, StatusFlags::empty(), None);
                    let to_deliver = lksb.post(callback);
                    drop(decided);
                    if let Some(callback) = to_deliver {
                        lksb.deliver(callback, &protocol);
                    }
                }
            });
        }
    });
    let seen = std::mem::take(&mut *witness.seen.lock().expect("no panic"));
    assert!(seen.iter().copied().eq(1..=THREADS * POSTS_PER_THREAD));
}

/// Posts another callback of the same lock from inside each one, until there were enough.
struct Chain(Mutex<i32>);

impl LockingProtocol for Chain {
    fn max_version(&self) -> ProtocolVersion {
        ProtocolVersion { major: 1, minor: 0 }
    }

    fn lock_ast(&self, lksb: &Lksb) {
        let mut links = self.0.lock().expect("not entered twice");
        *links += 1;
        if *links < 10_000 {
            let next = Callback::lock(None, StatusFlags::empty(), Some(Mode::EX));
            assert_eq!(lksb.post(next), None, "the delivery in progress takes it over");
        }
    }

    fn blocking_ast(&self, _: &Lksb, _: Mode) {}

    fn unlock_ast(&self, _: &Lksb, _: Result<(), Errno>) {}
}

#[test]
fn a_callback_that_causes_the_next_does_not_recurse() {
    let lksb = Lksb::new(());
    let chain = Arc::new(Chain(Mutex::new(0)));
    let protocol: Arc<dyn LockingProtocol> = chain.clone();
    let first = Callback::lock(None, StatusFlags::empty(), Some(Mode::EX));
    let first = lksb.post(first).expect("nothing is being delivered");
    lksb.deliver(first, &protocol);
    assert_eq!(*chain.0.lock().expect("no panic"), 10_000);
    assert_eq!(lksb.mode(), Some(Mode::EX));
}

#[test]
fn a_blocking_callback_is_not_delivered_once_the_mode_is_in_nobodys_way() {
    struct Levels(Mutex<Vec<Mode>>);

    impl LockingProtocol for Levels {
        fn max_version(&self) -> ProtocolVersion {
            ProtocolVersion { major: 1, minor: 0 }
        }
        fn lock_ast(&self, lksb: &Lksb) {
            // Posted while this callback is being delivered: both wait behind it.
            for level in [Mode::PR, Mode::EX] {
                assert_eq!(lksb.post(Callback::blocking(level)), None);
            }
        }
        fn blocking_ast(&self, _: &Lksb, level: Mode) {
            self.0.lock().expect("no panic").push(level);
        }
        fn unlock_ast(&self, _: &Lksb, _: Result<(), Errno>) {}
    }

    let lksb = Lksb::new(());
    let levels = Arc::new(Levels(Mutex::default()));
    let protocol: Arc<dyn LockingProtocol> = levels.clone();
    let granted = Callback::lock(None, StatusFlags::empty(), Some(Mode::PR));
    let granted = lksb.post(granted).expect("nothing is being delivered");
    lksb.deliver(granted, &protocol);
    assert_eq!(*levels.0.lock().expect("no panic"), [Mode::EX]);
}
