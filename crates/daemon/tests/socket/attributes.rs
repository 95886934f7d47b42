//! The control tree and the heartbeat references, through the socket.

use std::net::{Ipv4Addr, TcpListener};

use dlm::{Errno, Mode};
use o2cb::cluster_conf::{ClusterConf, NewNode};
use o2cb::heartbeat::disk::create_region_file;
use o2cb::{NodeId, RegionOptions};
use stackglue_daemon::control::{AttributeItem, AttributeKind, Bytes, HeartbeatItem, TextItem};
use stackglue_daemon::{Client, ClientError, Config, ControlRequest, HeartbeatPlace};
use tempfile::TempDir;

use crate::support::{Daemon, counter, lock, unlock};

fn end(client: &mut Client, request: &ControlRequest) -> Result<(), i32> {
    match client.control(request).expect("sent").last() {
        Some(Err(ClientError::Refused { errno, text })) => {
            assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
            Err(errno)
        }
        Some(Err(error)) => panic!("{error}"),
        Some(Ok(_)) | None => Ok(()),
    }
}

fn list(client: &mut Client, path: &str) -> Vec<AttributeItem> {
    let request = ControlRequest::Attributes { path: path.to_owned() };
    client.control(&request).expect("sent").read_all().expect("a directory")
}

fn read(client: &mut Client, path: &str) -> String {
    let request = ControlRequest::ReadAttribute { path: path.to_owned() };
    let parts: Vec<TextItem> = client
        .control(&request)
        .expect("sent")
        .read_all()
        .unwrap_or_else(|error| panic!("{error}"));
    parts.into_iter().map(|part| part.text).collect()
}

fn write(client: &mut Client, path: &str, text: &[u8]) -> Result<(), i32> {
    let (path, text) = (path.to_owned(), Bytes(text.to_vec()));
    end(client, &ControlRequest::WriteAttribute { path, text })
}

/// Every file below a directory.
fn files(client: &mut Client, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for AttributeItem { name, kind } in list(client, path) {
        let below = if path.is_empty() { name } else { format!("{path}/{name}") };
        match kind {
            AttributeKind::Directory => found.extend(files(client, &below)),
            _ => found.push(below),
        }
    }
    found
}

#[test]
fn a_daemon_alone_has_the_attributes_of_the_glue_and_empty_directories() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let texts: Vec<(String, String)> = files(&mut client, "")
        .into_iter()
        .map(|path| {
            let text = read(&mut client, &path);
            (path, text)
        })
        .collect();
    let texts: Vec<_> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(
        texts,
        [
            ("max_locking_protocol", "1.0\n"),
            ("loaded_cluster_plugins", "user\n"),
            ("active_cluster_plugin", ""),
            ("cluster_stack", "solo\n"),
            ("dlm_recover_callback_support", "1\n"),
            ("hb_ctl_path", "/sbin/ocfs2_hb_ctl\n"),
            ("o2cb/interface_revision", "5\n"),
        ]
    );
    for directory in ["cluster", "debug/o2dlm", "debug/o2hb"] {
        assert_eq!(list(&mut client, directory), [], "{directory}");
    }
}

