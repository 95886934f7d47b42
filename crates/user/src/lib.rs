//! The user stack: the fs/dlm lock engine and the plugin that serves it to the glue.
//!
//! The plugin answers to every label but `o2cb`; the label says where membership comes from. This
//! version knows one, `solo`: this host alone, nothing on the wire.
//!
//! * [`engine`]: lockspaces as state machines. No clock, socket, thread or random source; every
//!   operation is decided under the mutex of one shard and tells what follows from it to the caller's
//!   [`dlm::Effects`]. That trait is the boundary where callbacks become messages once the owner of a
//!   lock is another node.
//! * [`UserPlugin`]: the driver. It grants inline on the thread that calls, and delivers the callbacks
//!   after it has let go of the shard.

pub mod engine;
mod plugin;

pub use plugin::{SOLO_NODE, UserOptions, UserPlugin};
