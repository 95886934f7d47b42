//! While processes of an earlier daemon still run nothing is granted: what they hold is not known. What
//! others ask for waits here, in the order in which it came.

use std::sync::Arc;

use stackglue::{Errno, Lksb};

use super::lock::LockState;
use super::node::{Node, Refusal};
use super::parked::ParkingLot;
use super::process::Process;
use crate::instance::EarlierHolders;

/// Earlier holders, and what waits for their end.
pub(super) struct Barrier {
    earlier: EarlierHolders,
    pub(super) parked: ParkingLot,
    poll_at_ms: u64,
    report_at_ms: u64,
    pids: Vec<u32>,
    /// Until when `pids` are good enough.
    pids_until_ms: u64,
}

impl Barrier {
    pub(super) fn new(earlier: EarlierHolders) -> Barrier {
        Barrier {
            earlier,
            parked: ParkingLot::default(),
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
        let parked = self.barrier.take().map(|mut barrier| barrier.parked.take());
        self.resume(parked.unwrap_or_default());
    }

    /// Drops what a process that is gone waited for: `locks` are all its locks.
    pub(super) fn forget_parked_of(
        &mut self,
        process: &Arc<Process>,
        locks: impl Iterator<Item = Lksb>,
    ) {
        if let Some(barrier) = &mut self.barrier {
            barrier.parked.forget(process);
        }
        for lksb in locks {
            let state = lksb.state::<LockState>();
            if let Some(group) = state.and_then(|state| self.groups.get(state.group)) {
                group.tally.lock_ended();
                self.shared.counters.abandoned.count();
            }
        }
    }
}

const POLL_INTERVAL_MS: u64 = 50;
const REPORT_INTERVAL_MS: u64 = 5000;

/// Finding the processes reads all of `/proc`.
const PIDS_AGE_MAX_MS: u64 = 250;

/// Processes named in an error message.
const PIDS_NAMED_MAX: usize = 8;
