//! A lock resource: its word, its slow path, what is in its value block, and the lock beneath.

use std::fmt;
use std::sync::OnceLock;
use std::task::Waker;

use dlm::{Errno, LVB_LEN_MAX};

use crate::Level;
use crate::block::Block;
use crate::queue::{Failure, Ticket};
use crate::state::{Call, CallKind, Mutant, State};
use crate::sync::{Mutex, MutexGuard};
use crate::word::Word;

/// The one lock that a resource has with a lock manager.
///
/// Outcomes come by [`Resource`]'s methods, one at a time and in the order in which the lock manager
/// decided, perhaps before a call returns; none of an operation whose call failed. No call blocks for
/// another lock.
pub(crate) trait DlmLock: Send + Sync {
    /// Asks for a level: a conversion if there is a lock. With `noqueue` the answer may be `EAGAIN`.
    fn lock(&self, level: Level, convert: bool, noqueue: bool) -> Result<(), Errno>;
    /// Converts down, and writes the value block on the way down from EX.
    fn down(&self, level: Level, value: Option<[u8; LVB_LEN_MAX]>) -> Result<(), Errno>;
    /// Takes back what waits.
    fn cancel(&self) -> Result<(), Errno>;
    /// Drops the lock, and writes the value block if it was EX.
    fn unlock(&self, value: Option<[u8; LVB_LEN_MAX]>) -> Result<(), Errno>;
    /// The value block that came with the last grant; `None` when it is not valid.
    fn value(&self) -> Option<[u8; LVB_LEN_MAX]>;
    /// The lock manager's fencing token of the last grant; 0 when it has none.
    fn token(&self) -> u64;
}

/// Has the hook write what must be written before the level goes down, on a thread that may block;
/// [`Resource::flushed`] is called then.
pub(crate) type Flusher = Box<dyn Fn(Level) + Send + Sync>;

pub(crate) struct Resource {
    pub(crate) word: Word,
    state: Mutex<State>,
    pub(crate) block: Block,
    lock: Box<dyn DlmLock>,
    flusher: OnceLock<Flusher>,
}

impl Resource {
    pub(crate) fn new(lock: Box<dyn DlmLock>) -> Resource {
        Resource {
            word: Word::new(),
            state: Mutex::new(State::new()),
            block: Block::new(),
            lock,
            flusher: OnceLock::new(),
        }
    }

    /// Gives up a level that was taken.
    #[inline]
    pub(crate) fn leave(&self, level: Level) {
        if self.word.leave(level) {
            self.look_again();
        }
    }

    /// Turns EX that was taken into PR.
    #[inline]
    pub(crate) fn downgrade(&self) {
        if self.word.downgrade() {
            self.look_again();
        }
    }

    /// Somebody may be waiting for what has just been given up.
    #[cold]
    fn look_again(&self) {
        let state = self.state.lock();
        if !state.is(Mutant::NoLook) {
            self.run(state);
        }
    }

    /// Queues for a level. An impatient user is turned away where it would have to wait for another
    /// user or node; the lock manager is asked all the same.
    pub(crate) fn queue(
        &self,
        level: Level,
        patient: bool,
        waker: &Waker,
    ) -> Result<Ticket, Failure> {
        let mut state = self.state.lock();
        if !patient {
            // Nobody comes in while it is decided.
            self.word.close();
            if state.must_wait(&self.word, level) {
                self.run(state);
                return Err(self.lost_or(Failure::WouldWait));
            }
        }
        let ticket = state.queue.push(level, patient, waker.clone());
        self.run(state);
        Ok(ticket)
    }

    /// The outcome for a waiter; or `None`, and `waker` is woken when it comes.
    pub(crate) fn fetch(&self, ticket: Ticket, waker: &Waker) -> Option<Result<(), Failure>> {
        self.state.lock().queue.fetch(ticket, waker)
    }

    /// Takes a waiter out of the queue; if its outcome has come already, that is it.
    pub(crate) fn withdraw(&self, ticket: Ticket) -> Option<Result<(), Failure>> {
        let mut state = self.state.lock();
        let outcome = state.queue.remove(ticket);
        self.run(state);
        outcome
    }

    /// Whether the exclusive grant has no token yet: its holder sets one before anything else.
    #[inline]
    pub(crate) fn token_missing(&self) -> bool {
        self.block.token() == 0
    }

    /// For the holder of an exclusive grant without token.
    pub(crate) fn set_token(&self, token: u64) {
        let mut state = self.state.lock();
        self.block.set_token(token);
        state.set_token_missing(false);
        self.run(state);
    }

