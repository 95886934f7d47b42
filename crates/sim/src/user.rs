//! The users of a domain on a node: they lock, convert, unlock, cancel and die, as the plugin lets
//! them (`crates/o2cb/src/plugin.rs`, `driver/group.rs`).

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::ops::Deref;
use std::time::Duration;

use o2cb::o2dlm::LockKey;
use o2cb::o2dlm::message::{LkmFlags, LockMode, LockName};

use crate::cached::{CACHED, Cache};
use crate::checks::{Grave, lvb_of};
use crate::world::{Happens, Phase, World};

/// A lock as its user knows it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) user: usize,
    pub(crate) name: LockName,
    /// What it has; `None` before the first grant.
    pub(crate) mode: Option<LockMode>,
    /// What was asked for and has not completed.
    pub(crate) asked: Option<Asked>,
    pub(crate) cancelling: bool,
    /// The highest mode that it was told it keeps waiting.
    pub(crate) blocks: Option<LockMode>,
    /// Its user is gone: it is dropped as soon as it can be, and nobody is told.
    pub(crate) abandoned: bool,
}

impl Held {
    /// What its user may rely on: what is on its way down or out may be granted to others already.
    pub(crate) fn relies_on(&self) -> LockMode {
        match (self.mode, self.asked) {
            (None, _) | (_, Some(Asked::Unlock { .. })) => LockMode::NL,
            (Some(mode), Some(Asked::Convert { to, .. })) => mode.min(to),
            (Some(mode), _) => mode,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Create { mode: LockMode, reads: bool, noqueue: bool },
    Convert { to: LockMode, put: Option<u64>, reads: bool, noqueue: bool },
    Unlock { put: Option<u64> },
}

/// The locks of a node's users.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    by_key: BTreeMap<LockKey, Held>,
    by_name: BTreeMap<LockName, BTreeSet<LockKey>>,
}

impl Locks {
    pub(crate) fn insert(&mut self, key: LockKey, held: Held) {
        self.by_name.entry(held.name).or_default().insert(key);
        self.by_key.insert(key, held);
    }

    pub(crate) fn remove(&mut self, key: LockKey) {
        let Some(held) = self.by_key.remove(&key) else { return };
        if let btree_map::Entry::Occupied(mut keys) = self.by_name.entry(held.name) {
            keys.get_mut().remove(&key);
            if keys.get().is_empty() {
                keys.remove();
            }
        }
    }

    pub(crate) fn get_mut(&mut self, key: LockKey) -> Option<&mut Held> {
        self.by_key.get_mut(&key)
    }

    /// Those on a resource.
    pub(crate) fn on(&self, name: LockName) -> impl Iterator<Item = (LockKey, &Held)> {
        self.by_name.get(&name).into_iter().flatten().map(|key| (*key, &self.by_key[key]))
    }
}

impl Deref for Locks {
    type Target = BTreeMap<LockKey, Held>;

    fn deref(&self) -> &Self::Target {
        &self.by_key
    }
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) locks: Locks,
    /// Users that are dead, by number: until somebody takes their place.
    dead: BTreeMap<usize, Duration>,
    /// What a program caches, in worlds where one does.
    pub(crate) cache: Option<Cache>,
}

impl World {
    pub(crate) fn start_users(&mut self, index: usize, domain: usize) {
        for user in 0..self.plan.users {
            self.plan_turn(index, domain, user);
        }
        self.start_cache(index, domain);
    }

    pub(crate) fn plan_turn(&mut self, index: usize, domain: usize, user: usize) {
        let wait = self.millis(self.plan.think_ms);
        self.node_after(wait, index, Happens::User { domain, user });
    }

    pub(crate) fn held(&mut self, index: usize, domain: usize, lock: LockKey) -> Option<&mut Held> {
        self.membership(index, domain)?.client.locks.get_mut(lock)
    }

