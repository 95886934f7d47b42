//! Mounting and unmounting, and what is said when that cannot be.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::host::{Host, Ran, eventually, program};
use crate::mounted::{Mounted, UnmountAtEnd, can_mount};

#[test]
fn what_cannot_be_mounted_on_is_told_in_one_sentence() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let file = host.path("file");
    fs::write(&file, "").expect("written");
    host.run(&["mount", "dlmfs", "none"]).expect_sentence(71, &["none", "does not exist", "mkdir"]);
    host.run(&["mount", "dlmfs", "file"]).expect_sentence(64, &["file", "not a directory"]);
    host.run(&["mount", "dlmfs", "-o", "size=1", "."]).expect_sentence(64, &["size=1"]);
    host.run(&["umount", "."]).expect_sentence(1, &["nothing of ours"]);
    let mounted = Mounted::new(&host, "m");
    host.run(&["mount", "dlmfs", "m"]).expect_sentence(1, &["mounted at", "already"]);
    fs::create_dir(mounted.path("d")).expect("a domain");
    let _used = fs::File::open(mounted.path("d")).expect("a directory");
    host.run(&["umount", "m"]).expect_sentence(1, &["in use"]);
}

#[test]
fn a_host_without_daemon_is_told_before_anything_is_mounted() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    fs::create_dir(host.path("m")).expect("a directory");
    let mut command = host.command(&["mount", "dlmfs", "m"]);
    let ran = command.env("STACKGLUE_NO_AUTOSTART", "1").output().expect("stackglue starts");
    Ran::from(ran).expect_sentence(69, &["no stackglued"]);
}

#[test]
fn it_is_served_in_the_background_until_it_is_unmounted() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    fs::create_dir(host.path("m")).expect("a directory");
    let _unmount = UnmountAtEnd(host.path("m"));
    host.run_well(&["mount", "dlmfs", "m"]);
    let script = "mkdir m/d && exec 3<>m/d/l && echo value >&3 && exec 3>&- && head -n 1 m/d/l";
    let ran = Ran::from(host.shell(script).output().expect("sh starts"));
    assert_eq!((ran.status, ran.out.as_str()), (0, "value\n"), "{ran:?}");
    host.run_well(&["umount", "m"]);
    host.await_no_lock();
    let log = fs::read_to_string(host.path("socket.dlmfs.log")).expect("a log");
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn mount_finds_it_by_the_name_of_its_helper() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    fs::create_dir(host.path("m")).expect("a directory");
    let _unmount = UnmountAtEnd(host.path("m"));
    let helper = host.path("mount.fuse.stackglue-dlmfs");
    symlink(program(), &helper).expect("a link");
    let arguments = ["none", "m", "-o", "rw,nosuid,noexec", "-t", "fuse.stackglue-dlmfs"];
    let mut mount = host.set_up(Command::new(&helper), &arguments);
    let ran = Ran::from(mount.output().expect("it starts"));
    assert_eq!(ran.status, 0, "{ran:?}");
    let table = fs::read_to_string("/proc/mounts").expect("a table");
    let point = host.path("m").display().to_string();
    let line = table.lines().find(|line| line.contains(&point)).expect("it is mounted");
    for (option, is_set) in [("nosuid", true), ("noexec", true), ("nodev", false)] {
        assert_eq!(line.contains(option), is_set, "{line}");
    }
    host.run_well(&["umount", "m"]);
    eventually("the end", || {
        fs::read_dir(host.path("m")).is_ok_and(|mut rows| rows.next().is_none())
    });
}

#[test]
fn the_readme_s_example_does_what_it_says() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let readme = include_str!("../../../../README.md");
    let (_, section) = readme.split_once("## Locks as files").expect("a section");
    let (_, block) = section.split_once("```sh\n").expect("an example");
    let _unmount = UnmountAtEnd(host.path("dlm"));
    let (block, _) = block.split_once("```").expect("its end");
    let point = host.path("dlm").display().to_string();
    let script = block.replace("/dlm", &point).replace("sudo ", "");
    // `$0` is the program under test.
    let script = format!("stackglue() {{ \"$0\" \"$@\"; }}\nset -e\n{script}");
    let ran = Ran::from(host.shell(&script).output().expect("sh starts"));
    assert_eq!((ran.status, ran.out.as_str()), (0, "db1\n"), "{ran:?}");
    host.run_well(&["umount", "dlm"]);
}
