//! `cargo xtask dist`: what a package ships beside the programs.

use std::process::ExitCode;

use crate::shell::{cargo, target_directory};

/// Has `stackglue` write its own man pages and completions.
pub(crate) fn run() -> ExitCode {
    let directory = target_directory().join("dist");
    let generate = cargo(["run", "--quiet", "--locked", "--package", "stackglue-cli"]).args([
        "--",
        "generate",
        &directory.to_string_lossy(),
    ]);
    if generate.succeeds() {
        println!("man pages and completions are in {}", directory.display());
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
