//! Row P16: what a million cached locks cost that nobody uses.
//!
//! By handle: looking a name up takes longer in a larger table, whoever does it, and row P3 is about
//! that.

use std::error::Error;
use std::hint::black_box;
use std::thread;
use std::time::Duration;

use dlmglue::{Cluster, ClusterLock};
use rustix::time::{ClockId, clock_gettime};

use super::{hit, solo};
use crate::method::{Comparison, time_each};
use crate::names::{names, order, part};
use crate::row::Row;

const HOT: usize = 1_000;
const IDLE: usize = 1_000_000;
const OPERATIONS: usize = 100_000;
const PAUSE: Duration = Duration::from_secs(2);

pub(crate) fn rows(placement: &str, print: &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>> {
    let names = names(HOT + IDLE);
    let (hot, idle) = names.split_at(HOT);
    let (alone, crowded) = (solo()?, solo()?);
    // The hot set lies among the others, as it would.
    for name in idle.iter().take(IDLE / 2).chain(hot).chain(idle.iter().skip(IDLE / 2)) {
        hit::cache(&crowded, name)?;
    }
    hot.iter().try_for_each(|name| hit::cache(&alone, name))?;
    let order = order(OPERATIONS * 8, HOT);
    let handles = |cluster: &Cluster| hot.iter().map(|name| cluster.lock(name)).collect();
    let handles: [Result<Vec<_>, _>; 2] = [handles(&alone), handles(&crowded)];
    let [few, many] = handles;
    let (few, many) = (few?, many?);
    let take = |locks: &[ClusterLock], block| {
        let places = part(&order, block, OPERATIONS);
        time_each(OPERATIONS, || {
            for &place in places {
                drop(black_box(locks[place as usize].lock().expect(hit::CACHED)));
            }
        })
    };
    let found = Comparison::run(|block| take(&few, block), |block| take(&many, block));
    print(Row::of_rates("P16", "1k hot of 1M cached", &found, RATE_MIN, placement));

    let before = processor_time();
    thread::sleep(PAUSE);
    let used = (processor_time() - before).as_secs_f64() * 100.0 / PAUSE.as_secs_f64();
    let numbers = (used, 100.0, "% of a core");
    print(Row::of_numbers("P16", "idle", numbers, IDLE_MAX, placement));
    Ok(())
}

/// What all threads of this process have used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

const RATE_MIN: f64 = 0.9;
const IDLE_MAX: f64 = 0.005;
