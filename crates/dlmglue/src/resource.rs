//! A lock resource: its word, its slow path, what is in its value block, and the lock beneath.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use dlm::{Errno, LVB_LEN_MAX};
use stackglue::Lksb;

use crate::block::Block;
use crate::mutants::{Mutant, planted};
use crate::queue::{Failure, Ticket};
use crate::state::{Call, CallKind, Missing, State};
use crate::sync::{Mutex, MutexGuard};
use crate::word::Word;
use crate::{Level, Version};

/// The one lock that a resource has with a lock manager.
///
/// Outcomes come by [`Resource`]'s methods, one at a time and in the order in which the lock
/// manager decided, perhaps before a call returns; none of an operation whose call failed. No call
/// blocks for another lock.
pub(crate) trait DlmLock: Send + Sync {
    /// Asks for a level: a conversion if there is a lock. With `noqueue` the answer may be
    /// `EAGAIN`.
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
    /// The resource's name.
    fn name(&self) -> &[u8];
    /// Whether it is the lock of that status block.
    fn is(&self, _: &Lksb) -> bool {
        false
    }
}

/// Has the hook write what must be written before the level goes down, on a thread that may block;
/// [`Resource::flushed`] is called then.
pub(crate) type Flusher = Box<dyn Fn(Level) + Send + Sync>;

/// The word comes first: it shares a cache line with the count of handles.
#[repr(C)]
pub(crate) struct Resource {
    pub(crate) word: Word,
    state: Mutex<State>,
    pub(crate) block: Block,
    lock: Box<dyn DlmLock>,
    flusher: OnceLock<Flusher>,
    /// How often this node got the resource after it had nothing of it.
    stays: AtomicU64,
}