    /// The engine of a domain, and what follows from what is done to it: the note of it first, as
    /// in the plugin.
    fn in_domain<T>(
        &mut self,
        index: usize,
        domain: usize,
        act: impl FnOnce(&mut o2cb::o2dlm::Domain, o2cb::Now) -> T,
    ) -> Option<T> {
        let local = self.local(index);
        let up = self.nodes[index].up.as_mut()?;
        let id = up.domains[domain].id?;
        up.stack.with_domain_quietly(id, |domain| act(domain, local))
    }

    fn after_domain(&mut self, index: usize, domain: usize) {
        let local = self.local(index);
        let Some(up) = &mut self.nodes[index].up else { return };
        if let Some(id) = up.domains[domain].id {
            up.stack.after_domain(local, id);
        }
    }

    pub(crate) fn user_turn(&mut self, index: usize, domain: usize, user: usize) {
        if user >= self.plan.users {
            return self.cached_turn(index, domain, user);
        }
        let now = self.now;
        let works = self.users_work();
        let Some(membership) = self.membership(index, domain) else { return };
        if !membership.joined || membership.leaves || !works {
            return;
        }
        // Who has to stop does nothing any more.
        if self.is_past_deadline(index) {
            return;
        }
        let Some(membership) = self.membership(index, domain) else { return };
        let away = membership.client.dead.get(&user).is_some_and(|until| *until > now);
        if !away {
            self.act(index, domain, user);
        }
        self.plan_turn(index, domain, user);
    }

    fn act(&mut self, index: usize, domain: usize, user: usize) {
        let habits = self.plan.habits;
        let Some(membership) = self.membership(index, domain) else { return };
        let locks = membership.client.locks.iter().filter(|(_, held)| held.user == user);
        let keys: Vec<LockKey> =
            locks.filter(|(_, held)| !held.abandoned).map(|(key, _)| *key).collect();
        let new = keys.is_empty() || (keys.len() < habits.locks_max && self.rng.chance(30));
        if new {
            return self.lock(index, domain, user);
        }
        let key = self.rng.pick(&keys);
        let Some(held) = self.held(index, domain, key) else { return };
        match held.asked {
            Some(Asked::Unlock { .. }) => {}
            Some(_) if held.cancelling => {}
            Some(_) => {
                if self.rng.chance(habits.cancels) {
                    self.cancel(index, domain, key);
                }
            }
            None if held.cancelling => {}
            None => {
                let blocks = held.blocks.is_some();
                if self.rng.chance(if blocks { 70 } else { habits.unlocks }) {
                    self.unlock(index, domain, key);
                } else {
                    let to = self.mode();
                    self.convert(index, domain, key, to);
                }
            }
        }
    }

    fn mode(&mut self) -> LockMode {
        if self.rng.chance(self.plan.habits.exclusive) {
            LockMode::EX
        } else {
            self.rng.pick(&[LockMode::NL, LockMode::PR, LockMode::PR])
        }
    }

    fn lock(&mut self, index: usize, domain: usize, user: usize) {
        let habits = self.plan.habits;
        let mode = self.mode();
        let mut flags = LkmFlags::empty();
        flags.set(LkmFlags::NOQUEUE, self.rng.chance(habits.noqueue));
        flags.set(LkmFlags::VALBLK, self.rng.chance(habits.value_block));
        let name = if self.rng.chance(3) {
            // A name that nobody else can know yet.
            flags |= LkmFlags::LOCAL;
            self.fresh += 1;
            format!("fresh {}", self.fresh)
        } else {
            match self.rng.below(self.plan.names + u64::from(self.fresh > 0)) {
                at if at == self.plan.names => format!("fresh {}", self.fresh),
                at => format!("name {at}"),
            }
        };
        let name = LockName::new(name.as_bytes()).expect("a name");
        self.lock_as(index, domain, user, name, mode, flags);
    }

    /// A lock on a name of the first domain, and nothing besides.
    pub(crate) fn lock_name(&mut self, index: usize, name: &str, mode: LockMode) {
        let name = LockName::new(name.as_bytes()).expect("a name");
        self.lock_as(index, 0, 0, name, mode, LkmFlags::empty());
        self.settle(index);
    }

