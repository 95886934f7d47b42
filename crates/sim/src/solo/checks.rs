//! What must hold in a solo world, judged at the users.
//!
//! The numbers are those of `docs/simulator.md`; what a lock manager owes its users is
//! `docs/protocol/lock-model.md`, after `fs/dlm/lock.c`.

use stackglue::{Errno, Lksb, LockFlags, Mode, Queue, StatusFlags};

use super::World;
use super::asks::Step;
use super::claim::Ask;
use super::host::{Details, Mark};
use super::value::{number_of, reads};

/// The modes that exclude each other, as the field has published them.
const EXCLUDES: [(Mode, &[Mode]); 6] = [
    (Mode::NL, &[]),
    (Mode::CR, &[Mode::EX]),
    (Mode::CW, &[Mode::PR, Mode::PW, Mode::EX]),
    (Mode::PR, &[Mode::CW, Mode::PW, Mode::EX]),
    (Mode::PW, &[Mode::CW, Mode::PR, Mode::PW, Mode::EX]),
    (Mode::EX, &[Mode::CR, Mode::CW, Mode::PR, Mode::PW, Mode::EX]),
];

pub(super) fn excludes(held: Mode, wanted: Mode) -> bool {
    EXCLUDES[held as usize].1.contains(&wanted)
}

/// Flags that let a new lock pass others.
const PASSES: LockFlags = LockFlags::NOORDER.union(LockFlags::EXPEDITE);

impl World {
    /// I2, I3, I6: one outcome for each call, of the kind asked for; none after the last. Then what a
    /// grant, or a refusal, has to be (`fs/dlm/lock.c: do_request, do_convert`).
    pub(super) fn check_outcome(
        &mut self,
        step: &Step,
        at: usize,
        status: Result<(), Errno>,
        mode: Option<Mode>,
        details: &Details,
    ) {
        let claim = &self.claims[at];
        let who = self.who(at);
        if claim.over || claim.orphan {
            return self
                .fail("I6 outcomes", format!("{who} is told {status:?} of k{at}: it is over"));
        }
        let Some(operation) = claim.operation else {
            return self
                .fail("I2 outcomes", format!("{who} is told {status:?} of k{at} once more"));
        };
        let Some(wanted) = operation.ask.mode() else {
            return self
                .fail("I2 outcomes", format!("{who} unlocks k{at}, and is told {status:?}"));
        };
        let wrong = match status {
            Ok(()) => self.wrong_grant(step, at, wanted, mode, details),
            Err(_) if mode != claim.held => {
                Some(("I3 outcomes", format!("{mode:?} is left of {:?}", claim.held)))
            }
            Err(errno) if step.nested => {
                let known = [Errno::EAGAIN, Errno::EDEADLK].contains(&errno);
                (!known).then(|| ("I3 outcomes", errno.to_string()))
            }
            Err(errno) => self.wrong_refusal(step, at, wanted, errno),
        };
        if let Some((check, what)) = wrong {
            self.fail(check, format!("{who} {:?} k{at}: {what}", operation.ask));
        }
    }

