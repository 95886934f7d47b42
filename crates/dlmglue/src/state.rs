//! The slow path of a lock resource: what `fs/ocfs2/dlmglue.c` does under a resource's spinlock.
//!
//! A state machine without I/O: events come in by its methods, [`State::step`] says which call on
//! the lock manager is due. Whoever brings an event takes the steps, so the down-convert of the
//! kernel's thread happens on the thread that made it possible: that of the last user, or of the
//! callback.
//!
//! | dlmglue | here |
//! |---|---|
//! | `l_level`, `l_ro_holders`, `l_ex_holders` | the [`Word`] |
//! | `ATTACHED` | `attached` |
//! | `BUSY`, `l_action`, `l_requested` | `busy` |
//! | `PENDING`, `l_pending_gen` | `busy.pending`, `generation` |
//! | `l_unlock_action` | `busy.cancelling`, [`Action::Drop`] |
//! | `BLOCKED`, `l_blocking` | `blocking` above NL |
//! | `QUEUED` | `flush`: only a resource with a hook goes to the worker thread |
//! | `FREEING` | `letting_go` |
//! | `UPCONVERT_FINISHING`, `NONBLOCK_FINISHED` | none: a grant makes the first waiter a holder at once |
//! | `NEEDS_REFRESH`, `REFRESHING` | none: users compare [`Version`](crate::Version)s |

use std::task::Waker;

use dlm::Errno;

use crate::Level;
use crate::mutants::{Mutant, planted};
use crate::queue::{Failure, Queue};
use crate::word::Word;

/// How many users of this node are served after another node has asked for the level, before it
/// gets it.
pub(crate) const STREAK_MAX: u32 = 8;

/// A call on the lock manager, to be made with the mutex let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) kind: CallKind,
    /// Of the operation: an outcome that comes later than a newer operation is not taken for its.
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Ask for a level, as a new lock or a conversion.
    Lock { level: Level, convert: bool, noqueue: bool },
    /// Convert down; the value block is written when EX is given up.
    Down { from: Level, to: Level },
    /// Take back what waits.
    Cancel,
    /// Drop the lock.
    Unlock { from: Level },
    /// Have the hook write what must be written, then call [`State::flushed`].
    Flush { to: Level },
}

/// Everything about a resource that is not in its word.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) queue: Queue,
    /// Whether the lock manager has a lock for this resource.
    attached: bool,
    /// Whether a lock is to begin at NL, because what is wanted is not free.
    attach_null: bool,
    /// The operation that is outstanding.
    busy: Option<Busy>,
    /// Grows when PENDING is cleared.
    generation: u32,
    /// The highest level that somebody waits for elsewhere; NL when nobody does.
    blocking: Level,
    /// Users served since `blocking` was raised.
    streak: u32,
    flush: Flush,
    /// Whether EX was granted without a fencing token: its first user has to get one.
    token_missing: bool,
    /// Whether the lock is to be dropped once nobody uses it.
    letting_go: bool,
    /// Who waits for the lock to be dropped.
    gone_waker: Waker,
    #[cfg(test)]
    pub(crate) missing: Option<Missing>,
}

#[derive(Debug)]
struct Busy {
    action: Action,
    level: Level,
    /// The lock manager was not called yet, or has not returned: there is nothing to cancel.
    pending: bool,
    cancelling: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Attach,
    Convert,
    Down,
    Drop,
}

/// What must be written before a level is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    /// Nothing.
    Needless,
    /// There is a hook, and it has not run.
    Due,
    Running,
    Done,
}

/// Parts that the machine can do without only until somebody gets hurt: tests leave them out, and
/// must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// PENDING: a request counts as handed to the lock manager before it is.
    Pending,
    /// Its generation: a call that returns late clears PENDING of a newer operation.
    Generation,
    /// The bound of a streak: users of this node are served as long as there are any.
    StreakBound,
    /// The wake-up of who gets a level.
    WakeUp,
    /// The look of who gives up a level whether somebody waits for it.
    Look,
}

impl State {
    pub(crate) fn new() -> State {
        State {
            queue: Queue::default(),
            attached: false,
            attach_null: false,
            busy: None,
            generation: 0,
            blocking: Level::NL,
            streak: 0,
            flush: Flush::Needless,
            token_missing: false,
            letting_go: false,
            gone_waker: Waker::noop().clone(),
            #[cfg(test)]
            missing: None,
        }
    }

    /// Serves who can be served, and says which call is due. To be repeated until none is.
    pub(crate) fn step(&mut self, word: &Word) -> Option<Call> {
        // First: what is decided below is about users that can only become fewer.
        word.close();
        if word.is_lost() {
            self.queue.fail_above(Level::NL, false, Failure::Lost);
            return None;
        }
        // Written for nothing: who wanted the level given up has changed its mind.
        let given_up = self.blocking != Level::NL || (self.letting_go && self.queue.is_empty());
        if self.flush == Flush::Done && !given_up {
            self.flush = Flush::Due;
        }
        self.admit(word);
        let call = self.due(word);
        if call.is_none() && self.leaves_the_gate_open() {
            word.open();
        }
        call
    }

