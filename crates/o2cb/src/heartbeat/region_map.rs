//! Sets of global heartbeat regions, and what follows when some of them fail.

use std::fmt;

/// How many regions a node has in global mode (`O2NM_MAX_REGIONS`); seeds of message keys start there.
pub(super) const REGIONS_MAX: u32 = 32;

/// A set of region numbers, 0 to 31.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RegionMap(u32);

impl RegionMap {
    /// Whether the number is in the set.
    pub const fn contains(self, number: u8) -> bool {
        (number as u32) < REGIONS_MAX && self.0 >> number & 1 == 1
    }

    /// How many numbers are in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether no number is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..REGIONS_MAX as u8).filter(move |number| self.contains(*number))
    }

    pub(super) fn insert(&mut self, number: u8) {
        debug_assert!(u32::from(number) < REGIONS_MAX);
        self.0 |= 1 << number;
    }

    pub(super) fn remove(&mut self, number: u8) {
        debug_assert!(u32::from(number) < REGIONS_MAX);
        self.0 &= !(1 << number);
    }

    fn lowest_free(self) -> Option<u8> {
        (!self.is_full()).then(|| self.0.trailing_ones() as u8)
    }

    fn is_full(self) -> bool {
        self.0 == u32::MAX
    }
}

impl fmt::Debug for RegionMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The regions of global mode by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalRegions {
    /// Added.
    pub registered: RegionMap,
    /// Steady.
    pub live: RegionMap,
    /// Steady, and every live node was seen in it: its failure counts.
    pub quorum: RegionMap,
    /// Quorum regions without a good write for the write timeout.
    pub failed: RegionMap,
}

impl GlobalRegions {
    /// Takes the lowest free number; `None` if all are taken.
    pub(super) fn register(&mut self) -> Option<u8> {
        let number = self.registered.lowest_free()?;
        self.registered.insert(number);
        Some(number)
    }

    /// The region no longer counts, though its number is taken until it has stopped.
    pub(super) fn retire(&mut self, number: u8) {
        self.live.remove(number);
        self.quorum.remove(number);
        // Otherwise the next region of that number would be born failed.
        self.failed.remove(number);
    }

    pub(super) fn unregister(&mut self, number: u8) {
        self.retire(number);
        self.registered.remove(number);
    }

    /// A region's write timeout has expired; whether that is one too many
    /// (`fs/ocfs2/cluster/heartbeat.c: o2hb_write_timeout`).
    ///
    /// Without any quorum region it is: nothing says that this node can still be seen.
    pub(super) fn fail(&mut self, number: u8) -> bool {
        if self.quorum.contains(number) {
            self.failed.insert(number);
        }
        2 * self.failed.len() >= self.quorum.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviours 67, 68, 69.
    #[test]
    fn half_of_the_quorum_regions_is_one_too_many() {
        for (quorum, failures_survived) in
            [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (32, 15)]
        {
            let mut regions = GlobalRegions::default();
            for _ in 0..quorum {
                let number = regions.register().expect("at most 32");
                regions.quorum.insert(number);
            }
            let fatal = (0..32).position(|number| regions.fail(number));
            assert_eq!(fatal, Some(failures_survived), "of {quorum}");
        }
    }

    #[test]
    fn a_region_gets_the_lowest_free_number() {
        let mut regions = GlobalRegions::default();
        let numbers: Vec<_> = (0..33).map(|_| regions.register()).collect();
        assert_eq!(numbers[..2], [Some(0), Some(1)]);
        assert_eq!(numbers[31..], [Some(31), None]);
        regions.unregister(7);
        regions.unregister(3);
        assert_eq!(regions.register(), Some(3));
    }

    #[test]
    fn a_failure_leaves_with_its_region() {
        let mut regions = GlobalRegions::default();
        for number in 0..3 {
            regions.register();
            regions.quorum.insert(number);
        }
        assert!(!regions.fail(1));
        regions.unregister(1);
        assert!(regions.failed.is_empty());
        assert_eq!(regions.quorum.iter().collect::<Vec<_>>(), [0, 2]);
    }
}
