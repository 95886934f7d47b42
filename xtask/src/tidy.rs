//! What a reader should never find in the tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::links::{named_sources, relative_links};
use crate::report::Outcome;
use crate::shell::root;

/// Looks at every file of the repository.
pub(crate) fn check() -> Outcome {
    match findings(root()) {
        Ok(findings) if findings.is_empty() => Outcome::Passed,
        Ok(findings) => Outcome::Failed(findings.join("\n")),
        Err(error) => Outcome::Failed(format!("cannot read the tree: {error}")),
    }
}

/// Every finding, one line each, below `top`.
fn findings(top: &Path) -> std::io::Result<Vec<String>> {
    let mut files = Vec::new();
    collect(top, top, &mut files)?;
    files.sort();
    let mut findings = Vec::new();
    for paper in PAPERS {
        if !files.iter().any(|file| file == Path::new(paper)) {
            findings.push(format!("{paper}: missing"));
        }
    }
    for file in &files {
        let Ok(text) = fs::read_to_string(top.join(file)) else { continue };
        let name = file.display().to_string();
        findings.extend(marks(&name, &text));
        if has_extension(file, "rs") {
            findings.extend(lengths(&name, &text));
        }
        if has_extension(file, "md") {
            for link in relative_links(&text) {
                if !link.path_from(&top.join(file)).exists() {
                    findings.push(format!("{name}:{}: dead link {}", link.line, link.target));
                }
            }
            for source in named_sources(&text) {
                if !top.join(&source.target).exists() {
                    findings.push(format!("{name}:{}: no {}", source.line, source.target));
                }
            }
        }
    }
    findings.extend(unlisted_pages(top, &files));
    findings.extend(unknown_tests(top, &files));
    Ok(findings)
}

/// Files below `directory`, relative to `top`, without what git and cargo keep there.
fn collect(top: &Path, directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !matches!(entry.file_name().to_str(), Some(".git" | "target")) {
                collect(top, &path, files)?;
            }
        } else if kind.is_file() {
            files.push(path.strip_prefix(top).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

/// Notes of somebody who meant to come back.
fn marks(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let Some(mark) = words.find(|word| MARKS.contains(word)) {
            findings.push(format!("{name}:{}: {mark} left behind", index + 1));
        }
    }
    findings
}

fn lengths(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let length = line.chars().count();
        if length > LINE_CHARS_MAX {
            findings.push(format!("{name}:{}: a line of {length} characters", index + 1));
        }
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(format!("{name}: {lines} lines are usually two nouns"));
    }
    findings
}

/// Pages below `docs/` that its index does not lead to.
fn unlisted_pages(top: &Path, files: &[PathBuf]) -> Vec<String> {
    let index = fs::read_to_string(top.join(DOCS_INDEX)).unwrap_or_default();
    let listed: BTreeSet<PathBuf> =
        relative_links(&index).iter().map(|link| link.path_from(Path::new(DOCS_INDEX))).collect();
    files
        .iter()
        .filter(|file| file.starts_with("docs") && has_extension(file, "md"))
        .filter(|file| *file != Path::new(DOCS_INDEX) && !listed.contains(*file))
        .map(|file| format!("{}: {DOCS_INDEX} does not link to it", file.display()))
        .collect()
}

/// Tests that the pages of behaviours name and no source has.
fn unknown_tests(top: &Path, files: &[PathBuf]) -> Vec<String> {
    let read = |file: &PathBuf| fs::read_to_string(top.join(file)).unwrap_or_default();
    let sources: Vec<String> =
        files.iter().filter(|file| has_extension(file, "rs")).map(read).collect();
    let functions: BTreeSet<&str> =
        sources.iter().flat_map(|source| functions_in(source)).collect();
    let mut findings = Vec::new();
    for page in files.iter().filter(|file| file.starts_with(BEHAVIOURS)) {
        for (index, line) in read(page).lines().enumerate() {
            for test in tests_in(line).filter(|test| !functions.contains(test)) {
                findings.push(format!("{}:{}: no test {test}", page.display(), index + 1));
            }
        }
    }
    findings
}

/// The names behind each `fn` of a source.
fn functions_in(source: &str) -> impl Iterator<Item = &str> {
    source
        .split("fn ")
        .skip(1)
        .filter_map(|behind| behind.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
}

/// The tests named in the last cell of a numbered row.
fn tests_in(line: &str) -> impl Iterator<Item = &str> {
    let row = line.strip_prefix("| ").filter(|row| row.starts_with(|c: char| c.is_ascii_digit()));
    let cell = row.and_then(|row| row.trim_end_matches('|').rsplit('|').next()).unwrap_or_default();
    cell.split('`').skip(1).step_by(2)
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}

/// Papers that a repository must have.
const PAPERS: [&str; 9] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "deny.toml",
    DOCS_INDEX,
];
const DOCS_INDEX: &str = "docs/README.md";
/// Where behaviours are listed with their tests.
const BEHAVIOURS: &str = "docs/protocol/conformance-o2cb.md";
/// In two pieces, so that this file is tidy too.
const MARKS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
const LINE_CHARS_MAX: usize = 140;
const FILE_LINES_MAX: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_as_a_word_and_not_inside_one() {
        let mark = MARKS[0];
        let text = format!("fine\n// {mark}: later\n// {mark}S are many\n");
        assert_eq!(marks("a.rs", &text), [format!("a.rs:2: {mark} left behind")]);
    }

    #[test]
    fn a_long_line_and_a_long_file_are_found() {
        let line = "x".repeat(LINE_CHARS_MAX);
        assert!(lengths("a.rs", &line).is_empty());
        assert_eq!(lengths("a.rs", &format!("\n{line}x")), ["a.rs:2: a line of 141 characters"]);
        assert!(lengths("a.rs", &"\n".repeat(FILE_LINES_MAX)).is_empty());
        assert_eq!(lengths("a.rs", &"\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
    }

    #[test]
    fn a_named_test_is_looked_for_among_the_functions() {
        let source = "#[test]\nfn it_holds() {}\nconst fn two() {}\n";
        assert_eq!(functions_in(source).collect::<Vec<_>>(), ["it_holds", "two"]);
        let row = "| 7 | `nothing` of that | `it_holds`, `it_is_gone` (in part) |";
        assert_eq!(tests_in(row).collect::<Vec<_>>(), ["it_holds", "it_is_gone"]);
        assert_eq!(tests_in("| | behaviour | `test` |").count(), 0);
        assert_eq!(tests_in("| 8 | that | no test yet |").count(), 0);
    }

    #[test]
    fn an_empty_tree_lacks_every_paper() {
        let empty = std::env::temp_dir().join(format!("stackglue-tidy-{}", std::process::id()));
        fs::create_dir_all(empty.join("docs")).expect("a temporary directory");
        fs::write(empty.join("docs/a.md"), "[gone](b.md) and `crates/gone`").expect("a page");
        let found = findings(&empty);
        fs::remove_dir_all(&empty).expect("ours to remove");
        let found = found.expect("a readable tree");
        assert_eq!(found.len(), PAPERS.len() + 3, "{found:?}");
        assert!(found.contains(&"docs/a.md:1: dead link b.md".to_owned()), "{found:?}");
        assert!(found.contains(&"docs/a.md:1: no crates/gone".to_owned()), "{found:?}");
        assert!(found.contains(&"docs/a.md: docs/README.md does not link to it".to_owned()));
    }
}
