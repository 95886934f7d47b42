//! The command line of `cargo xtask sim`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};

use crate::campaign::{self, Work};
use crate::plan::{Overrides, Plan};
use crate::{mutants, report, scale};

/// Runs clusters from seeds: the engines that ship, in virtual time, under every fault.
#[derive(Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Task {
    /// Plant each known mistake in the engines, and see that it is found
    Mutants {
        /// How many seeds each gets at most
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// Only those whose names contain this
        filter: Option<String>,
    },
    /// How messages, first locks and recovery grow with nodes and locks, as a table and an SVG
    Scale {
        /// Where the picture goes
        #[arg(long, default_value = "target/sim-scale.svg")]
        svg: std::path::PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// For so many hours instead, on all cores, with seeds that nobody has tried
    #[arg(long, conflicts_with = "seeds")]
    hours: Option<f64>,
    /// This seed alone
    #[arg(long, conflicts_with_all = ["seeds", "hours"])]
    seed: Option<u64>,
    /// The solo worlds alone: the processes of one host
    #[arg(long)]
    solo: bool,
    /// Print a line for each thing that happens
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Only the first so many nodes of the seed
    #[arg(long, requires = "seed", conflicts_with = "solo")]
    nodes: Option<usize>,
    /// So many users in each domain of a node
    #[arg(long, requires = "seed", conflicts_with = "solo")]
    users: Option<usize>,
    /// End idle connections where one-way cuts would be: what o2net cannot make good
    #[arg(long, requires = "seed", conflicts_with = "solo")]
    resets: bool,
    /// Nodes introduce themselves as kernels: a BAST waits until the AST before it is answered
    #[arg(long, requires = "seed", conflicts_with = "solo")]
    as_kernels: bool,
    /// Without these of its faults
    #[arg(long, requires = "seed", conflicts_with = "solo", value_delimiter = ',')]
    without: Vec<usize>,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.task {
        Some(Task::Mutants { seeds, filter }) => mutants::run(seeds, filter.as_deref()),
        Some(Task::Scale { svg }) => scale::run(&svg),
        None => run(arguments.run),
    }
}

fn run(arguments: Run) -> ExitCode {
    if let Some(seed) = arguments.seed {
        if arguments.solo {
            return report::one_solo(seed, arguments.trace);
        }
        let overrides = Overrides {
            nodes: arguments.nodes,
            users: arguments.users,
            without: arguments.without,
            resets: arguments.resets,
            as_kernels: arguments.as_kernels,
        };
        return report::one(&Plan::of(seed), &overrides, arguments.trace);
    }
    let clusters = !arguments.solo;
    let work = match arguments.hours {
        Some(hours) => {
            let until = Instant::now() + Duration::from_secs_f64(hours.max(0.0) * 3600.0);
            Work {
                first: campaign::fresh_seed(),
                seeds: u64::MAX >> 1,
                until: Some(until),
                clusters,
            }
        }
        None => Work { first: arguments.from, seeds: arguments.seeds, until: None, clusters },
    };
    let summary = campaign::run(&work);
    if report::summary(&summary) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
