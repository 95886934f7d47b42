//! The classic OCFS2 stack, as stock Linux kernels speak it: node manager, disk heartbeat, quorum,
//! o2net and o2dlm, byte for byte on the disk and on the wire.
//!
//! The engines ([`heartbeat`], [`quorum`], [`o2net`], [`o2dlm`]) are state machines without a clock,
//! socket, file or thread: time and bytes come in, what is to be done comes out. [`stack::Stack`] joins
//! them into one node; [`O2cbNode`] drives it with disks, sockets and threads, and [`O2cbPlugin`] offers
//! it to the glue.

pub mod attributes;
pub mod cluster_conf;
mod crc;
mod driver;
pub mod heartbeat;
#[doc(hidden)]
pub mod mutants;
mod node;
pub mod o2dlm;
pub mod o2net;
mod plugin;
pub mod quorum;
mod settings;
pub mod stack;
mod timeouts;
pub mod volume;

pub use crc::crc_le;
pub use driver::{
    DomainStatus, FenceHandler, NodeOptions, NodeStatus, O2cbNode, PeerStatus, RegionOptions,
    StartError, mode_of,
};
pub use node::{NODES_MAX, NodeId, NodeMap};
pub use plugin::{O2cbPlugin, o2dlm_flags, o2dlm_mode};
pub use settings::{Settings, SettingsError};
pub use timeouts::{HEARTBEAT_PERIOD_MS, Timeouts, TimeoutsError};

/// A moment, as time since the driver started: engines never read a clock.
pub type Now = std::time::Duration;
