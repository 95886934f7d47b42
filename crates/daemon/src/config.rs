//! The daemon's configuration: a TOML file, the command line, the environment, in rising order of
//! weight from the defaults to the command line.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::o2cb::StartError;
use ::o2cb::cluster_conf::FileError;
use serde::Deserialize;

use crate::{Options, location};

mod o2cb;

pub use self::o2cb::{HeartbeatPlace, O2cbConfig, OnFence};

/// The configuration file that is read if it exists and no other is named.
pub const SYSTEM_CONFIG: &str = "/etc/stackglue/stackglued.toml";

/// Everything the daemon is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Label of the stack: four bytes. Default `solo`.
    pub stack: String,
    /// Cluster name; empty for none.
    pub cluster: String,
    /// The socket.
    pub socket: PathBuf,
    /// The group that may use the socket, by name or number.
    pub socket_group: Option<String>,
    /// Permission bits of the socket. Default 0660.
    pub socket_mode: u32,
    /// The directory of the token store.
    pub state_dir: PathBuf,
    /// The heartbeat control program; `None` leaves the glue's default.
    pub hb_ctl_path: Option<String>,
    /// Leave after this time without a client and a lock.
    pub idle_exit: Option<Duration>,
    /// This host's node on the stack `o2cb`; of no use on others.
    pub o2cb: O2cbConfig,
    /// What one client, and all of them, may use up.
    pub limits: Limits,
}

/// Bounds on what clients may use up. A client that reaches one of its own is disconnected, and told
/// so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Processes connected at once. Default 4096.
    pub clients_max: usize,
    /// Locks of one client, those that wait included. Default 1048576.
    pub locks_per_client_max: usize,
    /// Requests of one client that wait for their outcome, control requests included. Default 16384.
    pub waiting_per_client_max: usize,
    /// Bytes for one client that it has not read. Default 16 MiB.
    pub output_bytes_max: usize,
    /// Groups connected at once, at most 256. Default 256.
    pub groups_max: usize,
    /// Milliseconds in which a new client must say Hello. Default 10000.
    pub hello_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            clients_max: 4096,
            locks_per_client_max: 1 << 20,
            waiting_per_client_max: 16384,
            output_bytes_max: 16 << 20,
            groups_max: GROUPS_MAX,
            hello_timeout_ms: 10_000,
        }
    }
}

/// Why there is no configuration. Displays as one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}:{line}: {what}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Which key is wrong, and how.
        what: String,
    },
    /// A value cannot be.
    #[error("{key} = {value:?} cannot be used: {why}")]
    Value {
        /// The key, or the option of the same name.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What it should be.
        why: &'static str,
    },
    /// The node of the stack `o2cb` cannot be.
    #[error("{at}: {what}")]
    Node {
        /// File, line and key.
        at: String,
        /// How it is wrong, and what to do.
        what: String,
    },
    /// A heartbeat device of the stack `o2cb` cannot be read now.
    #[error("{at}: {error}")]
    Device {
        /// File, line and key.
        at: String,
        /// Why.
        error: StartError,
    },
    /// The nodes of the cluster cannot be read.
    #[error(transparent)]
    ClusterConf(FileError),
    /// There is no place for the token store.
    #[error("this user has no home directory for the fencing epoch: set STACKGLUE_STATE_DIR")]
    NoStateDir,
}

impl Config {
    /// The configuration of a daemon on stack `solo` with every default.
    pub fn new(socket: PathBuf, state_dir: PathBuf) -> Config {
        Config {
            stack: "solo".into(),
            cluster: String::new(),
            socket,
            socket_group: None,
            socket_mode: 0o660,
            state_dir,
            hb_ctl_path: None,
            idle_exit: None,
            o2cb: O2cbConfig::default(),
            limits: Limits::default(),
        }
    }

    /// Whether the stack is the classic one, which speaks to kernels.
    pub fn is_o2cb(&self) -> bool {
        self.stack == "o2cb"
    }

