//! A thread for the disk of each heartbeat region: a disk may hang, and nothing else may with it.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::{O2cbNode, RegionOptions, wall_seconds};
use crate::heartbeat::RegionId;
use crate::heartbeat::disk::Disk;
use crate::{NodeId, Now};

/// What a disk is to do, one after the other.
#[derive(Debug)]
pub(super) enum Job {
    Read { first: NodeId, last: NodeId },
    Write { bytes: Vec<u8>, not_after: Option<Now> },
}

/// The disk of a region and the thread that works on it, which ends when this is dropped.
pub(super) struct RegionDisk {
    pub(super) jobs: Sender<Job>,
    pub(super) options: RegionOptions,
    /// The thread's number, for who gives it another priority.
    pub(super) thread: Arc<OnceLock<i32>>,
}

/// Starts the thread of a region, which is to be told which one it is: a region without a thread could not
/// even be stopped.
pub(super) fn run(
    node: &O2cbNode,
    disk: Disk,
    options: RegionOptions,
) -> io::Result<(RegionDisk, Sender<RegionId>)> {
    let (jobs, todo) = channel();
    let (region, told) = channel();
    let node = node.clone();
    let thread = Arc::new(OnceLock::new());
    let own = thread.clone();
    thread::Builder::new().name(format!("o2hb-{}", node.me())).spawn(move || {
        own.get_or_init(|| rustix::thread::gettid().as_raw_nonzero().get());
        if let Ok(region) = told.recv() {
            work(&node, region, &disk, &todo);
        }
    })?;
    Ok((RegionDisk { jobs, options, thread }, region))
}

fn work(node: &O2cbNode, region: RegionId, disk: &Disk, todo: &Receiver<Job>) {
    let shared = node.shared();
    while let Ok(job) = todo.recv() {
        match job {
            Job::Read { first, last } => {
                let read = disk.read_slots(first, last);
                shared.act(|inner, now| {
                    let read = read.as_deref().map_err(|error| io::Error::from(error.kind()));
                    inner.stack.slots_read(now, region, wall_seconds(), read);
                });
            }
            Job::Write { bytes, not_after } => {
                // A block written after the deadline would tell peers that a dead node lives.
                let written = if not_after.is_some_and(|deadline| shared.now() >= deadline) {
                    Err(io::ErrorKind::TimedOut.into())
                } else {
                    disk.write_slot(node.me(), &bytes)
                };
                shared.act(|inner, now| inner.stack.slot_written(now, region, written));
            }
        }
    }
}
