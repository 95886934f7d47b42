//! The lab's network: a bridge in a namespace of its own, with a port for each guest.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, about};
use crate::rig::Lab;

impl Lab {
    /// A program to run inside the lab's network namespace, where the extra nodes' addresses are. The
    /// process that comes of it is the program itself.
    pub fn netns_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.script.namespace]).arg(program);
        command
    }

    /// Moves the calling thread into the lab's network namespace, with the threads and processes it
    /// starts from now on. For good: use a thread made for it.
    pub fn enter_namespace(&self) -> Result<(), Error> {
        let path = Path::new("/run/netns").join(&self.script.namespace);
        let file = about(path.display(), File::open(&path))?;
        let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        about(path.display(), moved.map_err(Into::into))
    }

    /// Records what goes over the bridge and passes `filter` (as for tcpdump; empty: everything) into
    /// a pcap file, until it is stopped. One at a time.
    pub fn capture(&self, file: &Path, filter: &str) -> Result<Capture<'_>, Error> {
        let arguments = ["capture".as_ref(), file.as_os_str(), filter.as_ref()];
        self.script.run(&arguments)?;
        Ok(Capture { lab: self, running: true })
    }
}

/// A capture that runs until it is stopped or dropped.
pub struct Capture<'lab> {
    lab: &'lab Lab,
    running: bool,
}

impl Capture<'_> {
    /// Stops it; the file is complete then.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.running) {
            self.lab.script.run(&["capture", "stop"])?;
        }
        Ok(())
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
