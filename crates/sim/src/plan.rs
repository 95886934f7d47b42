//! What a seed draws: the size of the cluster, its timings, its users, and the mix of faults.

use std::time::Duration;

use o2cb::Timeouts;

use crate::fault::{self, Planned};
use crate::hostile;
use crate::rng::Rng;
use crate::scene;

/// One world, before it runs. Everything in it follows from the seed and what a person overrides.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The node numbers.
    pub(crate) nodes: Vec<u8>,
    pub(crate) domains: usize,
    /// Resource names in each domain.
    pub(crate) names: u64,
    /// Users of each domain on each node.
    pub(crate) users: usize,
    /// What a user waits between two things that it does, in milliseconds.
    pub(crate) think_ms: (u64, u64),
    pub(crate) habits: Habits,
    /// Programs of a node that cache locks, if there are any.
    pub(crate) cached: Option<CachedPlan>,
    pub(crate) timeouts: Timeouts,
    /// Heartbeat regions of global mode; none is local mode with one region.
    pub(crate) global_regions: usize,
    /// All nodes start within so many milliseconds.
    pub(crate) start_ms: u64,
    /// When faults begin, and when the safety phase ends.
    pub(crate) faults_from: Duration,
    pub(crate) safety: Duration,
    pub(crate) net: NetPlan,
    pub(crate) disk_latency_us: (u64, u64),
    /// How fast the clock of each node runs beside the true one, in parts per million.
    pub(crate) drift_ppm: Vec<i64>,
    /// How long a handler takes that is told of a death, in milliseconds.
    pub(crate) handler_ms: (u64, u64),
    pub(crate) faults: Vec<Planned>,
    /// Faults that do not strike, by number.
    pub(crate) without: Vec<usize>,
    /// Where one-way cuts would be, idle connections end instead.
    pub(crate) resets: bool,
    /// Nodes introduce themselves as kernels, to which a BAST goes when the AST before it is answered.
    pub(crate) as_kernels: bool,
}

/// What a person wants otherwise than the seed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) nodes: Option<usize>,
    pub(crate) users: Option<usize>,
    pub(crate) without: Vec<usize>,
    pub(crate) resets: bool,
    pub(crate) as_kernels: bool,
}

impl Overrides {
    /// The plan with these.
    pub(crate) fn of(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        let nodes = self.nodes.unwrap_or(plan.nodes.len()).clamp(2, plan.nodes.len());
        plan.nodes.truncate(nodes);
        plan.users = self.users.unwrap_or(plan.users).max(1);
        plan.resets = self.resets;
        plan.as_kernels = self.as_kernels;
        plan.without.clone_from(&self.without);
        let gone = |planned: &Planned| planned.fault.highest_node() >= nodes;
        let missing = plan.faults.iter().enumerate().filter(|(_, planned)| gone(planned));
        let missing: Vec<usize> = missing.map(|(at, _)| at).collect();
        plan.without.extend(missing);
        plan
    }

    /// As arguments of the command.
    pub(crate) fn arguments(&self) -> String {
        let mut text = String::new();
        if let Some(nodes) = self.nodes {
            text.push_str(&format!(" --nodes {nodes}"));
        }
        if let Some(users) = self.users {
            text.push_str(&format!(" --users {users}"));
        }
        if self.resets {
            text.push_str(" --resets");
        }
        if self.as_kernels {
            text.push_str(" --as-kernels");
        }
        if !self.without.is_empty() {
            let numbers: Vec<String> = self.without.iter().map(usize::to_string).collect();
            text.push_str(&format!(" --without {}", numbers.join(",")));
        }
        text
    }
}

/// How users behave, in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// A blocking notice is reacted to at once, and not when the user's turn comes.
    pub(crate) heeds_notices: u64,
    /// Give up a lock instead of converting it.
    pub(crate) unlocks: u64,
    pub(crate) noqueue: u64,
    pub(crate) value_block: u64,
    /// Take back what is waited for.
    pub(crate) cancels: u64,
    pub(crate) exclusive: u64,
    /// Locks that one user has at most.
    pub(crate) locks_max: usize,
}

/// Programs that cache locks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachedPlan {
    pub(crate) names: u64,
    /// Users on each node.
    pub(crate) users: usize,
}

