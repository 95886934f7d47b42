//! The objects of the file system: the root, domains, lock files, and their attributes.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::SystemTime;

use fuse3::raw::Request;
use fuse3::raw::reply::FileAttr;
use fuse3::{FileType, Inode, SetAttr, Timestamp};

use crate::lock_file::LockFile;
use crate::reply::Row;
use crate::stack::Domain;

/// Everything that has a name, or had one that the kernel still knows.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: HashMap<Inode, Node>,
    inode_last: Inode,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) object: Object,
    attributes: FileAttr,
    parent: Inode,
    /// How often the kernel was told of it; it says when it forgets.
    lookups: u64,
    /// Whether its name was removed.
    removed: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Object {
    /// The set of joined domains.
    Root(Entries),
    Domain(Arc<Domain>, Entries),
    Lock(Arc<Domain>, Arc<LockFile>),
    /// Tells programs what the file system can do; not listed.
    Capabilities,
}

pub(crate) type Entries = BTreeMap<OsString, Inode>;

impl Tree {
    pub(crate) fn new() -> Tree {
        let mut tree = Tree { nodes: HashMap::new(), inode_last: CAPABILITIES };
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        tree.add(ROOT, ROOT, Object::Root(Entries::new()), 0o755, owner);
        tree.add(CAPABILITIES, ROOT, Object::Capabilities, 0o444, owner);
        tree
    }

    pub(crate) fn get(&self, inode: Inode) -> Option<&Node> {
        self.nodes.get(&inode)
    }

