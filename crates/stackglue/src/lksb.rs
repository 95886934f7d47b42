//! The lock status block.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use dlm::{Errno, LVB_LEN_MAX, Mode, StatusFlags};
use parking_lot::Mutex;

use crate::callback::CallbackQueue;
use crate::{Callback, LockingProtocol, delivery};

/// A lock status block: what the caller and the stack share about one lock.
///
/// Holds the status of the last completion, the lock value block, the connection it belongs to and
/// the user's own state. A handle: clones are the same block. It names one lock at a time; when that
/// lock is gone it can be used for another one, on the same connection.
///
/// ```
/// use stackglue::Lksb;
///
/// let lksb = Lksb::new("whatever finds my object again");
/// assert_eq!(lksb.state::<&str>(), Some(&"whatever finds my object again"));
/// assert_eq!(lksb.mode(), None);
/// ```
#[derive(Clone)]
pub struct Lksb(Arc<Block<dyn Any + Send + Sync>>);

impl Lksb {
    /// A block that no lock uses yet, with the user's own state hung off it.
    pub fn new<S: Any + Send + Sync>(state: S) -> Lksb {
        Lksb(Arc::new(Block {
            connection: AtomicU32::new(0),
            lock: AtomicU32::new(0),
            completion: AtomicU64::new(Callback::lock(None, StatusFlags::empty(), None).to_word()),
            silenced: AtomicBool::new(false),
            token: AtomicU64::new(0),
            callbacks: CallbackQueue::new(),
            lvb: Mutex::new(None),
            state,
        }))
    }

    /// The user's own state, if it is an `S`.
    #[inline]
    pub fn state<S: Any>(&self) -> Option<&S> {
        (&self.0.state as &dyn Any).downcast_ref()
    }

    /// The outcome of the last completion. `Err(EAGAIN)` means that a `NOQUEUE` call would have had
    /// to wait, `Err(ECANCEL)` that a cancel won.
    pub fn status(&self) -> Result<(), Errno> {
        match self.completion().status() {
            None => Ok(()),
            Some(errno) => Err(errno),
        }
    }

    /// The status flags of the last completion.
    pub fn flags(&self) -> StatusFlags {
        self.completion().flags()
    }

    /// The mode that the last completion left the lock in; `None` when it is not held.
    pub fn mode(&self) -> Option<Mode> {
        self.completion().mode()
    }

    /// Whether the value block may be trusted: false when its last writer was lost.
    ///
    /// o2dlm zeroes a lost value and calls it valid, so a value needs a byte that is never 0 there.
    pub fn lvb_valid(&self) -> bool {
        !self.flags().contains(StatusFlags::VALNOTVALID)
    }

    /// A copy of the value block: zeros until something was read or written.
    pub fn lvb(&self) -> [u8; LVB_LEN_MAX] {
        self.0.lvb.lock().as_deref().copied().unwrap_or([0; LVB_LEN_MAX])
    }

    /// Puts `value` at the start of the value block and zeros behind it, for the next operation with
    /// `VALBLK` that writes.
    ///
    /// # Errors
    ///
    /// `E2BIG` when it is longer than [`LVB_LEN_MAX`] bytes; the block is as it was.
    pub fn set_lvb(&self, value: &[u8]) -> Result<(), Errno> {
        if value.len() > LVB_LEN_MAX {
            return Err(Errno::E2BIG);
        }
        let mut slot = self.0.lvb.lock();
        let block = slot.get_or_insert_with(|| Box::new([0; LVB_LEN_MAX]));
        block[..value.len()].copy_from_slice(value);
        block[value.len()..].fill(0);
        Ok(())
    }

    /// The fencing token of the last grant: grows with every grant on the resource, never repeats.
    /// 0 where nothing was granted yet or the stack does not number its grants.
    pub fn token(&self) -> u64 {
        self.0.token.load(Ordering::Acquire)
    }

    /// Whether both handles are the same block.
    pub fn is(&self, other: &Lksb) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// For stacks: what a plugin does with the block of a lock that it manages.
impl Lksb {
    /// The stack's id of the lock that uses this block; 0 when none does.
    #[inline]
    pub fn lock_id(&self) -> u32 {
        self.0.lock.load(Ordering::Acquire)
    }

