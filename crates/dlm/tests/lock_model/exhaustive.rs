//! Small worlds, all of them: the engine and the oracle in lockstep through every history of a kind.
//!
//! Each test prints how many worlds it ran (`--nocapture` shows it) and asserts the number, so that a
//! world that is left out by mistake is noticed.

use stackglue_dlm::{LockFlags as F, Mode};

use crate::lockstep;
use crate::world::{A, B, C, D, NONE, Op, Owner};

/// Worlds run so far.
#[derive(Default)]
struct Worlds(usize);

impl Worlds {
    /// Runs one, given as its parts in order.
    fn run(&mut self, parts: &[&[Op]]) {
        lockstep::run(&parts.concat());
        self.0 += 1;
    }

    fn count(&self, kind: &str) -> usize {
        println!("{kind}: {} worlds", self.0);
        self.0
    }
}

/// Every order of the first `count` owners.
fn orders(count: usize) -> Vec<Vec<Owner>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let mut longer = Vec::new();
    for order in orders(last) {
        for place in 0..=last {
            let mut with_last = order.clone();
            with_last.insert(place, last);
            longer.push(with_last);
        }
    }
    longer
}

fn unlocks(order: &[Owner]) -> Vec<Op> {
    order.iter().map(|&owner| Op::Unlock(owner, NONE)).collect()
}

/// What every choice of `each` for `count` places comes to, in place order.
fn choices<T: Copy>(each: &[T], count: usize) -> Vec<Vec<T>> {
    let Some(fewer) = count.checked_sub(1) else { return vec![Vec::new()] };
    let with = |choice: &Vec<T>, item: T| [choice.as_slice(), &[item]].concat();
    choices(each, fewer)
        .iter()
        .flat_map(|choice| each.iter().map(move |&item| with(choice, item)))
        .collect()
}

/// Each mode with each of the flags that order requests, and expedited NL.
fn requests() -> Vec<(Mode, F)> {
    let flags = [NONE, F::NOQUEUE, F::NOORDER, F::HEADQUE];
    let mut requests: Vec<(Mode, F)> =
        Mode::ALL.iter().flat_map(|&mode| flags.map(|flag| (mode, flag))).collect();
    requests.push((Mode::NL, F::EXPEDITE));
    requests
}

/// One more call on one of these owners' locks: every conversion, unlock and cancel.
fn single_calls(owners: &[Owner]) -> Vec<Op> {
    let mut calls = Vec::new();
    for &owner in owners {
        calls.extend(Mode::ALL.map(|mode| Op::Convert(owner, mode, NONE)));
        calls.extend([Op::Unlock(owner, NONE), Op::Cancel(owner)]);
    }
    calls
}

#[test]
fn every_sequence_of_three_requests() {
    let mut worlds = Worlds::default();
    for chosen in choices(&requests(), 3) {
        let history: Vec<Op> = (A..).zip(chosen).map(|(o, (m, f))| Op::Request(o, m, f)).collect();
        for order in [[A, B, C], [C, A, B]] {
            worlds.run(&[&history, &unlocks(&order)]);
        }
    }
    assert_eq!(worlds.count("three requests, two orders of unlock"), 2 * 25usize.pow(3));
}

#[test]
fn every_call_after_every_sequence_of_three_requests() {
    let mut worlds = Worlds::default();
    for first in Mode::ALL {
        for chosen in choices(&requests(), 2) {
            let behind = (B..).zip(chosen).map(|(o, (m, f))| Op::Request(o, m, f));
            let history: Vec<Op> =
                [Op::Request(A, first, NONE)].into_iter().chain(behind).collect();
            for call in single_calls(&[A, B, C]) {
                for order in [[A, B, C], [B, A, C]] {
                    worlds.run(&[&history, &[call], &unlocks(&order)]);
                }
            }
        }
    }
    assert_eq!(worlds.count("three requests, one more call"), 6 * 25 * 25 * 24 * 2);
}