    pub(crate) fn lock_as(
        &mut self,
        index: usize,
        domain: usize,
        user: usize,
        name: LockName,
        mode: LockMode,
        flags: LkmFlags,
    ) -> Option<LockKey> {
        let asked =
            self.in_domain(index, domain, |domain, now| domain.lock(now, name, mode, flags));
        let me = self.nodes[index].id;
        match asked {
            Some(Ok(key)) => {
                let reads = flags.contains(LkmFlags::VALBLK) && mode > LockMode::NL;
                let noqueue = flags.contains(LkmFlags::NOQUEUE);
                let held = Held {
                    user,
                    name,
                    mode: None,
                    asked: Some(Asked::Create { mode, reads, noqueue }),
                    cancelling: false,
                    blocks: None,
                    abandoned: false,
                };
                self.coverage.count("lock");
                self.note(|| {
                    format!("n{me} d{domain}.u{user} lock {name} {mode:?} {flags:?} {key:?}")
                });
                if let Some(membership) = self.membership(index, domain) {
                    membership.client.locks.insert(key, held);
                }
                self.after_domain(index, domain);
                Some(key)
            }
            refused => {
                self.fail("I3 accepted", format!("n{me} is refused a lock: {refused:?}"));
                None
            }
        }
    }

    fn convert(&mut self, index: usize, domain: usize, key: LockKey, to: LockMode) {
        let habits = self.plan.habits;
        let mut flags = LkmFlags::empty();
        flags.set(LkmFlags::NOQUEUE, self.rng.chance(habits.noqueue));
        flags.set(LkmFlags::VALBLK, self.rng.chance(habits.value_block));
        let Some(held) = self.held(index, domain, key) else { return };
        let (name, mode) = (held.name, held.mode);
        let writes = flags.contains(LkmFlags::VALBLK) && mode == Some(LockMode::EX);
        let put = writes.then(|| self.new_value((domain, name)));
        self.convert_as(index, domain, key, to, flags, put, &lvb_of(put.unwrap_or(0)));
    }

    #[expect(clippy::too_many_arguments, reason = "what a conversion is made of")]
    pub(crate) fn convert_as(
        &mut self,
        index: usize,
        domain: usize,
        key: LockKey,
        to: LockMode,
        flags: LkmFlags,
        put: Option<u64>,
        lvb: &[u8; 64],
    ) {
        let Some(held) = self.held(index, domain, key) else { return };
        let (name, user, mode) = (held.name, held.user, held.mode);
        let valblk = flags.contains(LkmFlags::VALBLK);
        let reads = valblk && mode != Some(LockMode::EX) && to > LockMode::NL;
        let noqueue = flags.contains(LkmFlags::NOQUEUE);
        if let Some(held) = self.held(index, domain, key) {
            held.asked = Some(Asked::Convert { to, put, reads, noqueue });
        }
        self.check_value_kept(domain, name);
        self.coverage.count(match mode {
            Some(mode) if mode > to => "convert down",
            Some(mode) if mode == to => "convert to the same",
            _ => "convert up",
        });
        let me = self.nodes[index].id;
        self.note(|| {
            format!(
                "n{me} d{domain}.u{user} convert {name} to {to:?} {flags:?} put {put:?} {key:?}"
            )
        });
        let asked =
            self.in_domain(index, domain, |domain, now| domain.convert(now, key, to, flags, lvb));
        self.accepted(index, domain, "convert", asked);
    }

    pub(crate) fn unlock(&mut self, index: usize, domain: usize, key: LockKey) {
        let valblk = self.rng.chance(self.plan.habits.value_block);
        let Some(held) = self.held(index, domain, key) else { return };
        let (name, mode) = (held.name, held.mode);
        let put = (valblk && mode == Some(LockMode::EX)).then(|| self.new_value((domain, name)));
        self.unlock_as(index, domain, key, put, put.map(lvb_of).as_ref());
    }

