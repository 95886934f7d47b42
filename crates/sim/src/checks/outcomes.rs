//! I2, I3, I6: one outcome for each operation, of the kind that was asked for; nothing after the last.
//!
//! Source: `fs/ocfs2/dlmglue.c: ocfs2_locking_ast`, `ocfs2_unlock_ast`, which crash on anything else.

use o2cb::o2dlm::message::{LockMode, LockName, Status};
use o2cb::o2dlm::{Event, LockKey};

use crate::user::Asked;
use crate::world::World;

const CHECK: &str = "I2 one outcome";

impl World {
    /// The user of a lock is told something.
    pub(crate) fn observe(&mut self, index: usize, domain: usize, event: Event) {
        let cached = self.cached_lock(index, domain, &event);
        match &event {
            Event::Granted { lock, mode, lvb } => {
                self.granted(index, domain, *lock, *mode, lvb.as_deref());
            }
            Event::Refused { lock, status, gone } => {
                self.refused(index, domain, *lock, *status, *gone);
            }
            Event::Unlocked { lock, status, gone } => {
                self.unlocked(index, domain, *lock, *status, *gone);
            }
            Event::Blocked { lock, level } => self.blocked(index, domain, *lock, *level),
            _ => {}
        }
        if let Some(cached) = cached.filter(|_| self.violation.is_none()) {
            self.tell_cache(index, domain, cached, &event);
        }
    }

    fn unknown(&mut self, index: usize, lock: LockKey, what: &str) {
        let me = self.nodes[index].id;
        self.fail("I6 nothing after the last", format!("n{me} {what} of {lock:?}, which is gone"));
    }

    fn granted(
        &mut self,
        index: usize,
        domain: usize,
        lock: LockKey,
        mode: LockMode,
        lvb: Option<&[u8; 64]>,
    ) {
        let me = self.nodes[index].id;
        let Some(held) = self.held(index, domain, lock) else {
            return self.unknown(index, lock, "hears of a grant");
        };
        let (name, user, asked) = (held.name, held.user, held.asked.take());
        if held.mode != Some(mode) {
            held.blocks = None;
        }
        held.mode = Some(mode);
        let abandoned = held.abandoned;
        self.note(|| format!("n{me} d{domain}.u{user} has {name} {mode:?} {lock:?}"));
        self.coverage.count("granted");
        let reads = match asked {
            Some(Asked::Create { mode: wanted, reads, .. }) if wanted == mode => reads,
            Some(Asked::Convert { to, put, reads, .. }) if to == mode => {
                if let Some(put) = put {
                    self.registers.entry((domain, name)).or_default().stored(put);
                }
                reads
            }
            asked => {
                let what = format!("n{me} is granted {mode:?} on {name}, and asked for {asked:?}");
                return self.fail(CHECK, what);
            }
        };
        if reads != lvb.is_some() {
            let what = format!("n{me} {name}: reads {reads}, and a value came: {}", lvb.is_some());
            return self.fail(CHECK, what);
        }
        if let Some(lvb) = lvb {
            self.check_value(index, (domain, name), lvb);
        }
        self.check_value_kept(domain, name);
        self.check_dead_holders(index, domain, &name, mode);
        self.check_exclusion(index, domain, lock);
        if abandoned && self.violation.is_none() {
            self.drop_abandoned(index, domain, lock);
        }
    }

