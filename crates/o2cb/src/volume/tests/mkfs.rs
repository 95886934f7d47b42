//! Volumes of mkfs.ocfs2, as debugfs.ocfs2 sees them.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::*;

/// Makes a volume; `None` when the programs are not there.
fn make(path: &Path, megabytes: u64, options: &str) -> Option<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let file = file.expect("a new file");
    file.set_len(megabytes << 20).expect("a sparse file");
    let mkfs = Command::new(tool("mkfs.ocfs2")?)
        .args(["-F", "-q"])
        .args(options.split_whitespace())
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut mkfs = mkfs.expect("it is there");
    // It starts itself again, asks about what it has written before, and each time reads ahead: this is
    // enough for all, and fits the pipe.
    match mkfs.stdin.take().expect("a pipe").write_all(&b"y\n".repeat(16 << 10)) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("{error}"),
        _ => {}
    }
    let output = mkfs.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    Some(file)
}

/// The first extent of a system file: clusters and block.
fn first_extent(path: &Path, name: &str) -> (u64, u64) {
    let request = format!("stat //{name}");
    let output = Command::new(tool("debugfs.ocfs2").expect("it comes with mkfs.ocfs2"))
        .args(["-R", &request])
        .arg(path)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().skip_while(|line| !line.trim_start().starts_with("##")).nth(1);
    let line = line.unwrap_or_else(|| panic!("{text}"));
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[2], numbers[3])
}

fn tool(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&paths).chain(["/sbin".into(), "/usr/sbin".into()]);
    let found = directories.map(|directory| directory.join(name)).find(|path| path.exists());
    if found.is_none() {
        println!("skipped: there is no {name} of ocfs2-tools");
    }
    found
}

// Behaviour 36.
#[test]
fn the_region_of_a_fresh_volume_is_where_debugfs_says() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, megabytes, block_size, options) in [
        (
            "plain",
            64,
            4096,
            "-b 4096 -C 4096 -N 4 -L data --cluster-stack=o2cb --cluster-name=alpha",
        ),
        ("large", 200, 4096, "-b 4096 -C 1048576 -N 2 -U 632A924FDD844190BDA93C0DF6B94899"),
        // A system directory of several blocks, old slot map.
        ("many", 2500, 1024, "-b 1024 -C 4096 -N 40 --fs-feature-level=max-compat"),
    ] {
        let path = directory.path().join(name);
        let Some(file) = make(&path, megabytes, options) else { return };
        let volume = Volume::open(&file).expect("a volume");
        assert_eq!(volume.superblock().block_size, block_size);
        let (clusters, block) = first_extent(&path, "heartbeat");
        assert!(clusters * u64::from(volume.superblock().cluster_size / block_size) >= 255);
        for sector_size in [512, block_size] {
            let region = volume.heartbeat_region(sector_size).expect("a region");
            assert_eq!(region.start_byte(), block * u64::from(block_size), "{name}");
            assert_eq!(region.name, volume.superblock().uuid_text());
        }
        let map = volume.slot_map().expect("a map");
        assert_eq!(map.len(), volume.superblock().slots.into());
        assert_eq!(map.taken().count(), 0, "{map:?}");
        assert_eq!(sector_size(&file).expect("it is a file"), 512);

        // What a node that takes slot 1 writes there.
        let (_, block) = first_extent(&path, "slot_map");
        let extended = volume.superblock().has_extended_slot_map();
        let (at, entry) = if extended { (8, &[1, 0, 0, 0, 7][..]) } else { (2, &[7, 0][..]) };
        file.write_all_at(entry, block * u64::from(block_size) + at).expect("written");
        assert_eq!(volume.slot_map().expect("a map").slot_of(7), Some(1), "{name}");
    }
}

#[test]
fn what_mkfs_wrote_about_the_cluster_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("volume");
    let options = "-N 3 -L data --cluster-stack=o2cb --cluster-name=alpha --global-heartbeat";
    let Some(file) = make(&path, 64, options) else { return };
    let volume = Volume::open(&file).expect("a volume");
    let superblock = volume.superblock();
    assert_eq!((superblock.label.as_str(), superblock.slots), ("data", 3));
    let stack = superblock.stack.as_ref().expect("it has one");
    assert_eq!((stack.label.as_str(), stack.cluster.as_str()), ("o2cb", "alpha"));
    assert!(stack.global_heartbeat);
}
