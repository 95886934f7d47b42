//! Reading and writing the fields of a structure at their offsets.

use super::error::Expected;
use super::{
    DOMAIN_NAME_MAX, DecodeError, DecodeErrorKind, DomainName, LOCK_NAME_MAX, LVB_LEN, LockMode,
    LockName, MessageType,
};
use crate::NodeId;

/// A payload at least as long as the structure of its message, so that fields of the structure can
/// be read without a check each.
pub(super) struct Payload<'a> {
    message: MessageType,
    bytes: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Checks the length against what the message must and may have.
    pub(super) fn new(message: MessageType, bytes: &'a [u8]) -> Result<Payload<'a>, DecodeError> {
        let payload = Payload { message, bytes };
        payload.require(message.payload_min())?;
        if bytes.len() > message.payload_max() {
            return Err(payload.wrong_length(DecodeErrorKind::Long, message.payload_min()));
        }
        Ok(payload)
    }

    /// Checks that the payload has this many bytes, where what it says of itself asks for more.
    pub(super) fn require(&self, len: usize) -> Result<(), DecodeError> {
        if self.bytes.len() < len {
            return Err(self.wrong_length(DecodeErrorKind::Short, len));
        }
        Ok(())
    }

    fn wrong_length(&self, kind: DecodeErrorKind, min: usize) -> DecodeError {
        let expected = Expected::Range(min, self.message.payload_max());
        self.error(kind, "payload length", self.bytes.len() as i64, expected)
    }

    /// The error of one field.
    pub(super) fn error(
        &self,
        kind: DecodeErrorKind,
        field: &'static str,
        value: i64,
        expected: Expected,
    ) -> DecodeError {
        DecodeError { message: self.message, kind, field, value, expected }
    }

    pub(super) fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[at..at + N]);
        array
    }

    pub(super) fn u8(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    pub(super) fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    pub(super) fn be32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    pub(super) fn be64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    /// A node, who must be one.
    pub(super) fn node(&self, at: usize, field: &'static str) -> Result<NodeId, DecodeError> {
        let number = self.u8(at);
        NodeId::new(number).ok_or_else(|| {
            self.error(
                DecodeErrorKind::BadNode,
                field,
                i64::from(number),
                Expected::Range(0, usize::from(u8::MAX) - 1),
            )
        })
    }

    /// A number of entries.
    pub(super) fn count(
        &self,
        at: usize,
        field: &'static str,
        min: usize,
        max: usize,
    ) -> Result<usize, DecodeError> {
        let count = usize::from(self.u8(at));
        if !(min..=max).contains(&count) {
            let expected = Expected::Range(min, max);
            return Err(self.error(DecodeErrorKind::BadCount, field, count as i64, expected));
        }
        Ok(count)
    }

    /// A mode, which must be one.
    pub(super) fn mode(&self, at: usize, field: &'static str) -> Result<LockMode, DecodeError> {
        let mode = self.u8(at) as i8;
        LockMode::from_wire(mode).ok_or_else(|| {
            let expected = Expected::Words("0 (NL), 3 (PR) or 5 (EX)");
            self.error(DecodeErrorKind::BadMode, field, i64::from(mode), expected)
        })
    }

    /// A mode, or IV.
    pub(super) fn mode_or_none(
        &self,
        at: usize,
        field: &'static str,
    ) -> Result<Option<LockMode>, DecodeError> {
        let mode = self.u8(at) as i8;
        if mode == LockMode::IV {
            return Ok(None);
        }
        match LockMode::from_wire(mode) {
            Some(mode) => Ok(Some(mode)),
            None => {
                let expected = Expected::Words("-1 (IV), 0 (NL), 3 (PR) or 5 (EX)");
                Err(self.error(DecodeErrorKind::BadMode, field, i64::from(mode), expected))
            }
        }
    }

    /// The name of a lock: its length at one place, its bytes at another.
    pub(super) fn name(&self, len_at: usize, at: usize) -> Result<LockName, DecodeError> {
        let bytes = self.named(len_at, at, "name length", LOCK_NAME_MAX)?;
        LockName::new(bytes).ok_or_else(|| self.empty("name length", LOCK_NAME_MAX))
    }

    /// The name of a domain.
    pub(super) fn domain(&self, len_at: usize, at: usize) -> Result<DomainName, DecodeError> {
        let bytes = self.named(len_at, at, "domain name length", DOMAIN_NAME_MAX)?;
        DomainName::new(bytes).ok_or_else(|| self.empty("domain name length", DOMAIN_NAME_MAX))
    }

    fn named(
        &self,
        len_at: usize,
        at: usize,
        field: &'static str,
        max: usize,
    ) -> Result<&'a [u8], DecodeError> {
        let len = usize::from(self.u8(len_at));
        if len > max {
            let expected = Expected::Range(1, max);
            return Err(self.error(DecodeErrorKind::NameTooLong, field, len as i64, expected));
        }
        Ok(&self.bytes[at..at + len])
    }

    fn empty(&self, field: &'static str, max: usize) -> DecodeError {
        self.error(DecodeErrorKind::NameEmpty, field, 0, Expected::Range(1, max))
    }

    /// The value block behind a structure, if its flags say that there is one.
    pub(super) fn lvb(
        &self,
        at: usize,
        present: bool,
    ) -> Result<Option<[u8; LVB_LEN]>, DecodeError> {
        if !present {
            return Ok(None);
        }
        self.require(at + LVB_LEN)?;
        Ok(Some(self.array(at)))
    }
}

/// Appends a structure of zeros, for its fields to be put into.
pub(super) fn append(out: &mut Vec<u8>, len: usize) -> &mut [u8] {
    let start = out.len();
    out.resize(start + len, 0);
    &mut out[start..]
}

/// Puts bytes at their offset.
pub(super) fn put(structure: &mut [u8], at: usize, bytes: &[u8]) {
    structure[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Puts a name and its length at their offsets.
pub(super) fn put_name(structure: &mut [u8], len_at: usize, at: usize, name: &[u8]) {
    structure[len_at] = name.len() as u8;
    put(structure, at, name);
}

/// A node on the wire, where there may be none.
pub(super) fn node_byte(node: Option<NodeId>) -> u8 {
    node.map_or(u8::MAX, NodeId::get)
}

/// A mode on the wire, where there may be none.
pub(super) fn mode_byte(mode: Option<LockMode>) -> u8 {
    mode.map_or(LockMode::IV, LockMode::to_wire) as u8
}
