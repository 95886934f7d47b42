//! Behaviours 59-74: conversion deadlock, and alternate modes.

use stackglue_dlm::Mode::{CR, CW, EX, NL, PR};
use stackglue_dlm::{Errno, LockFlags as F, Queue, StatusFlags};

use crate::world::{A, B, C, D, NONE, World, blocking, ended, granted, queued, refused, unlocked};

/// A waits to convert PR to EX while B holds PR.
fn half_a_deadlock() -> World {
    World::holding(&[(A, PR), (B, PR)]).converting(A, EX)
}

/// 59, 60
#[test]
fn the_conversion_that_would_close_a_deadlock_fails() {
    let mut world = half_a_deadlock();
    assert_eq!(world.convert(B, EX, NONE), [refused(B, Errno::EDEADLK)]);
    assert_eq!((world.mode(B), world.queue(B)), (Some(PR), Some(Queue::Granted)));
    assert_eq!(world.convert(B, NL, NONE), [granted(B, NL), granted(A, EX)]);
}

/// 61, 62
#[test]
fn convdeadlk_demotes_to_null_and_waits() {
    let mut world = half_a_deadlock();
    assert_eq!(world.convert(B, EX, F::CONVDEADLK), [granted(A, EX), queued(B), blocking(A, EX)]);
    assert_eq!((world.mode(B), world.queue(B)), (Some(NL), Some(Queue::Converting)));
    assert_eq!(world.unlock(A), [unlocked(A), granted(B, EX).with(StatusFlags::DEMOTED)]);
}

/// 61: the demotion may be enough for the lock itself.
#[test]
fn a_demoted_conversion_is_granted_when_the_others_allow_it() {
    let mut world = World::holding(&[(A, PR), (B, PR)]).converting(A, CW);
    let demoted = granted(B, CW).with(StatusFlags::DEMOTED);
    assert_eq!(world.convert(B, CW, F::CONVDEADLK), [granted(A, CW), demoted]);
}

/// Ours: fs/dlm leaves a lock that a demotion let go without notice until the queues are looked at again.
#[test]
fn who_went_because_of_a_demotion_is_told_who_waits_behind() {
    let mut world = World::holding(&[(A, PR), (B, PR), (C, NL)]).converting(A, CW);
    assert_eq!(world.convert(C, EX, NONE)[0], queued(C));
    let events = world.convert(B, CW, F::CONVDEADLK | F::QUECVT);
    assert_eq!(events, [granted(A, CW), queued(B), blocking(A, EX)]);
}

/// 62: the flag belongs to one operation.
#[test]
fn the_next_conversion_is_not_marked_demoted() {
    let mut world = half_a_deadlock();
    world.convert(B, EX, F::CONVDEADLK);
    world.unlock(A);
    assert_eq!(world.convert(B, PR, NONE), [granted(B, PR)]);
}

/// 63
#[test]
fn a_noqueue_conversion_in_a_deadlock_is_eagain() {
    let mut world = half_a_deadlock();
    assert_eq!(world.convert(B, EX, F::NOQUEUE), [refused(B, Errno::EAGAIN)]);
}

/// 64
#[test]
fn nodlckwt_waits_in_a_deadlock() {
    let mut world = half_a_deadlock();
    assert_eq!(world.convert(B, EX, F::NODLCKWT), [queued(B)]);
    assert_eq!(world.line(Queue::Converting), [A, B]);
}

/// 65
#[test]
fn a_deadlocked_converter_is_asked_to_give_way_once() {
    let mut world = World::holding(&[(A, PR), (B, PR), (C, NL), (D, NL)]);
    assert_eq!(world.convert(A, EX, F::NODLCKWT), [queued(A), blocking(B, EX)]);
    assert_eq!(world.convert(B, EX, F::NODLCKWT), [queued(B)]);
    assert_eq!(world.unlock(C), [unlocked(C), blocking(A, EX)], "B was asked for EX already");
    assert_eq!(world.unlock(D), [unlocked(D)]);
    assert_eq!(world.cancel(B)[0], refused(B, Errno::ECANCEL));
    assert_eq!(world.convert(B, NL, NONE), [granted(B, NL), granted(A, EX)]);
}

