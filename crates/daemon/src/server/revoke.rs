//! Revocation: an operator wants a resource back.

use std::sync::Arc;

use stackglue::{Abandoned, Errno, Lksb, Mode};

use super::lock::{LockState, Role};
use super::node::{Node, Refusal};
use super::process::Process;
use crate::control::{Name, RevokeItem, RevokeStep};
use crate::protocol::FromDaemon;

/// A revocation under way.
pub(super) struct Revocation {
    process: Arc<Process>,
    id: u32,
    name: Name,
    group: usize,
    force: bool,
    deadline_ms: u64,
    reason: String,
    /// Locks that were asked for and not given back.
    held: Vec<Held>,
}

/// A lock that is to be given back.
struct Held {
    lksb: Lksb,
    lock_id: u32,
    mode: Mode,
}

impl Revocation {
    pub(super) fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }
}

/// What a process asked for.
pub(super) struct RevokeRequest {
    pub(super) group: String,
    pub(super) name: Name,
    pub(super) force: bool,
    pub(super) grace_ms: u32,
    pub(super) reason: String,
}

impl Node {
    /// Drops the orphans of a resource, and asks for the locks that processes hold now.
    pub(super) fn revoke(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        request: RevokeRequest,
    ) -> Result<(), Refusal> {
        let name = request.name.as_resource_name();
        let not_held = || (Errno::ENOENT, format!("nobody holds \"{name}\""));
        let group = self.groups.find(request.group.as_bytes()).ok_or_else(not_held)?;
        let (mut orphans, mut held) = (Vec::new(), Vec::new());
        let connection = self.groups.get(group).and_then(|group| group.connection());
        let connection = connection.ok_or_else(not_held)?.clone();
        connection.visit_resource(name, &mut |resource| {
            for lock in resource.locks {
                // Who holds it in NL keeps nobody out; a lock of another node is that node's.
                let (Some(lksb), Some(mode)) = (lock.lksb, lock.granted) else { continue };
                if mode == Mode::NL {
                    continue;
                }
                let list = if lock.orphan { &mut orphans } else { &mut held };
                list.push(Held { lksb: lksb.clone(), lock_id: lksb.lock_id(), mode });
            }
        });
        if orphans.is_empty() && held.is_empty() {
            return Err(not_held());
        }
        let foreign = orphans.iter().chain(&held).find(|held| held.uid() != Some(process.uid));
        if let (Some(foreign), false) = (foreign, process.is_admin) {
            let text = format!(
                "\"{name}\" is held by {}: only root and the daemon's own user may revoke locks of \
                 others",
                foreign.describe()
            );
            return Err((Errno::EPERM, text));
        }
        self.shared.counters.revokes.count();
        // Not every stack has orphans.
        if !orphans.is_empty() {
            self.purge(group, &|lksb| orphans.iter().any(|orphan| orphan.lksb.is(lksb)))?;
        }
        for orphan in &orphans {
            process.item(&self.shared, id, &orphan.item(RevokeStep::Purged));
        }
        for held in &held {
            held.ask(self, request.grace_ms, &request.reason);
            process.item(&self.shared, id, &held.item(RevokeStep::Asked));
        }
        self.revocations.push(Revocation {
            process: process.clone(),
            id,
            group,
            force: request.force,
            deadline_ms: self.shared.now_ms() + u64::from(request.grace_ms),
            reason: request.reason,
            held,
            name: request.name,
        });
        Ok(())
    }

    /// Looks who has given back what was asked for, and whose time is up.
    pub(super) fn watch_revocations(&mut self) {
        let mut revocations = std::mem::take(&mut self.revocations);
        revocations.retain_mut(|revocation| !self.watch(revocation));
        self.revocations.append(&mut revocations);
    }

    /// Drops the revocations that a process asked for.
    pub(super) fn forget_revocations_of(&mut self, process: &Arc<Process>) {
        self.revocations.retain(|revocation| !Arc::ptr_eq(&revocation.process, process));
    }

    /// `true` when it has ended.
    fn watch(&self, revocation: &mut Revocation) -> bool {
        let Revocation { process, id, .. } = &*revocation;
        let (process, id) = (process.clone(), *id);
        revocation.held.retain(|held| {
            let is_held = held.is_held();
            if !is_held {
                process.item(&self.shared, id, &held.item(RevokeStep::Released));
            }
            is_held
        });
        if revocation.held.is_empty() {
            process.end(&self.shared, id, Ok(()));
            return true;
        }
        if self.shared.now_ms() < revocation.deadline_ms {
            return false;
        }
        let outcome = if revocation.force {
            for held in &revocation.held {
                self.take(revocation.group, held, &revocation.reason);
                process.item(&self.shared, id, &held.item(RevokeStep::Taken));
            }
            Ok(())
        } else {
            let holders: Vec<String> = revocation.held.iter().map(Held::describe).collect();
            let text = format!(
                "\"{}\" is still held by {}: use force to take it away",
                revocation.name,
                holders.join(", ")
            );
            Err((Errno::EBUSY, text))
        };
        process.end(&self.shared, id, outcome);
        true
    }

    /// Takes a lock away from its process, which is told.
    fn take(&self, group: usize, held: &Held, reason: &str) {
        self.shared.counters.taken.count();
        if let Some((state, handle)) = held.client() {
            let reason = format!("it was revoked by force: {reason}");
            let frame = FromDaemon::Lost { handle, reason: &reason };
            state.process.send_with(&self.shared, &frame, |process| {
                process.waiting -= usize::from(state.finish());
                process.locks.remove(&handle);
            });
        }
        if self.abandon(group, &held.lksb) == Some(Abandoned::Orphaned) {
            // Persistence is for locks whose process is gone, not against the operator.
            if let Err((_, text)) = self.purge(group, &|lksb| lksb.is(&held.lksb)) {
                tracing::error!("{text}");
            }
        }
    }
}

impl Held {
    fn client(&self) -> Option<(&LockState, u32)> {
        let state = self.lksb.state::<LockState>()?;
        match state.role {
            Role::Client(handle) => Some((state, handle)),
            Role::Value(_) => None,
        }
    }

    fn uid(&self) -> Option<u32> {
        self.lksb.state::<LockState>().map(|state| state.process.uid)
    }

    fn is_held(&self) -> bool {
        let is_same = self.lksb.lock_id() == self.lock_id;
        is_same && self.lksb.mode().is_some_and(|mode| mode != Mode::NL)
    }

    fn ask(&self, node: &Node, grace_ms: u32, reason: &str) {
        if let Some((state, handle)) = self.client() {
            let frame = FromDaemon::Revoked { handle, grace_ms, reason };
            state.process.send(&node.shared, &frame);
        }
    }

    fn describe(&self) -> String {
        match self.lksb.state::<LockState>() {
            Some(state) => {
                let process = &state.process;
                format!("pid {} ({}) in {}", process.pid, process.command(), self.mode)
            }
            None => format!("somebody in {}", self.mode),
        }
    }

    fn item(&self, step: RevokeStep) -> RevokeItem {
        let state = self.lksb.state::<LockState>();
        RevokeItem {
            step,
            pid: state.map(|state| state.process.pid),
            command: state.map_or("", |state| state.process.command()).to_owned(),
            purpose: state.map_or("", |state| &state.purpose).to_owned(),
            mode: self.mode.to_string(),
        }
    }
}
