//! The command line of `cargo xtask sim`.

use std::process::ExitCode;

use clap::Parser;

use crate::log::{LEGEND, Log};
use crate::plan::Plan;
use crate::run::run;

/// Runs clusters from seeds.
#[derive(Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This seed alone
    #[arg(long)]
    seed: Option<u64>,
    /// Print a line for each thing that happens
    #[arg(long, requires = "seed")]
    trace: bool,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let plan = Plan::of(seed);
        println!("{plan:#?}\n{LEGEND}");
        let outcome = run(&plan, if arguments.trace { Log::print() } else { Log::keep(100) });
        for line in &outcome.last {
            println!("{line}");
        }
        for line in &outcome.state { println!("{line}"); }
        println!("{:?} {:?} events {}", outcome.violation, outcome.time, outcome.events);
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    let mut coverage = crate::coverage::Coverage::default();
    for seed in arguments.from..arguments.from + arguments.seeds {
        let start = std::time::Instant::now();
        let outcome = run(&Plan::of(seed), Log::off());
        coverage.merge(&outcome.coverage);
        if start.elapsed().as_secs() > 2 {
            println!("seed {seed} took {:?} {}", start.elapsed(), outcome.events);
        }
        if let Some(v) = outcome.violation {
            failed += 1;
            println!("seed {seed} n{} at {:?}: {}: {}", outcome.nodes, v.at, v.check, v.what);
        }
    }
    for (what, n) in coverage.iter() {
        println!("{n:>10} {what}");
    }
    println!("{failed} failed");
    ExitCode::SUCCESS
}
