//! What is particular to the stack `o2cb`: its node, what it does not have, and the nodes around it.

use std::collections::{BTreeMap, HashMap};

use ::o2cb::cluster_conf::Cluster;
use ::o2cb::{FenceHandler, NodeId, NodeOptions, O2cbNode, RegionOptions};
use stackglue::{Errno, LockFlags, Mode, ResourceName};

use super::node::{Node, Refusal};
use crate::config::{Config, O2cbConfig};
use crate::control::NodeItem;
use crate::error::DaemonError;

/// What a node is started with, looked up and checked.
pub(super) struct Plan {
    cluster: Cluster,
    me: NodeId,
    regions: Vec<RegionOptions>,
    config: O2cbConfig,
}

impl Plan {
    /// Finds the node, if the configuration asks for one.
    pub(super) fn of(config: &Config) -> Result<Option<Plan>, DaemonError> {
        if !config.is_o2cb() {
            return Ok(None);
        }
        let config = config.o2cb.clone();
        let cluster = config.cluster()?;
        let me = config.me(&cluster)?;
        let regions = config.regions(&cluster)?;
        Ok(Some(Plan { cluster, me, regions, config }))
    }

    /// Starts the node: blocks until its heartbeat is steady.
    pub(super) fn start(self, fence: FenceHandler) -> Result<O2cbNode, DaemonError> {
        let Plan { cluster, me, regions, config } = self;
        tracing::info!(cluster = cluster.name, node = %me, "waits for a steady heartbeat");
        let timeouts = config.timeouts;
        O2cbNode::start(NodeOptions { cluster, me, timeouts, regions, fence })
            .map_err(|error| DaemonError::Node { error })
    }
}

/// Refuses what the stack does not have, and says what it has.
pub(super) fn check(name: ResourceName<'_>, mode: Mode, flags: LockFlags) -> Result<(), Refusal> {
    let len = name.as_bytes().len();
    if len > NAME_LEN_MAX {
        let text = format!(
            "\"{name}\" has {len} bytes: names on the stack o2cb have at most {NAME_LEN_MAX}"
        );
        return Err((Errno::ENAMETOOLONG, text));
    }
    if name.as_bytes().starts_with(b"$") {
        let text = format!("\"{name}\" is a name that the stack o2cb keeps for its own use");
        return Err((Errno::EINVAL, text));
    }
    if !matches!(mode, Mode::NL | Mode::PR | Mode::EX) {
        let text =
            format!("\"{name}\" cannot be locked in {mode}: the stack o2cb has NL, PR and EX only");
        return Err((Errno::EINVAL, text));
    }
    if flags.intersects(LockFlags::PERSISTENT | LockFlags::ORPHAN) {
        let text =
            format!("\"{name}\" cannot outlive its process: the stack o2cb keeps no such locks");
        return Err((Errno::EINVAL, text));
    }
    Ok(())
}

pub(super) fn no_kept_values() -> Refusal {
    let text = "the stack o2cb keeps no value without a lock: write it while you hold one";
    (Errno::EOPNOTSUPP, text.to_owned())
}

pub(super) fn no_other_stack() -> Refusal {
    let text = "the stack o2cb was chosen in the configuration: change it there, and restart";
    (Errno::EBUSY, text.to_owned())
}

