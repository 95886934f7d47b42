//! Which of these a seed draws.

use std::time::Duration;

use o2cb::o2dlm::message::MessageType;

use super::forge::{Forgery, Garbage, JOINING, NAMELESS, NAMING};
use super::{Hostility, Misfit, Names};
use crate::fault::{Draw, Fault, Planned};
use crate::plan::Plan;
use crate::rng::Rng;

/// The seeds that have these, of each so many. None of the named ones is among them, and none that has
/// scenes: these are as they were.
const SEEDS: u64 = 42;
const HOSTILE: [u64; 6] = [0, 13, 21, 27, 31, 37];

/// What a seed takes or leaves together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Frames,
    Garbage,
    Misfits,
    Floods,
    Stops,
    Memory,
}

const KINDS: [Kind; 6] =
    [Kind::Frames, Kind::Garbage, Kind::Misfits, Kind::Floods, Kind::Stops, Kind::Memory];

/// Gives a plan such faults besides its own, if its seed is one of those that have some.
pub(crate) fn invite(plan: &mut Plan) {
    if !HOSTILE.contains(&(plan.seed % SEEDS)) {
        return;
    }
    let mut rng = Rng::new(plan.seed ^ 0x0DD_F00D);
    // In turn, so that each is in any two hundred seeds.
    let first = KINDS[(plan.seed / SEEDS + plan.seed % SEEDS) as usize % KINDS.len()];
    let kinds: Vec<Kind> =
        KINDS.into_iter().filter(|kind| *kind == first || rng.chance(35)).collect();
    let count = rng.pick(&[3, 6, 10]);
    let from = plan.faults_from.as_millis() as u64;
    if kinds.contains(&Kind::Misfits) {
        plan.safety = Duration::from_secs(100);
    }
    let until = plan.safety.as_millis() as u64;
    let mut faults = Vec::new();
    for number in 0..count {
        let kind = if number < 3 { first } else { rng.pick(&kinds) };
        let at = match kind {
            // Some before anybody is in a domain.
            Kind::Garbage => Duration::from_millis(rng.between(3000, until)),
            // While there is time for what comes of it.
            Kind::Stops | Kind::Misfits => {
                let dead = u64::from(plan.timeouts.dead_ms());
                let last = until.saturating_sub(3 * dead + 5000);
                Duration::from_millis(rng.between(16_000.min(last), last))
            }
            _ => Duration::from_millis(rng.between(from, until)),
        };
        let drawn = Draw { plan, rng: &mut rng }.hostile(kind, number);
        faults.extend(drawn.into_iter().map(|(wait, fault)| Planned { at: at + wait, fault }));
    }
    if kinds.contains(&Kind::Misfits) {
        // Whoever is refused and heartbeats keeps the others from deciding about a split.
        plan.faults.retain(|planned| {
            !matches!(planned.fault, Fault::Cut { .. } | Fault::Part { .. } | Fault::Split { .. })
        });
    }
    if kinds.contains(&Kind::Stops) {
        // Disks hang one after the other: nothing is judged on time that nodes agree on because all do.
        plan.faults.retain(|planned| !hangs(planned.fault));
        let apart =
            Duration::from_secs(10) + 3 * Duration::from_millis(plan.timeouts.dead_ms().into());
        let mut free = Duration::ZERO;
        faults.sort_by_key(|planned| planned.at);
        faults.retain(|planned| {
            let hangs = hangs(planned.fault);
            let keeps = !hangs || planned.at >= free;
            free = if hangs && keeps { planned.at + apart } else { free };
            keeps
        });
    }
    plan.faults.extend(faults);
    plan.faults.sort_by_key(|planned| planned.at);
}

fn hangs(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::StuckDisk { .. }
            | Fault::StuckRegion { .. }
            | Fault::SlowDisk { .. }
            | Fault::StoragePause { .. }
            | Fault::DiskErrors { .. }
            | Fault::HalfWrites { .. }
    )
}

