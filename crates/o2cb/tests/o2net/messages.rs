//! Requests and their statuses.

use stackglue_o2cb::o2net::{CloseReason, Incoming, NetError, SystemStatus};

use crate::solo::{Solo, node, request, status};

// Behaviours 114, 118, 119 and 120.
#[test]
fn an_answer_repeats_the_request_and_has_no_payload() {
    let (mut solo, link) = Solo::valid();
    for (number, system_status, result, expected) in [
        (0, SystemStatus::None, 0x0103_0000, status(0, 0, 0x0103_0000)),
        (7, SystemStatus::None, -22, status(7, 0, -22)),
        (8, SystemStatus::NoHandler, 5, status(8, 1, 0)),
        (u32::MAX, SystemStatus::Overflow, 5, status(u32::MAX, 2, 0)),
    ] {
        solo.feed(link, &request(510, number, &[1; 104]));
        let arrived = solo.arrived.pop().expect("the request arrives");
        assert_eq!((arrived.message_type, &arrived.payload[..]), (510, &[1; 104][..]));
        solo.reply(arrived.id, system_status, result);
        assert_eq!(solo.sent(link), expected);
    }
    let report = solo.net.node_states().next().expect("node 2 is the first peer");
    assert_eq!((report.counters.frames_in, report.counters.frames_out), (4, 4));
    assert_eq!(report.counters.unknown_messages, 2);
}

// Behaviour 115.
#[test]
fn a_number_that_was_answered_is_used_again() {
    let (mut solo, link) = Solo::valid();
    for token in [10, 11, 12] {
        assert_eq!(solo.send(2, b"x", token), Ok(()));
    }
    assert_eq!(solo.sent_numbers(link), [0, 1, 2]);
    solo.feed(link, &status(1, 0, 0));
    assert_eq!(solo.send(2, b"x", 13), Ok(()));
    assert_eq!(solo.sent_numbers(link), [1]);
}

// Behaviour 116.
#[test]
fn statuses_may_come_in_any_order() {
    let (mut solo, link) = Solo::valid();
    for token in [10, 11, 12] {
        assert_eq!(solo.send(2, b"x", token), Ok(()));
    }
    solo.feed(link, &[status(2, 0, 22), status(0, 0, 20), status(1, 0, 21)].concat());
    assert_eq!(solo.completions(), [(12, Ok(22)), (10, Ok(20)), (11, Ok(21))]);
}

// Behaviour 117.
#[test]
fn a_status_of_nothing_is_ignored() {
    let (mut solo, link) = Solo::valid();
    assert_eq!(solo.send(2, b"x", 10), Ok(()));
    let stray = [1, 63, 64, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    for number in stray {
        solo.feed(link, &status(number, 0, 1));
    }
    assert_eq!(solo.completions(), []);
    solo.feed(link, &[status(0, 0, 2), status(0, 0, 3)].concat());
    assert_eq!(solo.completions(), [(10, Ok(2))]);
    let report = solo.net.node_states().next().expect("node 2 is the first peer");
    assert_eq!(report.counters.unknown_statuses, 7);
}

// Behaviour 121.
#[test]
fn a_system_status_is_the_result_of_the_send() {
    let (mut solo, link) = Solo::valid();
    for (system_status, error) in [
        (1, NetError::NoHandler),
        (2, NetError::Overflow),
        (3, NetError::UnknownSystemStatus(3)),
        (4, NetError::UnknownSystemStatus(4)),
        (u32::MAX, NetError::UnknownSystemStatus(u32::MAX)),
    ] {
        assert_eq!(solo.send(2, b"x", 10), Ok(()));
        solo.feed(link, &status(0, system_status, 1));
        assert_eq!(solo.completions(), [(10, Err(error))]);
    }
}

// Behaviours 125 and 132.
#[test]
fn requests_arrive_in_order_empty_ones_too() {
    let (mut solo, link) = Solo::valid();
    let stream = [request(502, 0, b"a"), request(507, 1, b""), request(502, 2, b"c")].concat();
    solo.feed(link, &stream);
    let payloads: Vec<_> = solo.arrived.iter().map(|arrived| &arrived.payload[..]).collect();
    assert_eq!(payloads, [&b"a"[..], b"", b"c"]);
}

#[test]
fn an_answer_to_a_connection_that_is_gone_goes_nowhere() {
    let (mut solo, link) = Solo::valid();
    solo.feed(link, &request(510, 0, b"late"));
    let arrived = solo.arrived.pop().expect("the request arrives");
    solo.close(link);
    let again = solo.accept_valid();
    solo.reply(arrived.id, SystemStatus::None, 0);
    assert_eq!(solo.sent(again), []);
}

#[test]
fn many_frames_are_one_write_that_may_be_partial() {
    let (mut solo, link) = Solo::valid();
    assert_eq!(solo.net.next_dirty(), Some(link));
    for token in 0..3 {
        assert_eq!(solo.send(2, b"xyz", token), Ok(()));
    }
    assert_eq!(solo.net.next_dirty(), Some(link));
    assert_eq!(solo.net.next_dirty(), None);
    let all = solo.net.unsent(link).to_vec();
    assert_eq!(all.len(), 3 * 27);
    solo.net.sent(link, 30);
    assert_eq!(solo.net.unsent(link), &all[30..]);
}

// Behaviour 126: the engine is at hand while a request is handled.
#[test]
fn a_handler_may_send_before_it_answers() {
    let (mut solo, link) = Solo::valid();
    let now = solo.now;
    solo.net.received(now, link, &request(510, 4, b"ask"), &mut |net, incoming| {
        let Incoming::Request { id, from, payload, .. } = incoming else { return };
        assert_eq!(net.send(now, from, 510, 0x666c_6172, payload, 1), Ok(()));
        net.reply(now, id, SystemStatus::None, 6);
    });
    assert_eq!(solo.sent(link), [request(510, 0, b"ask"), status(4, 0, 6)].concat());
}

// Behaviour 127: the peer does not take our answers, and we take its requests.
#[test]
fn requests_are_taken_while_their_answers_are_not() {
    let (mut solo, link) = Solo::valid();
    for number in 0..1000 {
        solo.feed(link, &request(510, number, b"more"));
        let arrived = solo.arrived.pop().expect("the request arrives");
        solo.reply(arrived.id, SystemStatus::None, 0);
    }
    let answers: Vec<u8> = (0..1000).flat_map(|number| status(number, 0, 0)).collect();
    assert_eq!(solo.sent(link), answers);
}

#[test]
fn a_handler_may_end_the_connection() {
    for split in 0..24 {
        let (mut solo, link) = Solo::valid();
        let (now, mut count) = (solo.now, 0);
        let stream = [request(510, 0, b""), request(510, 1, b"")].concat();
        let (first, second) = stream.split_at(split);
        for part in [first, second] {
            solo.net.received(now, link, part, &mut |net, incoming| {
                let Incoming::Request { id, from, .. } = incoming else { return };
                count += 1;
                net.closed(now, link, CloseReason::Ended);
                net.heartbeat_down(now, from);
                net.reply(now, id, SystemStatus::None, 0);
            });
        }
        assert_eq!(count, 1);
        solo.net.heartbeat_up(now, node(2));
        let again = solo.accept_valid();
        solo.feed(again, &request(510, 0, b"whole"));
        assert_eq!(solo.arrived[0].payload, b"whole");
    }
}
