//! One shard of a lockspace: resources by name, and their locks.

use dlm::mutants::{Mutant, planted};
use dlm::{
    Effects, Errno, Lock, LockFlags, LockKey, LockTable, Mode, Request, Resource, ResourceName,
    check_convert, check_request, check_unlock,
};
use hashbrown::HashTable;
use slab::Slab;

use super::SHARD_LOCKS_MAX;
use super::name::{LongNames, StoredName};

/// The resources whose names hash to one shard, and all locks on them.
///
/// Operations on a lock are given its [`LockKey`]; a resource exists from its first lock to its last.
#[derive(Debug)]
pub struct Shard<O> {
    /// Places in `residents`, found by name hash.
    index: HashTable<u32>,
    residents: Slab<Resident>,
    long_names: LongNames,
    locks: LockTable<O>,
}

/// A resource that exists, with its name: one cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Resident {
    resource: Resource,
    /// Hash of the name, kept for when the index grows.
    hash: u32,
    name: StoredName,
}

const _: () = assert!(size_of::<Resident>() == 64);

impl<O> Default for Shard<O> {
    fn default() -> Self {
        Shard {
            index: HashTable::new(),
            residents: Slab::new(),
            long_names: LongNames::default(),
            locks: LockTable::default(),
        }
    }
}

impl<O> Shard<O> {
    /// A new lock on the resource of that name, whose hash is given. Its outcome goes to `effects`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags that mean nothing in a request; `ENOMEM` when the shard has
    /// [`SHARD_LOCKS_MAX`] locks. Nothing was done.
    #[inline]
    pub fn request(
        &mut self,
        hash: u32,
        name: ResourceName<'_>,
        mode: Mode,
        flags: LockFlags,
        owner: O,
        effects: &mut impl Effects<O>,
    ) -> Result<(), Errno> {
        check_request(mode, flags)?;
        if self.locks.len() >= SHARD_LOCKS_MAX {
            return Err(Errno::ENOMEM);
        }
        let place = self.find(hash, name).unwrap_or_else(|| self.create(hash, name));
        let resource = &mut self.residents[place as usize].resource;
        let request = Request { owner, resource: place, mode, flags };
        resource.request(&mut self.locks, request, effects);
        if flags.contains(LockFlags::NOQUEUE) {
            self.forget_if_unused(place);
        }
        Ok(())
    }

    /// Another mode for a granted lock. Its outcome goes to `effects`.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `EBUSY` and `EINVAL` as [`check_convert`] says; nothing was done.
    #[inline]
    pub fn convert(
        &mut self,
        key: LockKey,
        mode: Mode,
        flags: LockFlags,
        effects: &mut impl Effects<O>,
    ) -> Result<(), Errno> {
        let lock = self.locks.get(key).ok_or(Errno::ENOENT)?;
        check_convert(lock, mode, flags)?;
        let place = lock.resource as usize;
        self.residents[place].resource.convert(&mut self.locks, key, mode, flags, effects);
        Ok(())
    }

    /// Drops a lock, or with `CANCEL` takes back what it waits for. Its outcome goes to `effects`; the
    /// cancel of a lock that waits for nothing has none.
    ///
    /// # Errors
    ///
    /// `ENOENT` and `EINVAL` as [`check_unlock`] says; nothing was done.
    #[inline]
    pub fn unlock(
        &mut self,
        key: LockKey,
        flags: LockFlags,
        effects: &mut impl Effects<O>,
    ) -> Result<(), Errno> {
        let lock = self.locks.get(key).ok_or(Errno::ENOENT)?;
        check_unlock(lock, flags)?;
        let place = lock.resource;
        let resource = &mut self.residents[place as usize].resource;
        if flags.contains(LockFlags::CANCEL) {
            resource.cancel(&mut self.locks, key, effects);
        } else {
            resource.unlock(&mut self.locks, key, flags, effects);
        }
        self.forget_if_unused(place);
        Ok(())
    }

    /// The owner of a lock is gone (`fs/dlm/lock.c: dlm_clear_proc_locks`). By the flags of its latest
    /// operation the lock stays as an orphan in the mode it has, or is dropped and a value block that
    /// it could have written is marked not valid. True when it stays.
    ///
    /// # Errors
    ///
    /// `ENOENT`: no such lock.
    pub fn abandon(&mut self, key: LockKey, effects: &mut impl Effects<O>) -> Result<bool, Errno> {
        let lock = self.locks.get_mut(key).ok_or(Errno::ENOENT)?;
        let place = lock.resource;
        let dropped = planted(Mutant::SoloOrphanDropped) && lock.requested().is_some();
        if lock.flags.contains(LockFlags::PERSISTENT) && !dropped {
            lock.orphan = true;
            self.residents[place as usize].resource.cancel(&mut self.locks, key, effects);
            self.forget_if_unused(place);
            // A request that only waited had nothing to keep.
            return Ok(self.locks.get(key).is_some_and(|lock| lock.orphan));
        }
        self.drop_unclean(key, effects);
        Ok(false)
    }

