//! The command with real processes and a real daemon, each test on a host of its own.

mod bad_input;
mod contention;
mod ctdb;
mod host;
mod inspection;
mod lock;
mod loss;
mod signals;
mod value;
