//! The slot map: which node mounts the volume, and in which slot.

use super::Superblock;

/// Who has which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    slots: Vec<Option<u32>>,
}

impl SlotMap {
    /// Reads the map's bytes: entries of 8 bytes when it is extended, of 2 otherwise.
    pub fn decode(bytes: &[u8], extended: bool) -> SlotMap {
        let slots = if extended {
            let entries = bytes.as_chunks::<EXTENDED_LEN>().0.iter();
            // The number of a node that left stays behind: only the first byte tells.
            let decode = |&[valid, _, _, _, a, b, c, d]: &[u8; EXTENDED_LEN]| {
                (valid != 0).then(|| u32::from_le_bytes([a, b, c, d]))
            };
            entries.map(decode).collect()
        } else {
            let entries = bytes.as_chunks::<OLD_LEN>().0.iter();
            let numbers = entries.map(|&entry| u16::from_le_bytes(entry));
            numbers.map(|number| (number != OLD_EMPTY).then_some(number.into())).collect()
        };
        SlotMap { slots }
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no slots at all.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slots that are taken, ascending, and the node that has each. Other stacks number nodes in
    /// 32 bits.
    pub fn taken(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.slots.iter().enumerate().filter_map(|(slot, node)| Some((slot, (*node)?)))
    }

    /// The node that has a slot.
    pub fn node(&self, slot: usize) -> Option<u32> {
        *self.slots.get(slot)?
    }

    /// The slot that a node has: the first, if it has several.
    pub fn slot_of(&self, node: u32) -> Option<usize> {
        self.slots.iter().position(|&other| other == Some(node))
    }
}

/// How many bytes the slots of a volume need.
pub(super) fn len_needed(superblock: &Superblock) -> usize {
    let entry = if superblock.has_extended_slot_map() { EXTENDED_LEN } else { OLD_LEN };
    usize::from(superblock.slots) * entry
}

const EXTENDED_LEN: usize = 8;
const OLD_LEN: usize = 2;
const OLD_EMPTY: u16 = 0xffff;

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviour 349.
    #[test]
    fn an_extended_entry_is_a_mark_and_a_node_number() {
        let mut bytes = [0; 24];
        bytes[8..16].copy_from_slice(&[1, 0, 0, 0, 7, 0, 0, 0]);
        // Slot 2 was that of node 9, which left.
        bytes[20] = 9;
        let map = SlotMap::decode(&bytes, true);
        assert_eq!((map.len(), map.is_empty()), (3, false));
        assert_eq!(map.taken().collect::<Vec<_>>(), [(1, 7)]);
        assert_eq!((map.slot_of(7), map.slot_of(9), map.slot_of(0)), (Some(1), None, None));
    }

    // Behaviour 350.
    #[test]
    fn an_old_entry_of_all_ones_is_empty() {
        let map = SlotMap::decode(&[0xff, 0xff, 3, 0, 0, 0, 3, 0], false);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|slot| map.node(slot)),
            [None, Some(3), Some(0), Some(3), None]
        );
        assert_eq!(map.slot_of(3), Some(1));
    }
}
