//! What a seed makes of a solo world: its processes, their habits, and the faults.

use std::time::Duration;

use crate::rng::Rng;

/// A solo world before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) processes: usize,
    /// Of each process.
    pub(crate) users: usize,
    pub(crate) names: usize,
    pub(crate) safety: Duration,
    /// Milliseconds between two things that a user does.
    pub(crate) pace_ms: u64,
    /// How many of a hundred ...
    pub(crate) habits: Habits,
    /// The epoch that the first daemon has.
    pub(crate) epoch: u32,
    pub(crate) faults: Vec<(Duration, Fault)>,
}

/// How many calls or users of a hundred do so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) valblk: u64,
    pub(crate) noqueue: u64,
    /// Flags that change the order or the mode of a grant.
    pub(crate) odd: u64,
    pub(crate) persistent: u64,
    /// Adopt an orphan that they meet.
    pub(crate) adopt: u64,
    /// Heed a notice before they are done anyway.
    pub(crate) heed: u64,
    /// Unlock inside the notice.
    pub(crate) at_once: u64,
    /// Do two things at one moment.
    pub(crate) hasty: u64,
}

/// What happens to a process, the daemon or the lockspace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A process is killed; another takes its place.
    Kill { process: usize, back: Duration },
    /// The users of a process do nothing for a while.
    Pause { process: usize, lasts: Duration },
    /// The daemon is killed, and started with the next epoch.
    Restart,
    /// The lockspace is left, locks and all, and joined again.
    Rejoin,
    /// The orphans of all processes are dropped.
    Purge,
}

impl Plan {
    pub(crate) fn of(seed: u64, rng: &mut Rng) -> Plan {
        let processes = rng.between(2, 4) as usize;
        let safety = Duration::from_secs(rng.between(20, 40));
        let faults = (0..rng.below(8))
            .map(|_| {
                let at = Duration::from_millis(rng.below(safety.as_millis() as u64));
                (at, Fault::of(rng, processes))
            })
            .collect();
        let mut plan = Plan {
            processes,
            users: rng.between(1, 3) as usize,
            names: rng.between(1, 3) as usize,
            safety,
            pace_ms: rng.pick(&[60, 150, 400]),
            habits: Habits {
                valblk: rng.pick(&[20, 60, 90]),
                noqueue: rng.pick(&[5, 20, 40]),
                odd: rng.pick(&[0, 5, 12]),
                persistent: rng.pick(&[0, 10, 30]),
                adopt: 40,
                heed: rng.pick(&[20, 60, 95]),
                at_once: rng.pick(&[0, 0, 15]),
                hasty: rng.pick(&[5, 20, 40]),
            },
            epoch: rng.between(1, 1000) as u32,
            faults,
        };
        if seed.is_multiple_of(3) {
            // Many orphans, and nobody who adopts one: they are there to be purged.
            plan.habits.persistent = 50;
            plan.habits.adopt = 0;
        }
        plan
    }
}

impl Fault {
    fn of(rng: &mut Rng, processes: usize) -> Fault {
        let process = rng.below(processes as u64) as usize;
        let span = Duration::from_millis(rng.between(1, 6000));
        match rng.below(100) {
            0..40 => Fault::Kill { process, back: span },
            40..60 => Fault::Pause { process, lasts: span },
            60..75 => Fault::Restart,
            75..90 => Fault::Rejoin,
            _ => Fault::Purge,
        }
    }
}
