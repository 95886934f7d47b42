//! The engine and the oracle side by side: every call goes to both, and everything that can be seen is
//! compared after it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use stackglue_dlm::LockFlags;

use crate::ledger::Ledger;
use crate::oracle::Oracle;
use crate::world::{OWNERS, Op, World};

#[derive(Default)]
pub(crate) struct Lockstep {
    world: World,
    oracle: Oracle,
    ledger: Ledger,
    /// The next value an owner writes: every write is another.
    stamp: u8,
}

/// Runs a world from its beginning.
///
/// # Panics
///
/// With the whole history, when the engine and the oracle differ or an invariant does not hold.
pub(crate) fn run(history: &[Op]) {
    let mut lockstep = Lockstep::default();
    for (index, &op) in history.iter().enumerate() {
        let step = catch_unwind(AssertUnwindSafe(|| lockstep.step(op)));
        if let Err(panic) = step {
            eprintln!("call {} of this history:", index + 1);
            history[..=index].iter().for_each(|op| eprintln!("    {op:?}"));
            eprintln!("locks of the engine:");
            lockstep.world.states().for_each(|state| eprintln!("    {state:?}"));
            eprintln!("locks of the oracle:");
            lockstep.oracle.states().for_each(|state| eprintln!("    {state:?}"));
            resume_unwind(panic);
        }
    }
}

impl Lockstep {
    fn step(&mut self, op: Op) {
        self.refill_buffer(op);
        let (outcome, expected) = (self.world.apply(op), self.oracle.apply(op));
        assert_eq!(outcome, expected, "the check of the call's arguments");
        assert_eq!(self.world.events(), self.oracle.events(), "what the owners are told");
        assert!(self.world.states().eq(self.oracle.states()), "the queues differ");
        assert_eq!(self.world.value(), self.oracle.value(), "the value block");
        for owner in 0..OWNERS {
            assert_eq!(self.world.buffer(owner), self.oracle.buffer(owner), "buffer of {owner}");
        }
        if outcome.is_ok() {
            self.ledger.check(op, &self.world);
        }
    }

    /// A lock call with `VALBLK` needs a buffer; an unlock call writes one only if it is there.
    fn refill_buffer(&mut self, op: Op) {
        let owner = op.owner();
        let is_unlock = matches!(op, Op::Unlock(..));
        if !op.flags().contains(LockFlags::VALBLK)
            || (is_unlock && self.world.buffer(owner).is_none())
        {
            return;
        }
        self.stamp = self.stamp.wrapping_add(1);
        self.world.set_buffer(owner, Some(self.stamp));
        self.oracle.set_buffer(owner, Some(self.stamp));
    }
}
