//! stackglue: the command people type.
//!
//! `arguments` says what can be typed. `stackglue lock` goes through `lock` (what was asked),
//! `acquire` (waiting), `held` (the command runs) and `child` (how it is started so that it never
//! outlives the lock); `mutex_helper` is the same for Samba's CTDB. `locks`, `status`, `nodes`, `stack`,
//! `value` and `revoke` ask the daemon and print; `mount` serves a file system, or has it served in the
//! background (`control` is what one of them shows); `hb_ctl` is OCFS2's heartbeat control program;
//! `doctor` looks for itself. `o2cb_conf` and `slots` need no daemon: they read and write the classic
//! stack's configuration, and read its volumes. `exit` has every exit status, `pages` writes the man pages
//! and completions.

mod acquire;
mod arguments;
mod child;
mod control;
mod descendants;
mod doctor;
mod exit;
mod hb_ctl;
mod held;
mod lock;
mod locks;
mod mount;
mod mutex_helper;
mod name;
mod nodes;
mod o2cb_conf;
mod pages;
mod print;
mod revoke;
mod session;
mod signals;
mod slots;
mod stack;
mod status;
mod table;
mod value;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::arguments::{Arguments, Command, HbCtlProgram, HelperArguments};
use crate::exit::{Failure, USAGE};

/// Runs the command that the arguments of this process ask for, and returns its exit status.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Every command under a lock starts through this: before anything that takes time.
    if arguments.get(1).is_some_and(|first| first == child::STARTER) {
        return child::become_command(&arguments[2..]).report();
    }
    if arguments.first().is_some_and(|program| mount::is_helper(program)) {
        return match HelperArguments::try_parse_from(arguments) {
            Ok(arguments) => mount::help(&arguments).map_or_else(Failure::report, ExitCode::from),
            Err(error) => refuse(&error),
        };
    }
    if arguments.first().is_some_and(|program| hb_ctl::is_called(program)) {
        return match HbCtlProgram::try_parse_from(arguments) {
            Ok(program) => {
                hb_ctl::run(&program.arguments).map_or_else(Failure::report, ExitCode::from)
            }
            Err(error) if error.use_stderr() => {
                refuse(&error);
                ExitCode::from(hb_ctl::FAILED)
            }
            Err(error) => refuse(&error),
        };
    }
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => run(arguments.command).unwrap_or_else(Failure::report),
        Err(error) => refuse(&error),
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let status = match command {
        Command::Lock(arguments) => lock::run(&arguments)?,
        Command::Locks(arguments) => locks::run(&arguments)?,
        Command::Status(arguments) => status::run(&arguments)?,
        Command::Nodes(arguments) => nodes::run(&arguments)?,
        Command::Doctor(arguments) => doctor::run(&arguments)?,
        Command::Stack(arguments) => stack::run(&arguments)?,
        Command::Value(arguments) => value::run(&arguments)?,
        Command::Revoke(arguments) => revoke::run(&arguments)?,
        Command::Mount(arguments) => mount::run(&arguments)?,
        Command::Umount(arguments) => mount::undo(&arguments)?,
        Command::HbCtl(arguments) => hb_ctl::run(&arguments)?,
        Command::O2cb(arguments) => o2cb_conf::run(&arguments.verb)?,
        Command::Slots(arguments) => slots::run(&arguments.device)?,
        Command::Daemon(options) => return Ok(session::be_the_daemon(&options)),
        Command::Generate(arguments) => pages::write(&arguments.directory)?,
    };
    Ok(ExitCode::from(status))
}

/// What was typed cannot be: in one sentence. Help and version are no mistake.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print::tolerate_a_closed_pipe(error.print());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print::tolerate_a_closed_pipe(error.print());
            ExitCode::from(USAGE)
        }
        _ => Failure::new(USAGE, first_paragraph(&error.to_string())).report(),
    }
}

/// Clap's message without its prefix, its tips and its usage lines.
fn first_paragraph(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines = message.lines().take_while(|line| !line.trim().is_empty());
    let sentence = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    format!("{sentence}; `stackglue --help` and `stackglue COMMAND --help` tell what can be typed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_in_one_line() {
        for words in [
            &["stackglue", "lock"][..],
            &["stackglue", "lock", "-w", "soon", "n", "--", "true"],
            &["stackglue", "lock", "-m", "XX", "n", "--", "true"],
            &["stackglue", "lock", "-s", "-x", "n", "--", "true"],
            &["stackglue", "lock", "n"],
            &["stackglue", "frobnicate"],
        ] {
            let error = Arguments::try_parse_from(words).expect_err("a mistake");
            let sentence = first_paragraph(&error.to_string());
            assert!(!sentence.contains('\n') && !sentence.contains("error:"), "{sentence}");
            assert!(sentence.contains("--help"), "{sentence}");
        }
    }
}
