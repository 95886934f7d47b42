//! A node of ours in a lab's cluster, for its dlmfs.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use lab::{Lab, eventually};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::{Host, Running, program};

/// A heartbeat starts, and peers are connected to.
const START: Duration = Duration::from_secs(60);

/// A host whose daemon is on the stack `o2cb`, in the lab's network. Killed when dropped.
pub(crate) struct Node {
    pub(crate) host: Host,
    daemon: Option<Running>,
}

impl Node {
    pub(crate) fn start(lab: &Lab) -> Node {
        let host = Host::new();
        let options = lab.options();
        let config = format!(
            "stack = \"o2cb\"\n[o2cb]\nconf = {:?}\nnode = \"x{}\"\nheartbeat = [{:?}]\n\
             dead_threshold = {}\nidle_timeout_ms = {}\n",
            lab.cluster_conf(),
            options.extra_base,
            lab.image(),
            options.dead_threshold,
            options.idle_ms,
        );
        fs::write(host.path("conf"), config).expect("a file of the test");
        let daemon = lab.netns_command(program());
        let mut daemon = host.set_up(daemon, &["daemon", "--config", "conf"]);
        daemon.stderr(Stdio::inherit());
        let daemon = Some(Running::start(daemon));
        let node = Node { host, daemon };
        assert!(eventually(START, || node.host.socket().exists()), "the daemon does not start");
        node
    }

    /// As if the power went, as far as a process can tell.
    pub(crate) fn kill(&mut self) {
        self.daemon = None;
    }
}

/// Whether another node comes to want what is held, at most for `limit`.
pub(crate) fn is_wanted(held: &File, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).expect("a short time");
    poll(&mut [PollFd::new(held, PollFlags::IN)], Some(&limit)).expect("it can be polled") > 0
}

pub(crate) fn write(held: &File, text: &str) {
    let mut value = [0; 64];
    value[..text.len()].copy_from_slice(text.as_bytes());
    assert_eq!(rustix::io::pwrite(held, &value, 0), Ok(value.len()));
}

/// The text at the start of the value.
pub(crate) fn read(held: &File) -> String {
    let mut value = [0; 64];
    assert_eq!(rustix::io::pread(held, &mut value, 0), Ok(value.len()));
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}
