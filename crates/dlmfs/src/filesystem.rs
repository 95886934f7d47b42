//! What the kernel asks of the file system (`fs/ocfs2/dlmfs/dlmfs.c`), as FUSE asks it.
//!
//! Nothing is cached by the kernel: it asks again for each name, attribute and byte.

use std::ffi::OsStr;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use bytes::Bytes;
use dlm::{LVB_LEN_MAX, ResourceName};
use fuse3::notify::Notify;
use fuse3::raw::reply::{
    DirectoryEntry, DirectoryEntryPlus, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEntry, ReplyInit, ReplyOpen, ReplyPoll, ReplyStatFs, ReplyWrite, ReplyXAttr,
};
use fuse3::raw::{Filesystem, Request};
use fuse3::{Errno, Inode, Result, SetAttr};
use futures_util::stream::Stream;
use parking_lot::{Mutex, MutexGuard};
use rustix::event::PollFlags;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno as Os;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::handles::Handles;
use crate::interrupts::Interrupts;
use crate::level::Level;
use crate::lock_file::{LockFile, Readiness};
use crate::machine::Refusal;
use crate::put_away::PutAway;
use crate::reply::{self, DIRECT_IO, NAME_LEN_MAX, fail, no_blocks, part};
use crate::stack::{Domain, FindStack, Stack};
use crate::tree::{BLOCK_SIZE, CAPABILITIES_TEXT, Object, Owner, ROOT, Tree};

/// The file system. Directories are domains, files are locks.
pub struct DlmFs {
    stack: Arc<Stack>,
    tree: Arc<Mutex<Tree>>,
    opened: Arc<Mutex<Handles<Open>>>,
    interrupts: Interrupts,
    wakes: Mutex<Option<mpsc::UnboundedReceiver<u64>>>,
}

/// A lock file that is open.
#[derive(Clone)]
pub(crate) struct Open {
    domain: Arc<Domain>,
    pub(crate) file: Arc<LockFile>,
    pub(crate) level: Level,
}

impl DlmFs {
    /// A file system without domains. `find` is asked for the stack when the first one is joined.
    pub fn new(find: Box<FindStack>) -> DlmFs {
        let (sender, wakes) = mpsc::unbounded_channel();
        DlmFs {
            stack: Arc::new(Stack::new(find, sender)),
            tree: Arc::new(Mutex::new(Tree::new())),
            opened: Arc::default(),
            interrupts: Interrupts::default(),
            wakes: Mutex::new(Some(wakes)),
        }
    }

    /// What puts the locks away when it is mounted no more.
    pub fn put_away(&self) -> PutAway {
        PutAway { tree: Arc::clone(&self.tree), opened: Arc::clone(&self.opened) }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock()
    }

    fn object(&self, inode: Inode) -> Result<Object> {
        self.tree().get(inode).map(|node| node.object.clone()).ok_or_else(stale)
    }

    fn opened(&self, handle: u64) -> Result<Open> {
        self.opened.lock().get(handle)
    }

    fn entry(&self, inode: Inode) -> Result<ReplyEntry> {
        Ok(reply::entry(self.tree().look_up(inode).ok_or_else(stale)?))
    }

    async fn open_lock(
        &self,
        request: Request,
        domain: Arc<Domain>,
        file: Arc<LockFile>,
        flags: OFlags,
    ) -> Result<ReplyOpen> {
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let level = if writes { Level::EX } else { Level::PR };
        let noqueue = flags.contains(OFlags::NONBLOCK);
        let mut interrupt = self.interrupts.of(request.unique);
        let pending = file.open(level, noqueue);
        match file.wait(pending, interrupt.comes()).await {
            None => Err(fail(Os::INTR)),
            // For programs to tell a trylock from everything else that says EAGAIN.
            Some(Err(Refusal::WouldWait)) => Err(fail(Os::TXTBSY)),
            Some(Err(Refusal::TearingDown)) if noqueue => Err(fail(Os::TXTBSY)),
            Some(Err(refusal)) => Err(refused(refusal)),
            Some(Ok(())) => {
                let handle = self.opened.lock().add(Open { domain, file, level });
                Ok(ReplyOpen { fh: handle, flags: DIRECT_IO })
            }
        }
    }
}

