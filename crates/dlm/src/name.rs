//! Resource names.

use std::fmt;

/// The longest resource name, in bytes (`DLM_RESNAME_MAXLEN`).
pub const NAME_LEN_MAX: usize = 64;

/// A resource name: 1 to 64 bytes, any byte, NUL too.
///
/// A borrowed name whose length has been checked; it is copied into the lock table on first use.
///
/// ```
/// use stackglue_dlm::ResourceName;
///
/// let name = ResourceName::new(b"S000000000000000000000200000000")?;
/// assert_eq!(name.as_bytes().len(), 31);
/// assert!(ResourceName::new(b"").is_err());
/// assert!(ResourceName::new(&[b'x'; 65]).is_err());
/// # Ok::<(), stackglue_dlm::NameError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName<'a>(&'a [u8]);

impl<'a> ResourceName<'a> {
    /// Checks the length: an empty name or one of more than [`NAME_LEN_MAX`] bytes is refused.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Result<ResourceName<'a>, NameError> {
        match bytes.len() {
            0 => Err(NameError::Empty),
            1..=NAME_LEN_MAX => Ok(ResourceName(bytes)),
            len => Err(NameError::TooLong { len }),
        }
    }

    /// The bytes of the name.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Shows printable ASCII as it is and every other byte, and the backslash, as `\xNN`.
impl fmt::Display for ResourceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                b' '..=b'~' => write!(f, "{}", byte as char)?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ResourceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A name that cannot be a resource name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no bytes.
    #[error("the resource name is empty: give it 1 to {NAME_LEN_MAX} bytes")]
    Empty,
    /// The name is longer than [`NAME_LEN_MAX`].
    #[error("the resource name has {len} bytes: the longest is {NAME_LEN_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_from_1_to_64_is_accepted_and_no_other() {
        let bytes = [b'n'; NAME_LEN_MAX + 1];
        assert_eq!(ResourceName::new(b""), Err(NameError::Empty));
        for len in 1..=NAME_LEN_MAX {
            assert!(ResourceName::new(&bytes[..len]).is_ok());
        }
        assert_eq!(ResourceName::new(&bytes), Err(NameError::TooLong { len: 65 }));
    }

    #[test]
    fn a_name_with_nul_bytes_is_not_its_prefix_and_prints_on_one_line() {
        let name = ResourceName::new(b"a\0\n\\").unwrap_or_else(|e| panic!("{e}"));
        assert_ne!(Ok(name), ResourceName::new(b"a"));
        assert_eq!(name.to_string(), "a\\x00\\x0a\\\\");
    }
}
