//! Control requests and the items that answer them: the JSON inside Request and Item frames.

use std::collections::BTreeMap;

use dlm::{NameError, ResourceName};
use serde::{Deserialize, Serialize};

/// A control request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ControlRequest {
    /// One [`StatusItem`].
    Status {},
    /// One [`CountersItem`].
    Counters {},
    /// One [`LockItem`] for every lock.
    Locks {
        /// Only those of this group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// Only those of this resource.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
    },
    /// One [`NodeItem`] for every node of the cluster.
    Nodes {},
    /// One [`StackItem`]: the stack in force.
    Stack {},
    /// Changes the stack, then one [`StackItem`]. `EBUSY` while a group is connected.
    SetStack {
        /// The new label: four bytes.
        label: String,
    },
    /// Joins a group and keeps it joined, until as many [`Leave`](Self::Leave)s or the end of the
    /// connection. Ends when it is joined.
    Join {
        /// The group; empty for the default one.
        group: String,
    },
    /// Takes back a [`Join`](Self::Join). When nobody else uses the group it is left, and this ends after
    /// that. `ENOENT` without a join.
    Leave {
        /// The group; empty for the default one.
        group: String,
    },
    /// One [`ValueItem`]: the value block of a resource.
    Value {
        /// The group; empty for the default one.
        group: String,
        /// The resource.
        name: Name,
    },
    /// Writes the value block of a resource and keeps the resource alive: waits until it may take the
    /// resource in `EX`, and leaves an orphan in `NL`.
    SetValue {
        /// The group; empty for the default one.
        group: String,
        /// The resource.
        name: Name,
        /// The value: at most 64 bytes.
        value: Bytes,
    },
    /// Drops the orphans that [`SetValue`](Self::SetValue) left. `ENOENT` when there are none.
    ClearValue {
        /// The group; empty for the default one.
        group: String,
        /// The resource.
        name: Name,
    },
    /// One [`AttributeItem`] for everything in a directory of the control tree. `ENOENT` if there is no
    /// such directory.
    Attributes {
        /// The names from the root on, with `/` between them; empty for the root.
        path: String,
    },
    /// [`TextItem`]s: the text of an attribute, to be put together. `ENOENT` if there is none.
    ReadAttribute {
        /// As in [`Attributes`](Self::Attributes).
        path: String,
    },
    /// Writes an attribute: in force when the answer ends.
    WriteAttribute {
        /// As in [`Attributes`](Self::Attributes).
        path: String,
        /// The text.
        text: Bytes,
    },
    /// One [`HeartbeatItem`]: the references to a heartbeat region.
    Heartbeat {
        /// The region.
        region: String,
    },
    /// Takes a reference to a heartbeat region, and starts to heartbeat on it if it is the first. Ends
    /// when the heartbeat is steady, at once with global heartbeat and on stacks without one.
    StartHeartbeat {
        /// The region: the UUID of a volume, 32 upper-case hexadecimal digits.
        region: String,
        /// The volume's device, needed for the first reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
    },
    /// Gives a reference back, and stops the heartbeat if it was the last. `ENOENT` when there is none
    /// to give back, `EBUSY` when a lock domain lives by the region.
    StopHeartbeat {
        /// The region.
        region: String,
    },
    /// Asks every process that holds a resource now to give it back, and drops its orphans:
    /// [`RevokeItem`]s as it goes.
    Revoke {
        /// The group; empty for the default one.
        group: String,
        /// The resource.
        name: Name,
        /// After the grace time: take the lock away, instead of failing with `EBUSY`.
        force: bool,
        /// The grace time in milliseconds.
        grace_ms: u32,
        /// Why, for those who hold it.
        reason: String,
    },
}

/// The daemon as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusItem {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its socket.
    pub socket: String,
    /// The stack's label.
    pub stack: String,
    /// The plugin behind the label; empty while none is loaded.
    pub plugin: String,
    /// This host's node number; 0 when the stack does not tell.
    pub node: u32,
    /// The upper 24 bits of its fencing tokens: grows with every start.
    pub epoch: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Processes connected to it.
    pub clients: usize,
    /// Locks of connected processes, those that wait included.
    pub locks: usize,
    /// Locks whose process is gone.
    pub orphans: usize,
    /// Processes of an earlier daemon that still run, as far as they are known: nothing is granted
    /// before they have ended. Absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_holders: Option<Vec<u32>>,
    /// Groups connected now.
    pub groups: Vec<GroupItem>,
    /// What happened since the start.
    pub counters: BTreeMap<String, u64>,
}

