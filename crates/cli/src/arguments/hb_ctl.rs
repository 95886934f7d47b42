//! The arguments of `stackglue hb-ctl`, which are those of `ocfs2_hb_ctl`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser};

/// Start and stop heartbeats, as ocfs2_hb_ctl does.
///
/// Counts who needs the heartbeat of which volume, in the daemon. With local heartbeat the first reference
/// starts it and the last one stops it; with global heartbeat, and on stacks without one, there is nothing to
/// start or stop. ocfs2_hb_ctl(8) is the same, and says who runs it.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("action").required(true).args(["start", "stop", "info", "priority"]),
    group = ArgGroup::new("volume").required(true).args(["device", "uuid"]),
    after_help = EXAMPLES,
)]
pub(crate) struct HbCtlArguments {
    /// Take a reference, and start the heartbeat if it is the first.
    #[arg(short = 'S')]
    pub(crate) start: bool,
    /// Give a reference back, and stop the heartbeat if it was the last.
    #[arg(short = 'K')]
    pub(crate) stop: bool,
    /// Print how many references there are.
    #[arg(short = 'I')]
    pub(crate) info: bool,
    /// Give the heartbeat real-time I/O priority, with ionice(1).
    #[arg(short = 'P')]
    pub(crate) priority: bool,
    /// The volume, by its device.
    #[arg(short = 'd', value_name = "DEVICE")]
    pub(crate) device: Option<PathBuf>,
    /// The volume, by its UUID: 32 hexadecimal digits.
    #[arg(short = 'u', value_name = "UUID")]
    pub(crate) uuid: Option<String>,
    /// The level of the priority: 0, the highest, to 7.
    #[arg(short = 'n', value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7))]
    pub(crate) level: u8,
    /// Who needs the heartbeat: not looked at, and left out behind `-K -u' only.
    #[arg(value_name = "SERVICE")]
    pub(crate) service: Option<String>,
}

/// Start and stop heartbeats
///
/// It is `stackglue hb-ctl', by the name by which kernels and mount programs run it.
#[derive(Debug, Parser)]
#[command(name = "ocfs2_hb_ctl", version)]
pub(crate) struct HbCtlProgram {
    #[command(flatten)]
    pub(crate) arguments: HbCtlArguments,
}

const EXAMPLES: &str = "\
Examples:
  ocfs2_hb_ctl -S -d /dev/sdb1 ocfs2     before the volume is mounted
  ocfs2_hb_ctl -K -u $UUID               after it was unmounted
  ocfs2_hb_ctl -I -d /dev/sdb1";