    fn wrong_grant(
        &self,
        step: &Step,
        at: usize,
        wanted: Mode,
        mode: Option<Mode>,
        details: &Details,
    ) -> Option<(&'static str, String)> {
        let claim = &self.claims[at];
        let operation = claim.operation?;
        let Some(mode) = mode else { return Some(("I3 outcomes", "granted nothing".to_owned())) };
        let alternate = operation.flags.contains(LockFlags::ALTPR) && mode == Mode::PR
            || operation.flags.contains(LockFlags::ALTCW) && mode == Mode::CW;
        let is_adopted = matches!(operation.ask, Ask::Adopt(_));
        if mode != wanted && !alternate
            || !is_adopted && details.flags.contains(StatusFlags::ALTMODE) != (mode != wanted)
        {
            return Some(("I3 outcomes", format!("granted {mode} with {:?}", details.flags)));
        }
        let demoted = details.flags.contains(StatusFlags::DEMOTED);
        if demoted && !claim.may_be_demoted() {
            return Some(("I14 waiters", "demoted, and not by its wish".to_owned()));
        }
        // I1: no two users rely on modes that exclude each other.
        for &other in &self.lines[claim.name].live {
            let held = self.claims[other].relies_on();
            if other != at && held.is_some_and(|held| excludes(held, mode)) {
                let what = format!("{mode} is granted while k{other} holds {held:?}");
                return Some(("I1 exclusion", what));
            }
        }
        if is_adopted || step.nested {
            return None;
        }
        let from = if demoted { Some(Mode::NL) } else { claim.held };
        let reads = reads(from, mode) && operation.flags.contains(LockFlags::VALBLK);
        if let Some(what) = self.lines[claim.name].value.check_read(claim, reads, details) {
            return Some(("I10 value", what));
        }
        self.wrong_order(step, at).map(|what| ("I19 order", what))
    }

    /// I19: nobody is passed but by those who asked to (`fs/dlm/lock.c: _can_be_granted`).
    fn wrong_order(&self, step: &Step, at: usize) -> Option<String> {
        let claim = &self.claims[at];
        let line = &self.lines[claim.name];
        let operation = claim.operation?;
        let converts = claim.held.is_some();
        let queue = if converts { &line.converting } else { &line.waiting };
        let is_queued = queue.contains(&at);
        let first = |queue: &[usize]| queue.first().copied().filter(|first| *first != at);
        let passed = match (converts, is_queued) {
            (true, false) if !operation.flags.contains(LockFlags::QUECVT) => None,
            (true, _) => first(&line.converting),
            (false, _) => first(&line.converting).or(first(&line.waiting)),
        };
        let may_pass = operation.flags.intersects(PASSES);
        // One that is demoted lets others go first, but its own call is told first.
        let demoted = step.claim.filter(|own| self.claims[*own].may_be_demoted());
        let lets_go = |other: &usize| demoted == Some(at) || demoted == Some(*other);
        passed
            .filter(|other| !may_pass && !lets_go(other))
            .map(|other| format!("granted ahead of k{other}"))
    }

    /// A refusal needs a reason (I12, I14).
    fn wrong_refusal(
        &self,
        step: &Step,
        at: usize,
        wanted: Mode,
        errno: Errno,
    ) -> Option<(&'static str, String)> {
        let claim = &self.claims[at];
        let operation = claim.operation?;
        match errno {
            Errno::EAGAIN if !operation.flags.contains(LockFlags::NOQUEUE) => {
                Some(("I3 outcomes", "EAGAIN, though it may wait".to_owned()))
            }
            Errno::EAGAIN => {
                step.is_free.then(|| ("I12 waiters", "EAGAIN, and it is free".to_owned()))
            }
            Errno::EDEADLK => {
                let told = LockFlags::NODLCKWT | LockFlags::CONVDEADLK | LockFlags::NOQUEUE;
                let held = claim.held?;
                let line = &self.lines[claim.name];
                let stops = |other: &usize| {
                    self.claims[*other].wants().is_some_and(|wanted| excludes(held, wanted))
                };
                if operation.flags.intersects(told) || !line.converting.iter().any(stops) {
                    return Some(("I14 waiters", format!("EDEADLK of {wanted} for no reason")));
                }
                None
            }
            errno => Some(("I3 outcomes", errno.to_string())),
        }
    }

