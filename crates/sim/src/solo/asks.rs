//! A call of a user: what it is to return, what it leads to, and who is told.

use stackglue::{Errno, LockFlags, Mode, StatusFlags};

use super::World;
use super::claim::{Ask, Operation};
use super::host::{Details, Told};
use super::value::{number_of, reads, writes};

const READ: &str = "solo: value read";
const READ_NOT_VALID: &str = "solo: value read: not valid";

/// One call, until everything that follows from it was told: solo waits for nobody.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) name: usize,
    /// The lock that it is about.
    pub(super) claim: Option<usize>,
    /// It was asked for with nobody in line and nobody in the way.
    pub(super) is_free: bool,
    /// Somebody has unlocked inside a notice: what was decided first may be told last.
    pub(super) nested: bool,
    /// Tokens of its grants, in the order in which they were told.
    pub(super) tokens: Vec<u64>,
    /// Modes that somebody waits for, or has asked for in vain.
    pub(super) wanted: Vec<(usize, Mode)>,
}

impl World {
    /// Makes a call. Whether it was accepted.
    pub(super) fn ask(&mut self, at: usize, ask: Ask, flags: LockFlags) -> bool {
        let flags = match ask {
            Ask::Lock(_) | Ask::Unlock => flags,
            Ask::Adopt(_) => flags | LockFlags::ORPHAN,
            Ask::Convert(_) => flags | LockFlags::CONVERT,
            Ask::Cancel => flags | LockFlags::CANCEL,
        };
        let name = self.claims[at].name;
        self.note(|world| format!("{} {ask:?} {flags:?} name {name} k{at}", world.who(at)));
        let expected = self.expected(at, ask, flags);
        let mut step = self.begin(name);
        step.claim = Some(at);
        step.is_free = ask.mode().is_some_and(|mode| self.is_free(at, mode));
        step.wanted.extend(ask.mode().map(|mode| (at, mode)));
        let (lksb, connection) = (self.claims[at].lksb.clone(), self.host.connection());
        let answer = match ask.mode() {
            Some(mode) => connection.lock(mode, &lksb, flags, self.resource_name(name)),
            None => connection.unlock(&lksb, flags),
        };
        let told = self.host.told();
        if answer != expected {
            let who = self.who(at);
            self.fail("I3 calls", format!("{who} {ask:?} {flags:?}: {answer:?}, not {expected:?}"));
        }
        if answer.is_err() && !told.is_empty() {
            self.fail("I3 calls", format!("{} {ask:?} failed, and then {told:?}", self.who(at)));
        }
        if let Err(errno) = answer {
            self.count(&format!("refused: {}", errno.name()));
            return false;
        }
        self.accept(at, ask, flags, &told);
        self.hear(&mut step, told);
        self.settle(&step);
        true
    }

    /// What a call has to return (`docs/protocol/lock-model.md`, calls that are refused).
    fn expected(&self, at: usize, ask: Ask, flags: LockFlags) -> Result<(), Errno> {
        let claim = &self.claims[at];
        let refuse = |when: bool, errno: Errno| if when { Err(errno) } else { Ok(()) };
        let cancel = flags.contains(LockFlags::CANCEL);
        let noqueue = flags.contains(LockFlags::NOQUEUE);
        match ask {
            Ask::Lock(mode) | Ask::Adopt(mode) => {
                let conversions = LockFlags::QUECVT | LockFlags::CONVDEADLK;
                let expedite = flags.contains(LockFlags::EXPEDITE);
                refuse(cancel || flags.intersects(conversions), Errno::EINVAL)?;
                refuse(expedite && (noqueue || mode != Mode::NL), Errno::EINVAL)?;
                let Ask::Adopt(_) = ask else { return Ok(()) };
                let mut orphans = self.orphans(claim.name).peekable();
                refuse(orphans.peek().is_none(), Errno::ENOENT)?;
                refuse(!orphans.any(|(_, held)| held == mode), Errno::EAGAIN)
            }
            Ask::Convert(mode) => {
                refuse(claim.over, Errno::ENOENT)?;
                let both = noqueue && flags.contains(LockFlags::CONVDEADLK);
                refuse(cancel || flags.contains(LockFlags::EXPEDITE) || both, Errno::EINVAL)?;
                let held = claim.held.filter(|_| claim.operation.is_none());
                let held = held.ok_or(Errno::EBUSY)?;
                let queued = flags.contains(LockFlags::QUECVT);
                refuse(queued && !held.may_queue_conversion_to(mode), Errno::EINVAL)
            }
            Ask::Unlock | Ask::Cancel => {
                refuse(claim.over, Errno::ENOENT)?;
                let both = cancel && flags.contains(LockFlags::FORCEUNLOCK);
                refuse(!LockFlags::UNLOCK.contains(flags) || both, Errno::EINVAL)?;
                refuse(cancel && claim.cancelled, Errno::EINVAL)
            }
        }
    }

