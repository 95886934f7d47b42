//! Volumes made by hand, and volumes of mkfs.ocfs2.

mod image;
mod mkfs;

use dlm::Errno;
use proptest::prelude::*;

use super::*;
use image::{BLOCK_SIZE, HEARTBEAT, Image, SLOT_MAP, SLOT_MAP_DATA, SUPERBLOCK, SYSTEM_DIRECTORY};

fn region(image: &Image, sector_size: u32) -> Result<HeartbeatRegion, VolumeError> {
    Volume::open(&image.0)?.heartbeat_region(sector_size)
}

fn slot_map(image: &Image) -> Result<SlotMap, VolumeError> {
    Volume::open(&image.0)?.slot_map()
}

#[test]
fn the_superblock_tells_whose_the_volume_is() {
    let mut image = Image::new();
    let volume = Volume::open(&image.0).expect("a volume");
    let superblock = volume.superblock();
    assert_eq!((superblock.label.as_str(), superblock.slots), ("data", 4));
    assert_eq!(superblock.uuid_text(), "632A924FDD844190BDA93C0DF6B94899");
    let expected = StackInfo {
        label: "o2cb".into(),
        cluster: "sixteenletters16".into(),
        global_heartbeat: true,
    };
    assert_eq!(superblock.stack, Some(expected));
    assert!(!superblock.is_local() && !superblock.is_heartbeat_device());
    // The flag byte counts with the feature of cluster information only.
    image.set(SUPERBLOCK, 0xe0, &0x0180_u32.to_le_bytes());
    let volume = Volume::open(&image.0).expect("a volume");
    assert!(volume.superblock().stack.as_ref().is_some_and(|stack| !stack.global_heartbeat));
    image.set(SUPERBLOCK, 0xe0, &0x0100_u32.to_le_bytes());
    assert_eq!(Volume::open(&image.0).expect("a volume").superblock().stack, None);
}

// Behaviour 36.
#[test]
fn the_region_s_blocks_are_sectors_of_the_device() {
    let image = Image::new();
    for (sector_size, start_block) in [(512, 20 * 8), (1024, 20 * 4), (4096, 20)] {
        let found = region(&image, sector_size).expect("a region");
        let expected = HeartbeatRegion {
            name: "632A924FDD844190BDA93C0DF6B94899".into(),
            block_bytes: sector_size,
            start_block,
            blocks: 255,
        };
        assert_eq!(found, expected);
        assert_eq!(found.start_byte(), 20 * BLOCK_SIZE as u64);
    }
    for sector_size in [0, 256, 1000, 8192] {
        let error = region(&image, sector_size).expect_err("no sector of such a volume");
        assert_eq!(error.errno(), Errno::EINVAL, "{error}");
    }
}

// Behaviour 37.
#[test]
fn a_heartbeat_file_in_pieces_is_no_region() {
    for (at, value) in [(0xc0, 1u16), (0xc4, 0), (0xc4, 2)] {
        let mut image = Image::new();
        image.set(HEARTBEAT, at, &value.to_le_bytes());
        assert!(matches!(region(&image, 512), Err(VolumeError::RegionInPieces)), "{at:#x} {value}");
    }
}

// Behaviour 38.
#[test]
fn a_heartbeat_file_has_255_blocks_of_the_file_system() {
    for (clusters, ok) in [(255u16, true), (254, false), (0, false)] {
        let mut image = Image::new();
        image.set(HEARTBEAT, 0xd4, &clusters.to_le_bytes());
        let found = region(&image, 512);
        assert_eq!(found.is_ok(), ok, "{clusters}: {found:?}");
    }
}

// Behaviour 39.
#[test]
fn a_region_is_not_started_on_a_device_of_other_sectors() {
    let found = region(&Image::new(), 512).expect("a region");
    assert!(found.check(512).is_ok());
    assert_eq!(found.check(4096).map_err(|error| error.errno()), Err(Errno::EINVAL));
}

#[test]
fn the_slot_map_has_an_entry_for_every_slot() {
    let mut image = Image::new();
    image.set(SLOT_MAP_DATA, 8, &[1, 0, 0, 0, 7, 0, 0, 0]);
    let map = slot_map(&image).expect("a map");
    assert_eq!((map.len(), map.slot_of(7)), (4, Some(1)));
    // The same bytes as an old map.
    image.set(SUPERBLOCK, 0xe0, &0x4000_u32.to_le_bytes());
    let map = slot_map(&image).expect("a map");
    assert_eq!((map.len(), map.taken().count()), (4, 4));
    image.set(SLOT_MAP, 0x20, &7u64.to_le_bytes());
    assert_eq!(slot_map(&image).map_err(|error| error.errno()), Err(Errno::ENOSPC));
}

#[test]
fn a_file_is_found_through_a_tree_of_extents() {
    let mut image = Image::new();
    image.make_tree(SLOT_MAP, 30, SLOT_MAP_DATA as u64);
    image.set(SLOT_MAP_DATA, 0, &[1, 0, 0, 0, 9, 0, 0, 0]);
    assert_eq!(slot_map(&image).expect("a map").slot_of(9), Some(0));
    // A child of its own level would be a loop.
    image.set(30, 0x30, &1u16.to_le_bytes());
    image.set(30, 0x40 + 8, &30u64.to_le_bytes());
    assert!(matches!(slot_map(&image), Err(VolumeError::Corrupt { block: 30, .. })));
}

