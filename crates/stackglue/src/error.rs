//! Errors of the glue itself. Each is one sentence for people and one errno for programs.

use dlm::Errno;

use crate::glue::LABEL_LEN;
use crate::{CLUSTER_LEN_MAX, ConnectRefused, GROUP_LEN_MAX, HB_CTL_PATH_LEN_MAX, ProtocolVersion};

/// Why [`Glue::connect`](crate::Glue::connect) made no connection. Nothing is left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The group name cannot be one. `EINVAL`.
    #[error("group name {group:?} cannot be joined: give 1 to {GROUP_LEN_MAX} bytes without NUL")]
    Group {
        /// The name that was given.
        group: String,
    },
    /// The cluster name cannot be one. `EINVAL`.
    #[error(
        "cluster name {cluster:?} is refused: give at most {CLUSTER_LEN_MAX} bytes without NUL"
    )]
    Cluster {
        /// The name that was given.
        cluster: String,
    },
    /// Nobody announced a maximum locking protocol yet. `EINVAL`.
    #[error(
        "group {group:?} cannot be joined with locking protocol {wanted}: no maximum was announced; \
         call set_max_protocol first"
    )]
    NoMaximumProtocol {
        /// The group.
        group: String,
        /// The caller's maximum.
        wanted: ProtocolVersion,
    },
    /// The caller's maximum locking protocol is not the glue's. `EINVAL`.
    #[error(
        "group {group:?} cannot be joined with locking protocol {wanted}: everything on this host \
         must speak {announced}"
    )]
    Protocol {
        /// The group.
        group: String,
        /// The caller's maximum.
        wanted: ProtocolVersion,
        /// The glue's maximum.
        announced: ProtocolVersion,
    },
    /// This process made 2^32 connections already. `ENOMEM`.
    #[error("group {group:?} cannot be joined: this process has used up its connection numbers")]
    Exhausted {
        /// The group.
        group: String,
    },
    /// The stack label cannot be one. `EINVAL`.
    #[error("stack label {label:?} is refused: give exactly {LABEL_LEN} bytes without NUL")]
    Label {
        /// The label that was given.
        label: String,
    },
    /// The caller expects another stack than the selected one. `EBUSY`.
    #[error(
        "group {group:?} wants cluster stack {wanted:?} but {selected:?} is selected on this host: \
         write {wanted:?} to cluster_stack first"
    )]
    OtherStack {
        /// The group.
        group: String,
        /// The label the caller wants.
        wanted: String,
        /// The label that is selected.
        selected: String,
    },
    /// Another plugin is in use. `EBUSY`.
    #[error(
        "group {group:?} wants stack plugin {wanted:?} but {active:?} is in use: close what uses it \
         first"
    )]
    OtherPlugin {
        /// The group.
        group: String,
        /// The plugin that the label means.
        wanted: &'static str,
        /// The plugin in use.
        active: &'static str,
    },
    /// No plugin for the stack is registered, nor could one be loaded. `ENOENT`.
    #[error("cluster stack {label:?} has no driver here: plugin {plugin:?} cannot be found")]
    NoPlugin {
        /// The label.
        label: String,
        /// The plugin that it means.
        plugin: &'static str,
    },
    /// The stack did not join the group. The errno is the stack's.
    #[error("stack plugin {plugin:?} did not join group {group:?}: {refused}")]
    Refused {
        /// The group.
        group: String,
        /// The plugin.
        plugin: &'static str,
        /// Why.
        #[source]
        refused: ConnectRefused,
    },
}

impl ConnectError {
    /// The errno that the kernel's glue gives for it.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Group { .. }
            | Self::Cluster { .. }
            | Self::NoMaximumProtocol { .. }
            | Self::Protocol { .. }
            | Self::Label { .. } => Errno::EINVAL,
            Self::Exhausted { .. } => Errno::ENOMEM,
            Self::OtherStack { .. } | Self::OtherPlugin { .. } => Errno::EBUSY,
            Self::NoPlugin { .. } => Errno::ENOENT,
            Self::Refused { refused, .. } => refused.errno,
        }
    }
}

