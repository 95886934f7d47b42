//! Frames that the daemon sends.

use dlm::{Mode, StatusFlags};

use super::field::{Fields, Malformed, Writer};

/// A frame from the daemon to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FromDaemon<'a> {
    /// The answer to Hello.
    Welcome {
        /// The protocol version that both speak.
        version: u16,
        /// This host's node number; 0 when the stack does not tell.
        node: u32,
        /// The label of the stack in force.
        stack: [u8; 4],
        /// The daemon's epoch: the upper 24 bits of every fencing token it gives out.
        epoch: u32,
    },
    /// A lock or a conversion was granted.
    Locked {
        /// Which.
        handle: u32,
        /// The mode held now.
        mode: Mode,
        /// Status flags of the completion.
        flags: StatusFlags,
        /// The fencing token of the grant.
        token: u64,
        /// The value block, if the call had `VALBLK`; otherwise empty.
        lvb: &'a [u8],
    },
    /// A lock call failed. A new lock is gone and its handle free; a lock whose conversion failed is
    /// held as before.
    Refused {
        /// Which.
        handle: u32,
        /// Why, as an errno.
        errno: i32,
        /// Why, in a sentence that names who is in the way.
        text: &'a str,
    },
    /// An unlock call completed.
    Unlocked {
        /// Which.
        handle: u32,
        /// 0: the lock is gone. `ECANCEL`: the request or conversion was taken back, and a new lock is
        /// gone. Otherwise the call failed and the lock is as it was.
        errno: i32,
        /// Why it failed; otherwise empty.
        text: &'a str,
    },
    /// A held lock is in the way of a request.
    Blocking {
        /// Which.
        handle: u32,
        /// The mode that is wanted.
        level: Mode,
    },
    /// An operator wants a lock back.
    Revoked {
        /// Which.
        handle: u32,
        /// How long the process has before the operator's command gives up or takes it, in
        /// milliseconds.
        grace_ms: u32,
        /// Who asks.
        reason: &'a str,
    },
    /// A lock is gone without having been given back. Its handle is free.
    Lost {
        /// Which.
        handle: u32,
        /// Why.
        reason: &'a str,
    },
    /// The daemon ends this connection.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people.
        text: &'a str,
    },
    /// One part of the answer to a control request.
    Item {
        /// The request's id.
        id: u32,
        /// A JSON object.
        json: &'a [u8],
    },
    /// The end of the answer to a control request.
    End {
        /// The request's id.
        id: u32,
        /// 0, or why the request failed.
        errno: i32,
        /// Why it failed; otherwise empty.
        text: &'a str,
    },
}

/// Why the daemon ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum ErrorCode {
    /// A frame was malformed, or came when it may not.
    Protocol = 1,
    /// The client speaks another version.
    Version = 2,
    /// The peer may not use this daemon.
    Denied = 3,
    /// A limit was reached.
    Limit = 4,
    /// The daemon stops.
    Stopping = 5,
}

impl ErrorCode {
    fn from_number(number: u16) -> Option<ErrorCode> {
        use ErrorCode::{Denied, Limit, Protocol, Stopping, Version};
        [Protocol, Version, Denied, Limit, Stopping].into_iter().find(|code| *code as u16 == number)
    }
}

impl<'a> FromDaemon<'a> {
    /// Reads a frame without its length prefix.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for everything that [`encode`](Self::encode) does not write.
    pub fn decode(frame: &'a [u8]) -> Result<FromDaemon<'a>, Malformed> {
        let (&kind, payload) = frame.split_first().ok_or(Malformed::Empty)?;
        let name = NAMES
            .iter()
            .find_map(|&(number, name)| (number == kind).then_some(name))
            .ok_or(Malformed::UnknownType { kind })?;
        let mut fields = Fields::new(name, payload);
        let decoded = match kind {
            WELCOME => FromDaemon::Welcome {
                version: fields.u16("version")?,
                node: fields.u32("node number")?,
                stack: fields.array("stack label")?,
                epoch: fields.u32("epoch")?,
            },
            LOCKED => {
                let handle = fields.u32("handle")?;
                let mode = fields.mode()?;
                let flags = StatusFlags::from_bits_retain(fields.u8("status flags")?);
                let token = fields.u64("token")?;
                let lvb_len = fields.u8("value length")?;
                let lvb = fields.bytes("value", lvb_len.into())?;
                FromDaemon::Locked { handle, mode, flags, token, lvb }
            }
            REFUSED => FromDaemon::Refused {
                handle: fields.u32("handle")?,
                errno: fields.i32("errno")?,
                text: fields.rest_text("text")?,
            },
            UNLOCKED => FromDaemon::Unlocked {
                handle: fields.u32("handle")?,
                errno: fields.i32("errno")?,
                text: fields.rest_text("text")?,
            },
            BLOCKING => {
                FromDaemon::Blocking { handle: fields.u32("handle")?, level: fields.mode()? }
            }
            REVOKED => FromDaemon::Revoked {
                handle: fields.u32("handle")?,
                grace_ms: fields.u32("grace")?,
                reason: fields.rest_text("reason")?,
            },
            LOST => FromDaemon::Lost {
                handle: fields.u32("handle")?,
                reason: fields.rest_text("reason")?,
            },
            ERROR => {
                let code = fields.u16("code")?;
                FromDaemon::Error {
                    code: ErrorCode::from_number(code).ok_or(Malformed::UnknownCode { code })?,
                    text: fields.rest_text("text")?,
                }
            }
            ITEM => FromDaemon::Item { id: fields.u32("id")?, json: fields.rest() },
            _ => FromDaemon::End {
                id: fields.u32("id")?,
                errno: fields.i32("errno")?,
                text: fields.rest_text("text")?,
            },
        };
        fields.end()?;
        Ok(decoded)
    }

    /// Appends the frame with its length prefix to `out`. Text is cut to what fits a frame; the JSON of
    /// an Item must fit.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            FromDaemon::Welcome { version, node, stack, epoch } => {
                Writer::new(out, WELCOME).u16(version).u32(node).bytes(&stack).u32(epoch).end();
            }
            FromDaemon::Locked { handle, mode, flags, token, lvb } => {
                let lvb = &lvb[..lvb.len().min(255)];
                Writer::new(out, LOCKED)
                    .u32(handle)
                    .u8(mode.number())
                    .u8(flags.bits())
                    .u64(token)
                    .u8(lvb.len() as u8)
                    .bytes(lvb)
                    .end();
            }
            FromDaemon::Refused { handle, errno, text } => {
                Writer::new(out, REFUSED).u32(handle).i32(errno).rest_text(text).end();
            }
            FromDaemon::Unlocked { handle, errno, text } => {
                Writer::new(out, UNLOCKED).u32(handle).i32(errno).rest_text(text).end();
            }
            FromDaemon::Blocking { handle, level } => {
                Writer::new(out, BLOCKING).u32(handle).u8(level.number()).end();
            }
            FromDaemon::Revoked { handle, grace_ms, reason } => {
                Writer::new(out, REVOKED).u32(handle).u32(grace_ms).rest_text(reason).end();
            }
            FromDaemon::Lost { handle, reason } => {
                Writer::new(out, LOST).u32(handle).rest_text(reason).end();
            }
            FromDaemon::Error { code, text } => {
                Writer::new(out, ERROR).u16(code as u16).rest_text(text).end();
            }
            FromDaemon::Item { id, json } => Writer::new(out, ITEM).u32(id).bytes(json).end(),
            FromDaemon::End { id, errno, text } => {
                Writer::new(out, END).u32(id).i32(errno).rest_text(text).end();
            }
        }
    }
}

