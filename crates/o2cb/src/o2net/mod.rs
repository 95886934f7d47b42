//! o2net: messages between nodes.
//!
//! Every pair of nodes has one TCP connection, made by the node with the higher number. Both sides open
//! with a [`Handshake`]; what follows are frames: a [`Header`] and up to [`PAYLOAD_MAX`] bytes. Every
//! message is a request, and has exactly one status for an answer.
//!
//! [`Net`] is the engine of one node and all its peers. It performs no I/O: the driver tells it what
//! happened on sockets and on the heartbeat, with the time, and does what [`Net::poll_output`] says.
//! [`Handlers`] is the table that says who an incoming request is for.
//!
//! Both sides of the wire are those of `fs/ocfs2/cluster/tcp.c`; where this node does better than a
//! kernel would (it reconnects, [`NodeState::Broken`]), a kernel peer cannot tell.

mod close;
mod config;
mod engine;
mod error;
mod frame;
mod handlers;
mod handshake;
mod link;
mod node_state;
mod outstanding;
mod peer;
mod timers;

pub use close::{CloseReason, Refusal};
pub use config::{ConfigError, NetConfig};
pub use engine::{Incoming, Net, Output};
pub use error::{NetError, is_host_down};
pub use frame::{FrameError, HEADER_LEN, Header, Kind, PAYLOAD_MAX, SystemStatus};
pub use handlers::{Handlers, RegisterError};
pub use handshake::{
    CONNECTOR_KERNEL, CONNECTOR_STACKGLUE, HANDSHAKE_LEN, Handshake, HandshakeMismatch,
    PROTOCOL_VERSION,
};
pub use link::{LinkId, RequestId, UNSENT_LEN_MAX};
pub use node_state::{Counters, NodeReport, NodeState};
pub use peer::{OUTSTANDING_MAX, WAITING_LEN_MAX};
