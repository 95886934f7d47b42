//! The control tree: attributes of the daemon as files, with the texts and errno of the Linux kernel's sysfs,
//! configfs and debugfs.
//!
//! What there is, what it reads and what it takes is the [`Source`]'s business. Nothing is kept but the text
//! of a file that is open, and nothing is cached by the kernel: each name is asked for again.

mod names;

use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fuse3::raw::reply::{
    DirectoryEntry, DirectoryEntryPlus, FileAttr, ReplyAttr, ReplyCreated, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEntry, ReplyInit, ReplyOpen, ReplyStatFs, ReplyWrite,
};
use fuse3::raw::{Filesystem, Request};
use fuse3::{Errno, FileType, Inode, Result, SetAttr, Timestamp};
use futures_util::stream::Stream;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno as Os;
use rustix::process::{getegid, geteuid};
use tokio::task::spawn_blocking;

use crate::handles::Handles;
use crate::interrupts::Interrupts;
use crate::reply::{self, DIRECT_IO, Row, fail, no_blocks, part};
use names::{Name, Names, ROOT};

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names.
    Directory,
    /// Text that can be read: mode 0444.
    ReadOnly,
    /// Text that can be read and written: mode 0644.
    Writable,
}

/// Where the texts come from. A path is names with `/` between them; that of the root is empty.
///
/// Each may block. The errno is what the program sees whose call it was.
pub trait Source: Send + Sync {
    /// What is in a directory.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such directory.
    fn list(&self, path: &str) -> std::result::Result<Vec<(String, Kind)>, dlm::Errno>;

    /// The text of a file.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such file.
    fn read(&self, path: &str) -> std::result::Result<String, dlm::Errno>;

    /// Writes a file: the text is in force when this returns.
    ///
    /// # Errors
    ///
    /// Whatever the file does not take.
    fn write(&self, path: &str, text: &[u8]) -> std::result::Result<(), dlm::Errno>;
}

/// The control tree as a file system.
pub struct ControlFs {
    source: Arc<dyn Source>,
    names: Mutex<Names>,
    opened: Mutex<Handles<Open>>,
    interrupts: Interrupts,
    mounted_at: Timestamp,
}

/// What is open.
#[derive(Clone)]
enum Open {
    /// A file, with its text if it was opened to read.
    File {
        path: String,
        text: Bytes,
    },
    Directory(Arc<[Row]>),
}

impl ControlFs {
    /// The tree of a source.
    pub fn new(source: Arc<dyn Source>) -> ControlFs {
        ControlFs {
            source,
            names: Mutex::new(Names::new()),
            opened: Mutex::default(),
            interrupts: Interrupts::default(),
            mounted_at: SystemTime::now().into(),
        }
    }

    /// Asks the source on a thread that may block. A signal ends the waiting, not the question.
    async fn ask<T: Send + 'static>(
        &self,
        request: Request,
        question: impl FnOnce(&dyn Source) -> std::result::Result<T, dlm::Errno> + Send + 'static,
    ) -> Result<T> {
        let source = self.source.clone();
        let mut interrupt = self.interrupts.of(request.unique);
        let answer = tokio::select! {
            biased;
            answer = spawn_blocking(move || question(&*source)) => answer.map_err(|_| fail(Os::IO))?,
            () = interrupt.comes() => return Err(fail(Os::INTR)),
        };
        answer.map_err(|errno| Errno::from(errno.number()))
    }

    async fn list(&self, request: Request, path: &str) -> Result<Vec<(String, Kind)>> {
        let path = path.to_owned();
        self.ask(request, move |source| source.list(&path)).await
    }

    fn name(&self, inode: Inode) -> Result<Name> {
        self.names.lock().get(inode).cloned().ok_or(fail(Os::STALE))
    }

    fn opened(&self, handle: u64) -> Result<Open> {
        self.opened.lock().get(handle)
    }

    fn rows(&self, handle: u64, offset: u64) -> Result<Vec<Row>> {
        let Open::Directory(rows) = self.opened(handle)? else { return Err(fail(Os::NOTDIR)) };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(rows.iter().skip(skipped).cloned().collect())
    }

    fn attr(&self, inode: Inode, Name { path, kind }: &Name) -> FileAttr {
        let (file_type, perm, nlink) = match kind {
            // What is below names the locks of everybody. A kernel's is for root alone, too.
            Kind::Directory if path == DEBUG => (FileType::Directory, 0o700, 2),
            Kind::Directory => (FileType::Directory, 0o755, 2),
            Kind::ReadOnly => (FileType::RegularFile, 0o444, 1),
            Kind::Writable => (FileType::RegularFile, 0o644, 1),
        };
        // As in a kernel: a page for an attribute, nothing for a file of debugfs.
        let is_attribute = *kind != Kind::Directory && !path.starts_with(DEBUG);
        FileAttr {
            ino: inode,
            size: if is_attribute { TEXT_LEN_MAX as u64 } else { 0 },
            blocks: 0,
            atime: self.mounted_at,
            mtime: self.mounted_at,
            ctime: self.mounted_at,
            kind: file_type,
            perm,
            nlink,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            rdev: 0,
            blksize: TEXT_LEN_MAX as u32,
        }
    }
}

