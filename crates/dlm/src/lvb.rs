//! Lock value blocks: which operation reads one, which writes it.

use crate::Mode;

/// The longest value block of a resource, in bytes: what ocfs2 uses (`DLM_LVB_LEN` in the glue).
pub const LVB_LEN_MAX: usize = 64;

/// Where the value block moves when a lock is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LvbDirection {
    /// From the resource to the lock.
    Read,
    /// From the lock to the resource.
    Write,
    /// Nowhere.
    Nothing,
}

/// The direction for a grant from one mode (`None` for a new lock) to another
/// (`fs/dlm/lock.c: dlm_lvb_operations`).
#[inline]
pub const fn lvb_direction(from: Option<Mode>, to: Mode) -> LvbDirection {
    match from {
        None => LvbDirection::Read,
        Some(from) => DIRECTIONS[from as usize][to as usize],
    }
}

/// By granted mode, then by requested mode.
const DIRECTIONS: [[LvbDirection; 6]; 6] = {
    use LvbDirection::{Nothing as N, Read as R, Write as W};
    [
        // NL CR CW PR PW EX
        [R, R, R, R, R, R], // NL
        [N, R, R, R, R, R], // CR
        [N, N, R, R, R, R], // CW
        [N, N, N, R, R, R], // PR
        [W, W, W, W, W, R], // PW
        [W, W, W, W, W, W], // EX
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direction_table_is_the_published_one() {
        let table: [(Option<Mode>, &str); 7] = [
            //             NL CR CW PR PW EX
            (None, "R R R R R R"),
            (Some(Mode::NL), "R R R R R R"),
            (Some(Mode::CR), ". R R R R R"),
            (Some(Mode::CW), ". . R R R R"),
            (Some(Mode::PR), ". . . R R R"),
            (Some(Mode::PW), "W W W W W R"),
            (Some(Mode::EX), "W W W W W W"),
        ];
        for (from, row) in table {
            for (cell, to) in row.split(' ').zip(Mode::ALL) {
                let expected = match cell {
                    "R" => LvbDirection::Read,
                    "W" => LvbDirection::Write,
                    _ => LvbDirection::Nothing,
                };
                assert_eq!(lvb_direction(from, to), expected, "{from:?} to {to}");
            }
        }
    }
}
