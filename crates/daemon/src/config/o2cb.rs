//! The section `[o2cb]`: this host's node in a cluster of the classic stack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use o2cb::cluster_conf::{Cluster, ClusterConf, DEFAULT_PATH, HeartbeatMode};
use o2cb::{NodeId, RegionOptions, StartError, Timeouts};
use serde::Deserialize;

use super::ConfigError;

/// The node of a daemon on the stack `o2cb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct O2cbConfig {
    /// The nodes of the cluster. Default `/etc/ocfs2/cluster.conf`.
    pub conf: PathBuf,
    /// Which cluster of that file; `None` for the only one.
    pub cluster: Option<String>,
    /// Which node of that cluster; `None` for the one with this host's name.
    pub node: Option<String>,
    /// Where to heartbeat.
    pub heartbeat: Vec<HeartbeatPlace>,
    /// The timings, the same on all nodes.
    pub timeouts: Timeouts,
    /// What becomes of those who hold locks when this node has to stop at once.
    pub on_fence: OnFence,
    pub(super) origin: Option<Origin>,
}

impl Default for O2cbConfig {
    fn default() -> O2cbConfig {
        O2cbConfig {
            conf: DEFAULT_PATH.into(),
            cluster: None,
            node: None,
            heartbeat: Vec::new(),
            timeouts: Timeouts::default(),
            on_fence: OnFence::default(),
            origin: None,
        }
    }
}

/// Where a node heartbeats: the same on all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "give a volume's device as \"/dev/x\", or a device or file made by `stackglue o2cb \
                 heartbeat-file` as { path = \"/x\", name = \"y\" }"
)]
pub enum HeartbeatPlace {
    /// The region inside an OCFS2 volume.
    Volume(PathBuf),
    /// A device or file that is nothing but a region.
    File {
        /// The device or file.
        path: PathBuf,
        /// The region's name: 1 to 32 bytes, the same on all nodes.
        name: String,
    },
}

impl HeartbeatPlace {
    /// The device or file.
    pub fn path(&self) -> &Path {
        match self {
            HeartbeatPlace::Volume(path) | HeartbeatPlace::File { path, .. } => path,
        }
    }

    /// The region that is there.
    ///
    /// # Errors
    ///
    /// [`StartError`] when a device is not a volume.
    pub fn region(&self) -> Result<RegionOptions, StartError> {
        match self {
            HeartbeatPlace::Volume(path) => RegionOptions::of_volume(path),
            HeartbeatPlace::File { path, name } => RegionOptions::of_file(name, path),
        }
    }
}

/// What the daemon does when it has lost its disk or its peers, before the others give its locks away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFence {
    /// Kills whoever holds a lock, and exits.
    #[default]
    Kill,
    /// Stops whoever holds a lock (SIGSTOP), and exits.
    Freeze,
    /// Tells whoever holds a lock that it is lost, and exits: they must stop by themselves.
    Notify,
    /// Resets the machine through `/proc/sysrq-trigger`.
    Reset,
    /// Crashes the machine's kernel through `/proc/sysrq-trigger`, for its dump.
    Panic,
}

impl OnFence {
    /// The words for all of them, those of a kernel's `fence_method` first.
    pub(crate) const WORDS: [&str; 5] = ["reset", "panic", "kill", "freeze", "notify"];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            OnFence::Reset => "reset",
            OnFence::Panic => "panic",
            OnFence::Kill => "kill",
            OnFence::Freeze => "freeze",
            OnFence::Notify => "notify",
        }
    }

    pub(crate) fn of_word(word: &str) -> Option<OnFence> {
        use OnFence::{Freeze, Kill, Notify, Panic, Reset};
        [Reset, Panic, Kill, Freeze, Notify].into_iter().find(|action| action.word() == word)
    }
}

impl O2cbConfig {
    /// The cluster.
    ///
    /// # Errors
    ///
    /// [`ConfigError::ClusterConf`] for the file, [`ConfigError::Node`] when it has not that cluster.
    pub fn cluster(&self) -> Result<Cluster, ConfigError> {
        let conf = ClusterConf::load(&self.conf).map_err(ConfigError::ClusterConf)?;
        let path = self.conf.display();
        let mut clusters = conf.clusters.into_iter();
        match &self.cluster {
            Some(name) => clusters.find(|cluster| cluster.name == *name).ok_or_else(|| {
                self.wrong(
                    "cluster",
                    format!("{path} has no cluster {name:?}: name one that it has"),
                )
            }),
            None => match (clusters.next(), clusters.next()) {
                (Some(cluster), None) => Ok(cluster),
                (None, _) => Err(self.wrong(
                    "conf",
                    format!("{path} has no cluster: add one with `stackglue o2cb init`"),
                )),
                (Some(_), Some(_)) => Err(self.wrong(
                    "cluster",
                    format!("{path} has several clusters: say which with cluster = \"...\""),
                )),
            },
        }
    }

    /// This host's number in the cluster.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Node`] when it has none.
    pub fn me(&self, cluster: &Cluster) -> Result<NodeId, ConfigError> {
        let name = &cluster.name;
        let found = match &self.node {
            Some(node) => {
                let found = cluster.nodes.iter().find(|other| other.name == *node);
                found.ok_or_else(|| format!("cluster {name} has no node {node:?}"))
            }
            None => {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                cluster.local_node(&host).ok_or_else(|| {
                    format!("cluster {name} has no node with the name of this host, {host:?}")
                })
            }
        };
        let remedy = "name one that it has, or add one with `stackglue o2cb add-node`";
        found
            .map(|node| node.number)
            .map_err(|what| self.wrong("node", format!("{what}: {remedy}")))
    }

    /// The heartbeat regions. With global heartbeat in the order of the cluster's configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Node`] when there is none, or one that the cluster has is not listed;
    /// [`ConfigError::Device`] when one is not what it should be.
    pub fn regions(&self, cluster: &Cluster) -> Result<Vec<RegionOptions>, ConfigError> {
        if self.heartbeat.is_empty() {
            let what = "there is nowhere to heartbeat: list a volume's device, or a file or device \
                        that all nodes share";
            return Err(self.wrong("heartbeat", what));
        }
        let regions = self.heartbeat.iter().map(HeartbeatPlace::region);
        let mut regions = regions
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ConfigError::Device { at: self.at("heartbeat"), error })?;
        if cluster.heartbeat_mode == HeartbeatMode::Global {
            for name in &cluster.regions {
                if !regions.iter().any(|region| region.name == *name) {
                    let what = format!("the cluster's heartbeat region {name} is not in the list");
                    return Err(self.wrong("heartbeat", what));
                }
            }
            regions
                .sort_by_key(|region| cluster.regions.iter().position(|name| *name == region.name));
        }
        Ok(regions)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.timeouts.check().map_err(|error| {
            let key = match error {
                o2cb::TimeoutsError::ThresholdTooSmall { .. }
                | o2cb::TimeoutsError::ThresholdTooLarge { .. } => "dead_threshold",
                o2cb::TimeoutsError::KeepaliveNotBelowIdle { .. } => "keepalive_delay_ms",
                _ => "timeouts",
            };
            self.wrong(key, error.to_string())
        })?;
        for place in &self.heartbeat {
            if let HeartbeatPlace::File { name, .. } = place
                && !(1..=32).contains(&name.len())
            {
                let what = format!("the name {name:?} has to have 1 to 32 bytes");
                return Err(self.wrong("heartbeat", what));
            }
        }
        Ok(())
    }

    fn wrong(&self, key: &str, what: impl Into<String>) -> ConfigError {
        ConfigError::Node { at: self.at(key), what: what.into() }
    }

    fn at(&self, key: &str) -> String {
        match &self.origin {
            Some(origin) => origin.of(key),
            None => format!("o2cb.{key}"),
        }
    }
}

