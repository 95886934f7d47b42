//! Heartbeat regions that come and go.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::time::Duration;

use super::{O2cbNode, RegionOptions, StartError, disks, wall_seconds};
use crate::heartbeat::{HeartbeatError, RegionId};

impl O2cbNode {
    /// Starts to heartbeat on one more region, and returns when that is steady (some 10 s). In local mode
    /// this node is fenced from then on when it loses that disk.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the region is not in use then.
    pub fn start_region(&self, region: &RegionOptions) -> Result<(), StartError> {
        self.start_regions(std::slice::from_ref(region))
    }

    /// Stops to heartbeat on a region: tells the peers on its disk, and returns when that is written, or
    /// after some seconds.
    ///
    /// # Errors
    ///
    /// [`HeartbeatError::Pinned`] when a lock domain lives by it; [`HeartbeatError::NoRegion`].
    pub fn stop_region(&self, name: &str) -> Result<(), HeartbeatError> {
        let shared = self.shared();
        let wall = wall_seconds();
        let region = shared.act(|inner, now| {
            let heartbeat = inner.stack.heartbeat();
            let is_it = |id: &RegionId| heartbeat.region(*id).is_some_and(|it| it.name == name);
            let region = heartbeat.region_ids().find(is_it).ok_or(HeartbeatError::NoRegion)?;
            inner.stack.remove_region(now, region, wall).map(|()| region)
        })?;
        let stopped = shared.wait_for(Some(STOPPING_PATIENCE), |inner| {
            (!inner.disks.contains_key(&region)).then_some(())
        });
        if stopped.is_none() {
            tracing::warn!(region = name, "the last heartbeat was not written in time");
        }
        Ok(())
    }

    pub(super) fn start_regions(&self, regions: &[RegionOptions]) -> Result<(), StartError> {
        let started = regions.iter().map(|region| self.begin_region(region));
        let started = started.collect::<Result<Vec<RegionId>, _>>()?;
        for region in started {
            self.wait_until_steady(region)?;
        }
        Ok(())
    }

    fn begin_region(&self, region: &RegionOptions) -> Result<RegionId, StartError> {
        let disk = region.open()?;
        let generation = random().map_err(StartError::Threads)?;
        let geometry = disk.geometry();
        let (disk, tell) = disks::run(self, disk, region.clone()).map_err(StartError::Threads)?;
        self.shared().act(|inner, now| {
            let (size, blocks) = (geometry.block_size(), geometry.blocks());
            let id = inner.stack.start_region(now, &region.name, size, blocks, generation)?;
            inner.disks.insert(id, disk);
            // It waits for this.
            let _ = tell.send(id);
            Ok(id)
        })
    }

    fn wait_until_steady(&self, region: RegionId) -> Result<(), StartError> {
        let outcome = self.shared().wait_for(None, |inner| {
            if inner.steady.contains(&region) {
                Some(Ok(()))
            } else if let Some(error) = inner.start_failed.remove(&region) {
                Some(Err(StartError::Region { error }))
            } else {
                let reason = inner.fenced.as_ref()?;
                Some(Err(StartError::Fenced(reason.clone())))
            }
        });
        outcome.unwrap_or(Ok(()))
    }
}

/// A number that no other start of a region has.
fn random() -> io::Result<NonZeroU64> {
    let mut bytes = [0; 8];
    loop {
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        if let Some(number) = NonZeroU64::new(u64::from_ne_bytes(bytes)) {
            return Ok(number);
        }
    }
}

/// A disk that hangs is not waited for any longer than this.
const STOPPING_PATIENCE: Duration = Duration::from_secs(10);
