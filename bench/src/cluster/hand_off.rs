//! Rows P9 and P10: one lock that two nodes want all the time.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use dlm::{Errno, LockFlags, Mode, ResourceName};
use stackglue::{Connection, Lksb, LockingProtocol, ProtocolVersion};

use super::caller::Caller;
use super::frames::Frames;
use super::nodes::{Nodes, VERSION};
use super::raw::Ring;
use crate::method::Comparison;
use crate::row::Row;

/// P9: hand-offs between two nodes, one of which is the master. P10: between two nodes that a third one
/// is the master for.
pub(crate) fn rows(
    nodes: &Nodes,
    placement: &str,
    hand_offs: usize,
    print: &mut dyn FnMut(Row),
) -> Result<(), Box<dyn Error>> {
    let frames = Frames::new();
    let cases = [
        ("P9", "2 nodes, one is the master", &[0, 1][..], Ring::of_two(frames)?, TWO_NODES_MAX),
        ("P10", "2 nodes, a third is master", &[2, 0, 1], Ring::of_three(frames)?, THIRD_PARTY_MAX),
    ];
    for (row, case, members, ring, target) in cases {
        let contest = Contest::between(nodes, row, members, 2)?;
        let found = Comparison::run(
            |_| time_hand_offs(hand_offs, |laps| ring.run(laps)),
            |_| time_hand_offs(hand_offs, |count| contest.run(count)),
        );
        print(Row::of_times(row, case, &found, target, placement));
    }
    Ok(())
}

fn time_hand_offs(count: usize, run: impl FnOnce(usize)) -> f64 {
    let start = Instant::now();
    run(count);
    start.elapsed().as_nanos() as f64 / count as f64
}

/// Nodes that convert their lock on one name to exclusive, and back to null when another wants it.
struct Contest {
    /// Members of the group, the master of the name first; the last ones contend.
    members: Vec<Arc<Member>>,
    contenders: usize,
    round: Arc<Round>,
}

impl Contest {
    fn between(
        nodes: &Nodes,
        group: &str,
        members: &[usize],
        contenders: usize,
    ) -> Result<Contest, Box<dyn Error>> {
        let (over, resting) = (Caller::new(), Caller::new());
        let round = Arc::new(Round { left: AtomicUsize::new(0), over, resting });
        let mut contest = Contest { members: Vec::new(), contenders, round };
        for &node in members {
            let member = Arc::new(Member {
                round: Arc::clone(&contest.round),
                connection: OnceLock::new(),
                lksb: Lksb::new(()),
                releasing: AtomicBool::new(false),
                resting: AtomicBool::new(false),
            });
            let protocol = Arc::new(Listener(Arc::downgrade(&member)));
            let connection = nodes.connect(node, group, protocol)?;
            let connection = member.connection.get_or_init(|| connection);
            contest.round.resting.expect(1);
            connection.lock(Mode::NL, &member.lksb, LockFlags::empty(), name())?;
            contest.round.resting.wait();
            contest.members.push(member);
        }
        Ok(contest)
    }

    fn contenders(&self) -> &[Arc<Member>] {
        &self.members[self.members.len() - self.contenders..]
    }

    /// Contends until the lock was had so many times. Afterwards one holds it and the others rest.
    fn run(&self, hand_offs: usize) {
        let round = &self.round;
        round.left.store(hand_offs, Ordering::Release);
        round.over.expect(1);
        round.resting.expect(self.contenders - 1);
        // One that does not rest holds the lock, or will as soon as it hears of its grant.
        let resting = self.contenders().iter();
        let resting = resting.filter(|member| member.resting.swap(false, Ordering::AcqRel));
        // All of them before the first one asks, since that sets them in motion.
        for member in resting.collect::<Vec<_>>() {
            member.convert(Mode::EX);
        }
        round.over.wait();
        round.resting.wait();
    }
}

impl Drop for Contest {
    fn drop(&mut self) {
        // Before the members go, whose last handle might otherwise be dropped inside a callback.
        for member in self.members.iter().rev() {
            if let Some(Err(error)) = member.connection.get().map(|all| all.disconnect(false)) {
                eprintln!("stackglue-bench: {error}");
            }
        }
    }
}

/// What the contenders share.
struct Round {
    /// Hand-offs that the round still has.
    left: AtomicUsize,
    over: Arc<Caller>,
    /// Those that have given the lock up and do not ask for it again.
    resting: Arc<Caller>,
}

/// A member of the group, with its lock.
struct Member {
    round: Arc<Round>,
    connection: OnceLock<Connection>,
    lksb: Lksb,
    releasing: AtomicBool,
    resting: AtomicBool,
}

impl Member {
    fn convert(&self, mode: Mode) {
        let connection = self.connection.get().expect("callbacks come when there is one");
        connection.lock(mode, &self.lksb, LockFlags::CONVERT, name()).expect("nothing is pending");
    }

    fn acquired(&self) {
        let one_less = |left: usize| left.checked_sub(1);
        if self.round.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less) == Ok(1) {
            self.round.over.complete();
        }
    }

    fn released(&self) {
        self.releasing.store(false, Ordering::Relaxed);
        if self.round.left.load(Ordering::Acquire) > 0 {
            self.convert(Mode::EX);
        } else {
            self.resting.store(true, Ordering::Release);
            self.round.resting.complete();
        }
    }
}

/// Its callbacks, which do not keep it.
struct Listener(Weak<Member>);

impl LockingProtocol for Listener {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, lksb: &Lksb) {
        assert_eq!(lksb.status(), Ok(()), "every request waits");
        let Some(member) = self.0.upgrade() else { return };
        match lksb.mode() {
            Some(Mode::EX) => member.acquired(),
            _ => member.released(),
        }
    }

    fn blocking_ast(&self, lksb: &Lksb, _: Mode) {
        let Some(member) = self.0.upgrade() else { return };
        let held = lksb.mode() == Some(Mode::EX);
        if held && !member.releasing.swap(true, Ordering::Relaxed) {
            member.convert(Mode::NL);
        }
    }

    fn unlock_ast(&self, _: &Lksb, _: Result<(), Errno>) {}
}

fn name() -> ResourceName<'static> {
    ResourceName::new(b"bench: what all the nodes want..").expect("a short name")
}

const TWO_NODES_MAX: f64 = 1.25;

const THIRD_PARTY_MAX: f64 = 1.2;
