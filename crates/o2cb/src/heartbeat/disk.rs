//! The slots of one region on a device or in a file: the half of the heartbeat that does I/O.
//!
//! I/O goes to the device and not to the page cache. A node that reads from its cache sees every peer
//! dead, and one that writes into it looks dead to them while it believes that it lives.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::BlockSize;
use crate::NodeId;

/// Where a region is on its device: blocks of one size, one for each node by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    block: BlockSize,
    start_block: u64,
    blocks: u8,
}

impl Geometry {
    /// A region of `blocks` blocks, at least one, that starts `start_block` blocks into the device.
    /// `None` if it has none, or ends beyond what a file offset can say.
    pub fn new(block: BlockSize, start_block: u64, blocks: u8) -> Option<Geometry> {
        let geometry = Geometry { block, start_block, blocks };
        let end = start_block.checked_add(blocks.into())?.checked_mul(block.bytes() as u64)?;
        (blocks > 0 && i64::try_from(end).is_ok()).then_some(geometry)
    }

    /// The size of a block.
    pub fn block_size(&self) -> BlockSize {
        self.block
    }

    /// The first block of the region, counted in blocks of its size.
    pub fn start_block(&self) -> u64 {
        self.start_block
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> u8 {
        self.blocks
    }

    /// The byte at which a node's slot starts; `None` if the region has no such slot.
    pub fn position(&self, node: NodeId) -> Option<u64> {
        (node.get() < self.blocks)
            .then(|| (self.start_block + u64::from(node.get())) * self.block.bytes() as u64)
    }

    fn end(&self) -> u64 {
        (self.start_block + u64::from(self.blocks)) * self.block.bytes() as u64
    }
}

/// How I/O reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Past the page cache (`O_DIRECT`).
    Direct,
    /// Through the page cache of this machine, writes on the disk before they are done (`O_DSYNC`).
    /// Nodes of other machines do not see each other this way.
    Cached,
}

/// One region, open.
///
/// Its calls block for as long as the device takes, which may be for ever.
#[derive(Debug)]
pub struct Disk {
    file: File,
    geometry: Geometry,
    access: Access,
}

impl Disk {
    /// Opens a block device, or a regular file.
    ///
    /// The blocks of a device must be its logical sectors: a node that spaces slots otherwise is
    /// invisible to the others and overwrites theirs. A regular file may have any block size, and if
    /// its file system has no direct I/O of such blocks (an older tmpfs, a disk of larger sectors
    /// below), it is read and written [through the cache](Access::Cached): all nodes that can share
    /// such a file are on this machine, and share the cache as well. A device is never.
    pub fn open(path: &Path, geometry: Geometry) -> Result<Disk, DiskError> {
        let error = |source| DiskError::Open { path: path.to_owned(), source };
        let is_device = match std::fs::metadata(path).map_err(error)?.file_type() {
            kind if kind.is_block_device() => true,
            kind if kind.is_file() => false,
            _ => return Err(DiskError::Kind(path.to_owned())),
        };
        match open_with(path, geometry, is_device, Access::Direct) {
            Err(DiskError::Open { source, .. })
                if !is_device && source.kind() == io::ErrorKind::InvalidInput =>
            {
                open_with(path, geometry, is_device, Access::Cached)
            }
            opened => opened,
        }
    }

    /// Where the region is.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How I/O reaches the disk.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Reads the slots of these nodes and those between.
    pub fn read_slots(&self, first: NodeId, last: NodeId) -> io::Result<Vec<u8>> {
        let (start, end) = (self.position(first)?, self.position(last)?);
        let block = self.geometry.block.bytes();
        let length = end.checked_sub(start).and_then(|bytes| usize::try_from(bytes).ok());
        let length = length.ok_or(io::ErrorKind::InvalidInput)? + block;
        let mut buffer = Aligned::new(length);
        self.file.read_exact_at(buffer.bytes_mut(), start)?;
        Ok(buffer.into_bytes())
    }

    /// Writes one node's slot, which only that node ever does. The device has it when this returns.
    pub fn write_slot(&self, node: NodeId, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() != self.geometry.block.bytes() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut buffer = Aligned::new(bytes.len());
        buffer.bytes_mut().copy_from_slice(bytes);
        self.file.write_all_at(buffer.bytes_mut(), self.position(node)?)
    }

