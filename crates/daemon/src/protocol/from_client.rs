//! Frames that a process sends.

use dlm::{LockFlags, Mode};

use super::field::{Fields, Malformed, Writer};
use super::{COMMAND_LEN_MAX, MAGIC, VERSION, cut};

/// The flags that a Lock frame may carry: those of a lock call.
pub const LOCK_FLAGS: LockFlags = LockFlags::NOQUEUE
    .union(LockFlags::CONVERT)
    .union(LockFlags::VALBLK)
    .union(LockFlags::QUECVT)
    .union(LockFlags::IVVALBLK)
    .union(LockFlags::CONVDEADLK)
    .union(LockFlags::PERSISTENT)
    .union(LockFlags::NODLCKWT)
    .union(LockFlags::NODLCKBLK)
    .union(LockFlags::EXPEDITE)
    .union(LockFlags::NOQUEUEBAST)
    .union(LockFlags::HEADQUE)
    .union(LockFlags::NOORDER)
    .union(LockFlags::ORPHAN)
    .union(LockFlags::ALTPR)
    .union(LockFlags::ALTCW)
    .union(LockFlags::TIMEOUT);

/// A frame from a process to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FromClient<'a> {
    /// The first frame, and only the first.
    Hello {
        /// The command of the process, for those who ask who holds a lock; at most
        /// [`COMMAND_LEN_MAX`] bytes.
        command: &'a str,
    },
    /// Asks for a lock or, with `CONVERT`, for another mode of one.
    Lock(LockFrame<'a>),
    /// Drops a lock or, with `CANCEL`, takes back what it waits for.
    Unlock {
        /// Which.
        handle: u32,
        /// Flags of an unlock call.
        flags: LockFlags,
        /// The value to write with `VALBLK`; empty leaves what the lock read or was given last.
        lvb: &'a [u8],
    },
    /// A control request, in JSON: see [`crate::control`].
    Request {
        /// Chosen by the client; every answer carries it.
        id: u32,
        /// A JSON object.
        json: &'a [u8],
    },
}

/// The payload of a Lock frame.
///
/// The lengths of names, purpose and value fit a byte here and nothing more: whether they may be used
/// is for the daemon to decide, so that a wrong one costs the request and not the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockFrame<'a> {
    /// Chosen by the client, unique among its locks; free again when the lock has ended.
    pub handle: u32,
    /// The mode asked for.
    pub mode: Mode,
    /// Flags of a lock call: [`LOCK_FLAGS`].
    pub flags: LockFlags,
    /// The group; empty for the default one. Empty in a conversion.
    pub group: &'a [u8],
    /// The resource. Empty in a conversion.
    pub name: &'a [u8],
    /// What the lock is for, in the words of its user. Empty in a conversion.
    pub purpose: &'a str,
    /// The value to write with `VALBLK`; empty leaves what the lock has.
    pub lvb: &'a [u8],
}

impl<'a> FromClient<'a> {
    /// Reads a frame without its length prefix.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for everything that [`encode`](Self::encode) does not write.
    pub fn decode(frame: &'a [u8]) -> Result<FromClient<'a>, Malformed> {
        let (&kind, payload) = frame.split_first().ok_or(Malformed::Empty)?;
        match kind {
            HELLO => decode_hello(payload),
            LOCK => decode_lock(payload),
            UNLOCK => {
                let mut fields = Fields::new("Unlock", payload);
                let handle = fields.u32("handle")?;
                let flags = LockFlags::from_bits_retain(fields.flags(LockFlags::UNLOCK.bits())?);
                let lvb_len = fields.u8("value length")?;
                let lvb = fields.bytes("value", lvb_len.into())?;
                fields.end()?;
                Ok(FromClient::Unlock { handle, flags, lvb })
            }
            REQUEST => {
                let mut fields = Fields::new("Request", payload);
                let id = fields.u32("id")?;
                Ok(FromClient::Request { id, json: fields.rest() })
            }
            kind => Err(Malformed::UnknownType { kind }),
        }
    }

    /// Appends the frame with its length prefix to `out`.
    ///
    /// Names, purposes and values are cut at 255 bytes; a client checks them before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            FromClient::Hello { command } => {
                let command = cut(command, COMMAND_LEN_MAX);
                Writer::new(out, HELLO)
                    .bytes(&MAGIC)
                    .u16(VERSION)
                    .u16(command.len() as u16)
                    .bytes(command.as_bytes())
                    .end();
            }
            FromClient::Lock(ref lock) => {
                let (group, name) = (short(lock.group), short(lock.name));
                let (purpose, lvb) = (cut(lock.purpose, 255), short(lock.lvb));
                Writer::new(out, LOCK)
                    .u32(lock.handle)
                    .u8(lock.mode.number())
                    .u32(lock.flags.bits())
                    .u8(group.len() as u8)
                    .u8(name.len() as u8)
                    .u8(purpose.len() as u8)
                    .u8(lvb.len() as u8)
                    .bytes(group)
                    .bytes(name)
                    .bytes(purpose.as_bytes())
                    .bytes(lvb)
                    .end();
            }
            FromClient::Unlock { handle, flags, lvb } => {
                let lvb = short(lvb);
                Writer::new(out, UNLOCK)
                    .u32(handle)
                    .u32(flags.bits())
                    .u8(lvb.len() as u8)
                    .bytes(lvb)
                    .end();
            }
            FromClient::Request { id, json } => {
                Writer::new(out, REQUEST).u32(id).bytes(json).end();
            }
        }
    }
}

