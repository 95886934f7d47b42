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

    use dlm::mutants::Mistake;

    let clusters = o2cb::mutants::ALL.iter().chain(dlmglue::mutants::ALL);
    let clusters = clusters.map(|mistake| (mistake, cluster as World));
    let solos = dlm::mutants::ALL.iter().map(|mistake| (mistake, solo as World));
    let chosen: Vec<(&Mistake, World)> = clusters
        .chain(solos)
        .filter(|(mistake, _)| filter.is_none_or(|filter| mistake.name.contains(filter)))
        .collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    crate::campaign::silence_panics();
    println!("{:>5}  {:<26} {:>8}  found by", "class", "mistake", "seeds");
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((mistake, world)) = chosen.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let by = hunt(mistake, *world, seeds);
                    let mut found = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    let (tries, check) = match &by {
                        Some((tries, violation)) => (*tries, violation.check),
                        None => (seeds, "NOT FOUND"),
                    };
                    let Mistake { class, name, text, .. } = mistake;
                    println!("{class:>5}  {name:<26} {tries:>8}  {check}: {text}");
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

/// What a seed finds.
#[cfg(feature = "mutants")]
type World = fn(u64) -> Option<crate::checks::Violation>;

#[cfg(feature = "mutants")]
fn cluster(seed: u64) -> Option<crate::checks::Violation> {
    crate::run::run(&crate::plan::Plan::of(seed), crate::log::Log::off()).violation
}

#[cfg(feature = "mutants")]
fn solo(seed: u64) -> Option<crate::checks::Violation> {
    crate::solo::run(seed, crate::log::Log::off()).violation
}

/// After how many seeds a mistake is found, and as what.
#[cfg(feature = "mutants")]
fn hunt(
    mistake: &dlm::mutants::Mistake,
    world: World,
    seeds: u64,
) -> Option<(u64, crate::checks::Violation)> {
    (0..seeds).find_map(|seed| {
        (mistake.plant)(true);
        let found = world(seed);
        (mistake.plant)(false);
        let found = found?;
        // A seed that fails without the mistake has not found it.
        world(seed).is_none().then_some((seed + 1, found))
    })
}
