//! What the man pages say beside what the definitions of the commands say.

/// A section of a man page.
pub(super) struct Section<'a> {
    pub(super) title: &'a str,
    pub(super) body: Body<'a>,
}

/// What a section has.
pub(super) enum Body<'a> {
    /// Paragraphs.
    Prose(&'a [&'a str]),
    /// Terms and what they mean.
    Terms(&'a [(&'a str, &'a str)]),
    /// Lines as they are.
    Literal(&'a str),
}

/// The sections of a page, in order.
pub(super) fn of(page: &str) -> &'static [Section<'static>] {
    match page {
        "stackglue" => const { &[EXIT_STATUS, ENVIRONMENT, FILES] },
        "stackglue-lock" => {
            const { &[SAFETY, SIGNALS, CTDB, LOCK_EXIT_STATUS, LOCK_ENVIRONMENT, ENVIRONMENT, FILES] }
        }
        "stackglue-nodes" => const { &[NODES_WORDS, STATUS_EXIT_STATUS, ENVIRONMENT, FILES] },
        "stackglue-doctor" => const { &[DOCTOR_EXIT_STATUS, ENVIRONMENT, FILES] },
        "stackglue-status" => const { &[STATUS_EXIT_STATUS, ENVIRONMENT, FILES] },
        "stackglue-value-get" => const { &[GET_EXIT_STATUS, ENVIRONMENT] },
        "stackglue-o2cb"
        | "stackglue-o2cb-init"
        | "stackglue-o2cb-add-node"
        | "stackglue-o2cb-heartbeat-file" => const { &[CONF_EXIT_STATUS, CONF_FILES] },
        "stackglue-o2cb-check" => const { &[CHECK_EXIT_STATUS, CONF_FILES] },
        "stackglue-slots" => const { &[SLOTS_EXIT_STATUS] },
        "stackglue-dlmfs" => {
            const {
                &[
                    DLMFS_USE,
                    DLMFS_ERRORS,
                    DLMFS_KERNEL,
                    DLMFS_LOSS,
                    MOUNT_EXIT_STATUS,
                    ENVIRONMENT,
                    DLMFS_FILES,
                ]
            }
        }
        "stackglue-mount-dlmfs" | "stackglue-umount" => {
            const { &[MOUNT_EXIT_STATUS, ENVIRONMENT, DLMFS_FILES] }
        }
        "stackglue-mount-control" => {
            const { &[CONTROL_TREE, CONTROL_BEHAVIOUR, MOUNT_EXIT_STATUS, ENVIRONMENT, CONTROL_FILES] }
        }
        "ocfs2_hb_ctl" | "stackglue-hb-ctl" => const { &[HB_CTL_EXIT_STATUS, ENVIRONMENT] },
        "stackglued" => {
            const { &[CLUSTER, FENCING, DAEMON_EXIT_STATUS, DAEMON_ENVIRONMENT, DAEMON_FILES] }
        }
        _ => const { &[EXIT_STATUS, ENVIRONMENT] },
    }
}

pub(super) const DAEMON: &str = "\
Owns this host's node and the locks of the processes that are connected to it. The locks of a process \
go with its connection; a connection goes with the process, and with the commands that inherited it. \
Run it as the service stackglued.service, or let the first command start one.";

pub(super) const DLMFS: &str = "\
Mounts a file system whose directories are lock domains and whose files are locks, as the Linux kernel's \
ocfs2_dlmfs has them: programs written for that work unchanged, unless they ask for its type. It is `stackglue mount dlmfs' \
in the form that mount(8) and fstab(5) need: a link to stackglue by this name. It goes through the daemon of \
this host, which is started if there is none and none is configured.";

pub(super) const HB_CTL: &str = "\
Counts who needs the heartbeat of which volume, in the daemon. With local heartbeat the first reference \
starts it and the last one stops it; with global heartbeat, and on stacks without one, there is nothing to \
start or stop. The kernel's glue, and stackglue's, run it as `ocfs2_hb_ctl -K -u UUID' when a volume is \
unmounted, and mount programs run it with -S before they mount one. It is `stackglue hb-ctl': a link of this \
name to stackglue is all they need.";