const WELCOME: u8 = 0x81;
const LOCKED: u8 = 0x82;
const REFUSED: u8 = 0x83;
const UNLOCKED: u8 = 0x84;
const BLOCKING: u8 = 0x85;
const REVOKED: u8 = 0x86;
const LOST: u8 = 0x87;
const ERROR: u8 = 0x88;
const ITEM: u8 = 0x89;
const END: u8 = 0x8a;

const NAMES: [(u8, &str); 10] = [
    (WELCOME, "Welcome"),
    (LOCKED, "Locked"),
    (REFUSED, "Refused"),
    (UNLOCKED, "Unlocked"),
    (BLOCKING, "Blocking"),
    (REVOKED, "Revoked"),
    (LOST, "Lost"),
    (ERROR, "Error"),
    (ITEM, "Item"),
    (END, "End"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::FRAME_LEN_MAX;
    use super::*;

    fn round_trip(frame: &FromDaemon<'_>) {
        let mut out = Vec::new();
        frame.encode(&mut out);
        let (len, body) = out.split_first_chunk().expect("a length prefix");
        assert_eq!(u32::from_le_bytes(*len) as usize, body.len());
        assert_eq!(FromDaemon::decode(body).as_ref(), Ok(frame));
    }

    proptest! {
        #[test]
        fn every_frame_survives_the_round_trip(
            handle: u32, number: i32, token: u64, bits: u8, version: u16, stack: [u8; 4],
            mode in prop::sample::select(Mode::ALL.as_slice()), text in "\\PC{0,80}",
            lvb in prop::collection::vec(any::<u8>(), 0..=64),
        ) {
            let (text, flags) = (text.as_str(), StatusFlags::from_bits_retain(bits));
            let lvb = lvb.as_slice();
            round_trip(&FromDaemon::Welcome { version, node: handle, stack, epoch: handle });
            round_trip(&FromDaemon::Locked { handle, mode, flags, token, lvb });
            round_trip(&FromDaemon::Refused { handle, errno: number, text });
            round_trip(&FromDaemon::Unlocked { handle, errno: number, text });
            round_trip(&FromDaemon::Blocking { handle, level: mode });
            round_trip(&FromDaemon::Revoked { handle, grace_ms: handle, reason: text });
            round_trip(&FromDaemon::Lost { handle, reason: text });
            round_trip(&FromDaemon::Error { code: ErrorCode::Limit, text });
            round_trip(&FromDaemon::Item { id: handle, json: lvb });
            round_trip(&FromDaemon::End { id: handle, errno: number, text });
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_encodes_to_the_same_bytes(
            kind in prop_oneof![0x80u8..0x8c, any::<u8>()],
            body in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut frame = vec![kind];
            frame.extend(body);
            if let Ok(decoded) = FromDaemon::decode(&frame) {
                let mut out = Vec::new();
                decoded.encode(&mut out);
                prop_assert_eq!(&out[4..], &frame[..]);
            }
        }
    }

    #[test]
    fn text_that_does_not_fit_is_cut_between_characters() {
        let mut out = Vec::new();
        let text = "ä".repeat(FRAME_LEN_MAX);
        FromDaemon::Lost { handle: 1, reason: &text }.encode(&mut out);
        assert!(out.len() - 4 <= FRAME_LEN_MAX);
        assert!(matches!(FromDaemon::decode(&out[4..]), Ok(FromDaemon::Lost { handle: 1, .. })));
    }
}
