//! Steps of a run: each named and timed, all of them summed up at the end.

use std::thread;
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::shell::{Heard, Shell, colours};

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
        self.step(name, &line, || counts(&shell.hear(), read));
    }

    /// Test suites that some machines cannot run: `obstacle` says why, and prepares them if it can. The
    /// rows run at once, the suites of a row one after the other.
    pub(crate) fn rows_unless(
        &mut self,
        obstacle: impl FnOnce() -> Option<String>,
        rows: impl IntoIterator<Item = Vec<(&'static str, Shell)>>,
        read: fn(&str) -> Option<Counts>,
    ) {
        let obstacle = obstacle();
        let run = |(name, shell): (&'static str, Shell)| {
            println!("{} {}", bold(&format!("==> {name}:")), shell.line());
            let start = Instant::now();
            let counts = match &obstacle {
                Some(why) => skipped(why),
                None => counts(&shell.hear_as(&format!("{name} | ")), read),
            };
            Step { name, counts, took: start.elapsed() }
        };
        let run_row = |row: Vec<_>| row.into_iter().map(run).collect::<Vec<_>>();
        let steps = thread::scope(|scope| {
            let rows: Vec<_> =
                rows.into_iter().map(|row| scope.spawn(move || run_row(row))).collect();
            rows.into_iter()
                .flat_map(|row| row.join().expect("it does not panic"))
                .collect::<Vec<_>>()
        });
        self.steps.extend(steps);
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

/// What a suite said it came to.
fn counts(heard: &Heard, read: fn(&str) -> Option<Counts>) -> Counts {
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
    fn suites_with_an_obstacle_are_skipped_and_not_run() {
        let rows = || [vec![("a", Shell::new("false")), ("b", Shell::new("false"))], vec![]];
        let obstacle = || Some("not root".to_owned());
        let counts =
            counts_of(|report| report.rows_unless(obstacle, rows(), Counts::of_cargo_test));
        assert_eq!(counts, Counts::SKIPPED + Counts::SKIPPED);
        let counts = counts_of(|report| report.rows_unless(|| None, rows(), Counts::of_cargo_test));
        assert_eq!(counts, Counts::FAILED + Counts::FAILED);
    }

    #[test]
    fn rows_run_at_once_and_their_suites_in_turn() {
        // Each row waits for what the other one has done first.
        let pipe = std::env::temp_dir().join(format!("stackglue-rows-{}", std::process::id()));
        let pipe = pipe.display();
        let meets = |word: &str| Shell::new("sh").args(["-c", word]);
        let rows = [
            vec![("a", meets(&format!("mkfifo {pipe} && echo here > {pipe}; echo test result")))],
            vec![("b", meets(&format!("until [ -p {pipe} ]; do :; done; cat {pipe}; rm {pipe}")))],
        ];
        let counts = counts_of(|report| {
            report.rows_unless(
                || None,
                rows,
                |text| (text == "test result\n" || text == "here\n").then_some(Counts::PASSED),
            );
        });
        assert_eq!(counts, Counts::PASSED + Counts::PASSED);
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
