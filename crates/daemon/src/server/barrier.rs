//! While processes of an earlier daemon still run nothing is granted: what they hold is not known. What
//! others ask for waits here, in the order in which it came.

use std::sync::Arc;

use stackglue::{Callback, Errno, Lksb, LockFlags, LockingProtocol};

use super::lock::{GroupProtocol, LockState};
use super::node::{Node, Refusal};
use super::process::Process;
use crate::control::ControlRequest;
use crate::instance::EarlierHolders;

/// Earlier holders, and what waits for their end.
pub(super) struct Barrier {
    earlier: EarlierHolders,
    parked: Vec<Parked>,
    poll_at_ms: u64,
    report_at_ms: u64,
    pids: Vec<u32>,
    /// Until when `pids` are good enough.
    pids_until_ms: u64,
}

/// What waits.
enum Parked {
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

impl Barrier {
    pub(super) fn new(earlier: EarlierHolders) -> Barrier {
        Barrier {
            earlier,
            parked: Vec::new(),
            poll_at_ms: 0,
            report_at_ms: 0,
            pids: Vec::new(),
            pids_until_ms: 0,
        }
    }

    /// When to look whether the earlier holders have ended.
    pub(super) fn poll_at_ms(&self) -> u64 {
        self.poll_at_ms
    }

    /// The earlier holders, as far as they are known.
    pub(super) fn pids(&mut self, now_ms: u64) -> &[u32] {
        if self.pids_until_ms <= now_ms {
            self.pids = self.earlier.pids();
            self.pids_until_ms = now_ms + PIDS_AGE_MAX_MS;
        }
        &self.pids
    }

    /// What those are told who do not want to wait.
    pub(super) fn refusal(&mut self, now_ms: u64) -> Refusal {
        let pids = self.pids(now_ms);
        let mut who: Vec<_> = pids.iter().take(PIDS_NAMED_MAX).map(u32::to_string).collect();
        if pids.len() > PIDS_NAMED_MAX {
            who.push(format!("and {} more", pids.len() - PIDS_NAMED_MAX));
        }
        let who = match who.join(", ") {
            none if none.is_empty() => none,
            pids => format!(": pid {pids}"),
        };
        let text =
            format!("nothing is granted while processes of a stackglued that died still run{who}");
        (Errno::EAGAIN, text)
    }

    pub(super) fn park(&mut self, lksb: Lksb) {
        self.parked.push(Parked::Lock(lksb));
    }

    pub(super) fn park_request(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        request: ControlRequest,
    ) {
        self.parked.push(Parked::Request { process: process.clone(), id, request });
    }

    /// The requests for locks that wait.
    pub(super) fn locks(&self) -> impl Iterator<Item = &Lksb> {
        self.parked.iter().filter_map(|parked| match parked {
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
        let place = self.parked.iter().position(is_it).ok_or(Errno::ENOENT)?;
        self.parked.remove(place);
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
}

impl Node {
    /// Looks whether the earlier holders have ended; then everything that waited goes on.
    pub(super) fn watch_barrier(&mut self) {
        let now_ms = self.shared.now_ms();
        let Some(barrier) = &mut self.barrier else { return };
        if now_ms < barrier.poll_at_ms {
            return;
        }
        if barrier.earlier.poll() {
            barrier.poll_at_ms = now_ms + POLL_INTERVAL_MS;
            if barrier.report_at_ms <= now_ms {
                barrier.report_at_ms = now_ms + REPORT_INTERVAL_MS;
                let pids = barrier.pids(now_ms);
                tracing::warn!(
                    ?pids,
                    "an earlier stackglued granted locks to processes that still run: nothing is \
                     granted before they have ended"
                );
            }
            return;
        }
        tracing::info!("the processes of the earlier stackglued have ended");
        let parked = self.barrier.take().map(|barrier| barrier.parked);
        for parked in parked.into_iter().flatten() {
            match parked {
                Parked::Lock(lksb) => self.submit_parked(&lksb),
                Parked::Request { process, id, request } => self.answer(&process, id, request),
            }
        }
    }

    /// Drops what a process that is gone waited for: `locks` are all its locks.
    pub(super) fn forget_parked_of(
        &mut self,
        process: &Arc<Process>,
        locks: impl Iterator<Item = Lksb>,
    ) {
        if let Some(barrier) = &mut self.barrier {
            barrier.parked.retain(|parked| !parked.is_of(process));
        }
        for lksb in locks {
            let state = lksb.state::<LockState>();
            if let Some(group) = state.and_then(|state| self.groups.get(state.group)) {
                group.tally.lock_ended();
                self.shared.counters.abandoned.count();
            }
        }
    }

    fn submit_parked(&self, lksb: &Lksb) {
        let Some(state) = lksb.state::<LockState>() else { return };
        let Some(group) = self.groups.get(state.group) else { return };
        self.submit(group, &state.process, lksb, state.wanted(), state.flags(), state.name());
    }
}

const POLL_INTERVAL_MS: u64 = 50;
const REPORT_INTERVAL_MS: u64 = 5000;

/// Finding the processes reads all of `/proc`.
const PIDS_AGE_MAX_MS: u64 = 250;

/// Processes named in an error message.
const PIDS_NAMED_MAX: usize = 8;
