//! A connection that is lost while both its ends live and heartbeat.

use std::time::Duration;

use lab::{Error, Lab, eventually};
use stackglue::Mode;

use crate::ours::{LOST, Ours, SOON, options};

/// Our end of the connection with a guest is gone, and the guest is told so (RST).
fn reset(lab: &Lab, guest: u8) {
    let peer = format!("10.77.0.{guest}");
    let mut command = lab.netns_command("ss");
    let output = command.args(["-K", "-H", "-t", "dst", &peer]).output().expect("iproute2");
    let killed = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(killed, 1, "this machine's kernel destroys no sockets? {output:?}");
}

fn link(ours: &Ours, number: u8) -> String {
    let nodes = ours.node.status().nodes;
    let node = nodes.into_iter().find(|node| node.node.get() == number);
    node.and_then(|node| node.link).expect("a peer")
}

// Behaviour 106.
#[test]
fn a_kernel_with_the_higher_number_connects_again_after_its_idle_timeout() -> Result<(), Error> {
    lab::shared(options(true), |lab| {
        let one = lab.guest(1);
        let ours = Ours::start(lab);
        one.exec("mkdir /dlm/later")?.success()?;
        let us = ours.join("later");
        reset(lab, 1);
        assert!(eventually(SOON, || link(&ours, 11) == "broken"));
        // Several of its reconnect delays of 2 s.
        let again = || link(&ours, 11) == "valid";
        assert!(!eventually(Duration::from_secs(8), again), "it has connected before");
        assert!(eventually(SOON, again), "it never connects");
        us.lock("a", Mode::EX).unlock().wait().expect("unlocked");
        one.exec("/lab/bin/dlmfsx steps /dlm/later/a ex c")?.success()?;
        us.leave();
        ours.stop();
        assert!(lab.guests().all(|guest| guest.is_alive()), "a kernel fenced itself");
        assert_eq!(one.kernel_errors(&LOST)?, [] as [String; 0]);
        Ok(())
    })
}

// Behaviour 105.
#[test]
fn we_connect_again_to_a_kernel_with_a_lower_number_and_locks_go_on() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let one = lab.guest(1);
        let ours = Ours::start(lab);
        one.exec("mkdir /dlm/again")?.success()?;
        let us = ours.join("again");
        one.exec("/lab/bin/dlmfsx steps /dlm/again/a ex c")?.success()?;
        reset(lab, 1);
        assert!(eventually(SOON, || link(&ours, 1) == "valid"));
        us.lock("a", Mode::EX).unlock().wait().expect("unlocked");
        one.exec("/lab/bin/dlmfsx steps /dlm/again/b ex c")?.success()?;
        us.lock("b", Mode::EX).unlock().wait().expect("unlocked");
        us.leave();
        ours.stop();
        assert!(lab.guests().all(|guest| guest.is_alive()), "a kernel fenced itself");
        assert_eq!(one.kernel_errors(&LOST)?, [] as [String; 0]);
        Ok(())
    })
}