impl Draw<'_> {
    fn hostile(&mut self, kind: Kind, number: u32) -> Vec<(Duration, Fault)> {
        let now = Duration::ZERO;
        let dead = Duration::from_millis(self.plan.timeouts.dead_ms().into());
        let (node, other) = self.pair();
        let lasts = Duration::from_millis(self.rng.between(2000, 20_000));
        let later = Duration::from_millis(self.rng.between(100, 2000));
        let one = |what: Hostility| vec![(now, Fault::Hostile(what))];
        match kind {
            Kind::Frames => {
                let forged = |draw: &mut Self| {
                    let forgery = draw.forgery();
                    Fault::Hostile(Hostility::Forged { from: node, to: other, forgery })
                };
                let mut frames: Vec<(Duration, Fault)> =
                    (0..16).map(|_| (now, forged(self))).collect();
                frames.push((later, Fault::Hostile(Hostility::Second { from: node, to: other })));
                frames
            }
            Kind::Garbage => {
                let back = self.rng.chance(60).then(|| self.back());
                let garbage = match back {
                    Some(_) => self.rng.pick(&[
                        Garbage::Magic,
                        Garbage::TooLong,
                        Garbage::Random,
                        Garbage::Half,
                    ]),
                    None => self.rng.pick(&[Garbage::Magic, Garbage::TooLong, Garbage::Random]),
                };
                one(Hostility::Garbage { from: node, to: other, garbage, back })
            }
            Kind::Misfits => {
                let misfit = match number % 3 {
                    0 => self.rng.pick(&[
                        Misfit::Version,
                        Misfit::IdleTimeout,
                        Misfit::KeepaliveDelay,
                        Misfit::HeartbeatTimeout,
                    ]),
                    1 => Misfit::FsVersion,
                    _ => Misfit::Nodes,
                };
                let lasts = dead + Duration::from_millis(self.rng.between(12_000, 18_000));
                one(Hostility::Misfit { node, misfit, back: self.back(), lasts })
            }
            Kind::Floods => {
                let locks = self.rng.pick(&[300, 1000, 3000]);
                let names = self.rng.pick(&[
                    Names::Few(20),
                    Names::Few(100),
                    Names::All,
                    Names::All,
                    Names::Colliding,
                    Names::Colliding,
                ]);
                // Of one name no more: with each change everybody in the way is told again.
                let locks = if matches!(names, Names::Few(20)) { locks.min(1000) } else { locks };
                one(Hostility::Flood { node, locks, names, lasts })
            }
            Kind::Stops => {
                let by = Duration::from_millis(
                    self.rng.between(1, (dead.as_millis() as u64).saturating_sub(4500).max(1)),
                );
                let (lasts, back) = (4 * dead, self.back());
                vec![
                    (now, Fault::Hostile(Hostility::SlowFence { node, by, lasts })),
                    (now, Fault::Hostile(Hostility::ToldTwice { node: other, lasts })),
                    match self.rng.chance(80) {
                        true => (later, Fault::StuckDisk { node, lasts: dead + later }),
                        false => (later, Fault::PowerOff { node, back }),
                    },
                ]
            }
            Kind::Memory => {
                let back = self.back();
                vec![
                    (now, Fault::Hostile(Hostility::NoMemory { node, lasts })),
                    match self.rng.chance(50) {
                        true => (later, Fault::Leave { node: other, domain: 0, back }),
                        false => (later, Fault::PowerOff { node: other, back }),
                    },
                ]
            }
        }
    }

    fn forgery(&mut self) -> Forgery {
        let naming = self.rng.pick(NAMING);
        let member = match self.rng.chance(60) {
            true => naming,
            false => self.rng.pick(NAMELESS),
        };
        match self.rng.below(10) {
            0 => Forgery::UnknownType(self.rng.pick(&[0, 3, 499, 501, 523, u16::MAX])),
            1 => Forgery::UnknownKey(member),
            2 => Forgery::Overlong(member),
            3 => Forgery::Truncated(member),
            4 | 5 => Forgery::Flipped(naming),
            6 => Forgery::Random(naming),
            7 => Forgery::Replayed,
            8 if self.rng.chance(40) => Forgery::OtherNode(self.rng.pick(JOINING)),
            // (Locks that migrate are another node's.)
            _ if member == MessageType::MigLockres => Forgery::OtherNode(MessageType::UnlockLock),
            _ => Forgery::OtherNode(member),
        }
    }
}