    /// Notes what was asked for. What has no outcome in `told` waits.
    fn accept(&mut self, at: usize, ask: Ask, flags: LockFlags, told: &[Told]) {
        let operation = Operation { ask, flags, cancelling: false };
        let claim = &mut self.claims[at];
        let line = &mut self.lines[claim.name];
        let waits = !told.iter().any(|told| {
            matches!(told, Told::Lock { claim, .. } | Told::Unlock { claim, .. } if *claim == at)
        });
        match ask {
            Ask::Lock(mode) | Ask::Adopt(mode) => {
                claim.held = None;
                claim.cancelled = false;
                claim.over = false;
                claim.flags = flags;
                claim.operation = Some(operation);
                line.live.push(at);
                if waits {
                    line.enqueue(at, operation);
                }
                // Of several in the same mode, the one whose status block is free now.
                let name = self.claims[at].name;
                let orphan = self.orphans(name).find(|(orphan, held)| {
                    *held == mode && self.claims[*orphan].lksb.lock_id() == 0
                });
                if let (Ask::Adopt(_), Some((orphan, _))) = (ask, orphan) {
                    self.end(orphan);
                }
            }
            Ask::Convert(_) => {
                claim.cancelled = false;
                claim.flags = flags;
                claim.operation = Some(operation);
                if waits {
                    line.enqueue(at, operation);
                }
            }
            Ask::Unlock => self.unlocked(at, flags),
            Ask::Cancel => {
                if let Some(operation) = &mut claim.operation {
                    operation.cancelling = true;
                    self.looked_at(at);
                } else {
                    self.count("cancel: too late");
                }
            }
        }
    }

    /// An unlock call was accepted.
    fn unlocked(&mut self, at: usize, flags: LockFlags) {
        if let Some(cut_short) = self.claims[at].operation {
            let what = if let Ask::Convert(_) = cut_short.ask { "conversion" } else { "request" };
            self.count(&format!("unlock of a waiting {what}"));
        }
        let claim = &mut self.claims[at];
        let line = &mut self.lines[claim.name];
        line.value.leave(claim, claim.flags | flags);
        line.dequeue(at);
        claim.operation = Some(Operation { ask: Ask::Unlock, flags, cancelling: false });
        self.looked_at(at);
    }

    /// Something happened on a name that makes its queues be looked at: all who are in the way and
    /// were not told have to be told now.
    pub(super) fn looked_at(&mut self, at: usize) {
        for &other in &self.lines[self.claims[at].name].live {
            self.claims[other].jumped = false;
        }
    }

    pub(super) fn begin(&self, name: usize) -> Step {
        let wanted = |at: &usize| Some((*at, self.claims[*at].wants()?));
        let wanted = self.lines[name].live.iter().filter_map(wanted).collect();
        Step { name, wanted, ..Step::default() }
    }

    /// Takes in what users were told, in its order.
    pub(super) fn hear(&mut self, step: &mut Step, told: Vec<Told>) {
        step.nested |= told.iter().any(|told| matches!(told, Told::UnlockedAtOnce { .. }));
        for told in told {
            self.events += 1;
            match told {
                Told::Lock { claim, status, mode, details } => {
                    self.note(|world| {
                        let who = world.who(claim);
                        match status {
                            Ok(()) => format!("{who} has {mode:?} {:?} k{claim}", details.flags),
                            Err(errno) => format!("{who} is refused: {} k{claim}", errno.name()),
                        }
                    });
                    self.check_outcome(step, claim, status, mode, &details);
                    match status {
                        Ok(()) => self.granted(step, claim, mode, &details),
                        Err(errno) => self.refused(claim, errno),
                    }
                }
                Told::Unlock { claim, result, status, mode } => {
                    let text = status.map_or_else(Errno::name, |()| "unlocked");
                    self.note(|world| format!("{} {text}, {mode:?} k{claim}", world.who(claim)));
                    self.check_unlocked(claim, result, status, mode);
                    self.gone(claim, status, mode);
                }
                Told::Notice { claim, level } => {
                    self.note(|world| format!("{} is in {level}'s way k{claim}", world.who(claim)));
                    self.check_notice(step, claim, level);
                    self.count("notice");
                    self.claims[claim].told.push(level);
                    self.notice(claim);
                }
                Told::UnlockedAtOnce { claim } => {
                    self.note(|world| format!("{} unlocks at once k{claim}", world.who(claim)));
                    self.count("unlocked inside a notice");
                    self.unlocked(claim, LockFlags::empty());
                }
                Told::RefusedAtOnce { claim, errno } => {
                    self.fail("I3 calls", format!("k{claim}: unlock inside a notice: {errno}"));
                }
            }
        }
    }

