//! A node of ours beside the kernels, and what it does with locks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lab::{Lab, LabOptions};
use parking_lot::Mutex;
use stackglue::{Glue, HeldLock, LockClient, LockFlags, Mode, ProtocolVersion};
use stackglue_o2cb::cluster_conf::ClusterConf;
use stackglue_o2cb::{NodeId, NodeOptions, O2cbNode, O2cbPlugin, RegionOptions, Timeouts};

const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// For what takes milliseconds unless the machine is busy.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Dead threshold 7, a round of the heartbeat in which it is noticed, and the kernel's recovery, which
/// sleeps and polls up to 5 seconds at a time.
pub(crate) const RECOVERY: Duration = Duration::from_secs(45);

/// What a kernel says of a peer that goes without a word: sends to it fail, and what needed them is
/// tried again when it is dead.
pub(crate) const LOST: [&str; 11] = [
    "status = -112",
    "status = -107",
    "Error -112 when sending message",
    "Error -107 when sending message",
    // An AST, a request for a lock.
    "rror -112 send ",
    "rror -107 send ",
    "send DEREF to node",
    "o2net_sendpage:951 ERROR: sendpage of size",
    // A vote that it had a part in begins anew.
    "dlm_do_master_request:1346 ERROR: link to",
    "dlm_restart_lock_mastery:1235 ERROR: node down!",
    "dlm_wait_for_lock_mastery:1059 ERROR: status = -11",
];

/// Two kernels, and one number for us: above theirs, or below.
pub(crate) fn options(ours_is_lower: bool) -> LabOptions {
    let options =
        LabOptions { dead_threshold: 7, idle_ms: 10_000, extra_nodes: 1, ..LabOptions::default() };
    if ours_is_lower { LabOptions { extra_base: 1, guest_base: 10, ..options } } else { options }
}

/// A node of ours in a lab.
pub(crate) struct Ours {
    pub(crate) node: O2cbNode,
    pub(crate) glue: Glue,
}

impl Ours {
    /// Heartbeats beside the kernels and is connected to them. The calling thread is in the lab's
    /// network from then on.
    pub(crate) fn start(lab: &Lab) -> Ours {
        Ours::start_as(lab, lab.options().extra_base)
    }

    /// One of several nodes of ours.
    pub(crate) fn start_as(lab: &Lab, number: u8) -> Ours {
        lab.enter_namespace().expect("the lab's network");
        let conf = ClusterConf::load(&lab.cluster_conf()).expect("the lab's cluster.conf");
        Ours::start_with(&conf, &lab.image(), lab.options(), number)
    }

    /// The same, in a process that is in the lab's network.
    pub(crate) fn start_with(
        conf: &ClusterConf,
        image: &Path,
        options: &LabOptions,
        number: u8,
    ) -> Ours {
        let timeouts = Timeouts {
            dead_threshold: options.dead_threshold,
            idle_timeout_ms: options.idle_ms,
            ..Timeouts::default()
        };
        let node = O2cbNode::start(NodeOptions {
            cluster: conf.cluster("lab").expect("the lab's cluster").clone(),
            me: NodeId::new(number).expect("a number"),
            timeouts,
            regions: vec![RegionOptions::of_volume(image).expect("the lab's volume")],
            // No test expects it, and a node that is fenced must not go on.
            fence: Box::new(|reason| {
                eprintln!("we are fenced: {reason}");
                std::process::exit(75);
            }),
        });
        let node = node.unwrap_or_else(|error| panic!("{error}"));
        let glue = Glue::new();
        glue.set_max_protocol(VERSION).expect("new");
        glue.register(Arc::new(O2cbPlugin::new(node.clone()))).expect("new");
        Ours { node, glue }
    }

    pub(crate) fn join(&self, domain: &str) -> Member {
        let blocked = Arc::new(AtomicU32::new(0));
        let died = Arc::new(Mutex::new(Vec::new()));
        let (count, deaths) = (blocked.clone(), died.clone());
        let client = LockClient::connect(
            &self.glue,
            None,
            "",
            domain,
            VERSION,
            move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            },
            Box::new(move |node| deaths.lock().push(node.0)),
        );
        let client = client.unwrap_or_else(|error| panic!("{error}"));
        Member { client, blocked, died }
    }

    pub(crate) fn stop(self) {
        self.node.stop();
    }
}

/// Our part in a domain.
pub(crate) struct Member {
    pub(crate) client: LockClient,
    /// How often one of our locks was in somebody's way.
    pub(crate) blocked: Arc<AtomicU32>,
    /// Nodes whose death we were told of.
    pub(crate) died: Arc<Mutex<Vec<u32>>>,
}

impl Member {
    pub(crate) fn lock(&self, name: &str, mode: Mode) -> HeldLock {
        let request = self.client.lock(name, mode).flags(LockFlags::VALBLK);
        request.wait_timeout(SOON).unwrap_or_else(|error| panic!("{name} in {mode}: {error}"))
    }

    pub(crate) fn is_refused(&self, name: &str, mode: Mode) -> bool {
        self.client.lock(name, mode).flags(LockFlags::NOQUEUE).wait().is_err()
    }

    pub(crate) fn leave(self) {
        self.client.disconnect(false).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The text at the start of a value block.
pub(crate) fn text(value: &[u8; 64]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(64);
    String::from_utf8_lossy(&value[..end]).into_owned()
}
