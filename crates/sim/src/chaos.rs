//! What the faults do.

use std::time::Duration;

use crate::fault::Fault;
use crate::node::Node;
use crate::world::{Event, Phase, World};

impl World {
    pub(crate) fn strike(&mut self, at: usize) {
        if self.phase != Phase::Safety || self.plan.is_without(at) {
            return;
        }
        let fault = self.plan.faults[at].fault;
        self.note(|| format!("## {at}: {fault:?}"));
        self.coverage.count(fault.name());
        self.remember(fault);
        let lasts = self.begin(fault, at);
        if let Some(lasts) = lasts {
            self.after(lasts, Event::Over(at));
        }
    }

    /// What may be the reason for a fence later.
    fn remember(&mut self, fault: Fault) {
        let all = (1_u64 << self.nodes.len()) - 1;
        match fault {
            Fault::Cut { from: one, to: other, lasts } | Fault::Part { one, other, lasts } => {
                self.disturb(1 << one | 1 << other, lasts);
            }
            Fault::SlowLink { from, to, lasts, .. } => self.disturb(1 << from | 1 << to, lasts),
            Fault::Split { lasts, .. } => self.disturb(all, lasts),
            // Whoever does not answer is cut off for all, and keeps negotiations from their end.
            Fault::Pause { lasts, .. } | Fault::Slow { lasts, .. } => self.disturb(all, lasts),
            Fault::Kill { back, .. }
            | Fault::PowerOff { back, .. }
            | Fault::PowerOffMany { back, .. }
            | Fault::Stop { back, .. }
            | Fault::Ambush { back, .. } => self.disturb(all, back),
            Fault::SlowDisk { node, lasts, .. }
            | Fault::StuckDisk { node, lasts }
            | Fault::StuckRegion { node, lasts, .. }
            | Fault::DiskErrors { node, lasts }
            | Fault::TornWrites { node, lasts }
            | Fault::HalfWrites { node, lasts } => self.disturb_one(node, lasts),
            // All wait for it together; unless it strikes while a node does not see all others.
            Fault::StoragePause { lasts } => {
                let others = self.disturbed.iter().any(|(_, _, until)| *until >= self.now);
                let starting = self.nodes.iter().any(|node| node.up.is_none());
                // With the smallest dead threshold there is no time in which all could agree to wait.
                let hasty = self.plan.timeouts.dead_threshold < 4;
                if others || starting || hasty || self.now < Duration::from_secs(20) {
                    self.disturb(all, lasts);
                }
            }
            Fault::Hostile(what) => {
                if let Some(lasts) = what.disturbs() {
                    self.disturb(all, lasts);
                }
            }
            Fault::ClockStep { .. }
            | Fault::Leave { .. }
            | Fault::UserDies { .. }
            | Fault::HandlersHang { .. }
            | Fault::Stranger { .. } => {}
        }
    }

    /// Begins a fault; how long it lasts, if it does.
    fn begin(&mut self, fault: Fault, at: usize) -> Option<Duration> {
        match fault {
            Fault::Cut { from, to, .. } if self.plan.resets => {
                self.reset_idle(from, to);
                None
            }
            Fault::Cut { from, to, lasts } => {
                self.network.cut(from, to);
                Some(lasts)
            }
            Fault::Part { one, other, lasts } => {
                self.network.cut(one, other);
                self.network.cut(other, one);
                Some(lasts)
            }
            Fault::Split { side, lasts } => {
                for (from, to) in self.across(side) {
                    self.network.cut(from, to);
                }
                Some(lasts)
            }
            Fault::SlowLink { from, to, by, lasts } => {
                self.network.slow_down(from, to, by);
                Some(lasts)
            }
            Fault::Pause { node, lasts } => {
                self.nodes[node].pauses += 1;
                Some(lasts)
            }
            Fault::Slow { node, by, lasts } => {
                self.nodes[node].slow += by;
                Some(lasts)
            }
            Fault::SlowDisk { node, by, lasts } => {
                self.storage.paths[node].slower += by;
                Some(lasts)
            }
            Fault::StuckDisk { node, lasts } => {
                self.storage.paths[node].stuck += 1;
                Some(lasts)
            }
            Fault::StuckRegion { node, region, lasts } => {
                self.storage.paths[node].stuck_regions.push(region);
                Some(lasts)
            }
            Fault::StoragePause { lasts } => {
                self.storage.pauses += 1;
                Some(lasts)
            }
            Fault::DiskErrors { node, lasts } => {
                self.storage.paths[node].errors += 1;
                Some(lasts)
            }
            Fault::TornWrites { node, lasts } => {
                self.storage.paths[node].torn += 1;
                Some(lasts)
            }
            Fault::HalfWrites { node, lasts } => {
                self.storage.paths[node].halves += 1;
                Some(lasts)
            }
            Fault::HandlersHang { node, lasts } => {
                self.nodes[node].handlers_hang += 1;
                Some(lasts)
            }
            Fault::Hostile(what) => self.begin_hostility(what, at),
            other => {
                self.blow(other, at);
                None
            }
        }
    }

