//! The lock model as a whole, through its public interface: a resource, its locks and what they are
//! told.
//!
//! * `behaviours_*`: one test for each behaviour of fs/dlm that one master shows by itself. The number
//!   in a test's doc is that of the behaviour in the project's fs/dlm conformance list.
//! * `exhaustive`: small worlds, all of them, in lockstep with an oracle.
//! * `random`: long histories with every legal flag, in lockstep with the same oracle.
//!
//! The [`oracle`] is a second implementation of the rules, written for reading only. The
//! [`ledger`] checks what must hold whatever the rules say, without the oracle.

mod behaviours_blocking;
mod behaviours_conversions;
mod behaviours_deadlock;
mod behaviours_modes;
mod behaviours_requests;
mod behaviours_unlock_cancel;
mod behaviours_value_block;
mod exhaustive;
mod ledger;
mod lockstep;
mod oracle;
mod random;
mod world;
