//! Behaviours 76-90 and 94: who is asked to give way, and how often.

use stackglue_dlm::Mode::{CR, CW, EX, NL, PR, PW};
use stackglue_dlm::{Errno, LockFlags as F};

use crate::world::{A, B, C, D, NONE, World, blocking, ended, granted, queued, refused, unlocked};

const NOQUEUEBAST: F = F::NOQUEUE.union(F::NOQUEUEBAST);

/// 76, 77, 78
#[test]
fn a_holder_is_asked_again_only_for_a_higher_mode() {
    let mut world = World::holding(&[(A, EX)]);
    assert_eq!(world.request(B, PR, NONE), [queued(B), blocking(A, PR)]);
    assert_eq!(world.request(C, PR, NONE), [queued(C)]);
    assert_eq!(world.request(D, EX, NONE), [queued(D), blocking(A, EX)]);
}

/// 79
#[test]
fn a_holder_asked_for_ex_is_not_asked_for_pr() {
    let mut world = World::holding(&[(A, EX)]).waiting(C, EX);
    assert_eq!(world.request(B, PR, NONE), [queued(B)]);
}

/// 80, 81
#[test]
fn a_failed_noqueue_request_asks_only_with_noqueuebast() {
    let mut world = World::holding(&[(A, EX)]);
    assert_eq!(world.request(B, PR, F::NOQUEUE), [ended(B, Errno::EAGAIN)]);
    assert_eq!(world.request(B, PR, NOQUEUEBAST), [ended(B, Errno::EAGAIN), blocking(A, PR)]);
}

/// 82, 83
#[test]
fn a_converting_holder_is_asked_by_noqueuebast_only() {
    let converting = || World::holding(&[(A, PR), (C, CR)]).converting(A, EX);
    assert_eq!(converting().request(B, CW, NONE), [queued(B)]);
    assert_eq!(
        converting().request(B, CW, NOQUEUEBAST),
        [ended(B, Errno::EAGAIN), blocking(A, CW)]
    );
}

/// 84
#[test]
fn a_failed_conversion_does_not_ask_its_own_lock() {
    let mut world = World::holding(&[(A, PR), (B, PR)]);
    assert_eq!(world.convert(A, EX, NOQUEUEBAST), [refused(A, Errno::EAGAIN), blocking(B, EX)]);
    assert_eq!(world.convert(A, EX, NOQUEUEBAST), [refused(A, Errno::EAGAIN)]);
}

/// 85, 90
#[test]
fn a_compatible_holder_is_not_asked() {
    let mut world = World::holding(&[(A, PR)]);
    assert_eq!(world.request(B, PR, NONE), [granted(B, PR)]);
    let mut world = World::holding(&[(A, NL), (C, PR)]);
    assert_eq!(world.request(B, EX, NONE), [queued(B), blocking(C, EX)]);
}

/// 86
#[test]
fn every_holder_in_the_way_is_asked() {
    let mut world = World::holding(&[(A, PR), (B, PR)]);
    assert_eq!(world.request(C, CW, NONE), [queued(C), blocking(B, CW), blocking(A, CW)]);
}

/// 87
#[test]
fn a_cw_holder_is_asked_for_pr() {
    let mut world = World::holding(&[(A, CW)]);
    assert_eq!(world.request(B, PR, NONE), [queued(B), blocking(A, PR)]);
}

/// 87, 86: the pair is asked although the mode asked for before has the higher number.
#[test]
fn a_pr_holder_asked_for_pw_is_asked_for_cw_too() {
    let mut world = World::holding(&[(A, PR)]).waiting(B, PW);
    assert_eq!(world.request(C, CW, NONE), [queued(C), blocking(A, CW)]);
    let mut world = World::holding(&[(A, PR)]).waiting(B, EX);
    assert_eq!(world.request(C, CW, NONE), [queued(C)], "EX is above all");
}

/// 88
#[test]
fn a_holder_that_comes_down_to_pr_is_asked_for_cw() {
    for (b, c) in [(CW, PR), (PR, CW)] {
        let mut world = World::holding(&[(A, EX), (D, NL)]).waiting(B, b).waiting(C, c);
        let events = world.convert(A, PR, NONE);
        assert_eq!(events[0], granted(A, PR));
        assert!(events.contains(&blocking(A, CW)), "{b} and {c} wait: {events:?}");
        assert!(!events.contains(&blocking(A, PR)), "{b} and {c} wait: {events:?}");
    }
}

/// 88: with a higher one waiting too, that is the level.
#[test]
fn a_pr_holder_is_asked_for_the_highest_mode_that_waits() {
    let mut world = World::holding(&[(A, EX)]).waiting(B, CW).waiting(C, PW);
    assert_eq!(world.convert(A, PR, NONE), [granted(A, PR), blocking(A, PW)]);
}

/// 89
#[test]
fn a_grant_makes_the_holder_be_asked_again() {
    let mut world = World::holding(&[(A, EX)]);
    assert_eq!(world.request(B, PR, NONE), [queued(B), blocking(A, PR)]);
    assert_eq!(world.convert(A, PW, NONE), [granted(A, PW), blocking(A, PR)]);
}

/// 89, the other way: a conversion that failed was no grant.
#[test]
fn a_failed_conversion_does_not_make_the_holder_be_asked_again() {
    let mut world = World::holding(&[(A, CR), (C, CR)]).waiting(B, EX);
    assert_eq!(world.convert(A, EX, F::NOQUEUE), [refused(A, Errno::EAGAIN)]);
    assert_eq!(world.unlock(B), [unlocked(B)]);
    assert_eq!(world.request(B, EX, NONE), [queued(B)]);
}

/// 94
#[test]
fn the_waiter_is_told_after_the_holder_that_let_it_in() {
    let mut world = World::holding(&[(A, EX)]).waiting(B, EX);
    assert_eq!(world.convert(A, NL, NONE), [granted(A, NL), granted(B, EX)]);
}
