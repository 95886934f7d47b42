//! Who connects, who is taken, and what happens when a connection is lost.

use stackglue_o2cb::o2net::{
    CONNECTOR_KERNEL, CONNECTOR_STACKGLUE, CloseReason, ConfigError, Handshake, HandshakeMismatch,
    Net, NetConfig, NetError, NodeState, Output, Refusal,
};

use crate::solo::{HANDSHAKE, Solo, address, ms, node, request, status};

const ECONNREFUSED: i32 = 111;

// Behaviours 85 and 87.
#[test]
fn the_higher_node_connects_at_once_from_its_own_address() {
    let mut solo = Solo::new(2);
    solo.net.heartbeat_up(solo.now, node(1));
    match solo.outputs()[..] {
        [Output::Connect { node: to_node, to, from, .. }] => {
            assert_eq!(to_node, node(1));
            assert_eq!(to.to_string(), "10.77.0.1:7777");
            assert_eq!(from, address(2));
        }
        ref others => panic!("one connection is asked for: {others:?}"),
    }
}

// Behaviour 86.
#[test]
fn the_lower_node_does_not_connect() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    assert_eq!(solo.outputs(), []);
    assert_eq!(solo.pass(600_000), []);
    assert_eq!(solo.state(2), NodeState::Waiting);
}

// Behaviours 88, 89, 90 and 91.
#[test]
fn who_may_not_connect_is_refused() {
    let mut solo = Solo::new(2);
    solo.net.heartbeat_up(solo.now, node(1));
    solo.net.heartbeat_up(solo.now, node(4));
    assert!(solo.net.accepted(solo.now, address(4)).is_ok());
    for (source, refusal) in [
        (9, Refusal::UnknownAddress(address(9))),
        (1, Refusal::NotHigher(node(1))),
        (2, Refusal::NotHigher(node(2))),
        (3, Refusal::HeartbeatDown(node(3))),
        (4, Refusal::Busy(node(4))),
    ] {
        assert_eq!(solo.net.accepted(solo.now, address(source)), Err(refusal));
    }
    assert_eq!(solo.net.strangers(), 1);
    assert_eq!(solo.state(4), NodeState::Handshaking);
    solo.net.heartbeat_up(solo.now, node(3));
    assert!(solo.net.accepted(solo.now, address(3)).is_ok());
}

// Behaviour 92.
#[test]
fn an_accepted_connection_starts_with_a_handshake_and_nothing_else() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    assert_eq!(solo.send(2, b"wait", 1), Ok(()));
    let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
    assert_eq!(solo.net.next_dirty(), Some(link));
    assert_eq!(solo.sent(link), HANDSHAKE.to_bytes());
    assert_eq!(solo.net.next_dirty(), None);
}

#[test]
fn a_connection_that_was_made_starts_with_a_handshake() {
    let mut solo = Solo::new(2);
    solo.net.heartbeat_up(solo.now, node(1));
    let link = solo.connecting();
    assert_eq!(solo.net.next_dirty(), None);
    solo.net.connected(solo.now, link);
    assert_eq!(solo.net.next_dirty(), Some(link));
    assert_eq!(solo.sent(link), HANDSHAKE.to_bytes());
    solo.net.connected(solo.now, link);
    assert_eq!(solo.sent(link), []);
}

