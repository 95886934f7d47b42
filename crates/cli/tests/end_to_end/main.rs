//! The command with real processes and a real daemon, each test on a host of its own.

mod bad_input;
mod cluster;
mod contention;
mod control;
mod ctdb;
mod fence;
mod hb_ctl;
mod host;
mod inspection;
mod lock;
mod loss;
mod nodes;
mod o2cb;
mod signals;
mod value;
