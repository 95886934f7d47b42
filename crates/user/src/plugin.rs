//! The `user` plugin: lockspaces served to the glue, and callbacks delivered on the caller's thread.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dlm::mutants::{Mutant, planted};
use dlm::{
    Effects, Errno, Lock, LockFlags, LockKey, Lvb, Mode, NodeNumber, Resource, ResourceName,
    StatusFlags,
};
use parking_lot::Mutex;
use smallvec::SmallVec;
use stackglue::{
    Abandoned, Callback, ConnectRefused, ConnectRequest, Lksb, LockView, LockingProtocol, Plugin,
    ProtocolVersion, ResourceView, StackConnection,
};

use crate::engine::{LockId, Lockspace, SHARD_COUNT, Shard};

/// The node number of a host that is alone.
pub const SOLO_NODE: NodeNumber = NodeNumber(1);

/// What the stack needs to know from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserOptions {
    /// Upper 24 bits of every fencing token: below 2^24. Must grow with every start of the stack on this host, or
    /// tokens repeat: its keeper writes it to disk before it hands it over.
    pub epoch: u32,
    /// Decides how names spread over the shards. `None` is what a host needs: a number that nobody knows,
    /// so that nobody can choose names that all fall into one place. A known one repeats a run.
    pub hash_seed: Option<u64>,
}

/// The `user` stack plugin (`fs/ocfs2/stack_user.c`).
///
/// Knows one label so far: `solo`, a lockspace of this host alone.
#[derive(Debug)]
pub struct UserPlugin {
    options: UserOptions,
    /// Groups connected now: a lockspace is created exclusively.
    groups: Arc<Mutex<HashSet<String>>>,
    /// The highest grant number of the lockspaces that were left: one joined again goes on behind it.
    grants_before: Arc<AtomicU64>,
}

impl UserPlugin {
    /// Bits of a fencing token that count the grants of one epoch: at the rate of the daemon's socket
    /// enough for half a year of nothing but one name, after which the next epoch's are used up.
    pub const TOKEN_SEQUENCE_BITS: u32 = 40;

    /// The plugin, with no lockspace yet.
    pub fn new(options: UserOptions) -> UserPlugin {
        UserPlugin { options, groups: Arc::default(), grants_before: Arc::default() }
    }
}

impl Plugin for UserPlugin {
    fn name(&self) -> &'static str {
        "user"
    }

    fn connect(
        &self,
        request: ConnectRequest<'_>,
    ) -> Result<Box<dyn StackConnection>, ConnectRefused> {
        if request.label != "solo" {
            let label = request.label;
            let reason = format!(
                "stack `{label}`: this version has no membership for that label; use `solo`, this \
                 host alone"
            );
            return Err(ConnectRefused { errno: Errno::ENOENT, reason });
        }
        if self.options.epoch >> (u64::BITS - Self::TOKEN_SEQUENCE_BITS) != 0 {
            let epoch = self.options.epoch;
            let reason =
                format!("fencing epoch {epoch} is above 2^24 - 1: tokens would run backwards");
            return Err(ConnectRefused { errno: Errno::EINVAL, reason });
        }
        if !self.groups.lock().insert(request.group.to_owned()) {
            let group = request.group;
            let reason = format!("group `{group}` is connected already: disconnect it first");
            return Err(ConnectRefused { errno: Errno::EEXIST, reason });
        }
        let random = || RandomState::new().hash_one(request.group);
        let hash_seed = self.options.hash_seed.unwrap_or_else(random);
        Ok(Box::new(UserConnection {
            group: request.group.to_owned(),
            groups: Arc::clone(&self.groups),
            version: request.protocol.max_version(),
            protocol: request.protocol,
            space: Lockspace::new(hash_seed, || Numbered {
                shard: Shard::default(),
                grants: match planted(Mutant::SoloTokensOfGroups) {
                    true => 0,
                    false => self.grants_before.load(Ordering::Relaxed),
                },
                closed: false,
            }),
            grants_before: Arc::clone(&self.grants_before),
            tokens_from: match planted(Mutant::SoloTokensOfEpochs) {
                true => 0,
                false => u64::from(self.options.epoch) << Self::TOKEN_SEQUENCE_BITS,
            },
        }))
    }
}

/// One lockspace of this host alone.
struct UserConnection {
    group: String,
    groups: Arc<Mutex<HashSet<String>>>,
    version: ProtocolVersion,
    protocol: Arc<dyn LockingProtocol>,
    space: Lockspace<Numbered>,
    grants_before: Arc<AtomicU64>,
    tokens_from: u64,
}

