//! The `o2cb` plugin: lock domains served to the glue (`fs/ocfs2/stack_o2cb.c`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use dlm::{Errno, LockFlags, Mode, NodeNumber, Queue, ResourceName};
use stackglue::{
    Abandoned, ConnectRefused, ConnectRequest, Lksb, LockView, Plugin, ProtocolVersion,
    ResourceView, StackConnection,
};

use crate::driver::{Group, O2cbNode, Pending, Shared, mode_of};
use crate::o2dlm::message::{
    self, DOMAIN_NAME_MAX, DomainName, LkmFlags, LockMode, LockName, Status,
};
use crate::o2dlm::{Domain, DomainConfig, JoinError, LockKey, PeerAddress, ResourceSnapshot};
use crate::stack::DomainId;

/// How long a connect waits for every live node to be connected (`stack_o2cb.c: o2cb_cluster_check`).
const CLUSTER_CHECK: Duration = Duration::from_secs(59);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

/// The `o2cb` stack plugin, over a node that runs.
///
/// It has the modes NL, PR and EX and the flags NOQUEUE, CONVERT, VALBLK and CANCEL; names of up to 32
/// bytes that do not begin with `$`; groups of up to 63 bytes. A value block is always called valid, and
/// reads as zeros when its last writer was lost. It does not number its grants: fencing tokens are 0.
#[derive(Clone, Debug)]
pub struct O2cbPlugin {
    node: O2cbNode,
}

impl O2cbPlugin {
    /// The plugin of a node.
    pub fn new(node: O2cbNode) -> O2cbPlugin {
        O2cbPlugin { node }
    }

