//! The rows of `cargo xtask bench o2cb`: several nodes, by real sockets or in virtual time.
//!
//! Every thread of a row, of the subject and of the reference, runs on one processor: two would
//! measure how a virtual machine wakes its processors. Nodes and references use TCP over loopback
//! without Nagle's delay, and a node's side of either is a thread that waits by epoll.

mod call;
mod caller;
mod engines;
mod fairness;
mod first_lock;
mod frames;
mod hand_off;
mod memory;
mod nodes;
mod pipeline;
mod raw;
mod recovery;

use std::error::Error;

pub(crate) use memory::print as print_memory;
pub(crate) use nodes::Nodes;

use crate::placement::pin;
use crate::row::Row;

/// Measures the wanted rows, all if none is named, and prints each as soon as it is there.
pub(crate) fn rows(
    cpu: usize,
    wanted: &[String],
    print: &mut dyn FnMut(Row),
) -> Result<(), Box<dyn Error>> {
    let wants = |row: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == row);
    let placement = format!("{}, all threads", pin(cpu));
    if ["P7", "P8", "P9", "P10", "P12", "P13"].into_iter().any(wants) {
        let nodes = Nodes::start(3)?;
        real_rows(&nodes, &placement, Effort::FULL, &wants, print)?;
    }
    if wants("P14") {
        for nodes in [2, 4, 8, 16, 32] {
            print(first_lock::row(nodes)?);
        }
    }
    if wants("P15") {
        print(fairness::row(4, 100_000)?);
    }
    if wants("P17") {
        print(memory::row(250_000)?);
    }
    if wants("P18") {
        print(recovery::row(100_000, &placement)?);
    }
    Ok(())
}

/// The rows that nodes with sockets and threads give.
fn real_rows(
    nodes: &Nodes,
    placement: &str,
    effort: Effort,
    wants: &dyn Fn(&str) -> bool,
    print: &mut dyn FnMut(Row),
) -> Result<(), Box<dyn Error>> {
    if wants("P7") || wants("P8") {
        call::rows(nodes, placement, effort.calls, print)?;
    }
    if wants("P9") || wants("P10") {
        hand_off::rows(nodes, placement, effort.hand_offs, print)?;
    }
    if wants("P12") || wants("P13") {
        pipeline::rows(nodes, placement, effort.pairs, print)?;
    }
    Ok(())
}

/// How many operations a block has.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Single calls, each waited for.
    calls: usize,
    /// Hand-offs of one lock.
    hand_offs: usize,
    /// Pipelined pairs of lock and unlock.
    pairs: usize,
}

impl Effort {
    /// Blocks of some 10 ms.
    const FULL: Effort = Effort { calls: 300, hand_offs: 500, pairs: 2_000 };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::processors;

    #[test]
    fn real_nodes_give_every_row_a_number() {
        let nodes = Nodes::start(3).expect("three nodes");
        let mut rows = Vec::new();
        let effort = Effort { calls: 3, hand_offs: 5, pairs: 100 };
        let placement = format!("cpus {:?}", processors());
        real_rows(&nodes, &placement, effort, &|_| true, &mut |row| rows.push(row))
            .expect("measured");
        let found: Vec<&str> = rows.iter().map(|row| row.row).collect();
        assert_eq!(found, ["P7", "P8", "P8", "P8", "P8", "P9", "P10", "P12", "P13"]);
        for row in rows {
            assert!(row.value > 0.0 && row.reference > 0.0 && row.ratio > 0.0, "{row:?}");
        }
    }
}
