//! The random workload of a node of ours, in a process of its own. `lab/src/dlmfsmix.c` is a kernel's.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use stackglue::{Errno, HeldLock, LockError, LockFlags, Mode};

use super::{DOMAIN, NAMES};
use crate::ours::{Member, text};
use crate::process;
use crate::random::Random;

#[test]
#[ignore = "no test: another one runs it as a process, to kill it"]
fn node() {
    let logs = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(logs).with_writer(std::io::stderr).init();
    let ours = process::node();
    let us = ours.join(DOMAIN);
    // A resource is forgotten with its value when nobody has a lock on it. One in NL is in no one's way.
    let kept: Vec<_> = NAMES.iter().map(|name| us.lock(name, Mode::NL)).collect();
    let worker = Worker {
        us: &us,
        life: process::variable("LIFE"),
        log: Mutex::new(log(&process::variable("LOG"))),
        turns: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let seed: u64 = process::variable("SEED").parse().expect("a number");
    println!("joined");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let worker = &worker;
            scope.spawn(move || worker.run(Random::new(seed.wrapping_add(thread))));
        }
        // Until the test that started this closes it.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        worker.stop.store(true, Ordering::Relaxed);
    });
    for lock in kept {
        lock.unlock().wait().expect("unlocked");
    }
    us.leave();
    for peer in ours.node.status().nodes {
        assert_eq!(peer.counters.bad_frames, 0, "{peer:?}");
    }
    ours.stop();
}

const THREADS: u64 = 3;

fn log(path: &str) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a log")
}

struct Worker<'a> {
    us: &'a Member,
    life: String,
    log: Mutex<File>,
    turns: AtomicU64,
    stop: AtomicBool,
}

impl Worker<'_> {
    fn run(&self, mut random: Random) {
        while !self.stop.load(Ordering::Relaxed) {
            self.turn(&mut random);
            thread::sleep(random.up_to(Duration::from_millis(10)));
        }
    }

    /// Takes a lock, does something under it, and drops it.
    fn turn(&self, random: &mut Random) {
        let name = *random.of(&NAMES);
        let mode = *random.of(&[Mode::EX, Mode::PR]);
        let operation = self.ask(name, mode);
        let request = self.us.client.lock(name, mode).flags(LockFlags::VALBLK);
        let outcome = match random.below(8) {
            0 | 1 => request.flags(LockFlags::NOQUEUE).wait(),
            2 => request.wait_timeout(random.up_to(Duration::from_millis(40))),
            _ => request.wait(),
        };
        let Some(mut held) = self.outcome(&operation, outcome) else { return };
        self.got(&operation, &held);
        let long = random.once_in(16);
        thread::sleep(if long { LONG } else { random.up_to(Duration::from_millis(5)) });
        let left = if random.once_in(3) {
            self.convert(name, mode, operation, &mut held)
        } else {
            Some(operation)
        };
        if let Some(operation) = &left {
            self.put(operation, &held);
        }
        held.unlock().wait().unwrap_or_else(|error| panic!("{error}"));
        if let Some(operation) = &left {
            self.say("let", operation, "");
        }
    }

    /// To the other mode, as an operation of its own. Which one is to be ended, if any.
    fn convert(
        &self,
        name: &str,
        mode: Mode,
        operation: String,
        held: &mut HeldLock,
    ) -> Option<String> {
        self.put(&operation, held);
        if mode == Mode::EX {
            let next = self.ask(name, Mode::PR);
            let down = held.convert(Mode::PR).wait();
            down.unwrap_or_else(|error| panic!("{error}"));
            self.say("let", &operation, "");
            self.got(&next, held);
            return Some(next);
        }
        // Two that wait to convert upwards would wait for each other.
        self.say("let", &operation, "");
        let next = self.ask(name, Mode::EX);
        let outcome = held.convert(Mode::EX).flags(LockFlags::NOQUEUE).wait();
        self.outcome(&next, outcome)?;
        self.got(&next, held);
        Some(next)
    }

    fn ask(&self, name: &str, mode: Mode) -> String {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let operation = format!("{}.{turn}", self.life);
        let mode = if mode == Mode::EX { "ex" } else { "pr" };
        self.say("ask", &operation, &format!("{name} {mode}"));
        operation
    }

    /// What was granted; refused are those that do not wait, or no longer.
    fn outcome<T>(&self, operation: &str, outcome: Result<T, LockError>) -> Option<T> {
        match outcome {
            Ok(granted) => return Some(granted),
            Err(LockError::TimedOut { .. } | LockError::Refused { errno: Errno::EAGAIN, .. }) => {
                self.say("refused", operation, "");
            }
            Err(error) => panic!("{operation}: {error}"),
        }
        None
    }

    fn got(&self, operation: &str, held: &HeldLock) {
        let value = text(&held.lvb());
        self.say("got", operation, if value.is_empty() { "-" } else { &value });
    }

    /// Lets go, with the operation's name as the value if that is written.
    fn put(&self, operation: &str, held: &HeldLock) {
        self.say("put", operation, "");
        held.set_lvb(operation.as_bytes()).expect("it fits");
    }

    /// A line is in the file when this returns, and stays there if we are killed.
    fn say(&self, step: &str, operation: &str, rest: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let nanos = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        let line = format!("{nanos} {step} {operation} {rest}");
        let written = self.log.lock().write_all(format!("{}\n", line.trim_end()).as_bytes());
        written.expect("room for the log");
    }
}

const LONG: Duration = Duration::from_millis(50);