    /// From now on `flusher` is called before EX is given up. The first one counts.
    pub(crate) fn flush_with(&self, flusher: Flusher) -> bool {
        let mut state = self.state.lock();
        let first = self.flusher.set(flusher).is_ok();
        state.flush_before_giving_up();
        first
    }

    /// What must be written is written.
    pub(crate) fn flushed(&self) {
        let mut state = self.state.lock();
        state.flushed();
        self.run(state);
    }

    /// Drops the lock as soon as nobody here uses it.
    pub(crate) fn let_go(&self) {
        let mut state = self.state.lock();
        state.let_go();
        self.run(state);
    }

    /// Whether the lock manager has no lock for this any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.word.is_lost() || self.state.lock().is_gone()
    }

    /// Membership is lost: nobody gets this any more.
    pub(crate) fn lose(&self) {
        let state = self.state.lock();
        self.word.set_lost();
        self.run(state);
    }

    fn lost_or(&self, failure: Failure) -> Failure {
        if self.word.is_lost() { Failure::Lost } else { failure }
    }

    /// Takes the steps that are due, then wakes those for whom something has changed.
    fn run<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        loop {
            let call = state.step(&self.word);
            let wakers = state.queue.take_wakers();
            let silent = state.is(Mutant::NoWakeUp);
            drop(state);
            if !silent {
                wakers.into_iter().for_each(Waker::wake);
            }
            let Some(call) = call else { return };
            let result = self.make(call);
            state = self.state.lock();
            state.returned(&self.word, call, result);
        }
    }

    fn make(&self, call: Call) -> Result<(), Errno> {
        let written = |from: Level| (from == Level::EX).then(|| self.block.to_bytes());
        match call.kind {
            CallKind::Lock { level, convert, noqueue } => self.lock.lock(level, convert, noqueue),
            CallKind::Down { from, to } => self.lock.down(to, written(from)),
            CallKind::Cancel => self.lock.cancel(),
            CallKind::Unlock { from } => self.lock.unlock(written(from)),
            CallKind::Flush { to } => {
                match self.flusher.get() {
                    Some(flusher) => flusher(to),
                    None => self.flushed(),
                }
                Ok(())
            }
        }
    }
}

/// The callbacks of the lock.
impl Resource {
    /// A lock or convert call completed.
    pub(crate) fn lock_ast(&self, status: Result<(), Errno>) {
        let mut state = self.state.lock();
        // Nobody is let in before the value and the token of the grant are there.
        self.word.close();
        match status {
            Ok(()) => {
                if let Some((before, now)) = state.granted(&self.word) {
                    self.take_over(&mut state, before, now);
                }
            }
            Err(errno) => state.failed(&self.word, errno),
        }
        self.run(state);
    }

    /// Somebody waits for `level` elsewhere.
    pub(crate) fn blocking_ast(&self, level: Level) {
        let mut state = self.state.lock();
        state.blocked(level);
        self.run(state);
    }

    /// An unlock or cancel call completed.
    pub(crate) fn unlock_ast(&self, result: Result<(), Errno>) {
        let mut state = self.state.lock();
        state.unlocked(&self.word, result);
        self.run(state);
    }

    fn take_over(&self, state: &mut State, before: Level, now: Level) {
        // With PR nothing can have changed.
        if before == Level::NL && now != Level::NL {
            self.block.load(self.lock.value().as_ref());
        }
        if now == Level::EX {
            let token = match self.lock.token() {
                0 => next_token(self.block.token()),
                token => token,
            };
            self.block.set_token(token);
            state.set_token_missing(token == 0);
        } else {
            state.set_token_missing(false);
        }
    }

    #[cfg(test)]
    pub(crate) fn break_in(&self, mutant: Mutant) {
        self.state.lock().mutant = Some(mutant);
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("word", &self.word.look())
            .field("state", &*self.state.lock())
            .field("token", &self.block.token())
            .finish_non_exhaustive()
    }
}

/// The token of a grant whose predecessor had `last`; 0 when it has to be had from elsewhere: nobody
/// knows the last one, or its epoch is used up.
fn next_token(last: u64) -> u64 {
    let next = last.wrapping_add(1);
    if last == 0 || next & SEQUENCE_MAX == 0 { 0 } else { next }
}

/// Bits of a token that count the grants of one epoch.
pub(crate) const TOKEN_SEQUENCE_BITS: u32 = 16;
const SEQUENCE_MAX: u64 = (1 << TOKEN_SEQUENCE_BITS) - 1;
