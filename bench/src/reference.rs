//! What the table rows are measured against: the least that any lock table has to do.

use std::hint::black_box;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::names::Name;

/// A bare table of names: one lookup, and two exclusive sections for lock and unlock.
///
/// Aligned so that two of them, used by two threads, share no cache line.
#[repr(align(128))]
pub(crate) struct Bare {
    names: Vec<Name>,
    table: HashMap<Name, u32, FixedState>,
    lock: RwLock<u64>,
    unlock: RwLock<u64>,
}

impl Bare {
    /// A table with those names. It keeps a copy of them to look up by, so that a visit does not find
    /// a name in the cache because the subject has just read it.
    pub(crate) fn fill(names: &[Name]) -> Bare {
        Bare {
            names: names.to_vec(),
            table: names.iter().copied().zip(0..).collect(),
            lock: RwLock::new(0),
            unlock: RwLock::new(0),
        }
    }

    /// Looks up the names at those places, with two write locks taken and dropped for each.
    pub(crate) fn visit(&self, places: &[u32]) {
        for &place in places {
            let name = &self.names[place as usize];
            let found = u64::from(*self.table.get(black_box(name)).expect("every name is there"));
            *self.lock.write() += black_box(found);
            *self.unlock.write() += black_box(found);
        }
    }

    /// Sums of what was found, for both sections.
    #[cfg(test)]
    fn sums(&self) -> (u64, u64) {
        (*self.lock.read(), *self.unlock.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::names;

    #[test]
    fn every_visit_finds_its_name() {
        let bare = Bare::fill(&names(100));
        bare.visit(&[3, 99, 3]);
        assert_eq!(bare.sums(), (105, 105));
    }
}
