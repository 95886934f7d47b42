//! Drives the kernel lab (`lab/` at the top of the repository) from tests: a few Linux kernels under
//! User-Mode Linux, with one shared disk and a network of their own, as peers of what is tested.
//!
//! ```no_run
//! use stackglue_lab::{Lab, LabOptions};
//!
//! # fn main() -> Result<(), stackglue_lab::Error> {
//! let lab = Lab::up(LabOptions { dead_threshold: 7, ..LabOptions::default() })?;
//! lab.guest(1).exec("mkdir /dlm/demo")?.success()?;
//! let holder = lab.guest(1).spawn("/lab/bin/dlmfsx hold /dlm/demo/a ex 600")?;
//! holder.wait_for("got ex", std::time::Duration::from_secs(10))?;
//! lab.guest(1).kill()?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything here blocks. A lab belongs to the process that brought it up: it goes down when its
//! [`Lab`] is dropped, and also when that process dies in any other way.

mod clock;
mod error;
mod guest;
mod history;
mod job;
mod network;
mod options;
mod owner;
mod process;
mod rig;
mod script;
mod shared;
mod volume;
mod wait;

pub use clock::Moment;
pub use error::Error;
pub use guest::Guest;
pub use history::{Death, History, Life, Violation};
pub use job::{Job, Output};
pub use network::Capture;
pub use options::{LabOptions, Stack};
pub use rig::{Lab, Node};
pub use shared::shared;
pub use volume::Region;
pub use wait::eventually;
