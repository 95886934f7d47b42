//! What a domain is to hear of later: statuses of messages, and timers.

use super::message::{Cookie, LockName};
use super::resource::LockKey;
use crate::NodeId;

/// What a status belongs to.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Nothing depends on it.
    Notice,
    QueryJoin {
        node: NodeId,
        attempt: u64,
    },
    Introduce {
        node: NodeId,
        attempt: u64,
    },
    AssertJoined {
        node: NodeId,
        attempt: u64,
    },
    Exit {
        node: NodeId,
    },
    MasterRequest {
        node: NodeId,
        name: LockName,
        vote: u64,
    },
    CleanupRequest {
        node: NodeId,
        name: LockName,
    },
    Assert {
        node: NodeId,
        round: usize,
    },
    Deref {
        node: NodeId,
        name: LockName,
    },
    Create {
        lock: LockKey,
        cookie: Cookie,
        owner: NodeId,
    },
    Convert {
        lock: LockKey,
        cookie: Cookie,
        owner: NodeId,
    },
    Unlock {
        lock: LockKey,
        cookie: Cookie,
    },
    Cancel {
        lock: LockKey,
        cookie: Cookie,
    },
    Ast {
        name: LockName,
        lock: LockKey,
        cookie: Cookie,
        lowers: bool,
    },
    MigrateLockres {
        node: NodeId,
        name: LockName,
        last: bool,
    },
    MigrateRequest {
        node: NodeId,
        name: LockName,
    },
    Requery {
        name: LockName,
        node: NodeId,
    },
    BeginReco {
        node: NodeId,
        dead: NodeId,
    },
    LockRequest {
        node: NodeId,
        dead: NodeId,
    },
    RecoLockres {
        number: u64,
    },
    DataDone,
    Finalize {
        node: NodeId,
        stage2: bool,
    },
}

/// What is to be done later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Join { attempt: u64 },
    AssertJoined { node: NodeId, attempt: u64 },
    Leave,
    Exit { node: NodeId },
    Operation { lock: LockKey, cookie: Cookie },
    CancelAgain { lock: LockKey, cookie: Cookie },
    Mastery { name: LockName },
    AskAgain { node: NodeId, name: LockName, vote: u64 },
    CleanupAgain { name: LockName },
    RequeryAgain { name: LockName },
    DoubtAgain { name: LockName, node: NodeId },
    Purge { name: LockName },
    DerefAgain { node: NodeId, name: LockName },
    MigrateAgain { node: NodeId, name: LockName },
    MigratedAgain { node: NodeId, name: LockName },
    Election,
    BeginRecoAgain { node: NodeId, dead: NodeId },
    LockRequestAgain { node: NodeId, dead: NodeId },
}
