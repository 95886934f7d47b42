//! Many processes, one lock.

use std::fs;
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, Running, eventually};

#[test]
fn two_hundred_processes_that_count_to_ten_count_to_two_thousand() {
    let host = Host::new();
    fs::write(host.path("number"), "0\n").expect("written");
    let script = r#"for i in 1 2 3 4 5 6 7 8 9 10; do
        "$0" lock -x counter -- sh -c 'read n < number; echo $((n + 1)) > number' || exit 1
    done"#;
    let processes: Vec<_> = (0..200)
        .map(|_| {
            let mut command = host.shell(script);
            command.stdout(std::process::Stdio::piped());
            Running::start(command)
        })
        .collect();
    for process in processes {
        let ran = process.end_within(Duration::from_secs(300));
        assert_eq!(ran.status, 0, "{ran:?}");
    }
    assert_eq!(fs::read_to_string(host.path("number")).expect("written"), "2000\n");
    assert!(host.locks().is_empty());
}

/// Each holder reads the last line and appends one with the next number. An update that was lost
/// would show as a number that is there twice.
#[test]
fn holders_killed_at_random_lose_no_update_and_leak_no_lock() {
    const COMMAND: &str = "n=$(tail -n 1 numbers); sleep 0.005; echo $((n + 1)) >> numbers";
    const WORKERS: usize = 6;
    let host = Host::new();
    fs::write(host.path("numbers"), "0\n").expect("written");
    let running: [Mutex<Option<Child>>; WORKERS] = Default::default();
    let (stop, completed, killed) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for slot in &running {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut command = host.command(&["lock", "-x", "counter", "-c", COMMAND]);
                    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
                    let child = command.spawn().expect("it starts");
                    *slot.lock().expect("no panic") = Some(child);
                    completed.fetch_add(usize::from(wait(slot)), Ordering::Relaxed);
                }
            });
        }
        let mut random = Random(0x5eed);
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(random.below(30)));
            let slot = running[random.below(WORKERS as u64) as usize].lock().expect("no panic");
            let Some(stackglue) = slot.as_ref().map(Pid::from_child) else { continue };
            // One half of the time stackglue is killed, the other half its command.
            let victim = if random.below(2) == 0 { Some(stackglue) } else { child_of(stackglue) };
            if let Some(victim) = victim {
                killed.fetch_add(
                    usize::from(kill_process(victim, Signal::KILL).is_ok()),
                    Ordering::Relaxed,
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let numbers = fs::read_to_string(host.path("numbers")).expect("written");
    let numbers: Vec<usize> = numbers.lines().map(|line| line.parse().expect("a number")).collect();
    let expected: Vec<usize> = (0..numbers.len()).collect();
    assert_eq!(numbers, expected, "an update was lost");
    let (completed, killed) = (completed.into_inner(), killed.into_inner());
    assert!(numbers.len() > completed && completed > 100 && killed > 100, "{completed}, {killed}");
    host.await_no_lock();
    host.run_well(&["lock", "-n", "counter", "true"]);
}

/// Waits for the child in the slot, which stays there until it has ended; whether it ended well.
fn wait(slot: &Mutex<Option<Child>>) -> bool {
    let mut success = false;
    eventually("the end of a worker's command", || {
        let mut slot = slot.lock().expect("no panic");
        let status = slot.as_mut().and_then(|child| child.try_wait().expect("a child of ours"));
        success = status.is_some_and(|status| status.success());
        slot.take_if(|_| status.is_some()).is_some()
    });
    success
}

/// The only child of a process, if it has one now.
fn child_of(parent: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// A sequence that looks random and is the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
