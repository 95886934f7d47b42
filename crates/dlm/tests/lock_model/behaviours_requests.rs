//! Behaviours 24-38: new requests, and the order in which they are granted.

use stackglue_dlm::Mode::{CR, EX, NL, PR};
use stackglue_dlm::{Errno, LockFlags as F, Queue};

use crate::world::{A, B, C, D, NONE, World, blocking, ended, granted, queued, unlocked};

fn pr_held_and_ex_waiting() -> World {
    World::holding(&[(A, PR)]).waiting(B, EX)
}

/// 24
#[test]
fn a_free_resource_is_granted_at_once() {
    assert_eq!(World::default().request(A, EX, NONE), [granted(A, EX)]);
}

/// 25, 26
#[test]
fn a_waiter_is_granted_when_the_holder_unlocks() {
    let mut world = World::holding(&[(A, PR)]);
    assert_eq!(world.request(B, EX, NONE), [queued(B), blocking(A, EX)]);
    assert_eq!(world.unlock(A), [unlocked(A), granted(B, EX)]);
}

/// 27, 30
#[test]
fn a_compatible_request_waits_behind_a_waiter() {
    for mode in [PR, NL] {
        let mut world = pr_held_and_ex_waiting();
        assert_eq!(world.request(C, mode, NONE), [queued(C)]);
        assert_eq!(world.line(Queue::Waiting), [B, C]);
    }
}

/// 28
#[test]
fn noorder_goes_ahead_of_incompatible_waiters() {
    assert_eq!(pr_held_and_ex_waiting().request(C, PR, F::NOORDER), [granted(C, PR)]);
}

/// 29
#[test]
fn noqueue_does_not_wait_behind_a_waiter() {
    let mut world = pr_held_and_ex_waiting();
    let slot = world.locks.len();
    assert_eq!(world.request(C, PR, F::NOQUEUE), [ended(C, Errno::EAGAIN)]);
    assert_eq!(world.locks.len(), slot, "the lock is discarded");
}

/// 31
#[test]
fn an_expedited_null_lock_is_granted_at_once() {
    assert_eq!(pr_held_and_ex_waiting().request(C, NL, F::EXPEDITE), [granted(C, NL)]);
}

/// 32
#[test]
fn waiters_are_granted_in_order_up_to_the_first_that_must_wait() {
    let mut world = World::holding(&[(A, EX)]).waiting(B, PR).waiting(C, PR).waiting(D, EX);
    assert_eq!(
        world.unlock(A),
        [unlocked(A), granted(B, PR), granted(C, PR), blocking(C, EX), blocking(B, EX)]
    );
    assert_eq!(world.line(Queue::Waiting), [D]);
}

/// 33
#[test]
fn headque_waits_at_the_head() {
    let mut world = World::holding(&[(A, EX)]).waiting(B, EX);
    assert_eq!(world.request(C, EX, F::HEADQUE), [queued(C)]);
    assert_eq!(world.unlock(A), [unlocked(A), granted(C, EX), blocking(C, EX)]);
    assert_eq!(world.line(Queue::Waiting), [B]);
}

/// 34
#[test]
fn a_queued_noorder_request_overtakes_one_that_must_wait() {
    let mut world = World::holding(&[(A, EX)]).waiting(B, EX);
    assert_eq!(world.request(C, PR, F::NOORDER), [queued(C)]);
    assert_eq!(
        world.convert(A, CR, NONE),
        [granted(A, CR), granted(C, PR), blocking(C, EX), blocking(A, EX)]
    );
    assert_eq!(world.line(Queue::Waiting), [B]);
}

/// 35
#[test]
fn a_compatible_request_waits_behind_a_conversion() {
    let mut world = World::holding(&[(A, PR), (B, PR)]).converting(A, EX);
    assert_eq!(world.request(C, PR, NONE), [queued(C)]);
    assert_eq!(world.request(D, PR, F::NOORDER), [granted(D, PR)]);
}

/// 36
#[test]
fn the_first_waiter_is_not_granted_while_a_conversion_waits() {
    let mut world = World::holding(&[(A, NL), (B, EX), (D, NL)]).waiting(C, CR).converting(A, EX);
    assert_eq!(world.convert(B, PR, NONE)[0], granted(B, PR));
    assert_eq!((world.queue(A), world.queue(C)), (Some(Queue::Converting), Some(Queue::Waiting)));
    assert_eq!(world.cancel(A)[1..], [granted(C, CR)], "it was compatible all along");
}

/// 37
#[test]
fn a_waiter_is_looked_at_again_when_the_one_before_it_is_cancelled() {
    let mut world = pr_held_and_ex_waiting().waiting(C, PR);
    assert_eq!(world.cancel(B), [ended(B, Errno::ECANCEL), granted(C, PR)]);
}

/// 37, by an unlock
#[test]
fn a_waiter_is_looked_at_again_when_the_one_before_it_is_unlocked() {
    let mut world = pr_held_and_ex_waiting().waiting(C, PR);
    assert_eq!(world.unlock(B), [unlocked(B), granted(C, PR)]);
}
