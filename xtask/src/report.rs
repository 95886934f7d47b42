//! Steps of a run: each named and timed, all of them summed up at the end.

use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::shell::{Shell, colours};

/// What the steps of a run came to.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    counts: Counts,
    took: Duration,
}

/// How a step that counts as one ended.
pub(crate) enum Outcome {
    Passed,
    /// Why, for people: a line or several.
    Failed(String),
    /// Why.
    Skipped(String),
}

impl Report {
    /// A step that is one command and counts as one.
    pub(crate) fn command(&mut self, name: &'static str, shell: Shell) {
        let line = shell.line();
        self.check(name, &line, || match shell.succeeds() {
            true => Outcome::Passed,
            false => Outcome::Failed(format!("`{line}` failed")),
        });
    }

    /// A step that counts as one.
    pub(crate) fn check(&mut self, name: &'static str, what: &str, run: impl FnOnce() -> Outcome) {
        self.step(name, what, || match run() {
            Outcome::Passed => Counts::PASSED,
            Outcome::Failed(why) => {
                eprintln!("{why}");
                Counts::FAILED
            }
            Outcome::Skipped(why) => skipped(&why),
        });
    }

    /// A step that is a test suite: counts what `read` finds in its output. A suite that ends badly
    /// without a failed test (it did not compile, or it crashed) counts as one failure.
    pub(crate) fn suite(
        &mut self,
        name: &'static str,
        shell: Shell,
        read: fn(&str) -> Option<Counts>,
    ) {
        let line = shell.line();
        self.step(name, &line, || hear(shell, read));
    }

    /// A test suite that some machines cannot run: `obstacle` says why, and prepares it if it can.
    pub(crate) fn suite_unless(
        &mut self,
        name: &'static str,
        obstacle: impl FnOnce() -> Option<String>,
        shell: Shell,
        read: fn(&str) -> Option<Counts>,
    ) {
        let line = shell.line();
        self.step(name, &line, || match obstacle() {
            Some(why) => skipped(&why),
            None => hear(shell, read),
        });
    }

    /// Prints the steps and, as the last line, the sum. Whether nothing failed.
    pub(crate) fn close(self) -> bool {
        println!();
        for Step { name, counts, took } in &self.steps {
            let line =
                format!("{name:<12} {:>7.1} s   {}", took.as_secs_f64(), counts.closing_line());
            println!("{}", if counts.failed > 0 { bold(&line) } else { line });
        }
        let sum: Counts = self.steps.iter().map(|step| step.counts).sum();
        println!("\n{}", sum.closing_line());
        sum.failed == 0
    }

    fn step(&mut self, name: &'static str, what: &str, run: impl FnOnce() -> Counts) {
        println!("{} {what}", bold(&format!("==> {name}:")));
        let start = Instant::now();
        let counts = run();
        self.steps.push(Step { name, counts, took: start.elapsed() });
    }
}

/// Runs a suite and counts what it says.
fn hear(shell: Shell, read: fn(&str) -> Option<Counts>) -> Counts {
    let heard = shell.hear();
    let counts = read(&heard.text).unwrap_or_default();
    match heard.success || counts.failed > 0 {
        true => counts,
        false => counts + Counts::FAILED,
    }
}

fn skipped(why: &str) -> Counts {
    eprintln!("skipped: {why}");
    Counts::SKIPPED
}

fn bold(text: &str) -> String {
    if colours() { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts_of(run: impl FnOnce(&mut Report)) -> Counts {
        let mut report = Report::default();
        run(&mut report);
        report.steps.iter().map(|step| step.counts).sum()
    }

    #[test]
    fn a_suite_that_ends_badly_without_a_summary_is_one_failure() {
        let broken = Shell::new("sh").args(["-c", "echo does not compile >&2; exit 101"]);
        let counts = counts_of(|report| report.suite("tests", broken, Counts::of_nextest));
        assert_eq!(counts, Counts::FAILED);
    }

    #[test]
    fn a_suite_with_an_obstacle_is_skipped_and_not_run() {
        let counts = counts_of(|report| {
            let suite = Shell::new("false");
            report.suite_unless(
                "lab",
                || Some("not root".to_owned()),
                suite,
                Counts::of_cargo_test,
            );
        });
        assert_eq!(counts, Counts::SKIPPED);
        let counts = counts_of(|report| {
            report.suite_unless("lab", || None, Shell::new("false"), Counts::of_cargo_test);
        });
        assert_eq!(counts, Counts::FAILED);
    }

    #[test]
    fn a_failed_step_fails_the_report_and_those_after_it_still_run() {
        let mut report = Report::default();
        report.command("first", Shell::new("false"));
        report.command("second", Shell::new("true"));
        assert_eq!(report.steps.len(), 2);
        assert!(!report.close());
    }

    #[test]
    fn a_skipped_step_does_not_fail_the_report() {
        let mut report = Report::default();
        report.check("deny", "nothing", || Outcome::Skipped("not installed".to_owned()));
        assert!(report.close());
    }
}
