//! Behaviours 162-188: unlock and cancel, with no message in flight.

use stackglue_dlm::Mode::{EX, NL, PR};
use stackglue_dlm::{Errno, LockFlags as F, Queue};

use crate::world::{A, B, C, NONE, Op, World, ended, granted, queued, refused, unlocked};

/// 162, 163
#[test]
fn an_unlocked_lock_is_gone() {
    let mut world = World::holding(&[(A, EX)]);
    let key = world.key(A).expect("A holds a lock");
    assert_eq!(world.unlock(A), [unlocked(A)]);
    assert!(world.locks.get(key).is_none() && world.resource.is_unused());
    assert_eq!(world.apply(Op::Unlock(A, NONE)), Err(Errno::ENOENT));
}

/// 164
#[test]
fn an_unlocked_request_is_never_granted() {
    let mut world = World::holding(&[(A, EX)]).waiting(B, EX);
    assert_eq!(world.unlock(B), [unlocked(B)]);
    assert_eq!(world.unlock(A), [unlocked(A)]);
    assert!(world.locks.is_empty());
}

/// 165
#[test]
fn an_unlocked_conversion_takes_its_lock_along() {
    let mut world = World::holding(&[(A, PR), (B, PR)]).converting(A, EX).waiting(C, PR);
    assert_eq!(world.unlock(A), [unlocked(A), granted(C, PR)]);
    assert_eq!(world.queue(A), None);
}

/// 171
#[test]
fn a_cancelled_request_is_gone() {
    let mut world = World::holding(&[(A, EX)]).waiting(B, EX);
    assert_eq!(world.cancel(B), [ended(B, Errno::ECANCEL)]);
    assert_eq!(world.apply(Op::Cancel(B)), Err(Errno::ENOENT));
    assert_eq!(world.unlock(A), [unlocked(A)]);
}

/// 172
#[test]
fn a_cancelled_conversion_keeps_its_old_mode() {
    let mut world = World::holding(&[(A, PR), (B, PR)]).converting(A, EX).waiting(C, PR);
    assert_eq!(world.cancel(A), [refused(A, Errno::ECANCEL), granted(C, PR)]);
    assert_eq!((world.mode(A), world.queue(A)), (Some(PR), Some(Queue::Granted)));
}

/// 173, 188
#[test]
fn a_cancel_of_a_granted_lock_succeeds_and_does_nothing() {
    let mut world = World::holding(&[(A, PR)]);
    for _ in 0..2 {
        assert_eq!(world.cancel(A), []);
        assert_eq!((world.mode(A), world.queue(A)), (Some(PR), Some(Queue::Granted)));
    }
}

/// 174, 175
#[test]
fn a_second_cancel_needs_a_conversion_before_it() {
    let mut world = World::holding(&[(A, PR), (B, PR)]).converting(A, EX);
    assert_eq!(world.cancel(A), [refused(A, Errno::ECANCEL)]);
    assert_eq!(world.apply(Op::Cancel(A)), Err(Errno::EINVAL));
    assert_eq!(world.convert(A, EX, NONE), [queued(A)]);
    assert_eq!(world.cancel(A), [refused(A, Errno::ECANCEL)]);
}

/// 174: a conversion that was granted, or failed, is one too.
#[test]
fn a_granted_conversion_makes_the_lock_cancellable_again() {
    let mut world = World::holding(&[(A, PR), (B, PR)]).converting(A, EX);
    world.cancel(A);
    assert_eq!(world.convert(A, NL, NONE), [granted(A, NL)]);
    assert_eq!(world.cancel(A), []);
}

/// 174: what a cancel forbids is another cancel, not an unlock.
#[test]
fn a_lock_can_be_unlocked_after_a_cancel() {
    let mut world = World::holding(&[(A, PR), (B, PR)]).converting(A, EX);
    world.cancel(A);
    assert_eq!(world.unlock(A), [unlocked(A)]);
}

/// 184
#[test]
fn an_unlock_call_has_four_flags_and_not_all_together() {
    let allowed = [F::VALBLK, F::IVVALBLK, F::FORCEUNLOCK, F::VALBLK | F::IVVALBLK];
    for flags in allowed {
        assert_eq!(World::holding(&[(A, EX)]).apply(Op::Unlock(A, flags)), Ok(()), "{flags:?}");
    }
    let others = (0..32)
        .map(|bit| F::from_bits_retain(1 << bit))
        .filter(|flag| !F::UNLOCK.contains(*flag))
        .chain([F::CANCEL | F::FORCEUNLOCK]);
    for flags in others {
        let mut world = World::holding(&[(A, EX)]);
        assert_eq!(world.apply(Op::Unlock(A, flags)), Err(Errno::EINVAL), "{flags:?}");
        assert_eq!((world.mode(A), world.events()), (Some(EX), &[][..]), "nothing happened");
    }
}

/// 185
#[test]
fn waiters_are_granted_after_the_unlock_was_processed() {
    let mut world = World::holding(&[(A, EX)]).waiting(B, PR).waiting(C, PR);
    assert_eq!(world.unlock(A), [unlocked(A), granted(B, PR), granted(C, PR)]);
}

/// 219, 220, 221: argument checks of lock calls.
#[test]
fn flags_that_mean_nothing_in_a_lock_call_are_einval() {
    let requests = [
        (NL, F::CANCEL),
        (NL, F::QUECVT),
        (NL, F::CONVDEADLK),
        (PR, F::EXPEDITE),
        (NL, F::EXPEDITE | F::NOQUEUE),
        (NL, F::EXPEDITE | F::QUECVT),
    ];
    for (mode, flags) in requests {
        let outcome = World::default().apply(Op::Request(A, mode, flags));
        assert_eq!(outcome, Err(Errno::EINVAL), "{mode} {flags:?}");
    }
    for flags in [F::CANCEL, F::EXPEDITE, F::CONVDEADLK | F::NOQUEUE] {
        let outcome = World::holding(&[(A, NL)]).apply(Op::Convert(A, NL, flags));
        assert_eq!(outcome, Err(Errno::EINVAL), "{flags:?}");
    }
}

/// 227
#[test]
fn unknown_flags_are_kept_and_ignored() {
    let unknown = F::from_bits_retain(0x0830_0000);
    let mut world = World::default();
    assert_eq!(world.request(A, EX, unknown), [granted(A, EX)]);
    assert_eq!(world.states().next().map(|state| state.flags), Some(unknown));
}