impl Filesystem for DlmFs {
    async fn init(&self, _: Request) -> Result<ReplyInit> {
        let mut reply = ReplyInit::new(NonZeroU32::new(BLOCK_SIZE).unwrap_or(NonZeroU32::MIN));
        // A close is a request in the background: those that wait for room there could be overtaken by
        // the removal of the file.
        reply.max_background = Some(u16::MAX);
        reply.congestion_threshold = Some(u16::MAX);
        Ok(reply)
    }

    async fn ready(&self, notify: Notify) {
        let Some(mut wakes) = self.wakes.lock().take() else { return };
        tokio::spawn(async move {
            while let Some(kernel_handle) = wakes.recv().await {
                notify.clone().wakeup(kernel_handle).await;
            }
        });
    }

    async fn destroy(&self, _: Request) {}

    async fn interrupt(&self, _: Request, request: u64) -> Result<()> {
        self.interrupts.interrupt(request);
        Ok(())
    }

    async fn lookup(&self, _: Request, directory: Inode, name: &OsStr) -> Result<ReplyEntry> {
        if name.len() > NAME_LEN_MAX {
            return Err(fail(Os::NAMETOOLONG));
        }
        let found = self.tree().find(directory, name);
        self.entry(found.ok_or(fail(Os::NOENT))?)
    }

    async fn forget(&self, _: Request, inode: Inode, lookups: u64) {
        self.tree().forget(inode, lookups);
    }

    async fn batch_forget(&self, _: Request, inodes: &[(Inode, u64)]) {
        let mut tree = self.tree();
        for &(inode, lookups) in inodes {
            tree.forget(inode, lookups);
        }
    }

    async fn getattr(&self, _: Request, inode: Inode, _: Option<u64>, _: u32) -> Result<ReplyAttr> {
        Ok(reply::attributes(self.tree().attributes(inode).ok_or_else(stale)?))
    }

    async fn setattr(
        &self,
        _: Request,
        inode: Inode,
        handle: Option<u64>,
        change: SetAttr,
    ) -> Result<ReplyAttr> {
        let attr = self.tree().change(inode, &change, handle.is_some()).ok_or_else(stale)?;
        Ok(reply::attributes(attr))
    }

    async fn statfs(&self, _: Request, _: Inode) -> Result<ReplyStatFs> {
        Ok(no_blocks(BLOCK_SIZE))
    }

    /// Joins a domain.
    async fn mkdir(
        &self,
        request: Request,
        parent: Inode,
        name: &OsStr,
        mode: u32,
        _: u32,
    ) -> Result<ReplyEntry> {
        if parent != ROOT {
            return Err(fail(Os::PERM));
        }
        let domain = name.to_str().filter(|name| name.len() <= DOMAIN_LEN_MAX);
        let domain = domain.ok_or(fail(Os::INVAL))?.to_owned();
        if self.tree().find(parent, name).is_some() {
            return Err(fail(Os::EXIST));
        }
        let mut interrupt = self.interrupts.of(request.unique);
        let stack = Arc::clone(&self.stack);
        let (sender, mut joining) = oneshot::channel();
        // A domain that nobody waits for any more is dropped there, and so left: that may take long.
        spawn_blocking(move || drop(sender.send(stack.join(&domain))));
        let joined = tokio::select! {
            biased;
            joined = &mut joining => joined.map_err(|_| fail(Os::IO))?,
            () = interrupt.comes() => {
                joining.close();
                joining.try_recv().map_err(|_| fail(Os::INTR))?
            }
        };
        let joined = joined.map_err(lock_manager)?;
        let object = Object::Domain(Arc::new(joined), Default::default());
        let inode = self.tree().make(parent, name, object, mode, Owner::from(request));
        self.entry(inode)
    }

    /// Leaves a domain.
    async fn rmdir(&self, request: Request, parent: Inode, name: &OsStr) -> Result<()> {
        let domain = {
            let mut tree = self.tree();
            let inode = tree.find(parent, name).ok_or(fail(Os::NOENT))?;
            let domain = match &tree.get(inode).ok_or_else(stale)?.object {
                Object::Domain(_, entries) if !entries.is_empty() => {
                    return Err(fail(Os::NOTEMPTY));
                }
                Object::Domain(domain, _) => Arc::clone(domain),
                _ => return Err(fail(Os::NOTDIR)),
            };
            tree.remove(parent, name);
            domain
        };
        // The directory is gone, whatever comes of it.
        let mut interrupt = self.interrupts.of(request.unique);
        let leaving = spawn_blocking(move || domain.leave());
        tokio::select! {
            () = interrupt.comes() => {}
            _ = leaving => {}
        }
        Ok(())
    }

