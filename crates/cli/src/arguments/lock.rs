//! The arguments of `stackglue lock`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};
use daemon::protocol::{DEFAULT_GROUP, PURPOSE_LEN_MAX};
use dlm::Mode;

use super::seconds;
use crate::exit;

/// Run a command while holding a lock, as flock(1) does.
///
/// Runs COMMAND while holding the lock NAME. Waits until the lock is granted, unless told otherwise;
/// gives it back when the command ends, and exits with the command's status. If this process dies, its
/// command is killed and the lock goes when it is gone: there is nothing to renew and nothing to clean up.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(crate) struct LockArguments {
    /// The group that the name belongs to.
    #[arg(short, long, default_value = DEFAULT_GROUP, value_parser = crate::name::group)]
    pub(crate) group: String,
    /// The lock's mode: NL, CR, CW, PR, PW or EX.
    #[arg(short, long, group = "which", default_value = "EX")]
    pub(crate) mode: Mode,
    /// A shared lock: mode PR.
    #[arg(short, long, group = "which")]
    shared: bool,
    /// An exclusive lock: mode EX, the default.
    #[arg(short = 'x', long, visible_short_alias = 'e', group = "which")]
    exclusive: bool,
    /// Do not wait: fail when the lock cannot be had at once, and say who holds it.
    #[arg(short, long, visible_alias = "nb", conflicts_with = "wait")]
    nonblock: bool,
    /// Wait at most this long; fractions are possible, and 0 is like -n.
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    wait: Option<Duration>,
    /// Exit with this status when the lock could not be had in time.
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = exit::CONFLICT)]
    pub(crate) conflict_exit_code: u8,
    /// Do not say who holds the lock when it could not be had.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What the lock is for, shown to everybody who asks who holds it: at most 255 bytes.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = purpose)]
    pub(crate) purpose: String,
    /// What to do to the command when the lock is lost or revoked.
    #[arg(long, value_name = "ACTION", default_value = "kill")]
    pub(crate) on_loss: OnLoss,
    /// How long a command that is told to stop has before it is killed, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) grace: Duration,
    /// Run this with the shell ($SHELL, or /bin/sh) instead of COMMAND.
    #[arg(short = 'c', long = "command", value_name = "TEXT", conflicts_with = "command")]
    shell: Option<OsString>,
    /// Be the cluster mutex helper of Samba's CTDB: take the lock in EX without waiting (or with -w),
    /// print one digit (0 taken, 1 held by others, 2 timed out, 3 failed), and hold it until
    /// terminated or until CTDB is gone.
    #[arg(
        long,
        conflicts_with_all = ["command", "shell", "which", "conflict_exit_code", "on_loss"]
    )]
    pub(crate) ctdb_helper: bool,
    /// The lock: 1 to 64 bytes.
    #[arg(required = true)]
    pub(crate) name: OsString,
    /// The command and its arguments.
    #[arg(
        trailing_var_arg = true,
        required_unless_present_any = ["shell", "ctdb_helper"],
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

/// What happens to a command whose lock is lost or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLoss {
    /// SIGTERM to the command and everything it started, SIGKILL after the grace time.
    Kill,
    /// SIGUSR1 to the command, which decides by itself.
    Notify,
}

impl OnLoss {
    /// As it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            OnLoss::Kill => "kill",
            OnLoss::Notify => "notify",
        }
    }
}

impl LockArguments {
    /// The mode that is wanted.
    pub(crate) fn wanted_mode(&self) -> Mode {
        if self.shared { Mode::PR } else { self.mode }
    }

    /// How long to wait: for ever when `None`.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let at_once = self.nonblock || self.ctdb_helper && self.wait.is_none();
        if at_once { Some(Duration::ZERO) } else { self.wait }
    }

    /// The command and its arguments; empty for a helper.
    pub(crate) fn command_line(&self) -> Vec<OsString> {
        if let Some(text) = &self.shell {
            let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| "/bin/sh".into());
            return vec![shell, "-c".into(), text.clone()];
        }
        match self.command.split_first() {
            // `stackglue lock -- NAME -- COMMAND`: the first `--` ended the options already.
            Some((first, rest)) if first == "--" => rest.to_vec(),
            _ => self.command.clone(),
        }
    }
}

