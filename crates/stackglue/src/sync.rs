//! The atomics and the mutex of the lock-free parts: real ones, or loom's when it explores every
//! interleaving (`RUSTFLAGS="--cfg loom"`, which `cargo xtask test` sets for that step).

#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::AtomicU8;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::AtomicU8;

/// loom's mutex with the interface of `parking_lot`'s.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("no model panics with it locked")
    }
}
