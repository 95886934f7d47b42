//! Scenes: faults that follow each other in a way that chance rarely finds. Each sixth seed has one kind
//! of them, over and over.

use std::time::Duration;

use o2cb::o2dlm::message::MessageType;

use crate::fault::{Draw, Fault, Planned};
use crate::plan::{Habits, Plan};
use crate::rng::Rng;

/// Of so many seeds one has scenes, in place of its own faults.
const SEEDS: u64 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// Two sides do not hear each other until one has stopped.
    Splits,
    /// A node does nothing for about as long as makes it dead.
    NearlyDead,
    /// A node hands over what it masters, and dies, and one node has not heard from it meanwhile.
    Departures,
    /// A node is back before it is missed, in several regions.
    Rebirths,
    /// Half of what a node writes arrives, and the write fails.
    HalfWrites,
    /// Whoever recovers for a dead node dies.
    RecoveryMasters,
    /// What a node said last comes long after it died, to one that is told of that by others.
    LastWords,
    /// A node hands over what it masters, and dies, and what it answered is lost.
    LostAnswers,
    /// A node is back before it is missed in a region that does not answer.
    RebirthsUnseen,
    /// Half of what a node writes arrives, for longer than anybody waits for a whole block.
    NeverWhole,
}

const SCENES: [Scene; 6] = [
    Scene::Splits,
    Scene::NearlyDead,
    Scene::Departures,
    Scene::Rebirths,
    Scene::HalfWrites,
    Scene::RecoveryMasters,
];

/// The scenes of each third of these seeds, in turn. The others are as they were before there were
/// these: what they once found they would find again.
const LATER_SCENES: [Scene; 4] =
    [Scene::LastWords, Scene::LostAnswers, Scene::RebirthsUnseen, Scene::NeverWhole];

/// Gives a plan scenes, if its seed is one of those that have some.
pub(crate) fn direct(plan: &mut Plan) {
    if plan.seed % SEEDS != SEEDS - 2 {
        return;
    }
    let mut rng = Rng::new(plan.seed ^ 0x005C_E4E5);
    let turn = plan.seed / SEEDS;
    let later = turn % 3 == 2;
    let scene = match later {
        true => LATER_SCENES[(turn / 3 % LATER_SCENES.len() as u64) as usize],
        false => rng.pick(&SCENES),
    };
    plan.timeouts.dead_threshold = rng.pick(&[3, 4, 5]);
    plan.timeouts.idle_timeout_ms = rng.pick(&[3000, 5000]);
    plan.timeouts.keepalive_delay_ms = rng.pick(&[500, 1000]);
    plan.safety = Duration::from_secs(100);
    plan.names = rng.pick(&[1, 2, 3, 6]);
    plan.think_ms = rng.pick(&[(1, 60), (5, 300)]);
    plan.global_regions =
        if matches!(scene, Scene::Rebirths | Scene::RebirthsUnseen) { 3 } else { 0 };
    if later {
        plan.suit(scene, &mut rng);
    }
    let mut at = Duration::from_millis(rng.between(16_000, 24_000));
    plan.faults.clear();
    while at < plan.safety - Duration::from_secs(10) {
        let mut draw = Draw { plan, rng: &mut rng };
        let faults = draw.scene(scene);
        plan.faults
            .extend(faults.into_iter().map(|(wait, fault)| Planned { at: at + wait, fault }));
        at += Duration::from_millis(rng.between(5000, 30_000));
    }
    plan.faults.sort_by_key(|planned| planned.at);
}

impl Plan {
    /// Timings and habits without which a scene comes to nothing.
    fn suit(&mut self, scene: Scene, rng: &mut Rng) {
        match scene {
            Scene::LastWords => {
                self.timeouts.dead_threshold = rng.pick(&[5, 7]);
                self.handler_ms = (0, 5);
                (self.habits.unlocks, self.habits.cancels) = (10, 0);
            }
            Scene::LostAnswers => {
                // Somebody waits behind a lock that is kept for so long that its master is dead by then:
                // what is granted earlier, or told, keeps the name from moving, or needs no answer.
                (self.names, self.users) = (rng.pick(&[1, 2]), rng.pick(&[1, 2]));
                self.think_ms = rng.pick(&[(300, 3000), (1500, 5000)]);
                let habits = Habits { heeds_notices: 0, unlocks: 70, exclusive: 90, ..self.habits };
                self.habits = Habits { noqueue: 0, cancels: 0, locks_max: 1, ..habits };
            }
            Scene::NeverWhole => self.timeouts.dead_threshold = rng.pick(&[9, 12]),
            _ => {}
        }
    }
}

