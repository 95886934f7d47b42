//! `cargo xtask lab`: tests beside real Linux kernels.

use std::process::ExitCode;

use clap::ValueEnum;

use crate::counts::Counts;
use crate::report::Report;
use crate::shell::{Shell, cargo, root};

/// A group of lab tests.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Suite {
    /// The lab itself: lab/rig/tests
    Rig,
    /// The classic stack beside kernels that run it: crates/o2cb/tests/lab
    O2cb,
    /// Cached locks beside kernels that want the same ones: crates/dlmglue/tests/lab
    Dlmglue,
    /// The file system of locks beside the kernel's: crates/cli/tests/lab
    Dlmfs,
    /// The daemon in a kernel that may be reset: crates/daemon/tests/lab
    Daemon,
}

/// Runs the tests of a suite whose names contain `filter`; without a suite, says what there is.
pub(crate) fn run(suite: Option<Suite>, filter: Option<&str>) -> ExitCode {
    let Some(suite) = suite else {
        println!("{EXPLANATION}");
        return ExitCode::SUCCESS;
    };
    if let Some(why) = obstacle() {
        eprintln!("the lab cannot run here: {why}");
        return ExitCode::FAILURE;
    }
    // What tests print is looked at here, and would only be in the way of `cargo xtask test`.
    let mut tests = tests(suite).args(["--nocapture"]);
    if let Some(filter) = filter {
        tests = tests.args([filter]);
    }
    if tests.succeeds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All suites, each as a step of `cargo xtask test`; skipped where there is an [`obstacle`]. The long one
/// runs beside the others: labs mostly wait.
pub(crate) fn step(report: &mut Report, obstacle: Option<String>) {
    let long = vec![("lab o2cb", tests(Suite::O2cb))];
    let others = vec![
        ("lab", tests(Suite::Rig)),
        ("lab dlmglue", tests(Suite::Dlmglue)),
        ("lab dlmfs", tests(Suite::Dlmfs)),
        ("lab daemon", tests(Suite::Daemon)),
    ];
    report.rows_unless(|| obstacle, [long, others], Counts::of_cargo_test);
}

/// Two tests at a time, each in a lab of its own: they mostly wait for heartbeats. A test takes over the
/// lab of an earlier one. (Under nextest every test would be a process, and start one.)
fn tests(suite: Suite) -> Shell {
    let package = match suite {
        Suite::Rig => "stackglue-lab",
        Suite::O2cb => "stackglue-o2cb",
        Suite::Dlmglue => "stackglue-dlmglue",
        Suite::Dlmfs => "stackglue-cli",
        Suite::Daemon => "stackglue-daemon",
    };
    let cargo = cargo(["test", "--package", package, "--features", "lab", "--test", "lab"]);
    cargo.args(["--locked", "--", "--test-threads", "2"])
}

/// Why the lab cannot run on this machine. Installs what it needs, if that is all that is missing.
pub(crate) fn obstacle() -> Option<String> {
    let lab = root().join("lab/lab");
    if let Err(why) = Shell::new(&lab).args(["check"]).quietly() {
        return Some(why.strip_prefix("lab: ").unwrap_or(&why).to_owned());
    }
    Shell::new(&lab).args(["packages"]).quietly().err()
}

const EXPLANATION: &str = "\
Tests beside real Linux kernels: User-Mode Linux guests with a shared disk and a network of their own,
which run the kernel's own cluster stacks. Needs root, Debian 12 on x86_64 and /dev/net/tun; what else is
missing is installed (apt). A lab takes about 15 s to come up.

    cargo xtask lab o2cb             every test beside kernels that run o2cb
    cargo xtask lab dlmfs            stackglue mount dlmfs beside the kernel's dlmfs
    cargo xtask lab rig              the lab itself
    cargo xtask lab daemon           the daemon in a kernel that it resets
    cargo xtask lab SUITE FILTER     those whose names contain FILTER
    lab/lab help                     the lab by hand; lab/README.md says more

`cargo xtask test` runs them too, where it can.";
