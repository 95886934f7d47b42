//! How many tests passed and failed, read from what the test runners print.

use std::iter::Sum;
use std::ops::Add;

/// Numbers of tests, or of steps that count as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) const PASSED: Counts = Counts { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Counts = Counts { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Counts = Counts { passed: 0, failed: 0, skipped: 1 };

    /// From nextest's `Summary [..] N tests run: ..` line; `None` when it printed none.
    ///
    /// Whatever it calls neither passed nor skipped (failed, timed out, exec failed) has failed.
    pub(crate) fn of_nextest(text: &str) -> Option<Counts> {
        let plain = without_escapes(text);
        let line = plain.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))?;
        let (_, results) = line.split_once("run:")?;
        let mut counts = Counts::default();
        for result in without_parentheses(results).split(',') {
            let (number, what) = result.trim().split_once(' ')?;
            let number: u64 = number.parse().ok()?;
            match what.trim() {
                "passed" => counts.passed += number,
                "skipped" => counts.skipped += number,
                _ => counts.failed += number,
            }
        }
        Some(counts)
    }

    /// From the `test result:` lines of cargo's own runner; `None` when it printed none.
    pub(crate) fn of_cargo_test(text: &str) -> Option<Counts> {
        let plain = without_escapes(text);
        let results = plain.lines().filter_map(|line| line.trim().strip_prefix("test result: "));
        let each: Vec<Counts> = results.map(Counts::of_result).collect::<Option<_>>()?;
        if each.is_empty() { None } else { Some(each.into_iter().sum()) }
    }

    /// From `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s`.
    fn of_result(result: &str) -> Option<Counts> {
        let (_, results) = result.split_once(". ")?;
        let mut counts = Counts::default();
        for result in results.split(';') {
            let mut words = result.split_whitespace();
            let (number, what) = (words.next()?, words.next()?);
            match what {
                "passed" => counts.passed += number.parse::<u64>().ok()?,
                "failed" => counts.failed += number.parse::<u64>().ok()?,
                "ignored" => counts.skipped += number.parse::<u64>().ok()?,
                _ => {}
            }
        }
        Some(counts)
    }

    /// The line that closes a run: `N passed, N failed`, and how many were skipped if any was.
    pub(crate) fn closing_line(self) -> String {
        let Counts { passed, failed, skipped } = self;
        match skipped {
            0 => format!("{passed} passed, {failed} failed"),
            _ => format!("{passed} passed, {failed} failed, {skipped} skipped"),
        }
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(each: I) -> Counts {
        each.fold(Counts::default(), Counts::add)
    }
}

/// Drops terminal colour sequences.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.get(1..).unwrap_or_default();
    }
    plain + rest
}

/// Drops `(1 slow, 2 leaky)`, which says more about tests already counted.
fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|c| {
            match c {
                '(' => depth += 1,
                ')' => {
                    depth = depth.saturating_sub(1);
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, skipped: u64) -> Option<Counts> {
        Some(Counts { passed, failed, skipped })
    }

    #[test]
    fn nextest_summaries_are_read_in_all_their_forms() {
        let table = [
            ("     Summary [   0.012s] 5 tests run: 5 passed, 0 skipped", counts(5, 0, 0)),
            ("Summary [1.0s] 1 test run: 1 passed, 3 skipped", counts(1, 0, 3)),
            ("Summary [ 9.1s] 9/12 tests run: 8 passed, 1 failed, 0 skipped", counts(8, 1, 0)),
            (
                "Summary [ 9.1s] 9 tests run: 6 passed (1 slow, 2 leaky), 1 failed (1 due to being \
                 leaky), 1 timed out, 1 exec failed, 2 skipped",
                counts(6, 3, 2),
            ),
            (
                "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m5\u{1b}[0m tests run: \
                 \u{1b}[1m5\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m \
                 \u{1b}[33;1mskipped\u{1b}[0m",
                counts(5, 0, 0),
            ),
        ];
        for (line, expected) in table {
            let text = format!("    Starting 5 tests\n{line}\n        FAIL some::test\n");
            assert_eq!(Counts::of_nextest(&text), expected, "{line}");
        }
    }

    #[test]
    fn a_run_without_a_summary_has_no_counts() {
        for text in ["", "error: could not compile `dlm`", "Summary [ 1 s] nonsense", "\u{1b}["] {
            assert_eq!(Counts::of_nextest(text), None, "{text}");
            assert_eq!(Counts::of_cargo_test(text), None, "{text}");
        }
    }

    #[test]
    fn results_of_several_test_programs_are_added() {
        let text = "\
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.30s

   Doc-tests stackglue
test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.2s
";
        assert_eq!(Counts::of_cargo_test(text), counts(4, 2, 1));
    }

    #[test]
    fn the_closing_line_names_skipped_only_when_there_are_some() {
        assert_eq!(Counts::PASSED.closing_line(), "1 passed, 0 failed");
        let all = Counts::PASSED + Counts::FAILED + Counts::SKIPPED;
        assert_eq!(all.closing_line(), "1 passed, 1 failed, 1 skipped");
    }
}
