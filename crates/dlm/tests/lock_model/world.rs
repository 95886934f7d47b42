//! A test world: one resource, up to eight owners with one lock and one value buffer each, and a
//! record of what they are told.

use stackglue_dlm::{
    Effects, Errno, LVB_LEN_MAX, Lock, LockFlags, LockKey, LockTable, Lvb, Mode, Queue, Request,
    Resource, StatusFlags, check_convert, check_request, check_unlock,
};

/// Who has a lock: at most one each.
pub(crate) type Owner = usize;

pub(crate) const A: Owner = 0;
pub(crate) const B: Owner = 1;
pub(crate) const C: Owner = 2;
pub(crate) const D: Owner = 3;
pub(crate) const OWNERS: usize = 8;

pub(crate) const NONE: LockFlags = LockFlags::empty();

/// One call on the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Request(Owner, Mode, LockFlags),
    Convert(Owner, Mode, LockFlags),
    Unlock(Owner, LockFlags),
    Cancel(Owner),
}

impl Op {
    pub(crate) fn owner(self) -> Owner {
        match self {
            Op::Request(owner, ..) | Op::Convert(owner, ..) => owner,
            Op::Unlock(owner, _) | Op::Cancel(owner) => owner,
        }
    }

    pub(crate) fn flags(self) -> LockFlags {
        match self {
            Op::Request(_, _, flags) | Op::Convert(_, _, flags) | Op::Unlock(_, flags) => flags,
            Op::Cancel(_) => LockFlags::CANCEL,
        }
    }
}

/// One thing that an owner is told. Value blocks here are one byte repeated, known by that byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Granted { owner: Owner, mode: Mode, status: StatusFlags, lvb: Option<u8> },
    Queued { owner: Owner },
    Refused { owner: Owner, errno: Errno },
    Ended { owner: Owner, errno: Errno },
    Blocking { owner: Owner, level: Mode },
}

pub(crate) fn granted(owner: Owner, mode: Mode) -> Event {
    Event::Granted { owner, mode, status: StatusFlags::empty(), lvb: None }
}

pub(crate) fn queued(owner: Owner) -> Event {
    Event::Queued { owner }
}

pub(crate) fn refused(owner: Owner, errno: Errno) -> Event {
    Event::Refused { owner, errno }
}

pub(crate) fn ended(owner: Owner, errno: Errno) -> Event {
    Event::Ended { owner, errno }
}

pub(crate) fn unlocked(owner: Owner) -> Event {
    ended(owner, Errno::EUNLOCK)
}

pub(crate) fn blocking(owner: Owner, level: Mode) -> Event {
    Event::Blocking { owner, level }
}

impl Event {
    /// The grant, with these status flags.
    pub(crate) fn with(self, flags: StatusFlags) -> Event {
        match self {
            Event::Granted { owner, mode, lvb, .. } => {
                Event::Granted { owner, mode, status: flags, lvb }
            }
            other => other,
        }
    }

    /// The grant, with the value block of that byte.
    pub(crate) fn reading(self, byte: u8) -> Event {
        match self {
            Event::Granted { owner, mode, status, .. } => {
                Event::Granted { owner, mode, status, lvb: Some(byte) }
            }
            other => other,
        }
    }
}

/// What can be seen of one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockState {
    pub(crate) owner: Owner,
    pub(crate) queue: Queue,
    pub(crate) granted: Option<Mode>,
    pub(crate) requested: Option<Mode>,
    pub(crate) status: StatusFlags,
    pub(crate) flags: LockFlags,
}

/// What can be seen of the resource's value block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ValueState {
    pub(crate) lvb: Option<u8>,
    pub(crate) valid: bool,
    pub(crate) sequence: u32,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) locks: LockTable<Owner>,
    pub(crate) resource: Resource,
    record: Record,
}

#[derive(Default)]
struct Record {
    /// Of the call made last.
    events: Vec<Event>,
    keys: [Option<LockKey>; OWNERS],
    buffers: [Option<u8>; OWNERS],
}

impl World {
    /// A world in which these locks were requested in order and granted.
    pub(crate) fn holding(locks: &[(Owner, Mode)]) -> World {
        let mut world = World::default();
        for &(owner, mode) in locks {
            assert_eq!(world.request(owner, mode, NONE), [granted(owner, mode)]);
        }
        world
    }

    /// Requests a lock that must wait; whatever else happens is not looked at.
    pub(crate) fn waiting(mut self, owner: Owner, mode: Mode) -> World {
        assert_eq!(self.request(owner, mode, NONE)[0], queued(owner));
        self
    }

    /// Converts a lock that must wait; whatever else happens is not looked at.
    pub(crate) fn converting(mut self, owner: Owner, mode: Mode) -> World {
        assert_eq!(self.convert(owner, mode, NONE)[0], queued(owner));
        self
    }

    /// Everything that the call leads to, in order.
    pub(crate) fn request(&mut self, owner: Owner, mode: Mode, flags: LockFlags) -> Vec<Event> {
        self.run(Op::Request(owner, mode, flags))
    }

    /// Everything that the call leads to, in order.
    pub(crate) fn convert(&mut self, owner: Owner, mode: Mode, flags: LockFlags) -> Vec<Event> {
        self.run(Op::Convert(owner, mode, flags))
    }

    /// Everything that the call leads to, in order.
    pub(crate) fn unlock(&mut self, owner: Owner) -> Vec<Event> {
        self.run(Op::Unlock(owner, NONE))
    }

