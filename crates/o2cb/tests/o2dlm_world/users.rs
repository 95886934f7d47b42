//! The users of the nodes: they lock, convert, unlock and cancel at random.

use stackglue_o2cb::NodeId;
use stackglue_o2cb::o2dlm::message::{LkmFlags, LockMode, LockName, Status};
use stackglue_o2cb::o2dlm::{DomainState, Event, LockKey};

use crate::client::{Asked, Held, lvb_of, value_of};
use crate::world::World;

impl World {
    /// Nodes whose users work.
    fn at_work(&self) -> Vec<NodeId> {
        let works = |id: &NodeId| {
            let node = &self.nodes[id];
            node.alive && !node.leaving && node.domain.state() == DomainState::Joined
        };
        self.nodes.keys().copied().filter(works).collect()
    }

    pub(crate) fn operate(&mut self) {
        let now = self.now;
        let ready = self.at_work();
        if ready.is_empty() {
            return;
        }
        let id = ready[self.rng.below(ready.len() as u64) as usize];
        let modes = [LockMode::NL, LockMode::PR, LockMode::EX];
        let mode = modes[self.rng.below(3) as usize];
        let mut flags = LkmFlags::empty();
        flags.set(LkmFlags::NOQUEUE, self.rng.chance(20));
        flags.set(LkmFlags::VALBLK, self.rng.chance(60));
        let keys: Vec<LockKey> = self.nodes[&id].client.locks.keys().copied().collect();
        if keys.is_empty() || (keys.len() < 4 && self.rng.chance(30)) {
            let name = if self.rng.chance(3) {
                // A name that nobody else can know yet.
                flags |= LkmFlags::LOCAL;
                self.fresh += 1;
                LockName::new(format!("fresh {}", self.fresh).as_bytes()).expect("a name")
            } else {
                let below = self.plan.names + u64::from(self.fresh > 0);
                let name = match self.rng.below(below) {
                    at if at == self.plan.names => format!("fresh {}", self.fresh),
                    at => format!("name {at}"),
                };
                LockName::new(name.as_bytes()).expect("a name")
            };
            let node = self.nodes.get_mut(&id).expect("it is there");
            let key = node.domain.lock(now, name, mode, flags).expect("accepted");
            let reads = flags.contains(LkmFlags::VALBLK) && mode > LockMode::NL;
            let asked = Some(Asked::Create { mode, reads });
            let held = Held { name, mode: None, asked, cancelling: false, blocks: None };
            node.client.locks.insert(key, held);
            self.note(|| format!("n{id} lock {key:?} {name} {mode:?} {flags:?}"));
        } else {
            let key = keys[self.rng.below(keys.len() as u64) as usize];
            self.use_lock(id, key, mode, flags);
        }
        self.drain(id);
    }

