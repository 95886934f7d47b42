//! What a person reads.

use std::process::ExitCode;

use crate::campaign::{self, Found, Summary};
use crate::checks::Violation;
use crate::coverage::REQUIRED;
use crate::log::{LEGEND, Log};
use crate::plan::{Overrides, Plan};
use crate::run::run;
use crate::shrink::shrink;
use crate::solo;

/// How many lines before a violation are shown.
const LAST_LINES: usize = 60;

/// So many seeds see everything that there is to see.
const SEEDS_FOR_COVERAGE: u64 = 200;

/// Runs one seed, and tells what it finds.
pub(crate) fn one(plan: &Plan, overrides: &Overrides, trace: bool) -> ExitCode {
    let plan = overrides.of(plan);
    campaign::silence_panics();
    if trace {
        println!("{LEGEND}\n{plan:#?}\n");
        let outcome = run(&plan, Log::print());
        println!("log hash {:016x}", outcome.hash);
        outcome.state.iter().for_each(|line| println!("{line}"));
        return match outcome.violation {
            Some(violation) => {
                println!("{}", sentence(plan.seed, &violation));
                ExitCode::FAILURE
            }
            None => ExitCode::SUCCESS,
        };
    }
    match run(&plan, Log::off()).violation {
        Some(violation) => {
            failing(plan.seed, overrides, &violation);
            ExitCode::FAILURE
        }
        None => {
            println!("seed {}: nothing is wrong", plan.seed);
            ExitCode::SUCCESS
        }
    }
}

/// Runs one solo world, and tells what it finds.
pub(crate) fn one_solo(seed: u64, trace: bool) -> ExitCode {
    campaign::silence_panics();
    if trace {
        println!("{}\n{:#?}\n", solo::LEGEND, solo::plan_of(seed));
        let outcome = solo::run(seed, Log::print());
        println!("log hash {:016x}", outcome.hash);
        outcome.state.iter().for_each(|line| println!("{line}"));
        return match outcome.violation {
            Some(violation) => {
                println!("{}", sentence(seed, &violation));
                ExitCode::FAILURE
            }
            None => ExitCode::SUCCESS,
        };
    }
    match solo::run(seed, Log::off()).violation {
        Some(violation) => {
            failing_solo(seed, &violation);
            ExitCode::FAILURE
        }
        None => {
            println!("seed {seed}: nothing is wrong");
            ExitCode::SUCCESS
        }
    }
}

/// Everything about a solo world that fails.
fn failing_solo(seed: u64, violation: &Violation) {
    println!("{}\n", sentence(seed, violation));
    println!("replay:  cargo xtask sim --seed {seed} --solo\n");
    println!("{:#?}\n\nlegend:\n{}\nthe last lines:", solo::plan_of(seed), solo::LEGEND);
    let outcome = solo::run(seed, Log::keep(LAST_LINES));
    outcome.last.iter().for_each(|line| println!("{line}"));
    println!("\nthe locks then:");
    outcome.state.iter().for_each(|line| println!("{line}"));
}

/// Everything about a seed that fails: in the smallest world in which it still does.
fn failing(seed: u64, overrides: &Overrides, violation: &Violation) {
    println!("{}\n", sentence(seed, violation));
    let small = shrink(seed, overrides, violation.check);
    let plan = small.of(&Plan::of(seed));
    let outcome = run(&plan, Log::keep(LAST_LINES));
    println!("replay:  cargo xtask sim --seed {seed}{}", overrides.arguments());
    println!("smaller: cargo xtask sim --seed {seed}{}\n", small.arguments());
    println!("faults that are left:");
    for (at, planned) in plan.faults.iter().enumerate() {
        if !plan.is_without(at) {
            println!("   {at}: {:>8.3} {:?}", planned.at.as_secs_f64(), planned.fault);
        }
    }
    println!("\nlegend:\n{LEGEND}\nthe last lines:");
    outcome.last.iter().for_each(|line| println!("{line}"));
    println!("\nthe nodes then:");
    outcome.state.iter().for_each(|line| println!("{line}"));
    if let Some(violation) = &outcome.violation {
        println!("\n{}", sentence(seed, violation));
    }
}

fn sentence(seed: u64, violation: &Violation) -> String {
    let Violation { at, check, what } = violation;
    format!("seed {seed} at {:.6}: {check}: {what}", at.as_secs_f64())
}

/// Sums up; whether all is well: no violation, and nothing that never happened.
pub(crate) fn summary(summary: &Summary) -> bool {
    println!("\n{:>12}  what happened", "times");
    for (what, times) in summary.coverage.iter() {
        println!("{times:>12}  {what}");
    }
    let of_clusters = if summary.time.is_zero() { &[] } else { REQUIRED };
    let missing: Vec<&str> = of_clusters
        .iter()
        .chain(solo::REQUIRED)
        .copied()
        .filter(|what| summary.coverage.of(what) == 0)
        .collect();
    let judged = summary.seeds >= SEEDS_FOR_COVERAGE;
    if judged && !missing.is_empty() {
        println!("\nnever happened, which is a failure of the simulator: {}", missing.join(", "));
    }
    println!("\n{}", campaign::line(summary, summary.took));
    if let Some(found) = summary.violations.first() {
        println!("\nthe first of the violations:\n");
        if found.is_solo {
            failing_solo(found.seed, &found.violation);
        } else {
            failing(found.seed, &Overrides::default(), &found.violation);
        }
        let seeds: Vec<String> = summary.violations.iter().map(Found::arguments).collect();
        println!("\nall that failed: {}", seeds.join(", "));
    }
    summary.violations.is_empty() && (!judged || missing.is_empty())
}
