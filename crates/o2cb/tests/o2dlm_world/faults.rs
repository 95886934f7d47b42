//! Nodes die, are missed, and come back.

use stackglue_o2cb::o2dlm::message::{LockMode, LockName, MessageType};
use stackglue_o2cb::o2dlm::{CallError, CallId, DomainState};
use stackglue_o2cb::{NodeId, NodeMap};

use crate::world::{Step, World};

/// What a node held when it died.
pub(crate) struct Grave {
    pub(crate) dead: NodeId,
    pub(crate) held: Vec<(LockName, LockMode)>,
    /// Members of then whose users have not been told of the death.
    pub(crate) untold: NodeMap,
}

impl World {
    pub(crate) fn kill_any(&mut self) {
        let doomed: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.alive && node.domain.state() != DomainState::Left)
            .map(|(id, _)| *id)
            .collect();
        if self.deaths_left > 0 && doomed.len() >= 2 {
            let dead = doomed[self.rng.below(doomed.len() as u64) as usize];
            self.kill(dead);
        }
    }

    /// Kills one end of a link at a frame of a kind that is rare, before or after the frame has its
    /// effect. Whether the frame is lost.
    pub(crate) fn ambush(&mut self, from: NodeId, to: NodeId, message: MessageType) -> bool {
        let is_rare = !matches!(
            message,
            MessageType::CreateLock
                | MessageType::ConvertLock
                | MessageType::UnlockLock
                | MessageType::ProxyAst
        );
        let alive = self.nodes.values().filter(|node| node.alive).count();
        let strikes = is_rare
            && self.deaths_left > 0
            && alive > 2
            && self.rng.below(1000) < self.plan.ambushes;
        if !strikes {
            return false;
        }
        let dead = if self.rng.chance(50) { from } else { to };
        if !self.nodes[&dead].alive {
            return false;
        }
        self.kill(dead);
        dead == to
    }

    fn kill(&mut self, dead: NodeId) {
        self.deaths_left -= 1;
        self.note(|| format!("n{dead} is killed"));
        let victim = self.nodes.get_mut(&dead).expect("it is there");
        victim.alive = false;
        let locks = std::mem::take(&mut victim.client.locks);
        for held in locks.values() {
            if held.mode == Some(LockMode::EX) && held.asked.is_none() {
                // Nobody knows what it wrote.
                self.registers.entry(held.name).or_default().lost();
            }
        }
        let held = locks.values().map(|held| (held.name, held.relies_on())).collect();
        for grave in &mut self.graves {
            grave.untold.remove(dead);
        }
        let members = self.nodes.iter().filter(|(_, node)| {
            node.alive
                && node.domain.state() != DomainState::New
                && node.domain.members().contains(dead)
        });
        let untold = members.map(|(id, _)| *id).collect();
        self.graves.push(Grave { dead, held, untold });
        // A killed process' connections are closed at once, a dead machine's are not.
        let resets = self.rng.chance(50);
        let observers: Vec<(NodeId, u64)> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.alive)
            .map(|(id, node)| (*id, node.life))
            .collect();
        let (from, to) = self.plan.detection;
        for (observer, life) in observers {
            if resets {
                let wait = self.rng.below(10);
                self.after(wait, Step::Reset { node: observer, life, dead });
            }
            let wait = from + self.rng.below(to - from);
            self.after(wait, Step::Detect { observer, life, dead });
        }
        if self.rng.chance(self.plan.rejoin) {
            let wait = self.plan.rejoin_after + self.rng.below(2000);
            self.start_anew_after(wait, dead);
        }
    }

    /// A node's connection to a dead one is closed.
    pub(crate) fn reset(&mut self, id: NodeId, dead: NodeId) {
        let back = self.nodes[&dead].alive;
        let node = self.nodes.get_mut(&id).expect("it is there");
        if back || !node.sees.contains(dead) {
            return;
        }
        node.cut.insert(dead);
        self.lose_calls(id, dead);
        self.drain(id);
    }

    fn lose_calls(&mut self, id: NodeId, dead: NodeId) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("it is there");
        let lost: Vec<(NodeId, CallId)> =
            node.out.iter().copied().filter(|(to, _)| *to == dead).collect();
        for (to, call) in lost {
            node.out.remove(&(to, call));
            node.domain.completed(now, call, Err(CallError::HostDown));
        }
    }

    pub(crate) fn detect(&mut self, observer: NodeId, dead: NodeId) {
        let now = self.now;
        if self.nodes[&dead].alive {
            return;
        }
        let node = self.nodes.get_mut(&observer).expect("it is there");
        if !node.sees.remove(dead) {
            return;
        }
        node.cut.remove(dead);
        self.note(|| format!("n{observer} sees that n{dead} is dead"));
        self.lose_calls(observer, dead);
        let node = self.nodes.get_mut(&observer).expect("it is there");
        node.domain.node_down(now, dead);
        self.frames.died(observer, dead);
        self.drain(observer);
    }

    /// A node that died or left comes back, once everybody has noticed.
    pub(crate) fn start_anew(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        if node.alive {
            if node.domain.state() != DomainState::Left {
                return;
            }
            // It left and heartbeats all the time: only its domain is made anew.
            self.note(|| format!("n{id} is used anew"));
        } else {
            let seen = self
                .nodes
                .iter()
                .any(|(other, node)| *other != id && node.alive && node.sees.contains(id));
            if seen {
                self.start_anew_after(50, id);
                return;
            }
            self.note(|| format!("n{id} starts anew"));
        }
        self.start(id);
        let life = self.nodes[&id].life;
        self.after(5, Step::Join { node: id, life });
    }
}
