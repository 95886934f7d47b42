//! Cached cluster locks: the level kept after release, and the callback that takes it away.

mod acquire;
mod block;
mod level;
mod queue;
mod resource;
mod state;
mod sync;
mod word;

#[cfg(all(test, loom))]
mod model;

pub use block::VALUE_LEN_MAX;
pub use level::Level;

/// Which write a value is of: no two writes of a resource have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    token: u64,
    writes: u32,
}
