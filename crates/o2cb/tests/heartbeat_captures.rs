//! Slots 1, 2 and 3 of heartbeat regions that Linux 6.1 nodes wrote, 512 bytes each.

use stackglue_o2cb::heartbeat::{Block, BlockSize};

/// Sequence, node, generation, dead_ms.
type Fields = (u64, u8, u64, u32);

const NOTHING: Fields = (0, 0, 0, 0);

const CAPTURES: [(&str, &[u8; 1536], [Fields; 3]); 4] = [
    (
        "two nodes are alive, the third was never there",
        include_bytes!("fixtures/hb-two-alive.bin"),
        [
            (1795358466, 1, 0x4fcf8d7b6cfd0a6d, 62000),
            (1795358465, 2, 0xc07eae4050303452, 62000),
            NOTHING,
        ],
    ),
    (
        "node 2 has left: its generation is 0",
        include_bytes!("fixtures/hb-one-left.bin"),
        [(1795358468, 1, 0x4fcf8d7b6cfd0a6d, 62000), (1795358467, 2, 0, 62000), NOTHING],
    ),
    (
        "three nodes are alive, with a dead threshold of 7",
        include_bytes!("fixtures/hb-three-alive.bin"),
        [
            (1795358627, 1, 0x00a032989e43f4e6, 14000),
            (1795358627, 2, 0x6838967e50fe476e, 14000),
            (1795358625, 3, 0x0833dbdd6efcc4c1, 14000),
        ],
    ),
    (
        "node 1 has died 27 seconds ago: its block is the last one that it wrote",
        include_bytes!("fixtures/hb-one-dead.bin"),
        [
            (1795358627, 1, 0x00a032989e43f4e6, 14000),
            (1795358654, 2, 0x6838967e50fe476e, 14000),
            (1795358654, 3, 0x0833dbdd6efcc4c1, 14000),
        ],
    ),
];

// Behaviours 29, 32, 41, 54.
#[test]
fn blocks_of_the_kernel_are_read_and_written_to_the_byte() {
    let size = BlockSize::new(512).expect("a block size");
    for (what, region, slots) in CAPTURES {
        for (bytes, fields) in region.chunks(512).zip(slots) {
            let (sequence, node, generation, dead_ms) = fields;
            let block = Block { sequence, node, generation, dead_ms };
            assert_eq!(Block::decode(bytes), Ok(block), "{what}");
            assert_eq!(block.encode(size), bytes, "{what}");
        }
    }
}
