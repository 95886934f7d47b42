//! A lock as its user knows it, and the line at a name as all users together know it.

use stackglue::{Lksb, LockFlags, Mode};

use super::value::Register;

/// A status block, and the lock that it is for.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) lksb: Lksb,
    pub(super) user: usize,
    pub(super) name: usize,
    /// What it has; `None` before the first grant.
    pub(super) held: Option<Mode>,
    /// What has not completed.
    pub(super) operation: Option<Operation>,
    /// Of the last lock call that was accepted.
    pub(super) flags: LockFlags,
    /// A conversion was cancelled, and none was asked for since.
    pub(super) cancelled: bool,
    /// The modes it was told that it keeps waiting, since its last grant.
    pub(super) told: Vec<Mode>,
    /// It was granted ahead of others, who are looked at again when something else happens.
    pub(super) jumped: bool,
    /// Its process is gone.
    pub(super) orphan: bool,
    /// There is no lock, and no callback may come.
    pub(super) over: bool,
    /// The number in its value block.
    pub(super) block: u64,
    /// Tells one grant from the next.
    pub(super) grants: u64,
}

/// A call that was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) ask: Ask,
    pub(super) flags: LockFlags,
    pub(super) cancelling: bool,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Lock(Mode),
    /// An orphan of that mode.
    Adopt(Mode),
    Convert(Mode),
    Unlock,
    Cancel,
}

impl Ask {
    pub(super) fn mode(self) -> Option<Mode> {
        match self {
            Ask::Lock(mode) | Ask::Adopt(mode) | Ask::Convert(mode) => Some(mode),
            Ask::Unlock | Ask::Cancel => None,
        }
    }
}

impl Claim {
    pub(super) fn new(lksb: Lksb, user: usize, name: usize) -> Claim {
        Claim {
            lksb,
            user,
            name,
            held: None,
            operation: None,
            flags: LockFlags::empty(),
            cancelled: false,
            told: Vec::new(),
            jumped: false,
            orphan: false,
            over: true,
            block: 0,
            grants: 0,
        }
    }

    /// What its user may rely on: a conversion may have been granted before it is told, in an alternate
    /// mode too; and one that lets a deadlock demote it may have been demoted.
    pub(super) fn relies_on(&self) -> Option<Mode> {
        let Some(Operation { ask, flags, .. }) = self.operation else { return self.held };
        let mut relied = self.held.filter(|_| ask != Ask::Unlock)?;
        for (may_become, mode) in [
            (ask.mode().is_some(), ask.mode().unwrap_or(relied)),
            (flags.contains(LockFlags::ALTPR), Mode::PR),
            (flags.contains(LockFlags::ALTCW), Mode::CW),
            (self.may_be_demoted(), Mode::NL),
        ] {
            if may_become {
                let neither = relied.is_middle_conversion(mode);
                relied = if neither { Mode::CR } else { relied.min(mode) };
            }
        }
        Some(relied)
    }

    pub(super) fn may_be_demoted(&self) -> bool {
        let converts = |operation: &Operation| {
            matches!(operation.ask, Ask::Convert(_))
                && operation.flags.contains(LockFlags::CONVDEADLK)
        };
        self.operation.as_ref().is_some_and(converts)
    }

    /// The mode that it waits for.
    pub(super) fn wants(&self) -> Option<Mode> {
        self.operation.and_then(|operation| operation.ask.mode())
    }

    pub(super) fn waits_with(&self, flags: LockFlags) -> bool {
        self.operation.is_some_and(|operation| operation.flags.intersects(flags))
    }

    /// Nothing is left of its lock.
    pub(super) fn end(&mut self) {
        self.held = None;
        self.operation = None;
        self.over = true;
        self.orphan = false;
        self.told.clear();
        self.grants += 1;
    }
}

/// All locks on one name.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) live: Vec<usize>,
    /// In the order in which they are to be granted.
    pub(super) converting: Vec<usize>,
    pub(super) waiting: Vec<usize>,
    pub(super) value: Register,
    /// The highest of every daemon so far.
    pub(super) token: u64,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.converting.is_empty() && self.waiting.is_empty()
    }

    /// A call was accepted and did not complete.
    pub(super) fn enqueue(&mut self, claim: usize, operation: Operation) {
        let queue = match operation.ask {
            Ask::Convert(_) => &mut self.converting,
            _ => &mut self.waiting,
        };
        let at = if operation.flags.contains(LockFlags::HEADQUE) { 0 } else { queue.len() };
        queue.insert(at, claim);
    }

    pub(super) fn dequeue(&mut self, claim: usize) {
        self.converting.retain(|other| *other != claim);
        self.waiting.retain(|other| *other != claim);
    }

    /// A lock is gone; the value goes with the last.
    pub(super) fn remove(&mut self, claim: usize) {
        self.dequeue(claim);
        self.live.retain(|other| *other != claim);
        if self.live.is_empty() {
            self.value = Register::default();
        }
    }

    /// All are gone.
    pub(super) fn clear(&mut self) {
        *self = Line { token: self.token, ..Line::default() };
    }
}
