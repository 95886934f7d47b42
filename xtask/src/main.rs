//! `cargo xtask`: the one tool a person runs in this repository.

mod counts;
mod demo;
mod dist;
mod fuzz;
mod lab;
mod links;
mod readme;
mod report;
mod shell;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Builds, checks and measures stackglue.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check everything; the last line says `N passed, N failed`
    ///
    /// Runs tidy, fmt, clippy, docs, tests, doc tests, loom models, the README's command,
    /// cargo-deny and the lab, all of them even when one fails. Changes nothing. Missing tools are installed where that is possible.
    Test,
    /// Mend what a program can mend: cargo fmt, clippy --fix
    Fix,
    /// Measure, in a release build, against references taken in the same run
    Bench {
        /// Which set of rows
        #[arg(value_enum, default_value_t = Suite::Local)]
        suite: Suite,
        /// Print one JSON object a line instead of a table
        #[arg(long)]
        json: bool,
        /// Only these rows, such as P12, which the suite `o2cb` can be asked for
        #[arg(long = "row", value_name = "ROW")]
        rows: Vec<String>,
    },
    /// Run clusters from seeds, under every fault; `cargo xtask sim --help` says how
    #[command(disable_help_flag = true)]
    Sim {
        /// What the simulator is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run tests beside real kernels; without a suite, say what that is
    Lab {
        /// Which tests
        #[arg(value_enum)]
        suite: Option<lab::Suite>,
        /// Only those whose names contain this
        filter: Option<String>,
    },
    /// Kill processes at random while 64 of them take one lock of dlmfs, through two mounts
    ///
    /// Nothing may be lost or left, and no process may stay in state D. `cargo xtask test` does it for 4 seconds.
    Storm {
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Feed hostile input to what reads it, in a release build; a finding says how to see it again
    Fuzz(fuzz::Arguments),
    /// Three nodes of a cluster on this machine, one of which is killed; takes half a minute
    Demo,
    /// Write man pages and shell completions to target/dist
    #[command(visible_alias = "man")]
    Dist,
}

#[derive(Clone, Copy, ValueEnum)]
enum Suite {
    /// One host: the embedded stack and the daemon's socket
    Local,
    /// Several nodes on o2cb: sockets over loopback, and engines in virtual time
    O2cb,
    /// Cached locks: hits beside RwLock, names, idle locks, fairness; and a picture of the latencies
    Glue,
    /// dlmfs: opening a file whose lock is cached, beside a file system over FUSE without locks; the kernel's, for the picture
    Dlmfs,
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Fix => fix(),
        Task::Bench { suite, json, rows } => bench(suite, json, &rows),
        Task::Lab { suite, filter } => lab::run(suite, filter.as_deref()),
        Task::Storm { seconds } => storm(seconds),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Demo => demo::run(),
        Task::Sim { arguments } => sim::run(&arguments),
        Task::Dist => dist::run(),
    }
}

fn fix() -> ExitCode {
    let clippy = ["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace"];
    let mended = shell::cargo(clippy).args(["--all-targets", "--all-features"]).succeeds()
        & shell::cargo(["fmt", "--all"]).succeeds();
    if mended { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn storm(seconds: u64) -> ExitCode {
    let test = ["test", "--package", "stackglue-cli", "--test", "dlmfs", "--locked"];
    let test = shell::cargo(test).args(["storm::", "--", "--nocapture"]);
    let passed = test.env("STORM_SECONDS", seconds.to_string()).succeeds();
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn bench(suite: Suite, json: bool, rows: &[String]) -> ExitCode {
    let suite = match suite {
        Suite::Local => "local",
        Suite::O2cb => "o2cb",
        Suite::Glue => "glue",
        Suite::Dlmfs => "dlmfs",
    };
    let mut run = shell::cargo(["run", "--quiet", "--release", "--locked"]);
    run = run.args(["--package", "stackglue-bench", "--", suite]);
    if json {
        run = run.args(["--json"]);
    }
    for row in rows {
        run = run.args(["--row", row]);
    }
    if run.succeeds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
