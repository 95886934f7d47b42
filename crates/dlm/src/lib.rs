//! The lock model of the VMS family of lock managers, as Linux `fs/dlm` and `o2dlm` have it.
//!
//! A *resource* has a name and three queues of *locks*: granted, converting, waiting. A lock has a
//! [`Mode`]; two locks may be granted together when their modes are compatible. [`Resource`] decides
//! who is granted, who waits, and whom to ask to give way; everything here is pure: no I/O, no clock,
//! no threads, and no node but the one that calls.
//!
//! Both stacks use it: fs/dlm in full, o2dlm restricted to `NL`, `PR` and `EX`.

mod arguments;
mod blocking;
mod errno;
mod flags;
mod grant;
mod lock;
mod lvb;
mod mode;
#[doc(hidden)]
pub mod mutants;
mod name;
mod resource;
mod value;

pub use arguments::{check_convert, check_request, check_unlock};
pub use errno::Errno;
pub use flags::{LockFlags, StatusFlags};
pub use lock::{Lock, LockKey, LockTable, Queue};
pub use lvb::{LVB_LEN_MAX, LvbDirection, lvb_direction};
pub use mode::{Mode, ParseModeError};
pub use name::{NAME_LEN_MAX, NameError, ResourceName};
pub use resource::{Effects, Request, Resource};
pub use value::Lvb;

/// A node number: 0 to 254 in o2cb, 1 to 2^31-1 in fs/dlm, 1 in a cluster of this host alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeNumber(pub u32);

impl std::fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
