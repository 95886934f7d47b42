//! Behaviours 1-23: which modes are granted together.

use stackglue_dlm::{Errno, LockFlags, Mode, Queue};

use crate::world::{A, B, C, NONE, World, ended, granted, queued};

/// 1-21, and 22 the other way round. Rows: held; columns: requested, NL to EX.
const GRANTED_TOGETHER: [(Mode, &str); 6] = [
    (Mode::NL, "YYYYYY"),
    (Mode::CR, "YYYYY-"),
    (Mode::CW, "YYY---"),
    (Mode::PR, "YY-Y--"),
    (Mode::PW, "YY----"),
    (Mode::EX, "Y-----"),
];

fn cells() -> impl Iterator<Item = (Mode, Mode, bool)> {
    GRANTED_TOGETHER.into_iter().flat_map(|(held, row)| {
        row.chars().zip(Mode::ALL).map(move |(cell, wanted)| (held, wanted, cell == 'Y'))
    })
}

/// 1-22
#[test]
fn a_noqueue_request_is_granted_or_fails_by_the_matrix() {
    for (held, wanted, together) in cells() {
        let mut world = World::holding(&[(A, held)]);
        let expected = if together { granted(B, wanted) } else { ended(B, Errno::EAGAIN) };
        assert_eq!(
            world.request(B, wanted, LockFlags::NOQUEUE),
            [expected],
            "{wanted} while {held} is held"
        );
    }
}

/// 1-22, for conversions: the same matrix decides.
#[test]
fn a_noqueue_conversion_is_granted_or_fails_by_the_matrix() {
    for (held, wanted, together) in cells() {
        let mut world = World::holding(&[(A, held), (B, Mode::NL)]);
        world.convert(B, wanted, LockFlags::NOQUEUE);
        let expected = if together { wanted } else { Mode::NL };
        assert_eq!(world.mode(B), Some(expected), "{wanted} while {held} is held");
    }
}

/// 1-22, and 25: a request that may wait, waits.
#[test]
fn a_request_waits_by_the_matrix_and_is_granted_when_the_holder_goes() {
    for (held, wanted, together) in cells() {
        let mut world = World::holding(&[(A, held)]);
        let first = world.request(B, wanted, NONE)[0];
        assert_eq!(first, if together { granted(B, wanted) } else { queued(B) });
        world.unlock(A);
        assert_eq!((world.mode(B), world.queue(B)), (Some(wanted), Some(Queue::Granted)));
    }
}

/// 23
#[test]
fn a_request_must_be_compatible_with_every_granted_lock() {
    for (a, b, together) in cells() {
        for c in Mode::ALL.into_iter().filter(|_| together) {
            let mut world = World::holding(&[(A, a), (B, b)]);
            let with_both = cells()
                .filter(|&(held, wanted, yes)| wanted == c && yes && (held == a || held == b));
            let wanted_count = if a == b { 1 } else { 2 };
            let grantable = with_both.count() == wanted_count;
            let expected = if grantable { granted(C, c) } else { ended(C, Errno::EAGAIN) };
            assert_eq!(
                world.request(C, c, LockFlags::NOQUEUE),
                [expected],
                "{c} while {a} and {b} are held"
            );
        }
    }
}
