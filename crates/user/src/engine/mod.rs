//! The lock engine of fs/dlm, for the locks that this node masters.
//!
//! A [`Lockspace`] spreads its resources over [`Shard`]s by name hash; a shard owns its resources and
//! their locks. What arrives at a shard is what arrives at a master: requests whose arguments were
//! checked where they were made ([`dlm::check_request`]), from owners of any kind.

mod name;
mod shard;
mod space;

pub use shard::Shard;
pub use space::{LockId, Lockspace, SHARD_COUNT, SHARD_LOCKS_MAX};
