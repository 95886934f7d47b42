//! What a client learns about its locks.

use dlm::{Errno, Mode, StatusFlags};

use crate::protocol::FromDaemon;

/// A lock of one client, as the client calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub(crate) u32);

/// Something that happened to a lock of this client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The lock or conversion was granted.
    Locked {
        /// Which.
        handle: Handle,
        /// The mode held now.
        mode: Mode,
        /// Status flags of the completion.
        flags: StatusFlags,
        /// The fencing token of the grant: larger than every earlier one of the resource.
        token: u64,
        /// The value block, if the call had `VALBLK`; otherwise empty.
        lvb: Vec<u8>,
    },
    /// The lock call failed: a new lock is gone, a lock whose conversion failed is held as before.
    Refused {
        /// Which.
        handle: Handle,
        /// Why; `EAGAIN` when a `NOQUEUE` call would have had to wait.
        errno: Errno,
        /// Why, in a sentence that names who is in the way.
        text: String,
    },
    /// The unlock call completed.
    Unlocked {
        /// Which.
        handle: Handle,
        /// `Ok`: the lock is gone. `ECANCEL`: what waited was taken back (a new lock is gone, a lock
        /// whose conversion was taken back is held as before). Otherwise the call failed and the lock
        /// is as it was.
        result: Result<(), Errno>,
        /// Why it failed; otherwise empty.
        text: String,
    },
    /// The lock is in the way of a request for this mode.
    Blocking {
        /// Which.
        handle: Handle,
        /// The mode wanted.
        level: Mode,
    },
    /// An operator wants the lock back.
    Revoked {
        /// Which.
        handle: Handle,
        /// How long this process has, in milliseconds.
        grace_ms: u32,
        /// Why.
        reason: String,
    },
    /// The lock is gone without having been given back.
    Lost {
        /// Which.
        handle: Handle,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// The lock it is about.
    pub fn handle(&self) -> Handle {
        match *self {
            Event::Locked { handle, .. }
            | Event::Refused { handle, .. }
            | Event::Unlocked { handle, .. }
            | Event::Blocking { handle, .. }
            | Event::Revoked { handle, .. }
            | Event::Lost { handle, .. } => handle,
        }
    }

    pub(super) fn from_frame(frame: &FromDaemon<'_>) -> Option<Event> {
        Some(match *frame {
            FromDaemon::Locked { handle, mode, flags, token, lvb } => {
                Event::Locked { handle: Handle(handle), mode, flags, token, lvb: lvb.to_vec() }
            }
            FromDaemon::Refused { handle, errno, text } => Event::Refused {
                handle: Handle(handle),
                errno: Errno::from_number(errno).unwrap_or(Errno::EINVAL),
                text: text.into(),
            },
            FromDaemon::Unlocked { handle, errno, text } => Event::Unlocked {
                handle: Handle(handle),
                result: Errno::from_number(errno).map_or(Ok(()), Err),
                text: text.into(),
            },
            FromDaemon::Blocking { handle, level } => {
                Event::Blocking { handle: Handle(handle), level }
            }
            FromDaemon::Revoked { handle, grace_ms, reason } => {
                Event::Revoked { handle: Handle(handle), grace_ms, reason: reason.into() }
            }
            FromDaemon::Lost { handle, reason } => {
                Event::Lost { handle: Handle(handle), reason: reason.into() }
            }
            _ => return None,
        })
    }
}
