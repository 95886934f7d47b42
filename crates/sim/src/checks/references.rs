//! I13: a master counts exactly the nodes that know the resource.
//!
//! Source: `fs/ocfs2/dlm/dlmmaster.c: dlm_deref_lockres_handler`, `dlm_drop_lockres_ref`.

use crate::world::World;

impl World {
    pub(crate) fn check_references(&mut self, domain: usize) {
        let mut wrong = None;
        let members = self.members(domain);
        for (at, engine) in self.engines(domain) {
            let me = self.nodes[at].id;
            for resource in engine.resources().filter(|found| found.owner == Some(me)) {
                let name = resource.name;
                if name.is_recovery() {
                    continue;
                }
                for (other, theirs) in self.engines(domain).filter(|(other, _)| *other != at) {
                    let node = self.nodes[other].id;
                    let knows = theirs.resource(&name).is_some();
                    if knows != resource.refmap.contains(node) {
                        wrong = Some(format!("n{me}: that n{node} knows {name} is {knows}"));
                    }
                }
                if !resource.refmap.minus(&members).is_empty() {
                    wrong = Some(format!("n{me} counts a node that is gone for {name}"));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.fail("I13 references", wrong);
        }
    }
}
