//! How the cost of a lock and of a recovery grows: worlds without faults, with a fixed delay of 0.1 ms
//! between any two nodes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use o2cb::Timeouts;
use o2cb::o2dlm::message::LockMode;

use crate::log::Log;
use crate::plan::{Habits, NetPlan, Plan};
use crate::world::World;

/// Clusters and how many locks a node has when it dies.
const NODES: [u8; 8] = [2, 4, 8, 16, 32, 64, 128, 255];
const LOCKS: [usize; 5] = [100, 1000, 10_000, 100_000, 1_000_000];

/// The delay of every message.
const DELAY: Duration = Duration::from_micros(100);

/// All heartbeats are steady by then.
const ALIVE_BY: Duration = Duration::from_secs(20);

/// All nodes are in the domain by then.
const JOINED_BY: Duration = Duration::from_secs(600);

const LOOK_EVERY: Duration = Duration::from_millis(100);

const TICK: Duration = Duration::from_micros(10);

/// Locks that a node asks for before it has the first one.
const AT_ONCE: usize = 500;

/// What was measured in one world.
#[derive(Clone, Copy, Debug)]
struct Row {
    nodes: u8,
    locks: usize,
    /// Messages of the first lock on a new name, answers not counted.
    first_messages: u64,
    /// In delays.
    first_delays: f64,
    /// Messages for each of the locks whose master is another node.
    lock_messages: f64,
    /// From the first node that misses the dead one to the last that has recovered.
    recovery: Duration,
    recovery_messages: u64,
}

