//! Control requests: what each does, or starts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stackglue::Errno;

use super::group::Group;
use super::heartbeat::Verb;
use super::listing::Listing;
use super::node::{Node, Refusal};
use super::o2cb;
use super::process::Process;
use super::revoke::RevokeRequest;
use crate::control::{ControlRequest, CountersItem, GroupItem, StackItem, StatusItem};

impl Node {
    /// Serves a control request: its answer ends now, or later.
    pub(super) fn request(&mut self, process: &Arc<Process>, id: u32, json: &[u8]) {
        match serde_json::from_slice(json) {
            Ok(request) => self.answer(process, id, request),
            Err(error) => {
                self.shared.counters.bad_frame("request");
                let text = format!("this control request is not known: {error}");
                process.end(&self.shared, id, Err((Errno::EINVAL, text)));
            }
        }
    }

    /// Starts a control request, and ends its answer unless that comes later.
    pub(super) fn answer(&mut self, process: &Arc<Process>, id: u32, request: ControlRequest) {
        match self.start(process, id, request) {
            Ok(Answer::Later) => {}
            Ok(Answer::Now) => process.end(&self.shared, id, Ok(())),
            Err(refusal) => process.end(&self.shared, id, Err(refusal)),
        }
    }

    fn start(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        request: ControlRequest,
    ) -> Result<Answer, Refusal> {
        let now_ms = self.shared.now_ms();
        match (request, &mut self.barrier) {
            (request @ ControlRequest::SetValue { .. }, Some(barrier)) => {
                barrier.parked.park_request(process, id, request);
                Ok(Answer::Later)
            }
            (ControlRequest::Value { .. } | ControlRequest::Revoke { .. }, Some(barrier)) => {
                Err(barrier.refusal(now_ms))
            }
            (request, _) => self.start_freely(process, id, request),
        }
    }

    /// Starts what no earlier daemon's processes are in the way of.
    fn start_freely(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        request: ControlRequest,
    ) -> Result<Answer, Refusal> {
        if let ControlRequest::Value { group, .. }
        | ControlRequest::SetValue { group, .. }
        | ControlRequest::Join { group } = &request
        {
            let key = self.groups.join(group.as_bytes())?;
            if let Some(parked) = self.groups.get_mut(key).and_then(|group| group.parked()) {
                parked.park_request(process, id, request);
                return Ok(Answer::Later);
            }
            if let ControlRequest::Join { .. } = request {
                self.keep_joined(process, key);
                return Ok(Answer::Now);
            }
        }
        match request {
            ControlRequest::SetValue { .. } | ControlRequest::ClearValue { .. }
                if self.o2cb.is_some() =>
            {
                return Err(o2cb::no_kept_values());
            }
            ControlRequest::SetStack { label } if self.o2cb.is_some() && label != "o2cb" => {
                return Err(o2cb::no_other_stack());
            }
            ControlRequest::Nodes {} => {
                for node in self.nodes() {
                    process.item(&self.shared, id, &node);
                }
            }
            ControlRequest::Status {} => {
                let status = self.status();
                process.item(&self.shared, id, &status);
            }
            ControlRequest::Counters {} => {
                let counters = self.counters();
                process.item(&self.shared, id, &CountersItem { counters });
            }
            ControlRequest::Locks { group, name } => {
                let group = group.as_deref().map(|group| match group {
                    "" => crate::protocol::DEFAULT_GROUP,
                    group => group,
                });
                let parked = self.barrier.iter().flat_map(|barrier| barrier.parked.locks());
                let parked = parked.chain(self.groups.iter().flat_map(Group::parked_locks));
                let listing = Listing::new(process, id, &self.groups, parked, group, name.as_ref());
                self.listings.push(listing);
                return Ok(Answer::Later);
            }
            ControlRequest::Stack {} => process.item(&self.shared, id, &self.stack()),
            ControlRequest::SetStack { label } => {
                self.set_stack(process, &label)?;
                process.item(&self.shared, id, &self.stack());
            }
            ControlRequest::Join { .. } => {}
            ControlRequest::Leave { group } => {
                if self.leave(process, id, &group)? {
                    return Ok(Answer::Later);
                }
            }
            ControlRequest::Value { group, name } => {
                self.read_value(process, id, &group, name)?;
                return Ok(Answer::Later);
            }
            ControlRequest::SetValue { group, name, value } => {
                self.write_value(process, id, &group, name, value)?;
                return Ok(Answer::Later);
            }
            ControlRequest::ClearValue { group, name } => self.clear_value(&group, &name)?,
            ControlRequest::Attributes { path } => {
                for item in self.list_attributes(&path)? {
                    process.item(&self.shared, id, &item);
                }
            }
            ControlRequest::ReadAttribute { path } => {
                self.read_attribute(process, id, &path)?;
                return Ok(Answer::Later);
            }
            ControlRequest::WriteAttribute { path, text } => {
                self.write_attribute(process, &path, &text.0)?;
            }
            ControlRequest::Heartbeat { region } => {
                process.item(&self.shared, id, &self.heartbeat(region)?);
            }
            ControlRequest::StartHeartbeat { region, device } => {
                return self.change_heartbeat(process, id, region, Verb::Start { device });
            }
            ControlRequest::StopHeartbeat { region } => {
                return self.change_heartbeat(process, id, region, Verb::Stop);
            }
            ControlRequest::Revoke { group, name, force, grace_ms, reason } => {
                let request = RevokeRequest { group, name, force, grace_ms, reason };
                self.revoke(process, id, request)?;
                return Ok(Answer::Later);
            }
        }
        Ok(Answer::Now)
    }

    fn status(&mut self) -> StatusItem {
        let now_ms = self.shared.now_ms();
        let earlier_holders = self.barrier.as_mut().map(|barrier| barrier.pids(now_ms).to_vec());
        let stack = self.stack();
        let groups = self.groups.iter().map(|group| GroupItem {
            name: group.name.clone(),
            node: group.node,
            locks: group.tally.locks.load(Ordering::Relaxed),
            orphans: group.tally.orphans.load(Ordering::Relaxed),
        });
        StatusItem {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            socket: self.socket.clone(),
            stack: stack.label,
            plugin: stack.plugin,
            node: self.number,
            epoch: self.epoch,
            uptime_ms: now_ms,
            earlier_holders,
            clients: self.clients,
            locks: self.groups.locks(),
            orphans: self.groups.orphans(),
            groups: groups.collect(),
            counters: self.counters(),
        }
    }

    fn stack(&self) -> StackItem {
        StackItem {
            label: self.glue.cluster_stack(),
            plugin: self.glue.active_plugin().unwrap_or_default().to_owned(),
        }
    }

    /// Changes the stack, if no group is connected; one that cannot be used is not kept.
    pub(super) fn set_stack(&mut self, process: &Process, label: &str) -> Result<(), Refusal> {
        if !process.is_admin {
            let text = "only root and the daemon's own user may change the stack".to_owned();
            return Err((Errno::EPERM, text));
        }
        self.groups.leave_idle();
        let old = self.glue.cluster_stack();
        self.glue.set_cluster_stack(label).map_err(|error| (error.errno(), error.to_string()))?;
        if label == old {
            return Ok(());
        }
        match self.groups.probe() {
            Ok(number) => {
                self.number = number;
                Ok(())
            }
            Err(error) => {
                if let Err(error) = self.glue.set_cluster_stack(&old) {
                    tracing::error!(%error, "the old stack cannot be selected again");
                }
                Err((error.errno(), error.to_string()))
            }
        }
    }
}

/// When the answer ends.
pub(super) enum Answer {
    Now,
    Later,
}