    /// Faults that are over when they have struck.
    fn blow(&mut self, fault: Fault, at: usize) {
        match fault {
            Fault::Kill { node, back } => self.process_ends(node, back),
            Fault::PowerOff { node, back } => self.power_off(node, back),
            Fault::PowerOffMany { which, back } => {
                for node in (0..self.nodes.len()).filter(|node| which & (1 << node) != 0) {
                    let life = self.nodes[node].life;
                    let wait = self.millis((0, 1000));
                    self.after(wait, Event::PowerOff { node, life, back });
                }
            }
            Fault::Ambush { nth, .. } => self.ambushes.push((at, nth)),
            Fault::ClockStep { node, seconds } => {
                self.nodes[node].wall_offset += seconds;
                if let Some(up) = &mut self.nodes[node].up {
                    up.clock.wall_offset += seconds;
                }
            }
            Fault::Leave { node, domain, back } => {
                self.nodes[node].wanted[domain] = self.now + back;
            }
            Fault::Stop { node, back } => {
                let stops = &mut self.nodes[node].stops;
                *stops = Some(self.now);
                for wanted in &mut self.nodes[node].wanted {
                    *wanted = self.now + back;
                }
            }
            Fault::UserDies { node } => {
                self.user_dies(node);
                self.settle(node);
            }
            Fault::Stranger { to } => self.stranger(to),
            _ => {}
        }
    }

    /// Ends a connection on which nothing is under way, at both ends at once. What is said before they
    /// are connected again is lost.
    fn reset_idle(&mut self, one: usize, other: usize) {
        let busy = |node: &usize| self.nodes[*node].pauses > 0 || !self.nodes[*node].slow.is_zero();
        if let Some((connection, _)) = self.connection_of(one, other)
            && self.is_idle(connection)
            && ![one, other].iter().any(busy)
        {
            self.coverage.count("F7 idle connection reset");
            self.reset(connection);
        }
    }

    /// Somebody connects who is no node.
    fn stranger(&mut self, to: usize) {
        let local = self.local(to);
        let Some(up) = &mut self.nodes[to].up else { return };
        let address = std::net::Ipv4Addr::new(10, 9, 9, 9);
        if up.stack.accepted(local, address).is_ok() {
            self.fail("I21 strangers", "a connection from the address of no node is taken".into());
        }
        self.settle(to);
    }

    /// A fault that lasts is over.
    pub(crate) fn over(&mut self, at: usize) {
        let fault = self.plan.faults[at].fault;
        if self.phase != Phase::Safety {
            return;
        }
        self.note(|| format!("## {at} is over"));
        match fault {
            Fault::Cut { from, to, .. } => self.mend(from, to),
            Fault::Part { one, other, .. } => {
                self.mend(one, other);
                self.mend(other, one);
            }
            Fault::Split { side, .. } => {
                for (from, to) in self.across(side) {
                    self.mend(from, to);
                }
            }
            Fault::SlowLink { from, to, by, .. } => self.network.speed_up(from, to, by),
            Fault::Pause { node, .. } => {
                self.nodes[node].pauses = self.nodes[node].pauses.saturating_sub(1);
                self.resume(node);
            }
            Fault::Slow { node, by, .. } => {
                let slow = &mut self.nodes[node].slow;
                *slow = slow.saturating_sub(by);
            }
            Fault::SlowDisk { node, by, .. } => {
                let path = &mut self.storage.paths[node];
                path.slower = path.slower.saturating_sub(by);
            }
            Fault::StuckDisk { node, .. } => {
                let path = &mut self.storage.paths[node];
                path.stuck = path.stuck.saturating_sub(1);
                self.unpark(node);
            }
            Fault::StuckRegion { node, region, .. } => {
                let stuck = &mut self.storage.paths[node].stuck_regions;
                if let Some(at) = stuck.iter().position(|stuck| *stuck == region) {
                    stuck.remove(at);
                }
                self.unpark(node);
            }
            Fault::StoragePause { .. } => {
                self.storage.pauses = self.storage.pauses.saturating_sub(1);
                for node in 0..self.nodes.len() {
                    // Nobody could write, or see who does.
                    let whole = &mut self.storage.paths[node].whole;
                    *whole = whole.map(|_| self.now);
                    self.unpark(node);
                }
            }
            Fault::DiskErrors { node, .. } => {
                let path = &mut self.storage.paths[node];
                path.errors = path.errors.saturating_sub(1);
            }
            Fault::TornWrites { node, .. } => {
                let path = &mut self.storage.paths[node];
                path.torn = path.torn.saturating_sub(1);
            }
            Fault::HalfWrites { node, .. } => {
                let path = &mut self.storage.paths[node];
                path.halves = path.halves.saturating_sub(1);
            }
            Fault::HandlersHang { node, .. } => {
                let hang = &mut self.nodes[node].handlers_hang;
                *hang = hang.saturating_sub(1);
                self.tell_the_untold(node);
            }
            Fault::Hostile(what) => self.end_hostility(what),
            _ => {}
        }
    }

