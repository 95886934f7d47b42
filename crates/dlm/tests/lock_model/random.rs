//! Long histories with every legal flag: the engine and the oracle in lockstep.

use proptest::prelude::*;
use stackglue_dlm::{LockFlags as F, Mode};

use crate::lockstep;
use crate::world::{NONE, OWNERS, Op};

/// Flags that change what happens on one master, each often enough to meet the others.
const FLAGS: [F; 13] = [
    F::NOQUEUE,
    F::NOQUEUEBAST,
    F::VALBLK,
    F::IVVALBLK,
    F::NODLCKWT,
    F::HEADQUE,
    F::NOORDER,
    F::ALTPR,
    F::ALTCW,
    F::QUECVT,
    F::CONVDEADLK,
    F::PERSISTENT,
    F::EXPEDITE,
];

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(Mode::ALL.to_vec())
}

/// Up to three flags. Combinations that are refused stay in: both sides must refuse them.
fn flags() -> impl Strategy<Value = F> {
    prop::collection::vec(prop::sample::select(FLAGS.to_vec()), 0..=3)
        .prop_map(|flags| flags.into_iter().fold(NONE, F::union))
}

fn unlock_flags() -> impl Strategy<Value = F> {
    prop::sample::select(vec![
        NONE,
        F::VALBLK,
        F::IVVALBLK,
        F::VALBLK | F::IVVALBLK,
        F::FORCEUNLOCK,
    ])
}

fn op() -> impl Strategy<Value = Op> {
    let owner = || 0..OWNERS;
    prop_oneof![
        4 => (owner(), mode(), flags()).prop_map(|(owner, mode, flags)| Op::Request(owner, mode, flags)),
        6 => (owner(), mode(), flags()).prop_map(|(owner, mode, flags)| Op::Convert(owner, mode, flags)),
        1 => (owner(), unlock_flags()).prop_map(|(owner, flags)| Op::Unlock(owner, flags)),
        1 => owner().prop_map(Op::Cancel),
    ]
}

proptest! {
    // Histories are replayed by pasting what is printed: no file is kept for them.
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn eight_locks_live_through_sixty_calls(
        mut history in prop::collection::vec(op(), 1..=60),
    ) {
        history.extend((0..OWNERS).map(|owner| Op::Unlock(owner, NONE)));
        lockstep::run(&history);
    }
}
