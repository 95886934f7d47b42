//! What a node is started with.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::cluster_conf::{Cluster, NodeConf};
use crate::heartbeat::disk::{Disk, DiskError, Geometry};
use crate::heartbeat::{self, BlockSize, HeartbeatError, Mode};
use crate::volume::{Volume, VolumeError, sector_size};
use crate::{NodeId, Timeouts, TimeoutsError, o2net};

/// Called when this node has to stop at once: it has lost its disk, or its connections. Whatever it
/// does must keep every write of this node from shared storage.
pub type FenceHandler = Box<dyn Fn(&str) + Send + Sync>;

/// What a node is started with.
pub struct NodeOptions {
    /// The cluster, the same on all nodes.
    pub cluster: Cluster,
    /// Which of its nodes this is.
    pub me: NodeId,
    /// The timings, the same on all nodes.
    pub timeouts: Timeouts,
    /// Where to heartbeat: in local mode usually one region, that of the volume or file in use.
    pub regions: Vec<RegionOptions>,
    /// What to do when this node has to stop.
    pub fence: FenceHandler,
}

impl NodeOptions {
    pub(super) fn check(&self) -> Result<(), StartError> {
        self.timeouts.check()?;
        self.own_node()?;
        if self.regions.is_empty() {
            return Err(StartError::NoRegion);
        }
        Ok(())
    }

    pub(super) fn own_node(&self) -> Result<&NodeConf, StartError> {
        self.cluster.node(self.me).ok_or_else(|| StartError::NotConfigured {
            node: self.me,
            cluster: self.cluster.name.clone(),
        })
    }

    pub(crate) fn is_global(&self) -> bool {
        self.mode() == Mode::Global
    }

    pub(super) fn mode(&self) -> Mode {
        super::heartbeat_mode(self.cluster.heartbeat_mode)
    }
}

/// A heartbeat region.
#[derive(Clone, Debug)]
pub struct RegionOptions {
    /// Its name: that of a volume is its UUID, 32 upper-case hexadecimal digits.
    pub name: String,
    /// The device or file.
    pub path: PathBuf,
    /// Where in it the region is.
    pub geometry: Geometry,
}

impl RegionOptions {
    /// The region inside an OCFS2 volume, on a device or in the image of one.
    ///
    /// # Errors
    ///
    /// [`StartError::Volume`] when there is no such volume, or it has no usable region.
    pub fn of_volume(path: &Path) -> Result<RegionOptions, StartError> {
        let error = |source| StartError::Volume { path: path.to_owned(), source };
        let opened = File::open(path).and_then(|file| Ok((sector_size(&file)?, file)));
        let (sector_size, device) =
            opened.map_err(|source| StartError::Device { path: path.to_owned(), source })?;
        let volume = Volume::open(&device).map_err(error)?;
        let region = volume.heartbeat_region(sector_size).map_err(error)?;
        let geometry = BlockSize::new(region.block_bytes)
            .zip(u8::try_from(region.blocks).ok())
            .and_then(|(size, blocks)| Geometry::new(size, region.start_block, blocks));
        let geometry = geometry.ok_or_else(|| StartError::Geometry { path: path.to_owned() })?;
        Ok(RegionOptions { name: region.name, path: path.to_owned(), geometry })
    }

    /// A region that is a file or device of its own, from its second block on, with 512-byte blocks
    /// and a slot for every node number.
    pub fn of_file(name: &str, path: &Path) -> Result<RegionOptions, StartError> {
        let geometry = BlockSize::new(512).and_then(|size| Geometry::new(size, 1, 255));
        let geometry = geometry.ok_or_else(|| StartError::Geometry { path: path.to_owned() })?;
        Ok(RegionOptions { name: name.to_owned(), path: path.to_owned(), geometry })
    }

    pub(super) fn open(&self) -> Result<Disk, StartError> {
        Ok(Disk::open(&self.path, self.geometry)?)
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// This node is not in the configuration.
    #[error("node {node} is not in cluster `{cluster}`: add it to cluster.conf on every node")]
    NotConfigured {
        /// Its number.
        node: NodeId,
        /// The cluster's name.
        cluster: String,
    },
    /// There is nowhere to heartbeat.
    #[error("there is no heartbeat region: name a volume or a file that all nodes share")]
    NoRegion,
    /// The timings do not go together.
    #[error(transparent)]
    Timeouts(#[from] TimeoutsError),
    /// The heartbeat refuses.
    #[error(transparent)]
    Heartbeat(#[from] HeartbeatError),
    /// The network refuses.
    #[error(transparent)]
    Net(#[from] o2net::ConfigError),
    /// Nobody could connect to this node.
    #[error(
        "{address}:{port} cannot be listened on: {source}; is it an address of this host, and is nothing else there?"
    )]
    Listen {
        /// The address in the configuration.
        address: Ipv4Addr,
        /// The port in the configuration.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The device cannot be read.
    #[error("{path} cannot be read: {source}")]
    Device {
        /// The device or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no usable volume.
    #[error("{path} has no heartbeat region: {source}")]
    Volume {
        /// The device or file.
        path: PathBuf,
        /// Why.
        source: VolumeError,
    },
    /// The region does not fit.
    #[error("the heartbeat region on {path} has an impossible size")]
    Geometry {
        /// The device or file.
        path: PathBuf,
    },
    /// The region cannot be opened.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The heartbeat did not start.
    #[error("{error}{}", cause(.error))]
    Region {
        /// Why.
        error: heartbeat::StartError,
    },
    /// This node had to stop while it started.
    #[error("this node was fenced while it started: {0}")]
    Fenced(String),
    /// The operating system has no thread, or no event queue, for us.
    #[error("the node's threads cannot be started: {0}")]
    Threads(io::Error),
}

/// What is behind an error, to be put behind it.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map(|source| format!(": {source}")).unwrap_or_default()
}
