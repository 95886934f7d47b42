use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const REGION: &str = "632A924FDD844190BDA93C0DF6B94899";

fn id(number: u8) -> NodeId {
    NodeId::new(number).expect("a number")
}

/// Two nodes, alpha and beta; alpha is local, nobody is connected.
fn attributes() -> Attributes {
    let node = |name: &str, number| NodeConf {
        name: name.to_owned(),
        number: id(number),
        address: Ipv4Addr::new(10, 0, 0, number),
        port: 7777,
    };
    let live: NodeMap = [id(1), id(2)].into_iter().collect();
    Attributes {
        cluster: Cluster {
            name: "web".into(),
            heartbeat_mode: HeartbeatMode::Local,
            nodes: vec![node("alpha", 1), node("beta", 2)],
            regions: Vec::new(),
        },
        me: id(1),
        timeouts: Timeouts::default(),
        has_peers: false,
        fence: FenceMethod { word: "reset", all: &["reset", "panic"] },
        regions: vec![RegionAttributes {
            name: REGION.into(),
            block_bytes: 512,
            start_block: 1234,
            blocks: 255,
            device: "sdb1".into(),
            pid: Some(77),
            number: 0,
            elapsed_ms: 1500,
            is_pinned: true,
            live,
        }],
        live,
        global: GlobalRegions::default(),
    }
}

fn split(path: &str) -> Vec<&str> {
    path.split('/').collect()
}

/// Every file below a directory, with its entry.
fn files(attributes: &Attributes, path: &[&str]) -> Vec<(String, Entry)> {
    let mut found = Vec::new();
    for (name, entry) in attributes.list(path).expect("a directory") {
        let below = [path, &[&name]].concat();
        match entry {
            Entry::Directory => found.extend(files(attributes, &below)),
            entry => found.push((below.join("/"), entry)),
        }
    }
    found
}

#[test]
fn every_file_that_is_listed_reads_as_one_in_a_kernel() {
    let attributes = attributes();
    let texts: Vec<String> = files(&attributes, &[])
        .into_iter()
        .map(|(path, entry)| {
            let text = attributes.read(&split(&path)).expect("it is listed");
            let mode = if entry == Entry::Writable { "rw" } else { "ro" };
            format!("{mode} {path}={text}").replace(REGION, "REGION")
        })
        .collect();
    let expected = "\
rw cluster/web/idle_timeout_ms=30000
rw cluster/web/keepalive_delay_ms=2000
rw cluster/web/reconnect_delay_ms=2000
rw cluster/web/fence_method=reset
rw cluster/web/node/alpha/num=1
rw cluster/web/node/alpha/ipv4_port=7777
rw cluster/web/node/alpha/ipv4_address=10.0.0.1
rw cluster/web/node/alpha/local=1
rw cluster/web/node/beta/num=2
rw cluster/web/node/beta/ipv4_port=7777
rw cluster/web/node/beta/ipv4_address=10.0.0.2
rw cluster/web/node/beta/local=0
rw cluster/web/heartbeat/dead_threshold=31
rw cluster/web/heartbeat/mode=local
rw cluster/web/heartbeat/REGION/block_bytes=512
rw cluster/web/heartbeat/REGION/start_block=1234
rw cluster/web/heartbeat/REGION/blocks=255
rw cluster/web/heartbeat/REGION/dev=sdb1
ro cluster/web/heartbeat/REGION/pid=77
ro o2hb/livenodes=1 2 \n\
ro o2hb/live_regions=
ro o2hb/quorum_regions=
ro o2hb/failed_regions=
ro o2hb/REGION/livenodes=1 2 \n\
ro o2hb/REGION/num=0
ro o2hb/REGION/elapsed_time_in_ms=1500
ro o2hb/REGION/pinned=1
";
    assert_eq!(texts.concat(), expected);
}

