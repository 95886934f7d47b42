//! The messages of o2dlm: what travels between the lock managers of a domain, byte for byte
//! (`fs/ocfs2/dlm/dlmcommon.h`).
//!
//! One struct per message, each with `decode`, `encode` and its [`MessageType`] as `TYPE`. They are in
//! files by what they are about:
//!
//! | file | messages |
//! |---|---|
//! | `domain` | joining and leaving: 510 to 513, 519 to 521 |
//! | `mastery` | finding a master, dropping a reference: 500, 502, 507, 514, 522 |
//! | `lock` | create, convert, unlock, and the AST: 503 to 506 |
//! | `migration` | a lock resource on the move, also in recovery: 508, 509 |
//! | `recovery` | 515 to 518 |
//!
//! Decoding is total: any bytes give a message or a [`DecodeError`], whose
//! [`kind`](DecodeError::kind) lets the caller choose the status to answer with. Padding and the bytes
//! of a name field behind the name are ignored, as the kernel does; what follows a structure is too, up
//! to the [largest payload](MessageType::payload_max) of its type. Encoding always writes the whole
//! structure, because a kernel receiver does not check lengths and would read what an earlier message
//! left behind.

mod domain;
mod error;
mod fields;
mod kind;
mod lock;
mod mastery;
mod migration;
mod mode;
mod name;
mod recovery;
mod status;

pub use domain::{
    AssertJoined, BeginExit, CancelJoin, ExitDomain, JOIN_KEY, JoinReply, NodeAddress, QueryJoin,
    QueryNodeinfo, QueryRegion, REGIONS_MAX,
};
pub use error::{DecodeError, DecodeErrorKind};
pub use kind::MessageType;
pub use lock::{AstKind, ConvertLock, Cookie, CreateLock, LVB_LEN, LkmFlags, ProxyAst, UnlockLock};
pub use mastery::{
    AssertFlags, AssertMaster, DerefDone, DerefLockres, MasterRequery, MasterRequest,
};
pub use migration::{LOCKS_MAX, LvbFlags, MigFlags, MigLock, MigLockres, MigrateRequest, Queue};
pub use mode::LockMode;
pub use name::{DOMAIN_NAME_MAX, DomainName, LOCK_NAME_MAX, LockName};
pub use recovery::{BeginReco, FinalizeReco, LockRequest, RecoDataDone};
pub use status::Status;

#[cfg(test)]
mod tests;
