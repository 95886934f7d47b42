//! `stackglue mount dlmfs` with real processes, a real daemon and the kernel's FUSE, each test on a host of
//! its own. Skipped, aloud, where nothing can be mounted.

mod contract;
#[path = "../end_to_end/host.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod host;
mod library;
mod loss;
mod mounted;
mod mounting;
mod storm;
mod waiting;