    fn use_lock(&mut self, id: NodeId, key: LockKey, mode: LockMode, flags: LkmFlags) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("it is there");
        let held = node.client.locks.get_mut(&key).expect("it is there");
        let name = held.name;
        match held.asked {
            Some(Asked::Unlock { .. }) => {}
            Some(_) if held.cancelling => {}
            Some(_) => {
                held.cancelling = true;
                self.note(|| format!("n{id} cancel {key:?}"));
                let node = self.nodes.get_mut(&id).expect("it is there");
                node.domain.cancel(now, key).expect("accepted");
            }
            None => {
                let register = self.registers.entry(name).or_default();
                let valblk = flags.contains(LkmFlags::VALBLK);
                let put = (valblk && held.mode == Some(LockMode::EX)).then(|| register.write());
                let lvb = lvb_of(put.unwrap_or(0));
                let unlock = self.rng.chance(if held.blocks.is_some() { 70 } else { 40 });
                if unlock {
                    held.asked = Some(Asked::Unlock { put });
                    node.domain.unlock(now, key, put.map(|_| &lvb)).expect("accepted");
                } else {
                    let reads = valblk && put.is_none() && mode > LockMode::NL;
                    held.asked = Some(Asked::Convert { to: mode, put, reads });
                    node.domain.convert(now, key, mode, flags, &lvb).expect("accepted");
                }
                self.note(|| format!("n{id} {key:?} {name} unlock {unlock} {mode:?} put {put:?}"));
            }
        }
    }

    pub(crate) fn observe(&mut self, id: NodeId, event: Event) {
        match event {
            Event::Granted { lock, mode, lvb } => self.granted(id, lock, mode, lvb.as_deref()),
            Event::Refused { lock, status, gone } => self.refused(id, lock, status, gone),
            Event::Unlocked { lock, status, gone } => self.unlocked(id, lock, status, gone),
            Event::Blocked { lock, level } => self.blocked(id, lock, level),
            Event::NodeDown(dead) => {
                self.frames.died(id, dead);
                for grave in self.graves.iter_mut().filter(|grave| grave.dead == dead) {
                    grave.untold.remove(id);
                }
            }
            Event::JoinFailed(error) => self.fail(&format!("node {id}: {error}")),
            Event::Left => {
                for grave in &mut self.graves {
                    grave.untold.remove(id);
                }
                if self.rng.chance(self.plan.rejoin) {
                    let wait = self.plan.rejoin_after + self.rng.below(2000);
                    self.start_anew_after(wait, id);
                }
            }
            Event::Joined { .. } => {}
        }
    }

    fn granted(&mut self, id: NodeId, lock: LockKey, mode: LockMode, lvb: Option<&[u8; 64]>) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        let Some(held) = node.client.locks.get_mut(&lock) else {
            self.fail("a grant for a lock that nobody has");
        };
        let name = held.name;
        let asked = held.asked.take();
        if held.mode != Some(mode) {
            held.blocks = None;
        }
        held.mode = Some(mode);
        let reads = match asked {
            Some(Asked::Create { mode: wanted, reads }) if wanted == mode => reads,
            Some(Asked::Convert { to, put, reads }) if to == mode => {
                if let Some(put) = put {
                    self.registers.entry(name).or_default().seen(put);
                }
                reads
            }
            asked => self.fail(&format!("granted {mode:?}, asked for {asked:?}")),
        };
        if reads != lvb.is_some() {
            self.fail(&format!("reads {reads}, and a value came: {}", lvb.is_some()));
        }
        if let Some(lvb) = lvb {
            self.read(name, value_of(lvb));
        }
        self.check_dead_holders(id, &name, mode);
    }

    fn read(&mut self, name: LockName, value: u64) {
        // A value goes with the last reference to its resource, and with its holders.
        let register = self.registers.entry(name).or_default();
        if register.may_be(value) {
            register.seen(value);
        } else if value == 0 {
            register.lost();
        } else {
            let register = register.clone();
            self.fail(&format!("read {value} of {name}, could be {register:?}"));
        }
    }

    fn refused(&mut self, id: NodeId, lock: LockKey, status: Status, gone: bool) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        if gone {
            if node.client.locks.remove(&lock).is_none() {
                self.fail("a refusal for a lock that nobody has");
            }
        } else {
            let held = node.client.locks.get_mut(&lock).expect("it is there");
            held.asked = None;
            held.cancelling = false;
        }
        if status != Status::NotQueued {
            self.fail(&format!("refused with {status:?}"));
        }
    }

    fn unlocked(&mut self, id: NodeId, lock: LockKey, status: Status, gone: bool) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        let Some(held) = node.client.locks.get_mut(&lock) else {
            self.fail("an unlock for a lock that nobody has");
        };
        match (status, held.asked) {
            (Status::Normal, Some(Asked::Unlock { put })) if gone => {
                let name = held.name;
                node.client.locks.remove(&lock);
                if let Some(put) = put {
                    self.registers.entry(name).or_default().seen(put);
                }
            }
            (Status::Normal, Some(Asked::Create { .. })) if gone && held.cancelling => {
                node.client.locks.remove(&lock);
            }
            (Status::Normal, Some(Asked::Convert { .. })) if !gone && held.cancelling => {
                held.asked = None;
                held.cancelling = false;
            }
            (Status::CancelGrant, _) if !gone && held.cancelling => held.cancelling = false,
            (status, asked) => {
                self.fail(&format!("unlocked with {status:?}, gone {gone}, asked {asked:?}"));
            }
        }
    }

    fn blocked(&mut self, id: NodeId, lock: LockKey, level: LockMode) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        let Some(held) = node.client.locks.get_mut(&lock) else {
            self.fail("a notice for a lock that nobody has");
        };
        // Behaviour I4.
        let Some(mode) = held.mode else { self.fail("a notice before the first grant") };
        if mode.compatible(level) {
            self.fail(&format!("a lock in {mode:?} is told that it keeps {level:?} waiting"));
        }
        held.blocks = held.blocks.max(Some(level));
    }

    pub(crate) fn leave(&mut self) {
        let ready = self.at_work();
        if ready.len() < 2 {
            return;
        }
        let id = ready[self.rng.below(ready.len() as u64) as usize];
        self.nodes.get_mut(&id).expect("it is there").leaving = true;
        self.note(|| format!("n{id} is about to leave"));
        self.drop_locks(id);
    }

    /// Unlocks what can be unlocked, cancels what waits, and leaves when nothing is left.
    pub(crate) fn drop_locks(&mut self, id: NodeId) {
        let now = self.now;
        if !self.nodes[&id].alive || !self.nodes[&id].leaving {
            return;
        }
        self.give_up_locks(id, true);
        let node = self.nodes.get_mut(&id).expect("it is there");
        if !node.client.locks.is_empty() {
            let life = node.life;
            self.drop_locks_after(20, id, life);
        } else if node.domain.state() == DomainState::Joined {
            node.domain.leave(now);
            self.drain(id);
        }
    }

    /// Unlocks what is granted and cancels what waits; whether there was anything left.
    pub(crate) fn give_up_locks(&mut self, id: NodeId, cancel: bool) -> bool {
        let now = self.now;
        let keys: Vec<LockKey> = self.nodes[&id].client.locks.keys().copied().collect();
        let any = !keys.is_empty();
        for key in keys {
            let node = self.nodes.get_mut(&id).expect("it is there");
            let Some(held) = node.client.locks.get_mut(&key) else { continue };
            match held.asked {
                None if !held.cancelling => {
                    held.asked = Some(Asked::Unlock { put: None });
                    node.domain.unlock(now, key, None).expect("accepted");
                }
                None | Some(Asked::Unlock { .. }) => {}
                Some(_) if held.cancelling || !cancel => {}
                Some(_) => {
                    held.cancelling = true;
                    node.domain.cancel(now, key).expect("accepted");
                }
            }
            self.drain(id);
        }
        any
    }
}
