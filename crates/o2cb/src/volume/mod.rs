//! OCFS2 volumes, read only: where the heartbeat region is, and the slot map.
//!
//! A volume is shared, and may be anything: what is read is checked before it is used, and nothing on it
//! can make a read go on for ever. Checksums of metadata blocks are not looked at.

mod block;
mod error;
mod extent;
mod inode;
mod region;
mod slot_map;
mod superblock;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use block::Block;
use inode::Inode;

pub use error::VolumeError;
pub use region::{HeartbeatRegion, REGION_BLOCKS, sector_size};
pub use slot_map::SlotMap;
pub use superblock::{StackInfo, Superblock};

/// What a volume is read from.
pub trait ReadAt {
    /// Fills the buffer with what is at the offset, in bytes. Blocks as reading a file does.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

/// An image of a volume.
impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let bytes = from.and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// An OCFS2 volume.
#[derive(Debug)]
pub struct Volume<'a, D> {
    device: &'a D,
    superblock: Superblock,
}

impl<'a, D: ReadAt> Volume<'a, D> {
    /// Reads the superblock of a device.
    pub fn open(device: &'a D) -> Result<Volume<'a, D>, VolumeError> {
        Ok(Volume { superblock: superblock::find(device)?, device })
    }

    /// What the superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Where nodes heartbeat on this volume; the device's logical sector size tells how far apart
    /// (see [`sector_size`]).
    pub fn heartbeat_region(&self, sector_size: u32) -> Result<HeartbeatRegion, VolumeError> {
        let inode = self.system_file("heartbeat")?;
        region::of_inode(&self.superblock, &inode, sector_size)
    }

    /// Which node has which slot. It may have changed meanwhile: only who holds the super lock knows.
    pub fn slot_map(&self) -> Result<SlotMap, VolumeError> {
        let inode = self.system_file("slot_map")?;
        let len = slot_map::len_needed(&self.superblock);
        if inode.size() < len as u64 {
            return Err(VolumeError::SlotMapTooSmall { needed: len as u64, size: inode.size() });
        }
        let mut bytes = Vec::with_capacity(len);
        for number in 0..len.div_ceil(self.superblock.block_size as usize) {
            let block = self.file_block(&inode, number as u64)?;
            bytes.extend_from_slice(block.bytes());
        }
        bytes.truncate(len);
        Ok(SlotMap::decode(&bytes, self.superblock.has_extended_slot_map()))
    }

    /// The inode of a file of the system directory.
    fn system_file(&self, name: &'static str) -> Result<Inode, VolumeError> {
        let directory = self.inode(self.superblock.system_directory)?;
        if !directory.is_directory() {
            return Err(directory.corrupt("the system directory is no directory"));
        }
        let number = self.find(&directory, name)?.ok_or(VolumeError::NoSystemFile { name })?;
        let inode = self.inode(number)?;
        if !inode.is_regular() || !inode.is_system() {
            return Err(inode.corrupt("a system file is none"));
        }
        Ok(inode)
    }

    fn find(&self, directory: &Inode, name: &str) -> Result<Option<u64>, VolumeError> {
        if let Some(inline) = directory.inline_data()? {
            return inode::find_entry(inline, name)
                .map_err(|what| VolumeError::Corrupt { block: directory.number(), what });
        }
        if directory.size() > DIRECTORY_SIZE_MAX {
            return Err(directory.corrupt("the system directory is too large"));
        }
        for number in 0..directory.size() / u64::from(self.superblock.block_size) {
            let block = self.file_block(directory, number)?;
            let found = inode::find_entry(block.bytes(), name)
                .map_err(|what| VolumeError::Corrupt { block: block.number(), what })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn inode(&self, number: u64) -> Result<Inode, VolumeError> {
        Inode::decode(self.block(number)?, &self.superblock)
    }

    /// A block of a file, by its number in the file.
    fn file_block(&self, inode: &Inode, number: u64) -> Result<Block, VolumeError> {
        let blocks_per_cluster = self.superblock.blocks_per_cluster();
        let cluster = number / blocks_per_cluster;
        let mut list = inode.extent_list()?;
        // Each level is one less than the one above it: this ends.
        while let Some(number) = list.child_of(cluster)? {
            list = extent::of_block(self.block(number)?, list.depth(), &self.superblock)?;
        }
        let start = list.cluster(cluster, &self.superblock)?;
        self.block(start + number % blocks_per_cluster)
    }

    fn block(&self, number: u64) -> Result<Block, VolumeError> {
        if number <= superblock::BLOCK || number >= self.superblock.blocks() {
            return Err(VolumeError::OutsideVolume { block: number });
        }
        block::read(self.device, number, self.superblock.block_size)
            .map_err(|error| VolumeError::Io { block: number, error })
    }
}

/// Far more than the entries of 255 slots need.
const DIRECTORY_SIZE_MAX: u64 = 1 << 20;
