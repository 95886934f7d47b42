//! Which regions cannot be removed, because a lock domain lives by them.

use std::collections::{BTreeMap, BTreeSet};

use super::region::Region;
use super::{Mode, RegionId};

/// As long as there are no more quorum regions than this, all of them are needed
/// (`O2HB_PIN_CUT_OFF`).
const PIN_CUT_OFF: usize = 3;

/// The lock domains that depend on the heartbeat (`fs/ocfs2/cluster/heartbeat.c:
/// o2hb_region_inc_user`, `o2hb_region_dec_user`).
#[derive(Debug, Default)]
pub(super) struct Pins {
    domains: BTreeSet<String>,
}

impl Pins {
    /// Whether a region that is added now cannot be removed: in local mode, if the domain of its name has
    /// come before it.
    pub(super) fn pins_new(&self, region: &str, mode: Mode) -> bool {
        mode == Mode::Local && self.domains.contains(region)
    }

    /// A lock domain of that name comes. In local mode it lives by the region of its name, if there
    /// is one; in global mode by all of them, or by what remains of many.
    pub(super) fn domain_up(
        &mut self,
        domain: &str,
        mode: Mode,
        quorum: usize,
        regions: &mut BTreeMap<RegionId, Region>,
    ) {
        self.domains.insert(domain.to_owned());
        match mode {
            Mode::Local => set(regions, true, |region| region.name() == domain),
            Mode::Global if self.domains.len() == 1 && quorum <= PIN_CUT_OFF => {
                set(regions, true, |_| true);
            }
            Mode::Global => {}
        }
    }

    pub(super) fn domain_down(
        &mut self,
        domain: &str,
        mode: Mode,
        regions: &mut BTreeMap<RegionId, Region>,
    ) {
        self.domains.remove(domain);
        match mode {
            Mode::Local => set(regions, false, |region| region.name() == domain),
            Mode::Global if self.domains.is_empty() => set(regions, false, |_| true),
            Mode::Global => {}
        }
    }

    /// The number of quorum regions has changed, in global mode.
    pub(super) fn quorum_changed(
        &mut self,
        before: usize,
        after: usize,
        regions: &mut BTreeMap<RegionId, Region>,
    ) {
        if before <= PIN_CUT_OFF && after > PIN_CUT_OFF {
            set(regions, false, |_| true);
        } else if after < before && after <= PIN_CUT_OFF && !self.domains.is_empty() {
            set(regions, true, |_| true);
        }
    }
}

fn set(regions: &mut BTreeMap<RegionId, Region>, pinned: bool, which: impl Fn(&Region) -> bool) {
    for region in regions.values_mut().filter(|region| which(region)) {
        region.set_pinned(pinned);
    }
}
