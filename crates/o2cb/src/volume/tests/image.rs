//! A small volume: blocks and clusters of 4 KiB, four slots, everything that is read here.

pub(super) const BLOCK_SIZE: usize = 4096;
pub(super) const BLOCKS: usize = 300;

/// Blocks of the volume.
pub(super) const SUPERBLOCK: usize = 2;
pub(super) const SYSTEM_DIRECTORY: usize = 6;
pub(super) const SLOT_MAP: usize = 9;
pub(super) const HEARTBEAT: usize = 10;
pub(super) const SLOT_MAP_DATA: usize = 15;
const HEARTBEAT_DATA: usize = 20;

const GENERATION: u32 = 0xc4dd_5b7c;

pub(super) struct Image(pub(super) Vec<u8>);

impl Image {
    pub(super) fn new() -> Image {
        let mut image = Image(vec![0; BLOCKS * BLOCK_SIZE]);
        image.set_inode(SUPERBLOCK, b"OCFSV2\0\0", 0, 0x31, 0);
        image.set(SUPERBLOCK, 0x14, &(BLOCKS as u32).to_le_bytes());
        image.set(SUPERBLOCK, 0xc2, &90u16.to_le_bytes());
        image.set(SUPERBLOCK, 0xe0, &0x4100u32.to_le_bytes());
        image.set(SUPERBLOCK, 0xf0, &(SYSTEM_DIRECTORY as u64).to_le_bytes());
        image.set(SUPERBLOCK, 0xf8, &12u32.to_le_bytes());
        image.set(SUPERBLOCK, 0xfc, &12u32.to_le_bytes());
        image.set(SUPERBLOCK, 0x100, &4u16.to_le_bytes());
        image.set(SUPERBLOCK, 0x110, b"data");
        let uuid = 0x632a_924f_dd84_4190_bda9_3c0d_f6b9_4899u128;
        image.set(SUPERBLOCK, 0x150, &uuid.to_be_bytes());
        image.set(SUPERBLOCK, 0x160, b"o2cb\x01\0\0\0sixteenletters16");

        image.set_inode(SYSTEM_DIRECTORY, b"INODE01\0", 0o040_755, 0x11, 3896);
        image.set(SYSTEM_DIRECTORY, 0x76, &1u16.to_le_bytes());
        image.set(SYSTEM_DIRECTORY, 0xc0, &3896u16.to_le_bytes());
        image.set_entries(SYSTEM_DIRECTORY, 0xc8, 3896);

        image.set_inode(SLOT_MAP, b"INODE01\0", 0o100_644, 0x11, BLOCK_SIZE as u64);
        image.set_extent(SLOT_MAP, 0xc0, 0, 1, SLOT_MAP_DATA as u64);
        image.set_inode(HEARTBEAT, b"INODE01\0", 0o100_644, 0x211, 256 * BLOCK_SIZE as u64);
        image.set_extent(HEARTBEAT, 0xc0, 0, 256, HEARTBEAT_DATA as u64);
        image
    }

    /// Writes bytes at an offset of a block.
    pub(super) fn set(&mut self, block: usize, at: usize, bytes: &[u8]) {
        let from = block * BLOCK_SIZE + at;
        self.0[from..from + bytes.len()].copy_from_slice(bytes);
    }

    /// Puts an extent block between an inode and the one cluster of its file.
    pub(super) fn make_tree(&mut self, inode: usize, at: usize, data: u64) {
        self.set_extent(inode, 0xc0, 1, 1, at as u64);
        self.set(at, 0, b"EXBLK01\0");
        self.set(at, 0x1c, &GENERATION.to_le_bytes());
        self.set(at, 0x20, &(at as u64).to_le_bytes());
        self.set_extent(at, 0x30, 0, 1, data);
    }

    /// Gives the system directory a block of its own instead of inline data.
    pub(super) fn move_directory_to(&mut self, block: usize) {
        self.set(SYSTEM_DIRECTORY, 0xc0, &[0; BLOCK_SIZE - 0xc0]);
        self.set(SYSTEM_DIRECTORY, 0x76, &[0; 2]);
        self.set(SYSTEM_DIRECTORY, 0x20, &(BLOCK_SIZE as u64).to_le_bytes());
        self.set_extent(SYSTEM_DIRECTORY, 0xc0, 0, 1, block as u64);
        self.set_entries(block, 0, BLOCK_SIZE);
    }

    fn set_inode(&mut self, block: usize, signature: &[u8; 8], mode: u16, flags: u32, size: u64) {
        self.set(block, 0, signature);
        self.set(block, 0x20, &size.to_le_bytes());
        self.set(block, 0x28, &mode.to_le_bytes());
        self.set(block, 0x2c, &flags.to_le_bytes());
        self.set(block, 0x50, &(block as u64).to_le_bytes());
        self.set(block, 0x60, &GENERATION.to_le_bytes());
    }

    /// A list of one extent.
    fn set_extent(&mut self, block: usize, at: usize, depth: u16, clusters: u16, data: u64) {
        let count = ((BLOCK_SIZE - at - 16) / 16) as u16;
        for (at, number) in [(at, depth), (at + 2, count), (at + 4, 1), (at + 20, clusters)] {
            self.set(block, at, &number.to_le_bytes());
        }
        self.set(block, at + 24, &data.to_le_bytes());
    }

    /// The entries of the system directory, up to the end of its bytes.
    fn set_entries(&mut self, block: usize, mut at: usize, len: usize) {
        let end = at + len;
        let entries = [(".", 6), ("heart", 0), ("slot_map", SLOT_MAP), ("heartbeat", HEARTBEAT)];
        for (index, (name, inode)) in entries.into_iter().enumerate() {
            let last = index + 1 == entries.len();
            let len = if last { end - at } else { (12 + name.len()).next_multiple_of(4) };
            self.set(block, at, &(inode as u64).to_le_bytes());
            self.set(block, at + 8, &(len as u16).to_le_bytes());
            self.set(block, at + 10, &[name.len() as u8, 1]);
            self.set(block, at + 12, name.as_bytes());
            at += len;
        }
    }
}