    /// Whether the region is all there, and can be read: some file systems take the flag and refuse
    /// the I/O.
    fn probe(&self) -> io::Result<()> {
        let (has, end) = ((&self.file).seek(SeekFrom::End(0))?, self.geometry.end());
        if has < end {
            let what = format!("it has {has} bytes, and the region ends at {end}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        let last = NodeId::new(self.geometry.blocks - 1).ok_or(io::ErrorKind::InvalidInput)?;
        self.read_slots(last, last).map(drop)
    }

    fn position(&self, node: NodeId) -> io::Result<u64> {
        self.geometry.position(node).ok_or_else(|| {
            let blocks = self.geometry.blocks;
            let what = format!("node {node} has no slot in a heartbeat region of {blocks} blocks");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        })
    }
}

/// Makes a regular file that holds a region of dead nodes, to be shared by nodes that can all open it.
/// Fails if there is one. The file is on the disk when this returns.
pub fn create_region_file(path: &Path, geometry: Geometry) -> Result<(), DiskError> {
    let error = |source| DiskError::Create { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(error)?;
    // The region in zeros and not in a hole: a full disk shows here, not in a heartbeat.
    let zeros = vec![0; geometry.block.bytes() * usize::from(geometry.blocks)];
    let start = geometry.end() - zeros.len() as u64;
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.write_all(&zeros))
        .and_then(|()| file.sync_all())
        .map_err(|source| {
            // What is half a region must not look like one.
            let _ = std::fs::remove_file(path);
            error(source)
        })
}

/// Why there is no region to heartbeat in.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The device or file cannot be used.
    #[error("the heartbeat region on {path} cannot be opened")]
    Open {
        /// The device or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be made.
    #[error("the heartbeat region {path} cannot be created")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a socket or the like.
    #[error("{0} is neither a block device nor a regular file, and can hold no heartbeat region")]
    Kind(PathBuf),
    /// The blocks of the region are not the sectors of the device.
    #[error(
        "{path} has sectors of {sector} bytes; its heartbeat region must have blocks of as many, not {block}"
    )]
    Sector {
        /// The device.
        path: PathBuf,
        /// Its logical sector size in bytes.
        sector: u32,
        /// The block size of the region.
        block: BlockSize,
    },
}

/// What direct I/O wants of memory: every sector size divides it.
const ALIGNMENT: usize = 4096;

/// Bytes that start at a multiple of [`ALIGNMENT`] in memory.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Aligned {
        let memory = vec![0; length + ALIGNMENT - 1];
        let start = (memory.as_ptr() as usize).wrapping_neg() % ALIGNMENT;
        Aligned { memory, start, length }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.memory.truncate(self.start + self.length);
        self.memory.drain(..self.start);
        self.memory
    }
}