    /// Waits until this node heartbeats, undisturbed, and is connected to exactly the nodes that do.
    fn check_cluster(&self, group: &str) -> Result<(), ConnectRefused> {
        let shared = self.node.shared();
        let deadline = Instant::now() + CLUSTER_CHECK;
        loop {
            let (live, connected, calm) = shared.look(|inner, _| {
                let stack = &inner.stack;
                (stack.live_nodes(), stack.connected_nodes(), stack.heartbeat().is_calm())
            });
            if !live.contains(self.node.me()) {
                let reason = format!(
                    "group `{group}`: this node's heartbeat is not seen; start the heartbeat first"
                );
                return Err(refused(Errno::EINVAL, reason));
            }
            if live == connected && calm {
                return Ok(());
            }
            if Instant::now() >= deadline && !calm {
                let reason = format!(
                    "group `{group}`: the heartbeat disk keeps this node waiting; look at the disk"
                );
                return Err(refused(Errno::ENOTCONN, reason));
            }
            if Instant::now() >= deadline {
                let (unconnected, dead) = (live.minus(&connected), connected.minus(&live));
                let reason = format!(
                    "group `{group}`: for {} s, nodes {unconnected:?} heartbeat and are not \
                     connected, and nodes {dead:?} are connected and do not heartbeat; look at the \
                     network between them and this node",
                    CLUSTER_CHECK.as_secs()
                );
                return Err(refused(Errno::ENOTCONN, reason));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Plugin for O2cbPlugin {
    fn name(&self) -> &'static str {
        "o2cb"
    }

    fn connect(
        &self,
        request: ConnectRequest<'_>,
    ) -> Result<Box<dyn StackConnection>, ConnectRefused> {
        let group = request.group;
        let Some(name) = DomainName::new(group.as_bytes()) else {
            let reason =
                format!("group `{group}`: o2cb takes names of up to {DOMAIN_NAME_MAX} bytes");
            return Err(refused(Errno::ENAMETOOLONG, reason));
        };
        self.check_cluster(group)?;
        let shared = Arc::clone(self.node.shared());
        let maximum = request.protocol.max_version();
        let config = DomainConfig {
            me: self.node.me(),
            name,
            nodes: nodes_of(&shared),
            regions: regions_of(&shared),
            fs_version: (maximum.major, maximum.minor),
            live: shared.look(|inner, _| inner.stack.live_nodes()),
            ordinal: 0,
            seed: seed(),
        };
        let (protocol, recovery) = (request.protocol, request.recovery);
        let domain = shared.act(|inner, now| {
            let live = inner.stack.live_nodes();
            let ordinal = inner.domains.len() as u8;
            let mut domain = Domain::new(DomainConfig { live, ordinal, ..config });
            domain.recovery_waits_for_users();
            let id = inner.stack.add_domain(domain)?;
            inner.domains.insert(id, Group::new(protocol, recovery));
            inner.stack.with_domain(now, id, |domain| domain.join(now));
            Some(id)
        });
        let Some(id) = domain else {
            let reason = format!("group `{group}` is connected already: disconnect it first");
            return Err(refused(Errno::EEXIST, reason));
        };
        let joined = shared.wait_for(None, |inner| {
            let fenced = inner.fenced.clone().map(Err);
            let joined = inner.domains.get(&id).and_then(|group| group.joined);
            joined.map(|joined| joined.map_err(|error| error.to_string())).or(fenced)
        });
        match joined {
            Some(Ok((major, minor))) => Ok(Box::new(O2cbConnection {
                shared,
                domain: id,
                group: group.to_owned(),
                node: self.node.me().get().into(),
                version: ProtocolVersion { major, minor },
            })),
            failed => {
                let error = shared.act(|inner, _| {
                    inner.stack.remove_domain(id);
                    inner.domains.remove(&id).and_then(|group| group.joined?.err())
                });
                let why = match failed {
                    Some(Err(why)) => why,
                    _ => "the node is gone".to_owned(),
                };
                let errno = error.map_or(Errno::ENOTCONN, join_errno);
                Err(refused(errno, format!("group `{group}`: {why}")))
            }
        }
    }
}

/// One domain that this node is a member of.
struct O2cbConnection {
    shared: Arc<Shared>,
    domain: DomainId,
    group: String,
    node: u32,
    version: ProtocolVersion,
}

impl StackConnection for O2cbConnection {
    fn version(&self) -> ProtocolVersion {
        self.version
    }

    fn this_node(&self) -> Result<NodeNumber, Errno> {
        Ok(NodeNumber(self.node))
    }

    fn lock(
        &self,
        mode: Mode,
        lksb: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno> {
        let mode = o2dlm_mode(mode)?;
        let wire = o2dlm_flags(flags)?;
        if flags.contains(LockFlags::CONVERT) {
            return self.convert(lksb, mode, wire);
        }
        let name = LockName::new(name.as_bytes()).ok_or(Errno::EINVAL)?;
        if !lksb.claim() {
            return Err(Errno::EBUSY);
        }
        let asked = self.shared.act(|inner, now| {
            let group = inner.domains.get_mut(&self.domain).ok_or(Errno::EINVAL)?;
            let key = inner
                .stack
                .with_domain_quietly(self.domain, |domain| domain.lock(now, name, mode, wire))
                .ok_or(Errno::EINVAL)?
                .map_err(errno_of)?;
            group.add(key, lksb);
            inner.stack.after_domain(now, self.domain);
            Ok(())
        });
        if asked.is_err() {
            lksb.set_lock_id(0);
        }
        asked
    }

    fn unlock(&self, lksb: &Lksb, flags: LockFlags) -> Result<(), Errno> {
        if flags.contains(LockFlags::CANCEL) {
            return self.on_lock(lksb, |group, key, domain, now| {
                let (_, pending, cancelling) = group.state(key).ok_or(Errno::ENOENT)?;
                if cancelling {
                    return Err(Errno::EBUSY);
                }
                // Nothing waits: the grant was the outcome, and is told already.
                if pending != Pending::Lock {
                    return Ok(());
                }
                domain.cancel(now, key).map_err(errno_of)?;
                group.set_cancelling(key, true);
                Ok(())
            });
        }
        self.on_lock(lksb, |group, key, domain, now| {
            let (_, pending, _) = group.state(key).ok_or(Errno::ENOENT)?;
            if pending != Pending::Nothing {
                return Err(Errno::EBUSY);
            }
            let value = flags.contains(LockFlags::VALBLK).then(|| lksb.lvb());
            domain.unlock(now, key, value.as_ref()).map_err(errno_of)?;
            group.set_pending(key, Pending::Unlock);
            Ok(())
        })
    }

    fn abandon(&self, lksb: &Lksb) -> Result<Abandoned, Errno> {
        self.on_lock(lksb, |group, key, domain, now| {
            let (_, pending, cancelling) = group.state(key).ok_or(Errno::ENOENT)?;
            group.abandon(key);
            match pending {
                Pending::Nothing => {
                    group.set_pending(key, Pending::Unlock);
                    // A value that its writer did not finish is lost, as a dead node's is.
                    domain.unlock(now, key, Some(&[0; 64])).map_err(errno_of)?;
                }
                Pending::Lock if !cancelling => {
                    group.set_cancelling(key, true);
                    domain.cancel(now, key).map_err(errno_of)?;
                }
                Pending::Lock | Pending::Unlock => {}
            }
            Ok(Abandoned::Dropped)
        })
    }

    fn visit_resources(&self, visitor: &mut dyn FnMut(ResourceView<'_>)) {
        self.shared.look(|inner, _| {
            if let (Some(domain), Some(group)) =
                (inner.stack.domain(self.domain), inner.domains.get(&self.domain))
            {
                for resource in domain.resources() {
                    self.show(group, &resource, visitor);
                }
            }
        });
    }

    fn visit_resource(&self, name: ResourceName<'_>, visitor: &mut dyn FnMut(ResourceView<'_>)) {
        let Some(name) = LockName::new(name.as_bytes()) else { return };
        self.shared.look(|inner, _| {
            if let (Some(domain), Some(group)) =
                (inner.stack.domain(self.domain), inner.domains.get(&self.domain))
                && let Some(resource) = domain.resource(&name)
            {
                self.show(group, &resource, visitor);
            }
        });
    }

    fn dump_lksb(&self, lksb: &Lksb) -> String {
        let group = &self.group;
        self.shared.look(|inner, _| {
            let found = inner.domains.get(&self.domain).and_then(|group| {
                group.locks().find(|(_, other)| other.is(lksb)).map(|(at, _)| at)
            });
            let Some(at) = found else {
                return format!("{lksb:?} has no lock in group `{group}`");
            };
            let snapshot = inner.stack.domain(self.domain).and_then(|domain| {
                domain
                    .resources()
                    .flat_map(|resource| resource.locks)
                    .find(|lock| lock.key.index() == at)
            });
            format!("{lksb:?} {snapshot:?}")
        })
    }

    fn disconnect(&self) -> Result<(), Errno> {
        // Locks that are still there are nobody's from now on.
        let left: Vec<Lksb> = self.shared.look(|inner, _| {
            let group = inner.domains.get(&self.domain);
            group.into_iter().flat_map(Group::locks).map(|(_, lksb)| lksb.clone()).collect()
        });
        for lksb in left {
            // Unknown means that it has just gone.
            let _ = self.abandon(&lksb);
            lksb.silence();
            lksb.wait_until_idle();
        }
        self.shared.wait_for(None, |inner| {
            let gone = inner.domains.get(&self.domain).is_none_or(|group| !group.has_locks());
            (gone || inner.fenced.is_some()).then_some(())
        });
        self.shared.act(|inner, now| {
            inner.stack.with_domain(now, self.domain, |domain| domain.leave(now));
        });
        self.shared.wait_for(None, |inner| {
            let left = inner.domains.get(&self.domain).is_none_or(|group| group.left);
            (left || inner.fenced.is_some()).then_some(())
        });
        self.shared.act(|inner, _| {
            inner.stack.remove_domain(self.domain);
            inner.domains.remove(&self.domain);
        });
        Ok(())
    }
}

impl O2cbConnection {
    fn convert(&self, lksb: &Lksb, mode: LockMode, flags: LkmFlags) -> Result<(), Errno> {
        self.on_lock(lksb, |group, key, domain, now| {
            let (_, pending, cancelling) = group.state(key).ok_or(Errno::ENOENT)?;
            if pending != Pending::Nothing || cancelling {
                return Err(Errno::EBUSY);
            }
            group.set_pending(key, Pending::Lock);
            let asked = domain.convert(now, key, mode, flags, &lksb.lvb()).map_err(errno_of);
            if asked.is_err() {
                group.set_pending(key, Pending::Nothing);
            }
            asked
        })
    }

    /// Does something to the lock of a status block.
    fn on_lock<T>(
        &self,
        lksb: &Lksb,
        action: impl FnOnce(&mut Group, LockKey, &mut Domain, crate::Now) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.shared.act(|inner, now| {
            let group = inner.domains.get_mut(&self.domain).ok_or(Errno::EINVAL)?;
            let key = group.key_of(lksb).ok_or(Errno::ENOENT)?;
            let result = inner
                .stack
                .with_domain_quietly(self.domain, |domain| action(group, key, domain, now))
                .ok_or(Errno::EINVAL)?;
            inner.stack.after_domain(now, self.domain);
            result
        })
    }

    fn show(
        &self,
        group: &Group,
        resource: &ResourceSnapshot,
        visitor: &mut dyn FnMut(ResourceView<'_>),
    ) {
        let Ok(name) = ResourceName::new(resource.name.as_bytes()) else { return };
        if resource.name.is_recovery() {
            return;
        }
        let id = |key: LockKey| key.index() as u32 + 1;
        let holders: Vec<(u32, LockMode)> = resource
            .locks
            .iter()
            .filter(|lock| lock.queue != Some(message::Queue::Blocked))
            .map(|lock| (id(lock.key), lock.mode))
            .collect();
        let locks: Vec<LockView<'_>> = resource
            .locks
            .iter()
            .map(|lock| {
                let waits = lock.queue == Some(message::Queue::Blocked);
                let requested = lock.convert.or(waits.then_some(lock.mode));
                let blockers = holders.iter().filter(|(other, mode)| {
                    *other != id(lock.key)
                        && requested.is_some_and(|wanted| !wanted.compatible(*mode))
                });
                LockView {
                    id: id(lock.key),
                    node: NodeNumber(lock.node.get().into()),
                    lksb: (u32::from(lock.node.get()) == self.node)
                        .then(|| group.lksb(lock.key))
                        .flatten(),
                    queue: match lock.queue {
                        Some(message::Queue::Granted) => Queue::Granted,
                        Some(message::Queue::Converting) => Queue::Converting,
                        Some(message::Queue::Blocked) | None => Queue::Waiting,
                    },
                    granted: (!waits).then(|| mode_of(lock.mode)),
                    requested: requested.map(mode_of),
                    orphan: false,
                    waits_for: blockers.map(|(other, _)| *other).collect(),
                }
            })
            .collect();
        visitor(ResourceView {
            name,
            master: NodeNumber(resource.owner.map_or(255, |owner| owner.get().into())),
            locks: &locks,
            lvb: (resource.lvb != [0; 64]).then_some(&resource.lvb[..]),
            lvb_valid: true,
        });
    }
}

fn refused(errno: Errno, reason: String) -> ConnectRefused {
    ConnectRefused { errno, reason }
}

fn join_errno(error: JoinError) -> Errno {
    match error {
        JoinError::NotLive => Errno::EINVAL,
        JoinError::Protocol { .. } => Errno::EPROTO,
        JoinError::Refused { errno, .. } => Errno::from_number(errno).unwrap_or(Errno::EINVAL),
        JoinError::Unreachable { .. } => Errno::ENOTCONN,
        JoinError::TimedOut { .. } => Errno::ERESTART,
    }
}

fn errno_of(status: Status) -> Errno {
    status.errno().err().unwrap_or(Errno::EINVAL)
}

/// A mode of the glue in the words of o2dlm. The kernel crashes on those that o2dlm does not have.
///
/// # Errors
///
/// `EINVAL`: o2dlm does not have it.
pub fn o2dlm_mode(mode: Mode) -> Result<LockMode, Errno> {
    match mode {
        Mode::NL => Ok(LockMode::NL),
        Mode::PR => Ok(LockMode::PR),
        Mode::EX => Ok(LockMode::EX),
        _ => Err(Errno::EINVAL),
    }
}

/// Flags of the glue in the words of o2dlm (`stack_o2cb.c: flags_to_o2dlm`). Those that mean nothing to
/// it are dropped.
///
/// # Errors
///
/// `EINVAL`: `ORPHAN`, `TIMEOUT`, and `CANCEL`, which is none of a lock.
pub fn o2dlm_flags(flags: LockFlags) -> Result<LkmFlags, Errno> {
    if flags.intersects(LockFlags::ORPHAN | LockFlags::TIMEOUT | LockFlags::CANCEL) {
        return Err(Errno::EINVAL);
    }
    let mut wire = LkmFlags::empty();
    wire.set(LkmFlags::NOQUEUE, flags.contains(LockFlags::NOQUEUE));
    wire.set(LkmFlags::CONVERT, flags.contains(LockFlags::CONVERT));
    wire.set(LkmFlags::VALBLK, flags.contains(LockFlags::VALBLK));
    wire.set(LkmFlags::INVVALBLK, flags.contains(LockFlags::IVVALBLK));
    Ok(wire)
}

fn nodes_of(shared: &Shared) -> Vec<PeerAddress> {
    let nodes = shared.options.cluster.nodes.iter();
    nodes
        .map(|node| PeerAddress { node: node.number, address: node.address, port: node.port })
        .collect()
}

/// The names of the regions as they are compared at domain join: only in global mode.
fn regions_of(shared: &Shared) -> Option<Vec<[u8; 32]>> {
    let global = shared.options.is_global();
    global.then(|| {
        let regions = shared.options.regions.iter();
        regions
            .map(|region| {
                let mut name = [0; 32];
                for (to, from) in name.iter_mut().zip(region.name.bytes()) {
                    *to = from;
                }
                name
            })
            .collect()
    })
}

/// For pauses that two nodes should not make in step.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviour 310.
    #[test]
    fn flags_are_passed_on_in_the_words_of_o2dlm_or_dropped() {
        let passed = LockFlags::NOQUEUE | LockFlags::CONVERT | LockFlags::VALBLK;
        assert_eq!(o2dlm_flags(passed).map(|flags| flags.bits()), Ok(0x700));
        let dropped = LockFlags::QUECVT | LockFlags::PERSISTENT | LockFlags::HEADQUE;
        assert_eq!(o2dlm_flags(dropped), Ok(LkmFlags::empty()));
        for refused in [LockFlags::ORPHAN, LockFlags::TIMEOUT] {
            assert_eq!(o2dlm_flags(refused), Err(Errno::EINVAL));
        }
    }

    // Behaviour 236, at the glue: the kernel crashes on these.
    #[test]
    fn modes_that_o2dlm_does_not_have_are_einval() {
        for mode in Mode::ALL {
            let has = [Mode::NL, Mode::PR, Mode::EX].contains(&mode);
            assert_eq!(
                o2dlm_mode(mode).map(mode_of),
                if has { Ok(mode) } else { Err(Errno::EINVAL) }
            );
        }
    }
}
