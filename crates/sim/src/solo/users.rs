//! What users do: lock, convert, unlock, cancel, two of it at once; and whether they heed notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stackglue::{Lksb, LockFlags, Mode};

use super::checks::excludes;
use super::claim::{Ask, Claim};
use super::host::Mark;
use super::value::block_of;
use super::{Event, Phase, World};

/// One thread of a process, with a lock at a time.
#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) process: usize,
    pub(super) claim: Option<usize>,
    /// A status block that it may use again.
    pub(super) spare: Option<usize>,
    /// Tells its next turn from those that do not count any more.
    pub(super) turn: u64,
}

impl World {
    /// A user gets its turn after a while, and not before.
    pub(super) fn turn_after(&mut self, user: usize, delay: Duration) {
        self.users[user].turn += 1;
        let turn = self.users[user].turn;
        self.schedule(delay, Event::Turn { user, turn });
    }

    /// ... after what it usually takes to do something; or at once.
    pub(super) fn turn_soon(&mut self, user: usize) {
        let most = if self.rng.chance(self.plan.habits.hasty) { 1 } else { 2 * self.plan.pace_ms };
        let delay = Duration::from_millis(self.rng.below(most));
        self.turn_after(user, delay);
    }

    pub(super) fn has_it(&mut self, at: usize) {
        self.turn_soon(self.claims[at].user);
    }

    pub(super) fn turn(&mut self, user: usize) {
        let Some(at) = self.users[user].claim else {
            if self.phase == Phase::Safety {
                self.new_lock(user);
            }
            return;
        };
        match self.phase {
            Phase::Safety if self.claims[at].operation.is_some() => self.wait(at),
            Phase::Safety => self.use_it(at),
            // Who sees to deadlocks itself takes back what it waits for too long.
            Phase::Liveness
                if self.claims[at].waits_with(LockFlags::NODLCKWT | LockFlags::HEADQUE) =>
            {
                self.ask(at, Ask::Cancel, LockFlags::empty());
            }
            Phase::Liveness => {}
            Phase::Emptying => {
                self.ask(at, Ask::Unlock, LockFlags::empty());
            }
        }
    }

    fn new_lock(&mut self, user: usize) {
        let name = self.rng.below(self.lines.len() as u64) as usize;
        if let Some(spare) = self.users[user].spare
            && self.rng.chance(3)
        {
            // Of a lock that is over, nothing can be asked.
            let ask = self.rng.pick(&[Ask::Unlock, Ask::Cancel, Ask::Convert(Mode::EX)]);
            self.ask(spare, ask, LockFlags::empty());
        }
        let at = match self.users[user].spare.take().filter(|_| self.rng.chance(50)) {
            Some(spare) => spare,
            None => {
                let mark = Mark { claim: self.claims.len(), at_once: AtomicBool::new(false) };
                self.claims.push(Claim::new(Lksb::new(mark), user, name));
                self.claims.len() - 1
            }
        };
        self.claims[at].name = name;
        let at_once = self.rng.chance(self.plan.habits.at_once);
        if let Some(mark) = self.claims[at].lksb.state::<Mark>() {
            mark.at_once.store(at_once, Ordering::Relaxed);
        }
        let orphan = self.orphans(name).next();
        let (ask, flags) = match orphan {
            Some((_, held)) if self.rng.chance(self.plan.habits.adopt) => {
                let mode = if self.rng.chance(80) { held } else { self.mode() };
                (Ask::Adopt(mode), self.flags(false, mode))
            }
            _ => {
                let mode = self.mode();
                (Ask::Lock(mode), self.flags(false, mode))
            }
        };
        self.users[user].claim = Some(at);
        if !self.ask(at, ask, flags) {
            self.users[user].claim = None;
            self.turn_soon(user);
        } else if self.claims[at].operation.is_some() {
            self.turn_soon(user);
        }
    }

    /// It waits, and may lose its patience.
    fn wait(&mut self, at: usize) {
        let user = self.claims[at].user;
        match self.rng.below(100) {
            0..25 => {
                self.ask(at, Ask::Cancel, LockFlags::empty());
            }
            25..32 => self.give_up(at),
            32..37 => {
                let mode = self.mode();
                let flags = self.flags(true, mode);
                self.ask(at, Ask::Convert(mode), flags);
            }
            _ => {}
        }
        if self.claims[at].operation.is_some() {
            let delay = Duration::from_millis(self.rng.below(4 * self.plan.pace_ms));
            self.turn_after(user, delay);
        }
    }