#[test]
fn a_write_to_the_glue_has_the_errno_of_the_kernel() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let long = [b'/'; 256];
    let cases: [(&str, &[u8], Result<(), Errno>); 12] = [
        ("cluster_stack", b"", Ok(())),
        ("cluster_stack", b"solo\n", Ok(())),
        ("cluster_stack", b"solo", Ok(())),
        ("cluster_stack", b"sol", Err(Errno::EINVAL)),
        ("cluster_stack", b"solo\n\n", Err(Errno::EINVAL)),
        ("cluster_stack", b"so\0o", Err(Errno::EINVAL)),
        ("cluster_stack", b"\xff\xff\xff\xff", Err(Errno::EINVAL)),
        ("hb_ctl_path", b"/bin/true\n", Ok(())),
        ("hb_ctl_path", &long, Err(Errno::EINVAL)),
        ("max_locking_protocol", b"1.1\n", Err(Errno::EACCES)),
        ("o2cb/interface_revision", b"6\n", Err(Errno::EACCES)),
        ("no_such_file", b"1", Err(Errno::ENOENT)),
    ];
    for (path, text, expected) in cases {
        let written = write(&mut client, path, text);
        assert_eq!(written, expected.map_err(Errno::number), "{:?} to {path}", text.escape_ascii());
    }
    assert_eq!(read(&mut client, "hb_ctl_path"), "/bin/true\n");

    let (held, _) = lock(&mut client, "n", Mode::EX);
    assert_eq!(read(&mut client, "active_cluster_plugin"), "user\n");
    assert_eq!(write(&mut client, "cluster_stack", b"pcmk"), Err(Errno::EBUSY.number()));
    assert_eq!(write(&mut client, "cluster_stack", b"solo"), Ok(()));
    unlock(&mut client, held);
    assert_eq!(counter(&mut client, "attributes_written"), 5);
    assert_eq!(counter(&mut client, "attributes_refused"), 9);
}

#[test]
fn what_is_not_there_is_enoent_however_it_is_asked_for() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let long = "a/".repeat(10_000);
    for path in ["/", "..", "cluster/..", "cluster_stack/", "debug/o2dlm/x", "debug/o2hb/x", &long]
    {
        let path = || path.to_owned();
        for request in [
            ControlRequest::Attributes { path: path() },
            ControlRequest::ReadAttribute { path: path() },
            ControlRequest::WriteAttribute { path: path(), text: Bytes(b"1".to_vec()) },
        ] {
            assert_eq!(end(&mut client, &request), Err(Errno::ENOENT.number()), "{request:?}");
        }
    }
}

#[test]
fn where_nothing_heartbeats_there_is_nothing_to_start_or_stop() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let region = || "R".to_owned();
    let start = ControlRequest::StartHeartbeat { region: region(), device: None };
    assert_eq!(end(&mut client, &start), Ok(()));
    assert_eq!(end(&mut client, &ControlRequest::StopHeartbeat { region: region() }), Ok(()));
    assert_eq!(heartbeat(&mut client, "R"), (0, false));
}

#[test]
fn a_name_that_no_region_can_have_is_refused_however_long() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    for len in [0, 33, 65_490] {
        let region = "R".repeat(len);
        for request in [
            ControlRequest::Heartbeat { region: region.clone() },
            ControlRequest::StopHeartbeat { region: region.clone() },
        ] {
            assert_eq!(end(&mut client, &request), Err(Errno::EINVAL.number()), "{len} bytes");
        }
    }
}

fn heartbeat(client: &mut Client, region: &str) -> (u32, bool) {
    let request = ControlRequest::Heartbeat { region: region.to_owned() };
    let items: Vec<HeartbeatItem> =
        client.control(&request).expect("sent").read_all().expect("an item");
    let [item] = &items[..] else { panic!("{items:?}") };
    (item.references, item.is_counted)
}

/// The only node of a cluster, which heartbeats on a file.
fn node_of_its_own() -> (Daemon, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hb");
    let region = RegionOptions::of_file("heartbeat", &path).expect("a region");
    create_region_file(&path, region.geometry).expect("a file");
    let mut conf = ClusterConf::default();
    let cluster = conf.add_cluster("web").expect("a name");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map(|at| at.port());
    let alpha = NewNode {
        name: "alpha",
        number: NodeId::new(7),
        address: Ipv4Addr::LOCALHOST,
        port: Some(port.expect("a port")),
    };
    cluster.add_node(&alpha).expect("a node");
    conf.save(&directory.path().join("conf")).expect("saved");
    let change = |config: &mut Config| {
        config.stack = "o2cb".to_owned();
        config.o2cb.conf = directory.path().join("conf");
        config.o2cb.node = Some("alpha".to_owned());
        config.o2cb.heartbeat = vec![HeartbeatPlace::File { path, name: "heartbeat".to_owned() }];
    };
    (Daemon::start_with(change), directory)
}

