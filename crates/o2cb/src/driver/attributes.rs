//! The node's attributes and the texts of its domains.

use dlm::Errno;

use super::inner::Inner;
use super::{NodeOptions, O2cbNode};
use crate::Now;
use crate::attributes::{Attributes, Change, FenceMethod, RegionAttributes};
use crate::cluster_conf::HeartbeatMode;
use crate::o2dlm::DebugFile;
use crate::o2net::NodeState;

impl O2cbNode {
    /// The node as its attributes show it. What happens when it is fenced is up to the
    /// [handler](super::FenceHandler), so that is told to it.
    pub fn attributes(&self, fence: FenceMethod) -> Attributes {
        self.shared().look(|inner, now| attributes(&self.shared().options, inner, now, fence))
    }

    /// Writes a text to an attribute: other timings are in force when this returns. The rest of the
    /// change is up to the caller.
    ///
    /// # Errors
    ///
    /// Those of [`Attributes::write`].
    pub fn write_attribute(
        &self,
        fence: FenceMethod,
        path: &[&str],
        text: &[u8],
    ) -> Result<Change, Errno> {
        self.shared().act(|inner, now| {
            let attributes = attributes(&self.shared().options, inner, now, fence);
            let change = attributes.write(path, text)?;
            if let Change::Timeouts(timeouts) = &change {
                inner.timeouts = *timeouts;
                inner.stack.set_timeouts(timeouts);
            }
            Ok(change)
        })
    }

    /// Where it heartbeats.
    pub fn heartbeat_mode(&self) -> HeartbeatMode {
        self.shared().options.cluster.heartbeat_mode
    }

    /// The names of the heartbeat regions.
    pub fn region_names(&self) -> Vec<String> {
        self.shared()
            .look(|inner, _| inner.disks.values().map(|disk| disk.options.name.clone()).collect())
    }

    /// The names of the domains.
    pub fn domain_names(&self) -> Vec<String> {
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.shared().look(|inner, _| {
            inner.stack.domains().map(|(_, domain)| name(domain.name().as_bytes())).collect()
        })
    }

    /// The text of a domain's debug file; `None` if there is no such domain.
    pub fn domain_text(&self, domain: &str, file: DebugFile) -> Option<String> {
        let pid = std::process::id();
        self.shared().look(|inner, now| {
            let mut domains = inner.stack.domains().map(|(_, domain)| domain);
            let found = domains.find(|found| found.name().as_bytes() == domain.as_bytes())?;
            Some(found.debug_text(file, now, pid))
        })
    }
}

fn attributes(options: &NodeOptions, inner: &Inner, now: Now, fence: FenceMethod) -> Attributes {
    let heartbeat = inner.stack.heartbeat();
    let regions = heartbeat.region_ids().filter_map(|id| {
        let (region, disk) = (heartbeat.region(id)?, inner.disks.get(&id)?);
        let geometry = &disk.options.geometry;
        let device = disk.options.path.file_name().unwrap_or_default();
        Some(RegionAttributes {
            name: region.name.to_owned(),
            block_bytes: geometry.block_size().bytes(),
            start_block: geometry.start_block(),
            blocks: geometry.blocks(),
            device: device.to_string_lossy().into_owned(),
            pid: disk.thread.get().copied(),
            number: region.number,
            elapsed_ms: u32::try_from(region.elapsed(now).as_millis()).unwrap_or(u32::MAX),
            is_pinned: region.pinned,
            live: region.live,
        })
    });
    let connects =
        |state| matches!(state, NodeState::Handshaking | NodeState::Valid | NodeState::Idle);
    Attributes {
        cluster: options.cluster.clone(),
        me: options.me,
        timeouts: inner.timeouts,
        has_peers: inner.stack.peers().any(|peer| connects(peer.state)),
        fence,
        regions: regions.collect(),
        live: inner.stack.live_nodes(),
        global: heartbeat.global_regions(),
    }
}