/// One group in a [`StatusItem`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupItem {
    /// Its name.
    pub name: String,
    /// This host's node number in it; 0 when the stack does not tell.
    pub node: u32,
    /// Locks of connected processes in it.
    pub locks: usize,
    /// Locks in it whose process is gone.
    pub orphans: usize,
}

/// What happened since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersItem {
    /// Count by name; see `docs/protocol/daemon-socket.md`.
    pub counters: BTreeMap<String, u64>,
}

/// The stack in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackItem {
    /// Its label.
    pub label: String,
    /// The plugin behind the label; empty while none is loaded.
    pub plugin: String,
}

/// One lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockItem {
    /// Its group.
    pub group: String,
    /// Its resource.
    pub name: Name,
    /// The lock's id on its node, unique in the group; 0 while it waits for processes of an earlier
    /// daemon.
    pub id: u32,
    /// The mode it holds.
    pub mode: Option<String>,
    /// The mode it waits for.
    pub requested: Option<String>,
    /// `granted`, `converting` or `waiting`.
    pub queue: String,
    /// The node whose process holds or wants it.
    pub node: u32,
    /// The node that decides about it; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<u32>,
    /// The process; absent for a process of another node.
    pub pid: Option<u32>,
    /// The user it runs as; absent for a process of another node.
    pub uid: Option<u32>,
    /// Its command; empty when not known.
    pub command: String,
    /// What the lock is for; empty when the process did not say.
    pub purpose: String,
    /// Milliseconds since it was asked for; 0 for a process of another node.
    pub age_ms: u64,
    /// Milliseconds it has waited for the mode it wants, or had waited for the mode it holds.
    pub wait_ms: u64,
    /// Whether its process is gone and it is kept.
    pub orphan: bool,
    /// The fencing token of its last grant; 0 before, and on a stack that has none.
    pub token: u64,
    /// The locks that keep it waiting: the first eight.
    pub waits_for: Vec<BlockerItem>,
}

/// A lock that keeps another one waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockerItem {
    /// The lock's id.
    pub id: u32,
    /// The node of its process.
    pub node: u32,
    /// Its process; absent for a process of another node.
    pub pid: Option<u32>,
    /// The command of its process; empty when not known.
    pub command: String,
    /// What it is for; empty when its process did not say.
    pub purpose: String,
    /// The mode it holds, or waits for when it holds none.
    pub mode: String,
    /// Milliseconds since it was asked for; 0 for a process of another node.
    pub age_ms: u64,
    /// Whether its process is gone and it is kept.
    pub orphan: bool,
}

/// A node of the cluster, as this one sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeItem {
    /// Its number.
    pub node: u32,
    /// Its name.
    pub name: String,
    /// The cluster's name; empty when there is none.
    pub cluster: String,
    /// Address and port; empty for a host that is alone.
    pub address: String,
    /// Whether it is the daemon's own.
    pub is_this: bool,
    /// Whether its heartbeat is seen.
    pub is_alive: bool,
    /// Milliseconds since its heartbeat was seen to change; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_age_ms: Option<u64>,
    /// The connection to it, in a word; empty for this node.
    pub link: String,
    /// Why the last connection to it ended; empty when none did.
    pub last_error: String,
    /// Resources that this node knows and that one is the master of.
    pub masters: usize,
    /// Groups of this node that it is a member of: the first 64.
    pub groups: Vec<String>,
    /// Milliseconds until this node stops itself if its disk takes no heartbeat before; absent for
    /// others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence_in_ms: Option<u64>,
}

/// What is in a directory of the control tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeItem {
    /// Its name: never empty, `.` or `..`, and without a `/`.
    pub name: String,
    /// What it is.
    pub kind: AttributeKind,
}

