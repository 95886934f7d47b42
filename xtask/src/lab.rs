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

/// All suites, each as a step of `cargo xtask test`; skipped where the lab cannot run.
pub(crate) fn step(report: &mut Report) {
    for (name, suite) in [
        ("lab", Suite::Rig),
        ("lab o2cb", Suite::O2cb),
        ("lab dlmglue", Suite::Dlmglue),
        ("lab daemon", Suite::Daemon),
    ] {
        report.suite_unless(name, obstacle, tests(suite), Counts::of_cargo_test);
    }
}

/// One test at a time: each has the machine's kernels to itself, and takes over the lab of the one
/// before. (Under nextest every test would be a process, with a lab of its own.)
fn tests(suite: Suite) -> Shell {
    let package = match suite {
        Suite::Rig => "stackglue-lab",
        Suite::O2cb => "stackglue-o2cb",
        Suite::Dlmglue => "stackglue-dlmglue",
        Suite::Daemon => "stackglue-daemon",
    };
    let cargo = cargo(["test", "--package", package, "--features", "lab", "--test", "lab"]);
    cargo.args(["--locked", "--", "--test-threads", "1"])
}

/// Why the lab cannot run on this machine. Installs what it needs, if that is all that is missing.
fn obstacle() -> Option<String> {
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
    cargo xtask lab rig              the lab itself
    cargo xtask lab daemon           the daemon in a kernel that it resets
    cargo xtask lab SUITE FILTER     those whose names contain FILTER
    lab/lab help                     the lab by hand; lab/README.md says more

`cargo xtask test` runs them too, where it can.";
