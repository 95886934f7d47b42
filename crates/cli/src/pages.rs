//! `stackglue generate`: man pages and shell completions, from the definitions of what can be typed.

mod sections;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::arguments::{Arguments, HbCtlProgram, HelperArguments};
use crate::exit::Failure;
use sections::{Body, Section};

/// Writes man pages to `man` and completions to `completions` below a directory.
pub(crate) fn write(directory: &Path) -> Result<u8, Failure> {
    write_all(directory)
        .map(|()| 0)
        .map_err(|error| Failure::os(&format!("write below {}", directory.display()), error))
}

fn write_all(directory: &Path) -> io::Result<()> {
    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    let mut command = Arguments::command();
    command.build();
    write_pages(&man, &command)?;
    let daemon = Command::new("stackglued")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The lock manager of this host")
        .long_about(sections::DAEMON);
    let daemon = daemon::Options::augment_args(daemon);
    write_page(&man, "8", daemon)?;
    let helper = HelperArguments::command().long_about(sections::DLMFS);
    write_page(&man, "8", helper)?;
    write_page(&man, "8", HbCtlProgram::command().long_about(sections::HB_CTL))?;

    let completions = directory.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Arguments::command(), "stackglue", &completions)?;
    }
    Ok(())
}

/// The page of a command and those of the commands below it.
fn write_pages(directory: &Path, command: &Command) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(directory, below)?;
    }
    write_page(directory, "1", command.clone())
}

fn write_page(directory: &Path, section: &str, command: Command) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let examples = command.get_after_help().map(|help| examples(&help.to_string()));
    let has_commands = command.get_subcommands().any(|below| !below.is_hide_set());
    let source = concat!("stackglue ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).section(section).source(source).manual("stackglue");

    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    for section in sections::of(&name) {
        write_section(&mut page, section)?;
    }
    if let Some(examples) = examples.filter(|examples| !examples.is_empty()) {
        let body = Body::Literal(&examples);
        write_section(&mut page, &Section { title: "EXAMPLES", body })?;
    }
    File::create(directory.join(man.get_filename()))?.write_all(&page)
}

/// The lines below `Examples:` in a help text, up to an empty one.
fn examples(help: &str) -> String {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    lines.join("\n")
}

fn write_section(page: &mut Vec<u8>, section: &Section<'_>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [section.title]);
    match section.body {
        Body::Prose(paragraphs) => {
            for paragraph in paragraphs {
                roff.control("PP", []).text([roman(*paragraph)]);
            }
        }
        Body::Terms(terms) => {
            for (term, meaning) in terms {
                roff.control("TP", []).text([roman(*term)]).text([roman(*meaning)]);
            }
        }
        Body::Literal(text) => {
            roff.control("nf", []);
            for line in text.lines() {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
        }
    }
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> (tempfile::TempDir, Vec<String>) {
        let directory = tempfile::tempdir().expect("a directory");
        write_all(directory.path()).expect("written");
        let mut names: Vec<_> = fs::read_dir(directory.path().join("man"))
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        (directory, names)
    }

    #[test]
    fn every_command_has_a_page_and_hidden_ones_have_none() {
        let (_directory, names) = pages();
        let expected = [
            "ocfs2_hb_ctl.8",
            "stackglue-dlmfs.8",
            "stackglue-doctor.1",
            "stackglue-hb-ctl.1",
            "stackglue-lock.1",
            "stackglue-locks.1",
            "stackglue-mount-control.1",
            "stackglue-mount-dlmfs.1",
            "stackglue-mount.1",
            "stackglue-nodes.1",
            "stackglue-o2cb-add-node.1",
            "stackglue-o2cb-check.1",
            "stackglue-o2cb-heartbeat-file.1",
            "stackglue-o2cb-init.1",
            "stackglue-o2cb.1",
            "stackglue-revoke.1",
            "stackglue-slots.1",
            "stackglue-stack.1",
            "stackglue-status.1",
            "stackglue-umount.1",
            "stackglue-value-clear.1",
            "stackglue-value-get.1",
            "stackglue-value-set.1",
            "stackglue-value.1",
            "stackglue.1",
            "stackglued.8",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_page_of_lock_has_what_a_script_s_author_looks_for() {
        let (directory, _) = pages();
        let page = fs::read_to_string(directory.path().join("man/stackglue-lock.1")).expect("read");
        for title in ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SIGNALS"] {
            let heading = format!(".SH \"{title}\"");
            let bare = format!(".SH {title}");
            assert!(page.lines().any(|line| line == heading || line == bare), "{title}");
        }
        for status in [crate::exit::LOST, crate::exit::UNAVAILABLE, crate::exit::NOT_FOUND] {
            assert!(page.lines().any(|line| line == status.to_string()), "{status}");
        }
    }

    #[test]
    fn completions_for_three_shells_are_written() {
        let (directory, _) = pages();
        let written = fs::read_dir(directory.path().join("completions")).expect("a directory");
        assert_eq!(written.count(), 3);
    }
}
