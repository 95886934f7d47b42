//! The daemon in a kernel of its own, which may be reset: `cargo xtask lab daemon` runs this, as root.

use std::fs;
use std::time::Duration;

use lab::{Error, Lab, LabOptions, Stack};

/// A daemon on the stack `o2cb` that heartbeats on the lab's disk, is held up for longer than its write
/// timeout of 6 s, and finds out.
const STORY: &str = "\
mkdir -m 700 /run/node
export STACKGLUE_SOCKET=/run/node/socket STACKGLUE_STATE_DIR=/run/node/state
PROGRAM --config /lab/stackglued.toml &
while [ ! -e $STACKGLUE_SOCKET ]; do sleep 0.1; done
kill -STOP $!
echo held up
sleep 8
kill -CONT $!
wait
";

#[test]
fn a_fenced_node_resets_the_machine_if_it_is_told_to() -> Result<(), Error> {
    let lab = Lab::up(LabOptions { guests: 1, stack: Stack::None, ..LabOptions::default() })?;
    let guest = lab.guest(1);
    // A disk of zeros is a region all of whose slots are free.
    let config = "stack = \"o2cb\"\n[o2cb]\nconf = \"/lab/etc/cluster.conf\"\nnode = \"u1\"\n\
         heartbeat = [{ path = \"/dev/ubda\", name = \"test\" }]\ndead_threshold = 4\n\
         on_fence = \"reset\"\n";
    fs::write(guest.mailbox().join("stackglued.toml"), config).expect("the lab's directory");
    let story = guest.spawn(&STORY.replace("PROGRAM", env!("CARGO_BIN_EXE_stackglued")))?;
    story.wait_for("held up", Duration::from_secs(30))?;
    guest.wait_dead(Duration::from_secs(30))?;
    let console = guest.console()?;
    assert!(console.contains("sysrq: Resetting"), "{console}");
    Ok(())
}
