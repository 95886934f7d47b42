//! What a lock costs where it is cached, where it is not, and where another node has it.

use std::error::Error;
use std::time::Instant;

use dlmglue::{Cluster, ClusterLock};

use crate::method::quantile;

/// Times of one kind of acquisition, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    pub(crate) what: &'static str,
    /// p50, p99 and p99.9.
    pub(crate) quantiles: [f64; 3],
}

/// How often each is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) hits: usize,
    pub(crate) misses: usize,
}

impl Effort {
    pub(crate) const FULL: Effort = Effort { hits: 200_000, misses: 5_000 };
}

/// Hit, local miss, remote miss and hand-off, between the first two members.
pub(crate) fn measure(members: &[Cluster], effort: Effort) -> Result<Vec<Latency>, Box<dyn Error>> {
    let [here, there, ..] = members else { return Err("two members are needed".into()) };
    let hit = here.lock("hit")?;
    let cached = times(effort.hits, |_| Ok(()), |_| take(&hit))?;
    // Each name is mastered where it was used first, and given back, but not forgotten there.
    let names: Vec<String> = (0..effort.misses).map(|number| format!("miss {number}")).collect();
    for name in &names {
        take(&here.lock(name)?)?;
    }
    let remote = times(effort.misses, |_| Ok(()), |at| take(&there.lock(&names[at])?))?;
    let local = times(effort.misses, |_| Ok(()), |at| take(&here.lock(&names[at])?))?;
    let (mine, theirs) = (here.lock("hand-off")?, there.lock("hand-off")?);
    let handed = times(
        effort.misses,
        |at| take(if at % 2 == 0 { &theirs } else { &mine }),
        |at| take(if at % 2 == 0 { &mine } else { &theirs }),
    )?;
    Ok(vec![
        Latency { what: "hit", quantiles: cached },
        Latency { what: "back to its master", quantiles: local },
        Latency { what: "mastered elsewhere", quantiles: remote },
        Latency { what: "hand-off", quantiles: handed },
    ])
}

fn take(lock: &ClusterLock) -> Result<(), dlmglue::Error> {
    lock.lock().map(drop)
}

type Step<'a> = dyn FnMut(usize) -> Result<(), dlmglue::Error> + 'a;

fn times(
    count: usize,
    mut before: impl FnMut(usize) -> Result<(), dlmglue::Error>,
    mut timed: impl FnMut(usize) -> Result<(), dlmglue::Error>,
) -> Result<[f64; 3], Box<dyn Error>> {
    let (before, timed): (&mut Step<'_>, &mut Step<'_>) = (&mut before, &mut timed);
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        before(number)?;
        let start = Instant::now();
        timed(number)?;
        all.push(start.elapsed().as_nanos() as f64);
    }
    all.sort_by(f64::total_cmp);
    Ok([0.5, 0.99, 0.999].map(|share| quantile(&all, share)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_measured() {
        let cluster = super::super::solo().expect("joined");
        let effort = Effort { hits: 10, misses: 10 };
        let found = measure(&[cluster.beside(), cluster], effort).expect("they go on");
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|latency| latency.quantiles[0] > 0.0));
        assert!(found.iter().all(|latency| latency.quantiles.is_sorted()));
    }
}
