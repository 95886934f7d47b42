//! Why bytes are not a message.

use std::fmt;

use super::MessageType;

/// Bytes that are not the message they claim to be. Nothing was changed by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {field} is {value}, expected {expected}")]
pub struct DecodeError {
    /// The message.
    pub message: MessageType,
    /// What class of fault, to choose the status of the reply by.
    pub kind: DecodeErrorKind,
    /// The field at fault.
    pub field: &'static str,
    /// What it held.
    pub value: i64,
    pub(super) expected: Expected,
}

/// The classes of faults in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The payload ends before the structure does.
    Short,
    /// The payload is larger than the largest of its type.
    Long,
    /// The name is longer than a lock's or domain's name can be.
    NameTooLong,
    /// The name has no bytes.
    NameEmpty,
    /// A node number of 255 where a node is required.
    BadNode,
    /// A mode that o2dlm has no locks in.
    BadMode,
    /// A count of entries out of range.
    BadCount,
    /// Any other value without a meaning.
    Other,
}

/// What would have been right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A number of this range, both ends included.
    Range(usize, usize),
    /// In words.
    Words(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Range(low, high) if low == high => write!(f, "{low}"),
            Expected::Range(low, high) => write!(f, "{low} to {high}"),
            Expected::Words(words) => f.write_str(words),
        }
    }
}