    fn granted(&mut self, step: &mut Step, at: usize, mode: Option<Mode>, details: &Details) {
        step.tokens.push(details.token);
        let claim = &mut self.claims[at];
        let Some(operation) = claim.operation.take() else { return };
        let Some(mode) = mode else { return };
        let line = &mut self.lines[claim.name];
        line.dequeue(at);
        let is_new = claim.held.is_none();
        let demoted = details.flags.contains(StatusFlags::DEMOTED);
        let from = if demoted { Some(Mode::NL) } else { claim.held };
        let moves = operation.flags.contains(LockFlags::VALBLK) && !line.value.unsure;
        if writes(from, mode) {
            line.value.leave(claim, operation.flags);
        } else if reads(from, mode) && moves && line.value.value.is_some() {
            let lost = line.value.invalid.is_some();
            self.coverage.count(if lost { READ_NOT_VALID } else { READ });
        }
        claim.block = number_of(&details.block).unwrap_or(claim.block);
        claim.held = Some(mode);
        claim.told.clear();
        claim.grants += 1;
        claim.jumped = is_new && step.claim == Some(at) && !line.is_empty();
        if !is_new {
            self.looked_at(at);
        }
        let late = if step.claim == Some(at) { "at once" } else { "after a wait" };
        self.count(&format!("granted {late}"));
        for (flag, what) in [
            (StatusFlags::DEMOTED, "demoted"),
            (StatusFlags::ALTMODE, "granted in the alternate mode"),
        ] {
            if details.flags.contains(flag) {
                self.count(what);
            }
        }
        if let Ask::Adopt(_) = operation.ask {
            self.count("orphan adopted");
        }
        self.has_it(at);
    }

    fn refused(&mut self, at: usize, errno: Errno) {
        self.count(&format!("refused: {}", errno.name()));
        self.lines[self.claims[at].name].dequeue(at);
        self.claims[at].operation = None;
        if self.claims[at].held.is_some() {
            return self.keeps_it(at);
        }
        let user = self.claims[at].user;
        self.end(at);
        self.turn_soon(user);
    }

    /// A conversion came to nothing: what its user was told before still holds.
    fn keeps_it(&mut self, at: usize) {
        if !self.claims[at].told.is_empty() {
            self.notice(at);
        }
        self.turn_soon(self.claims[at].user);
    }

    /// An unlock or a cancel has completed.
    fn gone(&mut self, at: usize, status: Result<(), Errno>, mode: Option<Mode>) {
        let cancelled = status == Err(Errno::ECANCEL);
        if let (true, Some(mode)) = (cancelled, mode) {
            self.count("cancelled: conversion");
            let claim = &mut self.claims[at];
            claim.cancelled = true;
            claim.operation = None;
            // A deadlock may have demoted it.
            claim.held = Some(mode);
            self.lines[claim.name].dequeue(at);
            return self.keeps_it(at);
        }
        self.count(if cancelled { "cancelled: request" } else { "unlocked" });
        let user = self.claims[at].user;
        self.end(at);
        self.users[user].spare = Some(at);
        self.turn_soon(user);
    }

    /// Nothing is left of a lock.
    pub(super) fn end(&mut self, at: usize) {
        let claim = &mut self.claims[at];
        claim.end();
        self.lines[claim.name].remove(at);
        let user = &mut self.users[claim.user];
        if user.claim == Some(at) {
            user.claim = None;
        }
    }
}