#[test]
fn a_directory_s_entries_may_be_in_blocks_of_its_own() {
    let mut image = Image::new();
    image.move_directory_to(31);
    assert!(region(&image, 512).is_ok());
    assert!(slot_map(&image).is_ok());
    // The last entry of the block.
    image.set(31, 0, &[0; BLOCK_SIZE]);
    image.set(31, 8, &(BLOCK_SIZE as u16).to_le_bytes());
    assert!(matches!(region(&image, 512), Err(VolumeError::NoSystemFile { name: "heartbeat" })));
}

#[test]
fn what_is_damaged_is_told_with_its_block() {
    let u16 = |value: u16| value.to_le_bytes().to_vec();
    let u32 = |value: u32| value.to_le_bytes().to_vec();
    let u64 = |value: u64| value.to_le_bytes().to_vec();
    for (block, at, bytes, told) in [
        (SUPERBLOCK, 0, b"OCFSV1".to_vec(), "no OCFS2 volume"),
        (SUPERBLOCK, 0xf8, u32(11), "no OCFS2 volume"),
        (SUPERBLOCK, 0x50, u64(3), "no OCFS2 volume"),
        (SUPERBLOCK, 0xc2, u16(91), "revision"),
        (SUPERBLOCK, 0xe0, u32(0x1_4100), "features 0x10000"),
        (SUPERBLOCK, 0xfc, u32(11), "cluster size"),
        (SUPERBLOCK, 0xfc, u32(21), "cluster size"),
        (SUPERBLOCK, 0xfc, u32(u32::MAX), "cluster size"),
        (SUPERBLOCK, 0x100, u16(0), "slots"),
        (SUPERBLOCK, 0x100, u16(256), "slots"),
        (SUPERBLOCK, 0x14, u32(0), "no block 6"),
        (SUPERBLOCK, 0xf0, u64(u64::MAX), "no block 18446744073709551615"),
        (SUPERBLOCK, 0xf0, u64(2), "no block 2,"),
        (SUPERBLOCK, 0xf0, u64(HEARTBEAT as u64), "no directory"),
        (SYSTEM_DIRECTORY, 0, b"EXODE01".to_vec(), "no inode"),
        (SYSTEM_DIRECTORY, 0x50, u64(7), "another block"),
        (SYSTEM_DIRECTORY, 0x60, u32(7), "another volume"),
        (SYSTEM_DIRECTORY, 0x2c, u32(0x10), "not in use"),
        (SYSTEM_DIRECTORY, 0x20, u64(u64::MAX), "inline data"),
        (SYSTEM_DIRECTORY, 0x20, u64(BLOCK_SIZE as u64), "inline data"),
        (SYSTEM_DIRECTORY, 0x20, u64(5), "cut"),
        (SYSTEM_DIRECTORY, 0x76, u16(0), "no file `heartbeat`"),
        (SYSTEM_DIRECTORY, 0xc8 + 8, u16(0), "wrong length"),
        (SYSTEM_DIRECTORY, 0xc8 + 8, u16(u16::MAX), "wrong length"),
        (HEARTBEAT, 0x2c, u32(0x11), "not marked"),
        (HEARTBEAT, 0x2c, u32(1), "system file is none"),
        (HEARTBEAT, 0x28, u16(0o040_755), "system file is none"),
        (HEARTBEAT, 0x76, u16(1), "inline data"),
        (HEARTBEAT, 0xc2, u16(u16::MAX), "longer than the block"),
        (HEARTBEAT, 0xc4, u16(244), "longer than the block"),
        (HEARTBEAT, 0xc0, u16(u16::MAX), "too deep"),
        (HEARTBEAT, 0xd8, u64(u64::MAX), "no block 18446744073709551615"),
        (HEARTBEAT, 0xd8, u64(image::BLOCKS as u64 - 255), "no block"),
        (HEARTBEAT, 0xd8, u64(0), "no block 0"),
    ] {
        let mut image = Image::new();
        image.set(block, at, &bytes);
        let error = region(&image, 512).expect_err("it is damaged").to_string();
        assert!(error.contains(told), "{block} {at:#x} {bytes:?}: {error}");
    }
}

#[test]
fn a_directory_without_bounds_is_not_read() {
    let mut image = Image::new();
    image.move_directory_to(31);
    image.set(SYSTEM_DIRECTORY, 0x20, &u64::MAX.to_le_bytes());
    let error = region(&image, 512).expect_err("refused").to_string();
    assert!(error.contains("too large"), "{error}");
}

#[test]
fn a_device_that_ends_early_is_no_volume_or_an_error() {
    let mut image = Image::new();
    image.0.truncate(2 * BLOCK_SIZE);
    assert!(matches!(region(&image, 512), Err(VolumeError::NoVolume)));
    let mut image = Image::new();
    image.0.truncate(HEARTBEAT * BLOCK_SIZE);
    assert_eq!(region(&image, 512).map_err(|error| error.errno()), Err(Errno::EIO));
}

proptest! {
    #[test]
    fn nothing_on_a_volume_can_make_reading_panic_or_go_on(
        damages in prop::collection::vec(
            (
                prop::sample::select(&[SUPERBLOCK, SYSTEM_DIRECTORY, HEARTBEAT, SLOT_MAP, 30, 31][..]),
                prop_oneof![0usize..0x180, 0..BLOCK_SIZE],
                prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()],
            ),
            0..12,
        ),
        shape in 0..3,
    ) {
        let mut image = Image::new();
        match shape {
            0 => {}
            1 => image.make_tree(SLOT_MAP, 30, SLOT_MAP_DATA as u64),
            _ => image.move_directory_to(31),
        }
        for (block, at, byte) in damages {
            image.set(block, at, &[byte]);
        }
        if let Ok(found) = region(&image, 512) {
            prop_assert!(found.start_byte() > 0);
        }
        let _ = slot_map(&image);
    }
}
