//! Cached locks (`crates/dlmglue`) over the domains: the code that ships, from the future that a program
//! awaits down to the status block. In place of the driver's mutex there is a queue of what was asked.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use dlm::{Errno, LockFlags, Mode, NodeNumber, ResourceName, StatusFlags};
use dlmglue::{Cluster, ClusterOptions, ClusterRwLock, ErrorKind, Level};
use o2cb::o2dlm::message::{LkmFlags, LockMode, LockName, Status};
use o2cb::o2dlm::{Event, LockKey};
use o2cb::{mode_of, o2dlm_flags, o2dlm_mode};
use parking_lot::Mutex;
use stackglue::{
    Abandoned, Callback, ConnectRefused, ConnectRequest, Glue, Lksb, LockingProtocol, Plugin,
    ProtocolVersion, ResourceView, StackConnection,
};

use crate::user::Asked;
use crate::world::World;

/// The user of the locks that a cache has.
pub(crate) const CACHED: usize = usize::MAX;

/// The domain whose names are cached too.
const DOMAIN: usize = 0;

/// The world begins then, in seconds since 1970.
const WALL: u64 = 1_800_000_000;

/// The locks that the programs of a node cache.
pub(crate) struct Cache {
    sessions: Vec<Option<Session>>,
    cluster: Cluster,
    membership: dlmglue::Membership,
    protocol: Arc<dyn LockingProtocol>,
    asks: Asks,
    /// Microseconds of the world.
    clock: Arc<AtomicU64>,
    locks: Vec<(LockKey, Lksb)>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("locks", &self.locks).finish_non_exhaustive()
    }
}

impl Drop for Cache {
    /// A process that ends gives nothing back: the daemon does, or nobody.
    fn drop(&mut self) {
        self.membership.lose("the process is gone");
        self.sessions.clear();
        for (_, block) in &self.locks {
            block.silence();
        }
    }
}

/// A user of a cached lock: it waits for it, has it, and gives it up.
struct Session {
    future: Pin<Box<dyn Future<Output = ()>>>,
    share: Arc<Mutex<Share>>,
    woken: Arc<Woken>,
    name: LockName,
    level: Level,
    has: bool,
}

/// What passes between a session and the world.
#[derive(Default)]
struct Share {
    has: Option<Has>,
    told: Option<Told>,
    failed: Option<ErrorKind>,
}

/// What a user has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Has {
    pub(crate) level: Level,
    /// Of a writer.
    pub(crate) token: u64,
    pub(crate) value: u64,
}

/// What a user is to do with what it has: write, and give up all of it or EX.
#[derive(Clone, Copy, Debug)]
struct Told {
    write: Option<u64>,
    downgrade: bool,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn session(value: ClusterRwLock<u64>, level: Level, share: Arc<Mutex<Share>>) {
    let ended = use_value(&value, level, &share).await;
    let mut share = share.lock();
    share.has = None;
    share.failed = ended.err().map(|error| error.kind().clone());
}

async fn use_value(
    value: &ClusterRwLock<u64>,
    level: Level,
    share: &Mutex<Share>,
) -> Result<(), dlmglue::Error> {
    let told = || poll_fn(|_| share.lock().told.take().map_or(Poll::Pending, Poll::Ready));
    if level == Level::PR {
        let guard = value.read_async().await?;
        share.lock().has = Some(Has { level, token: 0, value: *guard });
        told().await;
        return Ok(());
    }
    let mut guard = value.write_async().await?;
    share.lock().has = Some(Has { level, token: guard.token(), value: *guard });
    let what = told().await;
    if let Some(number) = what.write {
        *guard = number;
    }
    if what.downgrade {
        let guard = guard.downgrade();
        share.lock().has = Some(Has { level: Level::PR, token: 0, value: *guard });
        told().await;
    }
    Ok(())
}

type Asks = Arc<Mutex<VecDeque<(Lksb, Ask)>>>;

/// What a cache asks of its domain.
#[derive(Debug)]
enum Ask {
    Lock { name: LockName, mode: LockMode, flags: LkmFlags },
    Convert { mode: LockMode, flags: LkmFlags, value: [u8; 64] },
    Unlock { value: Option<[u8; 64]> },
    Cancel,
}

/// The stack of a cache: everything is put off until the world has its hands free.
#[derive(Clone)]
struct Wire {
    node: NodeNumber,
    asks: Asks,
    protocol: Arc<OnceLock<Arc<dyn LockingProtocol>>>,
}

impl Plugin for Wire {
    fn name(&self) -> &'static str {
        "o2cb"
    }