    fn use_it(&mut self, at: usize) {
        match self.rng.below(100) {
            0..45 => {
                let mode = self.mode();
                let flags = self.flags(true, mode);
                self.convert(at, mode, flags);
            }
            45..50 => {
                // There is nothing to take back, and nobody is told.
                self.ask(at, Ask::Cancel, LockFlags::empty());
            }
            50..60 => {}
            _ => self.give_up(at),
        }
        if self.users[self.claims[at].user].claim == Some(at) {
            self.turn_soon(self.claims[at].user);
        }
    }

    fn convert(&mut self, at: usize, mode: Mode, flags: LockFlags) {
        self.put_value(at);
        self.ask(at, Ask::Convert(mode), flags);
    }

    fn give_up(&mut self, at: usize) {
        let mut flags = LockFlags::empty();
        for (flag, percent) in [
            (LockFlags::VALBLK, self.plan.habits.valblk),
            (LockFlags::IVVALBLK, 3),
            (LockFlags::FORCEUNLOCK, 5),
            // Means nothing here.
            (LockFlags::NOQUEUE, 1),
        ] {
            flags.set(flag, self.rng.chance(percent));
        }
        self.put_value(at);
        if !self.ask(at, Ask::Unlock, flags) {
            self.ask(at, Ask::Unlock, LockFlags::empty());
        }
    }

    /// A writer has something new to say.
    fn put_value(&mut self, at: usize) {
        if self.claims[at].held.is_some_and(|held| held >= Mode::PW) {
            self.values += 1;
            self.claims[at].block = self.values;
            let block = block_of(self.values);
            if let Err(errno) = self.claims[at].lksb.set_lvb(&block) {
                self.fail("I3 calls", format!("a value of {} bytes: {errno}", block.len()));
            }
        }
    }

    fn mode(&mut self) -> Mode {
        self.rng.pick(&Mode::ALL)
    }

    fn flags(&mut self, converts: bool, mode: Mode) -> LockFlags {
        let mut flags = LockFlags::empty();
        let habits = self.plan.habits;
        for (flag, percent) in [
            (LockFlags::VALBLK, habits.valblk),
            (LockFlags::NOQUEUE, habits.noqueue),
            (LockFlags::PERSISTENT, habits.persistent),
            (LockFlags::HEADQUE, habits.odd),
            (LockFlags::NOORDER, habits.odd),
            (LockFlags::ALTPR, habits.odd),
            (LockFlags::ALTCW, habits.odd),
        ] {
            flags.set(flag, self.rng.chance(percent));
        }
        let noqueue = flags.contains(LockFlags::NOQUEUE);
        flags.set(LockFlags::NOQUEUEBAST, noqueue && self.rng.chance(50));
        let own = if converts {
            [
                (LockFlags::QUECVT, 15),
                (LockFlags::CONVDEADLK, if noqueue { 1 } else { 2 * habits.odd }),
                (LockFlags::NODLCKWT, habits.odd / 3),
                (LockFlags::IVVALBLK, 3),
            ]
        } else {
            [
                (LockFlags::EXPEDITE, if mode == Mode::NL && !noqueue { 30 } else { 1 }),
                (LockFlags::CANCEL, 1),
                (LockFlags::QUECVT, 1),
                (LockFlags::CONVDEADLK, 1),
            ]
        };
        for (flag, percent) in own {
            flags.set(flag, self.rng.chance(percent));
        }
        flags
    }

    /// It was told that it is in somebody's way.
    pub(super) fn notice(&mut self, at: usize) {
        let heeds = self.phase != Phase::Safety || self.rng.chance(self.plan.habits.heed);
        if heeds {
            let delay = Duration::from_millis(self.rng.below(500));
            let grant = self.claims[at].grants;
            self.schedule(delay, Event::Heed { claim: at, grant });
        }
    }

    /// It gives way, down to what the others can bear or altogether.
    pub(super) fn heed(&mut self, at: usize) {
        let claim = &self.claims[at];
        let Some(held) = claim.held.filter(|_| !claim.orphan) else { return };
        if claim.operation.is_some() {
            // It waits itself. In a deadlock that it did not want to hear of, it gives way.
            if claim.waits_with(LockFlags::NODLCKWT) {
                self.ask(at, Ask::Cancel, LockFlags::empty());
            }
            return;
        }
        let told = claim.told.clone();
        let bears = |mode: &Mode| {
            *mode < held
                && !held.is_middle_conversion(*mode)
                && !told.iter().any(|told| excludes(*mode, *told))
        };
        let lower = Mode::ALL.into_iter().rev().find(bears);
        self.count("notice heeded");
        match lower {
            Some(lower) if self.rng.chance(50) => {
                let valblk = self.rng.chance(self.plan.habits.valblk);
                let flags = if valblk { LockFlags::VALBLK } else { LockFlags::empty() };
                self.convert(at, lower, flags);
            }
            _ => self.give_up(at),
        }
    }
}
