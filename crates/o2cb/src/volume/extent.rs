//! Where the clusters of a file are.

use super::block::Block;
use super::{Superblock, VolumeError};

/// A list of extents: of clusters at depth 0, of lists one level below otherwise.
///
/// It keeps its records, so that the walk down a tree holds one list at a time.
#[derive(Debug)]
pub(super) struct ExtentList<'a> {
    block: u64,
    depth: u16,
    records: std::borrow::Cow<'a, [[u8; RECORD_LEN]]>,
}

/// An extent: clusters of a file that are one after the other on the volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first one's number in the file.
    first: u32,
    pub(super) clusters: u32,
    /// The first block, on the volume.
    pub(super) block: u64,
    unwritten: bool,
}

/// Reads the list at an offset of a block.
pub(super) fn decode(block: &Block, at: usize) -> Result<ExtentList<'_>, VolumeError> {
    let corrupt = |what| VolumeError::Corrupt { block: block.number(), what };
    let list = block.bytes().get(at..).unwrap_or_default();
    let Some((header, records)) = list.split_first_chunk::<HEADER_LEN>() else {
        return Err(corrupt("its list of extents is cut"));
    };
    let [depth, count, used] = [0, 2, 4].map(|at| u16::from_le_bytes([header[at], header[at + 1]]));
    if depth > DEPTH_MAX {
        return Err(corrupt("its tree of extents is too deep"));
    }
    let (records, _) = records.as_chunks::<RECORD_LEN>();
    if usize::from(count) > records.len() || used > count {
        return Err(corrupt("its list of extents is longer than the block"));
    }
    let records = (&records[..used.into()]).into();
    Ok(ExtentList { block: block.number(), depth, records })
}

/// Reads the list of an extent block, which a list of this depth points to.
pub(super) fn of_block(
    block: Block,
    above: u16,
    superblock: &Superblock,
) -> Result<ExtentList<'static>, VolumeError> {
    let corrupt = |what| VolumeError::Corrupt { block: block.number(), what };
    if &block.field::<0, 8>() != SIGNATURE {
        return Err(corrupt("it is no extent block"));
    }
    if block.le64::<0x20>() != block.number() {
        return Err(corrupt("its extents are those of another block"));
    }
    if block.le32::<0x1c>() != superblock.generation {
        return Err(corrupt("its extents are those of another volume"));
    }
    let ExtentList { block: number, depth, records } = decode(&block, LIST_AT)?;
    if depth + 1 != above {
        return Err(corrupt("its extents are of another level"));
    }
    Ok(ExtentList { block: number, depth, records: records.into_owned().into() })
}

impl ExtentList<'_> {
    /// How many levels are below.
    pub(super) fn depth(&self) -> u16 {
        self.depth
    }

    /// The only extent of the file, if it has one and no tree.
    pub(super) fn only(&self) -> Option<Extent> {
        match &*self.records {
            [record] if self.depth == 0 => Some(Extent::decode(record)),
            _ => None,
        }
    }

    /// The extent block where a cluster of the file is to be looked for; `None` when this is the list.
    pub(super) fn child_of(&self, cluster: u64) -> Result<Option<u64>, VolumeError> {
        if self.depth == 0 {
            return Ok(None);
        }
        // Above depth 0, the record's length has 32 bits, and there are no flags.
        let records = self.records.iter();
        let child = records
            .map(|record| (le32(record, 0), le32(record, 4), le64(record)))
            .find(|&(first, clusters, _)| contains(first, clusters, cluster));
        child.map(|(_, _, block)| Some(block)).ok_or_else(|| self.hole())
    }

    /// The first block of a cluster of the file, in a list of depth 0.
    pub(super) fn cluster(
        &self,
        cluster: u64,
        superblock: &Superblock,
    ) -> Result<u64, VolumeError> {
        let mut extents = self.records.iter().map(Extent::decode);
        let extent = extents
            .find(|extent| contains(extent.first, extent.clusters, cluster))
            .filter(|extent| !extent.unwritten)
            .ok_or_else(|| self.hole())?;
        extent.check(superblock)?;
        let into = (cluster - u64::from(extent.first)) * superblock.blocks_per_cluster();
        Ok(extent.block + into)
    }

    fn hole(&self) -> VolumeError {
        VolumeError::Corrupt { block: self.block, what: "its file has a hole" }
    }
}

impl Extent {
    fn decode(record: &[u8; RECORD_LEN]) -> Extent {
        Extent {
            first: le32(record, 0),
            clusters: u16::from_le_bytes([record[4], record[5]]).into(),
            block: le64(record),
            unwritten: record[7] & UNWRITTEN != 0,
        }
    }

    /// Whether all of it is on the volume.
    pub(super) fn check(&self, superblock: &Superblock) -> Result<(), VolumeError> {
        let blocks = u64::from(self.clusters) * superblock.blocks_per_cluster();
        let end = self.block.checked_add(blocks);
        if self.block <= super::superblock::BLOCK || end.is_none_or(|end| end > superblock.blocks())
        {
            return Err(VolumeError::OutsideVolume { block: self.block });
        }
        Ok(())
    }
}

fn contains(first: u32, clusters: u32, cluster: u64) -> bool {
    let first = u64::from(first);
    (first..first + u64::from(clusters)).contains(&cluster)
}

fn le32(record: &[u8; RECORD_LEN], at: usize) -> u32 {
    u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
}

/// The block that a record points to.
fn le64(record: &[u8; RECORD_LEN]) -> u64 {
    u64::from(le32(record, 12)) << 32 | u64::from(le32(record, 8))
}

const SIGNATURE: &[u8; 8] = b"EXBLK01\0";
/// Where the list is in an extent block.
const LIST_AT: usize = 0x30;
const HEADER_LEN: usize = 16;
const RECORD_LEN: usize = 16;
/// Deeper than the largest file of the smallest blocks needs.
const DEPTH_MAX: u16 = 8;
/// Allocated and never written.
const UNWRITTEN: u8 = 0x01;
