//! Behaviours 39-58: conversions and their queue.

use stackglue_dlm::Mode::{self, CR, CW, EX, NL, PR, PW};
use stackglue_dlm::{Errno, LockFlags as F, Queue};

use crate::world::{A, B, C, D, NONE, Op, World, blocking, granted, queued, refused, unlocked};

/// 39
#[test]
fn a_lone_lock_converts_up_at_once() {
    assert_eq!(World::holding(&[(A, NL)]).convert(A, EX, NONE), [granted(A, EX)]);
}

/// 40, 41
#[test]
fn a_conversion_waits_with_its_old_mode_until_the_other_holder_goes() {
    let mut world = World::holding(&[(A, PR), (B, PR)]);
    assert_eq!(world.convert(A, EX, NONE), [queued(A), blocking(B, EX)]);
    assert_eq!((world.mode(A), world.queue(A)), (Some(PR), Some(Queue::Converting)));
    assert_eq!(world.unlock(B), [unlocked(B), granted(A, EX)]);
}

/// 42
#[test]
fn a_conversion_goes_ahead_of_waiting_requests() {
    let mut world = World::holding(&[(A, PR)]).waiting(B, EX);
    assert_eq!(world.convert(A, EX, NONE), [granted(A, EX), blocking(A, EX)]);
    assert_eq!(world.line(Queue::Waiting), [B]);
}

/// 43, 44
#[test]
fn a_waiter_is_granted_after_a_conversion_down() {
    for to in [PR, NL] {
        let mut world = World::holding(&[(A, EX)]).waiting(B, PR);
        assert_eq!(world.convert(A, to, NONE), [granted(A, to), granted(B, PR)]);
    }
}

/// 45
#[test]
fn a_conversion_to_the_mode_held_is_granted() {
    for mode in Mode::ALL {
        let mut world = World::holding(&[(A, mode)]);
        assert_eq!(world.convert(A, mode, NONE), [granted(A, mode)]);
        assert_eq!(world.mode(A), Some(mode));
    }
}

/// Behaviour 43 for every pair of modes: whoever gives up what excluded a waiter lets it in.
#[test]
fn every_conversion_of_a_lone_holder_is_granted_and_serves_the_waiter() {
    for (from, to) in Mode::ALL.into_iter().flat_map(|m| Mode::ALL.map(|to| (m, to))) {
        for wanted in Mode::ALL.into_iter().filter(|mode| !mode.is_compatible_with(from)) {
            let mut world = World::holding(&[(A, from)]).waiting(B, wanted);
            let events = world.convert(A, to, NONE);
            assert_eq!(events[0], granted(A, to));
            let fits = to.is_compatible_with(wanted);
            assert_eq!(
                events[1..],
                [if fits { granted(B, wanted) } else { blocking(A, wanted) }],
                "{from} to {to} while {wanted} waits"
            );
        }
    }
}

fn ex_converting_while_cr_is_held() -> World {
    World::holding(&[(A, NL), (B, CR), (C, CR)]).converting(B, EX)
}

/// 46
#[test]
fn quecvt_waits_behind_queued_conversions() {
    let mut world = ex_converting_while_cr_is_held();
    assert_eq!(world.convert(A, PR, F::QUECVT), [queued(A)]);
    assert_eq!(world.line(Queue::Converting), [B, A]);
}

/// 47
#[test]
fn a_conversion_without_quecvt_overtakes_queued_ones() {
    let mut world = ex_converting_while_cr_is_held();
    assert_eq!(world.convert(A, PR, NONE)[0], granted(A, PR));
    assert_eq!(world.line(Queue::Converting), [B]);
}

/// 48
#[test]
fn quecvt_with_nobody_queued_is_granted_at_once() {
    assert_eq!(World::holding(&[(A, NL)]).convert(A, PR, F::QUECVT), [granted(A, PR)]);
}

