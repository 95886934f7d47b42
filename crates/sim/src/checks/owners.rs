//! I5: a name has one master, which knows that it is, and all agree when nothing is on its way.
//!
//! Source: `fs/ocfs2/dlm/dlmmaster.c: dlm_assert_master_handler`, which crashes on a second one.

use crate::world::World;

const CHECK: &str = "I5 one master";

impl World {
    pub(crate) fn check_owners(&mut self, domain: usize) {
        let mut wrong = None;
        let members = self.members(domain);
        for (at, engine) in self.engines(domain) {
            let me = self.nodes[at].id;
            for resource in engine.resources().filter(|resource| !resource.name.is_recovery()) {
                let name = resource.name;
                let Some(owner) = resource.owner.filter(|owner| members.contains(*owner)) else {
                    wrong = Some(format!("n{me} knows no living owner of {name} in d{domain}"));
                    continue;
                };
                let claims = self.engine_of(domain, owner).and_then(|owner| owner.resource(&name));
                if claims.is_none_or(|claims| claims.owner != Some(owner)) {
                    wrong = Some(format!("n{me} takes n{owner} for the owner of {name}"));
                }
                if !resource.busy.is_empty() {
                    wrong = Some(format!("{name} is {} on n{me} for ever", resource.busy));
                }
            }
            if let Some(name) = engine.mastery_entries().find(|name| !name.is_recovery()) {
                wrong = Some(format!("n{me} keeps a mastery entry of {name} in d{domain}"));
            }
        }
        if let Some(wrong) = wrong {
            self.fail(CHECK, wrong);
        }
    }
}
