//! The atomic word of a lock resource: the level this node has, and who uses it here.

use std::fmt;
use std::sync::atomic::Ordering;

use crate::Level;
use crate::sync::AtomicU64;

/// Level held by this node, holders per level, and one bit that closes the short way.
///
/// While the gate is open, taking and releasing a level is one read-modify-write each and nothing
/// else. Closed, both go on under the resource's mutex: a newcomer does not enter, and who leaves
/// looks there for somebody to tell. Level and gate change under the mutex only; while the gate is
/// closed holders can only become fewer, except under the mutex.
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn new() -> Word {
        Word(AtomicU64::new(0))
    }

    /// Takes the level if the short way is open, this node has it, and nobody here is in the way.
    #[inline]
    pub(crate) fn enter(&self, level: Level) -> bool {
        match level {
            Level::NL => false,
            Level::PR => self.enter_shared(),
            Level::EX => {
                let idle = PR_HELD | EX_HELD;
                self.0.compare_exchange(idle, idle | WRITER, Ordering::Acquire, Ordering::Relaxed)
                    == Ok(idle)
            }
        }
    }

    #[inline]
    fn enter_shared(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & (PR_HELD | GATE | WRITER | CROWDED) == PR_HELD {
            let entered = word + READER;
            match self.0.compare_exchange_weak(word, entered, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Gives up a level that was taken. `true` when the gate was closed: somebody may wait for it.
    #[inline]
    #[must_use = "somebody may wait for it"]
    pub(crate) fn leave(&self, level: Level) -> bool {
        let before = self.0.fetch_sub(holder(level), Ordering::Release);
        before & GATE != 0
    }

    /// Becomes a reader without having been away, as the only writer of this node. `true` when the
    /// gate was closed.
    #[inline]
    #[must_use = "somebody may wait for it"]
    pub(crate) fn downgrade(&self) -> bool {
        let before = self.0.fetch_add(READER - WRITER, Ordering::Release);
        before & GATE != 0
    }

    /// Becomes the writer without having been away, if this node has EX and the caller is its only
    /// user.
    #[inline]
    pub(crate) fn try_upgrade(&self) -> bool {
        let (reader, writer) = (PR_HELD | EX_HELD | READER, PR_HELD | EX_HELD | WRITER);
        self.0.compare_exchange(reader, writer, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(crate) fn look(&self) -> Seen {
        Seen(self.0.load(Ordering::Acquire))
    }

    /// Whether somebody waits, here or elsewhere, or the levels are lost.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & GATE != 0
    }

    /// Whether the membership that the levels rest on is lost.
    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.0.load(Ordering::Relaxed) & LOST != 0
    }
}

/// Under the mutex of the resource.
impl Word {
    /// Closes the gate. What is seen afterwards of holders can only become less.
    pub(crate) fn close(&self) {
        self.0.fetch_or(GATE, Ordering::AcqRel);
    }

    pub(crate) fn open(&self) {
        self.0.fetch_and(!GATE, Ordering::AcqRel);
    }

    /// Takes the level for somebody who waited; the gate is closed and the level is free.
    pub(crate) fn admit(&self, level: Level) {
        self.0.fetch_add(holder(level), Ordering::AcqRel);
    }

    /// Records the level that this node has from now on.
    pub(crate) fn set_level(&self, level: Level) {
        // One step: users of the lower level have it all the time.
        let change = level_bits(self.look().level()) ^ level_bits(level);
        self.0.fetch_xor(change, Ordering::AcqRel);
    }

    pub(crate) fn set_lost(&self) {
        self.0.fetch_or(LOST | GATE, Ordering::AcqRel);
    }
}

/// The word at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Seen(u64);

impl Seen {
    pub(crate) fn level(self) -> Level {
        match self.0 & (PR_HELD | EX_HELD) {
            0 => Level::NL,
            PR_HELD => Level::PR,
            _ => Level::EX,
        }
    }

    pub(crate) fn has_writer(self) -> bool {
        self.0 & WRITER != 0
    }

    pub(crate) fn readers(self) -> u32 {
        (self.0 >> READER_SHIFT) as u32
    }

    /// Whether somebody here uses a level that would be gone at `level`.
    pub(crate) fn is_used_above(self, level: Level) -> bool {
        match level {
            Level::EX => false,
            Level::PR => self.has_writer(),
            Level::NL => self.has_writer() || self.readers() != 0,
        }
    }

    /// Whether the users here leave room for one more at that level.
    pub(crate) fn has_room_for(self, level: Level) -> bool {
        match level {
            Level::EX => !self.is_used_above(Level::NL),
            _ => !self.has_writer() && self.0 & CROWDED == 0,
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word")
            .field("level", &self.level())
            .field("readers", &self.readers())
            .field("writer", &self.has_writer())
            .field("gate_closed", &(self.0 & GATE != 0))
            .field("lost", &(self.0 & LOST != 0))
            .finish()
    }
}

fn level_bits(level: Level) -> u64 {
    match level {
        Level::NL => 0,
        Level::PR => PR_HELD,
        Level::EX => PR_HELD | EX_HELD,
    }
}

#[inline]
fn holder(level: Level) -> u64 {
    match level {
        Level::NL => 0,
        Level::PR => READER,
        Level::EX => WRITER,
    }
}

/// This node has PR or more.
const PR_HELD: u64 = 1;
/// This node has EX.
const EX_HELD: u64 = 1 << 1;
/// The short way is closed.
const GATE: u64 = 1 << 2;
/// Membership is lost, and with it every level.
const LOST: u64 = 1 << 3;
/// Somebody here uses EX.
const WRITER: u64 = 1 << 4;
const READER_SHIFT: u32 = 32;
/// One user of PR.
const READER: u64 = 1 << READER_SHIFT;
/// So many users of PR that some must have been leaked: no more come in, and the count never wraps.
const CROWDED: u64 = 1 << 63;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_taken_where_the_node_has_it_and_the_users_leave_room() {
        // (level of the node, users already in, taken at PR, taken at EX)
        let cases: [(Level, &[Level], bool, bool); 7] = [
            (Level::NL, &[], false, false),
            (Level::PR, &[], true, false),
            (Level::PR, &[Level::PR], true, false),
            (Level::EX, &[], true, true),
            (Level::EX, &[Level::PR], true, false),
            (Level::EX, &[Level::PR, Level::PR], true, false),
            (Level::EX, &[Level::EX], false, false),
        ];
        for (level, users, shared, exclusive) in cases {
            for (wanted, expected) in [(Level::PR, shared), (Level::EX, exclusive)] {
                let word = Word::new();
                word.set_level(level);
                for &user in users {
                    assert!(word.enter(user));
                }
                assert_eq!(word.enter(wanted), expected, "{wanted} at {level} beside {users:?}");
            }
        }
    }

    #[test]
    fn a_closed_gate_lets_nobody_in_and_who_leaves_is_told() {
        let word = Word::new();
        word.set_level(Level::EX);
        assert!(word.enter(Level::PR));
        assert!(word.enter(Level::PR));
        assert!(!word.leave(Level::PR));
        word.close();
        assert!(!word.enter(Level::PR));
        assert!(word.look().is_used_above(Level::NL) && !word.look().is_used_above(Level::PR));
        assert!(word.leave(Level::PR));
        assert!(!word.enter(Level::EX));
        word.open();
        assert!(word.enter(Level::EX));
        assert!(word.look().is_used_above(Level::PR));
    }

    #[test]
    fn a_writer_becomes_a_reader_and_the_only_reader_a_writer() {
        let word = Word::new();
        word.set_level(Level::EX);
        assert!(word.enter(Level::EX));
        assert!(!word.downgrade());
        assert_eq!((word.look().readers(), word.look().has_writer()), (1, false));
        assert!(word.enter(Level::PR));
        assert!(!word.try_upgrade(), "another reader");
        assert!(!word.leave(Level::PR));
        assert!(word.try_upgrade());
        assert_eq!((word.look().readers(), word.look().has_writer()), (0, true));
    }

    #[test]
    fn the_count_of_readers_never_wraps() {
        let word = Word(AtomicU64::new(PR_HELD | CROWDED));
        assert!(!word.enter(Level::PR));
        assert!(!word.look().has_room_for(Level::PR));
    }
}
