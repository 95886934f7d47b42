//! Rows P1 to P3: taking a lock that is cached, and giving it up.

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::{Arc, RwLock};

use daemon::{Client, DaemonPlugin};
use dlmglue::{Cluster, ClusterLock};
use stackglue::Glue;

use super::solo;
use crate::method::{Comparison, time_each};
use crate::names::{Name, names, order, part};
use crate::row::Row;
use crate::socket::Daemon;

/// Operations of a block.
const OPERATIONS: usize = 100_000;

pub(crate) fn rows(placement: &str, print: &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>> {
    by_handle(placement, print)?;
    through_the_daemon(placement, print)?;
    for (count, case) in [(1_000, "1k names"), (1_000_000, "1M names")] {
        by_name(count, case, placement, print)?;
    }
    Ok(())
}

/// P1 and P2: beside the `RwLock` of the standard library, with a number in it.
fn by_handle(placement: &str, print: &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>> {
    let cluster = solo()?;
    let value = cluster.value("value", 1_u64)?;
    let lock = cluster.lock("lock")?;
    *value.write()? = 1;
    drop(lock.lock()?);
    let reference = RwLock::new(1_u64);

    let read = Comparison::run(
        |_| {
            time_each(OPERATIONS, || {
                for _ in 0..OPERATIONS {
                    black_box(*black_box(&reference).read().expect(SOUND));
                }
            })
        },
        |_| {
            time_each(OPERATIONS, || {
                for _ in 0..OPERATIONS {
                    black_box(*black_box(&value).read().expect(CACHED));
                }
            })
        },
    );
    print(Row::of_times("P1", "PR, value read", &read, READ_MAX, placement));

    let write = |subject: &mut dyn FnMut()| {
        Comparison::run(
            |_| {
                time_each(OPERATIONS, || {
                    for _ in 0..OPERATIONS {
                        *black_box(&reference).write().expect(SOUND) += 1;
                    }
                })
            },
            |_| time_each(OPERATIONS, &mut *subject),
        )
    };
    let locked = write(&mut || {
        for _ in 0..OPERATIONS {
            black_box(&black_box(&lock).lock().expect(CACHED));
        }
    });
    print(Row::of_times("P2", "EX", &locked, WRITE_MAX, placement));
    let written = write(&mut || {
        for _ in 0..OPERATIONS {
            *black_box(&value).write().expect(CACHED) += 1;
        }
    });
    print(Row::of_times("P2", "EX, value written", &written, WRITE_MAX, placement));
    Ok(())
}

/// P2 again, with locks of a daemon: its socket is not part of a hit, so the reference is a hit
/// without it.
fn through_the_daemon(placement: &str, print: &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>> {
    let daemon = Daemon::start()?;
    let client = Client::connect(&daemon.socket, "stackglue-bench")?;
    let glue = Glue::new();
    glue.register(Arc::new(DaemonPlugin::new(client, |_| ())?))?;
    glue.set_cluster_stack("solo")?;
    let (near, far) = (solo()?, Cluster::connect(&glue, "bench")?);
    let (near, far) = (near.lock("lock")?, far.lock("lock")?);
    drop((near.lock()?, far.lock()?));
    let take = |lock: &ClusterLock| {
        time_each(OPERATIONS, || {
            for _ in 0..OPERATIONS {
                black_box(&black_box(lock).lock().expect(CACHED));
            }
        })
    };
    let found = Comparison::run(|_| take(&near), |_| take(&far));
    print(Row::of_times("P2", "EX, through the daemon", &found, DAEMON_MAX, placement));
    Ok(())
}

/// P3: beside a table of as many names, with a `RwLock` for each.
fn by_name(
    count: usize,
    case: &str,
    placement: &str,
    print: &mut dyn FnMut(Row),
) -> Result<(), Box<dyn Error>> {
    let names = names(count);
    let cluster = solo()?;
    let mut table: HashMap<Box<[u8]>, RwLock<u64>> = HashMap::new();
    for name in &names {
        cache(&cluster, name)?;
        table.insert(name.as_slice().into(), RwLock::new(0));
    }
    let order = order(OPERATIONS * 8, count);
    // Each side looks names up in a copy of its own, so that neither finds them in the cache.
    let own = names.clone();
    for (case, level) in [(format!("PR, {case}"), Read), (format!("EX, {case}"), Write)] {
        let found = Comparison::run(
            |block| {
                let places = part(&order, block, OPERATIONS);
                time_each(OPERATIONS, || visit(&table, &own, places, level))
            },
            |block| {
                let places = part(&order, block, OPERATIONS);
                time_each(OPERATIONS, || visit_cached(&cluster, &names, places, level))
            },
        );
        let target = NAMED_MAX;
        print(Row::of_times("P3", case, &found, target, placement));
    }
    Ok(())
}

/// How a name is used.
#[derive(Clone, Copy)]
enum Use {
    Read,
    Write,
}

use Use::{Read, Write};

fn visit(table: &HashMap<Box<[u8]>, RwLock<u64>>, names: &[Name], places: &[u32], how: Use) {
    for &place in places {
        let lock = &table[black_box(names[place as usize].as_slice())];
        match how {
            Read => drop(black_box(lock.read().expect(SOUND))),
            Write => drop(black_box(lock.write().expect(SOUND))),
        }
    }
}

/// Looks names up and takes their locks, which are cached.
fn visit_cached(cluster: &Cluster, names: &[Name], places: &[u32], how: Use) {
    for &place in places {
        let name = black_box(names[place as usize].as_slice());
        match how {
            Read => {
                let value = cluster.value(name, ()).expect(NAME);
                drop(black_box(value.read().expect(CACHED)));
            }
            Write => {
                let lock = cluster.lock(name).expect(NAME);
                drop(black_box(lock.lock().expect(CACHED)));
            }
        }
    }
}

/// Takes the lock of a name once, so that it is cached.
pub(crate) fn cache(cluster: &Cluster, name: &Name) -> Result<(), Box<dyn Error>> {
    drop(cluster.lock(name)?.lock()?);
    Ok(())
}

const SOUND: &str = "nobody panics with it locked";
pub(crate) const CACHED: &str = "nobody else wants it";
const NAME: &str = "names of 32 bytes can be names";
const READ_MAX: f64 = 1.3;
const WRITE_MAX: f64 = 1.5;
const DAEMON_MAX: f64 = 1.1;
const NAMED_MAX: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_of_a_cached_name_asks_nobody() {
        let cluster = solo().expect("joined");
        let names = names(10);
        names.iter().for_each(|name| cache(&cluster, name).expect("free"));
        let token = || cluster.lock(names[3]).expect(NAME).lock().expect(CACHED).token();
        let before = token();
        visit_cached(&cluster, &names, &[3, 3], Read);
        visit_cached(&cluster, &names, &[3], Write);
        assert_eq!(token(), before, "granted once");
    }
}