#[test]
fn every_queue_order_of_four_locks_and_every_order_of_unlock() {
    let mut worlds = Worlds::default();
    for modes in choices(&Mode::ALL, 4) {
        let history: Vec<Op> = (A..).zip(modes).map(|(o, m)| Op::Request(o, m, NONE)).collect();
        for order in orders(4) {
            worlds.run(&[&history, &unlocks(&order)]);
        }
    }
    assert_eq!(worlds.count("four requests, every order of unlock"), 6usize.pow(4) * 24);
}

#[test]
fn every_conversion_beside_every_queue_order_of_four_locks() {
    let mut worlds = Worlds::default();
    for modes in choices(&Mode::ALL, 4) {
        let history: Vec<Op> = (A..).zip(modes).map(|(o, m)| Op::Request(o, m, NONE)).collect();
        for owner in [A, B, C, D] {
            for to in Mode::ALL {
                for order in [[C, B, A, D], [B, D, A, C]] {
                    worlds.run(&[&history, &[Op::Convert(owner, to, NONE)], &unlocks(&order)]);
                }
            }
        }
    }
    assert_eq!(worlds.count("four requests, one conversion"), 6usize.pow(4) * 4 * 6 * 2);
}

const CONVERSION_FLAGS: [F; 10] = [
    NONE,
    F::QUECVT,
    F::CONVDEADLK,
    F::NODLCKWT,
    F::NOQUEUE,
    F::NOQUEUE.union(F::NOQUEUEBAST),
    F::ALTPR,
    F::ALTCW,
    F::NOORDER,
    F::HEADQUE,
];

#[test]
fn every_conversion_of_four_null_locks() {
    let nulls = [A, B, C, D].map(|owner| Op::Request(owner, Mode::NL, NONE));
    let mut worlds = Worlds::default();
    for modes in choices(&Mode::ALL, 4) {
        for flag in CONVERSION_FLAGS {
            let conversions: Vec<Op> =
                (A..).zip(&modes).map(|(owner, &mode)| Op::Convert(owner, mode, flag)).collect();
            let some = vec![vec![A, B, C, D], vec![D, A, C, B]];
            for order in if flag.is_empty() { orders(4) } else { some } {
                worlds.run(&[&nulls, &conversions, &unlocks(&order)]);
            }
        }
    }
    assert_eq!(worlds.count("four conversions from NL"), 6usize.pow(4) * (24 + 9 * 2));
}

/// The conversions in which deadlocks live: the locks hold something already.
#[test]
fn every_conversion_of_three_held_locks() {
    let mut worlds = Worlds::default();
    for held in choices(&Mode::ALL, 3).iter().filter(|modes| compatible(modes)) {
        let requests: Vec<Op> =
            (A..).zip(held).map(|(owner, &mode)| Op::Request(owner, mode, NONE)).collect();
        for wanted in choices(&Mode::ALL, 3) {
            for flag in CONVERSION_FLAGS {
                for special in [A, B, C] {
                    let flag_of = |owner| if owner == special { flag } else { F::NODLCKWT };
                    let conversions: Vec<Op> = (A..)
                        .zip(&wanted)
                        .map(|(owner, &mode)| Op::Convert(owner, mode, flag_of(owner)))
                        .collect();
                    worlds.run(&[&requests, &conversions, &unlocks(&[A, B, C])]);
                }
            }
        }
    }
    let triples_held_together = 61;
    assert_eq!(
        worlds.count("three conversions of held locks"),
        triples_held_together * 6usize.pow(3) * 10 * 3
    );
}

