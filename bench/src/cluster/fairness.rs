//! Row P15: how evenly nodes that all want one lock get it.

use std::error::Error;
use std::time::Duration;

use o2cb::Now;
use o2cb::o2dlm::message::{LkmFlags, LockMode};
use o2cb::o2dlm::{Event, LockKey};

use super::engines::{Engines, LINK, lock_name};
use crate::row::Row;

/// P15: engines in virtual time, one of which is the master. Each holds the lock until every other one
/// waits for it, gives it up, and asks for it again: whoever is nearer to the master asks sooner, but
/// not before one who waits already.
pub(crate) fn row(nodes: usize, hand_offs: u64) -> Result<Row, Box<dyn Error>> {
    let acquisitions = contend(nodes, hand_offs)?;
    let most = acquisitions.iter().max().copied().unwrap_or(0) as f64;
    let least = acquisitions.iter().min().copied().unwrap_or(0) as f64;
    let case = format!("{nodes} nodes, {}k hand-offs", hand_offs / 1_000);
    let placement = "engines in virtual time";
    Ok(Row::of_numbers("P15", case, (most, least, "grants"), UNEVEN_MAX, placement))
}

fn contend(nodes: usize, hand_offs: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut engines = Engines::joined(nodes)?;
    let name = lock_name(0);
    let mut locks: Vec<LockKey> = Vec::new();
    for node in 0..nodes {
        locks.push(engines.lock_and_wait(node, name, LockMode::NL)?);
    }
    let convert = |engines: &mut Engines, node: usize, mode| {
        let lock = locks[node];
        engines
            .act(node, |domain, now| domain.convert(now, lock, mode, LkmFlags::empty(), &[0; 64]))
    };
    for node in 0..nodes {
        convert(&mut engines, node, LockMode::EX).map_err(|status| format!("{status:?}"))?;
    }
    let mut acquisitions = vec![0; nodes];
    // Who holds it, and until when.
    let mut holder: Option<(Now, usize)> = None;
    while acquisitions.iter().sum::<u64>() < hand_offs {
        let event = match holder {
            Some((until, _)) => engines.next_event_until(until),
            None => Some(engines.next_event().ok_or("nobody gets the lock any more")?),
        };
        let (node, wanted) = match (event, holder) {
            (Some((node, Event::Granted { mode: LockMode::EX, .. })), None) => {
                acquisitions[node] += 1;
                holder = Some((engines.now() + HELD, node));
                continue;
            }
            (Some((node, Event::Granted { mode: LockMode::NL, .. })), _) => (node, LockMode::EX),
            (Some((_, Event::Blocked { .. })), _) => continue,
            (None, Some((_, node))) => {
                holder = None;
                (node, LockMode::NL)
            }
            (event, holder) => return Err(format!("{event:?}, held by {holder:?}").into()),
        };
        convert(&mut engines, node, wanted).map_err(|status| format!("{status:?}"))?;
    }
    Ok(acquisitions)
}

/// Longer than it takes to hear that a lock was given up, and to ask for it again.
const HELD: Duration = LINK.saturating_mul(5);

const UNEVEN_MAX: f64 = 1.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_the_lock_and_the_row_says_how_evenly() {
        let row = row(3, 300).expect("they go on");
        assert!(row.reference > 90.0 && row.value < 110.0, "{row:?}");
    }
}
