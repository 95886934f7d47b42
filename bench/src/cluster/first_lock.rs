//! Row P14: the first lock on a name that no node knows.

use std::error::Error;

use o2cb::o2dlm::message::LockMode;

use super::engines::{Engines, LINK, lock_name};
use crate::row::Row;

/// P14: from the request to the grant, in round trips of virtual time: one to ask every node at once
/// whether it is the master, one to tell every node who is.
pub(crate) fn row(nodes: usize) -> Result<Row, Box<dyn Error>> {
    let trips = round_trips(nodes)?;
    let case = format!("{nodes} nodes, a new name");
    let numbers = (trips, ROUND_TRIPS, "trips");
    Ok(Row::of_numbers("P14", case, numbers, 1.0, "engines in virtual time"))
}

fn round_trips(nodes: usize) -> Result<f64, Box<dyn Error>> {
    let mut engines = Engines::joined(nodes)?;
    let start = engines.now();
    engines.lock_and_wait(0, lock_name(0), LockMode::EX)?;
    Ok((engines.now() - start).as_secs_f64() / (2 * LINK).as_secs_f64())
}

const ROUND_TRIPS: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_nodes_does_not_matter() {
        for nodes in [2, 5, 32] {
            assert_eq!(round_trips(nodes).expect("granted"), ROUND_TRIPS);
        }
    }
}
