//! A thread for the disk of each heartbeat region: a disk may hang, and nothing else may with it.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::{O2cbNode, wall_seconds};
use crate::heartbeat::RegionId;
use crate::heartbeat::disk::Disk;
use crate::{NodeId, Now};

/// What a disk is to do, one after the other.
#[derive(Debug)]
pub(super) enum Job {
    Read { first: NodeId, last: NodeId },
    Write { bytes: Vec<u8>, not_after: Option<Now> },
}

/// Starts the thread of a region. It ends when the sender is dropped.
pub(super) fn run(node: &O2cbNode, region: RegionId, disk: Disk) -> io::Result<Sender<Job>> {
    let (jobs, todo) = channel();
    let node = node.clone();
    thread::Builder::new()
        .name(format!("o2hb-{}", node.me()))
        .spawn(move || work(&node, region, &disk, &todo))?;
    Ok(jobs)
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
