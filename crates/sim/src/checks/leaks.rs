//! I20: nothing is kept that nobody uses, and nothing contradicts what a node knows.
//!
//! Source: `fs/ocfs2/dlm/dlmthread.c: dlm_run_purge_list`; and the checks of all of o2dlm that crash a
//! kernel, which the engines count.

use crate::world::World;

impl World {
    /// What is left when every user has given up everything.
    pub(crate) fn leftovers(&self) -> Option<String> {
        for (at, up) in self.running() {
            let me = self.nodes[at].id;
            for (domain, membership) in up.domains.iter().enumerate() {
                if let Some((key, held)) = membership.client.locks.iter().next() {
                    return Some(format!("n{me} never gets rid of {key:?} in d{domain}: {held:?}"));
                }
                let Some(engine) = membership.id.and_then(|id| up.stack.domain(id)) else {
                    continue;
                };
                let mut resources = engine.resources();
                if let Some(resource) = resources.find(|found| !found.name.is_recovery()) {
                    return Some(format!("n{me} never forgets {resource:?}"));
                }
                if let Some(name) = engine.mastery_entries().find(|name| !name.is_recovery()) {
                    return Some(format!("n{me} keeps a mastery entry of {name}"));
                }
            }
        }
        None
    }

    /// Every peer is one of ours: none gives another a reason to count anything, but for what was
    /// forged.
    pub(crate) fn check_counters(&mut self) {
        let mut wrong = None;
        let mut recovered = 0;
        let mut migrated = 0;
        for (at, up) in self.running() {
            let me = self.nodes[at].id;
            let mut refused = 0;
            for (_, engine) in up.stack.domains() {
                let counters = engine.counters();
                recovered += counters.recovered;
                migrated += counters.migrated;
                refused += counters.malformed + counters.wrong_sender;
                let bad = counters.contradictions + counters.bad_replies;
                if bad > 0 || refused > self.hostile.refusals[at] {
                    wrong = Some(format!("n{me} counts {counters:?}"));
                }
            }
            for peer in up.stack.peers() {
                let counters = peer.counters;
                let answers = self.hostile.answers.get(&(peer.node, at));
                if counters.unknown_statuses > answers.copied().unwrap_or(0) {
                    wrong = Some(format!("n{me} counts of n{}: {counters:?}", peer.node));
                }
            }
        }
        if recovered > 0 {
            self.coverage.add("resources recovered (looks)", recovered);
        }
        if migrated > 0 {
            self.coverage.add("resources migrated (looks)", migrated);
        }
        if let Some(wrong) = wrong {
            self.fail("I20 contradictions", wrong);
        }
    }
}
