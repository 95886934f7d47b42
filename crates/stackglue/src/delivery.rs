//! Callbacks called on the thread that caused them, nested no deeper than a stack can bear.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
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
        return defer(lksb, callback, protocol);
    }
    DEPTH.set(depth + 1);
    let turn = Turn { lksb, protocol, depth };
    lksb.call(callback, &**protocol);
    turn.deliver_queued();
    mem::forget(turn);
    DEPTH.set(depth);
}

#[cold]
fn defer(lksb: &Lksb, callback: Callback, protocol: &Arc<dyn LockingProtocol>) {
    let deferred = (lksb.clone(), callback, Arc::clone(protocol));
    DEFERRED.with_borrow_mut(|queue| queue.push_back(deferred));
    HAS_DEFERRED.set(true);
}

/// A delivery that goes on. Dropped only when a handler panics.
struct Turn<'a> {
    lksb: &'a Lksb,
    protocol: &'a Arc<dyn LockingProtocol>,
    depth: u32,
}

impl Turn<'_> {
    #[inline]
    fn deliver_queued(&self) {
        while let Some(callback) = self.lksb.next_callback() {
            self.lksb.call(callback, &**self.protocol);
        }
        if self.depth == 0 && HAS_DEFERRED.get() {
            deliver_deferred();
        }
    }
}

impl Drop for Turn<'_> {
    #[cold]
    fn drop(&mut self) {
        self.deliver_queued();
        DEPTH.set(self.depth);
    }
}

/// Delivers what would have nested too deep; it may nest, but no longer in what caused it.
#[cold]
fn deliver_deferred() {
    while let Some((lksb, callback, protocol)) = DEFERRED.with_borrow_mut(VecDeque::pop_front) {
        deliver(&lksb, callback, &protocol);
    }
    HAS_DEFERRED.set(false);
}

/// A callback that would have nested too deep.
type Deferred = (Lksb, Callback, Arc<dyn LockingProtocol>);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static HAS_DEFERRED: Cell<bool> = const { Cell::new(false) };
    static DEFERRED: RefCell<VecDeque<Deferred>> = const { RefCell::new(VecDeque::new()) };
}
