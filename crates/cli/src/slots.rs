//! `stackglue slots`: the slot map of an OCFS2 volume, and where its nodes heartbeat.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use o2cb::volume::{HeartbeatRegion, SlotMap, Superblock, Volume, VolumeError, sector_size};

use crate::exit::{CONFLICT, Failure};
use crate::print;
use crate::table::{lay_out, tame};

/// Prints what a device has.
pub(crate) fn run(device: &Path) -> Result<u8, Failure> {
    let shown = device.display();
    let refused =
        |error: std::io::Error| Failure::file(&error, format!("cannot read {shown}: {error}"));
    let wrong = |error: VolumeError| match &error {
        VolumeError::Io { error: io, .. } => Failure::file(io, format!("{shown}: {error}")),
        _ => Failure::new(CONFLICT, format!("{shown}: {error}")),
    };
    let file = File::open(device).map_err(refused)?;
    let sector_size = sector_size(&file).map_err(refused)?;
    let volume = Volume::open(&file).map_err(wrong)?;
    print::text(&describe(volume.superblock()));
    let region = volume.heartbeat_region(sector_size).map_err(wrong)?;
    print::text(&describe_region(&region));
    if !volume.superblock().is_heartbeat_device() {
        print::text(&describe_map(&volume.slot_map().map_err(wrong)?));
    }
    Ok(0)
}

fn describe(superblock: &Superblock) -> String {
    let label = tame(&superblock.label, usize::MAX);
    let label = if label.is_empty() { "without a label" } else { &label };
    let stack = match &superblock.stack {
        _ if superblock.is_local() => "none: for one node at a time".to_owned(),
        None => "o2cb".to_owned(),
        Some(stack) => {
            let mode = if stack.global_heartbeat { ", global heartbeat" } else { "" };
            let name = tame(&stack.label, usize::MAX);
            format!("{name}, cluster {}{mode}", tame(&stack.cluster, usize::MAX))
        }
    };
    format!(
        "volume     {}, {label}\n\
         blocks     {} bytes, clusters of {}\n\
         stack      {stack}\n",
        superblock.uuid_text(),
        superblock.block_size,
        superblock.cluster_size,
    )
}

fn describe_region(region: &HeartbeatRegion) -> String {
    format!(
        "heartbeat  {} blocks of {} bytes from block {}, which is byte {}\n",
        region.blocks,
        region.block_bytes,
        region.start_block,
        region.start_byte(),
    )
}

fn describe_map(map: &SlotMap) -> String {
    let rows: Vec<_> =
        map.taken().map(|(slot, node)| [slot.to_string(), node.to_string()]).collect();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "slots      {}, {} taken", map.len(), rows.len());
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&lay_out(["SLOT", "NODE"], &rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slots_that_are_taken_are_listed() {
        let map = SlotMap::decode(&[0xff, 0xff, 7, 0, 0, 0], false);
        assert_eq!(describe_map(&map), "slots      3, 2 taken\n\nSLOT  NODE\n1     7\n2     0\n");
        let empty = SlotMap::decode(&[0; 16], true);
        assert_eq!(describe_map(&empty), "slots      2, 0 taken\n");
    }
}
