//! One block of a heartbeat region, as it is on the disk.

use std::fmt;

use crate::crc_le;

/// How long a block is: 512, 1024, 2048 or 4096 bytes, the logical sector size of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockSize(u16);

impl BlockSize {
    /// The size of that many bytes; `None` unless it is a power of two from 512 to 4096.
    pub const fn new(bytes: u32) -> Option<BlockSize> {
        match bytes {
            512 | 1024 | 2048 | 4096 => Some(BlockSize(bytes as u16)),
            _ => None,
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a node writes into its slot (`fs/ocfs2/cluster/ocfs2_heartbeat.h: o2hb_disk_heartbeat_block`).
/// The rest of the block is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Seconds since 1970 when it was written, never 0. Readers only ask whether it changed.
    pub sequence: u64,
    /// The number of the node that wrote it. Readers go by the slot, not by this.
    pub node: u8,
    /// Random for each start of the region; 0 says that the node left.
    pub generation: u64,
    /// How long the writer waits before it declares another node dead, in milliseconds.
    pub dead_ms: u32,
}

impl Block {
    /// The block, checksum included, in `size` bytes.
    pub fn encode(&self, size: BlockSize) -> Vec<u8> {
        let mut bytes = vec![0; size.bytes()];
        bytes[SEQUENCE..SEQUENCE + 8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[NODE] = self.node;
        bytes[GENERATION..GENERATION + 8].copy_from_slice(&self.generation.to_le_bytes());
        bytes[DEAD_MS..DEAD_MS + 4].copy_from_slice(&self.dead_ms.to_le_bytes());
        let sum = checksum_of(&bytes).to_le_bytes();
        bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum);
        bytes
    }

    /// The block in these bytes, which are one whole block.
    ///
    /// A block of zeros is right: its checksum is 0, as the checksum starts at 0 and is not inverted.
    pub fn decode(bytes: &[u8]) -> Result<Block, BlockError> {
        let block = Block::decode_unchecked(bytes)?;
        let (stored, computed) = (u32_at(bytes, CHECKSUM), checksum_of(bytes));
        if stored == computed { Ok(block) } else { Err(BlockError::Checksum { stored, computed }) }
    }

    /// The fields in these bytes, whatever the checksum says: what a slot is compared with before
    /// anything was seen to change, and what a node finds in its own slot, are taken as they are.
    pub fn decode_unchecked(bytes: &[u8]) -> Result<Block, BlockError> {
        if u32::try_from(bytes.len()).ok().and_then(BlockSize::new).is_none() {
            return Err(BlockError::Length(bytes.len()));
        }
        Ok(Block {
            sequence: u64_at(bytes, SEQUENCE),
            node: bytes[NODE],
            generation: u64_at(bytes, GENERATION),
            dead_ms: u32_at(bytes, DEAD_MS),
        })
    }
}

/// Why bytes are no heartbeat block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// No heartbeat block has that many bytes.
    #[error("a heartbeat block has 512, 1024, 2048 or 4096 bytes, not {0}")]
    Length(usize),
    /// The checksum is wrong: the block was written in part, or by something else.
    #[error("the checksum of the heartbeat block is {computed:08x}, and it says {stored:08x}")]
    Checksum {
        /// What the block says.
        stored: u32,
        /// What it should say.
        computed: u32,
    },
}

const SEQUENCE: usize = 0;
const NODE: usize = 8;
const CHECKSUM: usize = 12;
const GENERATION: usize = 16;
const DEAD_MS: usize = 24;

/// The checksum of a whole block, as if its own four bytes were zero.
fn checksum_of(bytes: &[u8]) -> u32 {
    let before = crc_le(0, &bytes[..CHECKSUM]);
    let own = crc_le(before, &[0; 4]);
    crc_le(own, &bytes[CHECKSUM + 4..])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: Block =
        Block { sequence: 0x65A0_B0C0, node: 3, generation: 0x1122_3344_5566_7788, dead_ms: 62000 };

    fn size(bytes: u32) -> BlockSize {
        BlockSize::new(bytes).expect("a size of the table")
    }

    // Behaviours 29, 30, 31.
    #[test]
    fn the_checksum_covers_the_whole_block() {
        let left = Block { generation: 0, ..EXAMPLE };
        for (block, bytes, sum) in [
            (EXAMPLE, 512, 0x0A44_C34B_u32),
            (EXAMPLE, 4096, 0x9E60_267A),
            (left, 512, 0xEE7B_48D3),
            (left, 4096, 0x822D_3739),
        ] {
            let encoded = block.encode(size(bytes));
            assert_eq!(encoded[CHECKSUM..CHECKSUM + 4], sum.to_le_bytes());
            assert_eq!(Block::decode(&encoded), Ok(block));
        }
    }

    // Behaviour 29.
    #[test]
    fn a_block_starts_with_its_fields_and_ends_in_zeros() {
        let bytes = EXAMPLE.encode(size(512));
        assert_eq!(
            bytes[..32],
            [
                0xc0, 0xb0, 0xa0, 0x65, 0, 0, 0, 0, 3, 0, 0, 0, 0x4b, 0xc3, 0x44, 0x0a, //
                0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x30, 0xf2, 0, 0, 0, 0, 0, 0,
            ]
        );
        assert!(bytes[32..].iter().all(|byte| *byte == 0));
    }

    // Behaviour 32.
    #[test]
    fn a_block_of_zeros_is_right() {
        for bytes in [512, 1024, 2048, 4096] {
            assert_eq!(Block::decode(&vec![0; bytes]), Ok(Block::default()));
        }
    }

    // Behaviour 33.
    #[test]
    fn the_checksum_has_no_inversion() {
        assert_eq!(crc_le(0, b"123456789"), 0x2DFD_2D88);
        assert_eq!(crc_le(32, b"123456789"), 0xAF0C_AF2B);
    }

    // Behaviour 34.
    #[test]
    fn any_flipped_bit_makes_the_checksum_wrong() {
        let mut bytes = EXAMPLE.encode(size(512));
        for bit in 0..512 * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Block::decode(&bytes), Err(BlockError::Checksum { .. })), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn only_powers_of_two_from_512_to_4096_are_sizes() {
        for bytes in [0, 1, 256, 511, 513, 1000, 3072, 4095, 8192, 65536 + 512, u32::MAX] {
            assert_eq!(BlockSize::new(bytes), None);
        }
        for bytes in [0, 28, 511, 513, 8192] {
            assert_eq!(Block::decode(&vec![0; bytes]), Err(BlockError::Length(bytes)));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            sequence: u64, node: u8, generation: u64, dead_ms: u32, log in 9u32..=12,
        ) {
            let block = Block { sequence, node, generation, dead_ms };
            prop_assert_eq!(Block::decode(&block.encode(size(1 << log))), Ok(block));
        }
    }
}
