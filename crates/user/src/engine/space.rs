//! A lockspace: shards by name hash, and lock ids that find them again.

use std::hash::BuildHasher;
use std::sync::atomic::AtomicU32;

use dlm::{LockKey, ResourceName};
use foldhash::fast::FixedState;
use parking_lot::Mutex;

/// Shards of a lockspace: enough that threads which are busy with a few thousand names seldom meet in
/// one. A shard that two threads use is a cache line that travels between them, which costs more than
/// the lock. 256 bytes each: 1 MiB for an empty lockspace.
pub const SHARD_COUNT: usize = 1 << SHARD_BITS;

/// The most locks of one shard, and so of one resource.
pub const SHARD_LOCKS_MAX: usize = (1 << (u32::BITS - SHARD_BITS)) - 2;

const SHARD_BITS: u32 = 12;

/// A lockspace: `T` once per shard, each under a mutex of its own.
#[derive(Debug)]
pub struct Lockspace<T> {
    shards: Box<[Apart<T>]>,
    hasher: FixedState,
}

impl<T> Lockspace<T> {
    /// A lockspace of what `new_shard` makes. `seed` decides how names spread: a secret one keeps a
    /// process from choosing names that all fall into one place; a known one repeats a run.
    pub fn new(seed: u64, new_shard: impl Fn() -> T) -> Lockspace<T> {
        Lockspace {
            shards: (0..SHARD_COUNT)
                .map(|_| Apart { shard: Mutex::new(new_shard()), ending: AtomicU32::new(0) })
                .collect(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// The hash of a name, and the number of the shard that it belongs to.
    #[inline]
    pub fn locate(&self, name: ResourceName<'_>) -> (u32, usize) {
        let hash = self.hasher.hash_one(name.as_bytes());
        // Bits that the shard does not see: its own table spreads by the lower half.
        (hash as u32, (hash >> 32) as usize % SHARD_COUNT)
    }

    /// A shard by its number, below [`SHARD_COUNT`].
    #[inline]
    pub fn shard(&self, number: usize) -> &Mutex<T> {
        &self.shards[number].shard
    }

    /// How many locks of a shard have ended whose owners are being told.
    #[inline]
    pub fn ending(&self, number: usize) -> &AtomicU32 {
        &self.shards[number].ending
    }
}

/// A shard that shares no cache line with its neighbours, nor the pair of lines fetched together.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T> {
    shard: Mutex<T>,
    ending: AtomicU32,
}

/// A lock's id on this node: never 0 nor `u32::MAX`, and used again after the lock has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockId {
    /// The shard of its resource.
    pub shard: usize,
    /// Its place there.
    pub key: LockKey,
}

impl LockId {
    /// The id as 32 bits, as it would travel. The place is below [`SHARD_LOCKS_MAX`].
    #[inline]
    pub fn to_number(self) -> u32 {
        assert!(
            (self.key.0 as usize) < SHARD_LOCKS_MAX,
            "a place beyond the most locks of a shard"
        );
        ((self.key.0 + 1) << SHARD_BITS) | self.shard as u32
    }

    /// The id of a number, unless no lock can have it.
    #[inline]
    pub fn from_number(number: u32) -> Option<LockId> {
        let key = LockKey((number >> SHARD_BITS).checked_sub(1)?);
        Some(LockId { shard: number as usize % SHARD_COUNT, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_id_is_never_zero_and_finds_its_lock_again() {
        for shard in [0, 1, SHARD_COUNT / 2, SHARD_COUNT - 1] {
            for key in [0, 1, 2, 1000, SHARD_LOCKS_MAX as u32 - 1].map(LockKey) {
                let id = LockId { shard, key };
                assert!(![0, u32::MAX].contains(&id.to_number()));
                assert_eq!(LockId::from_number(id.to_number()), Some(id));
            }
        }
        assert_eq!(LockId::from_number(0), None);
        assert_eq!(LockId::from_number(SHARD_COUNT as u32 - 1), None);
    }
}
