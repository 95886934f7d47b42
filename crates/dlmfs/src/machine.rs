//! The lock machine of one file (`fs/ocfs2/dlmfs/userdlm.c`): a state machine without I/O.
//!
//! Events come in by its methods; [`Machine::step`] says which call on the lock manager is due, and
//! [`Machine::take_settled`] who has waited long enough. Many opens of a file share its one lock, which
//! stays when the last of them is closed, until another node wants it.
//!
//! | kernel | here |
//! |---|---|
//! | `l_level`, `l_requested`, `ATTACHED` | `level`, the `operation`'s; `level` is `None` without a lock |
//! | `BUSY` | `operation` |
//! | `IN_CANCEL` | `operation.cancelled` |
//! | `BLOCKED`, `l_blocking` | `blocking` |
//! | `QUEUED` | none: whoever brings an event takes the steps |
//! | `IN_TEARDOWN` | `teardown` |
//! | `l_ro_holders`, `l_ex_holders` | `readers`, `writers` |
//!
//! Three defects of the kernel's machine (Linux 6.1) are not imitated:
//!
//! * There a cancel that lost to the grant leaves its mark behind, because the stack hides that outcome:
//!   no later conversion is ever cancelled, and a drop counts as a cancel. Here the mark belongs to the
//!   operation and ends with it.
//! * There a cancel can overtake the conversion it is for, which then waits uncancelled: two nodes that
//!   both go up from PR block each other. Here no call is made while another one has not returned.
//! * There a lock AST with an error leaves the file busy for ever: a trylock that is refused
//!   asynchronously hangs. Here the operation is over, and its opener hears why.
//!
//! Two more things differ. An opener that waits can be taken back at any time. And a trylock never waits
//! for another node, nor for a user here whom another node waits for: it is refused at once, where the
//! kernel waits until the file is no longer busy or blocked.

#[cfg(test)]
mod model;

use std::collections::VecDeque;

use dlm::Errno;

use crate::level::Level;

/// A call on the lock manager, to be made with the machine's mutex let go of; every one with `VALBLK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    /// Ask for a level, as a new lock or a conversion.
    Lock { level: Level, convert: bool, noqueue: bool },
    /// Convert down.
    Down { to: Level },
    /// Take back what waits.
    Cancel,
    /// Drop the lock.
    Unlock,
}

/// Who waits for an outcome.
pub(crate) type Ticket = u64;

/// Why somebody does not get what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// A trylock would have to wait.
    WouldWait,
    /// The file is being removed.
    TearingDown,
    /// The file cannot be removed: it is open, about to be opened, or being removed.
    Busy,
    /// The lock manager is gone, and with it every lock.
    Lost,
    /// The lock manager's own reason.
    LockManager(Errno),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Machine {
    /// What the lock manager has granted; `None` while it has no lock for this file.
    level: Option<Level>,
    /// What it was asked for.
    operation: Option<Operation>,
    /// A call has not returned. The next one is made after that: none overtakes another.
    calling: bool,
    /// The highest level that another node waits for.
    blocking: Option<Level>,
    teardown: Teardown,
    readers: u32,
    writers: u32,
    waiters: VecDeque<Waiter>,
    settled: Vec<(Ticket, Result<(), Refusal>)>,
    is_lost: bool,
    #[cfg(test)]
    defect: Option<Defect>,
}

