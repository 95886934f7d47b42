//! Inodes, and entries of directories.

use super::block::Block;
use super::extent::{self, ExtentList};
use super::{Superblock, VolumeError};

/// An inode in use.
#[derive(Debug)]
pub(super) struct Inode(Block);

impl Inode {
    pub(super) fn decode(block: Block, superblock: &Superblock) -> Result<Inode, VolumeError> {
        let inode = Inode(block);
        if &inode.0.field::<0, 8>() != SIGNATURE {
            return Err(inode.corrupt("it is no inode"));
        }
        if inode.0.le64::<0x50>() != inode.number() {
            return Err(inode.corrupt("its inode is that of another block"));
        }
        // What an earlier volume left on the device looks right otherwise.
        if inode.0.le32::<0x60>() != superblock.generation {
            return Err(inode.corrupt("its inode is that of another volume"));
        }
        if inode.flags() & VALID == 0 {
            return Err(inode.corrupt("its inode is not in use"));
        }
        Ok(inode)
    }

    /// Its block.
    pub(super) fn number(&self) -> u64 {
        self.0.number()
    }

    /// The file's length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.0.le64::<0x20>()
    }

    pub(super) fn is_directory(&self) -> bool {
        self.0.le16::<0x28>() & FILE_TYPE == DIRECTORY
    }

    pub(super) fn is_regular(&self) -> bool {
        self.0.le16::<0x28>() & FILE_TYPE == REGULAR
    }

    pub(super) fn is_system(&self) -> bool {
        self.flags() & SYSTEM != 0
    }

    /// Whether it is the file that nodes heartbeat on.
    pub(super) fn is_heartbeat(&self) -> bool {
        self.flags() & HEARTBEAT != 0
    }

    /// The content, when the inode has it instead of extents.
    pub(super) fn inline_data(&self) -> Result<Option<&[u8]>, VolumeError> {
        if self.0.le16::<0x76>() & INLINE_DATA == 0 {
            return Ok(None);
        }
        let room = &self.0.bytes()[INLINE_AT..];
        let len = usize::try_from(self.size()).unwrap_or(usize::MAX);
        let limit = usize::from(self.0.le16::<0xc0>());
        room.get(..len)
            .filter(|_| len <= limit)
            .map(Some)
            .ok_or_else(|| self.corrupt("its inline data is longer than the block"))
    }

    pub(super) fn extent_list(&self) -> Result<ExtentList<'_>, VolumeError> {
        if self.0.le16::<0x76>() & INLINE_DATA != 0 {
            return Err(self.corrupt("a system file has inline data"));
        }
        extent::decode(&self.0, EXTENTS_AT)
    }

    pub(super) fn corrupt(&self, what: &'static str) -> VolumeError {
        VolumeError::Corrupt { block: self.number(), what }
    }

    fn flags(&self) -> u32 {
        self.0.le32::<0x2c>()
    }
}

/// The inode of an entry of a block of a directory.
pub(super) fn find_entry(mut bytes: &[u8], name: &str) -> Result<Option<u64>, &'static str> {
    while !bytes.is_empty() {
        let Some((header, rest)) = bytes.split_first_chunk::<ENTRY_HEADER_LEN>() else {
            return Err("an entry of the directory is cut");
        };
        let [inode @ .., len_low, len_high, name_len, _file_type] = *header;
        let len = usize::from(u16::from_le_bytes([len_low, len_high]));
        let name_len = usize::from(name_len);
        if len < ENTRY_HEADER_LEN + name_len || len > bytes.len() {
            return Err("an entry of the directory has a wrong length");
        }
        let inode = u64::from_le_bytes(inode);
        if inode != 0 && &rest[..name_len] == name.as_bytes() {
            return Ok(Some(inode));
        }
        bytes = &bytes[len..];
    }
    Ok(None)
}

const SIGNATURE: &[u8; 8] = b"INODE01\0";
/// Where the list of extents is, or the inline data's header.
const EXTENTS_AT: usize = 0xc0;
const INLINE_AT: usize = 0xc8;

/// Flags of an inode.
const VALID: u32 = 0x001;
const SYSTEM: u32 = 0x010;
const HEARTBEAT: u32 = 0x200;
/// Features of an inode.
const INLINE_DATA: u16 = 0x0001;

const FILE_TYPE: u16 = 0o170_000;
const DIRECTORY: u16 = 0o040_000;
const REGULAR: u16 = 0o100_000;

/// Inode, length, name's length, file type.
const ENTRY_HEADER_LEN: usize = 12;
