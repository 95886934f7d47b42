//! `cargo xtask dist`: what a package ships beside the programs.

use std::path::Path;
use std::process::ExitCode;

use crate::shell::{Shell, cargo, target_directory};

/// Has `stackglue` write its own man pages and completions, and builds what programs of the kernel's dlmfs
/// preload, if there is a C compiler.
pub(crate) fn run() -> ExitCode {
    let directory = target_directory().join("dist");
    let generate = cargo(["run", "--quiet", "--locked", "--package", "stackglue-cli"]).args([
        "--",
        "generate",
        &directory.to_string_lossy(),
    ]);
    if !generate.succeeds() || !build_preload(&directory) {
        return ExitCode::FAILURE;
    }
    println!("{} has all of it", directory.display());
    ExitCode::SUCCESS
}

fn build_preload(directory: &Path) -> bool {
    if !Shell::new("cc").args(["--version"]).answers() {
        eprintln!("skipped: there is no cc to build {PRELOAD}");
        return true;
    }
    let library = directory.join("libstackglue-dlmfs.so");
    let compiler =
        Shell::new("cc").args(["-O2", "-Wall", "-fPIC", "-shared", PRELOAD, "-ldl", "-o"]);
    compiler.args([&library.to_string_lossy()]).succeeds()
}

const PRELOAD: &str = "preload/dlmfs.c";
