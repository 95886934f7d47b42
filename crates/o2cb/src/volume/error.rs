//! Why a volume cannot be used.

use std::io;

use dlm::Errno;

/// Why a volume cannot be used. Nothing was changed on it.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The device cannot be read.
    #[error("cannot read block {block}: {error}")]
    Io {
        /// The block, in blocks of the file system.
        block: u64,
        /// The system's answer.
        #[source]
        error: io::Error,
    },
    /// There is no superblock.
    #[error("there is no OCFS2 volume: mkfs.ocfs2 makes one")]
    NoVolume,
    /// A superblock that says what cannot be, or what is not known here.
    #[error("the superblock has {what} {value:#x}, which is not supported")]
    Unsupported {
        /// What it has.
        what: &'static str,
        /// The value it has there.
        value: u64,
    },
    /// A block that is not what it should be.
    #[error("block {block} is damaged: {what}; fsck.ocfs2 may repair it")]
    Corrupt {
        /// The block, in blocks of the file system.
        block: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A reference to a block that the volume does not have.
    #[error("there is no block {block}, which the volume refers to; fsck.ocfs2 may repair it")]
    OutsideVolume {
        /// The block, in blocks of the file system.
        block: u64,
    },
    /// The system directory lacks a file.
    #[error("the system directory has no file `{name}`; fsck.ocfs2 may repair it")]
    NoSystemFile {
        /// The file's name.
        name: &'static str,
    },
    /// The heartbeat file is in pieces.
    #[error("the heartbeat file is not in one piece: nodes cannot heartbeat on it")]
    RegionInPieces,
    /// The heartbeat file has no room for every node.
    #[error("the heartbeat file has {blocks} blocks: it has to have 255")]
    RegionTooSmall {
        /// How many blocks of the file system it has.
        blocks: u64,
    },
    /// Sectors that are no unit of this volume.
    #[error(
        "the device's sectors of {sector_size} bytes do not fit the volume's blocks of {block_size}"
    )]
    SectorSize {
        /// The device's logical sector size.
        sector_size: u32,
        /// The file system's block size.
        block_size: u32,
    },
    /// The slot map has no room for every slot.
    #[error("the slot map has {size} bytes: it has to have {needed}")]
    SlotMapTooSmall {
        /// How many bytes the slots need.
        needed: u64,
        /// How many the file has.
        size: u64,
    },
}

impl VolumeError {
    /// What the kernel answers.
    pub fn errno(&self) -> Errno {
        match self {
            VolumeError::Io { error, .. } => {
                error.raw_os_error().and_then(Errno::from_number).unwrap_or(Errno::EIO)
            }
            VolumeError::Corrupt { .. } | VolumeError::OutsideVolume { .. } => Errno::EIO,
            VolumeError::NoSystemFile { .. } => Errno::ENOENT,
            VolumeError::SlotMapTooSmall { .. } => Errno::ENOSPC,
            _ => Errno::EINVAL,
        }
    }
}
