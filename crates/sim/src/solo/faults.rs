//! What strikes: processes and the daemon are killed, processes pause, the lockspace is left.

use stackglue::{Abandoned, Lksb, LockFlags, LockView};

use super::claim::{Claim, Line};
use super::host::{Host, Mark};
use super::plan::Fault;
use super::{Event, World};

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        self.note(|_| format!("## {fault:?}"));
        match fault {
            Fault::Kill { process, back } if !self.processes[process].is_gone => {
                self.count("F25 process killed");
                self.kill(process);
                self.schedule(back, Event::Back { process });
            }
            Fault::Kill { .. } => {}
            Fault::Pause { process, lasts } => {
                self.count("F21 process paused");
                self.processes[process].paused_until = self.now + lasts;
            }
            Fault::Restart => {
                self.count("F16 daemon killed");
                self.epoch += self.rng.between(1, 3) as u32;
                self.host = Host::start(self.epoch, self.rng.next());
                self.lost();
            }
            Fault::Rejoin => {
                self.count("F29 lockspace left");
                let late = self.host.rejoin();
                if !late.is_empty() {
                    self.fail("I6 outcomes", format!("told when the lockspace is left: {late:?}"));
                }
                self.lost();
            }
            Fault::Purge => self.purge(),
        }
    }

    /// The end of a process (`crates/daemon/src/server/node.rs`): its locks are abandoned, in no
    /// particular order.
    fn kill(&mut self, process: usize) {
        self.processes[process].is_gone = true;
        let users = self.users.iter_mut().filter(|user| user.process == process);
        let mut locks = Vec::new();
        for user in users {
            user.turn += 1;
            user.spare = None;
            locks.extend(user.claim.take());
        }
        while !locks.is_empty() {
            let at = locks.swap_remove(self.rng.below(locks.len() as u64) as usize);
            // It may have unlocked inside the notice that the one before led to.
            if !self.claims[at].over {
                self.abandon(at);
            }
        }
    }

    fn abandon(&mut self, at: usize) {
        let claim = &self.claims[at];
        let keeps = claim.held.filter(|_| claim.flags.contains(LockFlags::PERSISTENT));
        let expected = if keeps.is_some() { Abandoned::Orphaned } else { Abandoned::Dropped };
        let mut step = self.begin(claim.name);
        let answer = self.host.connection().abandon(&claim.lksb);
        let told = self.host.told();
        self.note(|_| format!("k{at} is abandoned: {answer:?}"));
        if answer != Ok(expected) {
            self.fail("I9 dead holders", format!("k{at}: {answer:?}, not {expected:?}"));
        }
        // That somebody is an orphan now changes nothing for others.
        if keeps.is_none() || self.claims[at].operation.is_some() {
            self.looked_at(at);
        }
        let claim = &mut self.claims[at];
        let line = &mut self.lines[claim.name];
        if keeps.is_some() {
            // A deadlock may have demoted it.
            if claim.may_be_demoted() {
                let mut held = claim.held;
                self.host.connection().visit_resources(&mut |view| {
                    let own =
                        |lock: &&LockView<'_>| lock.lksb.is_some_and(|lksb| lksb.is(&claim.lksb));
                    held = view.locks.iter().find(own).map_or(held, |lock| lock.granted);
                });
                claim.held = held;
            }
            line.dequeue(at);
            claim.operation = None;
            claim.orphan = true;
            self.count("abandoned lock orphaned");
        } else {
            line.value.lose(claim);
            self.end(at);
            self.count("abandoned lock dropped");
        }
        self.hear(&mut step, told);
        self.settle(&step);
    }

    pub(super) fn back(&mut self, process: usize) {
        self.processes[process].is_gone = false;
        for user in 0..self.users.len() {
            if self.users[user].process == process {
                self.turn_soon(user);
            }
        }
    }

    /// Every lock is gone, and nobody is told: users begin again.
    fn lost(&mut self) {
        self.claims.iter_mut().for_each(Claim::end);
        self.lines.iter_mut().for_each(Line::clear);
        for user in 0..self.users.len() {
            self.users[user].claim = None;
            self.users[user].spare = None;
            if !self.processes[self.users[user].process].is_gone {
                self.turn_soon(user);
            }
        }
    }

    /// Drops all orphans, one name's after the other.
    pub(super) fn purge(&mut self) {
        for name in 0..self.lines.len() {
            let condemned: Vec<usize> = self.orphans(name).map(|(at, _)| at).collect();
            let mut step = self.begin(name);
            let of_the_name = |lksb: &Lksb| {
                let mark = lksb.state::<Mark>();
                mark.is_some_and(|mark| condemned.contains(&mark.claim))
            };
            let purged = self.host.connection().purge(&of_the_name);
            let told = self.host.told();
            if purged != Ok(condemned.len()) {
                self.fail("I9 dead holders", format!("{purged:?} purged of {condemned:?}"));
            }
            for &at in &condemned {
                self.count("orphan purged");
                self.looked_at(at);
                let claim = &self.claims[at];
                self.lines[name].value.lose(claim);
                self.end(at);
            }
            self.hear(&mut step, told);
            self.settle(&step);
        }
    }
}
