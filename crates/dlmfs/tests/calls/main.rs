//! One list of system calls, on the kernel's dlmfs and on ours.
//!
//! `lab/src/dlmfscalls.c` makes them and prints a line for each. What it prints in a kernel is the fixture
//! (`cargo xtask lab dlmfs` compares that with a live one). Skipped, aloud, where nothing can be mounted.

mod differences;
mod mounted;

use std::process::Command;

use crate::differences::{DIFFERENCES, KERNEL_TYPE, OUR_TYPE};
use crate::mounted::Mounted;

const KERNEL: &str = include_str!("../fixtures/calls-linux-6.1.txt");

#[test]
fn every_call_does_what_it_does_on_the_kernels_dlmfs() {
    if let Some(why) = obstacle() {
        return println!("skipped: {why}");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = directory.path().join("dlmfscalls");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../lab/src/dlmfscalls.c");
    let built = Command::new("cc").arg("-o").arg(&program).arg(source).status();
    assert!(built.expect("there is a cc").success());
    let point = directory.path().join("dlm");
    std::fs::create_dir(&point).expect("a directory");

    let mounted = Mounted::new(point);
    let output = Command::new(&program).arg(&mounted.point).output().expect("it starts");
    drop(mounted);
    assert!(output.status.success(), "{output:?}");
    compare(KERNEL, &String::from_utf8_lossy(&output.stdout));
}

/// Line for line. Each difference has to be in the table, and each row that is always met has to be.
fn compare(kernel: &str, ours: &str) {
    let mut met = [false; DIFFERENCES.len()];
    let mut unexpected = String::new();
    for (number, (kernel, ours)) in kernel.lines().zip(ours.lines()).enumerate() {
        let row = DIFFERENCES.iter().position(|row| row.kernel == kernel && row.ours == ours);
        if let Some(row) = row {
            met[row] = true;
        } else if kernel.replace(KERNEL_TYPE, OUR_TYPE) != ours {
            unexpected += &format!("{}: {kernel}\n  ours: {ours}\n", number + 1);
        }
    }
    assert!(unexpected.is_empty(), "the kernel's lines, and ours:\n{unexpected}");
    assert_eq!(kernel.lines().count(), ours.lines().count());
    for (row, met) in DIFFERENCES.iter().zip(met) {
        assert!(met || !row.always, "{} is no difference any more: {}", row.kernel, row.why);
    }
}

fn obstacle() -> Option<&'static str> {
    mounted::obstacle().or_else(|| {
        Command::new("cc").arg("--version").output().is_err().then_some("there is no cc")
    })
}