    /// Every file of every domain.
    pub(crate) fn lock_files(&self) -> Vec<Arc<LockFile>> {
        let objects = self.nodes.values().map(|node| &node.object);
        objects
            .filter_map(|object| match object {
                Object::Lock(_, file) => Some(Arc::clone(file)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn attributes(&self, inode: Inode) -> Option<FileAttr> {
        self.get(inode).map(|node| node.attributes)
    }

    /// What a directory has under that name.
    pub(crate) fn find(&self, directory: Inode, name: &OsStr) -> Option<Inode> {
        if directory == ROOT && name == CAPABILITIES_NAME {
            return Some(CAPABILITIES);
        }
        self.entries(directory)?.get(name).copied()
    }

    /// The kernel is told of it.
    pub(crate) fn look_up(&mut self, inode: Inode) -> Option<FileAttr> {
        let node = self.nodes.get_mut(&inode)?;
        node.lookups += 1;
        Some(node.attributes)
    }

    /// The kernel forgets that it was told of it so many times.
    pub(crate) fn forget(&mut self, inode: Inode, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.removed && node.lookups == 0 {
                self.nodes.remove(&inode);
            }
        }
    }

    /// Makes an object for who asks, in a directory that has none of that name.
    pub(crate) fn make(
        &mut self,
        directory: Inode,
        name: &OsStr,
        object: Object,
        mode: u32,
        owner: Owner,
    ) -> Inode {
        self.inode_last += 1;
        let inode = self.inode_last;
        let is_directory = matches!(object, Object::Domain(..));
        let Owner { uid, mut gid } = owner;
        let mut permissions = (mode & PERMISSIONS) as u16;
        if let Some(parent) = self.nodes.get_mut(&directory) {
            if parent.attributes.perm & SET_GID != 0 {
                gid = parent.attributes.gid;
                permissions |= if is_directory { SET_GID } else { 0 };
            }
            parent.attributes.nlink += u32::from(is_directory);
        }
        self.add(inode, directory, object, permissions, (uid, gid));
        if let Some(entries) = self.entries_mut(directory) {
            entries.insert(name.to_owned(), inode);
        }
        inode
    }

    /// Takes a name away.
    pub(crate) fn remove(&mut self, directory: Inode, name: &OsStr) {
        let now = now();
        let Some(inode) = self.entries_mut(directory).and_then(|entries| entries.remove(name))
        else {
            return;
        };
        let was_directory = self.nodes.get_mut(&inode).is_some_and(|node| {
            node.removed = true;
            node.attributes.nlink = 0;
            node.attributes.ctime = now;
            matches!(node.object, Object::Domain(..))
        });
        if let Some(parent) = self.nodes.get_mut(&directory) {
            parent.attributes.nlink -= u32::from(was_directory);
            parent.attributes.mtime = now;
            parent.attributes.ctime = now;
        }
        self.forget(inode, 0);
    }

    /// Changes what may be changed; sizes are not. Of a size that is given to an open file the time is kept,
    /// as ftruncate(2) has it and truncate(2) has not; FUSE leaves that time to its server.
    pub(crate) fn change(
        &mut self,
        inode: Inode,
        change: &SetAttr,
        is_open: bool,
    ) -> Option<FileAttr> {
        let attributes = &mut self.nodes.get_mut(&inode)?.attributes;
        if let Some(mode) = change.mode {
            attributes.perm = (mode & PERMISSIONS) as u16;
        }
        attributes.uid = change.uid.unwrap_or(attributes.uid);
        attributes.gid = change.gid.unwrap_or(attributes.gid);
        attributes.atime = change.atime.map_or(attributes.atime, whole_seconds);
        attributes.mtime = change.mtime.map_or(attributes.mtime, whole_seconds);
        attributes.ctime = now();
        if change.size.is_some() && is_open {
            attributes.mtime = attributes.ctime;
        }
        Some(*attributes)
    }

    /// The rows of a directory behind an offset, `.` and `..` first. `None` where there is no directory.
    pub(crate) fn rows(&self, directory: Inode, offset: i64) -> Option<Vec<Row>> {
        let node = self.get(directory)?;
        let special = [(".", directory), ("..", node.parent)];
        let special = special.map(|(name, inode)| (OsString::from(name), inode));
        let entries = self.entries(directory)?.iter().map(|(name, inode)| (name.clone(), *inode));
        let mut rows: Vec<Row> = special
            .into_iter()
            .enumerate()
            .map(|(at, (name, inode))| (at as i64 + 1, name, inode))
            // In the order in which they were made: a row stays where it is while others come and go.
            .chain(entries.map(|(name, inode)| (inode as i64 + 1, name, inode)))
            .filter(|&(place, ..)| place > offset)
            .filter_map(|(place, name, inode)| {
                Some(Row { name, attributes: self.attributes(inode)?, offset: place })
            })
            .collect();
        rows.sort_unstable_by_key(|row| row.offset);
        Some(rows)
    }

    fn entries(&self, directory: Inode) -> Option<&Entries> {
        match &self.get(directory)?.object {
            Object::Root(entries) | Object::Domain(_, entries) => Some(entries),
            Object::Lock(..) | Object::Capabilities => None,
        }
    }

    fn entries_mut(&mut self, directory: Inode) -> Option<&mut Entries> {
        match &mut self.nodes.get_mut(&directory)?.object {
            Object::Root(entries) | Object::Domain(_, entries) => Some(entries),
            Object::Lock(..) | Object::Capabilities => None,
        }
    }

    fn add(
        &mut self,
        inode: Inode,
        parent: Inode,
        object: Object,
        perm: u16,
        (uid, gid): (u32, u32),
    ) {
        let now = now();
        let (kind, nlink, size) = match &object {
            Object::Root(_) | Object::Domain(..) => (FileType::Directory, 2, 0),
            Object::Lock(..) => (FileType::RegularFile, 1, dlm::LVB_LEN_MAX),
            Object::Capabilities => (FileType::RegularFile, 1, CAPABILITIES_TEXT.len()),
        };
        let attributes = FileAttr {
            ino: inode,
            size: size as u64,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            kind,
            perm,
            nlink,
            uid,
            gid,
            rdev: 0,
            blksize: BLOCK_SIZE,
        };
        self.nodes.insert(inode, Node { object, attributes, parent, lookups: 0, removed: false });
    }
}

fn now() -> Timestamp {
    whole_seconds(SystemTime::now().into())
}

/// As fine as times are there (`fs/super.c: alloc_super` sets `s_time_gran`, which dlmfs leaves alone).
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp { nsec: 0, ..time }
}

/// Whom a new object belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
}

impl From<Request> for Owner {
    fn from(request: Request) -> Owner {
        Owner { uid: request.uid, gid: request.gid }
    }
}

/// The inode of the root directory.
pub(crate) const ROOT: Inode = 1;
const CAPABILITIES: Inode = 2;
const CAPABILITIES_NAME: &str = ".capabilities";
/// What `/sys/module/ocfs2_dlmfs/parameters/capabilities` has: without a newline.
pub(crate) const CAPABILITIES_TEXT: &str = "bast stackglue";
pub(crate) const BLOCK_SIZE: u32 = 4096;
const PERMISSIONS: u32 = 0o7777;
const SET_GID: u16 = 0o2000;
