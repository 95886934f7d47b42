//! The heartbeat control program.

use std::os::unix::fs::symlink;
use std::process::Command;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::host::{Host, Ran, STAY, eventually};
use crate::o2cb::make_volume;

/// `ocfs2_hb_ctl` of a host: a link to `stackglue`.
fn hb_ctl(host: &Host, arguments: &[&str]) -> Ran {
    let link = host.path("ocfs2_hb_ctl");
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_stackglue"), &link).expect("a link");
    }
    let mut command = Command::new(link);
    command.args(arguments).env("STACKGLUE_SOCKET", host.socket());
    Ran::from(command.output().expect("it starts"))
}

#[test]
fn the_heartbeat_control_program_has_two_exit_statuses() {
    let host = Host::new();
    let none = hb_ctl(&host, &["-K", "-u", "U"]);
    assert_eq!(none.status, 1, "no daemon: {none:?}");
    host.run_well(&["stack"]);
    for (arguments, status) in [
        (&["-K", "-u", "U"][..], 0),
        (&["-S", "-u", "U", "ocfs2"], 0),
        (&["-h"], 0),
        (&["-S", "-u", "U"], 1),
        (&["-S", "-d", "/dev/null", "ocfs2"], 1),
        (&["-P", "-u", "U", "-n", "8"], 1),
        (&["-x"], 1),
        (&[], 1),
    ] {
        let ran = hb_ctl(&host, arguments);
        assert_eq!(ran.status, status, "{arguments:?}: {ran:?}");
        assert_eq!(ran.err.lines().count(), usize::from(status == 1), "{ran:?}");
    }
    assert_eq!(hb_ctl(&host, &["-I", "-u", "ab"]).out, "ab: 0 refs\n");
    assert_eq!(host.run_well(&["hb-ctl", "-I", "-u", "ab"]).out, "ab: 0 refs\n");
}

#[test]
fn a_volume_is_heartbeated_on_while_somebody_has_a_reference() {
    let cluster = Cluster::start(1, "");
    let host = cluster.host(1);
    let image = host.path("volume");
    if !make_volume(&image) {
        return;
    }
    let device = image.display().to_string();
    let good = |arguments: &[&str]| {
        let ran = hb_ctl(host, arguments);
        assert_eq!(ran.status, 0, "{arguments:?}: {ran:?}");
        ran.out
    };
    let uuid = good(&["-I", "-d", &device]);
    let uuid = uuid.strip_suffix(": 0 refs\n").expect("nobody heartbeats on it").to_owned();
    assert_eq!(uuid.len(), 32);

    good(&["-S", "-d", &device, "ocfs2"]);
    good(&["-S", "-u", &uuid, "ocfs2"]);
    assert_eq!(good(&["-I", "-u", &uuid]), format!("{uuid}: 2 refs\n"));
    good(&["-P", "-u", &uuid.to_lowercase(), "-n", "0"]);

    // A domain of the volume's name lives by its heartbeat, as that of a mounted volume does.
    let mut holds = host.hold(&[&["-g", &uuid, "name"][..], &STAY].concat());
    good(&["-K", "-d", &device, "ocfs2"]);
    let pinned = hb_ctl(host, &["-K", "-u", &uuid]);
    assert_eq!(pinned.status, 1, "{pinned:?}");
    assert!(pinned.err.contains("is in use by a lock domain"), "{pinned:?}");
    assert_eq!(good(&["-I", "-u", &uuid]), format!("{uuid}: 1 refs\n"));

    // When nothing is locked in the domain any more, the hang-up leaves it.
    holds.signal(Signal::TERM);
    eventually("its end", || holds.has_ended());
    host.await_no_lock();
    good(&["-K", "-u", &uuid]);
    assert_eq!(good(&["-I", "-u", &uuid]), format!("{uuid}: 0 refs\n"));
    assert_eq!(hb_ctl(host, &["-K", "-u", &uuid]).status, 1, "it is not in use");

    // That of the configuration is nobody's to give back.
    assert_eq!(good(&["-I", "-u", "test"]), "test: 1 refs\n");
    assert_eq!(hb_ctl(host, &["-K", "-u", "test"]).status, 1);
}
