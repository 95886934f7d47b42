//! Why a cached lock was not to be had, and who holds it.

use std::fmt;

use dlm::{Errno, Mode, NameError, NodeNumber, ResourceName};

use crate::Level;

/// Why a level of a resource was not to be had. Nothing has changed: what was held before is held.
#[derive(Debug)]
pub struct Error(Box<Details>);

#[derive(Debug)]
struct Details {
    group: String,
    name: Box<[u8]>,
    level: Level,
    kind: ErrorKind,
    holders: Vec<Holder>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Somebody else has it, and the call was one that does not wait.
    #[error("somebody else has it")]
    WouldWait,
    /// Not granted in time.
    #[error("not granted in time")]
    TimedOut,
    /// The stack refused.
    #[error("{0}")]
    Refused(Errno),
    /// This node is no longer a member: what it held counts for nothing, and nothing is granted any
    /// more. Drop the cluster and connect again.
    #[error("membership is lost: {0}")]
    Lost(String),
    /// The name cannot be a resource's.
    #[error("{0}")]
    Name(#[from] NameError),
    /// The name is one that cached locks keep for themselves.
    #[error("the name is taken by the locks themselves; choose another")]
    Reserved,
}

/// Who has a lock on a resource, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The node.
    pub node: NodeNumber,
    /// The mode that it holds.
    pub mode: Mode,
}

impl Error {
    pub(crate) fn new(group: &str, name: &[u8], level: Level, kind: ErrorKind) -> Error {
        let (group, name) = (group.to_owned(), name.into());
        Error(Box::new(Details { group, name, level, kind, holders: Vec::new() }))
    }

    pub(crate) fn with_holders(mut self, holders: Vec<Holder>) -> Error {
        self.0.holders = holders;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The name of the resource.
    pub fn name(&self) -> &[u8] {
        &self.0.name
    }

    /// Who had a lock in the way when the call gave up. Empty where this node does not know: on
    /// `o2cb` only the master of a resource knows all of its locks.
    pub fn holders(&self) -> &[Holder] {
        &self.0.holders
    }

    /// Whether a later try may well succeed.
    pub fn is_busy(&self) -> bool {
        matches!(self.0.kind, ErrorKind::WouldWait | ErrorKind::TimedOut)
    }
}

/// As in `cannot have "shelf 7" of group "inventory" in EX: not granted in time; node 2 holds EX`.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { group, name, level, kind, holders } = &*self.0;
        match ResourceName::new(name) {
            Ok(name) => write!(f, "cannot have {name:?}")?,
            Err(_) => write!(f, "cannot have a resource")?,
        }
        write!(f, " of group {group:?} in {level}: {kind}")?;
        for holder in holders {
            write!(f, "; node {} holds {}", holder.node.0, holder.mode)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            ErrorKind::Name(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_wanted_why_not_and_who_has_it() {
        let error = Error::new("inventory", b"shelf 7", Level::EX, ErrorKind::TimedOut)
            .with_holders(vec![Holder { node: NodeNumber(2), mode: Mode::EX }]);
        assert_eq!(
            error.to_string(),
            "cannot have \"shelf 7\" of group \"inventory\" in EX: not granted in time; node 2 \
             holds EX"
        );
        assert!(error.is_busy());
        let lost = Error::new("g", b"", Level::PR, ErrorKind::Lost("no quorum".to_owned()));
        assert_eq!(
            lost.to_string(),
            "cannot have a resource of group \"g\" in PR: membership is lost: no quorum"
        );
        assert!(!lost.is_busy());
    }
}
