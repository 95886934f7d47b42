//! What must hold whatever the rules say: checked on the engine's side alone, after every call.

use stackglue_dlm::{Errno, LockFlags, Mode, Queue, StatusFlags};

use crate::world::{Event, LockState, OWNERS, Op, Owner, World};

/// What every owner was told so far.
#[derive(Default)]
pub(crate) struct Ledger {
    outstanding: [bool; OWNERS],
    /// The levels of the blocking callbacks since the last grant.
    told: [Vec<Mode>; OWNERS],
    states: Vec<LockState>,
}

impl Ledger {
    /// Takes down the events of a call that was made, and checks the world after it.
    pub(crate) fn check(&mut self, op: Op, world: &World) {
        self.states.clear();
        self.states.extend(world.states());
        let served = self.account_for(op, world.events());
        self.granted_modes_are_compatible();
        self.every_queue_shows_what_its_locks_wait_for();
        if served {
            self.nobody_waits_in_vain(world);
            self.those_in_the_way_were_asked(None);
        } else if world.events().contains(&Event::Queued { owner: op.owner() }) {
            self.those_in_the_way_were_asked(Some(op.owner()));
        }
        if self.states.is_empty() {
            assert!(world.resource.is_unused() && world.locks.is_empty(), "all is gone");
            assert_eq!((world.value().lvb, world.value().valid), (None, true), "the value too");
        }
    }

    /// One outcome for each operation. Returns whether the queues were served, as they are whenever
    /// somebody gave something up.
    fn account_for(&mut self, op: Op, events: &[Event]) -> bool {
        let caller = op.owner();
        let waited = self.outstanding[caller];
        self.outstanding[caller] = true;
        let mut own_outcome = None;
        let mut ended = false;
        for &event in events {
            match event {
                Event::Granted { owner, .. } => {
                    self.complete(owner);
                    self.told[owner].clear();
                }
                Event::Refused { owner, .. } => self.complete(owner),
                Event::Ended { owner, .. } => {
                    self.complete(owner);
                    self.told[owner].clear();
                }
                Event::Queued { owner } => assert_eq!(owner, caller, "only the caller is queued"),
                Event::Blocking { owner, level } => self.told[owner].push(level),
            }
            let of_caller = match event {
                Event::Granted { owner, .. } | Event::Queued { owner } => owner == caller,
                Event::Refused { owner, .. } => owner == caller,
                Event::Ended { owner, .. } => {
                    assert_eq!(owner, caller, "only the caller's lock ends");
                    ended = true;
                    true
                }
                Event::Blocking { .. } => false,
            };
            if of_caller {
                // Those whom its demotion let go may have been all that it waited for.
                let demoted = matches!(event, Event::Granted { status, .. } if status.contains(StatusFlags::DEMOTED));
                let went_on = demoted && matches!(own_outcome, Some(Event::Queued { .. }));
                assert!(
                    own_outcome.is_none() || went_on,
                    "a second outcome for the caller: {event:?}"
                );
                own_outcome = Some(event);
            }
        }
        self.callbacks_are_for_a_reason(op, events);
        match (op, own_outcome) {
            (Op::Request(..), Some(Event::Granted { .. })) => false,
            (Op::Request(_, _, flags), Some(Event::Ended { errno: Errno::EAGAIN, .. }))
            | (Op::Convert(_, _, flags), Some(Event::Refused { errno: Errno::EAGAIN, .. })) => {
                assert!(flags.contains(LockFlags::NOQUEUE));
                false
            }
            (Op::Request(_, _, flags) | Op::Convert(_, _, flags), Some(Event::Queued { .. })) => {
                assert!(!flags.contains(LockFlags::NOQUEUE));
                false
            }
            (Op::Convert(..), Some(Event::Granted { .. })) => true,
            (Op::Convert(_, _, flags), Some(Event::Refused { errno: Errno::EDEADLK, .. })) => {
                assert!(!flags.intersects(LockFlags::NODLCKWT | LockFlags::NOQUEUE));
                false
            }
            (Op::Unlock(..), Some(Event::Ended { errno: Errno::EUNLOCK, .. })) => true,
            (
                Op::Cancel(_),
                Some(
                    Event::Refused { errno: Errno::ECANCEL, .. }
                    | Event::Ended { errno: Errno::ECANCEL, .. },
                ),
            ) => {
                assert!(waited, "a cancel that cancels nothing");
                assert_eq!(ended, !self.states.iter().any(|state| state.owner == caller));
                true
            }
            (Op::Cancel(_), None) => {
                assert!(!waited, "a cancel of a waiting lock has an outcome");
                assert_eq!(events, [], "a cancel of a granted lock has no effect");
                self.outstanding[caller] = false;
                false
            }
            (_, outcome) => panic!("{outcome:?} is no outcome of {op:?}"),
        }
    }

    fn complete(&mut self, owner: Owner) {
        assert!(self.outstanding[owner], "owner {owner} asked for nothing and was told an outcome");
        self.outstanding[owner] = false;
    }