    /// The links between one side and the other, both ways.
    fn across(&self, side: u8) -> Vec<(usize, usize)> {
        let nodes = 0..self.nodes.len();
        let is_in = |node: usize| side & (1 << node) != 0;
        nodes
            .clone()
            .flat_map(|from| nodes.clone().map(move |to| (from, to)))
            .filter(|(from, to)| is_in(*from) != is_in(*to))
            .collect()
    }

    /// A paused node runs again: what happened meanwhile comes at once, its timers first or last.
    pub(crate) fn resume(&mut self, index: usize) {
        if self.nodes[index].pauses > 0 {
            return;
        }
        let mut backlog = std::mem::take(&mut self.nodes[index].backlog);
        let timers_first = self.rng.chance(50);
        backlog.sort_by_key(|(sequence, event)| {
            (timers_first && !matches!(event, Event::Timer { .. }), *sequence)
        });
        for (_, event) in backlog {
            self.at(self.now, event);
        }
    }

    fn tell_the_untold(&mut self, index: usize) {
        if self.nodes[index].handlers_hang > 0 {
            return;
        }
        for (domain, dead) in std::mem::take(&mut self.nodes[index].untold) {
            self.node_after(Duration::ZERO, index, crate::world::Happens::Told { domain, dead });
        }
    }

    /// A node's process ends, and its machine closes its connections.
    pub(crate) fn process_ends(&mut self, index: usize, back: Duration) {
        self.die(index, back, false);
    }

    /// A machine stops without a word.
    pub(crate) fn power_off(&mut self, index: usize, back: Duration) {
        self.die(index, back, true);
    }

    fn die(&mut self, index: usize, back: Duration, silently: bool) {
        if self.nodes[index].up.is_none() {
            return;
        }
        let me = self.nodes[index].id;
        self.note(|| format!("n{me} * {}", if silently { "is off" } else { "ends" }));
        self.coverage.count("node died");
        self.bury(index);
        self.has_stopped(index);
        let node: &mut Node = &mut self.nodes[index];
        node.up = None;
        node.backlog.clear();
        node.powered = !silently;
        node.stops = None;
        for domain in 0..self.plan.domains {
            self.buried_all_told(index, domain);
        }
        self.drop_sockets(index, silently);
        self.after(back, Event::Start { node: index });
    }

    /// Every fault is over.
    pub(crate) fn heal(&mut self) {
        self.note(|| "## everything is over".to_owned());
        self.phase = Phase::Liveness;
        self.ambushes.clear();
        self.heal_hostile();
        let count = self.nodes.len();
        for from in 0..count {
            for to in 0..count {
                self.network.heal(from, to);
                self.mend(from, to);
            }
        }
        self.storage.pauses = 0;
        for index in 0..count {
            let path = &mut self.storage.paths[index];
            (path.stuck, path.errors, path.torn, path.slower) = (0, 0, 0, Duration::ZERO);
            path.halves = 0;
            path.stuck_regions.clear();
            self.unpark(index);
            let node = &mut self.nodes[index];
            (node.pauses, node.handlers_hang, node.slow) = (0, 0, Duration::ZERO);
            for wanted in &mut node.wanted {
                *wanted = (*wanted).min(self.now);
            }
            self.resume(index);
            self.tell_the_untold(index);
            self.after(Duration::from_secs(1), Event::Start { node: index });
            self.heed_all(index);
        }
    }

    /// What holds at any time.
    pub(crate) fn look(&mut self) {
        self.note_agreed_time();
        self.check_counters();
        self.check_misfits();
        self.begin_waiting();
        if self.now.as_millis().is_multiple_of(500) {
            for domain in 0..self.plan.domains {
                self.check_notices(domain, false);
            }
            self.check_splits();
            self.check_blocks();
            self.check_agreed_time();
        }
    }
}
