//! A node of ours in a process of its own, to be killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use lab::Lab;
use rustix::process::{Pid, Signal, kill_process};
use stackglue_o2cb::cluster_conf::ClusterConf;

use crate::ours::{Ours, options};

/// A process in the lab's network that runs an ignored test of this very program. Ends with the test
/// that started it, whatever that comes to; it is told to end by the end of its standard input.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(
        lab: &Lab,
        number: u8,
        test: &str,
        options: impl FnOnce(&mut Command),
    ) -> Process {
        let mut command = lab.netns_command(std::env::current_exe().expect("a program"));
        command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads", "1"]);
        command.env(name_of("CONF"), lab.cluster_conf()).env(name_of("IMAGE"), lab.image());
        command.env(name_of("NUMBER"), number.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        options(&mut command);
        let mut child = command.spawn().expect("a process");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Process { child, input, output }
    }

    /// Waits until it has printed this.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let mut lines = (&mut self.output).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(text)), "it ended, and never said {text}");
    }

    pub(crate) fn kill(&mut self) {
        // It may have ended; then there is nobody to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    pub(crate) fn tell_to_end(&mut self) {
        drop(self.input.take());
    }

    /// Whether it ended well; nothing if it runs.
    pub(crate) fn ended(&mut self) -> Option<bool> {
        self.child.try_wait().expect("a child of ours").map(|status| status.success())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In the process: the node, which has started.
pub(crate) fn node() -> Ours {
    let (conf, image) = (variable("CONF"), variable("IMAGE"));
    let conf = ClusterConf::load(conf.as_ref()).expect("the lab's cluster.conf");
    let number = variable("NUMBER").parse().expect("a number");
    Ours::start_with(&conf, image.as_ref(), &options(false), number)
}

/// In the process: what it was told.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name_of(name)).expect("set by the test that runs this")
}

pub(crate) fn name_of(name: &str) -> String {
    format!("STACKGLUE_LAB_{name}")
}
