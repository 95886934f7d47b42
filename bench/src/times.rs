//! Operations that are timed one by one.

use rustix::time::{ClockId, clock_gettime};

use crate::method::quantile;
use crate::row::round;

/// Runs operations of three parts and times the second part of each; returns the block's median in
/// nanoseconds and keeps all times. Each part is told the number of the operation.
pub(crate) fn time_block(
    clock: Clock,
    times: &mut Vec<f64>,
    operations: usize,
    mut before: impl FnMut(usize),
    mut timed: impl FnMut(usize),
    mut after: impl FnMut(usize),
) -> f64 {
    let mut block: Vec<f64> = Vec::with_capacity(operations);
    for number in 0..operations {
        before(number);
        let start = clock.nanoseconds();
        timed(number);
        block.push((clock.nanoseconds() - start) as f64);
        after(number);
    }
    block.sort_by(f64::total_cmp);
    times.extend_from_slice(&block);
    quantile(&block, 0.5)
}

/// Which time counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// That on the wall.
    Wall,
    /// That for which this thread had a processor. To ask for it is a system call, which counts.
    Thread,
}

impl Clock {
    fn nanoseconds(self) -> i64 {
        let now = clock_gettime(match self {
            Clock::Wall => ClockId::Monotonic,
            Clock::Thread => ClockId::ThreadCPUTime,
        });
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    }
}

/// p50, p99 and p99.9.
pub(crate) fn percentiles(mut times: Vec<f64>) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    [0.5, 0.99, 0.999].map(|share| round(quantile(&times, share), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_all_times() {
        let mut times = Vec::new();
        let median = time_block(Clock::Wall, &mut times, 9, |_| (), |_| (), |_| ());
        assert_eq!(times.len(), 9);
        assert!(times.contains(&median));
        assert_eq!(percentiles((0..=1000).map(f64::from).collect()), [500.0, 990.0, 999.0]);
    }

    #[test]
    fn every_part_of_every_operation_runs_in_order() {
        let seen = std::cell::RefCell::new(Vec::new());
        let part = |part: char| move |number: usize| (part, number);
        let note = |what| seen.borrow_mut().push(what);
        time_block(
            Clock::Wall,
            &mut Vec::new(),
            2,
            |number| note(part('a')(number)),
            |number| note(part('b')(number)),
            |number| note(part('c')(number)),
        );
        let expected = [('a', 0), ('b', 0), ('c', 0), ('a', 1), ('b', 1), ('c', 1)];
        assert_eq!(*seen.borrow(), expected);
    }
}
