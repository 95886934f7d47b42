//! The groups that the daemon is connected to: joined on first use, left when their last lock is gone.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use slab::Slab;
use stackglue::{ConnectError, Connection, Errno, Glue};

use super::lock::{GroupProtocol, Tally};
use super::process::Shared;
use crate::protocol::DEFAULT_GROUP;

/// A group that this host is a member of.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) connection: Arc<Connection>,
    pub(super) protocol: Arc<GroupProtocol>,
    pub(super) tally: Arc<Tally>,
    pub(super) node: u32,
    was_used: bool,
}

/// Every connected group, and the way to more.
pub(super) struct Groups {
    glue: Glue,
    cluster: String,
    shared: Arc<Shared>,
    connected: Slab<Group>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// When to look for groups that have had no lock for a while.
    sweep_ms: Option<u64>,
}

impl Groups {
    pub(super) fn new(glue: Glue, cluster: String, shared: Arc<Shared>) -> Groups {
        Groups {
            glue,
            cluster,
            shared,
            connected: Slab::new(),
            by_name: HashMap::new(),
            sweep_ms: None,
        }
    }

    pub(super) fn get(&self, key: usize) -> Option<&Group> {
        self.connected.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.connected.iter().map(|(_, group)| group)
    }

    /// The place of a group by its name, if it is connected.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(named(name)).copied()
    }

    /// The place of a group, which is joined if need be; the empty name is the default group's.
    #[inline]
    pub(super) fn join(&mut self, name: &[u8]) -> Result<usize, (Errno, String)> {
        let name = named(name);
        if let Some(&key) = self.by_name.get(name) {
            self.connected[key].was_used = true;
            return Ok(key);
        }
        let text = str::from_utf8(name).map_err(|_| {
            let shown = String::from_utf8_lossy(name);
            (Errno::EINVAL, format!("the group name {shown:?} is not UTF-8"))
        })?;
        if text.chars().any(char::is_control) {
            let text = format!("the group name {text:?} has control characters: leave them out");
            return Err((Errno::EINVAL, text));
        }
        let groups_max = self.shared.limits.groups_max;
        if self.connected.len() >= groups_max {
            let text = format!("{groups_max} groups are connected already: no more are allowed");
            return Err((Errno::ENOSPC, text));
        }
        let group = self.connect(text).map_err(|error| (error.errno(), error.to_string()))?;
        let key = self.connected.insert(group);
        self.by_name.insert(name.into(), key);
        self.sweep_ms.get_or_insert(self.shared.now_ms() + SWEEP_INTERVAL_MS);
        Ok(key)
    }

    /// Joins the default group and leaves it: a stack that cannot be used says so when the daemon
    /// starts, not at the first lock. Returns this host's node number, 0 if the stack does not tell.
    pub(super) fn probe(&self) -> Result<u32, ConnectError> {
        let group = self.connect(DEFAULT_GROUP)?;
        leave(&group);
        Ok(group.node)
    }

    /// When [`sweep`](Self::sweep) wants to be called.
    pub(super) fn sweep_at_ms(&self) -> Option<u64> {
        self.sweep_ms
    }

    /// Leaves the groups that have no lock and were not used since the last sweep.
    ///
    /// Not at once: a process that takes and drops one lock again and again would join and leave as
    /// often.
    pub(super) fn sweep(&mut self) {
        self.leave_where(|group| !std::mem::take(&mut group.was_used) && group.tally.is_empty());
        self.sweep_ms =
            (!self.connected.is_empty()).then(|| self.shared.now_ms() + SWEEP_INTERVAL_MS);
    }

    /// Leaves the groups that have no lock, now.
    pub(super) fn leave_idle(&mut self) {
        self.leave_where(|group| group.tally.is_empty());
    }

    /// Leaves every group, whatever locks there are.
    pub(super) fn leave_all(&mut self) {
        self.leave_where(|_| true);
    }

    pub(super) fn locks(&self) -> usize {
        self.iter().map(|group| group.tally.locks.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn orphans(&self) -> usize {
        self.iter().map(|group| group.tally.orphans.load(Ordering::Relaxed)).sum()
    }

    fn connect(&self, name: &str) -> Result<Group, ConnectError> {
        let tally = Arc::new(Tally::default());
        let protocol = Arc::new(GroupProtocol {
            shared: self.shared.clone(),
            tally: tally.clone(),
            group: name.to_owned(),
            connection: OnceLock::new(),
        });
        let dead = {
            let name = name.to_owned();
            Box::new(move |node| tracing::warn!(%node, group = name, "a node of the group died"))
        };
        let connection =
            self.glue.connect(None, &self.cluster, name, protocol.clone(), dead).map(Arc::new)?;
        // The protocol is new: nothing was set.
        let _ = protocol.connection.set(Arc::downgrade(&connection));
        let node = connection.this_node().map_or(0, |node| node.0);
        Ok(Group { name: name.to_owned(), connection, protocol, tally, node, was_used: true })
    }

    fn leave_where(&mut self, mut unwanted: impl FnMut(&mut Group) -> bool) {
        let by_name = &mut self.by_name;
        self.connected.retain(|_, group| {
            let left = unwanted(group) && leave(group);
            if left {
                by_name.remove(group.name.as_bytes());
            }
            !left
        });
    }
}

fn leave(group: &Group) -> bool {
    match group.connection.disconnect(false) {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "a group cannot be left");
            false
        }
    }
}

fn named(name: &[u8]) -> &[u8] {
    if name.is_empty() { DEFAULT_GROUP.as_bytes() } else { name }
}

const SWEEP_INTERVAL_MS: u64 = 1000;
