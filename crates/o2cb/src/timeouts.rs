//! The timings that every node of a cluster has to agree on, and what follows from them.

use std::time::Duration;

use dlm::Errno;

/// The time from one heartbeat of a node to its next (`O2HB_REGION_TIMEOUT_MS`), in milliseconds. Fixed.
pub const HEARTBEAT_PERIOD_MS: u32 = 2000;

/// The timings of a cluster. Nodes refuse to connect to one that has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// After how many samples without a change a node is down: 3 or more.
    pub dead_threshold: u32,
    /// How long a connection may be silent, in milliseconds.
    pub idle_timeout_ms: u32,
    /// After how long a silence a keepalive is sent, in milliseconds; below the idle timeout.
    pub keepalive_delay_ms: u32,
    /// How long to wait before connecting again, in milliseconds.
    pub reconnect_delay_ms: u32,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            dead_threshold: 31,
            idle_timeout_ms: 30_000,
            keepalive_delay_ms: 2000,
            reconnect_delay_ms: 2000,
        }
    }
}

impl Timeouts {
    /// The smallest dead threshold. The kernel ignores a smaller one and says nothing
    /// (fs/ocfs2/cluster/heartbeat.c: `O2HB_MIN_DEAD_THRESHOLD`).
    pub const DEAD_THRESHOLD_MIN: u32 = 3;

    /// The largest dead threshold: every time derived from it fits the 32 bits that it has on the
    /// disk and in the handshake.
    pub const DEAD_THRESHOLD_MAX: u32 = u32::MAX / HEARTBEAT_PERIOD_MS - 2;

    /// Whether a kernel would take these timings, and if not, why.
    pub fn check(&self) -> Result<(), TimeoutsError> {
        if self.dead_threshold < Timeouts::DEAD_THRESHOLD_MIN {
            return Err(TimeoutsError::ThresholdTooSmall { threshold: self.dead_threshold });
        }
        if self.dead_threshold > Timeouts::DEAD_THRESHOLD_MAX {
            return Err(TimeoutsError::ThresholdTooLarge { threshold: self.dead_threshold });
        }
        for (what, ms) in [
            ("idle timeout", self.idle_timeout_ms),
            ("keepalive delay", self.keepalive_delay_ms),
            ("reconnect delay", self.reconnect_delay_ms),
        ] {
            match ms {
                0 => return Err(TimeoutsError::Zero { what }),
                u32::MAX => return Err(TimeoutsError::TooLong { what }),
                _ => {}
            }
        }
        if self.keepalive_delay_ms >= self.idle_timeout_ms {
            return Err(TimeoutsError::KeepaliveNotBelowIdle {
                keepalive_ms: self.keepalive_delay_ms,
                idle_ms: self.idle_timeout_ms,
            });
        }
        Ok(())
    }

    /// How long after its last good write a node stops itself, in milliseconds. It is also what the
    /// handshake compares as the heartbeat timeout.
    pub fn write_timeout_ms(&self) -> u32 {
        periods_ms(self.dead_threshold.saturating_sub(1))
    }

    /// How long after its last good write a node asks the others whether the disk hangs for all.
    pub fn negotiation_ms(&self) -> u32 {
        self.write_timeout_ms() / 2
    }

    /// After how long without a change a node is dead for the others: what a heartbeat block says.
    pub fn dead_ms(&self) -> u32 {
        periods_ms(self.dead_threshold)
    }

    /// From the loss of a connection to the quorum decision that follows, in milliseconds: the node
    /// at its other end would have been found dead by then, if it were.
    pub fn quorum_delay_ms(&self) -> u32 {
        periods_ms(self.dead_threshold.saturating_add(2))
    }

    /// [`write_timeout_ms`](Self::write_timeout_ms) as a duration.
    pub fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms().into())
    }

    /// [`negotiation_ms`](Self::negotiation_ms) as a duration.
    pub fn negotiation(&self) -> Duration {
        Duration::from_millis(self.negotiation_ms().into())
    }

    /// [`quorum_delay_ms`](Self::quorum_delay_ms) as a duration.
    pub fn quorum_delay(&self) -> Duration {
        Duration::from_millis(self.quorum_delay_ms().into())
    }

    /// The idle timeout as a duration.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.into())
    }

    /// The keepalive delay as a duration.
    pub fn keepalive_delay(&self) -> Duration {
        Duration::from_millis(self.keepalive_delay_ms.into())
    }

    /// The reconnect delay as a duration.
    pub fn reconnect_delay(&self) -> Duration {
        Duration::from_millis(self.reconnect_delay_ms.into())
    }
}

