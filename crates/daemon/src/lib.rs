//! stackglued: one daemon per host owns the node; processes reach it through a Unix stream socket, and
//! a process's locks die with its socket.
//!
//! * [`protocol`]: the frames; [`control`]: the JSON in some of them.
//! * [`Client`]: the process's side, blocking; [`connect_or_start`] starts a daemon if need be.
//! * [`DaemonPlugin`]: the same as a stack behind the glue, so that cached locks go through the daemon.
//! * [`Server`]: the daemon's side; [`run()`] is the daemon as a program.
//! * [`Config`], [`location`], [`token`]: what it is told, where it is found, what it keeps on disk.

mod autostart;
mod client;
pub mod config;
pub mod control;
mod error;
mod groups_file;
mod instance;
pub mod location;
pub mod protocol;
mod run;
mod server;
pub mod token;

pub use autostart::{NO_AUTOSTART_VARIABLE, connect_or_start, connect_or_start_at};
pub use client::{Answer, Client, ClientError, DaemonPlugin, Event, Handle, LockRequest, Welcome};
pub use config::{Config, HeartbeatPlace, Limits, O2cbConfig, OnFence};
pub use control::ControlRequest;
pub use error::DaemonError;
pub use run::{Options, close_inherited, log_to_stderr, notify_ready, run, start};
pub use server::{Server, Stopper};
