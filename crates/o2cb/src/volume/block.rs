//! A block of the file system, and numbers in it.

use std::io;

use super::ReadAt;

/// The smallest block: every field of a fixed place is in its bytes.
pub(super) const LEN_MIN: usize = 512;

/// A block: [`LEN_MIN`] bytes or more.
#[derive(Debug)]
pub(super) struct Block {
    number: u64,
    bytes: Vec<u8>,
}

/// Reads a block; the block size is one that a volume can have.
pub(super) fn read(device: &impl ReadAt, number: u64, block_size: u32) -> io::Result<Block> {
    let mut bytes = vec![0; (block_size as usize).max(LEN_MIN)];
    let beyond = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let offset = number.checked_mul(block_size.into()).ok_or_else(beyond)?;
    device.read_exact_at(&mut bytes, offset)?;
    Ok(Block { number, bytes })
}

impl Block {
    /// Where it is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of a field of a fixed place.
    pub(super) fn field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= LEN_MIN) };
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[AT..AT + N]);
        field
    }

    pub(super) fn le16<const AT: usize>(&self) -> u16 {
        u16::from_le_bytes(self.field::<AT, 2>())
    }

    pub(super) fn le32<const AT: usize>(&self) -> u32 {
        u32::from_le_bytes(self.field::<AT, 4>())
    }

    pub(super) fn le64<const AT: usize>(&self) -> u64 {
        u64::from_le_bytes(self.field::<AT, 8>())
    }
}