/// Measures, prints the table, and draws the picture.
pub(crate) fn run(svg: &Path) -> ExitCode {
    let header =
        "nodes    locks  first lock: messages  delays  lock: messages  recovery: ms  messages";
    println!("{header}");
    let mut rows = Vec::new();
    let by_nodes = NODES.map(|nodes| (nodes, LOCKS[0]));
    let by_locks = LOCKS.map(|locks| (4, locks));
    for (nodes, locks) in by_nodes.into_iter().chain(by_locks) {
        let Some(row) = measure(nodes, locks) else {
            eprintln!("{nodes} nodes with {locks} locks do not come right");
            return ExitCode::FAILURE;
        };
        println!(
            "{:>5}  {:>7}  {:>20}  {:>6.1}  {:>14.2}  {:>12.1}  {:>8}",
            row.nodes,
            row.locks,
            row.first_messages,
            row.first_delays,
            row.lock_messages,
            row.recovery.as_secs_f64() * 1000.0,
            row.recovery_messages
        );
        rows.push(row);
    }
    match std::fs::write(svg, picture(&rows)) {
        Ok(()) => {
            println!("the picture is in {}", svg.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{} cannot be written: {error}", svg.display());
            ExitCode::FAILURE
        }
    }
}

fn plan(nodes: u8) -> Plan {
    Plan {
        seed: u64::from(nodes),
        nodes: (0..nodes).collect(),
        domains: 1,
        names: 1,
        users: 0,
        think_ms: (1, 1),
        cached: None,
        habits: Habits {
            heeds_notices: 100,
            unlocks: 0,
            noqueue: 0,
            value_block: 0,
            cancels: 0,
            exclusive: 100,
            locks_max: usize::MAX,
        },
        timeouts: Timeouts { dead_threshold: 5, ..Timeouts::default() },
        global_regions: 0,
        // A heartbeat that starts among many that start is not steady in time, and starts again.
        start_ms: 100,
        faults_from: Duration::ZERO,
        safety: Duration::ZERO,
        net: NetPlan {
            latency_us: (DELAY.as_micros() as u64, DELAY.as_micros() as u64),
            tail: (0, 1),
            split_reads: 0,
            send_buffer: 1 << 20,
        },
        disk_latency_us: (200, 200),
        drift_ppm: vec![0; usize::from(nodes)],
        handler_ms: (0, 0),
        faults: Vec::new(),
        without: Vec::new(),
        resets: false,
        as_kernels: false,
    }
}

fn measure(nodes: u8, locks: usize) -> Option<Row> {
    let mut world = World::new(plan(nodes), Log::off());
    let last = usize::from(nodes) - 1;
    for node in &mut world.nodes {
        node.wanted[0] = Duration::MAX;
    }
    world.run_until(ALIVE_BY);
    // Those that join at once keep each other waiting.
    for index in 0..world.nodes.len() {
        world.nodes[index].wanted[0] = Duration::ZERO;
        world.join(index, 0);
        world.run_until(world.now + LOOK_EVERY);
    }
    while world.unsettled().is_some() {
        if world.now > JOINED_BY {
            return None;
        }
        world.run_until(world.now + LOOK_EVERY);
    }
    let before = messages(&world);
    let asked = world.now;

    world.lock_name(0, "first", LockMode::EX);
    wait(&mut world, Duration::from_secs(10), |world| world.unsettled().is_none())?;
    let (first_messages, first_delays) =
        (messages(&world) - before, (world.now - asked).as_secs_f64() / DELAY.as_secs_f64());
    // The last node masters them all, and the first has locks on them too.
    lock_all(&mut world, last, locks)?;
    let before = messages(&world);
    lock_all(&mut world, 0, locks)?;
    let lock_messages = (messages(&world) - before) as f64 / locks as f64;
    let before = messages(&world);
    let missed = world.coverage.of("heartbeat missed");
    world.power_off(last, Duration::from_secs(3600));
    wait(&mut world, Duration::from_secs(60), |world| {
        world.coverage.of("heartbeat missed") > missed
    })?;
    let began = world.now;
    wait(&mut world, Duration::from_secs(600), |world| {
        world
            .engines(0)
            .all(|(_, engine)| engine.members().len() == last && !engine.is_recovering())
    })?;
    Some(Row {
        nodes,
        locks,
        first_messages,
        first_delays,
        lock_messages,
        recovery: world.now - began,
        recovery_messages: messages(&world) - before,
    })
}

/// Takes locks on that many names, and waits until all are granted.
fn lock_all(world: &mut World, node: usize, locks: usize) -> Option<()> {
    for first in (0..locks).step_by(AT_ONCE) {
        let some = first..locks.min(first + AT_ONCE);
        let granted = world.coverage.of("granted") + some.len() as u64;
        for lock in some {
            world.lock_name(node, &format!("lock {lock}"), LockMode::PR);
        }
        wait(world, Duration::from_secs(600), |world| world.coverage.of("granted") == granted)?;
    }
    Some(())
}

/// Lets the world run until it is so; `None` if that takes longer.
fn wait(world: &mut World, limit: Duration, so: impl Fn(&World) -> bool) -> Option<()> {
    let until = world.now + limit;
    while !so(world) {
        if world.now >= until || world.violation.is_some() {
            return None;
        }
        // Nothing is looked at before something has happened.
        let next = world.next_event().unwrap_or(until).max(world.now + TICK);
        world.run_until(next);
    }
    Some(())
}

fn messages(world: &World) -> u64 {
    let counts = world.coverage.iter();
    counts.filter(|(what, _)| what.starts_with("message: ")).map(|(_, times)| times).sum()
}

/// The rows as lines, both axes logarithmic.
fn picture(rows: &[Row]) -> String {
    let (by_nodes, by_locks) = rows.split_at(NODES.len());
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 300\" font-family=\"sans-serif\" \
         font-size=\"11\">\n",
    );
    let first: Vec<(f64, f64)> =
        by_nodes.iter().map(|row| (row.nodes.into(), row.first_messages as f64)).collect();
    let nodes: Vec<(f64, f64)> = by_nodes
        .iter()
        .map(|row| (row.nodes.into(), row.recovery.as_secs_f64() * 1000.0))
        .collect();
    let locks: Vec<(f64, f64)> = by_locks
        .iter()
        .map(|row| (row.locks as f64, row.recovery.as_secs_f64() * 1000.0))
        .collect();
    for (at, (title, points)) in [
        ("messages of a first lock, by nodes", first),
        ("recovery in ms, by nodes", nodes),
        ("recovery in ms, by locks", locks),
    ]
    .into_iter()
    .enumerate()
    {
        panel(&mut svg, 20.0 + 250.0 * at as f64, title, &points);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, left: f64, title: &str, points: &[(f64, f64)]) {
    let scaled = |value: f64, (low, high): (f64, f64)| {
        (value.ln() - low.ln()) / (high.ln() - low.ln()).max(f64::EPSILON)
    };
    let range = |values: Vec<f64>| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min).max(0.01);
        (low, values.iter().copied().fold(low, f64::max))
    };
    let xs = range(points.iter().map(|point| point.0).collect());
    let ys = range(points.iter().map(|point| point.1).collect());
    // Writing to a string does not fail.
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"20\">{title}</text>");
    let mut line = String::new();
    for (x, y) in points {
        let at = (left + 20.0 + 190.0 * scaled(*x, xs), 260.0 - 210.0 * scaled(y.max(0.01), ys));
        let _ = write!(line, "{:.1},{:.1} ", at.0, at.1);
        let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>", at.0, at.1);
        let _ =
            writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{y:.0}</text>", at.0 + 4.0, at.1 - 6.0);
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"280\">{x:.0}</text>", at.0 - 4.0);
    }
    let line = line.trim_end();
    let _ = writeln!(svg, "<polyline points=\"{line}\" fill=\"none\" stroke=\"black\"/>");
}
