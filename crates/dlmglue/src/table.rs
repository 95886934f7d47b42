//! The resources of a cluster by name.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::resource::Resource;

/// A power of two: enough that threads rarely meet.
const SHARDS: usize = 64;

/// Sharded, so that threads that use different names share nothing.
pub(crate) struct Table {
    hasher: RandomState,
    shards: Box<[RwLock<HashTable<Entry>>]>,
}

struct Entry {
    name: Box<[u8]>,
    resource: Arc<Resource>,
}

impl Table {
    pub(crate) fn new() -> Table {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Table { hasher: RandomState::default(), shards }
    }

    /// The resource of that name.
    #[inline]
    pub(crate) fn get(&self, name: &[u8], make: impl FnOnce() -> Arc<Resource>) -> Arc<Resource> {
        let hash = self.hasher.hash_one(name);
        // Bits that the tables do not use to find a place.
        let shard = &self.shards[(hash >> 48) as usize % SHARDS];
        if let Some(entry) = shard.read().find(hash, |entry| *entry.name == *name) {
            return Arc::clone(&entry.resource);
        }
        self.add(shard, hash, name, make)
    }

    #[cold]
    fn add(
        &self,
        shard: &RwLock<HashTable<Entry>>,
        hash: u64,
        name: &[u8],
        make: impl FnOnce() -> Arc<Resource>,
    ) -> Arc<Resource> {
        let mut shard = shard.write();
        let hash_of = |entry: &Entry| self.hasher.hash_one(&*entry.name);
        let entry = shard.entry(hash, |entry| *entry.name == *name, hash_of);
        let entry = entry.or_insert_with(|| Entry { name: name.into(), resource: make() });
        Arc::clone(&entry.get().resource)
    }

    /// Takes out the resources that nobody has a handle of.
    pub(crate) fn take_unused(&self) -> Vec<Arc<Resource>> {
        let mut unused = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.write();
            // Nobody gets a handle while the shard is locked.
            let taken = shard.extract_if(|entry| Arc::strong_count(&entry.resource) == 1);
            unused.extend(taken.map(|entry| entry.resource));
        }
        unused
    }

    pub(crate) fn all(&self) -> Vec<Arc<Resource>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| {
                let shard = shard.read();
                shard.iter().map(|entry| Arc::clone(&entry.resource)).collect::<Vec<_>>()
            })
            .collect()
    }
}
