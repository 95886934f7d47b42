//! Row P15: how evenly nodes that all want one cached lock get it.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use dlmglue::Cluster;

use crate::row::Row;

/// Each member has one user that keeps the lock until another one waits for it, gives it up, and
/// wants it again at once: every grant is a hand-off.
pub(crate) fn row(
    members: &[Cluster],
    acquisitions: u64,
    placement: &str,
) -> Result<Row, Box<dyn Error>> {
    let locks = members.iter().map(|member| member.lock("fair")).collect::<Result<Vec<_>, _>>()?;
    let (total, go) = (AtomicU64::new(0), AtomicBool::new(false));
    let counts: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = locks
            .iter()
            .map(|lock| {
                scope.spawn(|| {
                    while !go.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                    let mut count = 0;
                    while total.fetch_add(1, Ordering::Relaxed) < acquisitions {
                        let guard = lock.lock().map_err(|error| error.to_string())?;
                        count += 1;
                        while !guard.is_wanted() && total.load(Ordering::Relaxed) < acquisitions {
                            thread::yield_now();
                        }
                    }
                    Ok::<u64, String>(count)
                })
            })
            .collect();
        go.store(true, Ordering::Release);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a user panicked".to_owned())))
            .collect::<Result<_, String>>()
    })?;
    let most = counts.iter().max().copied().unwrap_or(0) as f64;
    let least = counts.iter().min().copied().unwrap_or(0) as f64;
    let case = format!("{} nodes, {}k hand-offs", members.len(), acquisitions / 1_000);
    Ok(Row::of_numbers("P15", case, (most, least, "grants"), UNEVEN_MAX, placement))
}

const UNEVEN_MAX: f64 = 1.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_gets_the_lock_and_all_grants_are_counted() {
        let cluster = super::super::solo().expect("joined");
        let row = row(&[cluster.beside(), cluster], 300, "").expect("they go on");
        assert!(row.value + row.reference == 300.0 && row.ratio < 1.1, "{row:?}");
    }
}