fn open_with(
    path: &Path,
    geometry: Geometry,
    is_device: bool,
    access: Access,
) -> Result<Disk, DiskError> {
    let error = |source| DiskError::Open { path: path.to_owned(), source };
    let flags = match access {
        Access::Direct => OFlags::DIRECT,
        Access::Cached => OFlags::DSYNC,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(error)?;
    if is_device {
        let sector = rustix::fs::ioctl_blksszget(&file).map_err(|e| error(e.into()))?;
        check_sector(path, geometry.block, sector)?;
    }
    let disk = Disk { file, geometry, access };
    disk.probe().map_err(error)?;
    Ok(disk)
}

fn check_sector(path: &Path, block: BlockSize, sector: u32) -> Result<(), DiskError> {
    if BlockSize::new(sector) == Some(block) {
        return Ok(());
    }
    Err(DiskError::Sector { path: path.to_owned(), sector, block })
}

#[cfg(test)]
mod tests {
    use super::super::Block;
    use super::*;

    fn size(bytes: u32) -> BlockSize {
        BlockSize::new(bytes).expect("a block size")
    }

    fn geometry(bytes: u32, start_block: u64, blocks: u8) -> Geometry {
        Geometry::new(size(bytes), start_block, blocks).expect("a region")
    }

    fn node(number: u8) -> NodeId {
        NodeId::new(number).expect("a node")
    }

    /// A region in a file of the build directory, which is on a disk more often than `/tmp` is.
    fn region(geometry: Geometry) -> (tempfile::TempDir, PathBuf) {
        let beside = std::env::current_exe().expect("this test has a file");
        let dir =
            tempfile::tempdir_in(beside.parent().expect("in a directory")).expect("a directory");
        let path = dir.path().join("region");
        create_region_file(&path, geometry).expect("a new file");
        (dir, path)
    }

    fn block(number: u8, sequence: u64) -> Block {
        Block { sequence, node: number, generation: 7, dead_ms: 62000 }
    }

    // Behaviour 35.
    #[test]
    fn a_slot_is_at_start_block_plus_node_in_blocks() {
        let region = geometry(512, 1000, 255);
        assert_eq!(region.position(node(0)), Some(512_000));
        assert_eq!(region.position(node(254)), Some((1000 + 254) * 512));
        assert_eq!(geometry(4096, 3, 10).position(node(9)), Some(12 * 4096));
        assert_eq!(geometry(4096, 3, 10).position(node(10)), None);
    }

    #[test]
    fn a_region_ends_within_a_file() {
        assert_eq!(Geometry::new(size(512), 0, 0), None);
        assert_eq!(Geometry::new(size(512), u64::MAX, 1), None);
        assert_eq!(Geometry::new(size(4096), u64::MAX / 4096 - 1, 1), None);
        assert_eq!(Geometry::new(size(4096), i64::MAX as u64 / 4096, 1), None);
        assert!(Geometry::new(size(4096), i64::MAX as u64 / 4096 - 1, 1).is_some());
    }

    // Behaviour 39.
    #[test]
    fn the_blocks_of_a_device_are_its_sectors() {
        let device = Path::new("/dev/sdx");
        assert!(check_sector(device, size(512), 512).is_ok());
        for (block, sector) in [(4096, 512), (512, 4096), (512, 0), (512, 65536 + 512)] {
            assert!(matches!(
                check_sector(device, size(block), sector),
                Err(DiskError::Sector { .. })
            ));
        }
    }

    #[test]
    fn a_file_on_ext4_xfs_or_btrfs_is_used_past_the_cache() {
        let geometry = geometry(4096, 0, 4);
        let (_dir, path) = region(geometry);
        let f_type = rustix::fs::statfs(&path).expect("a file system").f_type;
        if [0xEF53, 0x5846_5342, 0x9123_683E].contains(&f_type) {
            let disk = Disk::open(&path, geometry).expect("a region");
            assert_eq!(disk.access(), Access::Direct);
        }
    }

    // Behaviour 40.
    #[test]
    fn a_node_writes_its_slot_and_no_other() {
        for bytes in [512, 1024, 2048, 4096] {
            let geometry = geometry(bytes, 2, 8);
            let (_dir, path) = region(geometry);
            let disk = Disk::open(&path, geometry).expect("a region");
            for number in [3, 7, 0] {
                let written = block(number, 1000).encode(size(bytes));
                disk.write_slot(node(number), &written).expect("a slot");
                let before = disk.read_slots(node(0), node(7)).expect("slots");
                assert_eq!(before.len(), 8 * bytes as usize);
                assert_eq!(disk.read_slots(node(number), node(number)).expect("a slot"), written);
            }
            let slots = disk.read_slots(node(0), node(7)).expect("slots");
            for (number, slot) in (0..8).zip(slots.chunks(bytes as usize)) {
                let expected = if [0, 3, 7].contains(&number) {
                    block(number, 1000)
                } else {
                    Block::default()
                };
                assert_eq!(Block::decode(slot), Ok(expected));
            }
        }
    }

    /// What peers on this machine read may come from the page cache, and so may what they write.
    #[test]
    fn direct_and_buffered_io_of_one_machine_see_each_other() {
        let geometry = geometry(4096, 0, 4);
        let (_dir, path) = region(geometry);
        let disk = Disk::open(&path, geometry).expect("a region");
        let buffered = OpenOptions::new().read(true).write(true).open(&path).expect("the file");
        let mut cached = [0; 4096];
        for sequence in 1..20 {
            // It is in the cache, and the next write has to make it leave.
            buffered.read_exact_at(&mut cached, 4096).expect("a slot");
            let ours = block(1, sequence).encode(size(4096));
            disk.write_slot(node(1), &ours).expect("a slot");
            buffered.read_exact_at(&mut cached, 4096).expect("a slot");
            assert_eq!(cached[..], ours);

            let theirs = block(2, sequence).encode(size(4096));
            buffered.write_all_at(&theirs, 2 * 4096).expect("a slot");
            assert_eq!(disk.read_slots(node(2), node(2)).expect("a slot"), theirs);
        }
    }

    /// Whatever `/dev/shm` does with direct I/O, a region in it works.
    #[test]
    fn a_file_in_memory_is_a_region_too() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
        let path = dir.path().join("region");
        let geometry = geometry(512, 0, 4);
        create_region_file(&path, geometry).expect("a new file");
        let disk = Disk::open(&path, geometry).expect("a region");
        let written = block(1, 5).encode(size(512));
        disk.write_slot(node(1), &written).expect("a slot");
        assert_eq!(disk.read_slots(node(1), node(1)).expect("a slot"), written);
    }

    #[test]
    fn a_region_of_a_file_is_made_once_and_of_full_length() {
        let geometry = geometry(512, 3, 255);
        let (_dir, path) = region(geometry);
        assert_eq!(std::fs::metadata(&path).expect("the file").len(), 258 * 512);
        let again = create_region_file(&path, geometry);
        assert!(matches!(again, Err(DiskError::Create { source, .. })
            if source.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(std::fs::metadata(&path).expect("the file").len(), 258 * 512);
    }

    #[test]
    fn what_is_too_small_or_no_file_is_refused() {
        let (dir, path) = region(geometry(512, 0, 8));
        for larger in [geometry(512, 0, 9), geometry(512, 1, 8), geometry(4096, 0, 8)] {
            let refused = Disk::open(&path, larger);
            assert!(matches!(refused, Err(DiskError::Open { source, .. })
                if source.kind() == io::ErrorKind::UnexpectedEof));
        }
        for other in [dir.path(), Path::new("/dev/null")] {
            let refused = Disk::open(other, geometry(512, 0, 8));
            assert!(matches!(refused, Err(DiskError::Kind(_))));
        }
    }

    #[test]
    fn slots_beyond_the_region_and_pieces_of_blocks_are_refused() {
        let geometry = geometry(512, 0, 8);
        let (_dir, path) = region(geometry);
        let disk = Disk::open(&path, geometry).expect("a region");
        assert!(disk.read_slots(node(0), node(8)).is_err());
        assert!(disk.read_slots(node(5), node(3)).is_err());
        assert!(disk.write_slot(node(8), &[0; 512]).is_err());
        assert!(disk.write_slot(node(1), &[0; 511]).is_err());
    }
}
