//! Callbacks called on the thread that caused them, nested no deeper than a stack can bear.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Callback, Lksb, LockingProtocol};

/// How deep callbacks nest that lock and unlock other locks. What would go deeper waits until the
/// outermost one has returned.
const DEPTH_MAX: u32 = 32;

/// Calls `protocol` for a callback that was posted, and for those that are queued behind it meanwhile.
///
/// When a handler panics the rest is delivered before the panic goes on: others wait for it. A second
/// panic meanwhile aborts.
#[inline]
pub(crate) fn deliver(lksb: &Lksb, callback: Callback, protocol: &Arc<dyn LockingProtocol>) {
    let depth = DEPTH.get();
    if depth == DEPTH_MAX {
        let deferred = (lksb.clone(), callback, Arc::clone(protocol));
        return DEFERRED.with_borrow_mut(|queue| queue.push_back(deferred));
    }
    DEPTH.set(depth + 1);
    let turn = Turn { lksb, protocol, depth };
    lksb.call(callback, &**protocol);
    drop(turn);
}

/// A delivery that goes on: whatever ends it, what is queued is delivered.
struct Turn<'a> {
    lksb: &'a Lksb,
    protocol: &'a Arc<dyn LockingProtocol>,
    depth: u32,
}

impl Turn<'_> {
    #[inline]
    fn finish(&self) {
        while let Some(callback) = self.lksb.next_callback() {
            self.lksb.call(callback, &**self.protocol);
        }
        if self.depth == 0 {
            // Still inside, so that these do not nest in each other.
            while let Some((lksb, callback, protocol)) =
                DEFERRED.with_borrow_mut(VecDeque::pop_front)
            {
                deliver(&lksb, callback, &protocol);
            }
        }
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        /// Finishes again if a handler panics in here.
        struct Again<'a, 'b>(&'a Turn<'b>);
        impl Drop for Again<'_, '_> {
            #[inline]
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.finish();
                }
                DEPTH.set(self.0.depth);
            }
        }
        let again = Again(self);
        if !std::thread::panicking() {
            again.0.finish();
        }
    }
}

/// A callback that would have nested too deep.
type Deferred = (Lksb, Callback, Arc<dyn LockingProtocol>);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static DEFERRED: RefCell<VecDeque<Deferred>> = const { RefCell::new(VecDeque::new()) };
}