const DLMFS_USE: Section<'_> = Section {
    title: "USE",
    body: Body::Terms(&[
        ("mkdir DOMAIN", "joins a domain (a group): a name of at most 63 bytes"),
        ("rmdir DOMAIN", "leaves it; it has to be empty"),
        (
            "open DOMAIN/LOCK",
            "takes the lock: shared (PR) with O_RDONLY, exclusive (EX) with O_WRONLY or O_RDWR, and with \
             O_NONBLOCK only if it can be had at once. O_CREAT makes the file: a name of at most 31 bytes that \
             does not begin with a dollar sign. Waits until the lock is granted; a signal ends the waiting",
        ),
        ("close", "gives it up. The lock stays with this host until another node wants it"),
        (
            "read",
            "reads the value that is kept with the lock: 64 bytes, none when its last writer was lost",
        ),
        (
            "write",
            "writes the value, always from its start, whatever the position is; the position must be below 64. \
             Others see it when they get the lock",
        ),
        ("poll", "the file is readable while another node waits for the lock: give it up then"),
        ("unlink LOCK", "drops the lock, which nobody may have open"),
        ("truncate", "does nothing"),
        (
            ".capabilities",
            "a file of the root directory that is not listed: the text that programs look for in \
             /sys/module/ocfs2_dlmfs/parameters/capabilities",
        ),
    ]),
};

const DLMFS_ERRORS: Section<'_> = Section {
    title: "ERRORS",
    body: Body::Terms(&[
        ("ETXTBSY", "with O_NONBLOCK: the lock could not be had at once"),
        ("EINTR", "a signal came while the lock was waited for; it was not taken"),
        ("EBUSY", "unlink: somebody has the file open, or waits to open it"),
        ("EINVAL", "a name that is too long, or a lock's that begins with a dollar sign"),
        ("EPERM", "a directory inside of a domain, a link, a rename, a special file"),
        ("EACCES", "a file outside of a domain"),
        ("ENOSPC", "a write at position 64 or behind"),
        ("ESRCH", "mkdir: the daemon cannot be reached"),
        ("EIO", "the lock was lost with the daemon"),
    ]),
};

const DLMFS_KERNEL: Section<'_> = Section {
    title: "WHERE IT DIFFERS FROM THE KERNEL",
    body: Body::Prose(&[
        "An open that waits can be interrupted and killed. A signal handler with SA_RESTART does not restart it.",
        "A trylock never waits. The kernel waits when another process of this host waits for the lock, or has \
         it open while another node waits.",
        "The removal of a file that somebody waits to open is refused with EBUSY. The kernel waits for the lock \
         and then refuses it to whoever waited.",
        "statfs(2) tells the type of FUSE: programs that insist on 0x76A9F425, as libo2dlm does, preload \
         libstackglue-dlmfs.so. A private memory mapping of a lock file is possible, and of no use.",
    ]),
};

const DLMFS_LOSS: Section<'_> = Section {
    title: "WHEN A PROCESS DIES",
    body: Body::Prose(&[
        "The locks belong to the process that serves the file system: when it dies, they are gone at once, and \
         everything there fails with ENOTCONN. Mounting again takes the dead mount away.",
        "When the daemon dies, its locks are gone. What was open fails with EIO, and poll reports an error. A \
         domain that is removed and made again is joined through the daemon that runs then; that one grants \
         nothing before everything that was open is closed.",
    ]),
};

const MOUNT_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "done"),
        ("1", "it is mounted already, is not mounted, or is in use"),
        ("64", "what was typed cannot be, or the mount point is no directory"),
        ("69", "there is no daemon"),
        ("71", "the system refused something"),
        ("77", "this user may not do that"),
    ]),
};

const DLMFS_FILES: Section<'_> = Section {
    title: "FILES",
    body: Body::Terms(&[
        ("/dev/fuse", "the kernel's side"),
        ("/run/stackglue/stackglued.sock", "the socket of the host's daemon"),
        (
            "/run/stackglue/stackglued.sock.dlmfs.log",
            "what the process in the background has to say",
        ),
    ]),
};

