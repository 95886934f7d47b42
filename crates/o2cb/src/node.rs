//! Node numbers, and sets of them.

use std::fmt;

/// How many nodes a cluster can have (`O2NM_MAX_NODES`): numbers 0 to 254.
pub const NODES_MAX: usize = 255;

/// A node number: 0 to 254. 255 stands for "none" on the wire and is an `Option` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u8);

impl NodeId {
    /// The node of that number; `None` for 255.
    pub const fn new(number: u8) -> Option<NodeId> {
        if number == u8::MAX { None } else { Some(NodeId(number)) }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number, to index tables of nodes.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NodeMap([u64; 4]);

impl NodeMap {
    /// The set of no node.
    pub const EMPTY: NodeMap = NodeMap([0; 4]);

    /// Whether the node is in the set.
    pub const fn contains(&self, node: NodeId) -> bool {
        self.0[node.index() / 64] >> (node.index() % 64) & 1 == 1
    }

    /// Puts the node in; whether it was not there.
    pub fn insert(&mut self, node: NodeId) -> bool {
        let word = &mut self.0[node.index() / 64];
        let bit = 1 << (node.index() % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Takes the node out; whether it was there.
    pub fn remove(&mut self, node: NodeId) -> bool {
        let word = &mut self.0[node.index() / 64];
        let bit = 1 << (node.index() % 64);
        let there = *word & bit != 0;
        *word &= !bit;
        there
    }

    /// Whether no node is in the set.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// How many nodes are in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The lowest node of the set.
    pub fn lowest(&self) -> Option<NodeId> {
        let at = self.0.iter().position(|&word| word != 0)?;
        Some(NodeId((at as u32 * 64 + self.0[at].trailing_zeros()) as u8))
    }

    /// The nodes of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + use<> {
        let mut words = self.0;
        (0..4usize).flat_map(move |at| {
            std::iter::from_fn(move || {
                let bit = words[at].trailing_zeros();
                (bit < 64).then(|| {
                    words[at] &= words[at] - 1;
                    NodeId((at as u32 * 64 + bit) as u8)
                })
            })
        })
    }

    /// The set without a node.
    #[must_use]
    pub fn without(mut self, node: NodeId) -> NodeMap {
        self.remove(node);
        self
    }

    /// The nodes of either set.
    #[must_use]
    pub fn union(mut self, other: &NodeMap) -> NodeMap {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
        self
    }

    /// The nodes of this set that are not in the other one.
    #[must_use]
    pub fn minus(mut self, other: &NodeMap) -> NodeMap {
        for (word, out) in self.0.iter_mut().zip(other.0) {
            *word &= !out;
        }
        self
    }

    /// Whether every node of this set is in the other one.
    pub fn is_subset(&self, other: &NodeMap) -> bool {
        self.minus(other).is_empty()
    }

    /// The set as it travels: node `n` is bit `n mod 8` of byte `n / 8`.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The set from the wire; the bit of the number 255 is ignored.
    pub fn from_bytes(bytes: &[u8; 32]) -> NodeMap {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        words[3] &= !(1 << 63);
        NodeMap(words)
    }
}

impl FromIterator<NodeId> for NodeMap {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> NodeMap {
        let mut map = NodeMap::EMPTY;
        for node in nodes {
            map.insert(node);
        }
        map
    }
}

impl fmt::Debug for NodeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(NodeId::get)).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_number_255_is_no_node() {
        assert_eq!(NodeId::new(255), None);
        let mut bytes = [0; 32];
        bytes[31] = 0xc0;
        let map = NodeMap::from_bytes(&bytes);
        assert_eq!(map.iter().map(NodeId::get).collect::<Vec<_>>(), [254]);
    }

    proptest! {
        #[test]
        fn a_set_has_what_was_put_in_and_travels(numbers: std::collections::BTreeSet<u8>) {
            let nodes: Vec<NodeId> = numbers.into_iter().filter_map(NodeId::new).collect();
            let map: NodeMap = nodes.iter().copied().collect();
            prop_assert_eq!(map.iter().collect::<Vec<_>>(), nodes.clone());
            prop_assert_eq!(map.len(), nodes.len());
            prop_assert_eq!(map.lowest(), nodes.first().copied());
            prop_assert_eq!(NodeMap::from_bytes(&map.to_bytes()), map);
            for &node in &nodes {
                prop_assert!(map.contains(node) && !map.without(node).contains(node));
            }
        }
    }
}