/// Why [`Connection::disconnect`](crate::Connection::disconnect) did not leave the group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectError {
    /// The connection was left already. `EINVAL`.
    #[error("group {group:?} was left already")]
    Left {
        /// The group.
        group: String,
    },
    /// Locks of a [`LockClient`](crate::LockClient) are held or waited for. `EBUSY`.
    #[error("group {group:?} cannot be left: {locks} of its locks are held or waited for")]
    LocksHeld {
        /// The group.
        group: String,
        /// How many.
        locks: usize,
    },
    /// The stack could not leave; the connection is still good. The errno is the stack's.
    #[error("group {group:?} cannot be left: {errno}")]
    Refused {
        /// The group.
        group: String,
        /// Why.
        errno: Errno,
    },
}

impl DisconnectError {
    /// The errno of it.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Left { .. } => Errno::EINVAL,
            Self::LocksHeld { .. } => Errno::EBUSY,
            Self::Refused { errno, .. } => *errno,
        }
    }
}

/// Why a plugin was not registered or unregistered, or a maximum protocol not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GlueError {
    /// A plugin of this name is registered. `EEXIST`.
    #[error("stack plugin {plugin:?} is registered already")]
    PluginExists {
        /// Its name.
        plugin: &'static str,
    },
    /// No plugin of this name is registered. `ENOENT`.
    #[error("stack plugin {plugin:?} is not registered")]
    NoSuchPlugin {
        /// The name that was given.
        plugin: String,
    },
    /// The plugin is in use. `EBUSY`.
    #[error("stack plugin {plugin:?} is in use: disconnect its {uses} connections first")]
    PluginInUse {
        /// Its name.
        plugin: String,
        /// Connections and hang-ups that use it.
        uses: usize,
    },
    /// Another maximum locking protocol was announced before. `EINVAL`.
    #[error("maximum locking protocol {wanted} is refused: {announced} was announced before")]
    OtherMaximum {
        /// What the caller announced.
        wanted: ProtocolVersion,
        /// What holds.
        announced: ProtocolVersion,
    },
    /// A maximum of major version 0, which means "not known". `EINVAL`.
    #[error("maximum locking protocol {wanted} is refused: its major version must be 1 or more")]
    NoMajor {
        /// What the caller announced.
        wanted: ProtocolVersion,
    },
    /// No disconnect of this group left its hang-up pending. `EINVAL`.
    #[error("group {group:?} has no hang-up pending: disconnect it with a hang-up pending first")]
    NoHangup {
        /// The group that was given.
        group: String,
    },
}

impl GlueError {
    /// The errno of it.
    pub fn errno(&self) -> Errno {
        match self {
            Self::PluginExists { .. } => Errno::EEXIST,
            Self::NoSuchPlugin { .. } => Errno::ENOENT,
            Self::PluginInUse { .. } => Errno::EBUSY,
            Self::OtherMaximum { .. } | Self::NoMajor { .. } | Self::NoHangup { .. } => {
                Errno::EINVAL
            }
        }
    }
}

/// Why a control attribute was not read or written. A write that failed changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The attribute can only be read. `EACCES`.
    #[error("{attribute} is read-only")]
    ReadOnly {
        /// Its file name.
        attribute: &'static str,
    },
    /// Not a stack label. `EINVAL`.
    #[error("cluster_stack must be exactly {LABEL_LEN} bytes of text without NUL, not {text:?}")]
    Label {
        /// What was written, newline removed.
        text: String,
    },
    /// Another stack is in use. `EBUSY`.
    #[error(
        "cluster_stack cannot become {wanted:?} while {selected:?} is in use: close its \
         connections first"
    )]
    InUse {
        /// What was written.
        wanted: String,
        /// What stays selected.
        selected: String,
    },
    /// Not the path of a program. `EINVAL`.
    #[error(
        "hb_ctl_path must be at most {HB_CTL_PATH_LEN_MAX} bytes of text without NUL, not {text:?}"
    )]
    HbCtlPath {
        /// What was written, newline removed.
        text: String,
    },
    /// The text does not fit into one page. `E2BIG`.
    #[error("{attribute} does not fit into one page: {len} bytes")]
    TooLong {
        /// The attribute's file name.
        attribute: &'static str,
        /// The length of its text in bytes.
        len: usize,
    },
}

impl AttributeError {
    /// The errno that reading or writing the file gives.
    pub fn errno(&self) -> Errno {
        match self {
            Self::ReadOnly { .. } => Errno::EACCES,
            Self::Label { .. } | Self::HbCtlPath { .. } => Errno::EINVAL,
            Self::InUse { .. } => Errno::EBUSY,
            Self::TooLong { .. } => Errno::E2BIG,
        }
    }
}
