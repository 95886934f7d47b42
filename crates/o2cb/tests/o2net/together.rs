//! Engines that talk to each other.

use proptest::prelude::*;
use stackglue_o2cb::o2net::{NetError, NodeState};

use crate::rig::{Rig, Seen};

fn completed(token: u64, result: Result<i32, NetError>) -> Seen {
    Seen::Completed { token, result }
}

// Behaviour 90.
#[test]
fn a_node_that_is_seen_later_is_connected_at_the_next_attempt() {
    let mut rig = Rig::new(usize::MAX);
    rig.heartbeat_up(2, 1);
    assert_eq!(rig.state(2, 1), NodeState::Waiting);
    rig.pass(3000);
    rig.heartbeat_up(1, 2);
    assert_eq!(rig.state(1, 2), NodeState::Waiting);
    rig.pass(1000);
    assert_eq!((rig.state(1, 2), rig.state(2, 1)), (NodeState::Valid, NodeState::Valid));
    assert_eq!(rig.take_seen(1), [Seen::Up(2)]);
    assert_eq!(rig.take_seen(2), [Seen::Up(1)]);
}

#[test]
fn a_quiet_healthy_connection_stays_up() {
    let mut rig = Rig::new(7);
    rig.join(1, 2);
    rig.pass(3_600_000);
    assert_eq!(rig.take_seen(1), [Seen::Up(2)]);
    assert_eq!(rig.take_seen(2), [Seen::Up(1)]);
}

#[test]
fn requests_go_both_ways() {
    let mut rig = Rig::new(5);
    rig.join(1, 2);
    rig.take_seen(1);
    rig.take_seen(2);
    assert_eq!(rig.send(1, 2, b"one", 1), Ok(()));
    assert_eq!(rig.send(2, 1, b"three", 3), Ok(()));
    rig.settle();
    let request = |from, payload: &[u8]| Seen::Request { from, payload: payload.to_vec() };
    assert_eq!(rig.take_seen(1), [request(2, b"three"), completed(1, Ok(3))]);
    assert_eq!(rig.take_seen(2), [request(1, b"one"), completed(3, Ok(5))]);
}

// Behaviours 104 and 105.
#[test]
fn a_connection_that_is_reset_is_made_again() {
    let mut rig = Rig::new(usize::MAX);
    rig.join(1, 2);
    rig.cut = true;
    assert_eq!(rig.send(1, 2, b"lost", 1), Ok(()));
    rig.settle();
    rig.take_seen(1);
    rig.take_seen(2);
    rig.reset();
    rig.cut = false;
    assert_eq!(rig.take_seen(1), [completed(1, Err(NetError::HostDown)), Seen::Error(2)]);
    assert_eq!(rig.send(1, 2, b"", 2), Err(NetError::NotConnected));
    rig.pass(2000);
    assert_eq!(rig.send(1, 2, b"again", 3), Ok(()));
    rig.pass(120_000);
    assert_eq!(rig.take_seen(1), [Seen::Up(2), completed(3, Ok(5))]);
}

// Behaviours 79, 82 and 131.
#[test]
fn a_cut_that_ends_is_healed_and_one_that_does_not_has_a_verdict() {
    let mut rig = Rig::new(usize::MAX);
    rig.join(1, 2);
    rig.take_seen(1);
    rig.take_seen(2);
    rig.cut = true;
    rig.pass(20_000);
    rig.cut = false;
    rig.settle();
    assert_eq!(rig.take_seen(1), []);
    rig.cut = true;
    rig.pass(40_000);
    assert_eq!(rig.take_seen(1), [Seen::Error(2)]);
    rig.cut = false;
    rig.settle();
    assert_eq!(rig.take_seen(1), [Seen::Up(2)]);
    rig.cut = true;
    rig.pass(100_000);
    for (at, of) in [(1, 2), (2, 1)] {
        let seen = rig.take_seen(at);
        assert_eq!(seen[seen.len() - 2..], [Seen::Error(of), Seen::StillUp(of)]);
        assert_eq!(rig.state(at, of), NodeState::Idle);
    }
}

