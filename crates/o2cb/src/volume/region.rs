//! Where nodes heartbeat.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;

use super::inode::Inode;
use super::{Superblock, VolumeError};

/// How many blocks a heartbeat region has: one for each node number.
pub const REGION_BLOCKS: u32 = 255;

/// The parameters of a heartbeat region, as a node registers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRegion {
    /// Its name: the volume's UUID as 32 upper-case hexadecimal digits.
    pub name: String,
    /// How far apart the blocks of two nodes are, in bytes: a sector of the device, whatever the block
    /// size of the file system.
    pub block_bytes: u32,
    /// Where the region starts, in units of [`block_bytes`](Self::block_bytes).
    pub start_block: u64,
    /// How many blocks it has: [`REGION_BLOCKS`].
    pub blocks: u32,
}

impl HeartbeatRegion {
    /// Where the region starts, in bytes.
    pub fn start_byte(&self) -> u64 {
        self.start_block.saturating_mul(self.block_bytes.into())
    }

    /// Whether a node could heartbeat here on a device of this logical sector size: the kernel starts a
    /// region on no other (fs/ocfs2/cluster/heartbeat.c: `o2hb_region_dev_store`).
    pub fn check(&self, sector_size: u32) -> Result<(), VolumeError> {
        if self.block_bytes != sector_size {
            return Err(VolumeError::SectorSize { sector_size, block_size: self.block_bytes });
        }
        Ok(())
    }
}

/// The logical sector size of a device in bytes. An image in a file has none: there it is 512, as for the
/// classic tools.
pub fn sector_size(device: &File) -> io::Result<u32> {
    if !device.metadata()?.file_type().is_block_device() {
        return Ok(512);
    }
    Ok(rustix::fs::ioctl_blksszget(device)?)
}

/// The region in the only extent of the heartbeat file.
pub(super) fn of_inode(
    superblock: &Superblock,
    inode: &Inode,
    sector_size: u32,
) -> Result<HeartbeatRegion, VolumeError> {
    let block_size = superblock.block_size;
    if !sector_size.is_power_of_two() || !(512..=block_size).contains(&sector_size) {
        return Err(VolumeError::SectorSize { sector_size, block_size });
    }
    if !inode.is_heartbeat() {
        return Err(inode.corrupt("the heartbeat file is not marked as such"));
    }
    let extent = inode.extent_list()?.only().ok_or(VolumeError::RegionInPieces)?;
    extent.check(superblock)?;
    let blocks = u64::from(extent.clusters) * superblock.blocks_per_cluster();
    if blocks < REGION_BLOCKS.into() {
        return Err(VolumeError::RegionTooSmall { blocks });
    }
    Ok(HeartbeatRegion {
        name: superblock.uuid_text(),
        block_bytes: sector_size,
        // A block of the volume: 32 bits of clusters, 8 of blocks in each, and 3 of sectors fit.
        start_block: extent.block * u64::from(block_size / sector_size),
        blocks: REGION_BLOCKS,
    })
}
