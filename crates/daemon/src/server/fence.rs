//! This node has to stop at once: it has lost its disk or its peers, and they are about to give its
//! locks to others. Whoever uses a lock here must not write to shared storage any more.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::process::Shared;
use crate::config::OnFence;
use crate::instance::pids_with_open;

/// Stops those who hold locks.
#[derive(Clone)]
pub(super) struct Fence {
    pub(super) shared: Arc<Shared>,
    /// The file that every client has open before it is granted anything, and whoever inherited a
    /// lock from it.
    pub(super) holders_file: PathBuf,
}

impl Fence {
    /// Does what is to be done, on the thread that learned of it, and ends this process.
    pub(super) fn fall(&self, reason: &str) {
        let action = *self.shared.on_fence.lock();
        match action {
            OnFence::Kill => self.signal_holders(Signal::KILL),
            OnFence::Freeze => self.signal_holders(Signal::STOP),
            OnFence::Notify => {
                // The loop tells them.
                let _ = self.shared.fenced.set(reason.to_owned());
                self.shared.stop();
                thread::sleep(TELLING_TIME);
            }
            OnFence::Reset | OnFence::Panic => {
                let key = if action == OnFence::Reset { "b" } else { "c" };
                let error = fs::write("/proc/sysrq-trigger", key).err();
                tracing::error!(?error, "the machine goes on: kills who holds a lock instead");
                self.signal_holders(Signal::KILL);
            }
        }
        tracing::error!(reason, ?action, "fenced: stops at once");
        std::process::exit(EXIT_STATUS.into());
    }

    /// Waits until nobody uses a lock any more, after everybody was told to stop: the other nodes have
    /// the locks when the groups were left. Who does not stop in time is stopped.
    pub(super) fn wait_for_holders(&self, others: &[u32]) {
        let deadline = Instant::now() + STOPPING_TIME;
        loop {
            let left = self.users(others);
            if left.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                let action = *self.shared.on_fence.lock();
                tracing::warn!(pids = ?left, ?action, "do not give their locks back");
                match action {
                    OnFence::Kill | OnFence::Reset | OnFence::Panic => signal(&left, Signal::KILL),
                    OnFence::Freeze => signal(&left, Signal::STOP),
                    OnFence::Notify => {}
                }
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Connected processes that hold no lock, and whether any holds one.
    pub(super) fn without_locks(&self) -> (Vec<u32>, bool) {
        let connected = self.shared.connected.lock();
        let (holders, others): (Vec<_>, Vec<_>) =
            connected.values().partition(|process| process.holds_a_lock());
        let others = others.iter().map(|process| process.pid);
        let others = others.filter(|pid| !holders.iter().any(|holder| holder.pid == *pid));
        (others.collect(), !holders.is_empty())
    }

    fn signal_holders(&self, how: Signal) {
        let (others, is_any) = self.without_locks();
        if is_any {
            signal(&self.users(&others), how);
        }
    }

    /// Processes that have the holders file open, but for those.
    fn users(&self, others: &[u32]) -> Vec<u32> {
        let file = fs::canonicalize(&self.holders_file).ok();
        let mut pids = pids_with_open(file.as_slice());
        pids.retain(|pid| !others.contains(pid));
        pids
    }
}

fn signal(pids: &[u32], how: Signal) {
    for pid in pids {
        let Some(process) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
        match kill_process(process, how) {
            Ok(()) => tracing::error!(pid, ?how, "stopped a process that used a lock"),
            Err(error) => tracing::error!(pid, %error, "a process cannot be stopped"),
        }
    }
}

/// `EX_TEMPFAIL`: a service manager starts the node again.
pub(crate) const EXIT_STATUS: u8 = 75;

/// How long the loop has to tell everybody.
const TELLING_TIME: Duration = Duration::from_secs(2);

/// How long those who are told to stop have; `stackglue lock` gives its command ten seconds.
const STOPPING_TIME: Duration = Duration::from_secs(12);

const LOOK_AGAIN: Duration = Duration::from_millis(50);
