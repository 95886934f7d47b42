//! How two things are compared on a machine that is never quiet.
//!
//! Reference and subject take turns in blocks, in one process and placement. Each block gives one
//! ratio; the row reports their median and interquartile range. A block whose reference took more than
//! twice the median reference was disturbed, and is dropped.

use std::time::Instant;

/// Blocks of a comparison. Odd, so that the median is one of them.
pub(crate) const BLOCKS: usize = 31;

/// Blocks that run before the first one that counts.
const WARM_UP: usize = 2;

/// A reference and a subject, compared.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// Median time of one operation of the subject, in nanoseconds.
    pub(crate) value: f64,
    /// Median time of one operation of the reference, in nanoseconds.
    pub(crate) reference: f64,
    /// Median of the blocks' ratios.
    pub(crate) ratio: f64,
    /// First and third quartile of the blocks' ratios.
    pub(crate) quartiles: (f64, f64),
    /// Blocks that counted.
    pub(crate) blocks: usize,
    /// Blocks that were dropped.
    pub(crate) dropped: usize,
}

/// Times of one block: nanoseconds of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) reference: f64,
    pub(crate) subject: f64,
}

impl Comparison {
    /// Runs both [`BLOCKS`] times, by turns; each closure is told the number of the block, does its
    /// operations and returns the nanoseconds that one took.
    pub(crate) fn run(
        mut reference: impl FnMut(usize) -> f64,
        mut subject: impl FnMut(usize) -> f64,
    ) -> Comparison {
        let mut blocks = Vec::with_capacity(BLOCKS);
        for number in 0..WARM_UP + BLOCKS {
            // Who goes first changes, so that neither always finds the cache as the other left it.
            let block = if number % 2 == 0 {
                let reference = reference(number);
                Block { reference, subject: subject(number) }
            } else {
                let subject = subject(number);
                Block { reference: reference(number), subject }
            };
            if number >= WARM_UP {
                blocks.push(block);
            }
        }
        Comparison::of(&blocks)
    }

    /// The comparison of blocks already timed.
    pub(crate) fn of(blocks: &[Block]) -> Comparison {
        let limit = 2.0 * median(blocks.iter().map(|block| block.reference));
        let kept: Vec<&Block> = blocks.iter().filter(|block| block.reference <= limit).collect();
        let mut ratios: Vec<f64> =
            kept.iter().map(|block| block.subject / block.reference).collect();
        ratios.sort_by(f64::total_cmp);
        Comparison {
            value: median(kept.iter().map(|block| block.subject)),
            reference: median(kept.iter().map(|block| block.reference)),
            ratio: quantile(&ratios, 0.5),
            quartiles: (quantile(&ratios, 0.25), quantile(&ratios, 0.75)),
            blocks: kept.len(),
            dropped: blocks.len() - kept.len(),
        }
    }
}

/// Nanoseconds that each of `operations` took, for a closure that does them all.
#[inline]
pub(crate) fn time_each(operations: usize, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// The value below which that share (0 to 1) of the sorted values lies; NaN of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The middle value; NaN of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(reference: f64, subject: f64) -> Block {
        Block { reference, subject }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_blocks_ratios() {
        let found = Comparison::of(&[block(10.0, 20.0), block(10.0, 30.0), block(12.0, 12.0)]);
        assert_eq!((found.ratio, found.value, found.reference), (2.0, 20.0, 10.0));
        assert_eq!(found.quartiles, (1.5, 2.5));
        assert_eq!((found.blocks, found.dropped), (3, 0));
    }

    #[test]
    fn a_block_with_a_disturbed_reference_is_dropped_and_one_with_a_slow_subject_is_not() {
        let blocks = [block(10.0, 20.0), block(10.0, 90.0), block(21.0, 1.0), block(10.0, 20.0)];
        let found = Comparison::of(&blocks);
        assert_eq!((found.blocks, found.dropped), (3, 1));
        assert_eq!(found.ratio, 2.0);
        assert_eq!(found.value, 20.0);
    }

    #[test]
    fn both_sides_run_in_every_block_and_warm_up_is_not_counted() {
        let (mut references, mut subjects) = (0, 0);
        let found = Comparison::run(
            |_| {
                references += 1;
                1.0
            },
            |number| {
                subjects += 1;
                if number < WARM_UP { 1000.0 } else { 3.0 }
            },
        );
        assert_eq!((references, subjects), (BLOCKS + WARM_UP, BLOCKS + WARM_UP));
        assert_eq!((found.ratio, found.quartiles), (3.0, (3.0, 3.0)));
    }

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 0.5), 2.5);
        assert_eq!(quantile(&sorted, 1.0), 4.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