    /// The kernel opens a file that it has to make in two steps if this is not there: its directory is
    /// locked during the first one only. An open that waits here would block everybody in the directory.
    async fn create(
        &self,
        _: Request,
        _: Inode,
        _: &OsStr,
        _: u32,
        _: u32,
    ) -> Result<fuse3::raw::reply::ReplyCreated> {
        Err(fail(Os::NOSYS))
    }

    async fn mknod(
        &self,
        request: Request,
        parent: Inode,
        name: &OsStr,
        mode: u32,
        _: u32,
    ) -> Result<ReplyEntry> {
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Err(fail(Os::PERM));
        }
        let inode = {
            let mut tree = self.tree();
            let domain = match &tree.get(parent).ok_or_else(stale)?.object {
                Object::Domain(domain, _) => Arc::clone(domain),
                _ => return Err(fail(Os::ACCESS)),
            };
            let name_is_good = name.len() <= LOCK_LEN_MAX && !name.as_bytes().starts_with(b"$");
            let resource = ResourceName::new(name.as_bytes()).ok().filter(|_| name_is_good);
            let resource = resource.ok_or(fail(Os::INVAL))?;
            if tree.find(parent, name).is_some() {
                return Err(fail(Os::EXIST));
            }
            let file = domain.make_file(resource);
            tree.make(parent, name, Object::Lock(domain, file), mode, Owner::from(request))
        };
        self.entry(inode)
    }

    /// Drops the lock, then removes the file.
    async fn unlink(&self, request: Request, parent: Inode, name: &OsStr) -> Result<()> {
        let file = {
            let tree = self.tree();
            let inode = tree.find(parent, name).ok_or(fail(Os::NOENT))?;
            match &tree.get(inode).ok_or_else(stale)?.object {
                Object::Lock(_, file) => Arc::clone(file),
                Object::Capabilities => return Err(fail(Os::PERM)),
                Object::Root(_) | Object::Domain(..) => return Err(fail(Os::ISDIR)),
            }
        };
        let mut interrupt = self.interrupts.of(request.unique);
        match file.wait(file.destroy(), interrupt.comes()).await {
            None => Err(fail(Os::INTR)),
            Some(Err(refusal)) => Err(refused(refusal)),
            Some(Ok(())) => {
                self.tree().remove(parent, name);
                Ok(())
            }
        }
    }

    async fn open(&self, request: Request, inode: Inode, flags: u32) -> Result<ReplyOpen> {
        let flags = OFlags::from_bits_retain(flags);
        if flags.contains(OFlags::DIRECT) {
            return Err(fail(Os::INVAL));
        }
        match self.object(inode)? {
            Object::Lock(domain, file) => self.open_lock(request, domain, file, flags).await,
            Object::Capabilities => Ok(ReplyOpen { fh: NO_LOCK, flags: DIRECT_IO }),
            Object::Root(_) | Object::Domain(..) => Err(fail(Os::ISDIR)),
        }
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
        let closed = self.opened.lock().remove(handle);
        if let Some(Open { domain, file, level }) = closed {
            file.forget_poller(handle);
            file.close(level);
            domain.closed();
        }
        Ok(())
    }

    async fn read(
        &self,
        _: Request,
        inode: Inode,
        handle: u64,
        offset: u64,
        size: u32,
    ) -> Result<ReplyData> {
        if handle == NO_LOCK {
            let Object::Capabilities = self.object(inode)? else { return Err(fail(Os::BADF)) };
            return Ok(part(&Bytes::from_static(CAPABILITIES_TEXT.as_bytes()), offset, size));
        }
        let value = self.opened(handle)?.file.read().map_err(refused)?;
        let value = value.map_or_else(Bytes::new, |value| Bytes::copy_from_slice(&value));
        Ok(part(&value, offset, size))
    }

    /// The bytes go to the start of the value block, wherever the position is.
    async fn write(
        &self,
        _: Request,
        _: Inode,
        handle: u64,
        offset: u64,
        data: &[u8],
        _: u32,
        flags: u32,
    ) -> Result<ReplyWrite> {
        if handle == NO_LOCK {
            return Err(fail(Os::INVAL));
        }
        let file = self.opened(handle)?.file;
        // The kernel's file system takes O_APPEND away when a file is opened. With it FUSE asks for a
        // write at the end, where nothing can be written.
        let appends = OFlags::from_bits_retain(flags).contains(OFlags::APPEND);
        let position = if appends { 0 } else { usize::try_from(offset).unwrap_or(usize::MAX) };
        let room = LVB_LEN_MAX.saturating_sub(position);
        if room == 0 {
            return Err(fail(Os::NOSPC));
        }
        let len = data.len().min(room);
        file.write(&data[..len]).map_err(refused)?;
        Ok(ReplyWrite { written: len as u32 })
    }

    async fn poll(
        &self,
        _: Request,
        _: Inode,
        handle: u64,
        kernel_handle: Option<u64>,
        _: u32,
        _: u32,
        _: &Notify,
    ) -> Result<ReplyPoll> {
        let readable = PollFlags::IN | PollFlags::RDNORM;
        let Readiness { blocked, lost } = match handle {
            NO_LOCK => Readiness { blocked: true, lost: false },
            _ => self.opened(handle)?.file.poll(handle, kernel_handle),
        };
        let mut events = PollFlags::empty();
        events.set(readable, blocked || lost);
        events.set(PollFlags::ERR, lost);
        Ok(ReplyPoll { revents: events.bits().into() })
    }

    async fn opendir(&self, _: Request, _: Inode, _: u32) -> Result<ReplyOpen> {
        Ok(ReplyOpen { fh: 0, flags: 0 })
    }

    async fn readdir<'a>(
        &'a self,
        _: Request,
        directory: Inode,
        _: u64,
        offset: i64,
    ) -> Result<ReplyDirectory<impl Stream<Item = Result<DirectoryEntry>> + Send + 'a>> {
        let rows = self.tree().rows(directory, offset).ok_or(fail(Os::NOTDIR))?;
        Ok(reply::directory(rows))
    }

    async fn readdirplus<'a>(
        &'a self,
        _: Request,
        directory: Inode,
        _: u64,
        offset: u64,
        _: u64,
    ) -> Result<ReplyDirectoryPlus<impl Stream<Item = Result<DirectoryEntryPlus>> + Send + 'a>>
    {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let rows = self.tree().rows(directory, offset).ok_or(fail(Os::NOTDIR))?;
        Ok(reply::directory_plus(rows))
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

    /// There is nothing to be synchronized with (`fs/sync.c: vfs_fsync_range`).
    async fn fsync(&self, _: Request, _: Inode, _: u64, _: bool) -> Result<()> {
        Err(fail(Os::INVAL))
    }

    /// There are none. Without this, programs that copy attributes would be told that it failed.
    async fn listxattr(&self, _: Request, _: Inode, size: u32) -> Result<ReplyXAttr> {
        Ok(if size == 0 { ReplyXAttr::Size(0) } else { ReplyXAttr::Data(Bytes::new()) })
    }

    async fn fallocate(&self, _: Request, _: Inode, _: u64, _: u64, _: u64, _: u32) -> Result<()> {
        Err(fail(Os::OPNOTSUPP))
    }
}

fn refused(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::WouldWait | Refusal::TearingDown => fail(Os::AGAIN),
        Refusal::Busy => fail(Os::BUSY),
        Refusal::Lost => fail(Os::IO),
        // The daemon has died, and who hears of it has not been told yet. The file system itself has not.
        Refusal::LockManager(dlm::Errno::ENOTCONN) => fail(Os::IO),
        Refusal::LockManager(errno) => lock_manager(errno),
    }
}

/// The lock manager's own errors, but for its completion codes, which no program knows.
fn lock_manager(errno: dlm::Errno) -> Errno {
    match errno {
        dlm::Errno::ECANCEL | dlm::Errno::EUNLOCK => fail(Os::IO),
        errno => Errno::from(errno.number()),
    }
}

/// The kernel asks for what it was told is gone.
fn stale() -> Errno {
    fail(Os::STALE)
}

/// The number of open files that have no lock.
const NO_LOCK: u64 = 0;
/// The longest name of a domain (`GROUP_NAME_MAX` and its NUL).
const DOMAIN_LEN_MAX: usize = 63;
/// The longest name of a lock (`USER_DLM_LOCK_ID_MAX_LEN` and its NUL).
const LOCK_LEN_MAX: usize = 31;
