//! What nodes agree to keep in the value block of a resource.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | format: 1. A lost block reads as zeros on some stacks, so it is never 0 |
//! | 1 | length of the value |
//! | 2, 3 | zero |
//! | 4..8 | writes of the value under the token of the next field but one, big-endian |
//! | 8..16 | token of the last exclusive grant, big-endian |
//! | 16..24 | token under which the value was written last, big-endian; 0 when it never was |
//! | 24..64 | the value |
//!
//! A block of another format is somebody else's: it is no value and no token, and the next
//! exclusive user replaces it.

use std::sync::atomic::{AtomicU64, Ordering};

use dlm::LVB_LEN_MAX;

use crate::Version;

/// The longest value, in bytes: what the fields before it leave of a value block.
pub const VALUE_LEN_MAX: usize = LVB_LEN_MAX - VALUE_AT;

/// A value of [`VALUE_LEN_MAX`] bytes at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    len: u8,
    bytes: [u8; VALUE_LEN_MAX],
}

impl Value {
    /// `None` when the bytes are too many.
    pub(crate) fn new(value: &[u8]) -> Option<Value> {
        let mut bytes = [0; VALUE_LEN_MAX];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Value { len: value.len() as u8, bytes })
    }

    /// A value of no bytes.
    pub(crate) fn empty() -> Value {
        Value { len: 0, bytes: [0; VALUE_LEN_MAX] }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The block as this node knows it. Written by the only user of the resource, read by those who
/// hold a level: the word orders both, so no access here has to.
pub(crate) struct Block {
    token: AtomicU64,
    written: AtomicU64,
    /// Writes under that token, and the length of the value.
    writes: AtomicU64,
    value: [AtomicU64; VALUE_LEN_MAX / 8],
}

impl Block {
    pub(crate) fn new() -> Block {
        let zero = || AtomicU64::new(0);
        Block {
            token: zero(),
            written: zero(),
            writes: zero(),
            value: std::array::from_fn(|_| zero()),
        }
    }

    /// Takes over what came with a grant; `None` when the block is not valid. Whether it is ours.
    pub(crate) fn load(&self, bytes: Option<&[u8; LVB_LEN_MAX]>) -> bool {
        let sound = |bytes: &&[u8; LVB_LEN_MAX]| {
            bytes[0] == FORMAT && usize::from(bytes[1]) <= VALUE_LEN_MAX
        };
        let ours = bytes.filter(sound);
        let bytes = ours.unwrap_or(&[0; LVB_LEN_MAX]);
        self.token.store(word(bytes, TOKEN_AT), Ordering::Relaxed);
        self.written.store(word(bytes, WRITTEN_AT), Ordering::Relaxed);
        let writes = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        self.store_writes(writes, bytes[1]);
        for (at, part) in self.value.iter().enumerate() {
            part.store(word(bytes, VALUE_AT + 8 * at), Ordering::Relaxed);
        }
        ours.is_some()
    }

    /// The bytes for the resource.
    pub(crate) fn to_bytes(&self) -> [u8; LVB_LEN_MAX] {
        let mut bytes = [0; LVB_LEN_MAX];
        let (writes, len) = self.writes();
        bytes[0] = FORMAT;
        bytes[1] = len;
        bytes[4..8].copy_from_slice(&writes.to_be_bytes());
        put(&mut bytes, TOKEN_AT, self.token());
        put(&mut bytes, WRITTEN_AT, self.written.load(Ordering::Relaxed));
        for (at, part) in self.value.iter().enumerate() {
            put(&mut bytes, VALUE_AT + 8 * at, part.load(Ordering::Relaxed));
        }
        bytes
    }

    /// The token of the last exclusive grant that is known.
    #[inline]
    pub(crate) fn token(&self) -> u64 {
        self.token.load(Ordering::Relaxed)
    }

    pub(crate) fn set_token(&self, token: u64) {
        self.token.store(token, Ordering::Relaxed);
    }

    /// Which write the value is of; `None` when there is no value.
    #[inline]
    pub(crate) fn version(&self) -> Option<Version> {
        let token = self.written.load(Ordering::Relaxed);
        (token != 0).then(|| Version { token, writes: self.writes().0 })
    }

    /// The value; `None` when it was never written, or was lost.
    #[inline]
    pub(crate) fn value(&self) -> Option<Value> {
        if self.written.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut value = Value { len: self.writes().1, bytes: [0; VALUE_LEN_MAX] };
        for (bytes, part) in value.bytes.chunks_exact_mut(8).zip(&self.value) {
            bytes.copy_from_slice(&part.load(Ordering::Relaxed).to_be_bytes());
        }
        Some(value)
    }

    /// Replaces the value. To be called by the one who holds EX, which has a token.
    pub(crate) fn set_value(&self, value: &Value) {
        let token = self.token();
        let writes = match self.version() {
            Some(last) if last.token == token => last.writes.wrapping_add(1),
            _ => 0,
        };
        for (bytes, part) in value.bytes.chunks_exact(8).zip(&self.value) {
            let bytes: [u8; 8] = bytes.try_into().unwrap_or_default();
            part.store(u64::from_be_bytes(bytes), Ordering::Relaxed);
        }
        self.store_writes(writes, value.len);
        self.written.store(token, Ordering::Relaxed);
    }

    fn writes(&self) -> (u32, u8) {
        let word = self.writes.load(Ordering::Relaxed);
        ((word >> 8) as u32, word as u8)
    }

    fn store_writes(&self, writes: u32, len: u8) {
        self.writes.store(u64::from(writes) << 8 | u64::from(len), Ordering::Relaxed);
    }
}

fn word(bytes: &[u8; LVB_LEN_MAX], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

fn put(bytes: &mut [u8; LVB_LEN_MAX], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
}

const FORMAT: u8 = 1;
const TOKEN_AT: usize = 8;
const WRITTEN_AT: usize = 16;
const VALUE_AT: usize = 24;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Value {
        Value::new(bytes).expect("it fits")
    }

    #[test]
    fn the_layout_is_the_published_one() {
        let block = Block::new();
        block.set_token(0x0102_0304_0506_0708);
        block.set_value(&value(b"ab"));
        block.set_value(&value(b"abc"));
        let bytes = block.to_bytes();
        assert_eq!(bytes[..8], [1, 3, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[16..24], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(&bytes[24..28], b"abc\0");
        let other = Block::new();
        assert!(other.load(Some(&bytes)));
        assert_eq!(other.to_bytes(), bytes);
        assert!(other.value() == Some(value(b"abc")) && other.version() == block.version());
    }

    #[test]
    fn a_block_that_is_not_ours_or_not_valid_is_no_value_and_no_token() {
        let block = Block::new();
        block.set_token(7);
        block.set_value(&value(b"v"));
        let mut long = block.to_bytes();
        long[1] = VALUE_LEN_MAX as u8 + 1;
        let mut foreign = block.to_bytes();
        foreign[0] = 5;
        for lost in [None, Some(&[0; 64]), Some(&long), Some(&foreign)] {
            block.set_token(7);
            block.set_value(&value(b"v"));
            assert!(!block.load(lost));
            assert!(block.token() == 0 && block.value().is_none() && block.version().is_none());
        }
    }

    #[test]
    fn a_version_never_comes_back() {
        let block = Block::new();
        let mut seen = Vec::new();
        for token in [5, 6, 6, 9] {
            block.set_token(token);
            block.set_value(&value(b"same"));
            let version = block.version();
            assert!(!seen.contains(&version), "{version:?}");
            seen.push(version);
        }
    }
}