const CONTROL_TREE: Section<'_> = Section {
    title: "TREE",
    body: Body::Terms(&[
        (
            "max_locking_protocol, loaded_cluster_plugins, active_cluster_plugin, cluster_stack, \
             dlm_recover_callback_support",
            "as in the kernel's /sys/fs/ocfs2. cluster_stack can be written while no group is in use",
        ),
        ("hb_ctl_path", "the program that is run at a hang-up. Can be written"),
        ("o2cb/interface_revision", "as in /sys/fs/o2cb"),
        (
            "cluster/NAME",
            "the cluster, its nodes and its heartbeat, as in /sys/kernel/config/cluster. \
             idle_timeout_ms, keepalive_delay_ms, reconnect_delay_ms and fence_method can be changed until \
             the daemon ends, the first two while no other node is connected",
        ),
        ("debug/o2hb", "who heartbeats, as in /sys/kernel/debug"),
        (
            "debug/o2dlm/DOMAIN",
            "dlm_state, locking_state, mle_state and purge_list of a domain, as in /sys/kernel/debug",
        ),
    ]),
};

const CONTROL_BEHAVIOUR: Section<'_> = Section {
    title: "HOW THE FILES BEHAVE",
    body: Body::Prose(&[
        "The text of a file is made when it is opened. A write is one whole text, and in force when it returns; \
         what it cannot be fails with the error of the kernel's file, and the daemon's log has a sentence. Only \
         root and the daemon's user can write. Nothing can be made, removed or renamed.",
        "The daemon is asked each time: the one that runs then. While none runs, everything fails with ESRCH. \
         cluster and the directories of debug are empty unless the daemon runs the stack o2cb.",
    ]),
};

const CONTROL_FILES: Section<'_> = Section {
    title: "FILES",
    body: Body::Terms(&[
        ("/dev/fuse", "the kernel's side"),
        ("/run/stackglue/stackglued.sock", "the socket of the host's daemon"),
        (
            "/run/stackglue/stackglued.sock.control.log",
            "what the process in the background has to say",
        ),
    ]),
};

const HB_CTL_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "done, or there was nothing to do"),
        ("1", "anything else; a sentence on standard error says what"),
        ("64", "as `stackglue hb-ctl' only: what was typed cannot be"),
    ]),
};

const SAFETY: Section<'_> = Section {
    title: "HOW A LOCK IS KEPT SAFE",
    body: Body::Prose(&[
        "No lock has a time to live. A lock is owned by the connection of stackglue to the daemon, and \
         the command inherits that connection: the lock ends when stackglue gives it back after the \
         command has ended, or when stackglue, the command, and whatever the command left running are \
         all gone. When stackglue dies, the kernel kills the command.",
        "When the daemon dies, its locks are lost. With --on-loss kill the command and what it started \
         are told to stop with SIGTERM, and killed with SIGKILL after the grace time; whoever made a \
         session of its own, as daemons do, is left alone. With --on-loss notify the command is sent \
         SIGUSR1, which ends it unless it has a handler. Either way a new daemon grants nothing before \
         everybody who held a lock of the old one has ended.",
        "What writes to a place that the lock protects should hand STACKGLUE_TOKEN on to it, and the \
         place should refuse a token smaller than the largest it has seen. The stack o2cb does not number \
         its grants: there the command has no STACKGLUE_TOKEN.",
        "In a cluster, other hosts get the locks of a daemon that died when its heartbeat has stayed away \
         for long enough: 62 seconds, unless it is configured otherwise. The grace time has to be below \
         that. stackglued(8) says what happens to a host that loses its disk or its network.",
    ]),
};

const SIGNALS: Section<'_> = Section {
    title: "SIGNALS",
    body: Body::Prose(&[
        "While it waits, a signal ends stackglue, the request is taken back, and the exit status is 128 \
         and the signal's number.",
        "While the command runs, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1 and SIGUSR2 are passed on to \
         it. Signals that the terminal sends, as on ^C, reach the command by themselves and are not sent \
         twice. Signals that were ignored when stackglue was started stay ignored.",
    ]),
};

const CTDB: Section<'_> = Section {
    title: "SAMBA CTDB",
    body: Body::Prose(&[
        "In ctdb.conf, section [cluster]: cluster lock = !/usr/bin/stackglue lock --ctdb-helper ctdb",
        "The lock is held until the helper is terminated or ctdbd is gone. When the lock is lost the \
         helper ends, which ctdbd notices.",
    ]),
};

