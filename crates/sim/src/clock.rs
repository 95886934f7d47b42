//! The clock of one node: when it started, and how fast it runs.

use std::time::Duration;

use o2cb::Now;

const MILLION: u128 = 1_000_000;

/// Between the true time of the world and the time that a node's engine is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) boot: Duration,
    /// Parts per million that it gains.
    pub(crate) drift_ppm: i64,
    /// What its wall clock says beside the true one, in seconds.
    pub(crate) wall_offset: i64,
}

/// Seconds since 1970 when the world begins.
const BEGINNING: i64 = 1_800_000_000;

impl Clock {
    fn rate(&self) -> u128 {
        MILLION.saturating_add_signed(self.drift_ppm.into())
    }

    /// What the node's monotonic clock says.
    pub(crate) fn local(&self, now: Duration) -> Now {
        let since = now.saturating_sub(self.boot).as_nanos();
        Duration::from_nanos((since * self.rate() / MILLION) as u64)
    }

    /// The first moment at which the node's monotonic clock says so.
    pub(crate) fn world(&self, local: Now) -> Duration {
        let since = (local.as_nanos() * MILLION).div_ceil(self.rate());
        self.boot + Duration::from_nanos(since as u64)
    }

    /// What the node's wall clock says.
    pub(crate) fn wall_seconds(&self, now: Duration) -> u64 {
        (BEGINNING + self.wall_offset + now.as_secs() as i64).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_when_the_local_clock_has_reached_it() {
        for drift_ppm in [-500, -1, 0, 3, 500] {
            let clock = Clock { boot: Duration::from_millis(777), drift_ppm, wall_offset: 0 };
            for millis in [0, 1, 999, 60_000, 86_400_000] {
                let local = Duration::from_millis(millis);
                assert!(clock.local(clock.world(local)) >= local);
                let before = clock.world(local).saturating_sub(Duration::from_nanos(2));
                assert!(millis == 0 || clock.local(before) < local);
            }
        }
    }
}
