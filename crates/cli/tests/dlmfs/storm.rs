//! Many processes at once, some of which are killed at any moment.
//!
//! Each takes the lock, counts up the number in its value, and gives the lock back, through one of two
//! mounts. It writes a line to a file of its own before and after: so the number may exceed the counted
//! ones only by those that were killed in between. `cargo xtask storm` makes it longer.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::{Host, eventually};
use crate::mounted::{How, Mounted, can_mount};

const PROCESSES: usize = 64;

/// A process that is longer in state D, or longer lives on when it was killed, is stuck.
const STUCK: Duration = Duration::from_secs(5);

/// `exec 3<>` waits for the other mount, `flock` for the others of this one: nodes are excluded, not
/// processes. The number is padded so that it overwrites the last one whole.
const SCRIPT: &str = r#"
while :; do
    exec 3<>"$1" || exit
    exec 9>"$3" && flock 9
    number=$(head -c 20 <&3 | tr -d '\000')
    number=$((${number#"${number%%[!0]*}"} + 1))
    printf '%s\n' "$number" >>"$2.begun"
    printf '%020d\n' "$number" >&3
    printf '%s\n' "$number" >>"$2.done"
    exec 9>&- 3>&-
    dd if="$1" iflag=nonblock of=/dev/null status=none
done
"#;

#[test]
fn nothing_is_lost_and_nothing_is_left_when_processes_are_killed_at_random() {
    if !can_mount() {
        return;
    }
    let seconds =
        std::env::var("STORM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let host = Host::new();
    let (one, other) = (Mounted::with_domain(&host, "one"), Mounted::with_domain(&host, "other"));
    for mounted in [&one, &other] {
        drop(mounted.open("l", How::Shared).expect("free"));
    }
    let start = |index: usize| -> Child {
        let mounted = if index.is_multiple_of(2) { &one } else { &other };
        Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(mounted.path("d/l"))
            .arg(host.path(&format!("process.{index}")))
            .arg(host.path(&format!("mount.{}", index % 2)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts")
    };
    let mut processes: Vec<Child> = (0..PROCESSES).map(start).collect();
    let mut watch = Watch::default();
    watch.add(&processes);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (mut killed, mut choice) = (0, 7u64);
    while Instant::now() < deadline {
        choice = choice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let victim = (choice >> 33) as usize % PROCESSES;
        watch.kill(&mut processes[victim]);
        processes[victim] = start(victim);
        watch.add(&processes[victim..=victim]);
        killed += 1;
    }
    for process in &mut processes {
        watch.kill(process);
    }
    // What they had started ends by itself: `dd` once it has the lock.
    eventually("the end of every process", || watch.look() == 0);
    let numbers = |what: &str| -> Vec<u64> {
        (0..PROCESSES)
            .filter_map(|index| {
                fs::read_to_string(host.path(&format!("process.{index}.{what}"))).ok()
            })
            .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
            .collect()
    };
    let (begun, mut done) = (numbers("begun"), numbers("done"));
    done.sort_unstable();
    let counted = done.len();
    done.dedup();
    assert_eq!(done.len(), counted, "no two had the lock at once");
    assert!(counted > PROCESSES, "it was counted to {counted} only");
    assert!(begun.len() - counted <= killed + PROCESSES, "{} begun, {counted} done", begun.len());

    let value = fs::read(one.path("d/l")).expect("free");
    let shown = String::from_utf8_lossy(&value).into_owned();
    let last: u64 = shown[..20].parse().expect("a number");
    assert!(last >= done.last().copied().unwrap_or(0), "{last} is older than what was written");
    for mounted in [&one, &other] {
        eventually("every close", || fs::remove_file(mounted.path("d/l")).is_ok());
    }
    assert!(host.locks().is_empty());
    println!("{counted} times, {killed} killed, {:?} in state D at most", watch.longest);
}

/// Looks for processes that no signal ends: those of the groups that were started.
#[derive(Default)]
struct Watch {
    groups: HashSet<i32>,
    /// Since when which process was seen in state D, every time.
    since: HashMap<i32, Instant>,
    longest: Duration,
}

impl Watch {
    fn add(&mut self, leaders: &[Child]) {
        self.groups.extend(leaders.iter().map(|leader| leader.id().cast_signed()));
    }

    /// Kills a process, which must die soon, whatever it waits for.
    fn kill(&mut self, process: &mut Child) {
        process.kill().expect("it runs");
        let killed = Instant::now();
        while process.try_wait().expect("a child of ours").is_none() {
            assert!(killed.elapsed() < STUCK, "{} was killed, and lives", process.id());
            self.look();
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many there are. None may stay in state D.
    fn look(&mut self) -> usize {
        let entries = fs::read_dir("/proc").expect("there is a /proc");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let states = pids.filter_map(|pid| Some((pid, self.state(pid)?)));
        let states: HashMap<i32, char> = states.collect();
        self.since.retain(|pid, _| states.get(pid) == Some(&'D'));
        for (&pid, _) in states.iter().filter(|(_, state)| **state == 'D') {
            let stuck = self.since.entry(pid).or_insert_with(Instant::now).elapsed();
            self.longest = self.longest.max(stuck);
            let at = || fs::read_to_string(format!("/proc/{pid}/stack")).unwrap_or_default();
            assert!(stuck < STUCK, "{pid} is stuck in state D:\n{}", at());
        }
        states.len()
    }

    /// The state of a process of ours that has not ended.
    fn state(&self, pid: i32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        (self.groups.contains(&group) && !matches!(state, 'Z' | 'X')).then_some(state)
    }
}