/// What the kernel's machine does wrong: tests put it back, and must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Defect {
    /// Nothing is ever cancelled, as after a cancel that lost to the grant, or overtook its conversion.
    NoCancel,
    /// An operation that failed is never over.
    BusyAfterError,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Operation {
    action: Action,
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Raise { to: Level, noqueue: bool },
    Lower { to: Level },
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Teardown {
    No,
    Wanted(Ticket),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiter {
    ticket: Ticket,
    level: Level,
    noqueue: bool,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        Machine {
            level: None,
            operation: None,
            calling: false,
            blocking: None,
            teardown: Teardown::No,
            readers: 0,
            writers: 0,
            waiters: VecDeque::new(),
            settled: Vec::new(),
            is_lost: false,
            #[cfg(test)]
            defect: None,
        }
    }

    /// Serves who can be served, and says which call is due. To be repeated until none is.
    pub(crate) fn step(&mut self) -> Option<Call> {
        self.settle();
        let call = self.due()?;
        self.calling = true;
        Some(call)
    }

    /// The outcomes since the last time. Whoever was let in holds the file from that moment.
    pub(crate) fn take_settled(&mut self) -> Vec<(Ticket, Result<(), Refusal>)> {
        std::mem::take(&mut self.settled)
    }

    /// Whether another node waits for what is held here.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocking.is_some()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether anybody has it open.
    pub(crate) fn is_held(&self) -> bool {
        self.readers + self.writers > 0
    }

    fn settle(&mut self) {
        if let (true, Teardown::Wanted(ticket)) = (self.is_lost, self.teardown) {
            self.torn_down(ticket);
        }
        for waiter in std::mem::take(&mut self.waiters) {
            match self.answer(waiter) {
                Some(Ok(())) => self.let_in(waiter),
                Some(refused) => self.settled.push((waiter.ticket, refused)),
                None => self.waiters.push_back(waiter),
            }
        }
    }

    fn answer(&self, waiter: Waiter) -> Option<Result<(), Refusal>> {
        if self.is_lost {
            return Some(Err(Refusal::Lost));
        }
        if self.teardown != Teardown::No {
            return Some(Err(Refusal::TearingDown));
        }
        if self.level >= Some(waiter.level)
            && !self.is_blocked_at(waiter.level)
            && !self.is_going_below(waiter.level)
        {
            return Some(Ok(()));
        }
        (waiter.noqueue && self.would_wait(waiter.level)).then_some(Err(Refusal::WouldWait))
    }

    /// Whether somebody else decides when the level can be had.
    fn would_wait(&self, level: Level) -> bool {
        let asked = self.operation.as_ref().is_some_and(|operation| {
            matches!(operation.action, Action::Raise { noqueue: false, .. }) && !operation.cancelled
        });
        let kept = self.blocking.map_or(Level::EX, Level::compatible);
        (asked && self.level < Some(level)) || (level > kept && self.is_used_above(kept))
    }

    fn let_in(&mut self, waiter: Waiter) {
        *self.holders(waiter.level) += 1;
        self.settled.push((waiter.ticket, Ok(())));
    }

    fn due(&mut self) -> Option<Call> {
        if self.calling || self.is_lost {
            return None;
        }
        if self.operation.is_some() {
            return self.cancel_if_useless();
        }
        if let Teardown::Wanted(ticket) = self.teardown {
            if self.level.is_some() {
                return Some(self.begin(Action::Drop, Call::Unlock));
            }
            self.torn_down(ticket);
        }
        if let Some(kept) = self.blocking.map(Level::compatible) {
            if self.level <= Some(kept) {
                self.blocking = None;
            } else if !self.is_used_above(kept) {
                return Some(self.begin(Action::Lower { to: kept }, Call::Down { to: kept }));
            }
        }
        let missing =
            |waiter: &&Waiter| self.level < Some(waiter.level) && !self.is_blocked_at(waiter.level);
        let &Waiter { level, noqueue, .. } = self.waiters.iter().find(missing)?;
        let call = Call::Lock { level, convert: self.level.is_some(), noqueue };
        Some(self.begin(Action::Raise { to: level, noqueue }, call))
    }

    /// What waits at the lock manager is taken back when nobody here waits for it any more, or when
    /// another node waits for what is held meanwhile: of two nodes that go up from PR, one has to go
    /// down first. A trylock is answered soon enough by itself.
    fn cancel_if_useless(&mut self) -> Option<Call> {
        let in_the_way = self.blocking.is_some_and(|level| self.level > Some(level.compatible()));
        let operation = self.operation.as_mut()?;
        let Action::Raise { to, noqueue: false } = operation.action else { return None };
        let is_wanted = self.waiters.iter().any(|waiter| waiter.level >= to);
        if operation.cancelled || (is_wanted && !in_the_way) {
            return None;
        }
        operation.cancelled = true;
        Some(Call::Cancel)
    }

    fn begin(&mut self, action: Action, call: Call) -> Call {
        let cancelled = self.has(Defect::NoCancel);
        self.operation = Some(Operation { action, cancelled });
        call
    }

    /// Whether that defect is put back, which happens in tests only.
    fn has(&self, defect: Defect) -> bool {
        #[cfg(test)]
        return self.defect == Some(defect);
        #[cfg(not(test))]
        {
            let _ = defect;
            false
        }
    }

    fn torn_down(&mut self, ticket: Ticket) {
        self.teardown = Teardown::Done;
        self.settled.push((ticket, Ok(())));
    }

    fn is_blocked_at(&self, level: Level) -> bool {
        self.blocking.is_some_and(|blocking| level > blocking.compatible())
    }

    fn is_going_below(&self, level: Level) -> bool {
        match self.operation.as_ref().map(|operation| operation.action) {
            Some(Action::Lower { to }) => level > to,
            Some(Action::Drop) => true,
            Some(Action::Raise { .. }) | None => false,
        }
    }

    fn is_used_above(&self, kept: Level) -> bool {
        self.writers > 0 && kept < Level::EX || self.readers > 0 && kept < Level::PR
    }

    fn holders(&mut self, level: Level) -> &mut u32 {
        match level {
            Level::EX => &mut self.writers,
            Level::NL | Level::PR => &mut self.readers,
        }
    }

    fn refuse(&mut self, refusal: Refusal, is_meant: impl Fn(&Waiter) -> bool) {
        let (settled, waiters) = (&mut self.settled, &mut self.waiters);
        waiters.retain(|waiter| {
            let meant = is_meant(waiter);
            if meant {
                settled.push((waiter.ticket, Err(refusal)));
            }
            !meant
        });
    }
}

/// What users of this node do.
impl Machine {
    /// Somebody opens the file; the outcome is settled later.
    pub(crate) fn open(&mut self, ticket: Ticket, level: Level, noqueue: bool) {
        self.waiters.push_back(Waiter { ticket, level, noqueue });
    }

    /// Somebody who held the file closes it.
    pub(crate) fn close(&mut self, level: Level) {
        let holders = self.holders(level);
        *holders = holders.saturating_sub(1);
    }

    /// Somebody removes the file; the outcome is settled later.
    ///
    /// An opener that waits makes it busy, as a holder does: the kernel waits until the opener has the
    /// lock and then takes it away from it, and nobody can use the directory meanwhile.
    pub(crate) fn destroy(&mut self, ticket: Ticket) {
        let is_used = self.is_held() || !self.waiters.is_empty();
        if is_used || self.teardown != Teardown::No {
            self.settled.push((ticket, Err(Refusal::Busy)));
        } else {
            self.teardown = Teardown::Wanted(ticket);
        }
    }

    /// Somebody does not want to wait any more. No outcome is settled afterwards; one that was settled
    /// already counts.
    pub(crate) fn withdraw(&mut self, ticket: Ticket) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
        if self.teardown == Teardown::Wanted(ticket) {
            self.teardown = Teardown::No;
        }
    }
}

