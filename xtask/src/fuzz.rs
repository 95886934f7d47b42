//! `cargo xtask fuzz`: the targets of crates/o2cb/tests/fuzz, for longer than the tests run them.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::shell::cargo;

/// What is fuzzed, and how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which target; all of them if it is left out
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the first input, instead of one that nobody has tried
    #[arg(long)]
    seed: Option<u64>,
    /// One input, in hex as a finding prints it
    #[arg(long, requires = "target", conflicts_with_all = ["seconds", "seed"])]
    input: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let tests = ["test", "--package", "stackglue-o2cb", "--release", "--locked", "--test", "fuzz"];
    // Sums that overflow are findings, as in a debug build.
    let mut tests = cargo(tests)
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .args(["--", "--nocapture", "--test-threads", "2"]);
    if let Some(target) = &arguments.target {
        tests = tests.args([target]);
    }
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    tests = match &arguments.input {
        Some(input) => tests.env("FUZZ_INPUT", input),
        None => tests
            .env("FUZZ_SECONDS", arguments.seconds.to_string())
            .env("FUZZ_SEED", seed.to_string()),
    };
    if tests.succeeds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seconds since 1970, far apart: what one run tries, no other one does.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() << 32
}