    fn connect(
        &self,
        request: ConnectRequest<'_>,
    ) -> Result<Box<dyn StackConnection>, ConnectRefused> {
        let _ = self.protocol.set(request.protocol);
        Ok(Box::new(self.clone()))
    }
}

impl StackConnection for Wire {
    fn version(&self) -> ProtocolVersion {
        ProtocolVersion { major: 1, minor: 0 }
    }

    fn this_node(&self) -> Result<NodeNumber, Errno> {
        Ok(self.node)
    }

    fn lock(
        &self,
        mode: Mode,
        lksb: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno> {
        let (mode, wire) = (o2dlm_mode(mode)?, o2dlm_flags(flags)?);
        let ask = if flags.contains(LockFlags::CONVERT) {
            Ask::Convert { mode, flags: wire, value: lksb.lvb() }
        } else if lksb.claim() {
            let name = LockName::new(name.as_bytes()).ok_or(Errno::EINVAL)?;
            Ask::Lock { name, mode, flags: wire }
        } else {
            return Err(Errno::EBUSY);
        };
        self.asks.lock().push_back((lksb.clone(), ask));
        Ok(())
    }

    fn unlock(&self, lksb: &Lksb, flags: LockFlags) -> Result<(), Errno> {
        let ask = if flags.contains(LockFlags::CANCEL) {
            Ask::Cancel
        } else {
            Ask::Unlock { value: flags.contains(LockFlags::VALBLK).then(|| lksb.lvb()) }
        };
        self.asks.lock().push_back((lksb.clone(), ask));
        Ok(())
    }

    fn abandon(&self, _: &Lksb) -> Result<Abandoned, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn visit_resources(&self, _: &mut dyn FnMut(ResourceView<'_>)) {}

    fn dump_lksb(&self, lksb: &Lksb) -> String {
        format!("{lksb:?}")
    }

    fn disconnect(&self) -> Result<(), Errno> {
        Ok(())
    }
}

impl World {
    /// A program that caches locks starts on a node, in a world that has such.
    pub(crate) fn start_cache(&mut self, index: usize, domain: usize) {
        let Some(plan) = self.plan.cached.filter(|_| domain == DOMAIN && self.users_work()) else {
            return;
        };
        let clock = Arc::new(AtomicU64::new(self.now.as_micros() as u64));
        let node = NodeNumber(self.nodes[index].id.get().into());
        let wire = Wire { node, asks: Asks::default(), protocol: Arc::default() };
        let membership = dlmglue::Membership::new();
        let glue = Glue::new();
        let told = Arc::clone(&clock);
        let connected = glue.register(Arc::new(wire.clone())).map_err(|error| error.to_string());
        let connected = connected.and_then(|()| {
            ClusterOptions::new("cached")
                .membership(&membership)
                .clock(move || {
                    let now = Duration::from_micros(told.load(Ordering::Relaxed));
                    SystemTime::UNIX_EPOCH + Duration::from_secs(WALL) + now
                })
                .connect(&glue)
                .map_err(|error| error.to_string())
        });
        let (cluster, protocol) = match (connected, wire.protocol.get()) {
            (Ok(cluster), Some(protocol)) => (cluster, Arc::clone(protocol)),
            (failed, _) => return self.fail("harness", format!("no cache: {failed:?}")),
        };
        let sessions = (0..plan.users).map(|_| None).collect();
        let asks = wire.asks;
        let cache =
            Cache { sessions, cluster, membership, protocol, asks, clock, locks: Vec::new() };
        if let Some(membership) = self.membership(index, domain) {
            membership.client.cache = Some(cache);
        }
        for user in 0..plan.users {
            self.plan_turn(index, domain, self.plan.users + user);
        }
    }

    fn cache(&mut self, index: usize, domain: usize) -> Option<&mut Cache> {
        self.membership(index, domain)?.client.cache.as_mut()
    }

    /// The program ends, by itself or not: its locks are dropped, and nobody is told.
    pub(crate) fn end_cache(&mut self, index: usize, domain: usize) {
        let Some(membership) = self.membership(index, domain) else { return };
        let Some(cache) = membership.client.cache.take() else { return };
        let keys: Vec<LockKey> = cache.locks.iter().map(|(key, _)| *key).collect();
        drop(cache);
        let me = self.nodes[index].id;
        self.note(|| format!("n{me} d{domain} its cache ends"));
        for key in keys {
            self.abandon(index, domain, key);
        }
    }

    /// What the programs of a node still do with cached locks.
    pub(crate) fn cached_user(&self, index: usize) -> Option<String> {
        let up = self.nodes[index].up.as_ref()?;
        let cache = up.domains.get(DOMAIN)?.client.cache.as_ref()?;
        let session = cache.sessions.iter().flatten().next()?;
        let does = if session.has { "has" } else { "waits for" };
        Some(format!(
            "a cached user of n{} {does} {} {}",
            up.stack.me(),
            session.name,
            session.level
        ))
    }

    pub(crate) fn cached_turn(&mut self, index: usize, domain: usize, user: usize) {
        let works = self.users_work();
        let Some(membership) = self.membership(index, domain) else { return };
        if !membership.joined || membership.leaves || self.is_past_deadline(index) {
            return;
        }
        let at = user - self.plan.users;
        let Some(cache) = self.cache(index, domain) else {
            // Killed: somebody starts it again, and with it the turns of all.
            return if at == 0 {
                self.start_cache(index, domain)
            };
        };
        let busy = cache.sessions[at].as_ref().map(|session| session.has);
        // Who may have been replaced does not write what may count or not.
        if !self.may_be_replaced(index) {
            match busy {
                None if works => self.begin_session(index, domain, at),
                Some(false) if works && self.rng.chance(self.plan.habits.cancels / 4) => {
                    self.coverage.count("cached: waited in vain");
                    self.end_session(index, domain, at);
                }
                Some(true) if !works || self.rng.chance(70) => {
                    self.give_up_cached(index, domain, at)
                }
                _ => {}
            }
            if works && self.rng.chance(2) {
                self.release_unused(index, domain);
            }
        }
        if works || busy.is_some() {
            self.plan_turn(index, domain, user);
        }
    }

    fn begin_session(&mut self, index: usize, domain: usize, at: usize) {
        let Some(plan) = self.plan.cached else { return };
        let number = self.rng.below(plan.names);
        let exclusive = self.rng.chance(self.plan.habits.exclusive);
        let level = if exclusive { Level::EX } else { Level::PR };
        let name = format!("cached {number}");
        let me = self.nodes[index].id;
        let Some(cache) = self.cache(index, domain) else { return };
        let value = match cache.cluster.value::<u64>(&name, 0) {
            Ok(value) => value,
            Err(error) => return self.fail("harness", error.to_string()),
        };
        let share = Arc::<Mutex<Share>>::default();
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let future = Box::pin(session(value, level, Arc::clone(&share)));
        let name = LockName::new(name.as_bytes()).expect("a name");
        let session = Session { future, share, woken, name, level, has: false };
        cache.sessions[at] = Some(session);
        self.coverage.count("cached: user");
        self.note(|| format!("n{me} d{domain}.c{at} wants {name} {level}"));
    }

    fn give_up_cached(&mut self, index: usize, domain: usize, at: usize) {
        let me = self.nodes[index].id;
        let (write, downgrade) = (self.rng.chance(70), self.rng.chance(20));
        let number = self.cached_values + 1;
        let Some(cache) = self.cache(index, domain) else { return };
        let Some(session) = &mut cache.sessions[at] else { return };
        let name = session.name;
        let exclusive = session.share.lock().has.is_some_and(|has| has.level == Level::EX);
        let write = (exclusive && write).then_some(number);
        session.share.lock().told = Some(Told { write, downgrade });
        session.woken.0.store(true, Ordering::Relaxed);
        // The reader that a writer becomes is judged as one that has just come.
        session.has = !(exclusive && downgrade);
        if write.is_some() {
            self.cached_values = number;
            self.cached_written((domain, name), number);
        }
        self.note(|| format!("n{me} d{domain}.c{at} gives up {name}, writes {write:?}"));
    }

    /// Dropped futures wait no longer, and guards give up what they have.
    fn end_session(&mut self, index: usize, domain: usize, at: usize) {
        if let Some(cache) = self.cache(index, domain) {
            cache.sessions[at] = None;
        }
    }

    /// As a program does that has many names: in an order that is the same each time.
    fn release_unused(&mut self, index: usize, domain: usize) {
        let Some(cache) = self.cache(index, domain) else { return };
        cache.cluster.release_unused();
        let key = |block: &Lksb| {
            cache.locks.iter().find(|(_, other)| other.is(block)).map(|(key, _)| *key)
        };
        cache.asks.lock().make_contiguous().sort_by_key(|(block, _)| key(block));
        self.coverage.count("cached: unused given back");
    }

    /// Does one thing that a cache of the node wants done; whether there was any.
    pub(crate) fn serve_cache(&mut self, index: usize) -> bool {
        let now = self.now.as_micros() as u64;
        let Some(cache) = self.cache(index, DOMAIN) else { return false };
        cache.clock.store(now, Ordering::Relaxed);
        let asked = cache.asks.lock().pop_front();
        if let Some((block, ask)) = asked {
            self.do_ask(index, block, ask);
            return true;
        }
        let woken = |session: &Session| session.woken.0.swap(false, Ordering::Relaxed);
        let at = cache.sessions.iter().position(|session| session.as_ref().is_some_and(woken));
        let Some(at) = at else { return false };
        self.poll_session(index, DOMAIN, at);
        true
    }

    fn poll_session(&mut self, index: usize, domain: usize, at: usize) {
        let Some(cache) = self.cache(index, domain) else { return };
        let Some(session) = &mut cache.sessions[at] else { return };
        let waker = Waker::from(Arc::clone(&session.woken));
        let ended = session.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let (name, had) = (session.name, session.has);
        let has = session.share.lock().has;
        let failed = session.share.lock().failed.take();
        session.has = has.is_some();
        if ended {
            cache.sessions[at] = None;
        }
        match failed {
            None => {}
            // As its lock was (`checks/outcomes.rs`).
            Some(ErrorKind::Refused(Errno::ENOMEM)) => self.coverage.count("cached: no memory"),
            Some(why) => {
                let what = format!("a cached user is refused {name}: {why}");
                return self.fail("I3 accepted", what);
            }
        }
        if let Some(has) = has.filter(|_| !had) {
            let me = self.nodes[index].id;
            self.coverage.count("cached: granted");
            self.note(|| format!("n{me} d{domain}.c{at} has {name} {has:?}"));
            self.check_cached(index, (domain, name), has);
        }
    }

    /// What the cached users of a node have of a name.
    pub(crate) fn cached_levels(&self, index: usize, name: LockName) -> Vec<Level> {
        let up = self.nodes[index].up.as_ref();
        let cache = up.and_then(|up| up.domains.get(DOMAIN)?.client.cache.as_ref());
        let sessions = cache.into_iter().flat_map(|cache| cache.sessions.iter().flatten());
        sessions
            .filter(|session| session.name == name)
            .filter_map(|session| session.share.lock().has.map(|has| has.level))
            .collect()
    }

    fn do_ask(&mut self, index: usize, block: Lksb, ask: Ask) {
        let domain = DOMAIN;
        if let Ask::Lock { name, mode, flags } = ask {
            let Some(key) = self.lock_as(index, domain, CACHED, name, mode, flags) else { return };
            block.set_lock_id(key.index() as u32 + 1);
            if let Some(cache) = self.cache(index, domain) {
                cache.locks.push((key, block));
            }
            return;
        }
        let Some(cache) = self.cache(index, domain) else { return };
        let known = cache.locks.iter().find(|(_, other)| other.is(&block));
        let Some(key) = known.map(|(key, _)| *key) else {
            // What it was to take back has just ended.
            if !matches!(ask, Ask::Cancel) {
                self.fail("I3 accepted", format!("{ask:?} of a cached lock that is gone"));
            }
            return;
        };
        match ask {
            Ask::Convert { mode, flags, value } => {
                let put = self.put_cached(index, domain, key, &value);
                self.convert_as(index, domain, key, mode, flags, put, &value);
            }
            Ask::Unlock { value } => {
                let put = value.and_then(|value| self.put_cached(index, domain, key, &value));
                self.unlock_as(index, domain, key, put, value.as_ref());
            }
            Ask::Cancel => {
                let waits = |asked| matches!(asked, Asked::Create { .. } | Asked::Convert { .. });
                let Some(held) = self.held(index, domain, key) else { return };
                if !held.cancelling && held.asked.is_some_and(waits) {
                    self.cancel(index, domain, key);
                }
            }
            Ask::Lock { .. } => {}
        }
    }

    /// The number of a value block that EX gives up; none of one that nobody knows anything of.
    fn put_cached(
        &mut self,
        index: usize,
        domain: usize,
        key: LockKey,
        value: &[u8; 64],
    ) -> Option<u64> {
        let held = self.held(index, domain, key)?;
        let name = held.name;
        if held.mode != Some(LockMode::EX) || value[8..16] == [0; 8] {
            return None;
        }
        let number = self.new_value((domain, name));
        self.registers.entry((domain, name)).or_default().is_block(number, value);
        Some(number)
    }

    /// The status block of a lock, and whether its cancel is under way, before an outcome is noted.
    pub(crate) fn cached_lock(
        &mut self,
        index: usize,
        domain: usize,
        event: &Event,
    ) -> Option<(Lksb, bool)> {
        let (Event::Granted { lock, .. }
        | Event::Refused { lock, .. }
        | Event::Unlocked { lock, .. }
        | Event::Blocked { lock, .. }) = event
        else {
            return None;
        };
        let cache = self.cache(index, domain)?;
        let block = cache.locks.iter().find(|(key, _)| key == lock).map(|(_, block)| block.clone());
        let block = block?;
        let cancelling = self.held(index, domain, *lock).is_some_and(|held| held.cancelling);
        Some((block, cancelling))
    }

    /// A cache is told, in the words of the glue (`crates/o2cb/src/driver/group.rs`).
    pub(crate) fn tell_cache(
        &mut self,
        index: usize,
        domain: usize,
        (block, cancelling): (Lksb, bool),
        event: &Event,
    ) {
        let (callback, gone) = match event {
            Event::Granted { mode, lvb, .. } => {
                if let Some(lvb) = lvb {
                    // It has the length of a value block.
                    let _ = block.set_lvb(&lvb[..]);
                }
                (Callback::lock(None, StatusFlags::empty(), Some(mode_of(*mode))), false)
            }
            Event::Refused { status, gone, .. } => {
                let errno = status.errno().err();
                (Callback::lock(errno, StatusFlags::empty(), block.mode()), *gone)
            }
            Event::Unlocked { status: Status::CancelGrant, .. } => return,
            Event::Unlocked { gone, .. } => {
                let answer = if cancelling { Errno::ECANCEL } else { Errno::EUNLOCK };
                (Callback::unlock(Some(answer), block.mode().filter(|_| !gone)), *gone)
            }
            Event::Blocked { level, .. } => (Callback::blocking(mode_of(*level)), false),
            _ => return,
        };
        let Some(cache) = self.cache(index, domain) else { return };
        if gone {
            cache.locks.retain(|(_, other)| !other.is(&block));
        }
        let posted = if gone { block.post_last(callback) } else { block.post(callback) };
        if let Some(callback) = posted {
            let protocol = Arc::clone(&cache.protocol);
            block.deliver(callback, &protocol);
        }
    }
}