#[test]
fn every_pair_of_conversions_with_every_pair_of_flags() {
    let mut worlds = Worlds::default();
    for held in choices(&Mode::ALL, 2).iter().filter(|modes| compatible(modes)) {
        for wanted in choices(&Mode::ALL, 2) {
            for flags in choices(&CONVERSION_FLAGS, 2) {
                for (first, second) in [(A, B), (B, A)] {
                    let history = [
                        Op::Request(A, held[A], NONE),
                        Op::Request(B, held[B], NONE),
                        Op::Request(C, Mode::NL, NONE),
                        Op::Convert(A, wanted[A], flags[A]),
                        Op::Convert(B, wanted[B], flags[B]),
                        Op::Unlock(C, NONE),
                        Op::Cancel(first),
                        Op::Unlock(second, NONE),
                        Op::Unlock(first, NONE),
                    ];
                    worlds.run(&[&history]);
                }
            }
        }
    }
    let pairs_held_together = 20;
    assert_eq!(
        worlds.count("two conversions, each with each flag"),
        pairs_held_together * 36 * 10 * 10 * 2
    );
}

fn compatible(modes: &[Mode]) -> bool {
    let beside = |index: usize| modes[index + 1..].iter();
    (0..modes.len()).all(|i| beside(i).all(|mode| mode.is_compatible_with(modes[i])))
}

/// Two calls on the lock of B, whatever state it is in, beside a holder A and another lock C.
#[test]
fn every_overlap_of_cancel_unlock_and_convert_on_one_lock() {
    let conversion =
        |owner, mode: Option<Mode>| mode.map(|mode| Op::Convert(owner, mode, F::NODLCKWT));
    let any_mode: Vec<Option<Mode>> = [None].into_iter().chain(Mode::ALL.map(Some)).collect();
    let mut worlds = Worlds::default();
    for holder in [Mode::NL, Mode::CR, Mode::PR, Mode::EX] {
        for (b, &b_to) in Mode::ALL.iter().flat_map(|b| any_mode.iter().map(move |to| (*b, to))) {
            for c in Mode::ALL {
                for c_to in [None, Some(Mode::CW), Some(Mode::EX)] {
                    let mut history = vec![
                        Op::Request(A, holder, NONE),
                        Op::Request(B, b, NONE),
                        Op::Request(C, c, NONE),
                    ];
                    history.extend(conversion(B, b_to));
                    history.extend(conversion(C, c_to));
                    for calls in choices(&single_calls(&[B]), 2) {
                        worlds.run(&[&history, &calls, &unlocks(&[A, C, B])]);
                    }
                }
            }
        }
    }
    assert_eq!(worlds.count("two calls on one lock"), 4 * 6 * 7 * 6 * 3 * 64);
}

/// The value block through every conversion: never written, written, lost, or lost unwritten.
#[test]
fn every_conversion_with_every_use_of_the_value_block() {
    let uses = [NONE, F::VALBLK, F::IVVALBLK, F::VALBLK | F::IVVALBLK];
    let before: [&[Op]; 4] = [
        &[],
        &[Op::Request(A, Mode::EX, F::VALBLK), Op::Unlock(A, NONE)],
        &[
            Op::Request(A, Mode::EX, F::VALBLK),
            Op::Convert(A, Mode::NL, F::VALBLK),
            Op::Convert(A, Mode::EX, F::VALBLK),
            Op::Unlock(A, F::IVVALBLK),
        ],
        &[Op::Request(A, Mode::EX, NONE), Op::Unlock(A, F::IVVALBLK)],
    ];
    let mut worlds = Worlds::default();
    for setup in before {
        for modes in choices(&Mode::ALL, 2) {
            for flags in choices(&uses, 3) {
                let history = [
                    Op::Request(B, modes[0], flags[0]),
                    Op::Convert(B, modes[1], flags[1]),
                    Op::Unlock(B, flags[2]),
                    Op::Request(C, Mode::PR, F::VALBLK),
                ];
                let null = Op::Request(D, Mode::NL, NONE);
                worlds.run(&[&[null], setup, &history, &unlocks(&[C, D])]);
            }
        }
    }
    assert_eq!(worlds.count("uses of the value block"), 4 * 36 * 64);
}