/// A shard, and how many grants it has made: fencing tokens grow per resource, and a resource never
/// leaves its shard.
struct Numbered {
    shard: Shard<Lksb>,
    grants: u64,
    /// The group was left: a new connection may have the name by now.
    closed: bool,
}

impl StackConnection for UserConnection {
    fn version(&self) -> ProtocolVersion {
        self.version
    }

    fn this_node(&self) -> Result<NodeNumber, Errno> {
        Ok(SOLO_NODE)
    }

    fn lock(
        &self,
        mode: Mode,
        lksb: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno> {
        if flags.contains(LockFlags::CONVERT) {
            return self.convert(mode, lksb, flags);
        }
        if flags.contains(LockFlags::ORPHAN) {
            return self.adopt(mode, lksb, flags, name);
        }
        if !lksb.claim() {
            return Err(Errno::EBUSY);
        }
        let (hash, number) = self.space.locate(name);
        let submitted = self.in_shard(number, Some(lksb), |shard, completions| {
            shard.request(hash, name, mode, flags, lksb.clone(), completions)
        });
        if submitted.is_err() {
            lksb.set_lock_id(0);
        }
        submitted
    }

    fn unlock(&self, lksb: &Lksb, flags: LockFlags) -> Result<(), Errno> {
        self.on_lock(lksb, |shard, key, completions| shard.unlock(key, flags, completions))
    }

    fn abandon(&self, lksb: &Lksb) -> Result<Abandoned, Errno> {
        self.on_lock(lksb, |shard, key, completions| {
            lksb.silence();
            let stays = shard.abandon(key, completions)?;
            Ok(if stays { Abandoned::Orphaned } else { Abandoned::Dropped })
        })
    }

    fn purge(&self, condemned: &dyn Fn(&Lksb) -> bool) -> Result<usize, Errno> {
        let mut purged = 0;
        for number in 0..SHARD_COUNT {
            purged += self.in_shard(number, None, |shard, completions| {
                Ok(shard.purge(condemned, completions))
            })?;
        }
        Ok(purged)
    }

    fn visit_resources(&self, visitor: &mut dyn FnMut(ResourceView<'_>)) {
        for number in 0..SHARD_COUNT {
            let guard = self.space.shard(number).lock();
            for (name, resource) in guard.shard.resources() {
                show(&guard.shard, number, name, resource, visitor);
            }
        }
    }

    fn visit_resource(&self, name: ResourceName<'_>, visitor: &mut dyn FnMut(ResourceView<'_>)) {
        let (hash, number) = self.space.locate(name);
        let guard = self.space.shard(number).lock();
        if let Some(resource) = guard.shard.resource(hash, name) {
            show(&guard.shard, number, name, resource, visitor);
        }
    }

    fn dump_lksb(&self, lksb: &Lksb) -> String {
        let Some(LockId { shard: number, key }) = LockId::from_number(lksb.lock_id()) else {
            return format!("{lksb:?} has no lock");
        };
        let guard = self.space.shard(number).lock();
        match guard.shard.lock(key).filter(|lock| lock.owner.is(lksb)) {
            Some(lock) => format!("{lock:?}"),
            None => format!("{lksb:?} has no lock in group `{}`", self.group),
        }
    }

    fn disconnect(&self) -> Result<(), Errno> {
        let mut left_behind = Vec::new();
        for number in 0..SHARD_COUNT {
            let mut guard = self.space.shard(number).lock();
            guard.closed = true;
            self.grants_before.fetch_max(guard.grants, Ordering::Relaxed);
            let shard = std::mem::take(&mut guard.shard);
            drop(guard);
            left_behind.extend(shard.locks().iter().map(|(_, lock)| lock.owner.clone()));
        }
        for lksb in left_behind {
            lksb.silence();
            lksb.set_lock_id(0);
            lksb.wait_until_idle();
        }
        for number in 0..SHARD_COUNT {
            while self.space.ending(number).load(Ordering::Acquire) != 0 {
                std::thread::yield_now();
            }
        }
        self.groups.lock().remove(&self.group);
        Ok(())
    }
}

impl UserConnection {
    #[inline]
    fn convert(&self, mode: Mode, lksb: &Lksb, flags: LockFlags) -> Result<(), Errno> {
        self.on_lock(lksb, |shard, key, completions| shard.convert(key, mode, flags, completions))
    }

