//! Cached cluster locks: the level kept after release, and the callback that takes it away.
//!
//! A node keeps a lock when its user is done, and gives it back when another node asks: what
//! OCFS2's dlmglue does (`fs/ocfs2/dlmglue.c`), as an API for every day. Taking a lock that the
//! node still has is one atomic operation, and so is giving it up; no call, no message, no clock.
//!
//! | | what it is |
//! |---|---|
//! | [`Cluster`] | a group joined |
//! | [`ClusterLock`] | an exclusive lock |
//! | [`ClusterRwLock`] | a small value that the cluster shares; it travels with its lock |
//! | [`Coherent`] | a cache of values of any size, in front of a store |
//! | [`Membership`] | what tells all of them that this node is no longer a member |
//!
//! ```
//! use std::sync::Arc;
//!
//! use stackglue::Glue;
//! use stackglue_dlmglue::Cluster;
//! use stackglue_user::{UserOptions, UserPlugin};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let glue = Glue::new();
//! glue.register(Arc::new(UserPlugin::new(UserOptions::default())))?;
//! glue.set_cluster_stack("solo")?; // this host alone; `o2cb` for a cluster
//!
//! let cluster = Cluster::connect(&glue, "shop")?;
//! let stock = cluster.value("stock", 10_u32)?;
//! *stock.write()? -= 1;
//! assert_eq!(*stock.read()?, 9);
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! * One exclusive user, or any number of readers, in the cluster: threads of one program exclude
//!   each other as nodes do. Users of one node are served in the order in which they came.
//! * Nothing renews and nothing expires. A lock is ours until the guard is dropped, or membership
//!   is lost: then every guard says why, and nothing is granted any more.
//! * When another node asks, users of this node who wait already go first, but no more than eight:
//!   then the lock goes over. It is kept for reading if the other one only wants to read.
//! * Whoever waited has the lock at least once before it goes.
//!
//! # Fencing tokens
//!
//! An exclusive guard has a [token](LockGuard::token), a number that only grows per name: across
//! nodes, masters and deaths. A store that remembers the highest it has seen and refuses lower ones
//! is safe from a writer that was declared dead and does not know. Guards of one cached grant have
//! one token.
//!
//! On `solo` the stack numbers its grants. `o2cb` does not, and its kernels cannot: there the token
//! is in the value block of the resource, by agreement of those who use this crate.
//!
//! * It costs the first 24 bytes of the block, and an exclusive lock on `.stackglue.epoch`, a
//!   resource of the group, when a name is first used or its value was lost.
//! * A kernel that takes the lock does not raise it, and one that writes a block of its own ends
//!   the sequence: the next token is from a new, higher epoch.
//! * It grows without any clock as long as the group has a member that has used a token, and none
//!   dies that holds `.stackglue.epoch`. After that loss, tokens go on from the clock, and clocks
//!   must differ by less than passes before the next token: when a node dies on `o2cb`, more than
//!   ten seconds; when the last such member leaves, or its process is killed and its node lives on,
//!   perhaps some milliseconds.
//!
//! To read it: `word.rs`, the short way; `state.rs`, the machine behind it; `resource.rs`, both
//! together; `model.rs`, every interleaving of them; `cluster.rs`, `lock.rs`, `rwlock.rs` and
//! `coherent.rs`, what programs use; `block.rs` and `epoch.rs`, what travels.

mod acquire;
mod block;
mod cluster;
mod coherent;
#[cfg(feature = "conformance")]
pub mod conformance;
mod epoch;
mod error;
mod glue_lock;
mod level;
mod lock;
mod membership;
#[doc(hidden)]
pub mod mutants;
mod queue;
mod resource;
mod rwlock;
mod small_value;
mod state;
mod sync;
mod table;
mod word;
mod worker;

#[cfg(all(test, loom))]
mod model;

pub use block::VALUE_LEN_MAX;
pub use cluster::{Cluster, ClusterOptions};
pub use coherent::{Coherent, CoherentRef};
pub use error::{Error, ErrorKind, Holder};
pub use level::Level;
pub use lock::{ClusterLock, LockGuard};
pub use membership::Membership;
pub use rwlock::{ClusterRwLock, ReadGuard, WriteGuard};
pub use small_value::SmallValue;

/// Which write a value is of: no two writes of a resource have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    token: u64,
    writes: u32,
}
