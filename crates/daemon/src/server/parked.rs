//! Requests that wait before the stack hears of them: for processes of an earlier daemon to end, or for
//! their group to be joined.

use std::sync::Arc;

use stackglue::{Callback, Errno, Lksb, LockFlags, LockingProtocol};

use super::lock::{GroupProtocol, LockState};
use super::process::Process;
use crate::control::ControlRequest;

/// What waits, in the order in which it came.
#[derive(Default)]
pub(super) struct ParkingLot(Vec<Parked>);

/// One request.
pub(super) enum Parked {
    /// A request for a new lock, which is in the books of its process and its group.
    Lock(Lksb),
    /// A control request that would make locks.
    Request { process: Arc<Process>, id: u32, request: ControlRequest },
}

impl Parked {
    fn is_of(&self, process: &Arc<Process>) -> bool {
        let owner = match self {
            Parked::Lock(lksb) => lksb.state::<LockState>().map(|state| &state.process),
            Parked::Request { process, .. } => Some(process),
        };
        owner.is_some_and(|owner| Arc::ptr_eq(owner, process))
    }
}

impl ParkingLot {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn park(&mut self, lksb: Lksb) {
        self.0.push(Parked::Lock(lksb));
    }

    pub(super) fn park_request(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        request: ControlRequest,
    ) {
        self.0.push(Parked::Request { process: process.clone(), id, request });
    }

    /// The requests for locks.
    pub(super) fn locks(&self) -> impl Iterator<Item = &Lksb> {
        self.0.iter().filter_map(|parked| match parked {
            Parked::Lock(lksb) => Some(lksb),
            Parked::Request { .. } => None,
        })
    }

    /// Takes a request back as the stack would: a cancel ends it, and an unlock drops it.
    pub(super) fn withdraw(
        &mut self,
        lksb: &Lksb,
        flags: LockFlags,
        protocol: Arc<GroupProtocol>,
    ) -> Result<(), Errno> {
        if flags.contains(LockFlags::CANCEL | LockFlags::FORCEUNLOCK) {
            return Err(Errno::EINVAL);
        }
        let is_it = |parked: &Parked| matches!(parked, Parked::Lock(other) if other.is(lksb));
        let place = self.0.iter().position(is_it).ok_or(Errno::ENOENT)?;
        self.0.remove(place);
        let how = match flags.contains(LockFlags::CANCEL) {
            true => Errno::ECANCEL,
            false => Errno::EUNLOCK,
        };
        if let Some(callback) = lksb.post(Callback::unlock(Some(how), None)) {
            let protocol: Arc<dyn LockingProtocol> = protocol;
            lksb.deliver(callback, &protocol);
        }
        Ok(())
    }

    /// Drops what a process that is gone waited for.
    pub(super) fn forget(&mut self, process: &Arc<Process>) {
        self.0.retain(|parked| !parked.is_of(process));
    }

    /// Empties it.
    pub(super) fn take(&mut self) -> Vec<Parked> {
        std::mem::take(&mut self.0)
    }
}