    /// A blocking callback goes to a lock whose mode excludes a mode that somebody wants.
    fn callbacks_are_for_a_reason(&self, op: Op, events: &[Event]) {
        for &event in events {
            let Event::Blocking { owner, level } = event else { continue };
            if events.contains(&Event::Queued { owner }) || self.was_granted(owner, events) {
                continue;
            }
            let holder = self.state(owner).expect("a callback for a lock that is there");
            let asked_to_end_its_own_deadlock = holder.requested == Some(level)
                && holder.queue == Queue::Converting
                && holder.flags.contains(LockFlags::NODLCKWT);
            if asked_to_end_its_own_deadlock {
                continue;
            }
            assert!(excludes(holder, level), "owner {owner} is not in the way of {level}");
            let by_the_call = matches!(op,
                Op::Request(_, mode, flags) | Op::Convert(_, mode, flags)
                    if mode == level && flags.contains(LockFlags::NOQUEUEBAST));
            assert!(
                by_the_call || self.states.iter().any(|state| state.requested == Some(level)),
                "nobody wants {level}"
            );
        }
    }

    /// Whether a grant in the same call followed or preceded a callback: its reason may be over.
    fn was_granted(&self, owner: Owner, events: &[Event]) -> bool {
        let grant = events
            .iter()
            .rposition(|event| matches!(*event, Event::Granted { owner: o, .. } if o == owner));
        let callback = events
            .iter()
            .position(|event| matches!(*event, Event::Blocking { owner: o, .. } if o == owner));
        grant > callback && callback.is_some()
    }

    fn granted_modes_are_compatible(&self) {
        for (index, a) in self.states.iter().enumerate() {
            for b in &self.states[index + 1..] {
                if let (Some(held), Some(other)) = (a.granted, b.granted) {
                    assert!(held.is_compatible_with(other), "{a:?} beside {b:?}");
                }
            }
        }
    }

    fn every_queue_shows_what_its_locks_wait_for(&self) {
        let count = self.outstanding.iter().filter(|outstanding| **outstanding).count();
        let mut waiting = 0;
        for state in &self.states {
            let held_and_wanted = (state.granted.is_some(), state.requested.is_some());
            let expected = match state.queue {
                Queue::Granted => (true, false),
                Queue::Converting => (true, true),
                Queue::Waiting => (false, true),
            };
            assert_eq!(held_and_wanted, expected, "{state:?}");
            assert_eq!(self.outstanding[state.owner], expected.1, "{state:?}");
            waiting += usize::from(expected.1);
        }
        assert_eq!(waiting, count, "an operation has no outcome and no lock that waits");
    }

    /// No queued lock could have been granted, and each has somebody to wait for.
    fn nobody_waits_in_vain(&self, world: &World) {
        for lock in self.states.iter().filter(|state| state.queue != Queue::Granted) {
            let wanted = lock.requested.expect("a queued lock wants a mode");
            assert!(!self.could_be_granted(lock, wanted), "{lock:?} waits in vain");
            if lock.flags.contains(LockFlags::ALTPR) && !self.is_deadlocked(lock, wanted) {
                assert!(!self.could_be_granted(lock, Mode::PR), "{lock:?} waits in vain for PR");
            }
            let key = world.key(lock.owner).expect("a queued lock has a place");
            let blockers = world.resource.blockers(&world.locks, key);
            assert!(!blockers.is_empty() && !blockers.contains(&key), "{lock:?}: {blockers:?}");
        }
    }

    fn could_be_granted(&self, lock: &LockState, wanted: Mode) -> bool {
        let in_the_way = self.states.iter().any(|other| {
            other.owner != lock.owner && other.granted.is_some() && excludes(other, wanted)
        });
        let first_in_line = self
            .states
            .iter()
            .find(|state| state.queue != Queue::Granted)
            .is_some_and(|first| first.owner == lock.owner);
        !in_the_way && (first_in_line || lock.flags.contains(LockFlags::NOORDER))
    }

    /// Each granted lock that excludes what another (or only `waiter`) waits for has been asked since
    /// its last grant. Conversions in a deadlock do not count: the rules leave those to their owners.
    fn those_in_the_way_were_asked(&self, waiter: Option<Owner>) {
        let waiters = self.states.iter().filter(|state| {
            state.queue != Queue::Granted && waiter.is_none_or(|waiter| waiter == state.owner)
        });
        for waiter in waiters {
            let wanted = waiter.requested.expect("a queued lock wants a mode");
            if self.is_deadlocked(waiter, wanted) {
                continue;
            }
            for holder in self.states.iter().filter(|state| state.queue == Queue::Granted) {
                let asked = self.told[holder.owner].iter().any(|level| excludes(holder, *level));
                assert!(
                    asked || !excludes(holder, wanted),
                    "{holder:?} was never asked to give way for {waiter:?}"
                );
            }
        }
    }

    /// Whether another conversion and this one each stop the other, or this one stops one before it.
    fn is_deadlocked(&self, lock: &LockState, wanted: Mode) -> bool {
        let line: Vec<&LockState> =
            self.states.iter().filter(|state| state.queue == Queue::Converting).collect();
        let Some(at) = line.iter().position(|other| other.owner == lock.owner) else {
            return false;
        };
        line.iter().enumerate().any(|(index, other)| {
            let stops_other =
                index != at && other.requested.is_some_and(|mode| excludes(lock, mode));
            stops_other && (index < at || excludes(other, wanted))
        })
    }

    fn state(&self, owner: Owner) -> Option<&LockState> {
        self.states.iter().find(|state| state.owner == owner)
    }
}

fn excludes(holder: &LockState, mode: Mode) -> bool {
    holder.granted.is_some_and(|held| !held.is_compatible_with(mode))
}
