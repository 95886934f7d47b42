//! `stackglue o2cb` and `stackglue slots`: files and volumes, and no daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::host::Host;

fn conf(host: &Host, words: &[&str]) -> Vec<String> {
    let path = host.path("etc/ocfs2/cluster.conf").display().to_string();
    let words = words.iter().map(ToString::to_string);
    ["o2cb".to_owned()].into_iter().chain(words).chain(["--conf".to_owned(), path]).collect()
}

#[test]
fn a_cluster_is_described_node_by_node_and_checked() {
    let host = Host::new();
    let path = host.path("etc/ocfs2/cluster.conf");
    assert!(host.run_well(&conf(&host, &["check"])).out.contains("no such file"));
    host.run_well(&conf(&host, &["init", "web"]));
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let short = hostname.split('.').next().expect("a name");
    let added = host.run_well(&conf(&host, &["add-node", "web", short, "--ip", "10.0.0.1"])).out;
    assert!(added.ends_with(&format!("node 0 is {short} at 10.0.0.1:7777\n")), "{added}");
    let other = ["add-node", "web", "zz", "--ip", "10.0.0.2", "--port", "8000", "--number", "254"];
    host.run_well(&conf(&host, &other));

    let text = fs::read_to_string(&path).expect("it was written");
    assert!(text.starts_with("cluster:\n\tname = web\n"), "{text}");
    assert!(text.contains("\tnode_count = 2\n"), "{text}");
    let checked = host.run_well(&conf(&host, &["check"])).out;
    assert!(checked.starts_with(&format!("{}: good\n", path.display())), "{checked}");
    assert!(checked.contains(&format!("this host, {hostname}, is node 0\n")), "{checked}");
    assert!(checked.lines().any(|line| line.starts_with("254 ") && line.contains("8000")));
    assert!(host.daemon().is_none());
}

#[test]
fn what_cannot_be_added_is_told_and_changes_nothing() {
    let host = Host::new();
    let path = host.path("etc/ocfs2/cluster.conf");
    host.run_well(&conf(&host, &["init", "web"]));
    host.run_well(&conf(&host, &["add-node", "web", "a", "--ip", "10.0.0.1"]));
    let before = fs::read(&path).expect("it was written");
    let cases: [(&[&str], u8, &str); 11] = [
        (&["init", "web"], 1, "web"),
        (&["init", "my_cluster"], 64, "letters and digits"),
        (&["add-node", "none", "b", "--ip", "10.0.0.2"], 1, "stackglue o2cb init"),
        (&["add-node", "web", "a", "--ip", "10.0.0.2"], 1, "\"a\""),
        (&["add-node", "web", "b", "--ip", "10.0.0.1"], 1, "10.0.0.1"),
        (&["add-node", "web", "b", "--ip", "10.0.0.2", "--number", "0"], 1, "number 0"),
        (&["add-node", "web", "b", "--ip", "10.0.0.2", "--number", "255"], 64, "0 to 254"),
        (&["add-node", "web", "b", "--ip", "10.0.0.256"], 64, "10.0.0.256"),
        (&["add-node", "web", "b", "--ip", "10.0.0.2", "--port", "65535"], 64, "65535"),
        (&["add-node", "web", "b/c", "--ip", "10.0.0.2"], 64, "b/c"),
        (&["add-node", "web", "no such host"], 71, "--ip"),
    ];
    for (words, status, word) in cases {
        host.run(&conf(&host, words)).expect_sentence(status.into(), &[word]);
    }
    assert_eq!(fs::read(&path).expect("still there"), before);
}

#[test]
fn a_wrong_file_is_told_line_by_line_and_never_written() {
    let host = Host::new();
    host.run_well(&conf(&host, &["init", "web"]));
    let path = host.path("etc/ocfs2/cluster.conf");
    let wrong = "cluster:\n\tname = web\n\tnode_count = 0\n\n\tcolour = \x1b[2J\nnode\n";
    fs::write(&path, wrong).expect("written");
    let ran = host.run(&conf(&host, &["check"]));
    assert_eq!((ran.status, ran.err.as_str()), (1, ""), "{ran:?}");
    for start in ["  line 5: the empty line", "  line 6: \"node\"", "  line 5: nothing reads"] {
        assert!(ran.out.lines().any(|line| line.starts_with(start)), "{start}: {}", ran.out);
    }
    assert!(!ran.out.contains('\x1b'));
    let add = host.run(&conf(&host, &["add-node", "web", "a", "--ip", "10.0.0.1"]));
    add.expect_sentence(78, &["cluster.conf", "line 5"]);
    assert_eq!(fs::read_to_string(&path).expect("still there"), wrong);
}

#[test]
fn the_slots_of_a_volume_are_shown() {
    let host = Host::new();
    let image = host.path("image");
    let shown = image.display().to_string();
    host.run(&["slots", &shown]).expect_sentence(71, &["image"]);
    let file = fs::File::create(&image).expect("a file");
    file.set_len(64 << 20).expect("a sparse file");
    host.run(&["slots", &shown]).expect_sentence(1, &["image", "no OCFS2 volume"]);

    if !make_volume(&image) {
        return;
    }
    let out = host.run_well(&["slots", &shown]).out;
    for start in ["volume ", "stack      o2cb, cluster web\n", "heartbeat  255 blocks of 512 bytes"]
    {
        assert!(out.contains(start), "{start}: {out}");
    }
    assert!(out.ends_with("slots      4, 0 taken\n"), "{out}");
    assert!(host.daemon().is_none());
}

/// Makes a file an OCFS2 volume; `false`, aloud, where nothing can.
pub(crate) fn make_volume(image: &Path) -> bool {
    let Some(mkfs) = mkfs() else {
        println!("skipped: there is no mkfs.ocfs2 of ocfs2-tools");
        return false;
    };
    let file = fs::File::create(image).expect("a file");
    file.set_len(64 << 20).expect("a sparse file");
    // It asks whether to overwrite what it has just written, more than once.
    let script = "yes | \"$0\" -F -q -N 4 -L data --cluster-stack=o2cb --cluster-name=web \"$1\"";
    let mut made = Command::new("sh");
    made.args(["-c", script]).arg(mkfs).arg(image).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(made.status().expect("it starts").success());
    true
}

fn mkfs() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&paths).chain(["/sbin".into(), "/usr/sbin".into()]);
    directories.map(|directory| directory.join("mkfs.ocfs2")).find(|path| path.exists())
}
