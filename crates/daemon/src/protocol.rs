//! The frames between a process and the daemon, typed; `docs/protocol/daemon-socket.md` has the bytes.
//!
//! A frame is a little-endian `u32` length, then that many bytes: a type and a payload. The types here
//! borrow from the bytes they were decoded from. Decoding is total: whatever the bytes are, the answer
//! is a value whose every field is in range, or a [`Malformed`] that says in a sentence what was wrong.

mod field;
mod from_client;
mod from_daemon;

pub use field::Malformed;
pub use from_client::{FromClient, LOCK_FLAGS, LockFrame};
pub use from_daemon::{ErrorCode, FromDaemon};

/// What a Hello frame starts with.
pub const MAGIC: [u8; 4] = *b"SGLU";

/// The version of the protocol, in Hello and in Welcome. A daemon speaks exactly one.
pub const VERSION: u16 = 1;

/// The most that may follow a length prefix, in bytes.
pub const FRAME_LEN_MAX: usize = 64 * 1024;

/// The longest command of a process in a Hello frame, in bytes; a client cuts a longer one.
pub const COMMAND_LEN_MAX: usize = 1024;

/// The longest group name, in bytes.
pub const GROUP_LEN_MAX: usize = 64;

/// The longest purpose of a lock, in bytes.
pub const PURPOSE_LEN_MAX: usize = 255;

/// The group of a lock request that names none.
pub const DEFAULT_GROUP: &str = "default";

/// Cuts `text` to at most `len_max` bytes, between characters.
pub(crate) fn cut(text: &str, len_max: usize) -> &str {
    &text[..text.floor_char_boundary(len_max)]
}
