//! Who is granted, and when: the order of the queues and conversion deadlocks.

use crate::lock::LockList;
use crate::mutants::{Mutant, planted};
use crate::resource::Decision;
use crate::{Effects, Lock, LockFlags, LockKey, LockTable, Mode, Queue, Resource, StatusFlags};

impl Resource {
    /// Decides about a request or conversion that was just made.
    pub(crate) fn decide_now<O>(&self, locks: &mut LockTable<O>, key: LockKey) -> Decision {
        self.decide(locks, key, true)
    }

    /// Decides again about a new conversion that a deadlock demoted: only its order is looked at.
    pub(crate) fn decide_undemoted<O>(&self, locks: &LockTable<O>, key: LockKey) -> Decision {
        match locks[key].requested {
            Some(wanted) if self.is_grantable(locks, key, wanted, true) => Decision::Grant,
            _ => Decision::Wait,
        }
    }

    /// Grants every queued lock that can be granted now, conversions before requests, then asks the
    /// holders in the way of the rest to give way (`fs/dlm/lock.c: grant_pending_locks`).
    #[inline]
    pub(crate) fn grant_pending<O>(
        &mut self,
        locks: &mut LockTable<O>,
        effects: &mut impl Effects<O>,
    ) {
        if !self.converting.is_empty() || !self.waiting.is_empty() {
            self.grant_queued(locks, effects);
        }
    }

    #[inline(never)]
    fn grant_queued<O>(&mut self, locks: &mut LockTable<O>, effects: &mut impl Effects<O>) {
        let mut blocked = self.grant_converting(locks, effects);
        let mut next = self.waiting.first();
        while let Some(key) = next {
            next = self.waiting.after(locks, key);
            match self.decide(locks, key, false) {
                Decision::Grant => self.grant(locks, key, effects),
                _ => blocked.add(locks[key].requested),
            }
        }
        self.notify_holders_of(locks, blocked, effects);
    }

    /// Grants what it can of the convert queue, until a pass grants nothing. Returns what is still
    /// blocked and not in a deadlock (`fs/dlm/lock.c: grant_pending_convert`).
    pub(crate) fn grant_converting<O>(
        &mut self,
        locks: &mut LockTable<O>,
        effects: &mut impl Effects<O>,
    ) -> Blocked {
        loop {
            let mut blocked = Blocked::default();
            let mut granted = false;
            let mut demoted = false;
            let mut next = self.converting.first();
            while let Some(key) = next {
                next = self.converting.after(locks, key);
                match self.decide(locks, key, false) {
                    Decision::Grant => {
                        self.grant(locks, key, effects);
                        granted = true;
                    }
                    Decision::Demoted => demoted = true,
                    Decision::Deadlock => notify_deadlocked(locks, key, effects),
                    Decision::Wait => blocked.add(locks[key].requested),
                }
            }
            // A grant or a demotion may let earlier ones go. A lock is demoted once at the most.
            if !granted && !demoted {
                return blocked;
            }
        }
    }

    /// Whether `key` can have its requested mode, or else the alternate it allows
    /// (`fs/dlm/lock.c: can_be_granted`). May demote it, and may exchange its requested mode.
    #[inline]
    fn decide<O>(&self, locks: &mut LockTable<O>, key: LockKey, now: bool) -> Decision {
        let Some(wanted) = locks[key].requested else { return Decision::Wait };
        if self.is_grantable(locks, key, wanted, now) {
            return Decision::Grant;
        }
        self.decide_ungrantable(locks, key, wanted, now)
    }

    /// For a lock that cannot have what it wants: a deadlock, an alternate mode, or a wait.
    fn decide_ungrantable<O>(
        &self,
        locks: &mut LockTable<O>,
        key: LockKey,
        wanted: Mode,
        now: bool,
    ) -> Decision {
        let lock = &locks[key];
        if lock.is_conversion()
            && !lock.flags.contains(LockFlags::NOQUEUE)
            && self.is_in_conversion_deadlock(locks, key, wanted)
        {
            if !lock.flags.contains(LockFlags::CONVDEADLK) {
                return Decision::Deadlock;
            }
            let lock = &mut locks[key];
            lock.granted = Some(Mode::NL);
            lock.status_flags |= StatusFlags::DEMOTED;
            return Decision::Demoted;
        }
        match alternate_mode(lock.flags, wanted) {
            Some(alternate) if self.is_grantable(locks, key, alternate, now) => {
                let lock = &mut locks[key];
                lock.requested = Some(alternate);
                lock.status_flags |= StatusFlags::ALTMODE;
                Decision::Grant
            }
            _ => Decision::Wait,
        }
    }

