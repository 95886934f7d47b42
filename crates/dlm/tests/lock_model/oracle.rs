//! The rules once more, for reading: plain vectors, numbers as on the wire, nothing fast.
//!
//! Written from the project's notes on fs/dlm (lock engine on the master, LVB rules, unlock and cancel
//! calls), not from the code under test; it shares only the types in which a test speaks.

use stackglue_dlm::{Errno, LockFlags, Mode, Queue, StatusFlags};

use crate::world::{Event, LockState, OWNERS, Op, Owner, ValueState};

/// No mode, as fs/dlm numbers it.
const IV: i8 = -1;
const NL: i8 = 0;
const CW: i8 = 2;
const PR: i8 = 3;
const PW: i8 = 4;
const EX: i8 = 5;

const NOQUEUE: u32 = 0x0000_0001;
const CANCEL: u32 = 0x0000_0002;
const VALBLK: u32 = 0x0000_0008;
const QUECVT: u32 = 0x0000_0010;
const IVVALBLK: u32 = 0x0000_0020;
const CONVDEADLK: u32 = 0x0000_0040;
const NODLCKWT: u32 = 0x0000_0100;
const EXPEDITE: u32 = 0x0000_0400;
const NOQUEUEBAST: u32 = 0x0000_0800;
const HEADQUE: u32 = 0x0000_1000;
const NOORDER: u32 = 0x0000_2000;
const ALTPR: u32 = 0x0000_8000;
const ALTCW: u32 = 0x0001_0000;
const FORCEUNLOCK: u32 = 0x0002_0000;

const DEMOTED: u8 = 0x01;
const VALNOTVALID: u8 = 0x02;
const ALTMODE: u8 = 0x04;

#[derive(Clone, Copy)]
struct Entry {
    owner: Owner,
    granted: i8,
    requested: i8,
    flags: u32,
    status: u8,
    /// The highest mode of its blocking callbacks since the last grant.
    highest_bast: i8,
}

#[derive(PartialEq)]
enum Verdict {
    Granted,
    Refused,
    Deadlock,
    Demoted,
}

/// A resource as its master keeps it. The front of a queue is the first of its vector.
#[derive(Clone, Default)]
pub(crate) struct Oracle {
    granted: Vec<Entry>,
    converting: Vec<Entry>,
    waiting: Vec<Entry>,
    lvb: Option<u8>,
    sequence: u32,
    invalid: bool,
    buffers: [Option<u8>; OWNERS],
    /// Of the call made last.
    events: Vec<Event>,
}