    /// Takes a block that no lock uses for a new one, until [`set_lock_id`](Self::set_lock_id). `false`
    /// when a lock uses it: of two threads that try, one gets it.
    #[inline]
    pub fn claim(&self) -> bool {
        self.0.lock.compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Records the stack's id of the lock (not `u32::MAX`), or 0 when the lock has ended.
    #[inline]
    pub fn set_lock_id(&self, id: u32) {
        self.0.lock.store(id, Ordering::Release);
    }

    /// Records the fencing token of a grant.
    #[inline]
    pub fn set_token(&self, token: u64) {
        self.0.token.store(token, Ordering::Release);
    }

    /// Queues a callback behind those not yet delivered.
    ///
    /// Called under the stack's own lock, which is what puts the callbacks of one lock in order. When
    /// it gives the callback back, the caller hands it to [`deliver`](Self::deliver) after letting go of
    /// that lock; otherwise the thread that is delivering now will, or nobody (a superseded BAST).
    #[inline]
    #[must_use = "an undelivered callback blocks every later one of this lock"]
    pub fn post(&self, callback: Callback) -> Option<Callback> {
        self.0.callbacks.post(callback, || ())
    }

    /// [`post`](Self::post) for the last callback of a lock, after which the block is free for another
    /// one: whoever takes it posts behind this callback, under whatever lock of the stack.
    #[inline]
    #[must_use = "an undelivered callback blocks every later one of this lock"]
    pub fn post_last(&self, callback: Callback) -> Option<Callback> {
        self.0.callbacks.post(callback, || self.set_lock_id(0))
    }

    /// Calls the protocol for a callback that [`post`](Self::post) gave back, and for those that are
    /// queued behind it meanwhile. To be called with none of the stack's locks held.
    ///
    /// Callbacks that lock and unlock nest; beyond some depth they wait until the outermost has
    /// returned. When one panics the others are delivered all the same, before the panic goes on.
    #[inline]
    pub fn deliver(&self, callback: Callback, protocol: &Arc<dyn LockingProtocol>) {
        delivery::deliver(self, callback, protocol);
    }

    /// Waits until no callback is being delivered: after [`silence`](Self::silence), until none ever
    /// will be. Not to be called inside one.
    pub fn wait_until_idle(&self) {
        while !self.0.callbacks.is_idle() {
            std::thread::yield_now();
        }
    }

    /// Drops the callbacks that were not delivered, and every later one: nobody is there to be called.
    /// One that another thread is in at this moment still finishes.
    pub fn silence(&self) {
        self.0.silenced.store(true, Ordering::Release);
    }

    /// Binds the block to a connection on first use. `false` when it belongs to another one.
    #[inline]
    pub(crate) fn bind(&self, connection: u32) -> bool {
        let bound = &self.0.connection;
        bound.load(Ordering::Relaxed) == connection
            || match bound.compare_exchange(0, connection, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => true,
                Err(other) => other == connection,
            }
    }

    /// Whether the block belongs to that connection.
    #[inline]
    pub(crate) fn is_bound_to(&self, connection: u32) -> bool {
        self.0.connection.load(Ordering::Relaxed) == connection
    }

    /// Makes what `callback` says visible, then calls the protocol.
    #[inline]
    pub(crate) fn next_callback(&self) -> Option<Callback> {
        self.0.callbacks.next()
    }

    #[inline]
    pub(crate) fn call(&self, callback: Callback, protocol: &dyn LockingProtocol) {
        if self.0.silenced.load(Ordering::Acquire) {
            return;
        }
        if let Some(level) = callback.blocking_level() {
            if self.mode().is_some_and(|held| !held.is_compatible_with(level)) {
                protocol.blocking_ast(self, level);
            }
            return;
        }
        self.0.completion.store(callback.to_word(), Ordering::Release);
        if callback.is_lock() {
            protocol.lock_ast(self);
        } else {
            // Dropped and cancelled are what was asked for: the glue's users see success
            // (fs/ocfs2/stack_user.c: fsdlm_lock_ast_wrapper).
            protocol.unlock_ast(
                self,
                match callback.status() {
                    Some(Errno::EUNLOCK | Errno::ECANCEL) | None => Ok(()),
                    Some(errno) => Err(errno),
                },
            );
        }
    }

    /// The completion delivered last.
    #[inline]
    fn completion(&self) -> Callback {
        Callback::from_word(self.0.completion.load(Ordering::Acquire))
    }
}

impl fmt::Debug for Lksb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lksb")
            .field("lock", &self.lock_id())
            .field("status", &self.status())
            .field("flags", &self.flags())
            .field("mode", &self.mode())
            .field("token", &self.token())
            .finish_non_exhaustive()
    }
}

struct Block<S: ?Sized> {
    /// Id of the connection; 0 before first use.
    connection: AtomicU32,
    lock: AtomicU32,
    /// The completion delivered last, as its word.
    completion: AtomicU64,
    silenced: AtomicBool,
    token: AtomicU64,
    callbacks: CallbackQueue,
    lvb: Mutex<Option<Box<[u8; LVB_LEN_MAX]>>>,
    state: S,
}

/// Stands for "about to be used" in the lock id.
const CLAIMED: u32 = u32::MAX;