    /// Reads the file that `options` name, or [`SYSTEM_CONFIG`] if that exists, and puts environment
    /// and options over it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with file, line and key.
    pub fn load(options: &Options) -> Result<Config, ConfigError> {
        let file = match &options.config {
            Some(file) => read(file)?,
            None => match read(Path::new(SYSTEM_CONFIG)) {
                Err(ConfigError::Unreadable { error, .. })
                    if error.kind() == ErrorKind::NotFound =>
                {
                    File::default()
                }
                read => read?,
            },
        };
        file.with(options)
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    stack: Option<String>,
    cluster: String,
    socket: Option<PathBuf>,
    socket_group: Option<String>,
    socket_mode: Option<u32>,
    state_dir: Option<PathBuf>,
    hb_ctl_path: Option<String>,
    idle_exit_seconds: Option<u64>,
    o2cb: o2cb::Section,
    #[serde(skip)]
    o2cb_origin: Option<o2cb::Origin>,
    limits: Limits,
}

impl File {
    fn with(self, options: &Options) -> Result<Config, ConfigError> {
        let from_environment = std::env::var_os(location::SOCKET_VARIABLE).map(PathBuf::from);
        let socket = options.socket.clone().or(from_environment).or(self.socket);
        let state_from_environment = std::env::var_os("STACKGLUE_STATE_DIR").map(PathBuf::from);
        let state_dir = options.state_dir.clone().or(state_from_environment).or(self.state_dir);
        let state_dir = match state_dir {
            Some(directory) => directory,
            None => location::default_state_dir().ok_or(ConfigError::NoStateDir)?,
        };
        let idle_exit_s = options.idle_exit.or(self.idle_exit_seconds);
        let config = Config {
            stack: options.stack.clone().or(self.stack).unwrap_or_else(|| "solo".into()),
            cluster: self.cluster,
            socket_group: self.socket_group,
            socket_mode: self.socket_mode.unwrap_or(0o660),
            hb_ctl_path: self.hb_ctl_path,
            idle_exit: idle_exit_s.map(Duration::from_secs),
            o2cb: self.o2cb.into_config(self.o2cb_origin),
            limits: self.limits,
            ..Config::new(socket.unwrap_or_else(location::default_socket), state_dir)
        };
        config.check()
    }
}

impl Config {
    fn check(self) -> Result<Config, ConfigError> {
        let wrong =
            |key, value: &str, why| Err(ConfigError::Value { key, value: value.to_owned(), why });
        if self.stack.len() != 4 {
            return wrong("stack", &self.stack, "a stack label has four bytes");
        }
        if self.socket_mode & !0o777 != 0 {
            let mode = format!("{:#o}", self.socket_mode);
            return wrong("socket_mode", &mode, "permission bits are 0o000 to 0o777");
        }
        self.o2cb.check()?;
        let limits = &self.limits;
        for (key, limit) in [
            ("limits.clients_max", limits.clients_max),
            ("limits.locks_per_client_max", limits.locks_per_client_max),
            ("limits.waiting_per_client_max", limits.waiting_per_client_max),
            ("limits.groups_max", limits.groups_max),
        ] {
            if limit == 0 {
                return wrong(key, "0", "nobody could do anything: give at least 1");
            }
        }
        if limits.groups_max > GROUPS_MAX {
            let groups = limits.groups_max.to_string();
            return wrong("limits.groups_max", &groups, "give at most 256");
        }
        if limits.output_bytes_max < OUTPUT_BYTES_MIN {
            let bytes = limits.output_bytes_max.to_string();
            return wrong("limits.output_bytes_max", &bytes, "give at least 262144");
        }
        Ok(self)
    }
}

fn read(file: &Path) -> Result<File, ConfigError> {
    let text = fs::read_to_string(file)
        .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), error })?;
    parse(file, &text)
}

fn parse(file: &Path, text: &str) -> Result<File, ConfigError> {
    let parsed = toml::from_str(text)
        .map(|file_read| File { o2cb_origin: o2cb::Origin::find(file, text), ..file_read });
    parsed.map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text[..text.floor_char_boundary(at)].matches('\n').count() + 1;
        let key = text.lines().nth(line - 1).and_then(|line| line.split_once('='));
        let what = match key {
            Some((key, _)) => format!("{}: {}", key.trim(), error.message()),
            None => error.message().to_owned(),
        };
        ConfigError::Wrong { file: file.to_owned(), line, what: what.replace('\n', " ") }
    })
}

/// The status of all groups must fit a frame.
const GROUPS_MAX: usize = 256;

