//! Peers that send what they should not, or do not read.

use proptest::prelude::*;
use stackglue_o2cb::o2net::{CloseReason, FrameError, NodeState, Output, UNSENT_LEN_MAX};

use crate::solo::{HANDSHAKE, Solo, address, node, request, status};

// Behaviours 122 and 123.
#[test]
fn what_is_not_a_frame_ends_the_connection() {
    for (start, error) in [
        ([0xfa, 0x55, 0x0f, 0xe9], FrameError::TooLong(4073)),
        ([0xfa, 0x56, 0xff, 0xff], FrameError::TooLong(0xffff)),
        ([0xfa, 0x59, 0, 0], FrameError::UnknownMagic(0xfa59)),
        ([0, 0, 0, 0], FrameError::UnknownMagic(0)),
    ] {
        let (mut solo, link) = Solo::valid();
        let mut stream = request(510, 0, b"good");
        stream.extend(start);
        stream.extend([0; 20]);
        stream.extend(request(510, 1, b"too late"));
        solo.feed(link, &stream);
        let reason = CloseReason::Frame(error);
        let expected = [Output::Close { link, reason }, Output::ConnectionError(node(2))];
        assert_eq!(solo.outputs(), expected);
        assert_eq!(solo.arrived.len(), 1);
        let report = solo.net.node_states().next().expect("node 2 is the first peer");
        assert_eq!(report.counters.bad_frames, 1);
        assert_eq!(report.state, NodeState::Broken);
    }
}

#[test]
fn a_status_with_a_payload_keeps_the_stream_in_step() {
    let (mut solo, link) = Solo::valid();
    assert_eq!(solo.send(2, b"", 9), Ok(()));
    let mut stream = status(0, 0, 3);
    stream[3] = 5;
    stream.extend(b"extra");
    stream.extend(request(510, 0, b"next"));
    solo.feed(link, &stream);
    assert_eq!(solo.completions(), [(9, Ok(3))]);
    assert_eq!(solo.arrived[0].payload, b"next");
}

#[test]
fn a_peer_that_does_not_read_is_dropped() {
    let (mut solo, link) = Solo::valid();
    let mut sends = 0;
    while solo.send(2, &[0; 4072], sends).is_ok() {
        sends += 1;
    }
    assert_eq!(sends, UNSENT_LEN_MAX as u64 / 4096 + 1);
    let unsent_len = UNSENT_LEN_MAX + 4096;
    let reason = CloseReason::Unread { unsent_len };
    let expected = [Output::Close { link, reason }, Output::ConnectionError(node(2))];
    assert_eq!(solo.outputs(), expected);
    assert_eq!(solo.completions().len() as u64, sends);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // Behaviour 138.
    #[test]
    fn any_bytes_do_no_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        magic in 0xfa54u16..0xfa5a,
        split in 0usize..300,
    ) {
        let (mut solo, link) = Solo::valid();
        for token in 0..5 {
            prop_assert_eq!(solo.send(2, b"x", token), Ok(()));
        }
        let stream = [&magic.to_be_bytes()[..], &bytes].concat();
        let (first, second) = stream.split_at(split.min(stream.len()));
        solo.feed(link, first);
        solo.feed(link, second);
        let closed = solo.outputs().iter().any(|output| matches!(output, Output::Close { .. }));
        prop_assert_eq!(closed, solo.state(2) == NodeState::Broken);
        let report = solo.net.node_states().next().expect("node 2 is the first peer");
        prop_assert_eq!(report.counters.bad_frames, u64::from(closed));
        let good = (0xfa55..=0xfa58).contains(&magic);
        prop_assert!(closed || good || stream.len() < 24);
        solo.pass(100_000);
    }

    #[test]
    fn any_handshake_does_no_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        kept in 0usize..=32,
    ) {
        let mut solo = Solo::new(1);
        solo.net.heartbeat_up(solo.now, node(2));
        let link = solo.net.accepted(solo.now, address(2)).expect("node 2 may connect");
        solo.feed(link, &[&HANDSHAKE.to_bytes()[..kept], &bytes].concat());
        solo.pass(100_000);
        let report = solo.net.node_states().next().expect("node 2 is the first peer");
        prop_assert!(report.counters.bytes_in == (kept + bytes.len()) as u64);
    }
}
