//! Frames over a stream socket, blocking or not: read without trusting a length, written in bulk.
//!
//! * [`Framing`] says how long a frame is, from its header. [`LengthPrefixed`] is the plain one.
//! * [`FrameReader`] turns what `read` returns into frames. A length is checked before anything is
//!   allocated for it.
//! * [`WriteBuffer`] collects frames and sends them with one `write`; it says when the peer does not
//!   take them.
//!
//! No lock logic, no event loop of its own: the owner of the socket decides when to read and write.
//!
//! ```
//! use std::io::Write;
//! use std::os::unix::net::UnixStream;
//! use stackglue_wire::{Fill, FrameReader, LengthPrefixed};
//!
//! let (mut there, mut here) = UnixStream::pair()?;
//! there.write_all(b"\x02\0\0\0hi")?;
//! let mut reader = FrameReader::new(LengthPrefixed { len_max: 64 });
//! assert!(matches!(reader.fill(&mut here)?, Fill::Some { .. }));
//! assert_eq!(reader.next_frame(), Ok(Some(&b"hi"[..])));
//! assert_eq!(reader.next_frame(), Ok(None));
//! # Ok::<(), std::io::Error>(())
//! ```

mod frame;
mod read;
mod write;

pub use frame::{Extent, FrameError, Framing, LengthPrefixed};
pub use read::{Fill, FrameReader};
pub use write::{Flush, WriteBuffer};
