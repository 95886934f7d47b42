//! Judges a history.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::{Access, Grant, Life, Operation, Outcome, Value, Violation};

pub(super) fn violations(lives: &[Life]) -> Vec<Violation> {
    let mut found: Vec<_> = lives.iter().flat_map(of_life).collect();
    let mut names: BTreeMap<&str, Vec<Hold<'_>>> = BTreeMap::new();
    for life in lives {
        for (id, operation) in &life.operations {
            if let Some(hold) = Hold::of(life, id, operation) {
                names.entry(&operation.name).or_default().push(hold);
            }
        }
    }
    let shadows = shadows(lives);
    for holds in names.values_mut() {
        holds.sort_by_key(|hold| hold.grant.at);
        found.extend(together(holds));
        found.extend(values(holds, &shadows));
    }
    found
}

/// What can be said of a life by itself.
fn of_life(life: &Life) -> Vec<Violation> {
    match life.death {
        Some(death) if life.last > death.by + CLOCKS_DIFFER => {
            vec![Violation::Ghost { life: format!("node {} at {:?}", life.node, life.last) }]
        }
        Some(_) => Vec::new(),
        None => {
            let is_open = |operation: &Operation| match &operation.outcome {
                None => true,
                Some(Outcome::Refused) => false,
                Some(Outcome::Granted(grant)) => !grant.is_over,
            };
            let open = life.operations.iter().filter(|(_, operation)| is_open(operation));
            let open = open.map(|(id, operation)| Violation::Unanswered {
                operation: format!(
                    "node {}'s {id} ({:?} {} at {:?})",
                    life.node, operation.access, operation.name, operation.asked
                ),
            });
            open.collect()
        }
    }
}

/// A lock while it was surely held.
struct Hold<'a> {
    life: &'a Life,
    id: &'a str,
    access: Access,
    grant: &'a Grant,
    until: Duration,
}

impl<'a> Hold<'a> {
    fn of(life: &'a Life, id: &'a str, operation: &'a Operation) -> Option<Hold<'a>> {
        let Some(Outcome::Granted(grant)) = &operation.outcome else { return None };
        let killed = life.death.map(|death| death.from);
        let until = grant.putting.or(killed).unwrap_or(Duration::MAX);
        let until = killed.map_or(until, |killed| until.min(killed));
        Some(Hold { life, id, access: operation.access, grant, until })
    }

    /// What the value block may be when it is over, if this wrote to it.
    fn writes(&self) -> Option<HashSet<Value>> {
        let written = Some(self.id.to_owned());
        match (self.access, self.grant.putting, self.grant.is_over) {
            (Access::Read, ..) => None,
            (Access::Write, Some(_), true) => Some([written].into()),
            // It died letting go: its value came through, or it died with EX.
            (Access::Write, Some(_), false) => Some([written, None].into()),
            (Access::Write, None, _) => Some([None].into()),
        }
    }
}

impl fmt::Display for Hold<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, id, grant) = (self.life.node, self.id, self.grant);
        let value = grant.value.as_deref().unwrap_or("zeros");
        write!(f, "node {node}'s {id} ({:?} from {:?}", self.access, grant.at)?;
        match self.until {
            Duration::MAX => write!(f, " on, read {value})"),
            until => write!(f, " to {until:?}, read {value})"),
        }
    }
}

/// Pairs of holds that exclude each other and were there at the same time.
fn together(holds: &[Hold<'_>]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut still: Vec<&Hold<'_>> = Vec::new();
    for second in holds {
        still.retain(|first| first.until > second.grant.at + CLOCKS_DIFFER);
        let is_over = second.until <= second.grant.at + CLOCKS_DIFFER;
        let excluded = still.iter().filter(|first| {
            !is_over && (first.access == Access::Write || second.access == Access::Write)
        });
        found.extend(excluded.map(|first| Violation::Together {
            first: first.to_string(),
            second: second.to_string(),
        }));
        still.push(second);
    }
    found
}

/// Reads that saw what they cannot have seen.
fn values(holds: &[Hold<'_>], shadows: &[Shadow]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut shadows = shadows.to_vec();
    let mut possible: HashSet<Value> = [None].into();
    let mut before = Duration::ZERO;
    for hold in holds {
        let seen = &hold.grant.value;
        if !possible.contains(seen) {
            let lost = shadows
                .iter()
                .position(|shadow| shadow.from <= hold.grant.at && shadow.until >= before);
            match (seen, lost) {
                (None, Some(lost)) => drop(shadows.remove(lost)),
                _ => found.push(Violation::Value {
                    reader: hold.to_string(),
                    possible: format!("{possible:?}"),
                }),
            }
        }
        possible = hold.writes().unwrap_or_else(|| [seen.clone()].into());
        before = hold.grant.at;
    }
    found
}

/// The time in which a death may take the value of a name: from the kill until everybody has recovered.
#[derive(Clone, Copy)]
struct Shadow {
    from: Duration,
    until: Duration,
}

/// All of them, those first that are over first: they are used up first.
fn shadows(lives: &[Life]) -> Vec<Shadow> {
    let deaths = lives.iter().enumerate().filter_map(|(index, life)| {
        let next = lives[index + 1..].iter().find(|next| next.node == life.node);
        let until = next.map_or(Duration::MAX, |next| next.joined);
        life.death.map(|death| Shadow { from: death.from, until })
    });
    let mut shadows: Vec<_> = deaths.collect();
    shadows.sort_by_key(|shadow| shadow.until);
    shadows
}

/// Two logs of one machine do not differ by more. Holds that meet for less are not seen to.
const CLOCKS_DIFFER: Duration = Duration::from_micros(200);
