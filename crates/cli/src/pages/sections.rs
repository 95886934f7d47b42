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
        "stackglue-status" => const { &[STATUS_EXIT_STATUS, ENVIRONMENT, FILES] },
        "stackglue-value-get" => const { &[GET_EXIT_STATUS, ENVIRONMENT] },
        "stackglued" => const { &[DAEMON_EXIT_STATUS, DAEMON_ENVIRONMENT, DAEMON_FILES] },
        _ => const { &[EXIT_STATUS, ENVIRONMENT] },
    }
}

pub(super) const DAEMON: &str = "\
Owns this host's node and the locks of the processes that are connected to it. The locks of a process \
go with its connection; a connection goes with the process, and with the commands that inherited it. \
Run it as the service stackglued.service, or let the first command start one.";

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
         place should refuse a token smaller than the largest it has seen.",
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

const LOCK_ENVIRONMENT: Section<'_> = Section {
    title: "ENVIRONMENT OF THE COMMAND",
    body: Body::Terms(&[
        ("STACKGLUE_NAME", "the lock's name"),
        ("STACKGLUE_GROUP", "its group"),
        ("STACKGLUE_MODE", "the mode in which it is held"),
        (
            "STACKGLUE_TOKEN",
            "the fencing token: a decimal number of 64 bits that grows with every grant of the name, \
             restarts of the daemon included",
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
        ("/run/stackglue/stackglued.sock", "the socket"),
        ("/var/lib/stackglue", "the fencing epoch"),
    ]),
};