    /// Lets in waiters from the front, as far as this node has what they want. They hold it from
    /// now on, so a down-convert that is due waits for them: nobody loses a level before it used it
    /// once.
    fn admit(&mut self, word: &Word) {
        while let Some((level, _)) = self.queue.front() {
            let now = word.look();
            if self.is_going_down() || now.level() < level || !now.has_room_for(level) {
                return;
            }
            if self.is_blocked_at(level) {
                if self.streak >= STREAK_MAX && !self.lacks(Missing::StreakBound) {
                    return;
                }
                self.streak += 1;
            }
            word.admit(level);
            self.queue.settle_front();
        }
    }

    fn due(&mut self, word: &Word) -> Option<Call> {
        let now = word.look();
        if let Some(busy) = &mut self.busy {
            let asks = matches!(busy.action, Action::Attach | Action::Convert);
            let wanted = self.queue.wants_above(now.level()) && self.blocking == Level::NL;
            if asks && !wanted && !busy.pending && !busy.cancelling {
                busy.cancelling = true;
                return Some(self.call(CallKind::Cancel));
            }
            return None;
        }
        if self.flush == Flush::Running {
            return None;
        }
        if self.blocking != Level::NL {
            let kept = self.blocking.compatible();
            if now.level() > kept {
                return if now.is_used_above(kept) && !planted(Mutant::GivenUpUnderUser) {
                    None
                } else {
                    Some(self.down(word, now.level(), kept))
                };
            }
            self.unblock();
        }
        let Some((level, patient)) = self.queue.front() else {
            return self.drop_if_unused(word);
        };
        (level > now.level()).then(|| match (self.attached, self.attach_null) {
            (true, _) => self.ask(Action::Convert, level, !patient),
            // Lock managers grant conversions before new locks, so among nodes that convert a new
            // lock would wait for ever: it may be granted at once, or else begins as one that
            // converts too.
            (false, false) => self.ask(Action::Attach, level, true),
            (false, true) => self.ask(Action::Attach, Level::NL, false),
        })
    }

    fn ask(&mut self, action: Action, level: Level, noqueue: bool) -> Call {
        let convert = action == Action::Convert;
        self.begin(action, level, CallKind::Lock { level, convert, noqueue })
    }

    fn down(&mut self, word: &Word, from: Level, to: Level) -> Call {
        if self.flush == Flush::Due && from == Level::EX {
            self.flush = Flush::Running;
            return self.call(CallKind::Flush { to });
        }
        // Another node may have what is given up before the outcome is known here.
        word.set_level(to);
        self.begin(Action::Down, to, CallKind::Down { from, to })
    }

    fn drop_if_unused(&mut self, word: &Word) -> Option<Call> {
        let now = word.look();
        if !self.letting_go || now.is_used_above(Level::NL) {
            return None;
        }
        if !self.attached {
            self.gone();
            return None;
        }
        if self.flush == Flush::Due && now.level() == Level::EX {
            self.flush = Flush::Running;
            return Some(self.call(CallKind::Flush { to: Level::NL }));
        }
        word.set_level(Level::NL);
        Some(self.begin(Action::Drop, Level::NL, CallKind::Unlock { from: now.level() }))
    }

    fn begin(&mut self, action: Action, level: Level, kind: CallKind) -> Call {
        let pending = !self.lacks(Missing::Pending);
        self.busy = Some(Busy { action, level, pending, cancelling: false });
        self.call(kind)
    }

    fn call(&self, kind: CallKind) -> Call {
        Call { kind, generation: self.generation }
    }

    /// Whether a level is given up right now: nobody comes in any more.
    fn is_going_down(&self) -> bool {
        let going = |busy: &Busy| matches!(busy.action, Action::Down | Action::Drop);
        matches!(self.flush, Flush::Running | Flush::Done) || self.busy.as_ref().is_some_and(going)
    }

    /// Whether the level would be in the way of somebody who waits elsewhere.
    fn is_blocked_at(&self, level: Level) -> bool {
        self.blocking != Level::NL && level > self.blocking.compatible()
    }

    fn leaves_the_gate_open(&self) -> bool {
        self.queue.is_empty()
            && self.blocking == Level::NL
            && !self.token_missing
            && !self.letting_go
            && !self.is_going_down()
    }

    fn gone(&mut self) {
        self.letting_go = false;
        self.queue.wake(std::mem::replace(&mut self.gone_waker, Waker::noop().clone()));
    }

    fn unblock(&mut self) {
        self.blocking = Level::NL;
        self.streak = 0;
    }

    /// The operation is over: what its call returns later is no news.
    fn finish(&mut self) -> Option<Busy> {
        self.generation = self.generation.wrapping_add(1);
        self.busy.take()
    }
}

