//! Keepalives, idle connections, and what quorum is told.

use stackglue_o2cb::Timeouts;
use stackglue_o2cb::o2net::{Handshake, Header, Kind, Net, NetConfig, NodeState, Output};

use crate::solo::{HANDSHAKE, Solo, address, node, request};

/// `fa 57` or `fa 58`, and zeros.
fn keepalive(kind: Kind) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[..2].copy_from_slice(&kind.magic().to_be_bytes());
    assert_eq!(bytes, Header::keepalive(kind).to_bytes());
    bytes
}

// Behaviour 128.
#[test]
fn one_keepalive_request_is_sent_2_s_after_the_last_thing_received() {
    let (mut solo, link) = Solo::valid();
    assert_eq!(solo.pass(1999), []);
    assert_eq!(solo.sent(link), []);
    solo.pass(1);
    assert_eq!(solo.sent(link), keepalive(Kind::KeepaliveRequest));
    solo.pass(20_000);
    assert_eq!(solo.sent(link), []);
    solo.feed(link, &keepalive(Kind::KeepaliveResponse));
    solo.pass(2000);
    assert_eq!(solo.sent(link), keepalive(Kind::KeepaliveRequest));
}

// Behaviour 129.
#[test]
fn a_keepalive_request_is_answered_at_once() {
    let (mut solo, link) = Solo::valid();
    solo.feed(link, &keepalive(Kind::KeepaliveRequest));
    assert_eq!(solo.sent(link), keepalive(Kind::KeepaliveResponse));
    solo.feed(link, &keepalive(Kind::KeepaliveResponse));
    assert_eq!(solo.sent(link), []);
}

// Behaviour 130.
#[test]
fn receiving_puts_the_timers_off_and_sending_does_not() {
    for (received, idle_after_ms) in [(true, 30_000), (false, 29_000)] {
        let (mut solo, link) = Solo::valid();
        solo.pass(1000);
        if received {
            solo.feed(link, &request(510, 0, b""));
        }
        assert_eq!(solo.send(2, b"", 1), Ok(()));
        let error = Output::ConnectionError(node(2));
        assert_eq!(solo.pass(idle_after_ms), [(idle_after_ms, error)]);
    }
}

#[test]
fn other_times_are_in_force_for_the_connections_that_come() {
    let timeouts = Timeouts {
        idle_timeout_ms: 60_000,
        keepalive_delay_ms: 5000,
        reconnect_delay_ms: 500,
        ..Timeouts::default()
    };
    let handshake = Handshake {
        idle_timeout_ms: 60_000,
        keepalive_delay_ms: 5000,
        reconnect_delay_ms: 500,
        ..HANDSHAKE
    };
    let mut solo = Solo::new(1);
    solo.net.set_timeouts(&timeouts);
    solo.net.heartbeat_up(solo.now, node(2));
    let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
    solo.feed(link, &handshake.to_bytes());
    assert_eq!(solo.sent(link), handshake.to_bytes());
    assert_eq!(solo.state(2), NodeState::Valid);
    solo.outputs();
    solo.pass(4999);
    assert_eq!(solo.sent(link), []);
    solo.pass(1);
    assert_eq!(solo.sent(link), keepalive(Kind::KeepaliveRequest));
    assert_eq!(solo.pass(55_000), [(55_000, Output::ConnectionError(node(2)))]);
}

#[test]
fn half_a_frame_is_nothing_received() {
    let (mut solo, link) = Solo::valid();
    solo.pass(1000);
    solo.feed(link, &request(510, 0, b"")[..23]);
    assert_eq!(solo.pass(29_000), [(29_000, Output::ConnectionError(node(2)))]);
}

