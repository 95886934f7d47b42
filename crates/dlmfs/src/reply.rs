//! What both file systems answer FUSE alike.

use std::ffi::OsString;
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use fuse3::raw::reply::{
    DirectoryEntry, DirectoryEntryPlus, FileAttr, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEntry, ReplyStatFs,
};
use fuse3::{Errno, Result};
use futures_util::stream::{self, Iter};
use rustix::io::Errno as Os;

pub(crate) fn fail(errno: Os) -> Errno {
    Errno::from(errno.raw_os_error())
}

/// What was looked up, to be looked up again the next time.
pub(crate) fn entry(attr: FileAttr) -> ReplyEntry {
    ReplyEntry { ttl: Duration::ZERO, attr, generation: 0 }
}

/// Attributes, to be asked for again the next time.
pub(crate) fn attributes(attr: FileAttr) -> ReplyAttr {
    ReplyAttr { ttl: Duration::ZERO, attr }
}

/// At most `size` bytes from `offset` on.
pub(crate) fn part(whole: &Bytes, offset: u64, size: u32) -> ReplyData {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
    let to = from.saturating_add(size as usize).min(whole.len());
    ReplyData { data: whole.slice(from..to) }
}

/// One row of a directory.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: OsString,
    pub(crate) attributes: FileAttr,
    /// Where to go on behind it.
    pub(crate) offset: i64,
}

type Rows<T> = Iter<vec::IntoIter<Result<T>>>;

pub(crate) fn directory(rows: Vec<Row>) -> ReplyDirectory<Rows<DirectoryEntry>> {
    let entries = rows.into_iter().map(|Row { name, attributes, offset }| {
        Ok(DirectoryEntry { inode: attributes.ino, kind: attributes.kind, name, offset })
    });
    ReplyDirectory { entries: stream::iter(entries.collect::<Vec<_>>()) }
}

pub(crate) fn directory_plus(rows: Vec<Row>) -> ReplyDirectoryPlus<Rows<DirectoryEntryPlus>> {
    let entries = rows.into_iter().map(|Row { name, attributes, offset }| {
        Ok(DirectoryEntryPlus {
            inode: attributes.ino,
            generation: 0,
            kind: attributes.kind,
            name,
            offset,
            // Without a node the kernel takes the row as one of a plain readdir.
            attr: FileAttr { ino: 0, ..attributes },
            entry_ttl: Duration::ZERO,
            attr_ttl: Duration::ZERO,
        })
    });
    ReplyDirectoryPlus { entries: stream::iter(entries.collect::<Vec<_>>()) }
}

/// There are no blocks to be counted.
pub(crate) fn no_blocks(block_size: u32) -> ReplyStatFs {
    ReplyStatFs {
        blocks: 0,
        bfree: 0,
        bavail: 0,
        files: 0,
        ffree: 0,
        bsize: block_size,
        namelen: NAME_LEN_MAX as u32,
        frsize: block_size,
    }
}

/// The longest name that is looked for (`NAME_MAX`).
pub(crate) const NAME_LEN_MAX: usize = 255;
/// No page cache between the program and the file system (`FOPEN_DIRECT_IO`).
pub(crate) const DIRECT_IO: u32 = 1;
