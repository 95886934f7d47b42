//! Rows P4 and P5: a resource mastered here, its completion delivered before the call returns.

use std::error::Error;

use dlm::Mode;
use stackglue::Lksb;

use crate::method::{Comparison, time_each};
use crate::names::{Name, names, order, part};
use crate::placement::pin;
use crate::reference::Bare;
use crate::row::Row;
use crate::subject::{Subject, inline};

/// Resources of a number of names, each kept in existence by a null lock, and a bare table of the
/// same names.
pub(crate) struct Table {
    names: Vec<Name>,
    held: Vec<Lksb>,
    subject: Subject,
    bare: Bare,
    order: Vec<u32>,
    placement: String,
}

impl Table {
    /// Pins this thread and takes the null locks.
    pub(crate) fn fill(count: usize, cpu: usize) -> Result<Table, Box<dyn Error>> {
        let placement = pin(cpu);
        let names = names(count);
        let subject = Subject::connect()?;
        let held: Vec<Lksb> = inline(count, || {
            let null = |name| {
                let lksb = Lksb::new(());
                subject.lock(Mode::NL, &lksb, name);
                lksb
            };
            names.iter().map(null).collect()
        });
        let bare = Bare::fill(&names);
        Ok(Table { names, held, subject, bare, order: order(ORDER, count), placement })
    }

    /// P4: a new exclusive lock on a random name, and its unlock.
    pub(crate) fn lock_and_unlock(&self, case: &str) -> Row {
        let lksb = Lksb::new(());
        self.row("P4", case, 3.0, |place| {
            self.subject.lock(Mode::EX, &lksb, &self.names[place]);
            self.subject.unlock(&lksb);
        })
    }

    /// P5: a random null lock, converted to exclusive and back.
    pub(crate) fn convert_up_and_down(&self, case: &str) -> Row {
        self.row("P5", case, 2.0, |place| {
            let (lksb, name) = (&self.held[place], &self.names[place]);
            self.subject.convert(Mode::EX, lksb, name);
            self.subject.convert(Mode::NL, lksb, name);
        })
    }

    /// Compares pairs of operations with visits of the bare table, in the same order.
    fn row(&self, row: &'static str, case: &str, target: f64, pair: impl Fn(usize)) -> Row {
        let found = Comparison::run(
            |block| {
                let places = part(&self.order, block, PAIRS);
                time_each(PAIRS, || self.bare.visit(places))
            },
            |block| {
                let places = part(&self.order, block, PAIRS);
                inline(2 * PAIRS, || {
                    time_each(PAIRS, || places.iter().for_each(|&place| pair(place as usize)))
                })
            },
        );
        Row::of_times(row, case, &found, target, &*self.placement)
    }
}

/// Pairs of operations in a block: some 10 ms.
const PAIRS: usize = 20_000;

/// Enough for every block to visit other places.
const ORDER: usize = 50 * PAIRS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::processors;

    #[test]
    fn both_rows_compare_completed_pairs_and_leave_the_null_locks() {
        let table = Table::fill(100, processors()[0]).expect("a group of this host");
        for row in [table.lock_and_unlock("100 names"), table.convert_up_and_down("100 names")] {
            assert!(row.ratio > 0.0 && row.value > 0.0 && row.reference > 0.0, "{row:?}");
            assert!(row.blocks > row.dropped, "{row:?}");
        }
        assert!(table.held.iter().all(|lksb| lksb.mode() == Some(Mode::NL)));
    }
}
