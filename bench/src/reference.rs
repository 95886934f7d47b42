//! What the table rows are measured against: a table of names as a program would write it that has no
//! lock manager.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::RwLock;

use crate::names::Name;

/// A bare table of names: one lookup, and two exclusive sections for lock and unlock.
///
/// It is what a program would write that has names of any length from outside and the standard library:
/// a `HashMap` with keys of bytes and its default hasher, which no choice of names can slow down, and a
/// `RwLock` for each name.
///
/// Aligned so that two of them, used by two threads, share no cache line.
#[repr(align(128))]
pub(crate) struct Bare {
    names: Vec<Name>,
    table: HashMap<Box<[u8]>, RwLock<u64>>,
}

impl Bare {
    /// A table with those names. It keeps a copy of them to look up by, so that a visit does not find
    /// a name in the cache because the subject has just read it.
    pub(crate) fn fill(names: &[Name]) -> Bare {
        let table = names.iter().map(|name| (name.as_slice().into(), RwLock::new(0))).collect();
        Bare { names: names.to_vec(), table }
    }

    /// Looks up the names at those places, and takes and drops the write lock of each twice.
    pub(crate) fn visit(&self, places: &[u32]) {
        for &place in places {
            let name = black_box(self.names[place as usize].as_slice());
            let count = self.table.get(name).expect("every name is there");
            *count.write().expect("nobody panics with it locked") += 1;
            *count.write().expect("nobody panics with it locked") += 1;
        }
    }

    /// How often the write lock of a name was taken.
    #[cfg(test)]
    fn writes(&self, place: usize) -> u64 {
        *self.table[self.names[place].as_slice()].read().expect("nobody panics with it locked")
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
        assert_eq!([bare.writes(3), bare.writes(99), bare.writes(0)], [4, 2, 0]);
    }
}
