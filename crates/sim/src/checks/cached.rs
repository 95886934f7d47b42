//! I1, I10, I11, for the users of cached locks: who has a lock excludes all others, on whatever node; it has
//! the value that was written last, or none; and its fencing token is above all before it.
//!
//! Source: `crates/dlmglue`, "What holds" and "Fencing tokens".

use dlmglue::Level;

use crate::cached::Has;
use crate::world::{Name, World};

/// What is known of a name.
#[derive(Debug, Default)]
pub(crate) struct CachedName {
    /// The highest token of an exclusive grant, and the life of the node that had it.
    token: (u64, usize, u64),
    /// The value that was written last; 0 if none was, or it was lost.
    value: u64,
}

impl World {
    /// A user writes.
    pub(crate) fn cached_written(&mut self, name: Name, value: u64) {
        self.cached_names.entry(name).or_default().value = value;
    }

    /// A user got a cached lock.
    pub(crate) fn check_cached(&mut self, index: usize, name: Name, has: Has) {
        if self.may_be_replaced(index) {
            return;
        }
        let me = self.nodes[index].id;
        let excludes = |level: &Level| has.level == Level::EX || *level == Level::EX;
        for other in 0..self.nodes.len() {
            let mut levels = self.cached_levels(other, name.1);
            if other == index {
                let own = levels.iter().position(|level| *level == has.level);
                levels.swap_remove(own.expect("its own"));
            }
            if !self.may_be_replaced(other) && levels.iter().any(excludes) {
                let node = self.nodes[other].id;
                let what =
                    format!("{} is n{me}'s with {has:?} and n{node}'s with {levels:?}", name.1);
                return self.fail("I1 exclusion", what);
            }
        }
        let life = self.nodes[index].life;
        let known = self.cached_names.entry(name).or_default();
        if has.value != known.value && has.value != 0 {
            let what = format!("n{me} has {has:?} of {}, last written {}", name.1, known.value);
            return self.fail("I10 value block", what);
        }
        known.value = has.value;
        if has.level != Level::EX {
            return;
        }
        let (last, node, then) = known.token;
        // The users of one cached grant have one token.
        let same = has.token == last && (node, then) == (index, life);
        if has.token <= last && !same {
            let node = self.nodes[node].id;
            let what = format!("n{me} has token {:#x} of {}, n{node} {last:#x}", has.token, name.1);
            return self.fail("I11 tokens", what);
        }
        known.token = (has.token, index, life);
    }
}
