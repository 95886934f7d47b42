//! o2dlm: the lock manager of one domain, as in `fs/ocfs2/dlm` of Linux 6.1.
//!
//! A [`Domain`] is one deterministic state machine. It performs no I/O and reads no clock: messages
//! of other nodes, completions of its own messages, calls of local users, news of the heartbeat and
//! the time come in; [`Domain::poll_output`] says what is to be sent and what local users are told.
//!
//! Where the kernel sleeps (for mastery, for a busy resource, for recovery), an operation is put on a
//! list here and goes on when what it waits for has happened. Requests of other nodes never wait: each
//! is answered by the return value of [`Domain::request`], before anything that follows from it.
//!
//! To read it: `domain.rs` (the state, inputs and outputs), `resource.rs` (resources and locks),
//! `join.rs` and `leave.rs` (membership), `mastery.rs`, `assert.rs` and `reference.rs` (who decides
//! about a name), `create.rs`, `convert.rs`, `unlock.rs` and `schedule.rs` (the queues), `migration.rs`,
//! `death.rs`, `doubt.rs` and `recovery` (what happens when somebody is gone), `debug.rs` (all of it as text).

mod assert;
mod convert;
mod create;
mod death;
mod debug;
mod domain;
mod doubt;
mod few;
mod join;
mod leave;
mod mastery;
pub mod message;
mod migration;
mod outstanding;
mod recovery;
mod reference;
mod resource;
mod schedule;
mod unlock;

pub use debug::DebugFile;
pub use domain::{
    CallError, CallId, Counters, Domain, DomainConfig, DomainState, Event, Output, PeerAddress,
};
pub use join::JoinError;
pub use resource::{LockKey, LockSnapshot, ResourceSnapshot};