// Behaviours 94 and 95.
#[test]
fn a_peer_that_does_not_fit_is_not_connected_to_until_its_heartbeat_was_down() {
    use HandshakeMismatch::{HeartbeatTimeout, IdleTimeout, KeepaliveDelay, Version};
    for (theirs, mismatch) in [
        (Handshake { protocol_version: 10, ..HANDSHAKE }, Version { ours: 11, theirs: 10 }),
        (Handshake { protocol_version: 12, ..HANDSHAKE }, Version { ours: 11, theirs: 12 }),
        (
            Handshake { idle_timeout_ms: 10_000, ..HANDSHAKE },
            IdleTimeout { ours: 30_000, theirs: 10_000 },
        ),
        (
            Handshake { keepalive_delay_ms: 5, ..HANDSHAKE },
            KeepaliveDelay { ours: 2000, theirs: 5 },
        ),
        (
            Handshake { heartbeat_timeout_ms: 0, ..HANDSHAKE },
            HeartbeatTimeout { ours: 60_000, theirs: 0 },
        ),
    ] {
        let mut solo = Solo::new(2);
        solo.net.heartbeat_up(solo.now, node(1));
        let link = solo.connecting();
        solo.net.connected(solo.now, link);
        assert_eq!(solo.send(1, b"waits", 1), Ok(()));
        solo.feed(link, &theirs.to_bytes());
        let reason = CloseReason::Handshake(mismatch);
        assert_eq!(solo.outputs(), [Output::Close { link, reason }]);
        assert_eq!(solo.completions(), [(1, Err(NetError::NotConnected))]);
        assert_eq!(solo.send(1, b"fails", 2), Err(NetError::NotConnected));
        assert_eq!(solo.state(1), NodeState::Refused);
        assert_eq!(solo.pass(600_000), []);
        solo.net.heartbeat_down(solo.now, node(1));
        solo.net.heartbeat_up(solo.now, node(1));
        solo.connecting();
    }
}

// Behaviour 96.
#[test]
fn another_reconnect_delay_fits() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
    let theirs = Handshake { reconnect_delay_ms: 1, connector_id: 99, ..HANDSHAKE };
    solo.feed(link, &theirs.to_bytes());
    assert_eq!(solo.outputs(), [Output::ConnectionUp(node(2))]);
}

#[test]
fn a_node_of_ours_is_recognised_and_its_kernel_successor_too() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    for (connector_id, said) in [
        (CONNECTOR_STACKGLUE, Some(true)),
        (CONNECTOR_STACKGLUE, None),
        (CONNECTOR_KERNEL, Some(false)),
    ] {
        let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
        solo.feed(link, &Handshake { connector_id, ..HANDSHAKE }.to_bytes());
        let said: Vec<Output> =
            said.map(|ours| Output::Introduced { node: node(2), ours }).into_iter().collect();
        assert_eq!(solo.outputs(), [said, vec![Output::ConnectionUp(node(2))]].concat());
        solo.net.closed(solo.now, link, CloseReason::Ended);
        solo.outputs();
    }
}

// Behaviour 97.
#[test]
fn a_request_may_come_right_behind_the_handshake() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
    solo.feed(link, &[&HANDSHAKE.to_bytes()[..], &request(510, 0, b"at once")].concat());
    assert_eq!(solo.state(2), NodeState::Valid);
    assert_eq!(solo.arrived[0].payload, b"at once");
}

// Behaviour 98.
#[test]
fn a_handshake_may_come_byte_by_byte() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
    for byte in HANDSHAKE.to_bytes() {
        assert_eq!(solo.state(2), NodeState::Handshaking);
        solo.feed(link, &[byte]);
    }
    assert_eq!(solo.state(2), NodeState::Valid);
}

// Behaviour 99.
#[test]
fn attempts_to_connect_go_on_at_the_reconnect_delay() {
    let mut solo = Solo::new(2);
    solo.net.heartbeat_up(solo.now, node(1));
    let mut link = solo.connecting();
    for failing_ms in [0, 1, 1999, 0] {
        assert_eq!(solo.pass(failing_ms), []);
        solo.net.connect_failed(solo.now, link, ECONNREFUSED);
        let next = solo.pass(2000 - failing_ms);
        let [(after, Output::Connect { link: next, .. })] = next[..] else {
            panic!("one connection is asked for: {next:?}")
        };
        assert_eq!(after, 2000 - failing_ms);
        link = next;
    }
    assert_eq!(solo.pass(5000), []);
    solo.net.connect_failed(solo.now, link, ECONNREFUSED);
    solo.connecting();
}

#[test]
fn an_attempt_without_handshakes_is_given_up_at_the_idle_timeout() {
    let mut solo = Solo::new(2);
    solo.net.heartbeat_up(solo.now, node(1));
    let link = solo.connecting();
    match solo.pass(30_000)[..] {
        [
            (30_000, Output::Close { link: closed, reason: CloseReason::NoHandshake }),
            (30_000, Output::Connect { .. }),
        ] => assert_eq!(closed, link),
        ref others => panic!("the attempt is given up and followed by another: {others:?}"),
    }
}

