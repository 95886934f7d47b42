//! Programs that look for the kernel's dlmfs: with `preload/dlmfs.c` they take ours for it.
//!
//! `lab/src/o2dlmcalls.c` is one, with Debian's libo2dlm as it is; `cargo xtask lab dlmfs` runs it on the
//! kernel's. Skipped, aloud, where there is no C compiler or no library (`cargo xtask test` installs it where
//! the lab can run).

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::host::{Host, Running};
use crate::mounted::{How, Mounted, can_mount};

#[test]
fn libo2dlm_locks_hears_of_waiters_and_cleans_up() {
    if !can_mount() || !is_there("o2dlm/o2dlm.h") {
        return;
    }
    let host = Host::new();
    let mounted = Mounted::new(&host, "m");
    let other = Mounted::with_domain(&host, "other");
    let program = o2dlmcalls(&host);
    let unchanged = host.set_up(Command::new(&program), &[&mounted.point]);
    assert_eq!(Running::start(unchanged).end().status, OTHER_FILE_SYSTEM);

    let preloaded = host.set_up(preloaded(&host, &program), &[&mounted.point]);
    let mut running = Running::start(preloaded);
    let mut printed = String::new();
    while !printed.ends_with("\nwaits\n") {
        let line = running.line();
        assert_ne!(line, "", "it ended before it waited: {printed}");
        printed += &format!("{line}\n");
    }
    thread::scope(|scope| {
        let waiter = scope.spawn(|| other.open("y", How::Exclusive).map(drop));
        let ran = running.end();
        assert_eq!(ran.status, 0, "{printed}{ran:?}");
        waiter.join().expect("no panic").expect("nobody has it any more");
    });
}

#[test]
fn what_is_preloaded_speaks_for_our_mounts_alone() {
    if !can_mount() || !is_there("stdio.h") {
        return;
    }
    let host = Host::new();
    let preloaded = |program: &str, arguments: &[&OsStr]| {
        let ran = Running::start(host.set_up(preloaded(&host, program), arguments)).end();
        (ran.status, ran.out.trim_end().to_owned())
    };
    let kind = |place: &OsStr| preloaded("stat", &["-f".as_ref(), "-c%t".as_ref(), place]);
    // A blank in its path is not one in the kernel's list of mounts.
    let mounted = Mounted::with_domain(&host, "lock domains");
    drop(mounted.open("l", How::Shared).expect("free"));
    let control = host.path("control");
    fs::create_dir(&control).expect("a directory");
    let mut serve = host.command(&["mount", "control", "--foreground"]);
    serve.arg(&control);
    let _unmount = crate::mounted::UnmountAtEnd(control.clone());
    let _served = Running::start(serve);
    crate::host::eventually("the mount", || control.join("cluster_stack").exists());
    for (place, expected) in [
        (mounted.path(""), "76a9f425"),
        (mounted.path("d"), "76a9f425"),
        (mounted.path("d/l"), "76a9f425"),
        (control, "65735546"),
        ("/proc".into(), "9fa0"),
    ] {
        assert_eq!(kind(place.as_os_str()), (0, expected.to_owned()), "{}", place.display());
    }
    let capabilities = preloaded("cat", &[CAPABILITIES.as_ref()]);
    assert_eq!(capabilities, (0, "bast stackglue".to_owned()));
}

/// Whether C programs can be built that use this; says so if not.
fn is_there(header: &str) -> bool {
    let mut compiler = Command::new("cc");
    compiler.args(["-E", "-include", header, "-xc", "/dev/null"]);
    let is_there = compiler.output().is_ok_and(|output| output.status.success());
    if !is_there {
        println!("skipped: no cc with {header} (apt install gcc ocfs2-tools-dev comerr-dev)");
    }
    is_there
}

fn o2dlmcalls(host: &Host) -> PathBuf {
    let program = host.path("o2dlmcalls");
    build(host, &[top("lab/src/o2dlmcalls.c"), "-lo2dlm".into(), "-lcom_err".into()], &program);
    program
}

/// The program, with the library in front of its own.
fn preloaded(host: &Host, program: impl AsRef<OsStr>) -> Command {
    let library = host.path("libstackglue-dlmfs.so");
    if !library.exists() {
        build(host, &["-fPIC".into(), "-shared".into(), top("preload/dlmfs.c")], &library);
    }
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", library);
    command
}

fn build(host: &Host, arguments: &[PathBuf], output: &std::path::Path) {
    let mut compiler = host.set_up(Command::new("cc"), arguments);
    let built = compiler.args(["-Wall", "-Werror", "-o"]).arg(output).output();
    let built = built.expect("it was found");
    assert!(built.status.success(), "{built:?}");
}

/// A file of the repository.
fn top(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

const CAPABILITIES: &str = "/sys/module/ocfs2_dlmfs/parameters/capabilities";

/// What the program ends with when the library says `O2DLM_ET_NO_FS`.
const OTHER_FILE_SYSTEM: i32 = 3;
