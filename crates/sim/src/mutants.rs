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

    let clusters = o2cb::mutants::Mutant::ALL.iter().copied().map(Mistake::Cluster);
    let solos = dlm::mutants::Mutant::ALL.iter().copied().map(Mistake::Solo);
    let chosen: Vec<Mistake> = clusters
        .chain(solos)
        .filter(|mistake| filter.is_none_or(|filter| mistake.name().contains(filter)))
        .collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    crate::campaign::silence_panics();
    println!("{:>5}  {:<26} {:>8}  found by", "class", "mistake", "seeds");
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&mistake) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let by = hunt(mistake, seeds);
                    let mut found = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    let (tries, check) = match &by {
                        Some((tries, violation)) => (*tries, violation.check),
                        None => (seeds, "NOT FOUND"),
                    };
                    let (class, name, text) = (mistake.class(), mistake.name(), mistake.text());
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

/// One of either stack.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug)]
enum Mistake {
    Cluster(o2cb::mutants::Mutant),
    Solo(dlm::mutants::Mutant),
}

#[cfg(feature = "mutants")]
impl Mistake {
    fn name(self) -> String {
        match self {
            Mistake::Cluster(mutant) => format!("{mutant:?}"),
            Mistake::Solo(mutant) => format!("{mutant:?}"),
        }
    }

    fn class(self) -> u8 {
        match self {
            Mistake::Cluster(mutant) => mutant.class(),
            Mistake::Solo(mutant) => mutant.class(),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Mistake::Cluster(mutant) => mutant.text(),
            Mistake::Solo(mutant) => mutant.text(),
        }
    }

    /// What a seed finds in a world that it is in, or is not.
    fn run(self, seed: u64, planted: bool) -> Option<crate::checks::Violation> {
        use crate::log::Log;

        match self {
            Mistake::Cluster(mutant) => {
                o2cb::mutants::plant(planted.then_some(mutant));
                let found = crate::run::run(&crate::plan::Plan::of(seed), Log::off()).violation;
                o2cb::mutants::plant(None);
                found
            }
            Mistake::Solo(mutant) => {
                dlm::mutants::plant(planted.then_some(mutant));
                let found = crate::solo::run(seed, Log::off()).violation;
                dlm::mutants::plant(None);
                found
            }
        }
    }
}

/// After how many seeds a mistake is found, and as what.
#[cfg(feature = "mutants")]
fn hunt(mistake: Mistake, seeds: u64) -> Option<(u64, crate::checks::Violation)> {
    (0..seeds).find_map(|seed| {
        let found = mistake.run(seed, true)?;
        // A seed that fails without the mistake has not found it.
        mistake.run(seed, false).is_none().then_some((seed + 1, found))
    })
}
