//! The control tree, mounted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::cluster::Cluster;
use crate::host::{Host, eventually};

/// A control tree; unmounted when dropped.
struct Control<'host> {
    host: &'host Host,
    point: PathBuf,
}

impl<'host> Control<'host> {
    /// `None`, aloud, where there is no FUSE.
    fn mount(host: &'host Host) -> Option<Control<'host>> {
        if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            println!("skipped: /dev/fuse cannot be opened: {error}");
            return None;
        }
        let point = host.path("control");
        fs::create_dir(&point).expect("a directory");
        host.run_well(&["mount".as_ref(), "control".as_ref(), point.as_os_str()]);
        Some(Control { host, point })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.point.join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// As a shell's `>` does it.
    fn write(&self, path: &str, text: &[u8]) -> Result<(), Errno> {
        errno(fs::write(self.path(path), text))
    }

    fn files(&self, path: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path).expect("a directory") {
            let entry = entry.expect("a name");
            if entry.file_type().expect("a type").is_dir() {
                found.extend(self.files(&entry.path()));
            } else {
                found.push(entry.path());
            }
        }
        found.sort();
        found
    }
}

impl Drop for Control<'_> {
    fn drop(&mut self) {
        let ran = self.host.run(&["umount".as_ref(), self.point.as_os_str()]);
        if !std::thread::panicking() {
            assert_eq!(ran.status, 0, "{ran:?}");
        }
    }
}

fn errno<T>(outcome: io::Result<T>) -> Result<T, Errno> {
    outcome.map_err(|error| Errno::from_io_error(&error).expect("of the system"))
}

#[test]
fn the_files_of_the_glue_behave_as_in_sysfs() {
    let host = Host::new();
    host.run_well(&["stack"]);
    let Some(control) = Control::mount(&host) else { return };
    let files: Vec<_> = control
        .files(&control.point)
        .iter()
        .map(|path| {
            let mode = fs::metadata(path).expect("there").mode();
            let name = path.strip_prefix(&control.point).expect("below").display().to_string();
            format!("{:o} {name}={}", mode & 0o777, fs::read_to_string(path).expect("text"))
        })
        .collect();
    assert_eq!(
        files,
        [
            "444 active_cluster_plugin=",
            "644 cluster_stack=solo\n",
            "444 dlm_recover_callback_support=1\n",
            "644 hb_ctl_path=/sbin/ocfs2_hb_ctl\n",
            "444 loaded_cluster_plugins=user\n",
            "444 max_locking_protocol=1.0\n",
            "444 o2cb/interface_revision=5\n",
        ]
    );
    for (path, text, expected) in [
        ("cluster_stack", &b"solo\n"[..], Ok(())),
        ("cluster_stack", b"sol\n", Err(Errno::INVAL)),
        ("cluster_stack", b"so\0o", Err(Errno::INVAL)),
        ("hb_ctl_path", &[b'/'; 256], Err(Errno::INVAL)),
        ("hb_ctl_path", &[b'/'; 5000], Err(Errno::INVAL)),
        ("hb_ctl_path", b"/bin/true\n", Ok(())),
        ("max_locking_protocol", b"1.1\n", Err(Errno::ACCESS)),
        ("no_such_file", b"1", Err(Errno::PERM)),
        ("cluster", b"1", Err(Errno::ISDIR)),
    ] {
        assert_eq!(control.write(path, text), expected, "{:?} to {path}", text.escape_ascii());
    }
    assert_eq!(control.read("hb_ctl_path"), "/bin/true\n");

    let mode = |path| fs::metadata(control.path(path)).expect("there").mode() & 0o777;
    assert_eq!((mode("cluster"), mode("debug")), (0o755, 0o700));
    assert_eq!(errno(fs::create_dir(control.path("cluster/web"))), Err(Errno::PERM));
    assert_eq!(errno(fs::remove_dir(control.path("debug"))), Err(Errno::PERM));
    assert_eq!(errno(fs::remove_file(control.path("cluster_stack"))), Err(Errno::PERM));
    let (from, to) = (control.path("hb_ctl_path"), control.path("x"));
    assert_eq!(errno(fs::rename(from, to)), Err(Errno::PERM));
    let nothing = fs::read(control.path("debug/o2dlm/x/dlm_state")).expect_err("no domain");
    assert_eq!(nothing.kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_read_from_one_open_belongs_together_and_each_write_is_a_whole_text() {
    let host = Host::new();
    host.run_well(&["stack"]);
    let Some(control) = Control::mount(&host) else { return };
    let path = control.path("hb_ctl_path");
    let mut reader = File::open(&path).expect("there");
    let mut first = [0; 5];
    reader.read_exact(&mut first).expect("text");

    let mut writer = OpenOptions::new().append(true).open(&path).expect("writable");
    for text in ["/bin/false\n", "/bin/true\n"] {
        writer.write_all(text.as_bytes()).expect("taken");
        assert_eq!(control.read("hb_ctl_path"), text);
    }
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("text");
    assert_eq!((&first, rest.as_str()), (b"/sbin", "/ocfs2_hb_ctl\n"));
}

#[test]
fn the_tree_shows_the_daemon_that_runs_now() {
    let host = Host::new();
    host.run_well(&["stack"]);
    let Some(control) = Control::mount(&host) else { return };
    assert_eq!(control.read("cluster_stack"), "solo\n");
    host.kill_daemon();
    let path = control.path("cluster_stack");
    eventually("no daemon", || errno(fs::read(&path)) == Err(Errno::SRCH));
    host.run_well(&["stack"]);
    assert_eq!(control.read("cluster_stack"), "solo\n");
}

#[test]
fn a_node_is_seen_and_steered_through_its_files() {
    let cluster = Cluster::start(2, "");
    let host = cluster.host(1);
    let Some(control) = Control::mount(host) else { return };
    host.run_well(&["lock", "name", "--", "true"]);
    for (path, text) in [
        ("loaded_cluster_plugins", "o2cb\nuser\n"),
        ("cluster/test/node/node1/local", "1\n"),
        ("cluster/test/node/node2/num", "2\n"),
        ("cluster/test/heartbeat/dead_threshold", "4\n"),
        ("debug/o2hb/livenodes", "1 2 \n"),
    ] {
        assert_eq!(control.read(path), text, "{path}");
    }
    let state = control.read("debug/o2dlm/default/dlm_state");
    assert!(state.contains("\nDomain Map: 1 "), "{state}");
    for path in control.files(&control.point) {
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    for (path, text, expected) in [
        // The nodes are connected.
        ("cluster/test/idle_timeout_ms", "60000\n", Err(Errno::INVAL)),
        ("cluster/test/idle_timeout_ms", "30000\n", Ok(())),
        ("cluster/test/reconnect_delay_ms", "0x200\n", Ok(())),
        ("cluster/test/node/node2/num", "2\n", Err(Errno::EXIST)),
        ("cluster/test/node/node2/num", "9\n", Err(Errno::BUSY)),
        ("cluster/test/node/node2/num", "255\n", Err(Errno::RANGE)),
        ("cluster/test/fence_method", "notify\n", Ok(())),
        ("cluster/test/heartbeat/test/blocks", "9\n", Err(Errno::INVAL)),
        ("cluster/test/heartbeat/test/pid", "9\n", Err(Errno::ACCESS)),
    ] {
        assert_eq!(control.write(path, text.as_bytes()), expected, "{text:?} to {path}");
    }
    assert_eq!(control.read("cluster/test/reconnect_delay_ms"), "512\n");
    assert_eq!(control.read("cluster/test/fence_method"), "notify\n");
}
