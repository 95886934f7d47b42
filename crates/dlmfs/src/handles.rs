//! What is open, by the number that the kernel knows it by.

use std::collections::HashMap;

use fuse3::Result;
use rustix::io::Errno;

use crate::reply::fail;

pub(crate) struct Handles<T> {
    open: HashMap<u64, T>,
    last: u64,
}

impl<T> Default for Handles<T> {
    fn default() -> Handles<T> {
        Handles { open: HashMap::new(), last: 0 }
    }
}

impl<T: Clone> Handles<T> {
    /// The number of what is open from now on; never 0.
    pub(crate) fn add(&mut self, open: T) -> u64 {
        self.last += 1;
        self.open.insert(self.last, open);
        self.last
    }

    pub(crate) fn get(&self, handle: u64) -> Result<T> {
        self.open.get(&handle).cloned().ok_or(fail(Errno::BADF))
    }

    pub(crate) fn remove(&mut self, handle: u64) -> Option<T> {
        self.open.remove(&handle)
    }

    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> {
        self.open.drain().map(|(_, open)| open)
    }
}
