//! Groups that a process keeps joined, whether it has locks in them or not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stackglue::Errno;

use super::node::{Node, Refusal};
use super::process::Process;

/// A process that waits until a group is left.
pub(super) struct Leaving {
    process: Arc<Process>,
    id: u32,
    group: usize,
}

impl Node {
    /// Counts a process as a member of a group that is joined.
    pub(super) fn keep_joined(&self, process: &Process, key: usize) {
        let Some(group) = self.groups.get(key) else { return };
        let mut state = process.state();
        let joins = state.groups.entry(key).or_default();
        if *joins == 0 {
            group.tally.members.fetch_add(1, Ordering::Relaxed);
        }
        *joins += 1;
    }

    /// Takes that back. Whether the answer comes later: when the group is left.
    pub(super) fn leave(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        name: &str,
    ) -> Result<bool, Refusal> {
        let text = || format!("this client has not joined the group {name:?}");
        let key = self.groups.find(name.as_bytes()).ok_or_else(|| (Errno::ENOENT, text()))?;
        {
            let mut state = process.state();
            let joins = state.groups.get_mut(&key).ok_or_else(|| (Errno::ENOENT, text()))?;
            *joins -= 1;
            if *joins > 0 {
                return Ok(false);
            }
            state.groups.remove(&key);
        }
        self.not_a_member(key);
        let takes_time = self.groups.leave_unused(key);
        if takes_time {
            self.leaving.push(Leaving { process: process.clone(), id, group: key });
        }
        Ok(takes_time)
    }

    /// A group is left.
    pub(super) fn end_leaving(&mut self, key: usize) {
        for Leaving { process, id, .. } in self.leaving.extract_if(.., |other| other.group == key) {
            process.end(&self.shared, id, Ok(()));
        }
    }

    pub(super) fn forget_memberships_of(&mut self, process: &Arc<Process>) {
        for key in std::mem::take(&mut process.state().groups).into_keys() {
            self.not_a_member(key);
        }
        self.leaving.retain(|leaving| !Arc::ptr_eq(&leaving.process, process));
    }

    fn not_a_member(&self, key: usize) {
        if let Some(group) = self.groups.get(key) {
            group.tally.members.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