// Behaviours 18, 21 and 26.
#[test]
fn a_write_has_the_errno_of_the_kernel() {
    let faster = Timeouts { reconnect_delay_ms: 500, ..Timeouts::default() };
    let longer = Timeouts { idle_timeout_ms: 60_000, ..Timeouts::default() };
    let region = format!("cluster/web/heartbeat/{REGION}");
    let cases: Vec<(&str, &[u8], Result<Change, Errno>)> = vec![
        ("cluster/web/idle_timeout_ms", b"0", Err(Errno::EINVAL)),
        ("cluster/web/idle_timeout_ms", b"ten", Err(Errno::EINVAL)),
        ("cluster/web/idle_timeout_ms", b"4294967295", Err(Errno::ERANGE)),
        ("cluster/web/idle_timeout_ms", b"2000", Err(Errno::EINVAL)),
        ("cluster/web/idle_timeout_ms", b"30000\n", Ok(Change::Nothing)),
        ("cluster/web/idle_timeout_ms", b"60000\n", Ok(Change::Timeouts(longer))),
        ("cluster/web/keepalive_delay_ms", b"30000", Err(Errno::EINVAL)),
        ("cluster/web/reconnect_delay_ms", b"500", Ok(Change::Timeouts(faster))),
        ("cluster/web/fence_method", b"panic\n", Ok(Change::FenceMethod("panic"))),
        ("cluster/web/fence_method", b"reset\n", Ok(Change::Nothing)),
        ("cluster/web/fence_method", b"panic", Err(Errno::EINVAL)),
        ("cluster/web/node/beta/num", b"255", Err(Errno::ERANGE)),
        ("cluster/web/node/beta/num", b"1", Err(Errno::EEXIST)),
        ("cluster/web/node/beta/num", b"9", Err(Errno::EBUSY)),
        ("cluster/web/node/beta/ipv4_port", b"0", Err(Errno::EINVAL)),
        ("cluster/web/node/beta/ipv4_port", b"65535", Err(Errno::ERANGE)),
        ("cluster/web/node/beta/ipv4_port", b"7777", Err(Errno::EBUSY)),
        ("cluster/web/node/beta/ipv4_address", b"10.0.0", Err(Errno::EINVAL)),
        ("cluster/web/node/beta/ipv4_address", b"10.0.0.256", Err(Errno::ERANGE)),
        ("cluster/web/node/beta/ipv4_address", b"10.0.0.1", Err(Errno::EEXIST)),
        ("cluster/web/node/beta/ipv4_address", b"10.0.0.9", Err(Errno::EBUSY)),
        ("cluster/web/node/beta/local", b"1", Err(Errno::EBUSY)),
        ("cluster/web/node/beta/local", b"0", Ok(Change::Nothing)),
        ("cluster/web/node/alpha/local", b"7", Ok(Change::Nothing)),
        ("cluster/web/node/alpha/local", b"0", Err(Errno::EBUSY)),
        ("cluster/web/heartbeat/dead_threshold", b"61", Ok(Change::Nothing)),
        ("cluster/web/heartbeat/dead_threshold", b"2", Ok(Change::Nothing)),
        ("cluster/web/heartbeat/dead_threshold", b"0x3d", Err(Errno::EINVAL)),
        ("cluster/web/heartbeat/mode", b"glob", Ok(Change::Nothing)),
        ("cluster/web/heartbeat/mode", b"", Err(Errno::EINVAL)),
        ("o2hb/livenodes", b"1", Err(Errno::EACCES)),
        ("cluster/web/nothing", b"1", Err(Errno::ENOENT)),
        ("cluster/db/idle_timeout_ms", b"1", Err(Errno::ENOENT)),
        ("cluster/web/node", b"1", Err(Errno::ENOENT)),
    ];
    let attributes = attributes();
    for (path, text, expected) in cases {
        let found = attributes.write(&split(path), text);
        assert_eq!(found, expected, "{:?} to {path}", String::from_utf8_lossy(text));
    }
    for file in ["block_bytes", "start_block", "blocks", "dev"] {
        let path = format!("{region}/{file}");
        assert_eq!(attributes.write(&split(&path), b"512"), Err(Errno::EINVAL), "{file}");
    }
    let pid = format!("{region}/pid");
    assert_eq!(attributes.write(&split(&pid), b"1"), Err(Errno::EACCES));
}

// Behaviour 23.
#[test]
fn while_a_peer_is_connected_two_times_stay_as_they_are() {
    let attributes = Attributes { has_peers: true, ..attributes() };
    for (file, other, same) in [
        ("idle_timeout_ms", &b"60000"[..], &b"30000"[..]),
        ("keepalive_delay_ms", b"1000", b"2000"),
    ] {
        let path = ["cluster", "web", file];
        assert_eq!(attributes.write(&path, other), Err(Errno::EINVAL), "{file}");
        assert_eq!(attributes.write(&path, same), Ok(Change::Nothing), "{file}");
    }
    let path = ["cluster", "web", "reconnect_delay_ms"];
    assert!(matches!(attributes.write(&path, b"500"), Ok(Change::Timeouts(_))));
}

proptest! {
    #[test]
    fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..40)) {
        let attributes = attributes();
        for (path, _) in files(&attributes, &[]) {
            let _ = attributes.write(&split(&path), &text);
        }
    }
}

#[test]
fn what_is_not_there_is_enoent() {
    let attributes = attributes();
    for path in [&[""][..], &["cluster"], &["cluster", ""], &["o2hb", "", ""], &["a"; 50]] {
        assert_eq!(attributes.read(path), None);
        assert_eq!(attributes.write(path, b"1"), Err(Errno::ENOENT));
    }
}