    /// I2, I3, I6, of an unlock or a cancel (`fs/dlm/lock.c: do_unlock, do_cancel`).
    pub(super) fn check_unlocked(
        &mut self,
        at: usize,
        result: Result<(), Errno>,
        status: Result<(), Errno>,
        mode: Option<Mode>,
    ) {
        let claim = &self.claims[at];
        let told = format!("{} is told {status:?}, {mode:?} of k{at}", self.who(at));
        if claim.over || claim.orphan {
            return self.fail("I6 outcomes", format!("{told}: it is over"));
        }
        let Some(operation) = claim.operation else {
            return self.fail("I2 outcomes", format!("{told}, and asked for nothing"));
        };
        let right = match status {
            Err(Errno::EUNLOCK) => operation.ask == Ask::Unlock && mode.is_none(),
            Err(Errno::ECANCEL) => {
                let demoted = claim.may_be_demoted() && mode == Some(Mode::NL);
                operation.cancelling && (mode == claim.held || demoted)
            }
            _ => false,
        };
        if !right || result.is_err() {
            self.fail("I3 outcomes", format!("{told}, asked for {operation:?}: {result:?}"));
        }
    }

    /// I4: who is told is in the way of somebody, or in a deadlock of its own making
    /// (`fs/dlm/lock.c: send_bast_queue, grant_pending_convert`).
    pub(super) fn check_notice(&mut self, step: &Step, at: usize, level: Mode) {
        let claim = &self.claims[at];
        if claim.over || claim.orphan {
            return self.fail("I6 outcomes", format!("k{at} is in {level}'s way, and it is over"));
        }
        let in_the_way = claim.held.is_some_and(|held| excludes(held, level));
        let own = claim.waits_with(LockFlags::NODLCKWT);
        let wanted = step.wanted.iter().any(|(by, mode)| *mode == level && (*by != at || own));
        if !in_the_way || !wanted {
            let what = format!("k{at} has {:?}, and is told that {level} waits", claim.held);
            self.fail("I4 notices", what);
        }
    }

    /// When a call is over nothing is on its way, and so all of this holds at any time.
    pub(super) fn settle(&mut self, step: &Step) {
        self.check_tokens(step);
        for at in self.lines[step.name].live.clone() {
            let claim = &self.claims[at];
            let Some(operation) = claim.operation else { continue };
            if operation.cancelling || operation.ask == Ask::Unlock {
                self.fail("I3 outcomes", format!("nobody is told of {operation:?} of k{at}"));
            }
        }
        if let Some(at) = step.claim
            && let Some(operation) = self.claims[at].operation
        {
            // I12: fs/dlm/lock.c: can_be_queued; and a free lock is granted at once.
            let at_once = LockFlags::NOQUEUE | LockFlags::EXPEDITE;
            if operation.flags.intersects(at_once) || step.is_free {
                self.fail("I12 waiters", format!("{operation:?} of k{at} waits"));
            }
        }
        self.check_told(step.name);
        self.check_deadlocks(step.name);
    }

    /// I11: tokens grow with every grant on a name, also over daemons (`stackglue::Lksb::token`).
    fn check_tokens(&mut self, step: &Step) {
        let mut tokens = step.tokens.clone();
        // Whose call it is is told first, also when a demotion let others go before it.
        tokens.sort_unstable();
        for token in tokens {
            let last = self.lines[step.name].token;
            if token <= last {
                self.fail("I11 tokens", format!("{token:x} of name {} after {last:x}", step.name));
            }
            self.lines[step.name].token = token;
        }
    }

    /// I4: every holder in the way of one that waits was told since its last grant. Not judged: one
    /// that was let past, until the queues are looked at; and names where a conversion may be in a deadlock
    /// that nobody looked for: nobody is told of it then.
    fn check_told(&mut self, name: usize) {
        let line = &self.lines[name];
        let unseen = LockFlags::NODLCKWT | LockFlags::HEADQUE;
        if line.converting.iter().any(|at| self.claims[*at].waits_with(unseen)) {
            return;
        }
        let queued = line.converting.iter().chain(&line.waiting);
        for (waiter, wanted) in queued.filter_map(|at| Some((*at, self.claims[*at].wants()?))) {
            for &at in &line.live {
                let claim = &self.claims[at];
                let Some(held) = claim.held else { continue };
                let idle = at != waiter && claim.operation.is_none();
                if !idle || claim.orphan || claim.jumped || !excludes(held, wanted) {
                    continue;
                }
                if !claim.told.iter().any(|told| excludes(held, *told)) {
                    let what =
                        format!("k{waiter} waits for {wanted}, and k{at} with {held} is not told");
                    return self.fail("I4 notices", what);
                }
            }
        }
    }