#[test]
fn a_node_has_its_cluster_its_heartbeat_and_its_domains() {
    let (daemon, _directory) = node_of_its_own();
    let mut client = daemon.client("a");
    let (held, _) = lock(&mut client, "name", Mode::EX);
    for (path, expected) in [
        ("loaded_cluster_plugins", "o2cb\nuser\n"),
        ("active_cluster_plugin", "o2cb\n"),
        ("cluster/web/idle_timeout_ms", "30000\n"),
        ("cluster/web/fence_method", "kill\n"),
        ("cluster/web/node/alpha/num", "7\n"),
        ("cluster/web/node/alpha/local", "1\n"),
        ("cluster/web/heartbeat/mode", "local\n"),
        ("cluster/web/heartbeat/heartbeat/dev", "hb\n"),
        ("cluster/web/heartbeat/heartbeat/start_block", "1\n"),
        ("debug/o2hb/livenodes", "7 \n"),
        ("debug/o2hb/heartbeat/pinned", "0\n"),
    ] {
        assert_eq!(read(&mut client, path), expected, "{path}");
    }
    let pid = read(&mut client, "cluster/web/heartbeat/heartbeat/pid");
    let thread = format!("/proc/self/task/{}/comm", pid.trim_end());
    assert_eq!(std::fs::read_to_string(thread).expect("a thread of ours"), "o2hb-7\n");
    let state = read(&mut client, "debug/o2dlm/default/dlm_state");
    assert!(state.starts_with("Domain: default  Key: 0x"), "{state}");
    let locks = read(&mut client, "debug/o2dlm/default/locking_state");
    assert!(locks.contains("NAME:name\nLRES:1,7,"), "{locks}");
    for path in files(&mut client, "") {
        read(&mut client, &path);
    }

    // A domain keeps the stack in use, and the file says so.
    assert_eq!(write(&mut client, "cluster_stack", b"solo"), Err(Errno::EBUSY.number()));
    assert_eq!(write(&mut client, "cluster_stack", b"so"), Err(Errno::EINVAL.number()));
    assert_eq!(write(&mut client, "cluster_stack", b"o2cb"), Ok(()));
    for (file, text) in [
        ("fence_method", "PANIC\n"),
        ("reconnect_delay_ms", "500\n"),
        // Nobody is connected.
        ("idle_timeout_ms", "60000\n"),
    ] {
        let path = format!("cluster/web/{file}");
        assert_eq!(write(&mut client, &path, text.as_bytes()), Ok(()), "{file}");
        assert_eq!(read(&mut client, &path), text.to_lowercase());
    }
    assert_eq!(write(&mut client, "cluster/web/fence_method", b"kill\n"), Ok(()));
    let threshold = "cluster/web/heartbeat/dead_threshold";
    assert_eq!(write(&mut client, threshold, b"61"), Ok(()));
    assert_eq!(read(&mut client, threshold), "31\n", "accepted and ignored, as by a kernel");

    // The configuration has a reference of its own to the region, which nobody can give back.
    assert_eq!(heartbeat(&mut client, "heartbeat"), (1, true));
    let region = || "heartbeat".to_owned();
    let start = ControlRequest::StartHeartbeat { region: region(), device: None };
    let stop = ControlRequest::StopHeartbeat { region: region() };
    assert_eq!(end(&mut client, &start), Ok(()));
    assert_eq!(heartbeat(&mut client, "heartbeat"), (2, true));
    assert_eq!(end(&mut client, &stop), Ok(()));
    assert_eq!(end(&mut client, &stop), Err(Errno::ENOENT.number()));
    assert_eq!(heartbeat(&mut client, "heartbeat"), (1, true));
    let unknown = |device| ControlRequest::StartHeartbeat { region: "X".into(), device };
    assert_eq!(end(&mut client, &unknown(None)), Err(Errno::ENOENT.number()));
    let no_volume = unknown(Some("/dev/null".to_owned()));
    assert_eq!(end(&mut client, &no_volume), Err(Errno::EIO.number()));
    unlock(&mut client, held);
}