// Behaviour 100.
#[test]
fn a_send_before_the_handshake_waits_for_it() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    assert_eq!(solo.send(2, b"first", 1), Ok(()));
    assert_eq!(solo.pass(600_000), []);
    let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
    assert_eq!(solo.send(2, b"second", 2), Ok(()));
    assert_eq!(solo.sent(link).len(), 32);
    solo.feed(link, &HANDSHAKE.to_bytes());
    let expected = [request(510, 0, b"first"), request(510, 1, b"second")].concat();
    assert_eq!(solo.sent(link), expected);
    solo.feed(link, &status(1, 0, 5));
    assert_eq!(solo.completions(), [(2, Ok(5))]);
}

// Behaviour 100, the other way out.
#[test]
fn a_send_that_waits_ends_when_the_peer_goes_down() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    assert_eq!(solo.send(2, b"waits", 1), Ok(()));
    solo.net.heartbeat_down(solo.now, node(2));
    assert_eq!(solo.outputs(), []);
    assert_eq!(solo.completions(), [(1, Err(NetError::NotConnected))]);
}

#[test]
fn what_waits_is_bounded() {
    let mut solo = Solo::new(1);
    solo.net.heartbeat_up(solo.now, node(2));
    let sends = (0..2000).map_while(|token| solo.send(2, &[0; 4072], token).ok()).count();
    assert_eq!(sends, 1024);
    assert_eq!(solo.send(2, &[0; 4072], 0), Err(NetError::OutOfMemory));
    let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
    solo.feed(link, &HANDSHAKE.to_bytes());
    assert_eq!(solo.net.unsent(link).len(), 32 + 1024 * 4096);
    solo.close(link);
    assert!(solo.net.accepted(solo.now, address(2)).is_ok());
    assert_eq!(solo.send(2, &[0; 4072], 0), Ok(()));
}

// Behaviours 101, 102 and 103.
#[test]
fn a_send_that_cannot_be_fails_at_once() {
    let (mut solo, link) = Solo::valid();
    assert_eq!(solo.send(3, b"", 1), Err(NetError::NotConnected));
    assert_eq!(solo.send(200, b"", 1), Err(NetError::NotConnected));
    assert_eq!(solo.send(1, b"", 1), Err(NetError::ToSelf));
    assert_eq!(solo.send(2, &[0; 4073], 1), Err(NetError::TooLong(4073)));
    assert_eq!(solo.sent(link), []);
    assert_eq!(solo.send(2, &[7; 4072], 1), Ok(()));
    assert_eq!(solo.sent(link), request(510, 0, &[7; 4072]));
}

// Behaviour 104.
#[test]
fn what_is_outstanding_ends_with_the_connection() {
    let (mut solo, link) = Solo::valid();
    assert_eq!(solo.send(2, b"a", 1), Ok(()));
    assert_eq!(solo.send(2, b"b", 2), Ok(()));
    solo.close(link);
    assert_eq!(solo.outputs(), [Output::ConnectionError(node(2))]);
    let host_down = Err(NetError::HostDown);
    assert_eq!(solo.completions(), [(1, host_down), (2, host_down)]);
    assert_eq!(solo.send(2, b"c", 3), Err(NetError::NotConnected));
    assert_eq!(solo.state(2), NodeState::Broken);
}

// Behaviour 105.
#[test]
fn the_higher_node_reconnects_after_a_loss() {
    let mut solo = Solo::new(2);
    solo.net.heartbeat_up(solo.now, node(1));
    let link = solo.connecting();
    solo.net.connected(solo.now, link);
    solo.feed(link, &HANDSHAKE.to_bytes());
    assert_eq!(solo.pass(1500), []);
    solo.close(link);
    solo.outputs();
    let next = solo.pass(2000);
    let [(2000, Output::Connect { link, .. })] = next[..] else {
        panic!("one connection is asked for: {next:?}")
    };
    solo.net.connected(solo.now, link);
    solo.feed(link, &HANDSHAKE.to_bytes());
    assert_eq!(solo.outputs(), [Output::ConnectionUp(node(1))]);
    let report = solo.net.node_states().next().expect("node 1 is the first peer");
    assert_eq!((report.node, report.counters.reconnects), (node(1), 1));
}

