//! How every node is, for a person who looks.

use crate::world::World;

impl World {
    /// A few lines for each node and domain.
    pub(crate) fn state(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let me = node.id;
            let Some(up) = &node.up else {
                lines.push(format!("n{me} does not run"));
                continue;
            };
            let (live, connected) = (up.stack.live_nodes(), up.stack.connected_nodes());
            let late = if self.is_past_deadline(at) { ", past its deadline" } else { "" };
            let pauses = node.pauses;
            lines.push(format!(
                "n{me} sees {live:?}, is connected to {connected:?}, paused {pauses}{late}"
            ));
            for id in &up.regions {
                let Some(region) = up.stack.heartbeat().region(*id) else { continue };
                let slots = up.stack.heartbeat().slots(*id).map(|slot| {
                    format!("n{} {:x}.{}", slot.node, slot.generation, slot.equal_samples)
                });
                let slots = slots.collect::<Vec<_>>().join(", ");
                lines.push(format!("   {}: {slots}; {:?}", region.name, region.counters));
            }
            for (domain, membership) in up.domains.iter().enumerate() {
                let Some(engine) = membership.id.and_then(|id| up.stack.domain(id)) else {
                    lines.push(format!("   d{domain}: out"));
                    continue;
                };
                lines.push(format!(
                    "   d{domain}: {:?}, members {:?}, recovering {}, {:?}",
                    engine.state(),
                    engine.members(),
                    engine.is_recovering(),
                    engine.counters()
                ));
                if engine.is_recovering() {
                    lines.push(format!("      {}", engine.recovery_state()));
                }
                for resource in engine.resources() {
                    lines.push(format!(
                        "      {} owner {:?} references {:?} {}",
                        resource.name,
                        resource.owner.map(o2cb::NodeId::get),
                        resource.refmap,
                        resource.busy
                    ));
                    for lock in &resource.locks {
                        lines.push(format!("         {lock:?}"));
                    }
                }
                for (key, held) in membership.client.locks.iter() {
                    lines.push(format!("      user: {key:?} {held:?}"));
                }
            }
        }
        lines
    }
}