    pub(crate) fn unlock_as(
        &mut self,
        index: usize,
        domain: usize,
        key: LockKey,
        put: Option<u64>,
        lvb: Option<&[u8; 64]>,
    ) {
        let Some(held) = self.held(index, domain, key) else { return };
        let (name, user) = (held.name, held.user);
        self.give_up(index, domain, key, put);
        let me = self.nodes[index].id;
        self.note(|| format!("n{me} d{domain}.u{user} unlock {name} put {put:?} {key:?}"));
        self.coverage.count("unlock");
        let asked = self.in_domain(index, domain, |domain, now| domain.unlock(now, key, lvb));
        self.accepted(index, domain, "unlock", asked);
    }

    fn give_up(&mut self, index: usize, domain: usize, key: LockKey, put: Option<u64>) {
        if let Some(held) = self.held(index, domain, key) {
            held.asked = Some(Asked::Unlock { put });
            let name = held.name;
            self.check_value_kept(domain, name);
        }
    }

    pub(crate) fn cancel(&mut self, index: usize, domain: usize, key: LockKey) {
        let Some(held) = self.held(index, domain, key) else { return };
        held.cancelling = true;
        let (name, user) = (held.name, held.user);
        let me = self.nodes[index].id;
        self.note(|| format!("n{me} d{domain}.u{user} cancel {name} {key:?}"));
        self.coverage.count("cancel");
        let asked = self.in_domain(index, domain, |domain, now| domain.cancel(now, key));
        self.accepted(index, domain, "cancel", asked);
    }

    fn accepted<E: std::fmt::Debug>(
        &mut self,
        index: usize,
        domain: usize,
        what: &str,
        asked: Option<Result<(), E>>,
    ) {
        if !matches!(asked, Some(Ok(()))) {
            let me = self.nodes[index].id;
            self.fail("I3 accepted", format!("n{me} is refused a {what}: {asked:?}"));
        }
        self.after_domain(index, domain);
    }

    /// A user lets go of a lock that keeps others waiting: of all of it, or of so much that they can
    /// have what they want. What it waits for itself it takes back first.
    pub(crate) fn heed(&mut self, index: usize, domain: usize, key: LockKey) {
        let phase = self.phase;
        let Some(held) = self.held(index, domain, key) else { return };
        // A cache heeds by itself.
        let Some(wanted) = held.blocks.filter(|_| held.user != CACHED) else { return };
        match held.asked {
            None if !held.cancelling => {
                let keeps = match wanted {
                    LockMode::PR => LockMode::PR,
                    _ => LockMode::NL,
                };
                if phase == Phase::Safety && held.mode > Some(keeps) && self.rng.chance(60) {
                    self.convert(index, domain, key, keeps);
                } else {
                    self.unlock(index, domain, key);
                }
            }
            Some(Asked::Convert { .. }) if !held.cancelling => {
                self.cancel(index, domain, key);
                self.heed_later(index, domain, key);
            }
            Some(Asked::Unlock { .. }) => {}
            _ => self.heed_later(index, domain, key),
        }
    }

    pub(crate) fn heed_later(&mut self, index: usize, domain: usize, lock: LockKey) {
        let wait = self.millis((0, 20));
        self.node_after(wait, index, Happens::Heed { domain, lock });
    }

    /// Users give up what others want.
    pub(crate) fn heed_all(&mut self, index: usize) {
        for domain in 0..self.plan.domains {
            let Some(membership) = self.membership(index, domain) else { continue };
            let locks = membership.client.locks.iter();
            let wanted: Vec<LockKey> =
                locks.filter(|(_, held)| held.blocks.is_some()).map(|(key, _)| *key).collect();
            for key in wanted {
                self.heed_later(index, domain, key);
            }
        }
    }