const LOCK_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("the command's", "the command ran under the lock and ended by itself"),
        ("128 + n", "signal n ended the command, or came while the lock was waited for"),
        ("1", "the lock could not be had in time; another number with -E"),
        ("64", "what was typed cannot be"),
        ("69", "there is no daemon, or it went away before the lock was granted"),
        ("70", "the daemon does not speak this program's protocol"),
        ("71", "the system refused something"),
        ("75", "the lock was lost or revoked, and the command was stopped"),
        ("77", "this user may not use the daemon"),
        ("126", "the command cannot be run"),
        ("127", "the command was not found"),
    ]),
};

const EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "done"),
        (
            "1",
            "not now: the daemon says who or what is in the way, or there is nothing of that name",
        ),
        ("64", "what was typed cannot be"),
        ("69", "there is no daemon"),
        ("70", "the daemon does not speak this program's protocol"),
        ("71", "the system refused something"),
        ("77", "this user may not do that"),
    ]),
};

const STATUS_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "a daemon runs"),
        ("3", "no daemon runs"),
        ("70", "what listens does not speak this program's protocol"),
        ("77", "this user may not use the daemon"),
    ]),
};

const NODES_WORDS: Section<'_> = Section {
    title: "COLUMNS",
    body: Body::Terms(&[
        ("NODE", "the node's number; a star marks this node"),
        ("STATE", "alive or dead, by its heartbeat"),
        ("HEARTBEAT", "how long ago its slot on the disk was seen to change"),
        ("LINK", "the connection to it, and why the last one ended when it is not connected"),
        (
            "MASTERS",
            "of how many names it is the master, among those that this node knows: another node may know \
             others",
        ),
        (
            "FENCE IN",
            "when this node stops itself, unless its disk takes a heartbeat before; starts again with each",
        ),
    ]),
};

const DOCTOR_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "everything is good"),
        ("1", "something has to be done: the lines that begin with `bad' say what"),
        ("64", "what was typed cannot be"),
    ]),
};

const CLUSTER: Section<'_> = Section {
    title: "CLUSTER",
    body: Body::Prose(&[
        "With stack = \"o2cb\" the daemon is a node of a classic OCFS2 cluster: it heartbeats on a shared \
         disk, is connected to the other nodes over TCP, and shares locks with them, daemons as well as \
         Linux kernels. It starts as nothing of the kind unless it is configured so. The section [o2cb] \
         names cluster.conf, the node, and where to heartbeat.",
        "It takes ten seconds to start: the other nodes have to see its heartbeat first. When it is told to \
         stop, it tells those who hold locks, waits up to twelve seconds until they have stopped, stops \
         those who have not, leaves its groups, and says so on the disk.",
        "The stack has the modes NL, PR and EX, names of up to 32 bytes that do not begin with a dollar \
         sign, groups of up to 63 bytes, no value that outlives the locks on its name, and no fencing \
         tokens.",
    ]),
};

const FENCING: Section<'_> = Section {
    title: "FENCING",
    body: Body::Prose(&[
        "A node that cannot write its heartbeat, or is cut off from the majority of the nodes that do, has to \
         stop before the others give its locks away. What it does then is on_fence in [o2cb]. kill, the \
         default: kills every process that holds a lock or inherited one, and exits with status 75. freeze: \
         stops them with SIGSTOP, and exits. notify: tells them that their locks are lost, and exits; whoever \
         goes on writing damages what the locks protect. reset and panic: reset the machine, or crash its \
         kernel, through /proc/sysrq-trigger. No heartbeat is written after that.",
        "A daemon that does not run cannot do this: one that was killed or stopped with a signal leaves its \
         holders to `stackglue lock', which stops its command when the daemon is gone, but knows nothing of \
         a daemon that is merely frozen.",
    ]),
};

const GET_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "the value was printed"),
        ("1", "there is no value, or somebody holds the name in a mode that may write it"),
        ("2", "the value was printed, and is not to be trusted: its last writer was lost"),
        ("64", "what was typed cannot be"),
        ("69", "there is no daemon"),
    ]),
};

