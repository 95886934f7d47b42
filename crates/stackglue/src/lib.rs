//! The cluster stack glue: one lock API over any cluster stack.
//!
//! A *stack* makes hosts into a cluster and manages their locks: `o2cb`, `pcmk`, or `solo` for a host
//! alone. A host uses one at a time. The [`Glue`] knows the stack plugins, chooses one by its
//! four-letter label, and connects to *groups*; whoever locks through a [`Connection`] need not know
//! which stack it is. It is the glue of OCFS2 (`fs/ocfs2/stackglue.c`) as a library.
//!
//! There are two ways to lock:
//!
//! * A [`Connection`] is the kernel's interface: a call starts an operation on a lock status block
//!   ([`Lksb`]), and callbacks of the connection's [`LockingProtocol`] tell the outcome, or that
//!   somebody else wants the lock. Nothing blocks, and nothing is allocated between caller and stack.
//! * A [`LockClient`] is a connection whose operations return their outcome, to a thread or to a
//!   future. What it hands out is a [`HeldLock`], which unlocks when dropped.
//!
//! ```no_run
//! use std::sync::Arc;
//! use stackglue::{BlockedLock, Glue, LockClient, LockFlags, Mode, Plugin, ProtocolVersion};
//!
//! fn count_up(plugin: Arc<dyn Plugin>) -> Result<(), Box<dyn std::error::Error>> {
//!     let version = ProtocolVersion { major: 1, minor: 0 };
//!     let glue = Glue::new();
//!     glue.register(plugin)?;
//!     glue.set_max_protocol(version)?;
//!     glue.set_cluster_stack("solo")?;
//!
//!     let someone_waits = |blocked: &BlockedLock<'_>| eprintln!("wanted: {}", blocked.level());
//!     let node_died = Box::new(|node| eprintln!("node {node} died"));
//!     let client =
//!         LockClient::connect(&glue, None, "", "counters", version, someone_waits, node_died)?;
//!
//!     // The value block of a resource travels with the lock.
//!     let held = client.lock("visits", Mode::EX).flags(LockFlags::VALBLK).wait()?;
//!     let mut value = held.lvb();
//!     value[0] = value[0].wrapping_add(1);
//!     held.set_lvb(&value)?;
//!     held.unlock().wait()?;
//!     Ok(())
//! }
//! ```
//!
//! To read it: `glue.rs` (plugins, the choice of a stack), `connection.rs` (a group joined),
//! `hangup.rs` and `attributes.rs` (what OCFS2's tools see); then `lksb.rs`, `callback.rs` and
//! `stack.rs`, which a stack implements; then `client.rs`, `request.rs`, `held.rs` and `waiter.rs`, the
//! forms that wait. `conformance` is the suite that every stack runs. The rules are in
//! `docs/protocol/stack-glue.md`.

mod attributes;
mod callback;
mod client;
#[cfg(feature = "conformance")]
pub mod conformance;
mod connection;
mod delivery;
mod error;
mod glue;
mod hangup;
mod held;
mod lksb;
mod lock_error;
mod protocol;
mod request;
mod stack;
mod sync;
mod waiter;

pub use attributes::{Attribute, HB_CTL_PATH_LEN_MAX};
pub use callback::Callback;
pub use client::{BlockedLock, LockClient};
pub use connection::Connection;
pub use error::{AttributeError, ConnectError, DisconnectError, GlueError};
pub use glue::{CLUSTER_LEN_MAX, GROUP_LEN_MAX, Glue, O2CB, PluginLoader, is_label};
pub use held::HeldLock;
pub use lksb::Lksb;
pub use lock_error::{LockContext, LockError, Operation};
pub use protocol::{LockingProtocol, ProtocolVersion, RecoveryHandler};
pub use request::{ConvertRequest, LockRequest, UnlockRequest};
pub use stack::{
    Abandoned, ConnectRefused, ConnectRequest, LockView, PlockOperation, Plugin, ResourceView,
    StackConnection,
};

// The words of the lock model that this crate's own interface speaks.
pub use dlm::{
    Errno, LVB_LEN_MAX, LockFlags, Mode, NAME_LEN_MAX, NameError, NodeNumber, Queue, ResourceName,
    StatusFlags,
};