    /// Gives the orphan of that name and mode to a new owner, and says so to `effects`. Returns the former
    /// owner (`fs/dlm/lock.c: dlm_user_adopt_orphan`).
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags that mean nothing in a request. `ENOENT`: the name has no orphan. `EAGAIN`: only
    /// orphans in other modes.
    pub fn adopt(
        &mut self,
        hash: u32,
        name: ResourceName<'_>,
        mode: Mode,
        flags: LockFlags,
        owner: O,
        effects: &mut impl Effects<O>,
    ) -> Result<O, Errno> {
        check_request(mode, flags)?;
        let place = self.find(hash, name).ok_or(Errno::ENOENT)?;
        let resource = &mut self.residents[place as usize].resource;
        let mut error = Errno::ENOENT;
        let mut found = None;
        for (key, lock) in resource.locks(&self.locks).filter(|(_, lock)| lock.orphan) {
            if lock.granted() == Some(mode) {
                found = Some(key);
                break;
            }
            error = Errno::EAGAIN;
        }
        let key = found.ok_or(error)?;
        Ok(resource.adopt(&mut self.locks, key, owner, flags, effects))
    }

    /// Drops the orphans for whose last owner `condemned` is true; returns how many
    /// (`fs/dlm/lock.c: do_purge`).
    pub fn purge(
        &mut self,
        condemned: &dyn Fn(&O) -> bool,
        effects: &mut impl Effects<O>,
    ) -> usize {
        let orphans = self.locks.iter().filter(|(_, lock)| lock.orphan && condemned(&lock.owner));
        let keys: Vec<LockKey> = orphans.map(|(key, _)| key).collect();
        for &key in &keys {
            self.drop_unclean(key, effects);
        }
        keys.len()
    }

    /// The lock of that key.
    #[inline]
    pub fn lock(&self, key: LockKey) -> Option<&Lock<O>> {
        self.locks.get(key)
    }

    /// All locks of the shard.
    pub fn locks(&self) -> &LockTable<O> {
        &self.locks
    }

    /// The resource of that name, whose hash is given.
    pub fn resource(&self, hash: u32, name: ResourceName<'_>) -> Option<&Resource> {
        self.find(hash, name).map(|place| &self.residents[place as usize].resource)
    }

    /// All resources of the shard with their names, in no particular order.
    pub fn resources(&self) -> impl Iterator<Item = (ResourceName<'_>, &Resource)> {
        let long_names = &self.long_names;
        self.residents
            .iter()
            .map(move |(_, resident)| (resident.name.get(long_names), &resident.resource))
    }

    /// Drops a lock without its owner's word on the value block.
    fn drop_unclean(&mut self, key: LockKey, effects: &mut impl Effects<O>) {
        let place = self.locks[key].resource;
        let resource = &mut self.residents[place as usize].resource;
        let flags = match planted(Mutant::SoloDeadWritersValue) {
            true => LockFlags::VALBLK,
            false => LockFlags::IVVALBLK,
        };
        resource.unlock(&mut self.locks, key, flags, effects);
        self.forget_if_unused(place);
    }

    #[inline]
    fn find(&self, hash: u32, name: ResourceName<'_>) -> Option<u32> {
        let same_name = |&place: &u32| {
            let resident = &self.residents[place as usize];
            resident.hash == hash && resident.name.get(&self.long_names) == name
        };
        self.index.find(spread(hash), same_name).copied()
    }

    fn create(&mut self, hash: u32, name: ResourceName<'_>) -> u32 {
        let name = StoredName::new(name, &mut self.long_names);
        let resident = Resident { resource: Resource::default(), hash, name };
        let place = self.residents.insert(resident) as u32;
        let residents = &self.residents;
        let rehash = |&place: &u32| spread(residents[place as usize].hash);
        self.index.insert_unique(spread(hash), place, rehash);
        place
    }

    /// A resource without locks is not remembered, nor its value block. In a cluster its directory
    /// entry would be kept for a while (`toss_secs`); alone, nobody else could ask for it.
    #[inline]
    fn forget_if_unused(&mut self, place: u32) {
        if !self.residents[place as usize].resource.is_unused() {
            return;
        }
        let Resident { hash, name, .. } = self.residents.remove(place as usize);
        name.release(&mut self.long_names);
        if let Ok(entry) = self.index.find_entry(spread(hash), |&other| other == place) {
            entry.remove();
        }
    }
}

/// The index takes its tags from the upper end of a hash and its buckets from the lower.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
