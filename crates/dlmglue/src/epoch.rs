//! Where fencing tokens come from on a stack that does not number its grants.
//!
//! A token is an epoch of 48 bits and a sequence of 16. As long as the value block of a resource
//! lives, each exclusive grant takes the token in it and adds one. When nobody knows the last token
//! (the block was lost with its writer, the resource is new or was given up by every node, somebody
//! else wrote something else into it), the grant takes a new epoch: one that is above all that were
//! ever taken in the group. These are counted in the value block of a resource of their own, under
//! its EX.
//!
//! The count of epochs can be lost too: when all nodes leave, or the node dies that counted last.
//! Then it goes on from the clock: an epoch is never below the time, in units of 10 us since 2020,
//! at which it was taken. So what has to hold is that clocks differ by less than passes between
//! such a loss and the next grant: when a node dies on `o2cb`, more than ten seconds; when the last
//! member that had a token leaves, or its process is killed and its node lives on, no more than it
//! takes another one to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::block::Value;
use crate::mutants::{Mutant, planted};
use crate::resource::{Resource, TOKEN_SEQUENCE_BITS};

/// The name of the resource that counts epochs.
pub(crate) const EPOCH_NAME: &[u8] = b".stackglue.epoch";

/// What tells the time.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The epochs of a group.
pub(crate) struct Epochs {
    pub(crate) resource: Arc<Resource>,
    clock: Clock,
    /// The highest that this node has seen, for when the count is lost.
    seen: AtomicU64,
}

impl Epochs {
    pub(crate) fn new(resource: Arc<Resource>, clock: Clock) -> Epochs {
        Epochs { resource, clock, seen: AtomicU64::new(0) }
    }

    pub(crate) fn clock(&self) -> Clock {
        Arc::clone(&self.clock)
    }

    /// The first token of a new epoch. To be called by who holds EX of the epochs' resource.
    pub(crate) fn take(&self) -> u64 {
        let counted = self
            .resource
            .block
            .value()
            .and_then(|value| value.as_bytes().try_into().ok().map(u64::from_be_bytes));
        let now = since_2020((self.clock)());
        let epoch = next_epoch(counted, self.seen.load(Ordering::Relaxed), now);
        self.seen.store(epoch, Ordering::Relaxed);
        let token = epoch << TOKEN_SEQUENCE_BITS | 1;
        // The resource has a token as any other; it is nobody's.
        if self.resource.token_missing() {
            self.resource.set_token(token);
        }
        if let Some(value) = Value::new(&epoch.to_be_bytes()) {
            self.resource.block.set_value(&value);
        }
        token
    }
}

fn next_epoch(counted: Option<u64>, seen: u64, now: Duration) -> u64 {
    if planted(Mutant::EpochNotCounted)
        && let Some(counted) = counted
    {
        return counted;
    }
    let clock = (now.as_micros() / 10) as u64;
    let next = counted.unwrap_or(0).max(seen).saturating_add(1).max(clock);
    next.min(u64::MAX >> TOKEN_SEQUENCE_BITS)
}

fn since_2020(now: SystemTime) -> Duration {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    now.duration_since(start).unwrap_or_default()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_above_the_count_what_was_seen_and_the_clock() {
        let at = Duration::from_micros;
        let cases = [
            (Some(7), 3, at(0), 8),
            (Some(7), 9, at(0), 10),
            (None, 9, at(0), 10),
            (None, 0, at(1000), 100),
            (Some(200), 0, at(1000), 201),
            (Some(u64::MAX), 0, at(0), (1 << 48) - 1),
        ];
        for (counted, seen, now, expected) in cases {
            assert_eq!(next_epoch(counted, seen, now), expected, "{counted:?} {seen} {now:?}");
        }
    }

    #[test]
    fn the_clock_lasts_for_this_century() {
        let in_2099 = Duration::from_secs(79 * 365 * 24 * 3600);
        assert!(next_epoch(None, 0, in_2099) < (1 << 48) - 1);
    }
}
