//! stackglue: run a command under a lock, and see who holds what.

use std::process::ExitCode;

fn main() -> ExitCode {
    stackglue_cli::main()
}
