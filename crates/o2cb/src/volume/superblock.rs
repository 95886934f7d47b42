//! The superblock.

use std::io;

use super::block::{self, Block};
use super::{ReadAt, VolumeError};

/// Where it is (`OCFS2_SUPER_BLOCK_BLKNO`), in blocks of a size that only it tells.
pub(super) const BLOCK: u64 = 2;

/// What the superblock says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The size of a block of the file system in bytes: 512, 1024, 2048 or 4096.
    pub block_size: u32,
    /// The size of a cluster, the unit of allocation, in bytes: 4 KiB to 1 MiB.
    pub cluster_size: u32,
    /// How many clusters the volume has.
    pub clusters: u32,
    /// How many nodes can mount it at once: at most 255; 0 on a device that is for heartbeat only.
    pub slots: u16,
    /// The volume's UUID.
    pub uuid: [u8; 16],
    /// The volume's label: what people call it, of foreign origin.
    pub label: String,
    /// Which cluster stack it belongs to. A volume without it belongs to the classic one.
    pub stack: Option<StackInfo>,
    pub(super) system_directory: u64,
    pub(super) generation: u32,
    incompat: u32,
}

/// The cluster stack of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackInfo {
    /// The stack's label, such as `o2cb`: 4 bytes, of foreign origin.
    pub label: String,
    /// The cluster's name, of foreign origin.
    pub cluster: String,
    /// Whether its nodes heartbeat on regions of the cluster instead of on the volume.
    pub global_heartbeat: bool,
}

impl Superblock {
    /// The UUID as 32 upper-case hexadecimal digits: the name of the heartbeat region and of the domain.
    pub fn uuid_text(&self) -> String {
        self.uuid.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// Whether entries of the slot map have 8 bytes.
    pub fn has_extended_slot_map(&self) -> bool {
        self.incompat & EXTENDED_SLOT_MAP != 0
    }

    /// Whether only one node can mount it, without a cluster.
    pub fn is_local(&self) -> bool {
        self.incompat & LOCAL_MOUNT != 0
    }

    /// Whether there is nothing on it but a heartbeat region.
    pub fn is_heartbeat_device(&self) -> bool {
        self.incompat & HEARTBEAT_DEVICE != 0
    }

    /// How many blocks the volume has.
    pub(super) fn blocks(&self) -> u64 {
        u64::from(self.clusters) * self.blocks_per_cluster()
    }

    pub(super) fn blocks_per_cluster(&self) -> u64 {
        u64::from(self.cluster_size / self.block_size)
    }

    fn decode(block: &Block, block_size: u32) -> Result<Superblock, VolumeError> {
        let incompat = block.le32::<0xe0>();
        let unsupported = |what, value| Err(VolumeError::Unsupported { what, value });
        let revision = (block.le16::<0xc0>(), block.le16::<0xc2>());
        if revision != REVISION {
            let value = u64::from(revision.0) << 16 | u64::from(revision.1);
            return unsupported("the revision", value);
        }
        if incompat & !KNOWN != 0 {
            return unsupported("the incompatible features", (incompat & !KNOWN).into());
        }
        let cluster_bits = block.le32::<0xfc>();
        if !(12..=20).contains(&cluster_bits) {
            return unsupported("the cluster size", cluster_bits.into());
        }
        let slots = block.le16::<0x100>();
        if slots > SLOTS_MAX || slots == 0 && incompat & HEARTBEAT_DEVICE == 0 {
            return unsupported("the number of slots", slots.into());
        }
        let stack = (incompat & (USERSPACE_STACK | CLUSTER_INFO) != 0).then(|| StackInfo {
            label: text(&block.field::<0x160, 4>()),
            cluster: text(&block.field::<0x168, 16>()),
            global_heartbeat: incompat & CLUSTER_INFO != 0
                && block.field::<0x164, 1>()[0] & GLOBAL_HEARTBEAT != 0,
        });
        Ok(Superblock {
            block_size,
            cluster_size: 1 << cluster_bits,
            clusters: block.le32::<0x14>(),
            slots,
            uuid: block.field::<0x150, 16>(),
            label: text(&block.field::<0x110, 64>()),
            stack,
            system_directory: block.le64::<0xf0>(),
            generation: block.le32::<0x60>(),
            incompat,
        })
    }
}

/// Finds the superblock: as its place depends on the block size it tells, each size is tried
/// (fs/ocfs2/super.c: `ocfs2_sb_probe`).
pub(super) fn find(device: &impl ReadAt) -> Result<Superblock, VolumeError> {
    for bits in 9..=12 {
        let block_size = 1 << bits;
        let block = match block::read(device, BLOCK, block_size) {
            Ok(block) => block,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(VolumeError::Io { block: BLOCK, error }),
        };
        let is_superblock = &block.field::<0, 8>() == SIGNATURE
            && block.le32::<0xf8>() == bits
            && block.le64::<0x50>() == BLOCK;
        if is_superblock {
            return Superblock::decode(&block, block_size);
        }
    }
    Err(VolumeError::NoVolume)
}

/// Text up to a NUL byte.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

const SIGNATURE: &[u8; 8] = b"OCFSV2\0\0";
const REVISION: (u16, u16) = (0, 90);
const SLOTS_MAX: u16 = 255;
const GLOBAL_HEARTBEAT: u8 = 0x01;

/// Incompatible features.
const HEARTBEAT_DEVICE: u32 = 0x0002;
const LOCAL_MOUNT: u32 = 0x0008;
const USERSPACE_STACK: u32 = 0x0080;
const EXTENDED_SLOT_MAP: u32 = 0x0100;
const CLUSTER_INFO: u32 = 0x4000;
/// All that Linux 6.1 knows: what they change is not read here, or is known here.
const KNOWN: u32 = 0xfffe;
