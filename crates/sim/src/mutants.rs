//! Mistakes planted in the engines: each has to be found, or a check or a fault is missing.

use std::process::ExitCode;

/// Without the mistakes in the build there is nothing to find.
#[cfg(not(feature = "mutants"))]
pub(crate) fn run(_seeds: u64, _filter: Option<&str>) -> ExitCode {
    eprintln!("this build has no mistakes in it: cargo xtask sim mutants makes one that has");
    ExitCode::from(2)
}

/// Plants each, and runs seeds until one finds it.
#[cfg(feature = "mutants")]
pub(crate) fn run(seeds: u64, filter: Option<&str>) -> ExitCode {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use o2cb::mutants::Mutant;

    let chosen: Vec<Mutant> = Mutant::ALL
        .iter()
        .copied()
        .filter(|mutant| filter.is_none_or(|filter| format!("{mutant:?}").contains(filter)))
        .collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    crate::campaign::silence_panics();
    println!("{:>5}  {:<24} {:>8}  found by", "class", "mistake", "seeds");
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&mutant) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let by = hunt(mutant, seeds);
                    let mut found = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    let (tries, check) = match &by {
                        Some((tries, violation)) => (*tries, violation.check),
                        None => (seeds, "NOT FOUND"),
                    };
                    let (class, name) = (mutant.class(), format!("{mutant:?}"));
                    println!("{class:>5}  {name:<24} {tries:>8}  {check}: {}", mutant.text());
                    found.push(by.is_some());
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let count = found.iter().filter(|found| **found).count();
    println!("{count} of {} found", found.len());
    // 95 of a hundred.
    if count * 20 >= found.len() * 19 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// After how many seeds a mistake is found, and as what.
#[cfg(feature = "mutants")]
fn hunt(mutant: o2cb::mutants::Mutant, seeds: u64) -> Option<(u64, crate::checks::Violation)> {
    use crate::log::Log;
    use crate::plan::Plan;
    use crate::run::run;

    (0..seeds).find_map(|seed| {
        let plan = Plan::of(seed);
        o2cb::mutants::plant(Some(mutant));
        let found = run(&plan, Log::off()).violation;
        o2cb::mutants::plant(None);
        // A seed that fails without the mistake has not found it.
        let found = found?;
        run(&plan, Log::off()).violation.is_none().then_some((seed + 1, found))
    })
}