impl Filesystem for ControlFs {
    async fn init(&self, _: Request) -> Result<ReplyInit> {
        Ok(ReplyInit::new(NonZeroU32::new(WRITE_LEN_MAX).unwrap_or(NonZeroU32::MIN)))
    }

    async fn destroy(&self, _: Request) {}

    async fn interrupt(&self, _: Request, request: u64) -> Result<()> {
        self.interrupts.interrupt(request);
        Ok(())
    }

    async fn lookup(&self, request: Request, directory: Inode, name: &OsStr) -> Result<ReplyEntry> {
        let directory = self.name(directory)?;
        let name = name.to_str().ok_or(fail(Os::NOENT))?;
        let listed = self.list(request, &directory.path).await?;
        let found = listed.into_iter().find(|(listed, _)| listed == name);
        let (_, kind) = found.ok_or(fail(Os::NOENT))?;
        let name = Name { path: directory.child(name), kind };
        let inode = self.names.lock().look_up(name.clone());
        Ok(reply::entry(self.attr(inode, &name)))
    }

    async fn forget(&self, _: Request, inode: Inode, lookups: u64) {
        self.names.lock().forget(inode, lookups);
    }

    async fn batch_forget(&self, _: Request, inodes: &[(Inode, u64)]) {
        let mut names = self.names.lock();
        for &(inode, lookups) in inodes {
            names.forget(inode, lookups);
        }
    }

    async fn getattr(&self, _: Request, inode: Inode, _: Option<u64>, _: u32) -> Result<ReplyAttr> {
        Ok(reply::attributes(self.attr(inode, &self.name(inode)?)))
    }

