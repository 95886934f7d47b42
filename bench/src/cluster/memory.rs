//! Row P17: what a lock costs in memory that is held on one node and mastered on another.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use dlm::{LockFlags, Mode, ResourceName};
use stackglue::{Connection, Lksb};

use super::caller::{Caller, Telling};
use super::nodes::Nodes;
use crate::memory::{measured_apart, resident_bytes};
use crate::names::{Name, names};
use crate::row::Row;

/// P17: bytes that a process with both nodes grows by for each lock, one on each name, status block
/// included.
pub(crate) fn row(locks: usize) -> Result<Row, Box<dyn Error>> {
    let value = measured_apart("memory-o2cb", locks)?;
    let case = format!("{}k remote locks", locks / 1_000);
    let placement = "resident set of a process with both nodes";
    let numbers = (value, KERNEL_BYTES, "bytes");
    Ok(Row::of_numbers("P17", case, numbers, RATIO_MAX, placement))
}

/// Prints the bytes per lock of this process, for [`row`] to read, and ends it: to leave with so many
/// locks would take longer than to take them.
pub(crate) fn print(locks: usize) -> Result<(), Box<dyn Error>> {
    let nodes = Nodes::start(2)?;
    bytes_per_lock(&nodes, locks, |bytes| {
        println!("{bytes}");
        std::process::exit(0);
    })
}

/// Tells `found` how many while the locks are held.
fn bytes_per_lock(
    nodes: &Nodes,
    locks: usize,
    found: impl FnOnce(f64),
) -> Result<(), Box<dyn Error>> {
    let names = names(locks);
    let caller = Caller::new();
    let connect = |node| nodes.connect(node, "memory", Arc::new(Telling(Arc::clone(&caller))));
    let (master, holder) = (connect(0)?, connect(1)?);
    let lock = |connection: &Connection, mode, names: &[Name]| {
        let lksbs: Vec<Lksb> = names.iter().map(|_| Lksb::new(())).collect();
        caller.expect(names.len());
        for (name, lksb) in names.iter().zip(&lksbs) {
            connection.lock(mode, lksb, LockFlags::empty(), ResourceName::new(name)?)?;
        }
        caller.wait();
        Ok::<_, Box<dyn Error>>(lksbs)
    };
    let mut held = Vec::with_capacity(locks);
    // Touches what the list itself takes, and what a first lock sets up once for all.
    held.resize_with(locks, || None);
    lock(&holder, Mode::EX, &[*b"the first one that is ever taken"])?;
    let before = resident_bytes()?;
    for (names, held) in names.chunks(CHUNK).zip(held.chunks_mut(CHUNK)) {
        // Who has the first lock is the master, and goes on to be without one.
        let first = lock(&master, Mode::NL, names)?;
        let lksbs = lock(&holder, Mode::EX, names)?;
        caller.expect(names.len());
        for lksb in &first {
            master.unlock(lksb, LockFlags::empty())?;
        }
        caller.wait();
        for (place, lksb) in held.iter_mut().zip(lksbs) {
            *place = Some(lksb);
        }
    }
    let after = resident_bytes()?;
    found((after - before) / locks as f64);
    black_box(held);
    Ok(())
}

/// What o2dlm spends on such a lock: 472 bytes where it is held and 552 where it is mastered.
const KERNEL_BYTES: f64 = 1024.0;

const RATIO_MAX: f64 = 0.33;

/// Names in flight at once.
const CHUNK: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_lock_costs_two_names_at_least_and_not_a_page() {
        let nodes = Nodes::start(2).expect("two nodes");
        let within = |bytes| assert!(bytes > 64.0 && bytes < 4096.0, "{bytes}");
        bytes_per_lock(&nodes, 20_000, within).expect("measured");
    }
}