    fn refused(&mut self, index: usize, domain: usize, lock: LockKey, status: Status, gone: bool) {
        let me = self.nodes[index].id;
        let Some(held) = self.held(index, domain, lock) else {
            return self.unknown(index, lock, "hears of a refusal");
        };
        let (name, user, asked) = (held.name, held.user, held.asked.take());
        held.cancelling = false;
        let abandoned = held.abandoned;
        self.note(|| format!("n{me} d{domain}.u{user} is refused {name} {status:?} {lock:?}"));
        let no_memory = self.no_memory_for(index, status);
        self.coverage.count(if no_memory { "refused: SYSERR" } else { "refused: NOTQUEUED" });
        let noqueue = match asked {
            Some(Asked::Create { noqueue, .. }) => noqueue && gone,
            Some(Asked::Convert { noqueue, .. }) => noqueue && !gone,
            _ => false,
        };
        let created = matches!(asked, Some(Asked::Create { .. })) && gone;
        if !(status == Status::NotQueued && noqueue || no_memory && created) {
            let what = format!("n{me} is refused {name} with {status:?}, gone {gone}: {asked:?}");
            return self.fail(CHECK, what);
        }
        if gone {
            self.forget_lock(index, domain, lock, name);
        } else if abandoned {
            self.drop_abandoned(index, domain, lock);
        }
    }

    fn unlocked(&mut self, index: usize, domain: usize, lock: LockKey, status: Status, gone: bool) {
        let me = self.nodes[index].id;
        let Some(held) = self.held(index, domain, lock) else {
            return self.unknown(index, lock, "hears of an unlock");
        };
        let (name, user, asked, cancelling) = (held.name, held.user, held.asked, held.cancelling);
        let abandoned = held.abandoned;
        self.note(|| {
            format!("n{me} d{domain}.u{user} unlocked {name} {status:?} gone {gone} {lock:?}")
        });
        match (status, asked) {
            (Status::Normal, Some(Asked::Unlock { put })) if gone => {
                if let Some(put) = put {
                    self.registers.entry((domain, name)).or_default().stored(put);
                }
                self.forget_lock(index, domain, lock, name);
            }
            (Status::Normal, Some(Asked::Create { .. })) if gone && cancelling => {
                self.coverage.count("cancelled: lock");
                self.forget_lock(index, domain, lock, name);
            }
            (Status::Normal, Some(Asked::Convert { .. })) if !gone && cancelling => {
                self.coverage.count("cancelled: convert");
                if let Some(held) = self.held(index, domain, lock) {
                    held.asked = None;
                    held.cancelling = false;
                }
                if abandoned {
                    self.drop_abandoned(index, domain, lock);
                }
            }
            (Status::CancelGrant, _) if !gone && cancelling => {
                self.coverage.count("cancelled: too late");
                if let Some(held) = self.held(index, domain, lock) {
                    held.cancelling = false;
                }
                if abandoned && asked.is_none() {
                    self.drop_abandoned(index, domain, lock);
                }
            }
            (status, asked) => {
                let what = format!("n{me} {name} unlocked with {status:?}, gone {gone}: {asked:?}");
                self.fail(CHECK, what);
            }
        }
    }

    fn forget_lock(&mut self, index: usize, domain: usize, lock: LockKey, name: LockName) {
        if let Some(membership) = self.membership(index, domain) {
            membership.client.locks.remove(lock);
        }
        self.check_value_kept(domain, name);
    }

    /// I4: a notice comes to somebody who has the lock, and is in the way.
    fn blocked(&mut self, index: usize, domain: usize, lock: LockKey, level: LockMode) {
        let me = self.nodes[index].id;
        let heeds = self.rng.chance(self.plan.habits.heeds_notices);
        let heeds = heeds || !self.users_work();
        let Some(held) = self.held(index, domain, lock) else {
            return self.unknown(index, lock, "hears of a waiter");
        };
        let (name, user, mode) = (held.name, held.user, held.mode);
        held.blocks = held.blocks.max(Some(level));
        self.coverage.count("notice");
        self.note(|| format!("n{me} d{domain}.u{user} blocks {name} {level:?} {lock:?}"));
        if mode.is_none_or(|mode| mode.compatible(level)) {
            let what = format!("n{me} has {mode:?} on {name} and is told that it blocks {level:?}");
            return self.fail("I4 notices", what);
        }
        if heeds {
            self.heed_later(index, domain, lock);
        }
    }
}