    fn adopt(
        &self,
        mode: Mode,
        lksb: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno> {
        if !lksb.claim() {
            return Err(Errno::EBUSY);
        }
        let (hash, number) = self.space.locate(name);
        // The former status block goes only after the shard was let go of: its state is the user's.
        let former = self.in_shard(number, Some(lksb), |shard, completions| {
            shard.adopt(hash, name, mode, flags, lksb.clone(), completions)
        });
        match former {
            Ok(former) => {
                former.set_lock_id(0);
                Ok(())
            }
            Err(errno) => {
                lksb.set_lock_id(0);
                Err(errno)
            }
        }
    }

    /// Does something to the lock of a status block.
    #[inline]
    fn on_lock<T>(
        &self,
        lksb: &Lksb,
        operation: impl FnOnce(&mut Shard<Lksb>, LockKey, &mut Completions<'_, '_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let LockId { shard: number, key } =
            LockId::from_number(lksb.lock_id()).ok_or(Errno::ENOENT)?;
        self.in_shard(number, Some(lksb), |shard, completions| {
            // The lock may have ended, and its place may be another's by now.
            if !shard.lock(key).is_some_and(|lock| lock.owner.is(lksb)) {
                return Err(Errno::ENOENT);
            }
            operation(shard, key, completions)
        })
    }

    /// Does something under a shard's mutex, then lets go of it and delivers what follows: a callback
    /// may lock and unlock. `EINVAL` when the group was left.
    #[inline]
    fn in_shard<T>(
        &self,
        number: usize,
        own: Option<&Lksb>,
        operation: impl FnOnce(&mut Shard<Lksb>, &mut Completions<'_, '_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut deliveries = Deliveries { own, own_callback: None, others: None, ended: 0 };
        let mut guard = self.space.shard(number).lock();
        let Numbered { shard, grants, closed } = &mut *guard;
        if *closed {
            return Err(Errno::EINVAL);
        }
        let result = operation(
            shard,
            &mut Completions {
                deliveries: &mut deliveries,
                tokens_from: self.tokens_from,
                shard: number,
                grants,
            },
        );
        // Counted before the shard is let go of: who leaves the group sees the lock, or this.
        let _ending = Ending::count(self.space.ending(number), deliveries.ended);
        drop(guard);
        deliveries.run(&self.protocol);
        result
    }
}

/// Locks that have ended, while their owners are being told.
struct Ending<'a> {
    count: &'a AtomicU32,
    ended: u32,
}

impl<'a> Ending<'a> {
    #[inline]
    fn count(count: &'a AtomicU32, ended: u32) -> Ending<'a> {
        if ended != 0 {
            count.fetch_add(ended, Ordering::Relaxed);
        }
        Ending { count, ended }
    }
}

impl Drop for Ending<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.ended != 0 {
            self.count.fetch_sub(self.ended, Ordering::Release);
        }
    }
}

/// Callbacks with the status blocks they are for.
type Posted = SmallVec<[(Lksb, Callback); 2]>;

/// Callbacks to deliver once the shard is let go of.
struct Deliveries<'a> {
    /// The status block that the operation is about; its callback needs no handle of its own.
    own: Option<&'a Lksb>,
    own_callback: Option<Callback>,
    /// Locks of others that the operation granted or found in the way.
    /// Boxed: most operations concern nobody else.
    others: Option<Box<Posted>>,
    /// How many locks ended.
    ended: u32,
}

impl Deliveries<'_> {
    /// Whether a status block has a callback that is not delivered yet.
    fn is_telling(&self, lksb: &Lksb) -> bool {
        let is_others = |(other, _): &(Lksb, Callback)| other.is(lksb);
        self.own_callback.is_some() && self.own.is_some_and(|own| own.is(lksb))
            || self.others.as_ref().is_some_and(|others| others.iter().any(is_others))
    }

    #[inline]
    fn run(self, protocol: &Arc<dyn LockingProtocol>) {
        let others = self.others.map(|posted| Others { posted: posted.into_iter(), protocol });
        if let (Some(own), Some(callback)) = (self.own, self.own_callback) {
            own.deliver(callback, protocol);
        }
        drop(others);
    }
}

/// What is to be delivered to others, also when a handler panics: they wait for it.
struct Others<'a> {
    posted: smallvec::IntoIter<[(Lksb, Callback); 2]>,
    protocol: &'a Arc<dyn LockingProtocol>,
}

