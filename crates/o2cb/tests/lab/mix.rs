//! Two kernels and two of ours take the same few locks at random, while nodes are killed and come back,
//! are held up, or lose their cable. Each writes down what it does, and the history is judged.

mod nodes;
mod worker;

use std::time::{Duration, Instant};

use lab::{Error, LabOptions, Violation, eventually};

use crate::ours::{LOST, RECOVERY, options};
use crate::random::Random;
use nodes::Nodes;

/// What a kernel says beside [`LOST`] when several troubles meet.
const QUARRELS: [&str; 6] = [
    // Quorum had something to decide, as after a death during a cut, and this kernel goes on.
    "not fencing this node, heartbeating: ",
    // `dlm_do_local_recovery_cleanup` has purged what this thread was dropping at a node that died.
    "dlm_purge_lockres:260 ERROR: Resource ",
    // One of ours was killed: its socket answers what comes with a reset. Those that live are asked in
    // the end whether they closed a connection for what was in it.
    "sendmsg returned -104 instead of ",
    "Error -104 when sending message",
    "rror -104 send ",
    "status = -104",
];

const DOMAIN: &str = "mix";

/// Few, so that they are wanted by several at once. A kernel's two processes have two each.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn kernels_and_we_keep_locks_and_values_through_kills_and_cuts() -> Result<(), Error> {
    let crowd = LabOptions { extra_nodes: 2, ..options(false) };
    lab::shared(crowd, |lab| {
        let seed = number("LAB_SEED").unwrap_or_else(|| std::process::id().into());
        let longer = number("LAB_SECONDS");
        let seconds = Duration::from_secs(longer.unwrap_or(30));
        // Two troubles at once can leave a kernel without quorum, and then it fences itself as it should:
        // a run that nobody looks at has none of that kind.
        let troubles = if longer.is_some() { &Trouble::ALL[..] } else { &Trouble::SINGLE[..] };
        println!("LAB_SEED={seed} makes the same choices again");
        let mut random = Random::new(seed);
        let mut nodes = Nodes::start(lab, seed)?;
        let _capture = match std::env::var_os("LAB_CAPTURE") {
            Some(file) => Some(lab.capture(file.as_ref(), "tcp port 7777")?),
            None => None,
        };
        let since = Instant::now();
        let mut deck = Vec::new();
        while since.elapsed() < seconds {
            if deck.is_empty() {
                deck = troubles.to_vec();
                random.shuffle(&mut deck);
            }
            let trouble = deck.pop().unwrap_or(Trouble::Cut);
            trouble.make(&mut nodes, &mut random)?;
            pause(random.up_to(Duration::from_secs(4)));
        }
        // All is well again: everybody is to get on.
        let calm = nodes.now();
        pause(Duration::from_secs(5));
        nodes.tell_to_end()?;
        let ended = eventually(RECOVERY, || nodes.have_ended());
        let history = nodes.history()?;
        let violations: Vec<_> = history.violations().iter().map(Violation::to_string).collect();
        assert!(violations.is_empty(), "LAB_SEED={seed}:\n{}", violations.join("\n"));
        assert!(ended, "LAB_SEED={seed}: somebody does not end");
        for life in history.lives() {
            println!("node {}: {} grants", life.node, life.grants_since(Duration::ZERO));
            assert!(life.death.is_some() || life.grants_since(calm) > 10, "{} hangs", life.node);
        }
        for guest in lab.guests() {
            assert!(guest.is_alive(), "a kernel fenced itself");
            assert_eq!(guest.kernel_errors(&[&LOST[..], &QUARRELS].concat())?, [] as [String; 0]);
        }
        nodes.forget_logs();
        Ok(())
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    KillOurs,
    KillKernel,
    /// One of ours dies while the others recover from a kernel's death.
    KillBoth,
    /// For less than the idle timeout.
    Cut,
    /// For more.
    LongCut,
    HoldUp,
}

impl Trouble {
    const SINGLE: [Trouble; 4] =
        [Trouble::KillOurs, Trouble::KillKernel, Trouble::Cut, Trouble::HoldUp];

    const ALL: [Trouble; 6] = [
        Trouble::KillOurs,
        Trouble::KillKernel,
        Trouble::KillBoth,
        Trouble::Cut,
        Trouble::LongCut,
        Trouble::HoldUp,
    ];

    /// One that is over when this returns, and of which all have recovered who are alive.
    fn make(self, nodes: &mut Nodes<'_>, random: &mut Random) -> Result<(), Error> {
        let one = random.below(2);
        match self {
            Trouble::KillOurs => {
                nodes.kill_ours(one)?;
                // Often they have not missed it yet when it is back.
                let away = *random.of(&[3, 20]);
                pause(random.up_to(Duration::from_secs(away)));
                small(nodes, random)?;
                nodes.start_ours(one)
            }
            Trouble::KillKernel => {
                nodes.kill_kernel(one)?;
                pause(random.up_to(Duration::from_secs(16)));
                small(nodes, random)?;
                nodes.boot_kernel(one)
            }
            Trouble::KillBoth => {
                let other = random.below(2);
                nodes.kill_kernel(one)?;
                // It is missed after 12 to 14 s, and recovered from within a few more.
                pause(random.up_to(Duration::from_secs(20)));
                nodes.kill_ours(other)?;
                pause(random.up_to(Duration::from_secs(10)));
                nodes.start_ours(other)?;
                nodes.boot_kernel(one)
            }
            Trouble::Cut => nodes.cut(one, random.up_to(Duration::from_secs(6))),
            Trouble::LongCut => nodes.cut(one, LONG_CUT),
            Trouble::HoldUp => small(nodes, random),
        }
    }
}

/// What does not keep anybody from being a member, while others may be dead.
fn small(nodes: &mut Nodes<'_>, random: &mut Random) -> Result<(), Error> {
    let (one, time) = (random.below(2), random.up_to(Duration::from_secs(4)));
    match random.below(4) {
        0 => nodes.cut(one, time),
        1 => nodes.pause_kernel(one, time),
        2 => nodes.pause_ours(one, time),
        _ => Ok(()),
    }
}

/// Over the idle timeout of 10 s. TCP tries again 12.6 s after it first lost something, and then not
/// before 25.4 s, which would be too late: 18 s after the idle timeout, quorum decides.
const LONG_CUT: Duration = Duration::from_millis(11_500);