    /// A user's process is killed: what it has is dropped, and nobody is told (`plugin.rs: abandon`).
    pub(crate) fn user_dies(&mut self, index: usize) {
        let user = self.rng.below(self.plan.users as u64) as usize;
        let until = self.now + self.millis((10, 3000));
        // While nothing runs nobody notices.
        if self.nodes[index].pauses > 0 {
            return;
        }
        for domain in 0..self.plan.domains {
            let Some(membership) = self.membership(index, domain) else { return };
            membership.client.dead.insert(user, until);
            let theirs = membership.client.locks.iter().filter(|(_, held)| held.user == user);
            let keys: Vec<LockKey> = theirs.map(|(key, _)| *key).collect();
            for key in keys {
                self.abandon(index, domain, key);
            }
        }
        if self.plan.cached.is_some() && self.rng.chance(50) {
            self.end_cache(index, 0);
        }
        let me = self.nodes[index].id;
        self.note(|| format!("n{me} u{user} is killed"));
    }

    pub(crate) fn abandon(&mut self, index: usize, domain: usize, key: LockKey) {
        let Some(held) = self.held(index, domain, key) else { return };
        if std::mem::replace(&mut held.abandoned, true) {
            return;
        }
        match held.asked {
            None if !held.cancelling => self.drop_abandoned(index, domain, key),
            Some(Asked::Unlock { .. }) | None => {}
            Some(_) if held.cancelling => {}
            Some(_) => self.cancel(index, domain, key),
        }
    }

    /// What an abandoned lock may have been in the middle of writing is lost.
    pub(crate) fn drop_abandoned(&mut self, index: usize, domain: usize, key: LockKey) {
        let Some(held) = self.held(index, domain, key) else { return };
        let (name, mode) = (held.name, held.mode);
        if mode == Some(LockMode::EX) {
            self.registers.entry((domain, name)).or_default().lost();
        }
        self.give_up(index, domain, key, None);
        self.coverage.count("abandoned lock dropped");
        let asked =
            self.in_domain(index, domain, |domain, now| domain.unlock(now, key, Some(&[0; 64])));
        self.accepted(index, domain, "unlock", asked);
    }

    /// The users of a domain give up all that they have: it is about to be left.
    pub(crate) fn begin_to_leave(&mut self, index: usize, domain: usize) {
        self.end_cache(index, domain);
        let Some(membership) = self.membership(index, domain) else { return };
        membership.leaves = true;
        let keys: Vec<LockKey> = membership.client.locks.keys().copied().collect();
        let me = self.nodes[index].id;
        self.note(|| format!("n{me} * is about to leave d{domain}"));
        for key in keys {
            self.abandon(index, domain, key);
        }
    }

    /// Gives up everything that can be given up now; whether there was anything.
    pub(crate) fn give_up_all(&mut self, index: usize) -> bool {
        let mut any = false;
        for domain in 0..self.plan.domains {
            self.end_cache(index, domain);
            let Some(membership) = self.membership(index, domain) else { continue };
            let locks = membership.client.locks.iter();
            let free: Vec<(LockKey, bool)> =
                locks.map(|(key, held)| (*key, held.asked.is_none() && !held.cancelling)).collect();
            any |= !free.is_empty();
            for (key, free) in free {
                if free {
                    self.unlock(index, domain, key);
                }
            }
        }
        self.settle(index);
        any
    }

    /// What a node that stops leaves behind.
    pub(crate) fn bury(&mut self, index: usize) {
        let dead = self.nodes[index].id;
        let Some(up) = &self.nodes[index].up else { return };
        let members: Vec<Vec<(LockName, LockMode, bool)>> = up
            .domains
            .iter()
            .map(|domain| {
                let locks = domain.client.locks.values();
                locks
                    .map(|held| {
                        (
                            held.name,
                            held.relies_on(),
                            held.asked.is_none() && held.mode == Some(LockMode::EX),
                        )
                    })
                    .collect()
            })
            .collect();
        for (domain, locks) in members.into_iter().enumerate() {
            for (name, _, writes) in &locks {
                if *writes && !self.nodes[index].missed {
                    // Nobody knows what it wrote.
                    self.registers.entry((domain, *name)).or_default().lost();
                }
            }
            let held = locks.iter().map(|(name, mode, _)| (*name, *mode)).collect();
            let untold = self.members_that_know(domain, dead);
            self.graves.push(Grave { dead, domain, held, untold });
        }
        self.registers.values_mut().for_each(crate::checks::Register::shaken);
    }
}
