//! Lock domains as a file system: the contract of the Linux kernel's `ocfs2_dlmfs`, through FUSE; and the
//! daemon's attributes as another one.
//!
//! A directory is a domain: making it joins, removing it leaves. A file is a lock: opening it to read takes
//! PR, to write EX, with `O_NONBLOCK` only if it can be had at once (`ETXTBSY` if not); closing it gives
//! the hold up, and the lock stays here until another node wants it. What is in the file is the lock's value
//! block. Programs written for the kernel's file system work unchanged, on every stack, unless they ask for
//! its type.
//!
//! To read it: `machine.rs` (the lock of one file, without I/O), `lock_file.rs` (its calls, callbacks and
//! waiters), `stack.rs` (domains, and what becomes of locks when the stack is gone), `tree.rs` (names and
//! attributes), `filesystem.rs` (what the kernel asks). `control.rs` is another file system: the daemon's
//! attributes. `mount.rs` puts either in its place and takes it away again, `background.rs` serves it when
//! the command has returned.

pub mod background;
pub mod control;
mod filesystem;
mod handles;
mod interrupts;
mod level;
mod lock_file;
mod machine;
pub mod mount;
mod put_away;
mod reply;
mod stack;
mod tree;

pub use filesystem::DlmFs;
pub use put_away::PutAway;
pub use stack::{FindStack, Lost};