/// What is at a path of the control tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttributeKind {
    /// A directory.
    Directory,
    /// A text that can be read.
    ReadOnly,
    /// A text that can be read and written.
    Writable,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextItem {
    /// The part.
    pub text: String,
}

/// The references to a heartbeat region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatItem {
    /// The region.
    pub region: String,
    /// How many there are, the configuration's own included; 0 for a region that is not in use.
    pub references: u32,
    /// Whether references start and stop anything: they do with local heartbeat.
    pub is_counted: bool,
}

/// A value block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueItem {
    /// All of it, with the zeros behind what was written.
    pub value: Bytes,
    /// Whether it may be trusted: false when its last writer was lost, or nothing was written.
    pub valid: bool,
}

/// A step of a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeItem {
    /// What happened to the lock.
    pub step: RevokeStep,
    /// The process that holds or held it.
    pub pid: Option<u32>,
    /// Its command.
    pub command: String,
    /// What the lock was for.
    pub purpose: String,
    /// The mode.
    pub mode: String,
}

/// What a revocation did to one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevokeStep {
    /// Its process was asked to give it back.
    Asked,
    /// Its process gave it back.
    Released,
    /// It was taken away.
    Taken,
    /// It was an orphan and was dropped.
    Purged,
}

/// A resource name in JSON: printable ASCII as it is, everything else and the backslash escaped, as
/// [`ResourceName`] displays it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name(Vec<u8>);

impl Name {
    /// A name of 1 to 64 bytes.
    ///
    /// # Errors
    ///
    /// [`NameError`] for another length.
    pub fn new(bytes: &[u8]) -> Result<Name, NameError> {
        ResourceName::new(bytes).map(|name| Name(name.as_bytes().to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as the glue takes it.
    pub fn as_resource_name(&self) -> ResourceName<'_> {
        ResourceName::new(&self.0).expect("its length was checked when it was made")
    }
}

impl From<ResourceName<'_>> for Name {
    fn from(name: ResourceName<'_>) -> Name {
        Name(name.as_bytes().to_vec())
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.as_resource_name().to_string())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Name, String> {
        let bytes = unescape(&text).ok_or_else(|| {
            format!("the name {text:?} is not escaped as \\xNN outside printable ASCII")
        })?;
        Name::new(&bytes).map_err(|error| error.to_string())
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, rest) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                bytes.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
                rest = after;
            }
            (b' '..=b'[' | b']'..=b'~', _) => bytes.push(byte),
            _ => return None,
        }
    }
    Some(bytes)
}

/// Bytes in JSON: two hexadecimal digits each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes(pub Vec<u8>);

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        bytes.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Bytes {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Bytes, &'static str> {
        let (pairs, rest) = text.as_bytes().as_chunks();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|&[high, low]| Some(hex_digit(high)? << 4 | hex_digit(low)?))
            .collect();
        bytes.filter(|_| rest.is_empty()).map(Bytes).ok_or("bytes are pairs of hexadecimal digits")
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_and_value_survives_json(
            name in prop::collection::vec(any::<u8>(), 1..=64),
            value in prop::collection::vec(any::<u8>(), 0..=64),
        ) {
            let request = ControlRequest::SetValue {
                group: "g".into(),
                name: Name::new(&name).expect("1 to 64 bytes"),
                value: Bytes(value),
            };
            let json = serde_json::to_string(&request).expect("JSON");
            let read: ControlRequest = serde_json::from_str(&json).expect("what was written");
            prop_assert_eq!(read, request);
        }

        #[test]
        fn arbitrary_text_as_a_name_never_panics(text in any::<String>()) {
            if let Ok(name) = Name::try_from(text.clone()) {
                prop_assert_eq!(Name::try_from(name.to_string()), Ok(name));
            }
        }
    }

    #[test]
    fn a_request_with_an_unknown_field_or_a_wrong_name_is_refused() {
        for json in [
            r#"{"request":"status","x":1}"#,
            r#"{"request":"locks","nam":"a"}"#,
            r#"{"request":"value","group":"","name":""}"#,
            r#"{"request":"value","group":"","name":"\\x4"}"#,
            r#"{"request":"reboot"}"#,
        ] {
            assert!(serde_json::from_str::<ControlRequest>(json).is_err(), "{json}");
        }
    }
}
