//! Row P17: what a lock costs in memory.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::process::Command;

use dlm::Mode;
use stackglue::Lksb;

use crate::names::names;
use crate::row::{Row, round};
use crate::subject::{Subject, inline};

/// P17: bytes that a process grows by for each lock, one on each name, status block included. In a
/// process of its own, so that no memory freed before is used again.
pub(crate) fn row(locks: usize) -> Result<Row, Box<dyn Error>> {
    let value = measured_apart("memory", locks)?;
    Ok(Row {
        row: "P17",
        case: format!("{}M locks", locks / 1_000_000),
        value: round(value, 1),
        unit: "bytes",
        reference: KERNEL_BYTES,
        ratio: round(value / KERNEL_BYTES, 3),
        target: BYTES_MAX,
        ok: value <= BYTES_MAX,
        iqr: None,
        blocks: None,
        dropped: None,
        percentiles: None,
        reference_percentiles: None,
        placement: "resident set of a process of its own; target in bytes".to_owned(),
    })
}

/// The bytes per lock that this program prints when it is started with that command.
pub(crate) fn measured_apart(command: &str, locks: usize) -> Result<f64, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).args([command, &locks.to_string()]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Prints the bytes per lock of this process, for [`row`] to read.
pub(crate) fn print(locks: usize) -> Result<(), Box<dyn Error>> {
    println!("{}", bytes_per_lock(locks)?);
    Ok(())
}

fn bytes_per_lock(locks: usize) -> Result<f64, Box<dyn Error>> {
    let names = names(locks);
    let subject = Subject::connect()?;
    let before = resident_bytes()?;
    let held: Vec<Lksb> = inline(locks, || {
        let exclusive = |name| {
            let lksb = Lksb::new(());
            subject.lock(Mode::EX, &lksb, name);
            lksb
        };
        names.iter().map(exclusive).collect()
    });
    let after = resident_bytes()?;
    black_box(held);
    Ok((after - before) / locks as f64)
}

/// The resident set of this process.
pub(crate) fn resident_bytes() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: f64 = kilobytes.ok_or("no VmRSS in /proc/self/status")?.parse()?;
    Ok(kilobytes * 1024.0)
}

/// What `fs/dlm` of Linux 6.1 spends on a lock mastered where it is held: a lock of 464 bytes and a
/// resource of 312.
const KERNEL_BYTES: f64 = 776.0;

const BYTES_MAX: f64 = 256.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_costs_at_least_its_name_and_not_a_page() {
        let bytes = bytes_per_lock(50_000).expect("a process can see its size");
        assert!(bytes > 32.0 && bytes < 4096.0, "{bytes}");
    }
}
