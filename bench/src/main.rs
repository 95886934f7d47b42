//! The numbers of `cargo xtask bench`: each against a reference taken in the same run.

mod cluster;
mod files;
mod glue;
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
mod times;

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
    /// Several nodes on the stack o2cb: sockets over loopback, and engines in virtual time
    O2cb {
        /// Print one JSON object a line instead of a table
        #[arg(long)]
        json: bool,
        /// Only these rows, such as P12: to look closer at one
        #[arg(long = "row", value_name = "ROW")]
        rows: Vec<String>,
    },
    /// Cached locks: hits beside RwLock, names, idle locks, fairness; and a picture of the latencies
    Glue {
        /// Print one JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// dlmfs: opening a file whose lock is cached, beside a file system over FUSE without locks; the kernel's, for the picture
    Dlmfs {
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
    /// The same for locks that another node masters
    #[command(hide = true)]
    MemoryO2cb {
        /// How many locks, each on a name of its own
        locks: usize,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().suite {
        Suite::Local { json } => table_of(json, local),
        Suite::O2cb { json, rows } => {
            table_of(json, |cpus, print| cluster::rows(cpus[0], &rows, print))
        }
        Suite::Glue { json } => table_of(json, glue::rows),
        Suite::Dlmfs { json } => table_of(json, files::rows),
        Suite::Memory { locks } => memory::print(locks).map(|()| true),
        Suite::MemoryO2cb { locks } => cluster::print_memory(locks).map(|()| true),
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
///
/// A suite is given the processors that it may use, and where its rows go.
fn table_of(
    json: bool,
    rows: impl FnOnce(&[usize], &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>>,
) -> Result<bool, Box<dyn Error>> {
    if cfg!(debug_assertions) {
        eprintln!("built without optimisation: these numbers mean nothing (cargo xtask bench)");
    }
    let cpus = placement::processors();
    if cpus.is_empty() {
        return Err("cannot tell which processors this process may use".into());
    }
    let mut missed = Vec::new();
    if !json {
        println!("{}", row::head());
    }
    rows(&cpus, &mut |row: Row| {
        println!("{}", if json { row.to_json() } else { row::line(&row) });
        if !row.ok {
            missed.push(format!("{} ({})", row.row, row.case));
        }
    })?;
    if !missed.is_empty() {
        eprintln!("off target: {}", missed.join(", "));
    }
    Ok(missed.is_empty())
}

/// One host.
fn local(cpus: &[usize], print: &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>> {
    let cpu = cpus[0];
    for (names, case) in [(1_000, "1k names"), (1_000_000, "1M names")] {
        let table = table::Table::fill(names, cpu)?;
        print(table.lock_and_unlock(case));
        print(table.convert_up_and_down(case));
    }
    print(memory::row(1_000_000)?);
    print(socket::row(cpu)?);
    print(scale::row(cpus)?);
    Ok(())
}