/// What happens to a resource.
impl State {
    /// Whether a user who does not want to wait can be turned away without asking anybody.
    pub(crate) fn must_wait(&self, word: &Word, level: Level) -> bool {
        let now = word.look();
        let missing = now.level() < level;
        !self.queue.is_empty()
            || self.is_going_down()
            || !now.has_room_for(level)
            || (missing && (self.busy.is_some() || self.blocking != Level::NL))
            || (self.is_blocked_at(level) && self.streak >= STREAK_MAX)
    }

    /// A call has returned; `Err` means that no callback comes of it.
    pub(crate) fn returned(&mut self, word: &Word, call: Call, result: Result<(), Errno>) {
        let own = call.generation == self.generation || self.lacks(Missing::Generation);
        match (call.kind, result) {
            // A refused cancel: the outcome is on its way.
            (CallKind::Cancel | CallKind::Flush { .. }, _) => {}
            (_, _) if !own => {}
            (_, Ok(())) => {
                if let Some(busy) = self.busy.as_mut().filter(|busy| busy.pending) {
                    busy.pending = false;
                    self.generation = self.generation.wrapping_add(1);
                }
            }
            (_, Err(errno)) => self.failed(word, errno),
        }
    }

    /// A lock AST with status 0. The level that the node had before.
    pub(crate) fn granted(&mut self, word: &Word) -> Option<(Level, Level)> {
        let before = word.look().level();
        let busy = self.finish()?;
        self.attached = true;
        self.attach_null = false;
        word.set_level(busy.level);
        if busy.action == Action::Down {
            self.flush = self.flush.again();
            if busy.level <= self.blocking.compatible() {
                self.unblock();
            }
        }
        Some((before, busy.level))
    }

    /// A lock AST with another status, or a call that was refused.
    pub(crate) fn failed(&mut self, word: &Word, errno: Errno) {
        let Some(busy) = self.finish() else { return };
        let level = word.look().level();
        match (busy.action, errno) {
            (Action::Attach | Action::Convert, Errno::EAGAIN) => {
                self.queue.fail_above(level, true, Failure::WouldWait);
                self.attach_null = busy.action == Action::Attach && !self.queue.is_empty();
            }
            // Both sides of the deadlock hold PR: one has to let go of it.
            (Action::Convert, Errno::EDEADLK) => self.blocking = Level::EX,
            (Action::Attach | Action::Convert, errno) => {
                self.queue.fail_above(level, false, Failure::Refused(errno));
            }
            // Nobody can know any more what this node holds.
            (Action::Down | Action::Drop, errno) => {
                tracing::error!(%errno, "a level cannot be given up: it counts as lost");
                self.attached = false;
                word.set_lost();
            }
        }
    }

    /// An unlock AST: of a cancel that won, or of the end of the lock.
    pub(crate) fn unlocked(&mut self, word: &Word, result: Result<(), Errno>) {
        if let Err(errno) = result {
            return self.failed(word, errno);
        }
        match self.finish().map(|busy| busy.action) {
            Some(Action::Drop) => {
                self.attached = false;
                self.gone();
                self.flush = self.flush.again();
                self.unblock();
            }
            Some(Action::Attach) => self.attached = false,
            Some(Action::Convert) if planted(Mutant::CancelFailsAll) => {
                self.queue.fail_above(Level::NL, false, Failure::WouldWait);
            }
            _ => {}
        }
    }

    /// A BAST: somebody waits for `level`.
    pub(crate) fn blocked(&mut self, level: Level) {
        if planted(Mutant::NoticeLostInFlight) && self.busy.is_some() {
            return;
        }
        self.blocking = self.blocking.max(level);
    }

    /// The hook has written what it had to.
    pub(crate) fn flushed(&mut self) {
        self.flush = Flush::Done;
    }

    /// From now on a level is given up only after a [`CallKind::Flush`].
    pub(crate) fn flush_before_giving_up(&mut self) {
        if self.flush == Flush::Needless {
            self.flush = Flush::Due;
        }
    }

    pub(crate) fn set_token_missing(&mut self, missing: bool) {
        self.token_missing = missing;
    }

    /// Drops the lock as soon as nobody uses it, and wakes `waker` then.
    pub(crate) fn let_go(&mut self, waker: Waker) {
        self.letting_go = true;
        self.gone_waker = waker;
    }

    /// Whether the lock manager knows nothing of this resource.
    pub(crate) fn is_gone(&self) -> bool {
        !self.attached && self.busy.is_none()
    }

    /// Whether that part is left out, which happens in tests only.
    pub(crate) fn lacks(&self, part: Missing) -> bool {
        #[cfg(test)]
        return self.missing == Some(part);
        #[cfg(not(test))]
        {
            let _ = part;
            false
        }
    }
}

impl Flush {
    /// A level was given up: the next one is another matter.
    fn again(self) -> Flush {
        match self {
            Flush::Needless => Flush::Needless,
            _ => Flush::Due,
        }
    }
}
