//! Resource names, and the order in which a run visits them: both fixed before the clock starts.

/// Bytes of every name.
pub(crate) const NAME_LEN: usize = 32;

/// A resource name of a bench.
pub(crate) type Name = [u8; NAME_LEN];

/// `count` different names, the same in every run.
pub(crate) fn names(count: usize) -> Vec<Name> {
    (0..count)
        .map(|number| {
            let mut name = [0; NAME_LEN];
            let text = format!("bench{number:09}{:018x}", scramble(number as u64));
            name.copy_from_slice(text.as_bytes());
            name
        })
        .collect()
}

/// `count` places of a list of `places`, at random and the same in every run.
pub(crate) fn order(count: usize, places: usize) -> Vec<u32> {
    (0..count as u64).map(|step| (scramble(step + SEED) % places as u64) as u32).collect()
}

/// The places of one block: a part of the order that goes on from block to block, and round.
pub(crate) fn part(order: &[u32], block: usize, operations: usize) -> &[u32] {
    let parts = order.len() / operations;
    let start = block % parts * operations;
    &order[start..start + operations]
}

const SEED: u64 = 0x5eed;

/// One step of splitmix64.
fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_differ_and_do_not_change() {
        let some = names(10_000);
        assert_eq!(some.iter().collect::<HashSet<_>>().len(), some.len());
        assert_eq!(some[..100], names(100)[..]);
    }

    #[test]
    fn an_order_reaches_most_places_and_stays_inside() {
        let visits = order(10_000, 1_000);
        assert!(visits.iter().all(|&place| place < 1_000));
        assert!(visits.iter().collect::<HashSet<_>>().len() > 990);
    }

    #[test]
    fn blocks_take_turns_over_the_order() {
        let order: Vec<u32> = (0..10).collect();
        assert_eq!(part(&order, 0, 4), [0, 1, 2, 3]);
        assert_eq!(part(&order, 1, 4), [4, 5, 6, 7]);
        assert_eq!(part(&order, 2, 4), [0, 1, 2, 3]);
    }
}
