//! Row SCALE: whether threads that lock different names get in each other's way.

use std::error::Error;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use dlm::Mode;
use stackglue::Lksb;

use crate::method::{Comparison, median};
use crate::names::{Name, names, order, part};
use crate::placement::pin;
use crate::reference::Bare;
use crate::row::Row;
use crate::subject::{Subject, inline};

/// SCALE: new lock and unlock on one connection, by two threads on different names against one thread.
///
/// Also tells what two threads that share nothing reach on this machine, which is the most that can be
/// asked for.
pub(crate) fn row(cpus: &[usize]) -> Result<Row, Box<dyn Error>> {
    let &[first, second, ..] = cpus else {
        return Err("SCALE needs two processors".into());
    };
    let cpus = [first, second];
    let subject = Subject::connect()?;
    let names = names(2 * NAMES);
    let (left, right) = names.split_at(NAMES);
    let order = order(ORDER, NAMES);
    let lock = |half: usize, places: &[u32]| lock_and_unlock(&subject, [left, right][half], places);
    let bare = [Bare::fill(left), Bare::fill(right)];
    let mut limits = Vec::new();
    let found = Comparison::run(
        |block| {
            let places = part(&order, block, PAIRS);
            let alone = together(&cpus[..1], |half| bare[half].visit(places));
            limits.push(2.0 * alone / together(&cpus, |half| bare[half].visit(places)));
            together(&cpus[..1], |half| lock(half, places)) / PAIRS as f64
        },
        |block| {
            let places = part(&order, block, PAIRS);
            together(&cpus, |half| lock(half, places)) / (2 * PAIRS) as f64
        },
    );
    Ok(row_of(&found, median(limits.into_iter()), cpus))
}

fn row_of(found: &Comparison, limit: f64, cpus: [usize; 2]) -> Row {
    let placement = format!("cpus {} and {}; sharing nothing: {limit:.2}", cpus[0], cpus[1]);
    Row::of_rates("SCALE", "2 threads, different names", found, SPEED_UP_MIN, placement)
}

fn lock_and_unlock(subject: &Subject, names: &[Name], places: &[u32]) {
    let lksb = Lksb::new(());
    inline(2 * places.len(), || {
        for &place in places {
            subject.lock(Mode::EX, &lksb, &names[place as usize]);
            subject.unlock(&lksb);
        }
    });
}

/// Nanoseconds from the first start to the last end of `work` on one thread for each processor. Each
/// is told its number.
fn together(cpus: &[usize], work: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(cpus.len());
    let run = |number: usize, cpu: usize| {
        pin(cpu);
        barrier.wait();
        let start = Instant::now();
        work(number);
        (start, Instant::now())
    };
    let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let run = &run;
        let spawn = |(number, &cpu)| scope.spawn(move || run(number, cpu));
        let threads: Vec<_> = cpus.iter().enumerate().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("the work ends well")).collect()
    });
    let start = times.iter().map(|(start, _)| *start).min().expect("one processor at least");
    let end = times.iter().map(|(_, end)| *end).max().expect("one processor at least");
    (end - start).as_nanos() as f64
}

/// Names of each thread.
const NAMES: usize = 1_000;

/// Pairs of operations of each thread in a block.
const PAIRS: usize = 20_000;

const ORDER: usize = 10 * PAIRS;

const SPEED_UP_MIN: f64 = 1.7;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::method::Block;
    use crate::placement::processors;

    #[test]
    fn every_thread_works_once_and_the_time_spans_both() {
        let cpu = processors()[0];
        let seen = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let nanoseconds = together(&[cpu, cpu], |number| {
            seen[number].fetch_add(1, Ordering::Relaxed);
        });
        assert!(nanoseconds > 0.0);
        assert_eq!(seen.map(AtomicUsize::into_inner), [1, 1]);
    }

    #[test]
    fn twice_the_pairs_in_the_same_time_is_a_speed_up_of_two() {
        let found = Comparison::of(&[Block { reference: 100.0, subject: 50.0 }]);
        let row = row_of(&found, 2.0, [0, 1]);
        assert_eq!((row.ratio, row.value, row.reference), (2.0, 2e7, 1e7));
        assert!(row.ok);
        let slow = Comparison::of(&[Block { reference: 100.0, subject: 60.0 }]);
        assert!(!row_of(&slow, 2.0, [0, 1]).ok);
    }
}
