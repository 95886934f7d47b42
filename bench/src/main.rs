//! The numbers of `cargo xtask bench`: each against a reference taken in the same run.

mod memory;
mod method;
mod names;
mod placement;
mod reference;
mod row;
mod scale;
mod socket;
mod subject;
mod table;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::row::Row;

/// Measures stackglue.
#[derive(Parser)]
#[command(name = "stackglue-bench", version)]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// One host: the embedded stack and the daemon's socket
    Local {
        /// Print one JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Takes locks and prints how many bytes each one took: a process of its own for row P17
    #[command(hide = true)]
    Memory {
        /// How many locks, each on a name of its own
        locks: usize,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().suite {
        Suite::Local { json } => local(json),
        Suite::Memory { locks } => memory::print(locks).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stackglue-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints each row as soon as it is measured. Whether every target is met.
fn local(json: bool) -> Result<bool, Box<dyn Error>> {
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation: these numbers mean nothing (cargo xtask bench)");
    }
    let cpus = placement::processors();
    let cpu = *cpus.first().ok_or("cannot tell which processors this process may use")?;
    let mut missed = Vec::new();
    let mut print = |row: Row| {
        println!("{}", if json { row.to_json() } else { row::line(&row) });
        if !row.ok {
            missed.push(format!("{} ({})", row.row, row.case));
        }
    };
    if !json {
        println!("{}", row::head());
    }
    for (names, case) in [(1_000, "1k names"), (1_000_000, "1M names")] {
        let table = table::Table::fill(names, cpu)?;
        print(table.lock_and_unlock(case));
        print(table.convert_up_and_down(case));
    }
    print(memory::row(1_000_000)?);
    print(socket::row(cpu)?);
    print(scale::row(&cpus)?);
    if !missed.is_empty() {
        eprintln!("over target: {}", missed.join(", "));
    }
    Ok(missed.is_empty())
}
