//! The arguments of `stackglue mount`, `stackglue umount` and the mount helper.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Mount what programs use as files.
#[derive(Debug, Args)]
pub(crate) struct MountArguments {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    Dlmfs(DlmfsArguments),
    Control(ControlArguments),
}

/// Mount lock domains as a file system.
///
/// Mounts a file system whose directories are lock domains and whose files are locks, as the Linux kernel's
/// ocfs2_dlmfs has them: programs written for that work unchanged, unless they ask for its type. Returns when it can be
/// used. It is served until it is unmounted, by a process of its own. stackglue-dlmfs(8) says how it is used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DlmfsArguments {
    #[command(flatten)]
    pub(crate) how: How,
    /// The directory to mount it on.
    #[arg(value_name = "DIRECTORY")]
    pub(crate) point: PathBuf,
}

/// Mount the daemon's attributes as a file system.
///
/// Mounts a file system whose files show and steer the daemon, with the names, texts and errors of the Linux
/// kernel's /sys/fs/ocfs2, /sys/kernel/config/cluster and /sys/kernel/debug: programs and people who know
/// those know these. Each file is asked of the daemon that runs then.
#[derive(Debug, Args)]
#[command(after_help = CONTROL_EXAMPLES)]
pub(crate) struct ControlArguments {
    #[command(flatten)]
    pub(crate) how: How,
    /// The directory to mount it on.
    #[arg(value_name = "DIRECTORY")]
    pub(crate) point: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct How {
    /// Serve it in this process, until it is unmounted or told to end.
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Mount options, separated by commas, as mount(8) has them.
    #[arg(short, value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
    /// Started by a command that waits until it is ready.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    pub(crate) detached: bool,
}

impl How {
    /// All the options, as one list.
    pub(crate) fn option_list(&self) -> String {
        self.options.join(",")
    }
}

/// Unmount what `stackglue mount` has mounted.
///
/// Its process ends then, and gives back every lock. Fails when anybody uses it. umount(8) does the same.
#[derive(Debug, Args)]
pub(crate) struct UmountArguments {
    /// The directory that it is mounted on.
    #[arg(value_name = "DIRECTORY")]
    pub(crate) point: PathBuf,
}

/// Lock domains as a file system
///
/// Mounts a file system whose directories are lock domains and whose files are locks. It is `stackglue mount
/// dlmfs` in the form that mount(8) and fstab(5) need: a link to stackglue by this name.
#[derive(Debug, Parser)]
#[command(name = "stackglue-dlmfs", version, after_help = HELPER_EXAMPLES)]
pub(crate) struct HelperArguments {
    #[command(flatten)]
    pub(crate) how: How,
    /// Not looked at: there is no device.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The directory to mount it on.
    #[arg(value_name = "DIRECTORY")]
    pub(crate) point: PathBuf,
    /// What mount(8) gives to every helper, and what means nothing here.
    #[arg(short = 'n', hide = true)]
    no_table: bool,
    #[arg(short = 's', hide = true)]
    sloppy: bool,
    #[arg(short = 'v', hide = true)]
    verbose: bool,
    #[arg(short = 't', hide = true)]
    kind: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  stackglue mount dlmfs /dlm       on a directory that is there
  mkdir /dlm/mydomain              join a domain
  exec 3<>/dlm/mydomain/nightly    take a lock, creating it if need be
  exec 3>&-                        and give it back";

const CONTROL_EXAMPLES: &str = "\
Examples:
  mkdir -p /run/stackglue/control
  stackglue mount control /run/stackglue/control
  cat /run/stackglue/control/cluster_stack
  cat /run/stackglue/control/debug/o2dlm/default/locking_state";

const HELPER_EXAMPLES: &str = "\
Examples:
  mount -t fuse.stackglue-dlmfs none /dlm
  mkdir /dlm/mydomain              join a domain
  exec 3<>/dlm/mydomain/nightly    take a lock, creating it if need be
  exec 3>&-                        and give it back";