    /// Everything that the call leads to, in order.
    pub(crate) fn unlock_with(&mut self, owner: Owner, flags: LockFlags) -> Vec<Event> {
        self.run(Op::Unlock(owner, flags))
    }

    /// Everything that the call leads to, in order.
    pub(crate) fn cancel(&mut self, owner: Owner) -> Vec<Event> {
        self.run(Op::Cancel(owner))
    }

    fn run(&mut self, op: Op) -> Vec<Event> {
        assert_eq!(self.apply(op), Ok(()), "{op:?} is a legal call");
        self.record.events.clone()
    }

    /// Checks the arguments and, if they are legal, makes the call.
    ///
    /// An owner's second lock is `EEXIST` and one that is not there `ENOENT`: rules of this world.
    pub(crate) fn apply(&mut self, op: Op) -> Result<(), Errno> {
        let World { locks, resource, record } = self;
        record.events.clear();
        let key = record.keys[op.owner()];
        match op {
            Op::Request(owner, mode, flags) => {
                if key.is_some() {
                    return Err(Errno::EEXIST);
                }
                check_request(mode, flags)?;
                let request = Request { owner, resource: 0, mode, flags };
                resource.request(locks, request, record);
            }
            Op::Convert(_, mode, flags) => {
                let key = key.ok_or(Errno::ENOENT)?;
                check_convert(&locks[key], mode, flags)?;
                resource.convert(locks, key, mode, flags, record);
            }
            Op::Unlock(_, flags) => {
                let key = key.ok_or(Errno::ENOENT)?;
                check_unlock(&locks[key], flags)?;
                resource.unlock(locks, key, flags, record);
            }
            Op::Cancel(_) => {
                let key = key.ok_or(Errno::ENOENT)?;
                check_unlock(&locks[key], LockFlags::CANCEL)?;
                resource.cancel(locks, key, record);
            }
        }
        Ok(())
    }

    /// What the call made last led to.
    pub(crate) fn events(&self) -> &[Event] {
        &self.record.events
    }

    pub(crate) fn key(&self, owner: Owner) -> Option<LockKey> {
        self.record.keys[owner]
    }

    fn lock(&self, owner: Owner) -> Option<&Lock<Owner>> {
        self.locks.get(self.record.keys[owner]?)
    }

    /// The mode that the owner holds.
    pub(crate) fn mode(&self, owner: Owner) -> Option<Mode> {
        self.lock(owner)?.granted()
    }

    /// The queue that the owner's lock is on.
    pub(crate) fn queue(&self, owner: Owner) -> Option<Queue> {
        self.lock(owner)?.queue()
    }

    /// The owners on one queue, front to back.
    pub(crate) fn line(&self, queue: Queue) -> Vec<Owner> {
        let lock_states = self.states();
        lock_states.filter(|state| state.queue == queue).map(|state| state.owner).collect()
    }

    pub(crate) fn buffer(&self, owner: Owner) -> Option<u8> {
        self.record.buffers[owner]
    }

    pub(crate) fn set_buffer(&mut self, owner: Owner, byte: Option<u8>) {
        self.record.buffers[owner] = byte;
    }

    /// Every lock: granted, converting, waiting, each in queue order.
    pub(crate) fn states(&self) -> impl Iterator<Item = LockState> {
        self.resource.locks(&self.locks).map(|(_, lock)| LockState {
            owner: lock.owner,
            queue: lock.queue().expect("a lock of the resource is on a queue"),
            granted: lock.granted(),
            requested: lock.requested(),
            status: lock.status_flags(),
            flags: lock.flags,
        })
    }

    pub(crate) fn value(&self) -> ValueState {
        ValueState {
            lvb: self.resource.lvb(&self.locks).map(byte_of),
            valid: self.resource.lvb_valid(&self.locks),
            sequence: self.resource.lvb_sequence(&self.locks),
        }
    }
}

impl Effects<Owner> for Record {
    fn granted(&mut self, key: LockKey, lock: &Lock<Owner>, lvb: Option<&Lvb>) {
        let owner = lock.owner;
        let lvb = lvb.map(byte_of);
        self.keys[owner] = Some(key);
        self.buffers[owner] = lvb.or(self.buffers[owner]);
        let mode = lock.granted().expect("a granted lock has a mode");
        self.events.push(Event::Granted { owner, mode, status: lock.status_flags(), lvb });
    }

    fn queued(&mut self, key: LockKey, lock: &Lock<Owner>) {
        self.keys[lock.owner] = Some(key);
        self.events.push(Event::Queued { owner: lock.owner });
    }

    fn refused(&mut self, _: LockKey, lock: &Lock<Owner>, errno: Errno) {
        self.events.push(Event::Refused { owner: lock.owner, errno });
    }

    fn ended(&mut self, _: LockKey, lock: &Lock<Owner>, errno: Errno) {
        self.keys[lock.owner] = None;
        self.events.push(Event::Ended { owner: lock.owner, errno });
    }

    fn blocking(&mut self, _: LockKey, lock: &Lock<Owner>, level: Mode) {
        self.events.push(Event::Blocking { owner: lock.owner, level });
    }

    fn value_of(&mut self, lock: &Lock<Owner>) -> Option<Lvb> {
        self.buffers[lock.owner].map(|byte| [byte; LVB_LEN_MAX])
    }
}

fn byte_of(lvb: &Lvb) -> u8 {
    assert!(*lvb == [lvb[0]; LVB_LEN_MAX], "a value block is moved as a whole");
    lvb[0]
}