    /// I14: no conversion waits for one behind it: conversions are granted in their order, and one that
    /// waits is not told (`fs/dlm/lock.c: conversion_deadlock_detect`). Not judged: NODLCKWT, CONVDEADLK,
    /// and those that went to the head of the queue, as nobody looks at who waits behind them.
    fn check_deadlocks(&mut self, name: usize) {
        let own_doing = LockFlags::NODLCKWT | LockFlags::CONVDEADLK | LockFlags::HEADQUE;
        let converting = &self.lines[name].converting;
        for (place, &first) in converting.iter().enumerate() {
            let Some(wanted) = self.claims[first].wants() else { continue };
            if self.claims[first].waits_with(own_doing | LockFlags::ALTPR | LockFlags::ALTCW) {
                continue;
            }
            for &behind in &converting[place + 1..] {
                let claim = &self.claims[behind];
                let stops = claim.held.is_some_and(|held| excludes(held, wanted));
                if stops && !claim.waits_with(own_doing) {
                    let what = format!("k{first} waits for k{behind}, which waits behind it");
                    return self.fail("I14 waiters", what);
                }
            }
        }
    }

    /// Whether a lock that is asked for now finds nobody in line and nobody in the way.
    pub(super) fn is_free(&self, at: usize, wanted: Mode) -> bool {
        let line = &self.lines[self.claims[at].name];
        let stops = |other: &usize| {
            *other != at && self.claims[*other].held.is_some_and(|held| excludes(held, wanted))
        };
        line.is_empty() && !line.live.iter().any(stops)
    }

    /// I15: the lockspace shows what its users have, in the same order.
    pub(super) fn check_tables(&mut self) {
        let mut wrong = None;
        let mut shown = 0;
        self.host.connection().visit_resources(&mut |view| {
            let Some(name) = self.name_of(view.name) else {
                wrong = Some(format!("{:?} is shown", view.name));
                return;
            };
            let line = &self.lines[name];
            let claim_of = |lksb: &Lksb| {
                let at = lksb.state::<Mark>()?.claim;
                self.claims[at].lksb.is(lksb).then_some(at)
            };
            let queue = |queue| {
                let locks = view.locks.iter().filter(move |lock| lock.queue == queue);
                locks.map(|lock| lock.lksb.and_then(claim_of)).collect::<Option<Vec<usize>>>()
            };
            shown += view.locks.len();
            for lock in view.locks {
                let claim = lock.lksb.and_then(claim_of).map(|at| &self.claims[at]);
                let same = claim.is_some_and(|claim| {
                    let demoted = claim.may_be_demoted() && lock.granted == Some(Mode::NL);
                    claim.orphan == lock.orphan
                        && claim.wants() == lock.requested
                        && (claim.held == lock.granted || demoted)
                });
                if !same {
                    wrong = Some(format!("name {name}: {lock:?} is {claim:?}"));
                }
            }
            if queue(Queue::Converting).as_ref() != Some(&line.converting)
                || queue(Queue::Waiting).as_ref() != Some(&line.waiting)
            {
                wrong = Some(format!("name {name}: {:?} is {line:?}", view.locks));
            }
            let number = view.lvb.and_then(|lvb| number_of(lvb.try_into().ok()?));
            if !line.value.unsure
                && (number, view.lvb_valid) != (line.value.value, line.value.invalid.is_none())
            {
                wrong = Some(format!("name {name}: value {number:?} is {:?}", line.value));
            }
        });
        let live: usize = self.lines.iter().map(|line| line.live.len()).sum();
        if shown != live {
            wrong = Some(format!("{shown} locks are shown of {live}"));
        }
        if let Some(what) = wrong {
            self.fail("I15 tables", what);
        }
    }
}