// Behaviour 107.
#[test]
fn the_lower_node_takes_the_peer_again_after_a_loss() {
    let (mut solo, link) = Solo::valid();
    solo.close(link);
    assert_eq!(solo.send(2, b"", 1), Err(NetError::NotConnected));
    let again = solo.accept_valid();
    assert_ne!(again, link);
    assert_eq!(solo.send(2, b"", 1), Ok(()));
}

#[test]
fn what_is_said_about_a_link_that_is_gone_is_ignored() {
    let (mut solo, link) = Solo::valid();
    solo.close(link);
    let again = solo.accept_valid();
    solo.feed(link, b"not a frame, and not of this link");
    solo.net.connected(solo.now, link);
    solo.close(link);
    assert_eq!(solo.net.unsent(link), b"");
    assert_eq!(solo.state(2), NodeState::Valid);
    assert_eq!(solo.net.unsent(again), b"");
}

// Behaviour 108.
#[test]
fn a_heartbeat_that_goes_down_ends_everything() {
    let mut solo = Solo::new(2);
    solo.net.heartbeat_up(solo.now, node(1));
    let link = solo.connecting();
    // Longer than the reconnect delay: an attempt that ends now would be followed by another at once.
    assert_eq!(solo.pass(5000), []);
    solo.net.heartbeat_down(solo.now, node(1));
    assert_eq!(solo.outputs(), [Output::Close { link, reason: CloseReason::HeartbeatDown }]);
    assert_eq!(solo.state(1), NodeState::Down);
    assert_eq!(solo.pass(600_000), []);
    assert_eq!(solo.net.next_timeout(), None);
}

// Behaviour 108, of a valid connection.
#[test]
fn a_peer_that_goes_down_leaves_no_verdict_behind() {
    let (mut solo, link) = Solo::valid();
    assert_eq!(solo.send(2, b"", 1), Ok(()));
    solo.net.heartbeat_down(solo.now, node(2));
    let close = Output::Close { link, reason: CloseReason::HeartbeatDown };
    assert_eq!(solo.outputs(), [close, Output::ConnectionError(node(2))]);
    assert_eq!(solo.completions(), [(1, Err(NetError::HostDown))]);
    assert_eq!(solo.pass(600_000), []);
}

// Behaviour 109.
#[test]
fn a_node_that_is_removed_loses_its_connection() {
    let (mut solo, link) = Solo::valid();
    solo.net.remove_node(solo.now, node(2));
    let close = Output::Close { link, reason: CloseReason::Removed };
    assert_eq!(solo.outputs(), [close, Output::ConnectionError(node(2))]);
    let unknown = Refusal::UnknownAddress(address(2));
    assert_eq!(solo.net.accepted(solo.now, address(2)), Err(unknown));
    assert_eq!(solo.net.add_node(node(2), address(2), 7777), Ok(()));
    solo.accept_valid();
}

#[test]
fn a_configuration_that_does_not_add_up_is_refused() {
    let one = (node(1), address(1), 7777);
    for (nodes, error) in [
        (vec![], ConfigError::LocalUnknown(node(1))),
        (vec![one, one], ConfigError::SameAddress(address(1))),
        (vec![one, (node(1), address(2), 7777)], ConfigError::SameNumber(node(1))),
        (vec![one, (node(2), address(1), 7778)], ConfigError::SameAddress(address(1))),
    ] {
        let made = Net::new(NetConfig::with_defaults(node(1), nodes));
        assert_eq!(made.err(), Some(error));
    }
}

#[test]
fn a_state_says_since_when_and_why() {
    let (mut solo, link) = Solo::valid();
    let valid_since = solo.now;
    solo.now += ms(500);
    solo.feed(link, &request(510, 0, b""));
    let report = solo.net.node_states().next().expect("node 2 is the first peer");
    assert_eq!((report.state.name(), report.since), ("valid", valid_since));
    solo.net.closed(solo.now, link, CloseReason::Failed { errno: 104 });
    let report = solo.net.node_states().next().expect("node 2 is the first peer");
    assert_eq!((report.state.name(), report.since), ("broken", solo.now));
    assert_eq!(report.last_error, Some(CloseReason::Failed { errno: 104 }));
}