/// Why timings cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeoutsError {
    /// A node would be declared dead before it can be seen alive.
    #[error("the dead threshold {threshold} is too small: it has to be 3 or more, and 31 is usual")]
    ThresholdTooSmall {
        /// What was asked for.
        threshold: u32,
    },
    /// Times derived from it do not fit their fields.
    #[error(
        "the dead threshold {threshold} is too large: it can be at most {}",
        Timeouts::DEAD_THRESHOLD_MAX
    )]
    ThresholdTooLarge {
        /// What was asked for.
        threshold: u32,
    },
    /// No time at all.
    #[error("the {what} is 0: it has to be a number of milliseconds")]
    Zero {
        /// Which of the times.
        what: &'static str,
    },
    /// The largest number of 32 bits is not a time.
    #[error("the {what} is too long: it has to be below 4294967295 milliseconds")]
    TooLong {
        /// Which of the times.
        what: &'static str,
    },
    /// Idle connections would be lost before a keepalive is sent.
    #[error(
        "the keepalive delay ({keepalive_ms} ms) has to be below the idle timeout ({idle_ms} ms)"
    )]
    KeepaliveNotBelowIdle {
        /// The keepalive delay.
        keepalive_ms: u32,
        /// The idle timeout.
        idle_ms: u32,
    },
}

impl TimeoutsError {
    /// What the kernel answers (fs/ocfs2/cluster/nodemanager.c: `o2nm_cluster_attr_write`).
    pub fn errno(&self) -> Errno {
        match self {
            TimeoutsError::ThresholdTooLarge { .. } | TimeoutsError::TooLong { .. } => {
                Errno::ERANGE
            }
            _ => Errno::EINVAL,
        }
    }
}

fn periods_ms(periods: u32) -> u32 {
    HEARTBEAT_PERIOD_MS.saturating_mul(periods)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviours 63 and 64.
    #[test]
    fn times_follow_from_the_dead_threshold() {
        for (dead_threshold, times) in
            [(31, [60_000, 30_000, 62_000, 66_000]), (61, [120_000, 60_000, 122_000, 126_000])]
        {
            let timeouts = Timeouts { dead_threshold, ..Timeouts::default() };
            assert_eq!(timeouts.check(), Ok(()));
            assert_eq!(
                [
                    timeouts.write_timeout_ms(),
                    timeouts.negotiation_ms(),
                    timeouts.dead_ms(),
                    timeouts.quorum_delay_ms()
                ],
                times
            );
        }
    }

    // Behaviour 25. The kernel ignores it; here it is said.
    #[test]
    fn a_dead_threshold_of_two_is_refused() {
        for (dead_threshold, ok) in [
            (0, false),
            (2, false),
            (3, true),
            (Timeouts::DEAD_THRESHOLD_MAX, true),
            (Timeouts::DEAD_THRESHOLD_MAX + 1, false),
            (u32::MAX, false),
        ] {
            let timeouts = Timeouts { dead_threshold, ..Timeouts::default() };
            assert_eq!(timeouts.check().is_ok(), ok, "{dead_threshold}");
        }
        let most = Timeouts { dead_threshold: Timeouts::DEAD_THRESHOLD_MAX, ..Timeouts::default() };
        assert!(most.quorum_delay_ms() < u32::MAX);
    }

    // Behaviour 22.
    #[test]
    fn the_keepalive_delay_is_below_the_idle_timeout() {
        let same = Timeouts { idle_timeout_ms: 2000, ..Timeouts::default() };
        assert_eq!(same.check().map_err(|error| error.errno()), Err(Errno::EINVAL));
        let above = Timeouts { idle_timeout_ms: 2001, ..Timeouts::default() };
        assert_eq!(above.check(), Ok(()));
    }

    #[test]
    fn no_time_is_zero_or_the_largest_number() {
        for (ms, errno) in [(0, Errno::EINVAL), (u32::MAX, Errno::ERANGE)] {
            let timeouts = Timeouts { reconnect_delay_ms: ms, ..Timeouts::default() };
            assert_eq!(timeouts.check().map_err(|error| error.errno()), Err(errno));
        }
    }
}