/// 49
#[test]
fn quecvt_is_for_pairs_of_modes_in_which_something_is_gained() {
    // Rows: from; columns: to, NL to EX.
    let rows = [
        (NL, "-YYYYY"),
        (CR, "--YYYY"),
        (CW, "---YYY"),
        (PR, "--Y-YY"),
        (PW, "-----Y"),
        (EX, "------"),
    ];
    for (from, row) in rows {
        for (cell, to) in row.chars().zip(Mode::ALL) {
            let expected = if cell == 'Y' { Ok(()) } else { Err(Errno::EINVAL) };
            let outcome = World::holding(&[(A, from)]).apply(Op::Convert(A, to, F::QUECVT));
            assert_eq!(outcome, expected, "{from} to {to}");
        }
    }
}

/// 50
#[test]
fn conversions_are_granted_in_order() {
    let mut world =
        World::holding(&[(A, NL), (B, NL), (C, PR)]).converting(A, EX).converting(B, EX);
    assert_eq!(world.unlock(C), [unlocked(C), granted(A, EX), blocking(A, EX)]);
    assert_eq!(world.line(Queue::Converting), [B]);
}

/// 51
#[test]
fn a_compatible_queued_conversion_does_not_overtake_the_first() {
    let mut world = World::holding(&[(A, NL), (B, NL), (C, PR), (D, NL)]).converting(A, EX);
    assert_eq!(world.convert(B, PR, F::QUECVT), [queued(B)]);
    assert_eq!(world.unlock(D), [unlocked(D)], "the queue was looked at again");
    assert_eq!(world.line(Queue::Converting), [A, B]);
    assert_eq!(world.cancel(A)[1..], [granted(B, PR)], "only its turn was missing");
}

/// 52
#[test]
fn a_conversion_with_headque_waits_at_the_head() {
    let mut world = World::holding(&[(A, NL), (B, NL), (C, PR)]).converting(A, EX);
    assert_eq!(world.convert(B, EX, F::HEADQUE), [queued(B)]);
    assert_eq!(world.line(Queue::Converting), [B, A]);
}

/// 53, 54
#[test]
fn a_lock_that_waits_cannot_be_converted() {
    let mut world = World::holding(&[(A, PR), (B, PR)]).converting(A, EX).waiting(C, EX);
    for (owner, mode) in [(A, NL), (A, EX), (C, NL), (C, EX)] {
        assert_eq!(world.apply(Op::Convert(owner, mode, NONE)), Err(Errno::EBUSY));
    }
}

/// 58
#[test]
fn a_failed_noqueue_conversion_leaves_the_lock_usable_in_its_old_mode() {
    let mut world = World::holding(&[(A, PR), (B, PR)]);
    assert_eq!(world.convert(A, EX, F::NOQUEUE), [refused(A, Errno::EAGAIN)]);
    assert_eq!((world.mode(A), world.queue(A)), (Some(PR), Some(Queue::Granted)));
    assert_eq!(world.convert(A, CR, NONE), [granted(A, CR)]);
    assert_eq!(world.unlock(A), [unlocked(A)]);
}

/// The middle conversions exclude each other's holders although one number is lower.
#[test]
fn pr_and_cw_holders_wait_for_each_other_in_conversions() {
    for (held, wanted) in [(PR, CW), (CW, PR)] {
        let mut world = World::holding(&[(A, held), (B, held)]);
        assert_eq!(world.convert(A, wanted, NONE), [queued(A), blocking(B, wanted)]);
        assert_eq!(world.unlock(B), [unlocked(B), granted(A, wanted)]);
    }
}

/// The convert queue is looked at until a pass over it grants nothing.
#[test]
fn a_conversion_is_granted_after_a_later_one_that_stood_in_its_way() {
    let mut world = World::holding(&[(A, NL), (B, PR), (D, PR)]).converting(A, CW);
    assert_eq!(world.convert(B, CW, F::NOORDER | F::NODLCKWT)[0], queued(B));
    assert_eq!(world.line(Queue::Converting), [A, B]);
    assert_eq!(world.unlock(D), [unlocked(D), granted(B, CW), granted(A, CW)]);
}