impl Oracle {
    pub(crate) fn apply(&mut self, op: Op) -> Result<(), Errno> {
        self.events.clear();
        self.check(op)?;
        match op {
            Op::Request(owner, mode, flags) => self.request(owner, number(mode), flags.bits()),
            Op::Convert(owner, mode, flags) => self.convert(owner, number(mode), flags.bits()),
            Op::Unlock(owner, flags) => self.unlock(owner, flags.bits()),
            Op::Cancel(owner) => self.cancel(owner),
        }
        Ok(())
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(crate) fn buffer(&self, owner: Owner) -> Option<u8> {
        self.buffers[owner]
    }

    pub(crate) fn set_buffer(&mut self, owner: Owner, byte: Option<u8>) {
        self.buffers[owner] = byte;
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = LockState> {
        let queues = [
            (Queue::Granted, &self.granted),
            (Queue::Converting, &self.converting),
            (Queue::Waiting, &self.waiting),
        ];
        queues.into_iter().flat_map(|(queue, entries)| {
            entries.iter().map(move |entry| LockState {
                owner: entry.owner,
                queue,
                granted: mode(entry.granted),
                requested: mode(entry.requested),
                status: StatusFlags::from_bits_retain(entry.status),
                flags: LockFlags::from_bits_retain(entry.flags),
            })
        })
    }

    pub(crate) fn value(&self) -> ValueState {
        ValueState { lvb: self.lvb, valid: !self.invalid, sequence: self.sequence }
    }

    /// Argument checks, in the order of the calls' descriptions.
    fn check(&self, op: Op) -> Result<(), Errno> {
        let lock = self.all().find(|entry| entry.owner == op.owner());
        let flags = op.flags().bits();
        let has = |flag: u32| flags & flag != 0;
        let einval = |wrong: bool| if wrong { Err(Errno::EINVAL) } else { Ok(()) };
        match (op, lock) {
            (Op::Request(..), Some(_)) => Err(Errno::EEXIST),
            (Op::Request(_, mode, _), None) => {
                einval(has(CANCEL) || has(QUECVT) || has(CONVDEADLK))?;
                einval(has(EXPEDITE) && (has(NOQUEUE) || number(mode) != NL))
            }
            (_, None) => Err(Errno::ENOENT),
            (Op::Convert(_, mode, _), Some(lock)) => {
                einval(has(CANCEL) || has(EXPEDITE) || (has(CONVDEADLK) && has(NOQUEUE)))?;
                if !self.granted.iter().any(|entry| entry.owner == lock.owner) {
                    return Err(Errno::EBUSY);
                }
                let rising = number(mode) > lock.granted;
                let allowed = rising || (lock.granted == PR && number(mode) == CW);
                einval(has(QUECVT) && !allowed)
            }
            (Op::Unlock(..) | Op::Cancel(_), Some(lock)) => {
                einval(flags & !(CANCEL | VALBLK | IVVALBLK | FORCEUNLOCK) != 0)?;
                einval(has(CANCEL) && has(FORCEUNLOCK))?;
                einval(has(CANCEL) && lock.flags & CANCEL != 0)
            }
        }
    }

    fn request(&mut self, owner: Owner, mode: i8, flags: u32) {
        let mut new =
            Entry { owner, granted: IV, requested: mode, flags, status: 0, highest_bast: NL };
        if self.decide(&mut new, true) == Verdict::Granted {
            self.grant(new);
        } else if flags & NOQUEUE != 0 {
            self.events.push(Event::Ended { owner, errno: Errno::EAGAIN });
            self.basts_for_refused(&new);
        } else {
            enqueue(&mut self.waiting, new);
            self.events.push(Event::Queued { owner });
            basts(&mut self.granted, &new, &mut self.events);
        }
    }

    fn convert(&mut self, owner: Owner, mode: i8, flags: u32) {
        let mut lock = self.get(owner);
        lock.requested = mode;
        lock.flags = flags;
        lock.status = 0;
        let verdict = self.decide(&mut lock, true);
        self.put(lock);
        let mut grantable = verdict == Verdict::Granted;
        if verdict == Verdict::Demoted {
            self.grant_convert_queue();
            grantable = self.may_grant(&lock, true);
        }
        if grantable {
            self.grant(lock);
            self.grant_queued();
        } else if verdict == Verdict::Deadlock && flags & NODLCKWT == 0 {
            self.put(Entry { requested: IV, ..lock });
            self.events.push(Event::Refused { owner, errno: Errno::EDEADLK });
        } else if flags & NOQUEUE != 0 {
            self.put(Entry { requested: IV, ..lock });
            self.events.push(Event::Refused { owner, errno: Errno::EAGAIN });
            self.basts_for_refused(&lock);
        } else {
            self.take(owner);
            enqueue(&mut self.converting, lock);
            self.events.push(Event::Queued { owner });
            if verdict == Verdict::Demoted {
                self.grant_queued();
            } else {
                basts(&mut self.granted, &lock, &mut self.events);
            }
        }
    }

    fn unlock(&mut self, owner: Owner, flags: u32) {
        let lock = self.take(owner);
        if lock.granted >= PW {
            self.write_lvb(owner, lock.flags | flags);
        }
        self.events.push(Event::Ended { owner, errno: Errno::EUNLOCK });
        self.forget_value_if_unused();
        self.grant_queued();
    }

    fn cancel(&mut self, owner: Owner) {
        let lock = self.get(owner);
        if lock.requested == IV {
            return;
        }
        self.take(owner);
        if lock.granted == IV {
            self.events.push(Event::Ended { owner, errno: Errno::ECANCEL });
            self.forget_value_if_unused();
        } else {
            let back = Entry { requested: IV, status: 0, flags: lock.flags | CANCEL, ..lock };
            self.granted.insert(0, back);
            self.events.push(Event::Refused { owner, errno: Errno::ECANCEL });
        }
        self.grant_queued();
    }

    /// The grant decision with what follows a refusal: deadlock test, then alternate mode.
    fn decide(&self, lock: &mut Entry, now: bool) -> Verdict {
        if self.may_grant(lock, now) {
            return Verdict::Granted;
        }
        let converts = lock.granted != IV;
        if converts && lock.flags & NOQUEUE == 0 && self.deadlocked(lock) {
            if lock.flags & CONVDEADLK == 0 {
                return Verdict::Deadlock;
            }
            lock.granted = NL;
            lock.status |= DEMOTED;
            return Verdict::Demoted;
        }
        let alternate = if lock.requested != PR && lock.flags & ALTPR != 0 {
            PR
        } else if lock.requested != CW && lock.flags & ALTCW != 0 {
            CW
        } else {
            return Verdict::Refused;
        };
        let instead = Entry { requested: alternate, ..*lock };
        if !self.may_grant(&instead, now) {
            return Verdict::Refused;
        }
        *lock = instead;
        lock.status |= ALTMODE;
        Verdict::Granted
    }

    /// The eleven rules, but for the one of recovery.
    fn may_grant(&self, lock: &Entry, now: bool) -> bool {
        let converts = lock.granted != IV;
        let first = |queue: &[Entry]| queue.first().is_some_and(|it| it.owner == lock.owner);
        let mut holders = self.granted.iter().chain(&self.converting);
        if lock.flags & EXPEDITE != 0 {
            true
        } else if holders
            .any(|other| other.owner != lock.owner && conflict(other.granted, lock.requested))
        {
            false
        } else if now && converts && lock.flags & QUECVT == 0 {
            true
        } else if now && converts {
            self.converting.is_empty()
        } else if lock.flags & NOORDER != 0 {
            true
        } else if converts {
            first(&self.converting)
        } else if now {
            self.converting.is_empty() && self.waiting.is_empty()
        } else {
            self.converting.is_empty() && first(&self.waiting)
        }
    }

    fn deadlocked(&self, lock: &Entry) -> bool {
        let position = self.converting.iter().position(|other| other.owner == lock.owner);
        let (before, behind) = match position {
            Some(at) => (&self.converting[..at], &self.converting[at + 1..]),
            None => (&self.converting[..], &[][..]),
        };
        before.iter().any(|other| conflict(lock.granted, other.requested))
            || behind.iter().any(|other| {
                conflict(lock.granted, other.requested) && conflict(other.granted, lock.requested)
            })
    }

    fn grant_queued(&mut self) {
        let (mut high, mut cw) = self.grant_convert_queue();
        for owner in owners(&self.waiting) {
            let mut lock = self.get(owner);
            if self.decide(&mut lock, false) == Verdict::Granted {
                self.grant(lock);
            } else {
                high = high.max(lock.requested);
                cw |= lock.requested == CW;
            }
        }
        for holder in &mut self.granted {
            let needed = if holder.granted == PR && cw {
                holder.highest_bast < EX
            } else {
                holder.highest_bast < high && conflict(holder.granted, high)
            };
            if needed {
                let level = if cw && high == PR && holder.granted == PR { CW } else { high };
                self.events.push(blocking(holder.owner, level));
                holder.highest_bast = high;
            }
        }
    }

    /// Returns the highest mode that is still blocked and not in a deadlock, and whether one is CW.
    /// fs/dlm finishes a pass before it starts again from the front (`grant_pending_convert`).
    fn grant_convert_queue(&mut self) -> (i8, bool) {
        loop {
            let (mut high, mut cw, mut again) = (IV, false, false);
            for owner in owners(&self.converting) {
                let mut lock = self.get(owner);
                let verdict = self.decide(&mut lock, false);
                self.put(lock);
                match verdict {
                    Verdict::Granted => {
                        self.grant(lock);
                        again = true;
                    }
                    Verdict::Demoted => again = true,
                    Verdict::Deadlock => {
                        if lock.flags & NODLCKWT != 0 && lock.highest_bast < lock.requested {
                            self.events.push(blocking(owner, lock.requested));
                            self.put(Entry { highest_bast: lock.requested, ..lock });
                        }
                    }
                    Verdict::Refused => {
                        high = high.max(lock.requested);
                        cw |= lock.requested == CW;
                    }
                }
            }
            if !again {
                return (high, cw);
            }
        }
    }

    /// A grant: the LVB moves, then the lock is at the head of the grant queue in its new mode.
    fn grant(&mut self, mut lock: Entry) {
        self.take_if_there(lock.owner);
        let mut read = None;
        match DIRECTIONS[(lock.granted + 1) as usize].as_bytes()[lock.requested as usize] {
            b'W' => self.write_lvb(lock.owner, lock.flags),
            b'R' if lock.flags & VALBLK == 0 => {}
            direction => {
                read = self.lvb.filter(|_| direction == b'R');
                if self.invalid && (direction == b'.' || read.is_some()) {
                    lock.status |= VALNOTVALID;
                }
            }
        }
        self.buffers[lock.owner] = read.or(self.buffers[lock.owner]);
        lock.granted = lock.requested;
        lock.requested = IV;
        lock.highest_bast = NL;
        self.granted.insert(0, lock);
        self.events.push(Event::Granted {
            owner: lock.owner,
            mode: mode(lock.granted).expect("a granted mode"),
            status: StatusFlags::from_bits_retain(lock.status),
            lvb: read,
        });
    }

    fn write_lvb(&mut self, owner: Owner, flags: u32) {
        if flags & IVVALBLK != 0 {
            self.invalid = true;
        } else if flags & VALBLK != 0 && self.buffers[owner].is_some() {
            self.lvb = self.buffers[owner];
            self.sequence += 1;
            self.invalid = false;
        }
    }

    fn forget_value_if_unused(&mut self) {
        if self.all().next().is_none() {
            (self.lvb, self.sequence, self.invalid) = (None, 0, false);
        }
    }

    fn basts_for_refused(&mut self, lock: &Entry) {
        if lock.flags & NOQUEUEBAST != 0 {
            basts(&mut self.granted, lock, &mut self.events);
            basts(&mut self.converting, lock, &mut self.events);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.granted.iter().chain(&self.converting).chain(&self.waiting)
    }

    fn get(&self, owner: Owner) -> Entry {
        *self.all().find(|entry| entry.owner == owner).expect("a lock of the owner")
    }

    fn put(&mut self, lock: Entry) {
        for queue in [&mut self.granted, &mut self.converting, &mut self.waiting] {
            for entry in queue.iter_mut().filter(|entry| entry.owner == lock.owner) {
                *entry = lock;
            }
        }
    }

    fn take(&mut self, owner: Owner) -> Entry {
        let lock = self.get(owner);
        self.take_if_there(owner);
        lock
    }

    fn take_if_there(&mut self, owner: Owner) {
        for queue in [&mut self.granted, &mut self.converting, &mut self.waiting] {
            queue.retain(|entry| entry.owner != owner);
        }
    }
}

/// Blocking callbacks for a request or conversion that was just queued or refused.
fn basts(holders: &mut [Entry], wanting: &Entry, events: &mut Vec<Event>) {
    for holder in holders.iter_mut().filter(|holder| holder.owner != wanting.owner) {
        let pair = (holder.granted, wanting.requested);
        let needed = if pair == (PR, CW) || pair == (CW, PR) {
            holder.highest_bast < EX
        } else {
            holder.highest_bast < wanting.requested && conflict(holder.granted, wanting.requested)
        };
        if needed {
            events.push(blocking(holder.owner, wanting.requested));
            holder.highest_bast = wanting.requested;
        }
    }
}

fn enqueue(queue: &mut Vec<Entry>, lock: Entry) {
    let at = if lock.flags & HEADQUE != 0 { 0 } else { queue.len() };
    queue.insert(at, lock);
}

fn owners(queue: &[Entry]) -> Vec<Owner> {
    queue.iter().map(|entry| entry.owner).collect()
}

fn blocking(owner: Owner, level: i8) -> Event {
    Event::Blocking { owner, level: mode(level).expect("a mode that is wanted") }
}

fn conflict(granted: i8, requested: i8) -> bool {
    granted != IV && COMPATIBLE[granted as usize].as_bytes()[requested as usize] == b'-'
}

fn number(mode: Mode) -> i8 {
    match mode {
        Mode::NL => NL,
        Mode::CR => 1,
        Mode::CW => CW,
        Mode::PR => PR,
        Mode::PW => PW,
        Mode::EX => EX,
    }
}

fn mode(number: i8) -> Option<Mode> {
    [None, Some(Mode::NL), Some(Mode::CR), Some(Mode::CW), Some(Mode::PR), Some(Mode::PW)]
        .get((number + 1) as usize)
        .copied()
        .unwrap_or(Some(Mode::EX))
}

/// Rows: granted NL to EX; columns: requested NL to EX.
const COMPATIBLE: [&str; 6] = ["YYYYYY", "YYYYY-", "YYY---", "YY-Y--", "YY----", "Y-----"];

/// Rows: granted IV to EX; columns: requested NL to EX.
const DIRECTIONS: [&str; 7] =
    ["RRRRRR", "RRRRRR", ".RRRRR", "..RRRR", "...RRR", "WWWWWR", "WWWWWW"];
