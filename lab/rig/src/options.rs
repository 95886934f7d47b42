//! What kind of lab is wanted.

use std::ffi::OsString;

/// What a lab is made of. The default is two guests with the o2cb stack and the kernel's timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabOptions {
    /// Kernels to boot: 1 to 9.
    pub guests: u8,
    /// The cluster stack they bring up.
    pub stack: Stack,
    /// Nodes that are no guests but may be processes in the lab's namespace, present in every node list.
    pub extra_nodes: u8,
    /// The number of the first extra node.
    pub extra_base: u8,
    /// Guest `G` has the node number `guest_base + G`.
    pub guest_base: u8,
    /// o2hb's dead threshold: a node is dead after `(dead_threshold - 1) * 2` seconds. At least 2.
    pub dead_threshold: u32,
    /// o2net's idle timeout in milliseconds.
    pub idle_ms: u32,
    /// Mount OCFS2 on `/mnt` in every guest.
    pub mount: bool,
    /// o2cb: write configfs by hand instead of using ocfs2-tools. dlm: no corosync, no dlm_controld.
    pub manual: bool,
    /// The shared disk, in MiB.
    pub disk_mib: u32,
}

/// The cluster stack that guests bring up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// None: bare kernels, and a disk without a file system.
    None,
    /// The classic one.
    O2cb,
    /// fs/dlm, with corosync and dlm_controld unless `manual`.
    Dlm,
}

impl Default for LabOptions {
    fn default() -> LabOptions {
        LabOptions {
            guests: 2,
            stack: Stack::O2cb,
            extra_nodes: 0,
            extra_base: 100,
            guest_base: 0,
            dead_threshold: 31,
            idle_ms: 30_000,
            mount: false,
            manual: false,
            disk_mib: 512,
        }
    }
}

impl LabOptions {
    /// As arguments of `lab up`.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let stack = match self.stack {
            Stack::None => "none",
            Stack::O2cb => "o2cb",
            Stack::Dlm => "dlm",
        };
        let valued = [
            ("--stack", stack.to_owned()),
            ("--extra-nodes", self.extra_nodes.to_string()),
            ("--extra-base", self.extra_base.to_string()),
            ("--guest-base", self.guest_base.to_string()),
            ("--hb-dead", self.dead_threshold.to_string()),
            ("--idle-ms", self.idle_ms.to_string()),
            ("--disk-mib", self.disk_mib.to_string()),
        ];
        let mut arguments = vec!["up".into(), self.guests.to_string().into()];
        for (name, value) in valued {
            arguments.extend([name.into(), value.into()]);
        }
        for (name, wanted) in [("--mount", self.mount), ("--manual", self.manual)] {
            arguments.extend(wanted.then(|| name.into()));
        }
        arguments
    }
}