/// The section as it is written.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    conf: PathBuf,
    cluster: Option<String>,
    node: Option<String>,
    heartbeat: Vec<HeartbeatPlace>,
    dead_threshold: u32,
    idle_timeout_ms: u32,
    keepalive_delay_ms: u32,
    reconnect_delay_ms: u32,
    on_fence: OnFence,
}

impl Default for Section {
    fn default() -> Section {
        let O2cbConfig { conf, cluster, node, heartbeat, timeouts, on_fence, .. } =
            O2cbConfig::default();
        let Timeouts { dead_threshold, idle_timeout_ms, keepalive_delay_ms, reconnect_delay_ms } =
            timeouts;
        Section {
            conf,
            cluster,
            node,
            heartbeat,
            dead_threshold,
            idle_timeout_ms,
            keepalive_delay_ms,
            reconnect_delay_ms,
            on_fence,
        }
    }
}

impl Section {
    pub(super) fn into_config(self, origin: Option<Origin>) -> O2cbConfig {
        O2cbConfig {
            conf: self.conf,
            cluster: self.cluster,
            node: self.node,
            heartbeat: self.heartbeat,
            timeouts: Timeouts {
                dead_threshold: self.dead_threshold,
                idle_timeout_ms: self.idle_timeout_ms,
                keepalive_delay_ms: self.keepalive_delay_ms,
                reconnect_delay_ms: self.reconnect_delay_ms,
            },
            on_fence: self.on_fence,
            origin,
        }
    }
}

/// Where the section was read, for those who have to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    file: PathBuf,
    /// The line of the section's heading, from 1, or of its first key.
    heading: usize,
    /// The line of each key.
    keys: BTreeMap<String, usize>,
}

impl Origin {
    /// Finds the section in a text that is right.
    pub(super) fn find(file: &Path, text: &str) -> Option<Origin> {
        let lines = (1..).zip(text.lines());
        let mut section = lines.skip_while(|(_, line)| line.trim() != "[o2cb]");
        let (heading, _) = section.next()?;
        let keys = section
            .take_while(|(_, line)| !line.trim_start().starts_with('['))
            .filter_map(|(number, line)| Some((line.split_once('=')?.0.trim().to_owned(), number)));
        Some(Origin { file: file.to_owned(), heading, keys: keys.collect() })
    }

    fn of(&self, key: &str) -> String {
        let line = self.keys.get(key).unwrap_or(&self.heading);
        format!("{}:{line}: o2cb.{key}", self.file.display())
    }
}
