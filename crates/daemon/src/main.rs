//! stackglued: the host daemon.

use std::process::ExitCode;

use clap::Parser;

/// The lock manager of this host: owns the node, serves the processes.
#[derive(Parser)]
#[command(name = "stackglued", version)]
struct Arguments {
    #[command(flatten)]
    options: stackglue_daemon::Options,
}

fn main() -> ExitCode {
    stackglue_daemon::start(&Arguments::parse().options)
}