/// 66
#[test]
fn holding_what_an_earlier_conversion_wants_is_a_deadlock() {
    let mut world = World::holding(&[(A, NL), (B, PR), (C, PR)]).converting(A, EX);
    assert_eq!(world.convert(B, EX, NONE), [refused(B, Errno::EDEADLK)]);
}

/// 67
#[test]
fn a_grantable_conversion_is_no_deadlock() {
    let mut world = World::holding(&[(A, NL), (B, PR)]).converting(A, EX);
    assert_eq!(world.convert(B, EX, NONE), [granted(B, EX), blocking(B, EX)]);
    assert_eq!(world.line(Queue::Converting), [A]);
}

/// 68
#[test]
fn a_null_lock_is_in_no_deadlock() {
    let mut world = World::holding(&[(A, NL), (B, NL), (C, EX)]).converting(A, EX);
    assert_eq!(world.convert(B, PR, NONE), [queued(B)]);
}

/// 69, 70
#[test]
fn an_alternate_mode_is_granted_where_the_wanted_one_is_not() {
    for (mode, flag) in [(CW, F::ALTCW), (PR, F::ALTPR)] {
        let mut world = World::holding(&[(A, mode)]);
        let expected = granted(B, mode).with(StatusFlags::ALTMODE);
        assert_eq!(world.request(B, EX, flag | F::NOQUEUE), [expected]);
    }
}

/// 71, 73
#[test]
fn an_alternate_mode_that_is_excluded_too_is_eagain() {
    let both = F::ALTPR | F::ALTCW;
    for (held, flags) in [(PR, F::ALTCW), (CW, F::ALTPR), (CW, both)] {
        let mut world = World::holding(&[(A, held)]);
        assert_eq!(world.request(B, EX, flags | F::NOQUEUE), [ended(B, Errno::EAGAIN)]);
    }
}

/// 71: a refused alternate leaves the conversion wanting what it wanted.
#[test]
fn a_refused_alternate_mode_is_forgotten() {
    let mut world = World::holding(&[(A, EX), (B, NL)]);
    assert_eq!(world.convert(B, EX, F::ALTCW)[0], queued(B));
    let state = world.states().find(|state| state.owner == B).expect("B waits");
    assert_eq!((state.requested, state.status), (Some(EX), StatusFlags::empty()));
}

/// 72
#[test]
fn with_both_alternates_cw_is_tried_only_for_pr() {
    let mut world = World::holding(&[(A, CW)]);
    assert_eq!(
        world.request(B, PR, F::ALTPR | F::ALTCW),
        [granted(B, CW).with(StatusFlags::ALTMODE)]
    );
}

/// 74
#[test]
fn a_waiting_request_takes_its_alternate_when_that_comes_first() {
    let mut world = World::holding(&[(A, EX)]);
    assert_eq!(world.request(B, EX, F::ALTPR)[0], queued(B));
    assert_eq!(
        world.convert(A, CR, NONE),
        [granted(A, CR), granted(B, PR).with(StatusFlags::ALTMODE)]
    );
}

/// A deadlock is reported before an alternate is tried.
#[test]
fn a_deadlock_leaves_no_alternate() {
    let mut world = World::holding(&[(A, PR), (B, PR), (C, PR)]).converting(A, EX);
    assert_eq!(world.convert(B, EX, F::ALTPR), [refused(B, Errno::EDEADLK)]);
}

/// 61, for a conversion that was no deadlock when it was queued: another got ahead of it.
#[test]
fn a_queued_conversion_is_demoted_when_a_deadlock_forms_around_it() {
    let mut world = World::holding(&[(A, PR), (B, PR), (C, NL)]);
    assert_eq!(world.convert(B, EX, F::CONVDEADLK)[0], queued(B));
    assert_eq!(world.convert(A, EX, F::HEADQUE | F::NODLCKWT)[0], queued(A));
    assert_eq!((world.line(Queue::Converting), world.mode(B)), (vec![A, B], Some(PR)));
    assert!(world.unlock(C).contains(&granted(A, EX)));
    assert_eq!((world.mode(B), world.queue(B)), (Some(NL), Some(Queue::Converting)));
    assert_eq!(world.unlock(A), [unlocked(A), granted(B, EX).with(StatusFlags::DEMOTED)]);
}
