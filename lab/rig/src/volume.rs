//! Where the heartbeat region lies on the shared disk.

use std::path::PathBuf;
use std::process::Command;

use crate::error::{Error, about};
use crate::rig::Lab;

/// The heartbeat region of the lab's file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name: the file system's UUID, 32 hexadecimal digits in capitals.
    pub uuid: String,
    /// Its first block, counted in 512 bytes. Node `n` writes block `start_block + n`.
    pub start_block: u64,
}

impl Lab {
    /// The heartbeat region. Only a lab with a stack has one.
    pub fn region(&self) -> Result<Region, Error> {
        let stat = self.debugfs("stat //heartbeat")?;
        let stats = self.debugfs("stats")?;
        match (first_extent(&stat), uuid(&stats)) {
            (Some(block), Some(uuid)) => {
                Ok(Region { uuid, start_block: block * (BLOCK_BYTES / SECTOR_BYTES) })
            }
            _ => {
                let problem = format!("no heartbeat region in\n{stat}{stats}");
                Err(Error::Unexpected { path: self.image(), problem })
            }
        }
    }

    /// [`Region::start_block`].
    pub fn start_block(&self) -> Result<u64, Error> {
        Ok(self.region()?.start_block)
    }

    fn debugfs(&self, request: &str) -> Result<String, Error> {
        let image: PathBuf = self.image();
        let mut command = Command::new("debugfs.ocfs2");
        let output = command.args(["-R", request]).arg(image).output();
        Ok(String::from_utf8_lossy(&about("debugfs.ocfs2", output)?.stdout).into_owned())
    }
}

/// The block number in the first line below the table's head, `## Offset Clusters Block# Flags`.
fn first_extent(stat: &str) -> Option<u64> {
    let mut lines = stat.lines().skip_while(|line| !line.contains("Block#"));
    lines.nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

fn uuid(stats: &str) -> Option<String> {
    let line = stats.lines().find_map(|line| line.trim().strip_prefix("UUID: "))?;
    Some(line.trim().to_owned())
}

/// `lab up` formats with 4 KiB blocks.
const BLOCK_BYTES: u64 = 4096;
const SECTOR_BYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_what_debugfs_prints() {
        let stat = "\tTree Depth: 0   Count: 243   Next Free Rec: 1\n\
            \t## Offset        Clusters       Block#          Flags\n\
            \t0  0             256            273             0x0 \n";
        assert_eq!(first_extent(stat), Some(273));
        assert_eq!(first_extent("\t## Offset  Clusters  Block#  Flags\n"), None);
        assert_eq!(first_extent(""), None);
        assert_eq!(uuid("\tLabel: lab\n\tUUID: 7A4C\n").as_deref(), Some("7A4C"));
        assert_eq!(uuid("Label: lab"), None);
    }
}
