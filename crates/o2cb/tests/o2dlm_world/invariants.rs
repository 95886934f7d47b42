//! What must hold of the nodes together: always, when nothing moves, and when nothing is left.

use std::collections::BTreeMap;

use stackglue_o2cb::NodeId;
use stackglue_o2cb::o2dlm::message::{LockMode, LockName, Queue};
use stackglue_o2cb::o2dlm::{DomainState, LockKey, LockSnapshot, ResourceSnapshot};

use crate::client::Held;
use crate::world::World;

impl World {
    /// Invariant I1: what users rely on excludes what other users rely on, judged at the holders.
    pub(crate) fn check_exclusion(&self) {
        let mut holders: BTreeMap<LockName, Vec<(NodeId, LockKey, LockMode)>> = BTreeMap::new();
        for (id, node) in &self.nodes {
            for (key, held) in &node.client.locks {
                holders.entry(held.name).or_default().push((*id, *key, held.relies_on()));
            }
        }
        for (name, held) in holders {
            for (at, one) in held.iter().enumerate() {
                for other in &held[at + 1..] {
                    if !one.2.compatible(other.2) {
                        self.fail(&format!("{name} is held by {one:?} and by {other:?}"));
                    }
                }
            }
        }
    }

    /// Invariant I9: what a dead node held is granted to nobody before the users of every member have
    /// been told of its death.
    pub(crate) fn check_dead_holders(&self, id: NodeId, name: &LockName, mode: LockMode) {
        for grave in &self.graves {
            // Who has begun to tell that it leaves has no locks, and is told nothing more.
            let untold = grave.untold.iter().find(|id| {
                let state = self.nodes[id].domain.state();
                matches!(state, DomainState::Joined | DomainState::InShutdown)
            });
            let Some(untold) = untold else { continue };
            if grave.held.iter().any(|(held, kept)| held == name && !kept.compatible(mode)) {
                self.fail(&format!(
                    "n{id} is granted what the dead n{} held, and n{untold} does not know that it died",
                    grave.dead
                ));
            }
        }
    }

    /// Nothing is on its way, and nothing waits for the time to pass.
    pub(crate) fn check_quiet(&self) {
        self.check_membership();
        self.check_owners();
        self.check_tables();
        self.check_references();
        self.check_notices();
        self.check_leftovers();
        self.check_promises();
    }

    fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes
            .iter()
            .filter(|(_, node)| node.alive && node.domain.state() == DomainState::Joined)
            .map(|(id, _)| *id)
    }

    fn resources(&self, id: NodeId) -> impl Iterator<Item = ResourceSnapshot> + '_ {
        self.nodes[&id].domain.resources().filter(|resource| !resource.name.is_recovery())
    }

    /// Invariant I17: recovery ends; everybody is in or out, and all agree who is in.
    fn check_membership(&self) {
        let members = self.members().collect();
        for (id, node) in self.nodes.iter().filter(|(_, node)| node.alive) {
            let state = node.domain.state();
            if !matches!(state, DomainState::Joined | DomainState::Left) {
                self.fail(&format!("node {id} stays {state:?}"));
            }
            if state == DomainState::Joined && node.domain.members() != members {
                self.fail(&format!("node {id} is wrong about the members, {members:?}"));
            }
            if node.domain.is_recovering() {
                self.fail(&format!("node {id} never finishes a recovery"));
            }
        }
    }

    /// Invariant I5: a name has one master, which knows that it is, and all agree.
    fn check_owners(&self) {
        for id in self.members() {
            for resource in self.resources(id) {
                let name = resource.name;
                let owner = resource.owner.filter(|owner| self.members().any(|id| id == *owner));
                let Some(owner) = owner else {
                    self.fail(&format!("node {id} knows no living owner of {name}"));
                };
                let claims = self.nodes[&owner].domain.resource(&name);
                if claims.is_none_or(|claims| claims.owner != Some(owner)) {
                    self.fail(&format!("node {id} takes {owner} for the owner of {name}"));
                }
                if !resource.busy.is_empty() {
                    self.fail(&format!("{name} is {} on node {id} for ever", resource.busy));
                }
            }
        }
    }

    /// Invariant I15: a master's table is what the holders know, and what their users know.
    fn check_tables(&self) {
        for id in self.members() {
            let mut shadows = 0;
            for resource in self.resources(id) {
                for lock in resource.locks.iter().filter(|lock| lock.node == id) {
                    shadows += 1;
                    self.check_user(id, &resource, lock);
                    self.check_master_has(&resource, lock);
                }
                if resource.owner != Some(id) {
                    if resource.locks.iter().any(|lock| lock.node != id) {
                        self.fail(&format!("node {id} keeps others' locks on {}", resource.name));
                    }
                    continue;
                }
                for lock in resource.locks.iter().filter(|lock| lock.node != id) {
                    let theirs = self.nodes.get(&lock.node).filter(|node| node.alive);
                    let known = theirs
                        .and_then(|node| node.domain.resource(&resource.name))
                        .is_some_and(|theirs| same_lock(&theirs, lock).is_some());
                    if !known {
                        self.fail(&format!("{lock:?} on {} is nobody's", resource.name));
                    }
                }
            }
            if shadows != self.nodes[&id].client.locks.len() {
                self.fail(&format!("node {id} has {shadows} locks on queues, its users others"));
            }
        }
    }

    fn check_user(&self, id: NodeId, resource: &ResourceSnapshot, lock: &LockSnapshot) {
        let Some(held) = self.nodes[&id].client.locks.get(&lock.key) else {
            self.fail(&format!("no user of node {id} knows {lock:?} on {}", resource.name));
        };
        // Invariant I3: what is on no waiting queue has completed.
        let waits = lock.queue != Some(Queue::Granted);
        let mode = (lock.queue != Some(Queue::Blocked)).then_some(lock.mode);
        if held.mode != mode || held.asked.is_some() != waits || held.cancelling {
            self.fail(&format!("{lock:?} on {} is {held:?} to its user", resource.name));
        }
    }

    fn check_master_has(&self, resource: &ResourceSnapshot, lock: &LockSnapshot) {
        let Some(owner) = resource.owner else { return };
        let table = self.nodes[&owner].domain.resource(&resource.name);
        let table = table.unwrap_or_else(|| self.fail("an owner without the resource"));
        let same = same_lock(&table, lock).is_some_and(|other| {
            other.queue == lock.queue && other.mode == lock.mode && other.convert == lock.convert
        });
        if !same {
            self.fail(&format!("the master of {} does not have {lock:?} so", resource.name));
        }
    }

    /// Invariant I13: a master counts exactly the nodes that know the resource.
    fn check_references(&self) {
        for id in self.members() {
            for resource in self.resources(id).filter(|found| found.owner == Some(id)) {
                let name = resource.name;
                for other in self.members().filter(|other| *other != id) {
                    let knows = self.nodes[&other].domain.resource(&name).is_some();
                    if knows != resource.refmap.contains(other) {
                        self.fail(&format!("node {id}: {other} knows {name}: {knows}"));
                    }
                }
                if resource.refmap.iter().any(|other| !self.members().any(|id| id == other)) {
                    self.fail(&format!("node {id} counts a node that is gone for {name}"));
                }
            }
        }
    }

    /// Invariants I4 and I16: whoever waits at the head of a queue is kept waiting by somebody, and
    /// each who keeps it waiting was told so.
    fn check_notices(&self) {
        for id in self.members() {
            for resource in self.resources(id).filter(|found| found.owner == Some(id)) {
                let head = |queue| resource.locks.iter().find(|lock| lock.queue == Some(queue));
                let converting = head(Queue::Converting);
                let blocked = head(Queue::Blocked);
                let mut in_the_way = 0;
                for (waits, wanted) in [
                    (converting, converting.and_then(|lock| lock.convert)),
                    (blocked, blocked.map(|lock| lock.mode)),
                ] {
                    let (Some(waits), Some(wanted)) = (waits, wanted) else { continue };
                    for lock in resource.locks.iter().filter(|lock| {
                        lock.queue != Some(Queue::Blocked)
                            && (lock.cookie, lock.node) != (waits.cookie, waits.node)
                            && !lock.mode.compatible(wanted)
                    }) {
                        in_the_way += 1;
                        let held = self.held(&resource.name, lock);
                        if held.is_none_or(|held| held.blocks < Some(wanted)) {
                            self.fail(&format!("{lock:?} on {} has no notice", resource.name));
                        }
                    }
                    if in_the_way == 0 {
                        self.fail(&format!("{waits:?} on {} waits for nobody", resource.name));
                    }
                }
            }
        }
    }

    fn held(&self, name: &LockName, lock: &LockSnapshot) -> Option<&Held> {
        let node = self.nodes.get(&lock.node)?;
        let theirs = node.domain.resource(name)?;
        let own = same_lock(&theirs, lock)?;
        node.client.locks.get(&own.key)
    }

    /// No entry of a search outlives the searches: it would hold up whoever looks for the name next.
    fn check_leftovers(&self) {
        for id in self.members() {
            let entry = self.nodes[&id].domain.mastery_entries().find(|name| !name.is_recovery());
            if let Some(name) = entry {
                self.fail(&format!("node {id} keeps a mastery entry of {name}"));
            }
        }
    }

    /// Invariants I3 and I20: every call has completed, and nothing is kept that nobody uses.
    pub(crate) fn check_empty(&self) {
        for (id, node) in self.nodes.iter().filter(|(_, node)| node.alive) {
            if !node.client.locks.is_empty() {
                self.fail(&format!("node {id} waits for ever"));
            }
            if let Some(resource) = self.resources(*id).next() {
                self.fail(&format!("node {id} never forgets {resource:?}"));
            }
        }
    }
}

fn same_lock<'a>(table: &'a ResourceSnapshot, lock: &LockSnapshot) -> Option<&'a LockSnapshot> {
    table.locks.iter().find(|other| other.cookie == lock.cookie && other.node == lock.node)
}
