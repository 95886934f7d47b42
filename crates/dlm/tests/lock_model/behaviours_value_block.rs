//! Behaviours 96-160: the value block of a resource, through real grants.
//!
//! A NULL lock of D keeps the resource, and with it its value block, alive.

use stackglue_dlm::Mode::{self, EX, NL, PR, PW};
use stackglue_dlm::{Errno, LockFlags as F, StatusFlags};

use crate::world::{A, B, C, D, NONE, World, granted, queued, refused, unlocked};

const X: u8 = 0xAA;
const Y: u8 = 0xBB;
const NOT_VALID: StatusFlags = StatusFlags::VALNOTVALID;

/// A world whose value block is X, and valid.
fn with_value() -> World {
    let mut world = World::holding(&[(D, NL), (A, EX)]);
    world.set_buffer(A, Some(X));
    world.convert(A, NL, F::VALBLK);
    world.unlock(A);
    world.set_buffer(A, None);
    assert_eq!((world.value().lvb, world.value().sequence), (Some(X), 1));
    world
}

/// A world whose value block is X, and not valid.
fn with_lost_value() -> World {
    let mut world = with_value();
    world.request(A, EX, NONE);
    world.unlock_with(A, F::IVVALBLK);
    assert!(!world.value().valid);
    world
}

/// A lock of A in that mode, which had nothing to do with the value block yet.
fn then_holding(mut world: World, mode: Mode) -> World {
    assert_eq!(world.request(A, mode, NONE), [granted(A, mode)]);
    world
}

/// 96-137. Rows: from; columns: to, NL to EX.
#[test]
fn the_direction_table_holds_in_real_grants() {
    let rows = [
        (None, "RRRRRR"),
        (Some(NL), "RRRRRR"),
        (Some(Mode::CR), ".RRRRR"),
        (Some(Mode::CW), "..RRRR"),
        (Some(PR), "...RRR"),
        (Some(PW), "WWWWWR"),
        (Some(EX), "WWWWWW"),
    ];
    for (from, row) in rows {
        for (cell, to) in row.chars().zip(Mode::ALL) {
            let mut world = with_value();
            let events = match from {
                None => {
                    world.set_buffer(A, Some(Y));
                    world.request(A, to, F::VALBLK)
                }
                Some(from) => {
                    world = then_holding(world, from);
                    world.set_buffer(A, Some(Y));
                    world.convert(A, to, F::VALBLK)
                }
            };
            let plain = granted(A, to);
            let (event, buffer, lvb, sequence) = match cell {
                'R' => (plain.reading(X), X, X, 1),
                'W' => (plain, Y, Y, 2),
                _ => (plain, Y, X, 1),
            };
            assert_eq!(events, [event], "{from:?} to {to}");
            assert_eq!(world.buffer(A), Some(buffer), "{from:?} to {to}: the caller's buffer");
            let value = world.value();
            assert_eq!((value.lvb, value.sequence), (Some(lvb), sequence), "{from:?} to {to}");
        }
    }
}

/// 138, 139: what the caller's buffer becomes for a new lock is for those who own the buffer.
#[test]
fn a_resource_that_was_never_written_hands_out_nothing() {
    let mut world = World::holding(&[(D, NL)]);
    world.set_buffer(A, Some(Y));
    assert_eq!(world.request(A, NL, F::VALBLK), [granted(A, NL)]);
    assert_eq!(world.convert(A, PR, F::VALBLK), [granted(A, PR)]);
    assert_eq!(world.buffer(A), Some(Y));
}

/// 140
#[test]
fn a_writer_without_valblk_writes_nothing() {
    let mut world = with_value();
    world.request(A, EX, F::VALBLK);
    world.set_buffer(A, Some(Y));
    world.convert(A, NL, NONE);
    assert_eq!((world.value().lvb, world.value().sequence), (Some(X), 1));
}

/// 141
#[test]
fn a_write_makes_the_sequence_number_grow_by_one() {
    let mut world = then_holding(with_value(), EX);
    world.set_buffer(A, Some(Y));
    world.convert(A, NL, F::VALBLK);
    assert_eq!((world.value().lvb, world.value().sequence), (Some(Y), 2));
}

/// 142, 143, 144
#[test]
fn ivvalblk_on_the_way_down_keeps_the_bytes_and_their_readers_are_warned() {
    for flags in [F::IVVALBLK, F::IVVALBLK | F::VALBLK] {
        let mut world = then_holding(with_value(), EX);
        world.set_buffer(A, Some(Y));
        world.convert(A, NL, flags);
        let value = world.value();
        assert_eq!((value.lvb, value.valid, value.sequence), (Some(X), false, 1));
        let reader = granted(B, PR).reading(X).with(NOT_VALID);
        assert_eq!(world.request(B, PR, F::VALBLK), [reader]);
    }
}

/// 145, 146
#[test]
fn ivvalblk_means_nothing_where_nothing_is_written() {
    for (from, to) in [(PR, NL), (NL, EX)] {
        let mut world = then_holding(with_value(), from);
        assert_eq!(world.convert(A, to, F::IVVALBLK), [granted(A, to)]);
        assert!(world.value().valid, "{from} to {to}");
    }
}

/// 147
#[test]
fn a_write_makes_a_lost_value_valid_again() {
    for mode in [PW, EX] {
        let mut world = then_holding(with_lost_value(), mode);
        world.set_buffer(A, Some(Y));
        assert_eq!(world.convert(A, NL, F::VALBLK), [granted(A, NL)]);
        assert!(world.value().valid);
        assert_eq!(world.request(B, PR, F::VALBLK), [granted(B, PR).reading(Y)]);
    }
}

