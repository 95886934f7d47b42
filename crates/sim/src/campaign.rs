//! Many seeds, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::checks::Violation;
use crate::coverage::Coverage;
use crate::log::Log;
use crate::plan::Plan;
use crate::run::run as run_plan;
use crate::solo;

/// Which seeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) first: u64,
    pub(crate) seeds: u64,
    pub(crate) until: Option<Instant>,
    /// The clusters of the seeds too, not their solo worlds alone.
    pub(crate) clusters: bool,
}

/// What became of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    /// Simulated time of the clusters.
    pub(crate) time: Duration,
    /// ... and of solo worlds.
    pub(crate) solo_time: Duration,
    pub(crate) events: u64,
    pub(crate) took: Duration,
    pub(crate) coverage: Coverage,
    /// By seed.
    pub(crate) violations: Vec<Found>,
}

/// A violation, and the world to find it again in.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) seed: u64,
    pub(crate) is_solo: bool,
    pub(crate) violation: Violation,
}

impl Found {
    /// What finds it again.
    pub(crate) fn arguments(&self) -> String {
        format!("{}{}", self.seed, if self.is_solo { " --solo" } else { "" })
    }
}

/// More findings than anybody looks at in one go.
const VIOLATIONS_MAX: usize = 100;

const PROGRESS: Duration = Duration::from_secs(60);

/// Runs them. Findings are told as they come.
pub(crate) fn run(work: &Work) -> Summary {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let told = Mutex::new((Summary::default(), started));
    silence_panics();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed)
                    && work.until.is_none_or(|until| Instant::now() < until)
                {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= work.seeds {
                        return;
                    }
                    let seed = work.first.wrapping_add(at);
                    let cluster = work.clusters.then(|| run_plan(&Plan::of(seed), Log::off()));
                    let solo = solo::run(seed, Log::off());
                    let mut told = told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    let (summary, last) = &mut *told;
                    summary.seeds += 1;
                    summary.time += cluster.as_ref().map_or(Duration::ZERO, |world| world.time);
                    summary.solo_time += solo.time;
                    let cluster = cluster.map(|world| (world, false));
                    for (outcome, is_solo) in cluster.into_iter().chain([(solo, true)]) {
                        summary.events += outcome.events;
                        summary.coverage.merge(&outcome.coverage);
                        let Some(violation) = outcome.violation else { continue };
                        let found = Found { seed, is_solo, violation };
                        let Violation { check, what, .. } = &found.violation;
                        println!("seed {}: {check}: {what}", found.arguments());
                        summary.violations.push(found);
                    }
                    if summary.violations.len() >= VIOLATIONS_MAX {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if last.elapsed() >= PROGRESS {
                        *last = Instant::now();
                        println!("{}", line(summary, started.elapsed()));
                    }
                }
            });
        }
    });
    let (mut summary, _) = told.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    summary.took = started.elapsed();
    summary.violations.sort_by_key(|found| (found.seed, found.is_solo));
    summary
}

/// So far.
pub(crate) fn line(summary: &Summary, took: Duration) -> String {
    let hours = summary.time.as_secs_f64() / 3600.0;
    let times = summary.time.as_secs_f64() / took.as_secs_f64().max(0.001);
    let solo = summary.solo_time.as_secs_f64() / 3600.0;
    format!(
        "{} seeds, {hours:.1} cluster-hours ({times:.0} times real time), {solo:.1} solo hours, {} events, \
         {} violations",
        summary.seeds,
        summary.events,
        summary.violations.len()
    )
}

/// A panic of an engine is a finding, and told as one.
pub(crate) fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Far from those of other runs.
pub(crate) fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() << 24
}
