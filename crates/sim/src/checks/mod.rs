//! What must hold: one file for each invariant.
//!
//! The numbers are those of `docs/simulator.md`. Each is judged where it counts: at the users, not in
//! the tables of whoever decides.

mod agreement;
mod blocks;
mod cached;
mod dead_holders;
mod exclusion;
mod fences;
mod leaks;
mod lock_step;
mod old_frames;
mod outcomes;
mod owners;
mod references;
mod splits;
mod tables;
mod value_block;
mod waiters;

use std::time::Duration;

pub(crate) use cached::CachedName;
pub(crate) use dead_holders::Grave;
pub(crate) use old_frames::Lives;
pub(crate) use splits::Outvoted;
pub(crate) use value_block::{Register, lvb_of};

/// An invariant that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// When, in the time of the world.
    pub at: Duration,
    /// Which.
    pub check: &'static str,
    /// How.
    pub what: String,
}