// Behaviour 131.
#[test]
fn an_idle_connection_stays_and_quorum_has_its_verdict_66_s_later() {
    let (mut solo, link) = Solo::valid();
    let (error, still_up) = (Output::ConnectionError(node(2)), Output::StillUp(node(2)));
    assert_eq!(solo.pass(30_000), [(30_000, error)]);
    assert_eq!(solo.state(2), NodeState::Idle);
    assert_eq!(solo.send(2, b"", 1), Ok(()));
    solo.sent(link);
    assert_eq!(solo.pass(30_000), []);
    assert_eq!(solo.sent(link), keepalive(Kind::KeepaliveRequest));
    assert_eq!(solo.pass(300_000), [(36_000, still_up)]);
    assert_eq!(solo.sent(link), keepalive(Kind::KeepaliveRequest).repeat(10));
    assert_eq!(solo.state(2), NodeState::Idle);
}

/// What a Linux 6.1 node did when the link to its peer was cut, with an idle timeout of 5 s and a dead
/// threshold of 7: the verdict 18 s after the first idle timeout, and 8 keepalive requests (the first one
/// 2 s after the last thing received, then one after each idle timeout) until the peer's heartbeat went
/// down 38 s later.
#[test]
fn a_link_that_is_cut_is_to_this_node_what_it_is_to_a_kernel() {
    let nodes = vec![(node(1), address(1), 7777), (node(2), address(2), 7777)];
    let mut config = NetConfig::with_defaults(node(1), nodes);
    (config.idle_timeout_ms, config.heartbeat_timeout_ms, config.dead_threshold) =
        (5000, 12_000, 7);
    let theirs = Handshake { idle_timeout_ms: 5000, heartbeat_timeout_ms: 12_000, ..HANDSHAKE };
    let mut solo = Solo { net: Net::new(config).expect("it adds up"), ..Solo::new(1) };
    solo.net.heartbeat_up(solo.now, node(2));
    let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
    solo.feed(link, &theirs.to_bytes());
    solo.outputs();
    solo.sent(link);
    let (error, still_up) = (Output::ConnectionError(node(2)), Output::StillUp(node(2)));
    assert_eq!(solo.pass(38_000), [(5000, error), (23_000, still_up)]);
    assert_eq!(solo.sent(link), keepalive(Kind::KeepaliveRequest).repeat(8));
}

// Behaviour 82.
#[test]
fn an_idle_connection_that_wakes_is_up_and_has_no_verdict() {
    let (mut solo, link) = Solo::valid();
    solo.pass(90_000);
    solo.feed(link, &keepalive(Kind::KeepaliveResponse));
    assert_eq!(solo.outputs(), [Output::ConnectionUp(node(2))]);
    assert_eq!(solo.state(2), NodeState::Valid);
    let error = Output::ConnectionError(node(2));
    assert_eq!(solo.pass(40_000), [(30_000, error)]);
}

// Behaviours 79 and 80.
#[test]
fn a_lost_connection_has_its_verdict_unless_the_heartbeat_goes_down() {
    for goes_down in [false, true] {
        let (mut solo, link) = Solo::valid();
        solo.close(link);
        assert_eq!(solo.outputs(), [Output::ConnectionError(node(2))]);
        assert_eq!(solo.pass(65_999), []);
        if goes_down {
            solo.net.heartbeat_down(solo.now, node(2));
        }
        let still_up = (1, Output::StillUp(node(2)));
        assert_eq!(solo.pass(600_000), if goes_down { vec![] } else { vec![still_up] });
        assert_eq!(solo.net.next_timeout(), None);
    }
}

#[test]
fn a_connection_that_is_lost_while_idle_is_one_error() {
    let (mut solo, link) = Solo::valid();
    assert_eq!(solo.pass(40_000), [(30_000, Output::ConnectionError(node(2)))]);
    solo.close(link);
    assert_eq!(solo.outputs(), []);
    assert_eq!(solo.pass(600_000), [(56_000, Output::StillUp(node(2)))]);
}

#[test]
fn a_connection_that_is_made_again_has_no_verdict() {
    let (mut solo, link) = Solo::valid();
    solo.close(link);
    solo.pass(10_000);
    solo.accept_valid();
    assert_eq!(solo.outputs(), [Output::ConnectionUp(node(2))]);
    assert_eq!(solo.pass(90_000), [(30_000, Output::ConnectionError(node(2)))]);
}