/// What the lock manager says.
impl Machine {
    /// A call has returned; `Err` means that no outcome comes of it.
    pub(crate) fn returned(&mut self, call: Call, result: Result<(), Errno>) {
        self.calling = false;
        match (call, result) {
            // A refused cancel: the outcome of what was to be cancelled is on its way.
            (Call::Cancel, _) | (_, Ok(())) => {}
            (_, Err(errno)) => self.failed(errno),
        }
    }

    /// A lock AST with status 0.
    pub(crate) fn granted(&mut self) {
        let Some(Operation { action, .. }) = self.operation.take() else { return };
        match action {
            Action::Raise { to, .. } => self.level = Some(to),
            Action::Lower { to } => {
                self.level = Some(to);
                if !self.is_blocked_at(to) {
                    self.blocking = None;
                }
            }
            Action::Drop => {}
        }
    }

    /// A lock AST with another status, or a call that was refused.
    pub(crate) fn failed(&mut self, errno: Errno) {
        if self.has(Defect::BusyAfterError) {
            return;
        }
        let Some(Operation { action, .. }) = self.operation.take() else { return };
        match (action, errno) {
            (Action::Raise { to, noqueue: true }, Errno::EAGAIN) => {
                self.refuse(Refusal::WouldWait, |waiter| waiter.noqueue && waiter.level >= to);
            }
            // Both sides of the deadlock hold PR: one has to let go of it.
            (Action::Raise { .. }, Errno::EDEADLK) if self.level.is_some() => {
                self.blocking = Some(Level::EX);
            }
            (Action::Raise { to, .. }, errno) => {
                self.refuse(Refusal::LockManager(errno), |waiter| waiter.level >= to);
            }
            // Nobody can know any more what this node holds.
            (Action::Lower { .. }, errno) => {
                tracing::error!(%errno, "a level cannot be given up: it counts as lost");
                self.lose();
            }
            (Action::Drop, errno) => {
                if let Teardown::Wanted(ticket) = self.teardown {
                    self.teardown = Teardown::No;
                    self.settled.push((ticket, Err(Refusal::LockManager(errno))));
                }
            }
        }
    }

    /// An unlock AST: of a cancel that won, or of the end of the lock.
    pub(crate) fn unlocked(&mut self, result: Result<(), Errno>) {
        if let Err(errno) = result {
            return self.failed(errno);
        }
        let action = self.operation.take().map(|operation| operation.action);
        if action == Some(Action::Drop) {
            self.level = None;
            self.blocking = None;
        }
    }

    /// A BAST: another node waits for `level`.
    pub(crate) fn blocked(&mut self, level: Level) {
        if self.level.is_some() && !self.is_lost {
            self.blocking = self.blocking.max(Some(level));
        }
    }

    /// The lock manager is gone.
    pub(crate) fn lose(&mut self) {
        self.is_lost = true;
        self.level = None;
        self.operation = None;
        self.blocking = None;
    }
}
