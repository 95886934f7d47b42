//! I8: no message of an earlier life of a node reaches a domain that has a later one as a member, or the
//! other way round.
//!
//! Source: `fs/ocfs2/cluster/tcp.c: o2net_process_message` trusts that a connection ends with the node it
//! was made with.

use std::collections::BTreeMap;

use crate::world::World;

/// With which of its lives a node is a member: by receiver, domain and member.
pub(crate) type Lives = BTreeMap<(usize, usize, usize), u64>;

impl World {
    /// A node has read all of these messages, each of which names its domain by key: of the life `life`
    /// of `from`.
    pub(crate) fn check_old_frames(&mut self, index: usize, from: usize, life: u64, keys: &[u32]) {
        let (mut wrong, mut all) = (None, 0);
        let Some(up) = &self.nodes[index].up else { return };
        for (domain, membership) in up.domains.iter().enumerate() {
            let Some(engine) = membership.id.and_then(|id| up.stack.domain(id)) else { continue };
            let Some(&member) = self.lives.get(&(index, domain, from)) else { continue };
            let judged = keys.iter().filter(|key| **key == engine.key()).count() as u64;
            if judged > 0 && member != life {
                wrong = Some((domain, member));
            }
            all += judged;
        }
        if all > 0 {
            self.coverage.add("messages of a member's life", all);
        }
        if let Some((domain, member)) = wrong {
            let (me, sender) = (self.nodes[index].id, self.nodes[from].id);
            let what = format!(
                "n{me} takes a message of n{sender}'s life {life} in d{domain}, where it is a member \
                 since its life {member}"
            );
            self.fail("I8 old frames", what);
        }
    }

    /// Before a node reads: who is no member any more has no life there.
    pub(crate) fn forget_lives(&mut self, index: usize) {
        let up = self.nodes[index].up.as_ref();
        let nodes = &self.nodes;
        self.lives.retain(|&(receiver, domain, member), _| {
            let engine = up.and_then(|up| up.stack.domain(up.domains[domain].id?));
            receiver != index
                || engine.is_some_and(|engine| engine.members().contains(nodes[member].id))
        });
    }

    /// After it has read: whoever is a member now and was none is one with the life that it is connected
    /// with.
    pub(crate) fn note_lives(&mut self, index: usize) {
        let Some(up) = &self.nodes[index].up else { return };
        for (domain, membership) in up.domains.iter().enumerate() {
            let Some(engine) = membership.id.and_then(|id| up.stack.domain(id)) else { continue };
            for member in engine.members().iter().filter(|member| *member != up.stack.me()) {
                let Some(at) = self.index_of(member) else { continue };
                let Some(&(connection, end)) = up.sockets.get(&member) else { continue };
                let life = self.network.connections[connection].ends[1 - end].life;
                self.lives.entry((index, domain, at)).or_insert(life);
            }
        }
    }
}