impl Node {
    /// The nodes of the cluster, as this one sees them.
    pub(super) fn nodes(&self) -> Vec<NodeItem> {
        let Some(node) = &self.o2cb else {
            let uname = rustix::system::uname();
            return vec![NodeItem {
                node: self.number,
                name: uname.nodename().to_string_lossy().into_owned(),
                is_this: true,
                is_alive: true,
                ..NodeItem::default()
            }];
        };
        let status = node.status();
        let mut masters: HashMap<NodeId, usize> = HashMap::new();
        let resources = status.domains.iter().flat_map(|domain| &domain.resources);
        let resources = resources.filter(|resource| !resource.name.is_recovery());
        for owner in resources.filter_map(|resource| resource.owner) {
            *masters.entry(owner).or_default() += 1;
        }
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let items = status.nodes.iter().map(|peer| {
            let is_this = peer.node == status.me;
            NodeItem {
                node: peer.node.get().into(),
                name: peer.name.clone(),
                cluster: status.cluster.clone(),
                address: peer.address.to_string(),
                is_this,
                is_alive: peer.live,
                heartbeat_age_ms: peer.heartbeat_age.map(ms),
                link: peer.link.as_deref().filter(|_| !is_this).map(link_word).unwrap_or_default(),
                last_error: peer.last_error.clone().unwrap_or_default(),
                masters: masters.get(&peer.node).copied().unwrap_or_default(),
                groups: status
                    .domains
                    .iter()
                    .filter(|domain| domain.members.contains(peer.node))
                    .map(|domain| domain.name.clone())
                    .take(GROUPS_NAMED_MAX)
                    .collect(),
                fence_in_ms: status.fence_in.filter(|_| is_this).map(ms),
            }
        });
        items.collect()
    }

    /// What was counted since the daemon started; of a group on o2cb, since it was joined.
    pub(super) fn counters(&self) -> BTreeMap<String, u64> {
        let mut counts = self.shared.counters.by_name();
        let Some(status) = self.o2cb.as_ref().map(O2cbNode::status) else { return counts };
        let mut add = |name: &str, count| *counts.entry(name.to_owned()).or_default() += count;
        add("o2net.strangers", status.strangers);
        for peer in &status.nodes {
            add("o2net.refused", peer.counters.refused);
            add("o2net.bad_frames", peer.counters.bad_frames);
            add("o2net.unknown_messages", peer.counters.unknown_messages);
            add("o2net.unknown_statuses", peer.counters.unknown_statuses);
            add("o2net.reconnects", peer.counters.reconnects);
        }
        for domain in &status.domains {
            add("o2dlm.malformed", domain.counters.malformed);
            add("o2dlm.wrong_sender", domain.counters.wrong_sender);
            add("o2dlm.contradictions", domain.counters.contradictions);
            add("o2dlm.bad_replies", domain.counters.bad_replies);
            add("o2dlm.recovered", domain.counters.recovered);
            add("o2dlm.migrated", domain.counters.migrated);
        }
        counts
    }
}

/// A connection that both sides have agreed to use is `valid` to o2net.
fn link_word(state: &str) -> String {
    if state == "valid" { "connected" } else { state }.to_owned()
}

/// The longest name of a resource.
const NAME_LEN_MAX: usize = 32;

/// Groups listed of one node: an item must fit a frame.
const GROUPS_NAMED_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_stack_does_not_have_is_refused_in_a_sentence() {
        let (none, long) = (LockFlags::empty(), [b'n'; 33]);
        let cases = [
            (&b"n"[..], Mode::EX, LockFlags::NOQUEUE, Ok(())),
            (b"n", Mode::PW, none, Err("cannot be locked in PW: the stack o2cb has NL, PR")),
            (b"n", Mode::CR, LockFlags::CONVERT, Err("cannot be locked in CR")),
            (&long, Mode::EX, none, Err("has 33 bytes: names on the stack o2cb have at most 32")),
            (b"$RECOVERY", Mode::EX, none, Err("for its own use")),
            (b"n", Mode::EX, LockFlags::PERSISTENT, Err("cannot outlive its process")),
        ];
        for (name, mode, flags, expected) in cases {
            let checked = check(ResourceName::new(name).expect("a name"), mode, flags);
            match (checked, expected) {
                (Ok(()), Ok(())) => {}
                (Err((_, text)), Err(words)) => assert!(text.contains(words), "{text}"),
                (checked, _) => panic!("{checked:?} of {name:?}"),
            }
        }
    }
}
