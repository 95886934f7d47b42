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
    "F16 process killed",
    "F16 machine off",
    "F19 pause",
    "F21 slow node",
    "F22 clock step",
    "F24 handlers hang",
    "F25 user dies",
    "F26 ambush sprung",
    "F28 several machines off",
    "F29 leave",
    "F32 stop and start",
    "F34 disk errors",
    "F34 half writes",
    "F34 slow disk",
    "F34 stuck disk",
    "F34 stuck region",
    "F34 torn writes",
    "F35 storage pause",
    "F36 stranger",
    "abandoned lock dropped",
    "cached: granted",
    "cached: unused given back",
    "cached: waited in vain",
    "cancelled: convert",
    "cancelled: lock",
    "cancelled: too late",
    "close: heartbeat down",
    "connection lost",
    "fenced: no good write",
    "fenced: quorum",
    "left",
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
    "notice",
    "refused: NOTQUEUED",
    "refused: heartbeat down",
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