impl Resource {
    pub(crate) fn new(lock: Box<dyn DlmLock>) -> Resource {
        Resource {
            word: Word::new(),
            state: Mutex::new(State::new()),
            block: Block::new(),
            lock,
            flusher: OnceLock::new(),
            stays: AtomicU64::new(0),
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
        if !state.lacks(Missing::Look) && !planted(Mutant::NotLookedAgain) {
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

    /// What the data of this resource was read under.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { stay: self.stays.load(Ordering::Relaxed), version: self.block.version() }
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

    /// Drops the lock as soon as nobody here uses it; `waker` is woken then.
    pub(crate) fn let_go(&self, waker: &Waker) {
        let mut state = self.state.lock();
        state.let_go(waker.clone());
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

    pub(crate) fn name(&self) -> &[u8] {
        self.lock.name()
    }

    /// Whether the lock beneath is that of this status block.
    pub(crate) fn is(&self, lksb: &Lksb) -> bool {
        self.lock.is(lksb)
    }

    fn lost_or(&self, failure: Failure) -> Failure {
        if self.word.is_lost() { Failure::Lost } else { failure }
    }

    /// Takes the steps that are due, then wakes those for whom something has changed.
    fn run<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        loop {
            let call = state.step(&self.word);
            let wakers = state.queue.take_wakers();
            let silent = state.lacks(Missing::WakeUp) || planted(Mutant::NobodyWoken);
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
        let written = |from: Level| {
            let written = from == Level::EX && !planted(Mutant::ValueNotWritten);
            written.then(|| self.block.to_bytes())
        };
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
        if before == Level::NL && now != Level::NL && !planted(Mutant::ValueNotTakenOver) {
            self.block.load(self.lock.value().as_ref());
            self.stays.fetch_add(1, Ordering::Relaxed);
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
    pub(crate) fn leave_out(&self, missing: Missing) {
        self.state.lock().missing = Some(missing);
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

/// When data was read that belongs to a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    stay: u64,
    version: Option<Version>,
}

impl Stamp {
    /// Whether data read then is still good now: nobody has written since, as the value block says;
    /// or it says nothing, and the resource was not given up since.
    pub(crate) fn is_good(self, now: Stamp) -> bool {
        self.version == now.version && (now.version.is_some() || self.stay == now.stay)
    }
}

/// The token of a grant whose predecessor had `last`; 0 when it has to be had from elsewhere:
/// nobody knows the last one, or its epoch is used up.
fn next_token(last: u64) -> u64 {
    if planted(Mutant::TokenNotRaised) {
        return last;
    }
    let next = last.wrapping_add(1);
    if last == 0 || next & SEQUENCE_MAX == 0 { 0 } else { next }
}

/// Bits of a token that count the grants of one epoch.
pub(crate) const TOKEN_SEQUENCE_BITS: u32 = 16;
const SEQUENCE_MAX: u64 = (1 << TOKEN_SEQUENCE_BITS) - 1;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Poll};

    use super::*;
    use crate::acquire::Acquire;
    use crate::state::STREAK_MAX;

    /// A lock manager that grants what it is asked for, and notes what was given up.
    #[derive(Default)]
    struct Willing {
        resource: OnceLock<std::sync::Weak<Resource>>,
        downs: Mutex<Vec<Level>>,
        silent: AtomicBool,
    }

    impl Willing {
        fn answer(&self, answer: impl FnOnce(&Resource)) -> Result<(), Errno> {
            if self.silent.load(Ordering::Relaxed) {
                return Ok(());
            }
            answer(&self.resource.get().and_then(std::sync::Weak::upgrade).expect("alive"));
            Ok(())
        }
    }

    impl DlmLock for Arc<Willing> {
        fn lock(&self, _: Level, _: bool, _: bool) -> Result<(), Errno> {
            self.answer(|resource| resource.lock_ast(Ok(())))
        }
        fn down(&self, level: Level, _: Option<[u8; LVB_LEN_MAX]>) -> Result<(), Errno> {
            self.downs.lock().push(level);
            self.answer(|resource| resource.lock_ast(Ok(())))
        }
        fn cancel(&self) -> Result<(), Errno> {
            Ok(())
        }
        fn unlock(&self, _: Option<[u8; LVB_LEN_MAX]>) -> Result<(), Errno> {
            self.answer(|resource| resource.unlock_ast(Ok(())))
        }
        fn value(&self) -> Option<[u8; LVB_LEN_MAX]> {
            None
        }
        fn token(&self) -> u64 {
            7
        }
        fn name(&self) -> &[u8] {
            b"willing"
        }
    }

    fn resource() -> (Arc<Willing>, Arc<Resource>) {
        let willing = Arc::new(Willing::default());
        let resource = Arc::new(Resource::new(Box::new(Arc::clone(&willing))));
        willing.resource.set(Arc::downgrade(&resource)).expect("new");
        (willing, resource)
    }

    /// How many of 20 users that wait here are served before another node has its way.
    fn served_before_giving_way(missing: Option<Missing>) -> u32 {
        let (willing, resource) = resource();
        if let Some(missing) = missing {
            resource.leave_out(missing);
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut users: Vec<_> =
            (0..20).map(|_| Box::pin(Acquire::new(&resource, Level::EX, true))).collect();
        assert!(users[0].as_mut().poll(&mut context).is_ready());
        for user in &mut users[1..] {
            assert!(user.as_mut().poll(&mut context).is_pending());
        }
        resource.blocking_ast(Level::EX);
        let mut served = 0;
        for user in &mut users[1..] {
            resource.leave(Level::EX);
            if !willing.downs.lock().is_empty() {
                break;
            }
            assert_eq!(user.as_mut().poll(&mut context), Poll::Ready(Ok(())));
            served += 1;
        }
        served
    }

    use std::future::Future;

    #[test]
    fn another_node_has_its_way_after_a_bounded_streak_of_users_here() {
        assert_eq!(served_before_giving_way(None), STREAK_MAX);
    }

    #[test]
    fn without_the_bound_it_waits_for_all_of_them() {
        assert_eq!(served_before_giving_way(Some(Missing::StreakBound)), 19);
    }

    #[test]
    fn a_node_that_is_asked_keeps_what_the_other_one_leaves_it() {
        // (has, is used at, is asked for, keeps)
        let cases = [
            (Level::EX, None, Level::PR, Some(Level::PR)),
            (Level::EX, None, Level::EX, Some(Level::NL)),
            (Level::EX, Some(Level::PR), Level::PR, Some(Level::PR)),
            (Level::EX, Some(Level::PR), Level::EX, None),
            (Level::EX, Some(Level::EX), Level::PR, None),
            (Level::PR, None, Level::EX, Some(Level::NL)),
            (Level::PR, Some(Level::PR), Level::EX, None),
        ];
        for (has, used, asked, keeps) in cases {
            let (willing, resource) = resource();
            assert_eq!(Acquire::new(&resource, has, true).wait(), Ok(()));
            resource.leave(has);
            if let Some(level) = used {
                assert!(resource.word.enter(level));
            }
            resource.blocking_ast(asked);
            let case = format!("{has} used at {used:?}, asked for {asked}");
            assert_eq!(willing.downs.lock().as_slice(), keeps.as_slice(), "{case}");
            if let Some(level) = used {
                resource.leave(level);
                assert_eq!(willing.downs.lock().as_slice(), [asked.compatible()], "{case}");
            }
        }
    }

    #[test]
    fn a_node_does_not_have_what_it_is_giving_up() {
        for (asked, left) in [(Level::PR, Level::PR), (Level::EX, Level::NL)] {
            let (willing, resource) = resource();
            assert_eq!(Acquire::new(&resource, Level::EX, true).wait(), Ok(()));
            resource.leave(Level::EX);
            willing.silent.store(true, Ordering::Relaxed);
            resource.blocking_ast(asked);
            assert_eq!(resource.word.look().level(), left);
            assert!(!resource.word.enter(Level::PR), "before the outcome is known");
            resource.lock_ast(Ok(()));
            assert_eq!(resource.word.enter(Level::PR), left == Level::PR);
        }
    }

    #[test]
    fn what_was_written_for_a_user_that_came_back_is_written_again() {
        let (_, resource) = resource();
        let flushes = Arc::new(Mutex::new(0));
        let count = Arc::clone(&flushes);
        resource.flush_with(Box::new(move |_| *count.lock() += 1));
        assert_eq!(Acquire::new(&resource, Level::EX, true).wait(), Ok(()));
        resource.leave(Level::EX);
        resource.let_go(Waker::noop());
        let mut context = Context::from_waker(Waker::noop());
        let mut user = Box::pin(Acquire::new(&resource, Level::EX, true));
        assert!(user.as_mut().poll(&mut context).is_pending(), "the hook runs");
        resource.flushed();
        assert_eq!(user.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        resource.leave(Level::EX);
        assert_eq!(*flushes.lock(), 2);
        resource.flushed();
        assert!(resource.is_gone());
    }

    #[test]
    fn the_next_token_of_an_epoch_is_one_more_and_there_is_none_after_the_last() {
        assert_eq!(next_token(7), 8);
        assert_eq!(next_token(0), 0, "nobody knows the last one");
        assert_eq!(next_token(5 << TOKEN_SEQUENCE_BITS | SEQUENCE_MAX), 0, "used up");
        assert_eq!(next_token(u64::MAX), 0);
    }

    #[test]
    fn data_is_good_while_it_is_kept_or_its_version_says_so() {
        let stamp = |stay, token: u64| Stamp {
            stay,
            version: (token != 0).then_some(Version { token, writes: 0 }),
        };
        assert!(stamp(1, 0).is_good(stamp(1, 0)), "kept");
        assert!(!stamp(1, 0).is_good(stamp(2, 0)), "nobody can tell");
        assert!(stamp(1, 5).is_good(stamp(2, 5)), "nobody has written");
        assert!(!stamp(1, 5).is_good(stamp(1, 6)), "written here");
        assert!(!stamp(1, 5).is_good(stamp(2, 0)), "the value block was lost");
    }
}