impl Draw<'_> {
    fn scene(&mut self, scene: Scene) -> Vec<(Duration, Fault)> {
        let timeouts = self.plan.timeouts;
        let dead = u64::from(timeouts.dead_ms());
        let (node, other) = self.pair();
        let now = Duration::ZERO;
        match scene {
            Scene::Splits => {
                let until_decided = timeouts.quorum_delay_ms() + timeouts.idle_timeout_ms;
                let least = u64::from(until_decided) + dead;
                vec![(now, Fault::Split { side: self.some(), lasts: self.ms(least, 2 * least) })]
            }
            Scene::NearlyDead => {
                let lasts = self.ms(dead.saturating_sub(2500), dead + 3000);
                vec![(now, Fault::Pause { node, lasts })]
            }
            Scene::Departures => vec![
                (now, Fault::Cut { from: node, to: other, lasts: self.ms(2000, 9000) }),
                (self.ms(0, 1500), Fault::Leave { node, domain: 0, back: self.back() }),
                (self.ms(100, 5000), Fault::PowerOff { node, back: self.back() }),
            ],
            Scene::Rebirths => {
                let back = self.ms(1, 3000);
                let fault = match self.rng.below(2) {
                    0 => Fault::Kill { node, back },
                    _ => Fault::PowerOff { node, back },
                };
                vec![(now, fault)]
            }
            Scene::HalfWrites => {
                let lasts = self.ms(dead, 2 * dead);
                vec![
                    (now, Fault::TornWrites { node, lasts }),
                    (now, Fault::DiskErrors { node, lasts }),
                ]
            }
            Scene::RecoveryMasters => {
                let message = self.rng.pick(&[
                    MessageType::BeginReco,
                    MessageType::LockRequest,
                    MessageType::MigLockres,
                    MessageType::RecoDataDone,
                    MessageType::FinalizeReco,
                ]);
                let sender = matches!(
                    message,
                    MessageType::BeginReco | MessageType::LockRequest | MessageType::FinalizeReco
                );
                let (nth, before, back) =
                    (self.rng.between(1, 4), self.rng.chance(50), self.back());
                vec![
                    (now, Fault::Ambush { message, nth, sender, before, back }),
                    (now, Fault::PowerOff { node, back: self.back() }),
                ]
            }
            later => self.later_scene(later),
        }
    }

    fn later_scene(&mut self, scene: Scene) -> Vec<(Duration, Fault)> {
        let dead = u64::from(self.plan.timeouts.dead_ms());
        let (node, other) = self.pair();
        let now = Duration::ZERO;
        match scene {
            Scene::LastWords => {
                let (by, lasts) = (self.ms(1500, 4000), self.ms(8000, 12_000));
                vec![
                    (now, Fault::SlowLink { from: node, to: other, by, lasts }),
                    (now, Fault::SlowDisk { node: other, by: self.ms(1000, 2000), lasts }),
                    (self.ms(2000, 6000), Fault::PowerOff { node, back: self.ms(1, 800) }),
                ]
            }
            Scene::LostAnswers => {
                let leaves = self.rng.between(1000, 4000);
                let off = leaves + self.rng.between(100, 1500);
                let leave = Fault::Leave { node, domain: 0, back: self.back() };
                vec![
                    (
                        now,
                        Fault::Cut { from: node, to: other, lasts: self.ms(off + 1, off + dead) },
                    ),
                    (Duration::from_millis(leaves), leave),
                    (Duration::from_millis(off), Fault::PowerOff { node, back: self.ms(1, 500) }),
                ]
            }
            Scene::RebirthsUnseen => {
                let region = self.rng.below(3) as usize;
                let lasts = self.ms(5000, 15_000);
                vec![
                    (now, Fault::StuckRegion { node: other, region, lasts }),
                    (self.ms(100, 2500), Fault::Kill { node, back: self.ms(1, 1500) }),
                ]
            }
            _ => {
                vec![(now, Fault::HalfWrites { node, lasts: self.ms(2 * dead, 3 * dead) })]
            }
        }
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.between(from, to))
    }
}
