//! `cargo xtask sim`: the simulator (`crates/sim`).

use std::process::ExitCode;

use crate::shell::{Shell, cargo};

/// Runs it with these arguments. Mistakes are planted in a build of its own.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let plants = arguments.first().is_some_and(|argument| argument == "mutants");
    let mut simulator = if plants { build(&["--features", "mutants"]) } else { command() };
    for argument in arguments {
        simulator = simulator.args([argument.as_str()]);
    }
    if simulator.succeeds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The simulator, quick, and with every check of a debug build.
pub(crate) fn command() -> Shell {
    build(&[])
}

fn build(options: &[&str]) -> Shell {
    let mut build = cargo(["run", "--quiet", "--profile", "sim", "--locked"]);
    build = build.args(["--package", "stackglue-sim"]);
    for option in options {
        build = build.args([*option]);
    }
    build.args(["--"])
}