/// The largest frames and a listing under way must fit.
const OUTPUT_BYTES_MIN: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use ::o2cb::NodeId;
    use ::o2cb::cluster_conf::NewNode;

    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        let options = Options { state_dir: Some("/state".into()), ..Options::default() };
        parse(Path::new("/etc/s.toml"), text)
            .and_then(|file| file.with(&options))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_a_solo_daemon() {
        let config = config("").expect("defaults");
        assert_eq!((config.stack.as_str(), config.socket_mode), ("solo", 0o660));
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn errors_name_the_file_the_line_and_the_key() {
        let cases = [
            ("stack = \"solo\"\nstak = \"x\"\n", "/etc/s.toml:2: stak: "),
            ("\n\nsocket_mode = \"rw\"\n", "/etc/s.toml:3: socket_mode: "),
            ("[limits]\nclients_max = -1\n", "/etc/s.toml:2: clients_max: "),
            ("[limits]\nclients = 1\n", "/etc/s.toml:2: clients: "),
            ("stack = \n", "/etc/s.toml:1: stack: "),
            ("stack = \"toolong\"\n", "stack = \"toolong\" cannot be used"),
            ("socket_mode = 0o1777\n", "socket_mode = \"0o1777\" cannot be used"),
            ("[limits]\ngroups_max = 257\n", "limits.groups_max = \"257\" cannot be used"),
            ("[limits]\nclients_max = 0\n", "limits.clients_max = \"0\" cannot be used"),
            ("[o2cb]\nheartbeat = [7]\n", "/etc/s.toml:2: heartbeat: give a volume's device"),
            ("[o2cb]\non_fence = \"x\"\n", "/etc/s.toml:2: on_fence: unknown variant"),
            ("[o2cb]\nclsuter = \"x\"\n", "/etc/s.toml:2: clsuter: unknown field"),
            ("\n[o2cb]\n\ndead_threshold = 2\n", "/etc/s.toml:4: o2cb.dead_threshold: the dead"),
            ("[o2cb]\nkeepalive_delay_ms = 40000\n", "/etc/s.toml:2: o2cb.keepalive_delay_ms: "),
        ];
        for (text, expected) in cases {
            let error = config(text).expect_err("a wrong file");
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_node_is_found_by_the_names_in_the_file_and_in_the_cluster_s() {
        let top = tempfile::tempdir().expect("a directory");
        let conf = top.path().join("cluster.conf");
        let mut clusters = ::o2cb::cluster_conf::ClusterConf::default();
        clusters.add_cluster("web").expect("a name");
        let web = clusters.cluster_mut("web").expect("just added");
        let address = std::net::Ipv4Addr::LOCALHOST;
        web.add_node(&NewNode { name: "no-such-host", address, port: None, number: None })
            .expect("a node");
        clusters.save(&conf).expect("saved");
        let section = |rest: &str| {
            let text = format!("stack = \"o2cb\"\n[o2cb]\nconf = {conf:?}\n{rest}");
            config(&text).expect("a right file").o2cb
        };
        let found = section("");
        let cluster = found.cluster().expect("the only one");
        let error = |error: ConfigError| error.to_string();
        let no_node = found.me(&cluster).map_err(error).expect_err("another host");
        assert!(
            no_node.starts_with("/etc/s.toml:2: o2cb.node: cluster web has no node"),
            "{no_node}"
        );
        assert_eq!(section("node = \"no-such-host\"").me(&cluster).ok(), NodeId::new(0));
        let no_cluster = section("cluster = \"db\"").cluster().map_err(error).expect_err("no");
        assert!(no_cluster.starts_with("/etc/s.toml:4: o2cb.cluster: "), "{no_cluster}");
        let nowhere = found.regions(&cluster).map_err(error).expect_err("no region");
        assert!(nowhere.contains("o2cb.heartbeat: there is nowhere to heartbeat"), "{nowhere}");
    }

    #[test]
    fn what_the_configuration_can_say_of_fencing_the_attribute_can_say_too() {
        for word in OnFence::WORDS {
            let text = format!("[o2cb]\non_fence = {word:?}\n");
            let configured = config(&text).expect("a right file").o2cb.on_fence;
            assert_eq!((OnFence::of_word(word), configured.word()), (Some(configured), word));
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let options = Options {
            socket: Some("/o".into()),
            stack: Some("pcmk".into()),
            state_dir: Some("/s".into()),
            idle_exit: Some(3),
            ..Options::default()
        };
        let text = "stack = \"solo\"\nsocket = \"/f\"\nidle_exit_seconds = 9\nstate_dir = \"/x\"";
        let config = parse(Path::new("f"), text).and_then(|file| file.with(&options));
        let config = config.expect("a right file");
        assert_eq!((config.stack.as_str(), config.socket), ("pcmk", "/o".into()));
        assert_eq!(
            (config.state_dir, config.idle_exit),
            ("/s".into(), Some(Duration::from_secs(3)))
        );
    }

    #[test]
    fn the_example_configuration_is_every_default() {
        let example = include_str!("../../../docs/stackglued.toml");
        let shown = parse(Path::new("example"), example).expect("a right file");
        assert_eq!(shown.limits, Limits::default());
        assert_eq!((shown.stack.as_deref(), shown.socket_mode), (Some("solo"), Some(0o660)));
        let uncommented: String = example
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.contains(" = ") => setting,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(shown.o2cb.into_config(None), O2cbConfig::default());
        parse(Path::new("example"), &uncommented).expect("its commented settings are right, too");
    }
}