impl Drop for Others<'_> {
    fn drop(&mut self) {
        let mut panic = None;
        for (lksb, callback) in self.posted.by_ref() {
            let deliver = AssertUnwindSafe(|| lksb.deliver(callback, self.protocol));
            panic = catch_unwind(deliver).err().or(panic);
        }
        if let Some(panic) = panic
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// Turns what an operation does to locks into callbacks of their status blocks.
struct Completions<'own, 'call> {
    deliveries: &'call mut Deliveries<'own>,
    tokens_from: u64,
    shard: usize,
    grants: &'call mut u64,
}

impl Completions<'_, '_> {
    #[inline]
    fn post(&mut self, lksb: &Lksb, callback: Callback) {
        let posted = lksb.post(callback);
        self.keep(lksb, posted);
    }

    /// Remembers a callback that is to be delivered here.
    #[inline]
    fn keep(&mut self, lksb: &Lksb, posted: Option<Callback>) {
        let Some(callback) = posted else { return };
        if self.deliveries.own.is_some_and(|own| own.is(lksb)) {
            self.deliveries.own_callback = Some(callback);
        } else {
            let others = self.deliveries.others.get_or_insert_default();
            others.push((lksb.clone(), callback));
        }
    }
}

impl Effects<Lksb> for Completions<'_, '_> {
    #[inline]
    fn granted(&mut self, key: LockKey, lock: &Lock<Lksb>, lvb: Option<&Lvb>) {
        let lksb = &lock.owner;
        // A lock that is converted has its id.
        if !lock.flags.contains(LockFlags::CONVERT) {
            lksb.set_lock_id(LockId { shard: self.shard, key }.to_number());
        }
        *self.grants += 1;
        lksb.set_token(self.tokens_from + *self.grants);
        if let Some(lvb) = lvb {
            lksb.set_lvb(lvb).expect("a value block has the length of a value block");
        }
        let (flags, mode) = (lock.status_flags(), lock.granted());
        self.post(lksb, Callback::lock(None, flags, mode));
    }

    fn queued(&mut self, key: LockKey, lock: &Lock<Lksb>) {
        lock.owner.set_lock_id(LockId { shard: self.shard, key }.to_number());
    }

    fn refused(&mut self, _key: LockKey, lock: &Lock<Lksb>, errno: Errno) {
        self.post(&lock.owner, completion(errno, lock.status_flags(), lock.granted()));
    }

    #[inline]
    fn ended(&mut self, _key: LockKey, lock: &Lock<Lksb>, errno: Errno) {
        self.deliveries.ended += 1;
        if planted(Mutant::SoloUnlockUntold)
            && lock.granted().is_some()
            && lock.requested().is_some()
        {
            return lock.owner.set_lock_id(0);
        }
        let callback = completion(errno, lock.status_flags(), None);
        let posted = lock.owner.post_last(callback);
        self.keep(&lock.owner, posted);
    }

    fn blocking(&mut self, _key: LockKey, lock: &Lock<Lksb>, level: Mode) {
        if planted(Mutant::SoloNoticeLostBehindGrant) && self.deliveries.is_telling(&lock.owner) {
            return;
        }
        self.post(&lock.owner, Callback::blocking(level));
    }

    fn value_of(&mut self, lock: &Lock<Lksb>) -> Option<Lvb> {
        Some(lock.owner.lvb())
    }
}

/// Shows one resource of a shard to a visitor.
fn show(
    shard: &Shard<Lksb>,
    number: usize,
    name: ResourceName<'_>,
    resource: &Resource,
    visitor: &mut dyn FnMut(ResourceView<'_>),
) {
    let table = shard.locks();
    let id = |key| LockId { shard: number, key }.to_number();
    let mut views = Vec::new();
    for (key, lock) in resource.locks(table) {
        views.push(LockView {
            id: id(key),
            node: SOLO_NODE,
            lksb: Some(&lock.owner),
            queue: lock.queue().expect("a lock on a resource is in one of its queues"),
            granted: lock.granted(),
            requested: lock.requested(),
            orphan: lock.orphan,
            waits_for: resource.blockers(table, key).into_iter().map(id).collect(),
        });
    }
    visitor(ResourceView {
        name,
        master: SOLO_NODE,
        locks: &views,
        lvb: resource.lvb(table).map(|lvb| &lvb[..]),
        lvb_valid: resource.lvb_valid(table),
    });
}

/// The callback for an operation that ended in anything but a grant: `ECANCEL` and `EUNLOCK` answer an
/// unlock call, everything else a lock call (`fs/ocfs2/stack_user.c: fsdlm_lock_ast_wrapper`).
#[inline]
fn completion(errno: Errno, flags: StatusFlags, mode: Option<Mode>) -> Callback {
    let status = Some(errno);
    match errno {
        Errno::EUNLOCK | Errno::ECANCEL => Callback::unlock(status, mode),
        _ => Callback::lock(status, flags, mode),
    }
}
