//! Values small enough for a value block.

use crate::VALUE_LEN_MAX;

/// A value that fits into the value block of a resource.
///
/// Its bytes are seen by every node of the cluster, so they must not depend on the host: numbers
/// are big-endian.
///
/// ```
/// use stackglue_dlmglue::SmallValue;
///
/// /// Who leads, and since when.
/// #[derive(Clone)]
/// struct Leader {
///     node: u32,
///     since: u64,
/// }
///
/// impl SmallValue for Leader {
///     type Bytes = Vec<u8>;
///
///     fn to_bytes(&self) -> Vec<u8> {
///         (self.node, self.since).to_bytes()
///     }
///
///     fn from_bytes(bytes: &[u8]) -> Option<Leader> {
///         let (node, since) = SmallValue::from_bytes(bytes)?;
///         Some(Leader { node, since })
///     }
/// }
/// ```
pub trait SmallValue: Clone {
    /// What the bytes are held in.
    type Bytes: AsRef<[u8]>;

    /// The bytes of it: at most [`VALUE_LEN_MAX`]. A longer value is not written; the one before
    /// stays.
    fn to_bytes(&self) -> Self::Bytes;

    /// The value of those bytes, which another node may have written; `None` when they are of none.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),+) => {
        $(impl SmallValue for $number {
            type Bytes = [u8; size_of::<$number>()];

            #[inline]
            fn to_bytes(&self) -> Self::Bytes {
                self.to_be_bytes()
            }

            #[inline]
            fn from_bytes(bytes: &[u8]) -> Option<$number> {
                bytes.try_into().ok().map(<$number>::from_be_bytes)
            }
        })+
    };
}

numbers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

/// Nothing: for a lock that is shared and has no value.
impl SmallValue for () {
    type Bytes = [u8; 0];

    fn to_bytes(&self) -> [u8; 0] {
        []
    }

    fn from_bytes(_: &[u8]) -> Option<()> {
        Some(())
    }
}

impl SmallValue for bool {
    type Bytes = [u8; 1];

    fn to_bytes(&self) -> [u8; 1] {
        [u8::from(*self)]
    }

    fn from_bytes(bytes: &[u8]) -> Option<bool> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<const N: usize> SmallValue for [u8; N] {
    type Bytes = [u8; N];

    fn to_bytes(&self) -> [u8; N] {
        const { assert!(N <= VALUE_LEN_MAX, "longer than a value block has room for") };
        *self
    }

    fn from_bytes(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
}

/// Text of up to [`VALUE_LEN_MAX`] bytes.
impl SmallValue for String {
    type Bytes = Vec<u8>;

    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<String> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

/// The second one takes what the first leaves: the first is of fixed length.
impl<A: SmallValue, B: SmallValue> SmallValue for (A, B) {
    type Bytes = Vec<u8>;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.to_bytes().as_ref().to_vec();
        bytes.extend_from_slice(self.1.to_bytes().as_ref());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<(A, B)> {
        let (first, second) = bytes.split_at_checked(size_of::<A>())?;
        Some((A::from_bytes(first)?, B::from_bytes(second)?))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn comes_back<T: SmallValue + PartialEq + std::fmt::Debug>(value: T) {
        let bytes = value.to_bytes();
        assert_eq!(T::from_bytes(bytes.as_ref()), Some(value));
    }

    #[test]
    fn values_come_back_as_they_were() {
        comes_back(0x0102_u16);
        comes_back(-3_i64);
        comes_back(u128::MAX);
        comes_back(true);
        comes_back([1_u8, 2, 3]);
        comes_back("node 3".to_owned());
        comes_back((7_u32, 9_u64));
        comes_back((7_u32, "since noon".to_owned()));
        assert_eq!(0x0102_u16.to_bytes(), [1, 2]);
    }

    #[test]
    fn bytes_of_another_type_are_no_value() {
        assert_eq!(u32::from_bytes(&[1, 2, 3]), None);
        assert_eq!(bool::from_bytes(&[2]), None);
        assert_eq!(String::from_bytes(&[0xFF]), None);
        assert_eq!(<(u32, u32)>::from_bytes(&[1, 2]), None);
    }
}
