//! A resource name as the table keeps it.

use std::num::NonZeroU8;

use dlm::ResourceName;
use slab::Slab;

/// Longest name kept in place. ocfs2's have 31 bytes.
const INLINE_LEN_MAX: usize = 40;

/// A resource name in 41 bytes, without alignment: longer names live in the shard's [`LongNames`].
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredName {
    /// Length of the name: never 0, by which a slab tells a free place. Above `INLINE_LEN_MAX` the
    /// bytes begin with its place among the long ones.
    len: NonZeroU8,
    bytes: [u8; INLINE_LEN_MAX],
}

/// The names of a shard that do not fit in their resource. Boxed: most shards have none.
#[derive(Debug, Default)]
pub(super) struct LongNames(Option<Box<Slab<Box<[u8]>>>>);

impl StoredName {
    pub(super) fn new(name: ResourceName<'_>, long_names: &mut LongNames) -> StoredName {
        let source = name.as_bytes();
        let mut bytes = [0; INLINE_LEN_MAX];
        if source.len() <= INLINE_LEN_MAX {
            bytes[..source.len()].copy_from_slice(source);
        } else {
            let place = long_names.0.get_or_insert_default().insert(source.into()) as u32;
            bytes[..4].copy_from_slice(&place.to_ne_bytes());
        }
        let len = NonZeroU8::new(source.len() as u8).expect("a resource name is not empty");
        StoredName { len, bytes }
    }

    #[inline]
    pub(super) fn get<'a>(&'a self, long_names: &'a LongNames) -> ResourceName<'a> {
        let bytes = match self.long_place() {
            None => &self.bytes[..usize::from(self.len.get())],
            Some(place) => long_names.bytes(place),
        };
        ResourceName::new(bytes).expect("was made from a resource name")
    }

    /// Gives back what a long name takes outside of this.
    #[inline]
    pub(super) fn release(self, long_names: &mut LongNames) {
        if let (Some(place), Some(names)) = (self.long_place(), &mut long_names.0) {
            names.remove(place);
        }
    }

    #[inline]
    fn long_place(&self) -> Option<usize> {
        if usize::from(self.len.get()) <= INLINE_LEN_MAX {
            return None;
        }
        let [a, b, c, d, ..] = self.bytes;
        Some(u32::from_ne_bytes([a, b, c, d]) as usize)
    }
}

impl LongNames {
    #[cold]
    fn bytes(&self, place: usize) -> &[u8] {
        &self.0.as_ref().expect("a long name was put here")[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_every_length_comes_back_as_it_went_in() {
        let bytes: Vec<u8> = (0..=255).cycle().take(dlm::NAME_LEN_MAX).collect();
        let mut long_names = LongNames::default();
        for len in 1..=bytes.len() {
            let name = ResourceName::new(&bytes[..len]).expect("a legal length");
            let stored = StoredName::new(name, &mut long_names);
            assert_eq!(stored.get(&long_names), name);
            stored.release(&mut long_names);
        }
        assert!(long_names.0.is_some_and(|names| names.is_empty()));
    }
}
