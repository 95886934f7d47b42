//! How often each fault struck and each transition was seen.

use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    pub(crate) fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &str, times: u64) {
        match self.0.get_mut(what) {
            Some(count) => *count += times,
            None => {
                self.0.insert(what.to_owned(), times);
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Coverage) {
        for (what, times) in &other.0 {
            self.add(what, *times);
        }
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, times)| (what.as_str(), *times))
    }
}

/// What has to happen in any two hundred seeds: a zero is a failure of the simulator.
pub(crate) const REQUIRED: &[&str] = &[
    "F1 late segment",
    "F1 slow link",
    "F4 partition",
    "F5 one-way cut",
    "F6 partial partition",
    "F12 split read",
    "F13 full send buffer",
    "F14 corrupt frame",
    "F14 corrupt header",
    "F16 process killed",
    "F16 machine off",
    "F19 pause",
    "F21 slow node",
    "F22 clock step",
    "F23 out of memory",
    "F24 handlers hang",
    "F25 user dies",
    "F26 ambush sprung",
    "F28 several machines off",
    "F29 leave",
    "F30 slow to stop",
    "F30 told twice",
    "F32 stop and start",
    "F34 disk errors",
    "F34 half writes",
    "F34 slow disk",
    "F34 stuck disk",
    "F34 stuck region",
    "F34 torn writes",
    "F35 storage pause",
    "F36 mixed versions",
    "F36 stranger",
    "F37 another node's number",
    "F38 frame to refuse",
    "F38 no frame",
    "F38 second connection",
    "F39 lock flood",
    "F40 names that collide",
    "abandoned lock dropped",
    "cached: granted",
    "cached: unused given back",
    "cached: waited in vain",
    "cancelled: convert",
    "cancelled: lock",
    "cancelled: too late",
    "close: handshake",
    "close: heartbeat down",
    "close: no frame",
    "connection lost",
    "death told twice",
    "fenced: no good write",
    "fenced: quorum",
    "join refused: nodes",
    "join refused: version",
    "left",
    "lock of a flood",
    "message: AssertJoined",
    "message: AssertMaster",
    "message: BeginExit",
    "message: BeginReco",
    "message: CancelJoin",
    "message: ConvertLock",
    "message: CreateLock",
    "message: DerefDone",
    "message: DerefLockres",
    "message: ExitDomain",
    "message: FinalizeReco",
    "message: LockRequest",
    "message: MasterRequery",
    "message: MasterRequest",
    "message: MigLockres",
    "message: MigrateRequest",
    "message: ProxyAst",
    "message: QueryJoin",
    "message: QueryNodeinfo",
    "message: QueryRegion",
    "message: RecoDataDone",
    "message: UnlockLock",
    "message: negotiation",
    "messages of a member's life",
    "no memory: lock",
    "notice",
    "refused: NOTQUEUED",
    "refused: SYSERR",
    "refused: another node's number",
    "refused: flipped bits",
    "refused: heartbeat down",
    "refused: no frame",
    "refused: random bytes",
    "refused: replayed answer",
    "refused: second connection",
    "refused: too long",
    "refused: too short",
    "refused: unknown domain",
    "refused: unknown type",
    "slow to stop",
    "status: CANCELGRANT",
    "status: FORWARD",
    "status: MIGRATING",
    "status: NOTQUEUED",
    "status: RECOVERING",
    "stopped in good order",
    "users told of a death",
    "value read",
    "value read: zero",
];
