//! Blocking callbacks: which holders are asked to give way, once per mode.

use crate::grant::Blocked;
use crate::lock::LockList;
use crate::mutants::{Mutant, planted};
use crate::{Effects, LockKey, LockTable, Mode, Resource};

impl Resource {
    /// For a request or conversion that was just queued: asks the granted locks in its way
    /// (`fs/dlm/lock.c: send_blocking_asts`). Converting locks are not asked: they get theirs, if still
    /// needed, when their conversion ends.
    pub(crate) fn notify_holders<O>(
        &mut self,
        locks: &mut LockTable<O>,
        key: LockKey,
        effects: &mut impl Effects<O>,
    ) {
        if let Some(wanted) = locks[key].requested {
            notify(self.granted, locks, Some(key), wanted, effects);
        }
    }

    /// For a `NOQUEUE` call that failed and had `NOQUEUEBAST`: asks granted and converting locks, but
    /// not the caller's own (`fs/dlm/lock.c: send_blocking_asts_all`).
    pub(crate) fn notify_all_blockers<O>(
        &mut self,
        locks: &mut LockTable<O>,
        own: Option<LockKey>,
        wanted: Option<Mode>,
        effects: &mut impl Effects<O>,
    ) {
        if let Some(wanted) = wanted {
            notify(self.granted, locks, own, wanted, effects);
            notify(self.converting, locks, own, wanted, effects);
        }
    }

    /// After a round of grants: asks the granted locks in the way of those that still wait
    /// (the end of `fs/dlm/lock.c: grant_pending_locks`).
    pub(crate) fn notify_holders_of<O>(
        &mut self,
        locks: &mut LockTable<O>,
        blocked: Blocked,
        effects: &mut impl Effects<O>,
    ) {
        let Some(highest) = blocked.highest else { return };
        let mut next = self.granted.first();
        while let Some(key) = next {
            next = self.granted.after(locks, key);
            let lock = &mut locks[key];
            let Some(held) = lock.granted else { continue };
            let in_the_way_of_cw =
                held == Mode::PR && blocked.concurrent_write && !planted(Mutant::SoloMiddleUnseen);
            let needed = if in_the_way_of_cw {
                lock.highest_blocked < Mode::EX
            } else {
                lock.highest_blocked < highest && !held.is_compatible_with(highest)
            };
            if needed {
                lock.highest_blocked = highest;
                // The highest of CW and PR is PR, which a PR holder would not give way for.
                let level =
                    if in_the_way_of_cw && highest == Mode::PR { Mode::CW } else { highest };
                effects.blocking(key, lock, level);
            }
        }
    }
}

/// Asks the locks of one queue that are in the way of `wanted` and were not asked for it yet.
fn notify<O>(
    list: LockList,
    locks: &mut LockTable<O>,
    own: Option<LockKey>,
    wanted: Mode,
    effects: &mut impl Effects<O>,
) {
    let mut next = list.first();
    while let Some(key) = next {
        next = list.after(locks, key);
        let lock = &mut locks[key];
        let Some(held) = lock.granted.filter(|_| Some(key) != own) else { continue };
        // CW and PR exclude each other whatever their numbers say: compare with EX for those.
        let middle = held.is_middle_conversion(wanted) && !planted(Mutant::SoloMiddleUnseen);
        let bound = if middle { Mode::EX } else { wanted };
        if !held.is_compatible_with(wanted) && lock.highest_blocked < bound {
            lock.highest_blocked = wanted;
            effects.blocking(key, lock, wanted);
        }
    }
}
