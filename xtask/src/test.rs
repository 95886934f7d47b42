//! `cargo xtask test`: everything that decides whether a change may land.

use std::process::ExitCode;

use crate::counts::Counts;
use crate::report::{Outcome, Report};
use crate::shell::{Shell, cargo};
use crate::{lab, readme, sim, tidy};

/// Runs every step, also after one failed, cheap ones first.
pub(crate) fn run() -> ExitCode {
    install_components();
    // Installs packages, one of which other tests use too: libo2dlm.
    let no_lab = lab::obstacle();
    let mut report = Report::default();
    report.check("tidy", "marks, long lines, long files, dead links, missing papers", tidy::check);
    report.command("format", cargo(["fmt", "--all", "--check"]));
    report.command(
        "clippy",
        cargo(["clippy", "--workspace", "--all-targets", "--all-features", "--locked"])
            .args(["--", "--deny", "warnings"]),
    );
    report.command(
        "docs",
        cargo(["doc", "--workspace", "--all-features", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    );
    if cargo(["nextest", "--version"]).answers() {
        let nextest = ["nextest", "run", "--workspace", "--features", FEATURES, "--locked"];
        let nextest = cargo(nextest).args(["--no-fail-fast"]);
        report.suite("tests", nextest, Counts::of_nextest);
    } else {
        println!("cargo-nextest is not installed: the tests run under cargo test");
        let plain = cargo(["test", "--workspace", "--features", FEATURES, "--locked"]).args([
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
        ]);
        report.suite("tests", plain, Counts::of_cargo_test);
    }
    report.suite(
        "doc tests",
        cargo(["test", "--doc", "--workspace", "--features", FEATURES, "--locked"])
            .args(["--no-fail-fast"]),
        Counts::of_cargo_test,
    );
    // These share one node, whose heartbeat takes 10 s to start.
    report.suite(
        "o2cb suite",
        cargo(["test", "--package", "stackglue-o2cb", "--features", "one-node", "--locked"])
            .args(["--test", "conformance", "--", "--test-threads", "1"]),
        Counts::of_cargo_test,
    );
    report.suite(
        "glue on o2cb",
        cargo(["test", "--package", "stackglue-dlmglue", "--features", "one-node", "--locked"])
            .args(["--test", "o2cb", "--", "--test-threads", "1"]),
        Counts::of_cargo_test,
    );
    // loom replaces the atomics of everything it compiles, so it compiles apart.
    report.suite(
        "models",
        cargo(["test", "--package", "stackglue", "--package", "stackglue-dlmglue"])
            .args(["--lib", "--release", "--locked"])
            .args(["--target-dir", "target/loom", "model::"])
            .env("RUSTFLAGS", "--cfg loom")
            .env("LOOM_MAX_PREEMPTIONS", "3"),
        Counts::of_cargo_test,
    );
    report.command("sim", sim::command().args(["--seeds", "200"]));
    report.check("readme", readme::COMMAND, readme::check);
    deny(&mut report);
    lab::step(&mut report, no_lab);
    if report.close() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A minimal toolchain comes without rustfmt and clippy; rustup can fetch them.
fn install_components() {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !cargo([tool, "--version"]).answers() {
            println!("cargo {tool} is missing: rustup component add {component}");
            Shell::new("rustup").args(["component", "add", component]).succeeds();
        }
    }
}

/// Licences, duplicates and origins; not advisories, whose database is fetched from the network.
fn deny(report: &mut Report) {
    if cargo(["deny", "--version"]).answers() {
        let deny = cargo(["deny", "--workspace", "--all-features", "--locked", "check"]);
        report.command("deny", deny.args(["licenses", "bans", "sources"]));
    } else {
        report.check("deny", "licences, duplicates and origins of dependencies", || {
            Outcome::Skipped("cargo-deny is not installed (cargo install cargo-deny)".to_owned())
        });
    }
}

/// All features but `lab`, whose tests are a step of their own: they do not run beside others.
const FEATURES: &str = "stackglue/conformance,stackglue-dlmglue/conformance";
