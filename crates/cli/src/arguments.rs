//! What can be typed. The man pages are made from these texts.

mod hb_ctl;
mod lock;
mod mount;
mod o2cb;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use daemon::protocol::DEFAULT_GROUP;

pub(crate) use hb_ctl::{HbCtlArguments, HbCtlProgram};
pub(crate) use lock::{LockArguments, OnLoss};
pub(crate) use mount::{HelperArguments, How, MountArguments, UmountArguments, What};
pub(crate) use o2cb::{ConfFile, O2cbArguments, O2cbVerb, SlotsArguments};

/// Locks for commands, on this host and across its cluster.
///
/// Runs commands under locks that exclude other processes of this host and other hosts of its cluster,
/// and shows who holds what, who waits, and for whom.
#[derive(Debug, Parser)]
#[command(
    name = "stackglue",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Lock(LockArguments),
    Locks(LocksArguments),
    Status(StatusArguments),
    Nodes(NodesArguments),
    Doctor(DoctorArguments),
    Stack(StackArguments),
    Value(ValueArguments),
    Revoke(RevokeArguments),
    Mount(MountArguments),
    Umount(UmountArguments),
    HbCtl(HbCtlArguments),
    O2cb(O2cbArguments),
    Slots(SlotsArguments),
    /// Be the daemon, as stackglued is.
    #[command(hide = true)]
    Daemon(daemon::Options),
    /// Write man pages and shell completions.
    #[command(hide = true)]
    Generate(GenerateArguments),
}

/// Show every lock: who holds it, who waits, and for whom.
///
/// Shows every lock: its group and name, the mode held (and the mode wanted), the queue it is in, the
/// node, process and command that own it, what it is for, how old it is, how long it has waited, and
/// whom it waits for. Starts no daemon: without one there are no locks.
///
/// In a cluster it shows what this node knows: every lock of the names that it is the master of, and of other
/// names its own locks alone. The master's `stackglue locks` has the rest.
#[derive(Debug, Args)]
#[command(after_help = LOCKS_EXAMPLES)]
pub(crate) struct LocksArguments {
    /// Print one JSON object a line instead of a table; times are in milliseconds.
    #[arg(long)]
    pub(crate) json: bool,
    /// Only locks of this group.
    #[arg(short, long, value_parser = crate::name::group)]
    pub(crate) group: Option<String>,
    /// Only locks of this name.
    pub(crate) name: Option<OsString>,
}

/// Show the daemon of this host: its stack, its groups, what it counted.
///
/// Starts none: when none runs it says so and exits with status 3.
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the nodes of the cluster: who lives, who is connected, who is the master of how much.
///
/// Shows each node as this one sees it: its number (a star marks this node), name and address, how long
/// ago its heartbeat was seen, the state of the connection to it, and of how many of the names that this
/// node knows it is the master. For this node it shows how much time is left until it stops itself, if its
/// disk takes no heartbeat before. On the stack solo this host is the only node.
#[derive(Debug, Args)]
pub(crate) struct NodesArguments {
    /// Print one JSON object a line instead of a table; times are in milliseconds.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Look for what keeps this host from its cluster, and say what to do.
///
/// For the stack o2cb: looks at the configuration, at the addresses and ports of the nodes, at the heartbeat
/// regions and at the timings. Reads only, and never writes to a heartbeat region. Exits with status 1 when
/// something has to be done.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// The daemon's configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Show or change the cluster stack.
///
/// Shows the label of the stack in force, or changes it: four bytes, such as `solo`. A stack cannot be
/// changed while locks are in use.
#[derive(Debug, Args)]
pub(crate) struct StackArguments {
    /// The new label.
    pub(crate) label: Option<String>,
}

/// Read, write or drop the value that is kept with a lock's name.
///
/// A name has a value of at most 64 bytes, kept as long as anything holds the name. It travels with the
/// lock: who holds the lock reads what the last writer left.
#[derive(Debug, Args)]
#[command(after_help = VALUE_EXAMPLES)]
pub(crate) struct ValueArguments {
    #[command(subcommand)]
    pub(crate) verb: ValueVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ValueVerb {
    /// Print the value.
    ///
    /// Prints the value without the zero bytes behind it. Exits with status 1 when there is none or
    /// somebody may be writing it, and with 2 when its last writer was lost: then the value is printed,
    /// and not to be trusted.
    Get(ValueName),
    /// Write the value and keep it.
    ///
    /// Waits until the name may be locked in EX. An empty value is as good as none.
    Set {
        #[command(flatten)]
        of: ValueName,
        /// The value: at most 64 bytes.
        text: OsString,
    },
    /// Drop what `set` keeps.
    ///
    /// Exits with status 1 when it keeps nothing.
    Clear(ValueName),
}

#[derive(Debug, Args)]
pub(crate) struct ValueName {
    /// The group that the name belongs to.
    #[arg(short, long, default_value = DEFAULT_GROUP, value_parser = crate::name::group)]
    pub(crate) group: String,
    /// The name.
    pub(crate) name: OsString,
}

/// Ask for a lock back from those who hold it.
///
/// Asks every process that holds a lock of this name to give it back, and waits until they have. A
/// `stackglue lock` that is asked stops its command (see its option `--on-loss`). Locks whose process is
/// gone are dropped. Exits with status 1 when somebody still holds the lock after the grace time.
#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES)]
pub(crate) struct RevokeArguments {
    /// The group that the name belongs to.
    #[arg(short, long, default_value = DEFAULT_GROUP, value_parser = crate::name::group)]
    pub(crate) group: String,
    /// After the grace time, take the lock away from those who still hold it.
    #[arg(long)]
    pub(crate) force: bool,
    /// How long those who hold the lock have, in seconds; fractions are possible.
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) grace: Duration,
    /// The name.
    pub(crate) name: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    /// Where to: man pages go to `man` below it, completions to `completions`.
    pub(crate) directory: PathBuf,
}

/// A number of seconds, decimal fractions allowed: from 0 to a hundred years.
fn seconds(typed: &str) -> Result<Duration, String> {
    typed
        .parse()
        .ok()
        .filter(|&seconds| seconds <= SECONDS_MAX)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "give a number of seconds such as 10 or 0.5".into())
}

/// A deadline this far away can still be computed.
const SECONDS_MAX: f64 = 100.0 * 365.0 * 86400.0;

const EXAMPLES: &str = "\
Examples:
  stackglue lock nightly -- backup --all   nobody else runs under `nightly` then
  stackglue lock -n nightly -- backup      or fail at once, and say who is at it
  stackglue locks                          who holds what, who waits for whom

No set-up is needed: without a daemon, a command that needs one starts one for
this user, which leaves when it is idle. On a host that is part of a cluster, the
service stackglued is that daemon.";

const LOCKS_EXAMPLES: &str = "\
Examples:
  stackglue locks             every lock of this host
  stackglue locks nightly     who holds `nightly`, and who waits for it
  stackglue locks --json | jq 'select(.queue == \"waiting\" and .wait_ms > 10000)'";

const VALUE_EXAMPLES: &str = "\
Examples:
  stackglue value set leader db1   write it
  stackglue value get leader       prints db1
  stackglue value clear leader     forget it";

const REVOKE_EXAMPLES: &str = "\
Examples:
  stackglue revoke nightly         ask, and wait up to 10 seconds
  stackglue revoke nightly --force --grace 60";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction_and_nothing_else() {
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "-1", "x", "NaN", "inf", "1e300", "1 s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