fn decode_hello(payload: &[u8]) -> Result<FromClient<'_>, Malformed> {
    let mut fields = Fields::new("Hello", payload);
    if fields.array::<4>("magic") != Ok(MAGIC) {
        return Err(Malformed::Magic);
    }
    // Before anything that another version could have changed.
    let version = fields.u16("version")?;
    if version != VERSION {
        return Err(Malformed::Version { version });
    }
    let len = usize::from(fields.u16("command length")?);
    if len > COMMAND_LEN_MAX {
        return Err(Malformed::CommandTooLong { len });
    }
    let command = fields.text("command", len)?;
    fields.end()?;
    Ok(FromClient::Hello { command })
}

fn decode_lock(payload: &[u8]) -> Result<FromClient<'_>, Malformed> {
    let mut fields = Fields::new("Lock", payload);
    let handle = fields.u32("handle")?;
    let mode = fields.mode()?;
    let flags = LockFlags::from_bits_retain(fields.flags(LOCK_FLAGS.bits())?);
    let [group_len, name_len, purpose_len, lvb_len] = fields.array("lengths")?;
    let lock = LockFrame {
        handle,
        mode,
        flags,
        group: fields.bytes("group", group_len.into())?,
        name: fields.bytes("name", name_len.into())?,
        purpose: fields.text("purpose", purpose_len.into())?,
        lvb: fields.bytes("value", lvb_len.into())?,
    };
    fields.end()?;
    Ok(FromClient::Lock(lock))
}

fn short(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(255)]
}

const HELLO: u8 = 0x01;
const LOCK: u8 = 0x02;
const UNLOCK: u8 = 0x03;
const REQUEST: u8 = 0x04;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mode() -> impl Strategy<Value = Mode> {
        prop::sample::select(Mode::ALL.as_slice())
    }

    fn flags(known: LockFlags) -> impl Strategy<Value = LockFlags> {
        any::<u32>().prop_map(move |bits| LockFlags::from_bits_retain(bits) & known)
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..=255)
    }

    fn round_trip(frame: &FromClient<'_>) {
        let mut out = b"before".to_vec();
        frame.encode(&mut out);
        let (len, body) = out[6..].split_first_chunk().expect("a length prefix");
        assert_eq!(u32::from_le_bytes(*len) as usize, body.len());
        assert_eq!(FromClient::decode(body).as_ref(), Ok(frame));
        for end in 0..body.len() {
            // A Request ends where its frame ends, so only its fixed part can be cut short.
            if !matches!(frame, FromClient::Request { .. }) || end < 5 {
                assert!(FromClient::decode(&body[..end]).is_err(), "cut at {end} of {body:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_frame_survives_the_round_trip_and_none_of_its_prefixes_is_a_frame(
            handle: u32, mode in mode(), lock_flags in flags(LOCK_FLAGS),
            unlock_flags in flags(LockFlags::UNLOCK), group in bytes(), name in bytes(),
            purpose in "\\PC{0,60}", lvb in bytes(), command in "\\PC{0,60}",
        ) {
            round_trip(&FromClient::Hello { command: &command });
            round_trip(&FromClient::Lock(LockFrame {
                handle, mode, flags: lock_flags, group: &group, name: &name,
                purpose: &purpose, lvb: &lvb,
            }));
            round_trip(&FromClient::Unlock { handle, flags: unlock_flags, lvb: &lvb });
            round_trip(&FromClient::Request { id: handle, json: &group });
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_encodes_to_the_same_bytes(
            kind in prop_oneof![0u8..6, any::<u8>()],
            body in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut frame = vec![kind];
            frame.extend(body);
            if let Ok(decoded) = FromClient::decode(&frame) {
                let mut out = Vec::new();
                decoded.encode(&mut out);
                prop_assert_eq!(&out[4..], &frame[..]);
            }
        }
    }

    #[test]
    fn bytes_behind_the_last_field_are_refused() {
        let mut out = Vec::new();
        FromClient::Unlock { handle: 7, flags: LockFlags::empty(), lvb: b"" }.encode(&mut out);
        out.push(0);
        assert_eq!(
            FromClient::decode(&out[4..]),
            Err(Malformed::Trailing { frame: "Unlock", extra: 1 })
        );
    }

    #[test]
    fn unknown_modes_flags_types_and_versions_are_refused_by_name() {
        let lock = |mode: u8, flags: u32| {
            let mut frame = vec![LOCK, 0, 0, 0, 0, mode];
            frame.extend(flags.to_le_bytes());
            frame.extend([0, 1, 0, 0, b'n']);
            frame
        };
        assert!(FromClient::decode(&lock(5, 0)).is_ok());
        assert_eq!(FromClient::decode(&lock(6, 0)), Err(Malformed::UnknownMode { number: 6 }));
        assert_eq!(
            FromClient::decode(&lock(5, 0x8000_0002)),
            Err(Malformed::UnknownFlags { frame: "Lock", bits: 0x8000_0002 })
        );
        assert_eq!(FromClient::decode(&[9]), Err(Malformed::UnknownType { kind: 9 }));
        assert_eq!(FromClient::decode(&[]), Err(Malformed::Empty));
        assert_eq!(
            FromClient::decode(b"\x01SGLU\x02\x00\x00\x00"),
            Err(Malformed::Version { version: 2 })
        );
        assert_eq!(FromClient::decode(b"\x01GET / HTTP/1.1"), Err(Malformed::Magic));
    }
}
