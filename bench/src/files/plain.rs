//! The reference: a file system over FUSE that has one file and no locks, with what else dlmfs asks of
//! FUSE: no caching of names and attributes, direct I/O, interrupts.

use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use dlmfs::mount::Filesystem;
use fuse3::raw::Request;
use fuse3::raw::reply::{FileAttr, ReplyAttr, ReplyEntry, ReplyInit, ReplyOpen};
use fuse3::{Errno, FileType, Inode, Result};

/// `/web/leader` and nothing else: each name that is asked for is there, one below the other.
pub(super) struct PlainFs;

const ROOT: Inode = 1;
const FILE: Inode = 3;

impl Filesystem for PlainFs {
    async fn init(&self, _: Request) -> Result<ReplyInit> {
        Ok(ReplyInit::new(NonZeroU32::new(4096).unwrap_or(NonZeroU32::MIN)))
    }

    async fn destroy(&self, _: Request) {}

    async fn lookup(&self, _: Request, directory: Inode, _: &OsStr) -> Result<ReplyEntry> {
        if directory >= FILE {
            return Err(Errno::new_is_not_dir());
        }
        Ok(ReplyEntry { ttl: Duration::ZERO, attr: attributes(directory + 1), generation: 0 })
    }

    async fn getattr(&self, _: Request, inode: Inode, _: Option<u64>, _: u32) -> Result<ReplyAttr> {
        Ok(ReplyAttr { ttl: Duration::ZERO, attr: attributes(inode.clamp(ROOT, FILE)) })
    }

    async fn open(&self, _: Request, _: Inode, _: u32) -> Result<ReplyOpen> {
        Ok(ReplyOpen { fh: 1, flags: DIRECT_IO })
    }

    async fn release(&self, _: Request, _: Inode, _: u64, _: u32, _: u64, _: bool) -> Result<()> {
        Ok(())
    }

    async fn interrupt(&self, _: Request, _: u64) -> Result<()> {
        Ok(())
    }
}

fn attributes(inode: Inode) -> FileAttr {
    let now = SystemTime::UNIX_EPOCH.into();
    let is_file = inode == FILE;
    FileAttr {
        ino: inode,
        size: if is_file { 64 } else { 0 },
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        kind: if is_file { FileType::RegularFile } else { FileType::Directory },
        perm: if is_file { 0o644 } else { 0o755 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
    }
}

/// `FOPEN_DIRECT_IO`.
const DIRECT_IO: u32 = 1;