#[test]
fn a_heartbeat_that_goes_down_and_up_is_followed_by_a_connection() {
    let mut rig = Rig::new(usize::MAX);
    rig.join(1, 2);
    rig.heartbeat_down(1, 2);
    assert_eq!((rig.state(1, 2), rig.state(2, 1)), (NodeState::Down, NodeState::Broken));
    rig.heartbeat_up(1, 2);
    rig.pass(2000);
    assert_eq!((rig.state(1, 2), rig.state(2, 1)), (NodeState::Valid, NodeState::Valid));
}

#[test]
fn every_pair_has_its_connection() {
    let mut rig = Rig::new(usize::MAX);
    for (a, b) in [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)] {
        rig.join(a, b);
    }
    for (a, b) in [(1, 2), (4, 1), (3, 2), (2, 4)] {
        rig.take_seen(a);
        assert_eq!(rig.send(a, b, b"four", 9), Ok(()));
        rig.settle();
        assert_eq!(rig.take_seen(a).last(), Some(&completed(9, Ok(4))));
    }
}

/// What happens to two nodes.
#[derive(Clone, Debug)]
enum Step {
    Send { from: u8, len: usize },
    Pass(u64),
    Cut(bool),
    Reset,
    Down(u8),
    Up(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..=2, 0usize..100).prop_map(|(from, len)| Step::Send { from, len }),
        3 => (0u64..40_000).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Cut),
        1 => Just(Step::Reset),
        1 => (1u8..=2).prop_map(Step::Down),
        2 => (1u8..=2).prop_map(Step::Up),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Safety while things go wrong, and liveness after they stop. Whatever happens, a send that was
    /// taken completes once, and none is handled twice.
    #[test]
    fn every_send_ends_once_and_the_nodes_find_together(
        steps in proptest::collection::vec(step(), 0..60),
        chunk_len in 1usize..100,
    ) {
        let mut rig = Rig::new(chunk_len);
        let mut sent = [Vec::new(), Vec::new()];
        for (token, step) in (0u64..).zip(steps) {
            match step {
                Step::Send { from, len } => {
                    let payload = [&token.to_be_bytes()[..], &vec![0; len]].concat();
                    if rig.send(from, 3 - from, &payload, token).is_ok() {
                        sent[usize::from(from) - 1].push(token);
                    }
                }
                Step::Pass(time_ms) => rig.pass(time_ms),
                Step::Cut(cut) => rig.cut = cut,
                Step::Reset => rig.reset(),
                Step::Down(at) => rig.heartbeat_down(at, 3 - at),
                Step::Up(at) => rig.heartbeat_up(at, 3 - at),
            }
            rig.settle();
        }
        rig.cut = false;
        rig.join(1, 2);
        rig.pass(200_000);
        prop_assert_eq!((rig.state(1, 2), rig.state(2, 1)), (NodeState::Valid, NodeState::Valid));
        for at in [1u8, 2] {
            let (mut ended, mut handled, mut up) = (Vec::new(), Vec::new(), false);
            for seen in rig.take_seen(at) {
                match seen {
                    Seen::Completed { token, .. } => ended.push(token),
                    Seen::Request { payload, .. } => handled.extend(payload.first_chunk().copied()),
                    Seen::Up(_) => prop_assert!(!std::mem::replace(&mut up, true)),
                    Seen::Error(_) => prop_assert!(std::mem::replace(&mut up, false)),
                    Seen::StillUp(_) => prop_assert!(!up),
                }
            }
            prop_assert!(up);
            ended.sort_unstable();
            prop_assert_eq!(&ended, &sent[usize::from(at) - 1]);
            let handled: Vec<u64> = handled.into_iter().map(u64::from_be_bytes).collect();
            prop_assert!(handled.is_sorted_by(|a, b| a < b));
        }
    }
}
