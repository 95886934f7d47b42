//! Names of locks and of domains.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::crc_le;

/// The longest name of a lock, in bytes (`DLM_LOCKID_NAME_MAX`).
pub const LOCK_NAME_MAX: usize = 32;

/// The longest name of a domain, in bytes: its field of 64 ends with a NUL (`DLM_DOMAIN_MAX_LEN`).
pub const DOMAIN_NAME_MAX: usize = 63;

/// The name of a lock resource: 1 to 32 bytes, any byte, NUL too.
///
/// ```
/// use stackglue_o2cb::o2dlm::message::LockName;
///
/// assert!(LockName::new(b"").is_none());
/// assert!(LockName::new(&[b'x'; 33]).is_none());
/// let dentry = LockName::new(b"N0000\0\x01").expect("7 bytes");
/// assert_eq!(dentry.to_string(), "N0000\\x00\\x01");
/// assert!(LockName::RECOVERY.is_recovery());
/// ```
// Bytes before length: that way the derived order is the order of the names as byte strings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockName {
    bytes: [u8; LOCK_NAME_MAX],
    len: u8,
}

/// By words, which hashers take faster than bytes.
impl Hash for LockName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (words, _) = self.bytes.as_chunks();
        for &word in words {
            state.write_u64(u64::from_ne_bytes(word));
        }
    }
}

impl LockName {
    /// The lock whose holder is recovery master.
    pub const RECOVERY: LockName = match LockName::new(b"$RECOVERY") {
        Some(name) => name,
        None => panic!("9 bytes are a name"),
    };

    /// The name of these bytes; `None` if there are none or more than [`LOCK_NAME_MAX`].
    pub const fn new(name: &[u8]) -> Option<LockName> {
        match padded(name) {
            Some((bytes, len)) => Some(LockName { bytes, len }),
            None => None,
        }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether this is the [recovery lock](Self::RECOVERY), whose rules differ.
    pub fn is_recovery(&self) -> bool {
        *self == LockName::RECOVERY
    }
}

/// The name of a domain: 1 to 63 bytes. For a mounted volume, its UUID in 32 upper-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName {
    bytes: [u8; DOMAIN_NAME_MAX],
    len: u8,
}

impl DomainName {
    /// The name of these bytes; `None` if there are none or more than [`DOMAIN_NAME_MAX`].
    pub const fn new(name: &[u8]) -> Option<DomainName> {
        match padded(name) {
            Some((bytes, len)) => Some(DomainName { bytes, len }),
            None => None,
        }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The key of the messages of the domain's members: the checksum of its name.
    pub fn key(&self) -> u32 {
        crc_le(0, self.as_bytes())
    }
}

/// A name and its length, if it has 1 to `MAX` bytes.
const fn padded<const MAX: usize>(name: &[u8]) -> Option<([u8; MAX], u8)> {
    if name.is_empty() || name.len() > MAX {
        return None;
    }
    let mut bytes = [0; MAX];
    let (head, _) = bytes.split_at_mut(name.len());
    head.copy_from_slice(name);
    Some((bytes, name.len() as u8))
}

/// Shows printable ASCII as it is and every other byte, and the backslash, as `\xNN`.
fn escape(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'\\' => f.write_str("\\\\")?,
            b' '..=b'~' => write!(f, "{}", byte as char)?,
            _ => write!(f, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.as_bytes(), f)
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.as_bytes(), f)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