/// How bytes travel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetPlan {
    pub(crate) latency_us: (u64, u64),
    /// Of a hundred segments, how many are late, and how late at most, in milliseconds.
    pub(crate) tail: (u64, u64),
    /// The bytes of one read: a part of them, at random, if this is set.
    pub(crate) split_reads: u64,
    /// How many bytes a socket takes before its peer has read them.
    pub(crate) send_buffer: usize,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x00A1_1F0E);
        let count = rng.pick(&[2, 2, 3, 3, 3, 4, 4, 5, 6, 8]);
        let nodes = numbers(count, &mut rng);
        let timeouts = timings(&mut rng);
        let quick = timeouts.dead_threshold <= 7;
        let mut plan = Plan {
            seed,
            domains: rng.pick(&[1, 1, 1, 2]),
            names: rng.pick(&[1, 2, 3, 6, 20]),
            users: rng.pick(&[1, 2, 2, 4]),
            think_ms: rng.pick(&[(1, 60), (5, 300), (50, 2000), (1, 2500)]),
            habits: habits(&mut rng),
            cached: cached(seed),
            timeouts,
            global_regions: rng.pick(&[0, 0, 0, 1, 3]),
            start_ms: 3000,
            faults_from: Duration::from_secs(rng.pick(&[0, 12, 16, 20])),
            safety: Duration::from_secs(if quick { 60 } else { 100 }),
            net: net(&mut rng),
            disk_latency_us: rng.pick(&[(50, 400), (500, 4000), (2000, 60_000)]),
            drift_ppm: nodes.iter().map(|_| rng.below(1001) as i64 - 500).collect(),
            handler_ms: rng.pick(&[(0, 0), (0, 5), (1, 400), (500, 3000)]),
            faults: Vec::new(),
            without: Vec::new(),
            resets: false,
            as_kernels: false,
            nodes,
        };
        plan.faults = fault::draw(&plan, &mut rng);
        scene::direct(&mut plan);
        hostile::invite(&mut plan);
        plan
    }
}

impl Plan {
    /// Whether that fault does not strike.
    pub(crate) fn is_without(&self, fault: usize) -> bool {
        self.without.contains(&fault)
    }
}

/// Node numbers: usually from 1 on, sometimes from 0 on, sometimes with gaps.
fn numbers(count: u8, rng: &mut Rng) -> Vec<u8> {
    match rng.below(4) {
        0 => (0..count).collect(),
        1 => {
            let mut numbers = Vec::new();
            let mut next = 0;
            for _ in 0..count {
                next += 1 + rng.below(9) as u8;
                numbers.push(next);
            }
            numbers
        }
        _ => (1..=count).collect(),
    }
}

/// Each sixth seed has programs that cache locks.
fn cached(seed: u64) -> Option<CachedPlan> {
    let mut rng = Rng::new(seed ^ 0x00CA_C4ED);
    let plan = CachedPlan { names: rng.pick(&[1, 2, 3, 8]), users: rng.pick(&[1, 2, 3]) };
    matches!(seed % 12, 0 | 8).then_some(plan)
}

fn timings(rng: &mut Rng) -> Timeouts {
    let dead_threshold = rng.pick(&[3, 4, 5, 5, 7, 7, 31]);
    let idle_timeout_ms = rng.pick(&[3000, 5000, 10_000, 30_000]);
    Timeouts {
        dead_threshold,
        idle_timeout_ms,
        keepalive_delay_ms: rng.pick(&[500, 1000, 2000]),
        reconnect_delay_ms: rng.pick(&[200, 1000, 2000]),
    }
}

fn habits(rng: &mut Rng) -> Habits {
    Habits {
        heeds_notices: rng.pick(&[0, 50, 90, 100]),
        unlocks: rng.pick(&[10, 40, 70]),
        noqueue: rng.pick(&[0, 10, 30]),
        value_block: rng.pick(&[0, 60, 90]),
        cancels: rng.pick(&[0, 10, 40, 80]),
        exclusive: rng.pick(&[10, 33, 60, 90]),
        locks_max: rng.pick(&[1, 2, 4]),
    }
}

fn net(rng: &mut Rng) -> NetPlan {
    NetPlan {
        latency_us: rng.pick(&[(30, 120), (200, 1500), (1000, 9000), (100, 40_000)]),
        tail: (rng.pick(&[0, 1, 5, 20]), rng.pick(&[20, 100, 400])),
        split_reads: rng.pick(&[0, 0, 30, 100]),
        send_buffer: rng.pick(&[1 << 20, 1 << 16, 4096, 600]),
    }
}
