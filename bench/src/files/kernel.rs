//! For the picture: the kernel's dlmfs. Only a kernel that runs o2cb has it, so this one is a guest of the lab.
//!
//! A system call under User-Mode Linux costs many times what it costs elsewhere: these numbers say something
//! beside those of a file without locks in the same guest, and nothing beside ours.

use std::error::Error;

use lab::{Guest, Lab, LabOptions};

use crate::method::{BLOCKS, Block, Comparison};
use crate::row::Row;

/// Measures both rows, where a lab can be.
pub(super) fn rows(print: &mut dyn FnMut(Row)) {
    if let Err(error) = measure(print) {
        eprintln!("skipped: there is no guest with the kernel's dlmfs here: {error}");
    }
}

fn measure(print: &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>> {
    let lab = Lab::up(LabOptions { guests: 1, ..LabOptions::default() })?;
    let guest = lab.guest(1);
    guest.exec("mkdir /dlm/web")?.success()?;
    for (case, level) in [("Linux: open, close, EX", "ex"), ("Linux: open, close, PR", "pr")] {
        let blocks: Result<Vec<Block>, _> = (0..BLOCKS).map(|_| block(&guest, level)).collect();
        print(Row::of_times("UML", case, &Comparison::of(&blocks?), NO_TARGET, PLACEMENT));
    }
    Ok(())
}

fn block(guest: &Guest<'_>, level: &str) -> Result<Block, Box<dyn Error>> {
    let time = |path| format!("/lab/bin/dlmfsx bench {path} {level} {OPENS}");
    let both = format!("{} && {}", time("/run/leader"), time("/dlm/web/leader"));
    let printed = guest.exec(&both)?.success()?;
    let mut times = printed.split_whitespace().filter_map(|word| word.strip_prefix("mean="));
    let mut next = || -> Result<f64, Box<dyn Error>> {
        let microseconds: f64 = times.next().ok_or("dlmfsx has printed no mean")?.parse()?;
        Ok(microseconds * 1000.0)
    };
    Ok(Block { reference: next()?, subject: next()? })
}

/// Opens and closes of a block.
const OPENS: u32 = 1000;

const NO_TARGET: f64 = f64::INFINITY;

const PLACEMENT: &str = "a guest under User-Mode Linux, for the picture; reference: its tmpfs";