    /// A shell cuts a file to nothing before it writes: that changes nothing, as in sysfs.
    async fn setattr(
        &self,
        _: Request,
        inode: Inode,
        _: Option<u64>,
        change: SetAttr,
    ) -> Result<ReplyAttr> {
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
            return Err(fail(Os::PERM));
        }
        Ok(reply::attributes(self.attr(inode, &self.name(inode)?)))
    }

    async fn statfs(&self, _: Request, _: Inode) -> Result<ReplyStatFs> {
        Ok(no_blocks(TEXT_LEN_MAX as u32))
    }

    /// Makes the text that every read of this open sees.
    async fn open(&self, request: Request, inode: Inode, flags: u32) -> Result<ReplyOpen> {
        let Name { path, kind } = self.name(inode)?;
        let flags = OFlags::from_bits_retain(flags);
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        match kind {
            Kind::Directory => return Err(fail(Os::ISDIR)),
            // Also for root, whom modes do not stop.
            Kind::ReadOnly if writes => return Err(fail(Os::ACCESS)),
            Kind::ReadOnly | Kind::Writable => {}
        }
        let text = if flags.contains(OFlags::WRONLY) {
            Bytes::new()
        } else {
            let path = path.clone();
            self.ask(request, move |source| source.read(&path)).await?.into()
        };
        let handle = self.opened.lock().add(Open::File { path, text });
        Ok(ReplyOpen { fh: handle, flags: DIRECT_IO })
    }

    async fn release(
        &self,
        _: Request,
        _: Inode,
        handle: u64,
        _: u32,
        _: u64,
        _: bool,
    ) -> Result<()> {
        self.opened.lock().remove(handle);
        Ok(())
    }

    async fn read(
        &self,
        _: Request,
        _: Inode,
        handle: u64,
        offset: u64,
        size: u32,
    ) -> Result<ReplyData> {
        let Open::File { text, .. } = self.opened(handle)? else { return Err(fail(Os::ISDIR)) };
        Ok(part(&text, offset, size))
    }

    /// Each write is one whole text, wherever it goes (`fs/kernfs/file.c: kernfs_fop_write_iter`).
    async fn write(
        &self,
        request: Request,
        _: Inode,
        handle: u64,
        _: u64,
        data: &[u8],
        _: u32,
        _: u32,
    ) -> Result<ReplyWrite> {
        let Open::File { path, .. } = self.opened(handle)? else { return Err(fail(Os::ISDIR)) };
        if data.len() > TEXT_LEN_MAX {
            return Err(fail(Os::INVAL));
        }
        let text = data.to_vec();
        self.ask(request, move |source| source.write(&path, &text)).await?;
        Ok(ReplyWrite { written: data.len() as u32 })
    }

    async fn opendir(&self, request: Request, inode: Inode, _: u32) -> Result<ReplyOpen> {
        let directory = self.name(inode)?;
        if directory.kind != Kind::Directory {
            return Err(fail(Os::NOTDIR));
        }
        let listed = self.list(request, &directory.path).await?;
        let names = self.names.lock();
        let dots = [".", ".."].map(|name| (name.to_owned(), Kind::Directory));
        let rows = (1..).zip(dots.into_iter().chain(listed)).map(|(offset, (name, kind))| {
            let inode = match name.as_str() {
                "." => inode,
                ".." => ROOT,
                name => names.find(&directory.child(name)).unwrap_or(UNKNOWN_INODE),
            };
            let attributes = self.attr(inode, &Name { path: directory.child(&name), kind });
            Row { name: name.into(), attributes, offset }
        });
        let rows: Arc<[Row]> = rows.collect();
        drop(names);
        Ok(ReplyOpen { fh: self.opened.lock().add(Open::Directory(rows)), flags: 0 })
    }

    async fn releasedir(&self, _: Request, _: Inode, handle: u64, _: u32) -> Result<()> {
        self.opened.lock().remove(handle);
        Ok(())
    }

    async fn readdir<'a>(
        &'a self,
        _: Request,
        _: Inode,
        handle: u64,
        offset: i64,
    ) -> Result<ReplyDirectory<impl Stream<Item = Result<DirectoryEntry>> + Send + 'a>> {
        let rows = self.rows(handle, offset.unsigned_abs())?;
        Ok(reply::directory(rows))
    }

    async fn readdirplus<'a>(
        &'a self,
        _: Request,
        _: Inode,
        handle: u64,
        offset: u64,
        _: u64,
    ) -> Result<ReplyDirectoryPlus<impl Stream<Item = Result<DirectoryEntryPlus>> + Send + 'a>>
    {
        let rows = self.rows(handle, offset)?;
        Ok(reply::directory_plus(rows))
    }

    async fn mkdir(&self, _: Request, _: Inode, _: &OsStr, _: u32, _: u32) -> Result<ReplyEntry> {
        Err(fail(Os::PERM))
    }

    async fn mknod(&self, _: Request, _: Inode, _: &OsStr, _: u32, _: u32) -> Result<ReplyEntry> {
        Err(fail(Os::PERM))
    }

    async fn create(
        &self,
        _: Request,
        _: Inode,
        _: &OsStr,
        _: u32,
        _: u32,
    ) -> Result<ReplyCreated> {
        Err(fail(Os::PERM))
    }

    async fn rmdir(&self, _: Request, _: Inode, _: &OsStr) -> Result<()> {
        Err(fail(Os::PERM))
    }

    async fn unlink(&self, _: Request, _: Inode, _: &OsStr) -> Result<()> {
        Err(fail(Os::PERM))
    }

    async fn symlink(&self, _: Request, _: Inode, _: &OsStr, _: &OsStr) -> Result<ReplyEntry> {
        Err(fail(Os::PERM))
    }

    async fn link(&self, _: Request, _: Inode, _: Inode, _: &OsStr) -> Result<ReplyEntry> {
        Err(fail(Os::PERM))
    }

    async fn rename(&self, _: Request, _: Inode, _: &OsStr, _: Inode, _: &OsStr) -> Result<()> {
        Err(fail(Os::PERM))
    }

    async fn rename2(
        &self,
        _: Request,
        _: Inode,
        _: &OsStr,
        _: Inode,
        _: &OsStr,
        _: u32,
    ) -> Result<()> {
        Err(fail(Os::PERM))
    }
}

const DEBUG: &str = "debug";
/// The longest text that is written: a page.
const TEXT_LEN_MAX: usize = 4096;
/// The most that comes with one write: one that is too long is seen to be.
const WRITE_LEN_MAX: u32 = 2 * TEXT_LEN_MAX as u32;
/// The number of what the kernel does not know (`FUSE_UNKNOWN_INO` of libfuse).
const UNKNOWN_INODE: Inode = 0xffff_ffff;