/// 148
#[test]
fn a_reader_on_its_way_down_is_warned_without_asking() {
    let mut world = then_holding(with_lost_value(), PR);
    assert_eq!(world.convert(A, NL, NONE), [granted(A, NL).with(NOT_VALID)]);
}

/// 148, the other way: the flag belongs to one operation.
#[test]
fn the_warning_is_not_repeated_when_the_value_is_not_looked_at() {
    let mut world = then_holding(with_lost_value(), PR);
    world.convert(A, NL, NONE);
    assert_eq!(world.convert(A, PR, NONE), [granted(A, PR)]);
}

/// 150
#[test]
fn a_lock_call_that_does_not_read_is_not_warned() {
    assert_eq!(with_lost_value().request(A, PR, NONE), [granted(A, PR)]);
}

/// 151
#[test]
fn a_resource_that_was_never_written_warns_nobody_who_reads() {
    let mut world = then_holding(World::holding(&[(D, NL)]), EX);
    world.convert(A, NL, F::IVVALBLK);
    assert!(!world.value().valid);
    world.set_buffer(B, Some(Y));
    assert_eq!(world.request(B, PR, F::VALBLK), [granted(B, PR)]);
    assert_eq!(world.buffer(B), Some(Y));
}

/// 152
#[test]
fn an_unlock_writes_when_the_latest_operation_had_valblk() {
    let mut world = with_value();
    world.request(A, EX, F::VALBLK);
    world.set_buffer(A, Some(Y));
    assert_eq!(world.unlock(A), [unlocked(A)]);
    assert_eq!((world.value().lvb, world.value().sequence), (Some(Y), 2));
}

/// 153
#[test]
fn an_unlock_with_valblk_writes_if_there_is_a_buffer() {
    for (buffer, expected) in [(Some(Y), (Some(Y), 2)), (None, (Some(X), 1))] {
        let mut world = then_holding(with_value(), EX);
        world.set_buffer(A, buffer);
        world.unlock_with(A, F::VALBLK);
        assert_eq!((world.value().lvb, world.value().sequence), expected);
    }
}

/// 154
#[test]
fn an_unlock_writes_or_invalidates_only_from_pw_and_ex() {
    for mode in Mode::ALL {
        let mut world = then_holding(with_value(), mode);
        world.set_buffer(A, Some(Y));
        world.unlock_with(A, F::VALBLK);
        let expected = if mode >= PW { Y } else { X };
        assert_eq!(world.value().lvb, Some(expected), "unlock of {mode} with VALBLK");

        let mut world = then_holding(with_value(), mode);
        world.unlock_with(A, F::IVVALBLK);
        assert_eq!(world.value().valid, mode < PW, "unlock of {mode} with IVVALBLK");
    }
}

/// 155
#[test]
fn an_unlock_with_ivvalblk_loses_the_value_even_if_the_lock_had_valblk() {
    let mut world = with_value();
    world.request(A, EX, F::VALBLK);
    world.set_buffer(A, Some(Y));
    world.unlock_with(A, F::IVVALBLK);
    assert_eq!((world.value().lvb, world.value().valid), (Some(X), false));
}

/// 156
#[test]
fn the_value_goes_with_the_last_lock() {
    for mut world in [with_value(), with_lost_value()] {
        world.unlock(D);
        assert_eq!((world.value().lvb, world.value().valid), (None, true));
        world.set_buffer(A, Some(Y));
        assert_eq!(world.request(A, PR, F::VALBLK), [granted(A, PR)]);
    }
}

/// 157
#[test]
fn a_null_lock_keeps_the_value_alive() {
    let mut world = then_holding(with_value(), EX);
    world.unlock(A);
    assert_eq!(world.request(B, PR, F::VALBLK), [granted(B, PR).reading(X)]);
}

/// 158
#[test]
fn a_waiting_reader_reads_what_the_writer_leaves() {
    let mut world = then_holding(with_value(), EX);
    world.request(B, PR, F::VALBLK);
    world.set_buffer(A, Some(Y));
    assert_eq!(world.convert(A, NL, F::VALBLK), [granted(A, NL), granted(B, PR).reading(Y)]);
}

/// 158, by an unlock
#[test]
fn a_waiting_reader_reads_what_an_unlock_leaves() {
    let mut world = then_holding(with_value(), EX);
    world.request(B, PR, F::VALBLK);
    world.set_buffer(A, Some(Y));
    assert_eq!(world.unlock_with(A, F::VALBLK), [unlocked(A), granted(B, PR).reading(Y)]);
}

/// 159
#[test]
fn a_failed_conversion_moves_no_value() {
    let mut world = then_holding(with_value(), PR);
    world.request(B, PR, NONE);
    world.set_buffer(A, Some(Y));
    assert_eq!(world.convert(A, EX, F::NOQUEUE | F::VALBLK), [refused(A, Errno::EAGAIN)]);
    assert_eq!((world.value().lvb, world.buffer(A)), (Some(X), Some(Y)));
}

/// 160
#[test]
fn a_conversion_that_waited_reads_the_value_of_its_grant() {
    let mut world = with_value();
    world.request(C, EX, NONE);
    world.request(B, NL, NONE);
    assert_eq!(world.convert(B, EX, F::VALBLK)[0], queued(B));
    world.set_buffer(C, Some(Y));
    assert_eq!(world.unlock_with(C, F::VALBLK), [unlocked(C), granted(B, EX).reading(Y)]);
}