const CONF_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "done"),
        (
            "1",
            "not as things are: the name, number or address is taken, or there is no such cluster",
        ),
        ("64", "what was typed cannot be"),
        ("71", "the system refused something"),
        ("77", "this user may not read or write the file"),
        ("78", "the file is wrong as it is, and was left alone"),
    ]),
};

const CHECK_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "the file can be used; there may be remarks"),
        ("1", "the file cannot be used"),
        ("64", "what was typed cannot be"),
        ("71", "the system refused something"),
        ("77", "this user may not read the file"),
    ]),
};

const CONF_FILES: Section<'_> = Section {
    title: "FILES",
    body: Body::Terms(&[(
        "/etc/ocfs2/cluster.conf",
        "the clusters, their nodes and heartbeat regions; the same on every node",
    )]),
};

const SLOTS_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "done"),
        ("1", "the device has no OCFS2 volume, or a damaged one"),
        ("64", "what was typed cannot be"),
        ("71", "the system refused something"),
        ("77", "this user may not read the device"),
    ]),
};

const LOCK_ENVIRONMENT: Section<'_> = Section {
    title: "ENVIRONMENT OF THE COMMAND",
    body: Body::Terms(&[
        ("STACKGLUE_NAME", "the lock's name"),
        ("STACKGLUE_GROUP", "its group"),
        ("STACKGLUE_MODE", "the mode in which it is held"),
        (
            "STACKGLUE_TOKEN",
            "the fencing token: a decimal number of 64 bits that grows with every grant of the name, \
             restarts of the daemon included; not set on the stack o2cb, which has none",
        ),
        ("STACKGLUE_ON_LOSS", "kill or notify"),
    ]),
};

const ENVIRONMENT: Section<'_> = Section {
    title: "ENVIRONMENT",
    body: Body::Terms(&[
        ("STACKGLUE_SOCKET", "the daemon's socket, instead of the one below FILES"),
        ("STACKGLUE_STATE_DIR", "where a daemon that is started keeps its fencing epoch"),
        ("STACKGLUE_NO_AUTOSTART", "set to anything: no daemon is started"),
    ]),
};

const FILES: Section<'_> = Section {
    title: "FILES",
    body: Body::Terms(&[
        ("/run/stackglue/stackglued.sock", "the socket of the host's daemon"),
        (
            "$XDG_RUNTIME_DIR/stackglue/stackglued.sock, /tmp/stackglue-UID/stackglued.sock",
            "the socket of a user's own daemon, where the host has none",
        ),
        (
            "/etc/stackglue/stackglued.toml",
            "the daemon's configuration; where it exists, no daemon is started but by the service",
        ),
    ]),
};

const DAEMON_EXIT_STATUS: Section<'_> = Section {
    title: "EXIT STATUS",
    body: Body::Terms(&[
        ("0", "told to stop, or idle for long enough"),
        ("64", "what was typed cannot be"),
        ("69", "another daemon serves the socket, or the stack cannot be used"),
        ("71", "the system refused something"),
        ("73", "the token store, the socket or a file beside it cannot be made"),
        ("75", "the node of the stack o2cb did not start, or was fenced: it may be started again"),
        ("77", "the socket's directory is not safe"),
        ("78", "the configuration is wrong"),
    ]),
};

const DAEMON_ENVIRONMENT: Section<'_> = Section {
    title: "ENVIRONMENT",
    body: Body::Terms(&[
        ("STACKGLUE_SOCKET", "the socket to serve"),
        ("STACKGLUE_STATE_DIR", "where the fencing epoch is kept"),
        ("STACKGLUE_LOG", "what is logged: error, warn, info, debug or trace"),
    ]),
};

const DAEMON_FILES: Section<'_> = Section {
    title: "FILES",
    body: Body::Terms(&[
        ("/etc/stackglue/stackglued.toml", "the configuration"),
        ("/etc/ocfs2/cluster.conf", "the nodes of the cluster, on the stack o2cb"),
        ("/run/stackglue/stackglued.sock", "the socket"),
        ("/var/lib/stackglue", "the fencing epoch"),
    ]),
};