    /// Whether `key` can be granted `wanted`: nobody excludes it and it is its turn
    /// (`fs/dlm/lock.c: _can_be_granted`). `now`: it was just asked for and is not queued.
    #[inline]
    fn is_grantable<O>(&self, locks: &LockTable<O>, key: LockKey, wanted: Mode, now: bool) -> bool {
        let lock = &locks[key];
        if lock.flags.contains(LockFlags::EXPEDITE) {
            return true;
        }
        if self.is_excluded(locks, key, wanted) {
            return false;
        }
        if now && lock.is_conversion() {
            return !lock.flags.contains(LockFlags::QUECVT) || self.converting.is_empty();
        }
        if lock.flags.contains(LockFlags::NOORDER) {
            return true;
        }
        if now {
            let first = self.converting.is_empty() || planted(Mutant::SoloConvertersPassed);
            return first && self.waiting.is_empty();
        }
        match lock.queue {
            Some(Queue::Converting) => self.converting.first() == Some(key),
            Some(Queue::Waiting) => self.converting.is_empty() && self.waiting.first() == Some(key),
            _ => false,
        }
    }

    /// Whether a lock other than `key` holds a mode that excludes `wanted`.
    #[inline]
    pub(crate) fn is_excluded<O>(&self, locks: &LockTable<O>, key: LockKey, wanted: Mode) -> bool {
        let by_one_of = |holders: LockList| {
            let mut next = holders.first();
            while let Some(other) = next {
                if other != key && locks[other].excludes(wanted) {
                    return true;
                }
                next = holders.after(locks, other);
            }
            false
        };
        by_one_of(self.granted) || by_one_of(self.converting)
    }

    /// Whether granting the conversions in order can never come to this one: it holds what an earlier
    /// one wants or, of a later one, each holds what the other wants
    /// (`fs/dlm/lock.c: conversion_deadlock_detect`). For a new conversion every queued one is earlier.
    fn is_in_conversion_deadlock<O>(
        &self,
        locks: &LockTable<O>,
        key: LockKey,
        wanted: Mode,
    ) -> bool {
        if planted(Mutant::SoloDeadlockUnseen) {
            return false;
        }
        let lock = &locks[key];
        let mut earlier = true;
        self.converting.iter(locks).any(|(other_key, other)| {
            if other_key == key {
                earlier = false;
                return false;
            }
            let stops_other = other.requested.is_some_and(|mode| lock.excludes(mode));
            stops_other && (earlier || other.excludes(wanted))
        })
    }
}

/// The locks that still wait after a round of grants: what the holders need to know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blocked {
    pub(crate) highest: Option<Mode>,
    /// One of them wants `CW`, which excludes `PR` although it is lower.
    pub(crate) concurrent_write: bool,
}

impl Blocked {
    fn add(&mut self, requested: Option<Mode>) {
        self.highest = self.highest.max(requested);
        self.concurrent_write |= requested == Some(Mode::CW);
    }
}

/// The mode to try when `wanted` cannot be had. With both flags only `PR` is tried, unless it is what
/// was wanted.
fn alternate_mode(flags: LockFlags, wanted: Mode) -> Option<Mode> {
    if wanted != Mode::PR && flags.contains(LockFlags::ALTPR) {
        Some(Mode::PR)
    } else if wanted != Mode::CW && flags.contains(LockFlags::ALTCW) {
        Some(Mode::CW)
    } else {
        None
    }
}

/// A queued conversion in a deadlock that `NODLCKWT` let in: its own owner is asked to give way.
fn notify_deadlocked<O>(locks: &mut LockTable<O>, key: LockKey, effects: &mut impl Effects<O>) {
    let lock = &mut locks[key];
    if let Lock { requested: Some(wanted), .. } = *lock
        && lock.flags.contains(LockFlags::NODLCKWT)
        && lock.highest_blocked < wanted
    {
        lock.highest_blocked = wanted;
        effects.blocking(key, lock, wanted);
    }
}
