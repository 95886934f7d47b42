//! I10: a value that is read is the last one written, or one that a death may have left, or zero.
//!
//! Source: `fs/ocfs2/dlm/dlmast.c: dlm_update_lvb`, `dlmrecovery.c: dlm_process_recovery_data`. o2dlm has
//! no mark for a value that is not valid: it reads as zeros, which is allowed only where something may
//! have lost it: a death, or a moment at which nobody held a lock on the resource.

use std::collections::BTreeMap;

use o2cb::NodeId;
use o2cb::o2dlm::message::{LockMode, LockName};

use crate::user::Held;
use crate::world::{Name, World};

/// What the value block of a resource may contain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    may_be: Vec<u64>,
    written: u64,
    confirmed: u64,
    /// Somebody has held a lock on the resource ever since the last value was seen, and nobody died.
    kept: bool,
    /// Nobody has died since the last value was written.
    calm: bool,
    /// The numbers of blocks that caches have written.
    blocks: BTreeMap<[u8; 64], u64>,
}

impl Register {
    /// A holder gives up EX with a new value: nobody else reads before the master has it.
    fn write(&mut self) -> u64 {
        self.written += 1;
        if self.may_be.is_empty() {
            self.may_be.push(0);
        }
        self.may_be.push(self.written);
        self.calm = true;
        self.written
    }

    /// The write of a value has completed: older ones are not there any more. (Completions may come
    /// late; values only grow.)
    pub(crate) fn stored(&mut self, value: u64) {
        self.seen(value);
        // A master that died with it counts as one that had stored it.
        self.kept = self.calm;
    }

    fn seen(&mut self, value: u64) {
        self.confirmed = self.confirmed.max(value);
        self.may_be.retain(|other| *other >= value);
        self.kept = true;
    }

    /// The value was lost: what was there does not come back.
    pub(crate) fn lost(&mut self) {
        let confirmed = self.confirmed;
        self.may_be.retain(|other| *other > confirmed);
        self.may_be.push(0);
        // (A completion that comes late says nothing about what is there now.)
        self.shaken();
    }

    /// Something has happened that may have lost it.
    pub(crate) fn shaken(&mut self) {
        self.kept = false;
        self.calm = false;
    }

    /// The value of that number is a block of a cache.
    pub(crate) fn is_block(&mut self, value: u64, block: &[u8; 64]) {
        self.blocks.insert(*block, value);
    }

    /// Which value that is, and whether it is one that nobody has written.
    fn number(&self, lvb: &[u8; 64]) -> (u64, bool) {
        let value = value_of(lvb);
        match self.blocks.get(lvb) {
            Some(number) => (*number, false),
            // A cache that had no token yet knew nothing.
            None if lvb[0] == 1 && lvb[1..] == [0; 63] => (0, false),
            None => (value, *lvb != lvb_of(value)),
        }
    }

    fn may_be(&self, value: u64) -> bool {
        self.may_be.contains(&value) || (self.may_be.is_empty() && value == 0)
    }
}

fn value_of(lvb: &[u8; 64]) -> u64 {
    u64::from_le_bytes([lvb[0], lvb[1], lvb[2], lvb[3], lvb[4], lvb[5], lvb[6], lvb[7]])
}

/// A value as users write it: the number at both ends, so that half of one is seen.
pub(crate) fn lvb_of(value: u64) -> [u8; 64] {
    let mut lvb = [0; 64];
    lvb[..8].copy_from_slice(&value.to_le_bytes());
    lvb[56..].copy_from_slice(&value.to_le_bytes());
    lvb
}

impl World {
    /// A node is taken for dead: what it was writing is lost, though it may not have stopped yet.
    pub(crate) fn missed(&mut self, node: NodeId) {
        let Some(index) = self.index_of(node) else { return };
        // What it was granted after its death is dropped only now, and with it the value.
        self.registers.values_mut().for_each(Register::shaken);
        if std::mem::replace(&mut self.nodes[index].missed, true) {
            return;
        }
        // It lives, on time that others were to give it.
        if self.lived_on_agreed_time(index) {
            self.note(|| format!("## n{node} is missed on time that it has agreed on"));
            self.coverage.count("undefended time");
            self.undefended = true;
        }
        let up = self.nodes[index].up.as_ref();
        let domains = up.iter().flat_map(|up| up.domains.iter().enumerate());
        let writes = |held: &&Held| held.asked.is_none() && held.mode == Some(LockMode::EX);
        let lost: Vec<Name> = domains
            .flat_map(|(at, domain)| {
                domain.client.locks.values().filter(writes).map(move |held| (at, held.name))
            })
            .collect();
        for name in lost {
            self.registers.entry(name).or_default().lost();
        }
    }

    /// A new value for a resource.
    pub(crate) fn new_value(&mut self, name: Name) -> u64 {
        self.coverage.count("value written");
        self.registers.entry(name).or_default().write()
    }

    /// A user was given a value.
    pub(crate) fn check_value(&mut self, index: usize, name: Name, lvb: &[u8; 64]) {
        // Whoever has to stop gets what was on its way to it: nobody relies on that.
        if self.may_be_replaced(index) {
            return;
        }
        let register = self.registers.entry(name).or_default();
        let (value, torn) = register.number(lvb);
        let right = register.may_be(value) || (value == 0 && !register.kept);
        if right && !torn {
            if register.may_be(value) {
                register.seen(value);
            } else {
                register.lost();
            }
            self.coverage.count(if value == 0 { "value read: zero" } else { "value read" });
            return;
        }
        let (me, register) = (self.nodes[index].id, register.clone());
        self.fail(
            "I10 value block",
            format!(
                "n{me} reads {value} (torn: {torn}) of {}: {lvb:?}, could be {register:?}",
                name.1
            ),
        );
    }

    /// A lock is on its way out or down: if nobody is left on the resource, its value may go too.
    pub(crate) fn check_value_kept(&mut self, domain: usize, name: LockName) {
        let mut ups = self.nodes.iter().filter_map(|node| node.up.as_ref());
        let held = ups.any(|up| {
            let mut locks = up.domains[domain].client.locks.on(name);
            locks.any(|(_, held)| held.mode.is_some() && held.relies_on() > LockMode::NL)
        });
        if !held && let Some(register) = self.registers.get_mut(&(domain, name)) {
            register.kept = false;
        }
    }
}