fn purpose(typed: &str) -> Result<String, String> {
    match typed.len() {
        0..=PURPOSE_LEN_MAX => Ok(typed.to_owned()),
        len => Err(format!("the purpose has {len} bytes: the longest is {PURPOSE_LEN_MAX}")),
    }
}

const USAGE: &str = "\
stackglue lock [OPTIONS] NAME [--] COMMAND [ARG]...
       stackglue lock [OPTIONS] NAME -c TEXT
       stackglue lock --ctdb-helper [-g GROUP] [-w SECONDS] NAME";

const EXAMPLES: &str = "\
The command sees STACKGLUE_NAME, STACKGLUE_GROUP, STACKGLUE_MODE,
STACKGLUE_ON_LOSS and STACKGLUE_TOKEN: a 64-bit number that grows with every
grant of the name, so that what the lock protects can refuse whoever comes with a
smaller one.

Exit status: that of the command, or 128 + n when signal n ended it;
  1 (or CODE)  the lock could not be had in time
  64           what was typed cannot be
  69           there is no daemon
  70, 71       internal error, error of the system
  75           the lock was lost, and the command was stopped
  77           not permitted
  126, 127     COMMAND cannot be run, was not found

Examples:
  stackglue lock nightly -- backup --all
  stackglue lock -n --purpose 'release 7.1' deploy -- ./deploy.sh
  stackglue lock -s -w 30 config -- cat /srv/shared/config
  stackglue lock -x counter -c 'echo $(($(cat n) + 1)) > n'";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn lock(words: &[&str]) -> LockArguments {
        let words = ["stackglue", "lock"].iter().chain(words);
        match Arguments::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).command {
            Command::Lock(lock) => lock,
            other => panic!("{other:?}"),
        }
    }

    fn mistake(words: &[&str]) {
        let words: Vec<_> = ["stackglue", "lock"].iter().chain(words).collect();
        assert!(Arguments::try_parse_from(&words).is_err(), "{words:?}");
    }

    #[test]
    fn options_end_where_the_command_starts() {
        let line = lock(&["demo", "-n", "ls", "-n", "--", "-x"]);
        assert_eq!(line.command_line(), ["ls", "-n", "--", "-x"]);
        assert_eq!(line.patience(), Some(Duration::ZERO));
        let line = lock(&["demo", "--", "ls", "--", "-n"]);
        assert_eq!(
            (line.command_line(), line.patience()),
            (vec!["ls".into(), "--".into(), "-n".into()], None)
        );
        let line = lock(&["-n", "--", "-demo", "--", "ls"]);
        assert_eq!((line.name.to_str(), line.command_line()), (Some("-demo"), vec!["ls".into()]));
    }

    #[test]
    fn the_mode_is_ex_unless_something_else_is_asked_for() {
        for (words, mode) in [
            (&["n", "true"][..], Mode::EX),
            (&["-x", "n", "true"], Mode::EX),
            (&["-e", "n", "true"], Mode::EX),
            (&["-s", "n", "true"], Mode::PR),
            (&["-m", "cw", "n", "true"], Mode::CW),
        ] {
            assert_eq!(lock(words).wanted_mode(), mode, "{words:?}");
        }
        mistake(&["-s", "-x", "n", "true"]);
        mistake(&["-s", "-m", "EX", "n", "true"]);
        mistake(&["-m", "XX", "n", "true"]);
    }

    #[test]
    fn what_means_nothing_together_is_refused() {
        mistake(&["-n", "-w", "1", "n", "true"]);
        mistake(&["n"]);
        mistake(&["n", "-c", "true", "true"]);
        mistake(&["-E", "256", "n", "true"]);
        mistake(&["-w", "-1", "n", "true"]);
        mistake(&["--ctdb-helper", "-s", "n"]);
        mistake(&["--ctdb-helper", "n", "true"]);
        mistake(&["-g", "", "n", "true"]);
        mistake(&["--purpose", &"x".repeat(256), "n", "true"]);
    }

    #[test]
    fn a_helper_does_not_wait_unless_told_to() {
        assert_eq!(lock(&["--ctdb-helper", "n"]).patience(), Some(Duration::ZERO));
        let patience = lock(&["--ctdb-helper", "-w", "5", "n"]).patience();
        assert_eq!(patience, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_shell_command_may_follow_the_name() {
        let line = lock(&["n", "-c", "exit 3"]).command_line();
        assert_eq!(line[1..], ["-c", "exit 3"]);
    }
}
