//! What Markdown files lead to: links, and files of the source that they name.

use std::path::{Path, PathBuf};

/// A link to a file of the repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Line it stands in, from 1.
    pub(crate) line: usize,
    /// As written, without the part from `#` on.
    pub(crate) target: String,
}

impl Link {
    /// The file it leads to from `page`.
    pub(crate) fn path_from(&self, page: &Path) -> PathBuf {
        page.parent().unwrap_or(Path::new("")).join(&self.target)
    }
}

/// The relative links of a page, outside code blocks. Those to other sites and to places in the same
/// page are left out.
pub(crate) fn relative_links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for after in line.split("](").skip(1) {
            let Some((target, _)) = after.split_once(')') else { continue };
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') {
                links.push(Link { line: index + 1, target: target.to_owned() });
            }
        }
    }
    links
}

/// Files and folders of the source that a page names, such as `crates/dlm/src/mode.rs`, with the
/// lines they stand in, from 1. They are relative to the top, wherever the page is.
pub(crate) fn named_sources(text: &str) -> Vec<Link> {
    let mut named = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let quoted = line.split('`').skip(1).step_by(2);
        let sources = quoted.filter(|quoted| quoted.starts_with("crates/"));
        named.extend(sources.map(|path| Link { line: index + 1, target: path.to_owned() }));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_files_are_found() {
        let text = "\
See [map](ARCHITECTURE.md), [a place](docs/x.md#here) and [here](#there).
[site](https://example.org/a.md) [mail](mailto:a@example.org)
```
array[i](not/a/link.md)
```
after [code](b.md)";
        let found: Vec<(usize, String)> =
            relative_links(text).into_iter().map(|link| (link.line, link.target)).collect();
        let expected = [(1, "ARCHITECTURE.md"), (1, "docs/x.md"), (6, "b.md")];
        assert_eq!(found, expected.map(|(line, target)| (line, target.to_owned())));
    }

    #[test]
    fn sources_are_named_between_backquotes() {
        let text = "the rooms\n`crates/dlm` and `mode.rs` of `crates/dlm/src`, not crates/x";
        let found = named_sources(text).into_iter().map(|link| (link.line, link.target));
        let expected = [(2, "crates/dlm".to_owned()), (2, "crates/dlm/src".to_owned())];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_link_is_relative_to_its_page() {
        let link = Link { line: 1, target: "../README.md".to_owned() };
        assert_eq!(link.path_from(Path::new("docs/a.md")), Path::new("docs/../README.md"));
    }
}
