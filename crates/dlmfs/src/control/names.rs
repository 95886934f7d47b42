//! The names that the kernel knows, by the numbers that it knows them by.

use std::collections::HashMap;

use super::Kind;

/// The number of the root (`FUSE_ROOT_ID`).
pub(super) const ROOT: u64 = 1;

/// A path and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) path: String,
    pub(super) kind: Kind,
}

impl Name {
    /// A name in this directory.
    pub(super) fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

/// Numbers are given when a name is looked up, and given up when the kernel forgets it.
#[derive(Debug)]
pub(super) struct Names {
    by_inode: HashMap<u64, Known>,
    by_path: HashMap<String, u64>,
    last: u64,
}

#[derive(Debug)]
struct Known {
    name: Name,
    lookups: u64,
}

impl Names {
    pub(super) fn new() -> Names {
        let root = Name { path: String::new(), kind: Kind::Directory };
        let known = Known { name: root, lookups: 1 };
        Names {
            by_inode: HashMap::from([(ROOT, known)]),
            by_path: HashMap::from([(String::new(), ROOT)]),
            last: ROOT,
        }
    }

    pub(super) fn get(&self, inode: u64) -> Option<&Name> {
        self.by_inode.get(&inode).map(|known| &known.name)
    }

    /// The number of a path, if the kernel knows it.
    pub(super) fn find(&self, path: &str) -> Option<u64> {
        self.by_path.get(path).copied()
    }

    /// The number of a name that the kernel looks up. What was there before under the same path keeps
    /// its number if it is of the same kind.
    pub(super) fn look_up(&mut self, name: Name) -> u64 {
        let same = self.find(&name.path).and_then(|inode| {
            let known = self.by_inode.get_mut(&inode).filter(|known| known.name == name)?;
            known.lookups += 1;
            Some(inode)
        });
        same.unwrap_or_else(|| {
            self.last += 1;
            self.by_path.insert(name.path.clone(), self.last);
            self.by_inode.insert(self.last, Known { name, lookups: 1 });
            self.last
        })
    }

    /// The kernel forgets so many of its lookups.
    pub(super) fn forget(&mut self, inode: u64, lookups: u64) {
        let Some(known) = self.by_inode.get_mut(&inode).filter(|_| inode != ROOT) else { return };
        known.lookups = known.lookups.saturating_sub(lookups);
        if known.lookups == 0
            && let Some(Known { name, .. }) = self.by_inode.remove(&inode)
            && self.find(&name.path) == Some(inode)
        {
            self.by_path.remove(&name.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, kind: Kind) -> Name {
        Name { path: path.to_owned(), kind }
    }

    #[test]
    fn a_name_keeps_its_number_until_every_lookup_is_forgotten() {
        let mut names = Names::new();
        let first = names.look_up(name("a/b", Kind::ReadOnly));
        assert_eq!(names.look_up(name("a/b", Kind::ReadOnly)), first);
        names.forget(first, 1);
        assert_eq!(names.find("a/b"), Some(first));
        names.forget(first, 7);
        assert_eq!((names.get(first), names.find("a/b")), (None, None));
        assert_ne!(names.look_up(name("a/b", Kind::ReadOnly)), first);
    }

    #[test]
    fn another_thing_of_the_same_path_has_a_number_of_its_own() {
        let mut names = Names::new();
        let file = names.look_up(name("x", Kind::Writable));
        let directory = names.look_up(name("x", Kind::Directory));
        assert_ne!(file, directory);
        names.forget(file, 1);
        assert_eq!(names.find("x"), Some(directory), "the newer one stays");
    }

    #[test]
    fn the_root_is_never_forgotten() {
        let mut names = Names::new();
        names.forget(ROOT, 9);
        assert_eq!(names.get(ROOT).map(|root| root.child("a")), Some("a".to_owned()));
    }
}
