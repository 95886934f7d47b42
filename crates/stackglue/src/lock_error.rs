//! Why a lock, conversion or unlock failed.

use std::fmt;

use dlm::{Errno, Mode, NAME_LEN_MAX, NameError, ResourceName};

/// Why an operation of a [`LockClient`](crate::LockClient) failed. After a failed lock there is no
/// lock; after a failed conversion the lock is held as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The name cannot be a resource name. `EINVAL`; nothing was asked of the stack.
    #[error("cannot {context}: {reason}")]
    Name {
        /// What was wanted.
        context: LockContext,
        /// Why.
        #[source]
        reason: NameError,
    },
    /// The stack refused, at once or later.
    #[error("cannot {context}: {errno}")]
    Refused {
        /// What was wanted.
        context: LockContext,
        /// The stack's reason.
        errno: Errno,
    },
    /// It was not granted in time, and was taken back. `ETIMEDOUT`.
    #[error("cannot {context}: not granted in time; wait longer or see who holds it")]
    TimedOut {
        /// What was wanted.
        context: LockContext,
    },
}

impl LockError {
    /// The errno of it.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Name { .. } => Errno::EINVAL,
            Self::Refused { errno, .. } => *errno,
            Self::TimedOut { .. } => Errno::ETIMEDOUT,
        }
    }

    /// What was wanted.
    pub fn context(&self) -> &LockContext {
        match self {
            Self::Name { context, .. }
            | Self::Refused { context, .. }
            | Self::TimedOut { context } => context,
        }
    }
}

/// What an operation was about, for its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockContext {
    /// The operation.
    pub operation: Operation,
    /// The group.
    pub group: String,
    /// The resource's name, even if it cannot be one.
    pub name: Box<[u8]>,
    /// The mode asked for; for an unlock, the mode held.
    pub mode: Mode,
}

/// Reads behind "cannot", as in ``lock "shelf 7" of group "inventory" in EX``.
impl fmt::Display for LockContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LockContext { operation, group, name, mode } = self;
        let preposition = match operation {
            Operation::Lock | Operation::Unlock => "in",
            Operation::Convert => "to",
        };
        // A name too long to be one is not worth more room than the longest that is.
        let name = &name[..name.len().min(NAME_LEN_MAX)];
        match ResourceName::new(name) {
            Ok(name) => write!(f, "{operation} {name:?}")?,
            Err(_) => write!(f, "{operation} \"\"")?,
        }
        write!(f, " of group {group:?} {preposition} {mode}")
    }
}

/// What was asked of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new lock.
    Lock,
    /// Another mode.
    Convert,
    /// No lock any more.
    Unlock,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Lock => "lock",
            Operation::Convert => "convert",
            Operation::Unlock => "unlock",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(operation: Operation, name: &[u8]) -> LockContext {
        LockContext { operation, group: "g".to_owned(), name: name.into(), mode: Mode::EX }
    }

    #[test]
    fn an_error_is_one_sentence_about_what_was_wanted_and_why_not() {
        let refused = |operation| LockError::Refused {
            context: context(operation, b"shelf\0 7"),
            errno: Errno::EAGAIN,
        };
        assert_eq!(
            refused(Operation::Lock).to_string(),
            "cannot lock \"shelf\\x00 7\" of group \"g\" in EX: the lock would have to wait \
             (EAGAIN 11)"
        );
        assert_eq!(
            refused(Operation::Convert).to_string(),
            "cannot convert \"shelf\\x00 7\" of group \"g\" to EX: the lock would have to wait \
             (EAGAIN 11)"
        );
        assert_eq!(
            LockError::TimedOut { context: context(Operation::Lock, b"n") }.to_string(),
            "cannot lock \"n\" of group \"g\" in EX: not granted in time; wait longer or see who \
             holds it"
        );
    }

    #[test]
    fn a_name_that_cannot_be_one_is_shown_and_explained() {
        let error = |name: &[u8]| {
            let reason = ResourceName::new(name).expect_err("cannot be one");
            LockError::Name { context: context(Operation::Lock, name), reason }
        };
        assert_eq!(
            error(b"").to_string(),
            "cannot lock \"\" of group \"g\" in EX: the resource name is empty: give it 1 to 64 \
             bytes"
        );
        let long = error(&[b'n'; 65]);
        assert_eq!(long.errno(), Errno::EINVAL);
        assert!(long.to_string().ends_with("the resource name has 65 bytes: the longest is 64"));
    }
}
