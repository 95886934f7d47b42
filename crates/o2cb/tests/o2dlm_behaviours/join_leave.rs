//! Joining and leaving: behaviours 139 to 168.

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{CallError, DomainState, Event, JoinError};

use crate::rig::*;

const OK: i32 = JoinReply::Ok { dlm_minor: 3, fs_minor: 0 }.pack();
const DISALLOW: i32 = JoinReply::Disallow.pack();
const OK_NO_MAP: i32 = JoinReply::OkNoMap.pack();
const MISMATCH: i32 = JoinReply::ProtocolMismatch.pack();
const EAGAIN: i32 = 11;
const EINVAL: i32 = 22;

fn query(node: u8, live: &[u8]) -> QueryJoin {
    let domain = domain_name();
    QueryJoin { node: n(node), dlm_version: (1, 3), fs_version: (1, 0), domain, live: map(live) }
}

fn asserts(node: u8) -> AssertJoined {
    AssertJoined { node: n(node), domain: domain_name() }
}

fn cancels(node: u8) -> CancelJoin {
    CancelJoin { node: n(node), domain: domain_name() }
}

fn nodeinfo(node: u8, change: impl Fn(&mut NodeAddress)) -> QueryNodeinfo {
    let entry = |peer: &stackglue_o2cb::o2dlm::PeerAddress| {
        let mut entry = NodeAddress { number: peer.node, port: peer.port, address: peer.address };
        change(&mut entry);
        entry
    };
    let nodes = config(1, &[1]).nodes.iter().map(entry).collect();
    QueryNodeinfo { node: n(node), domain: domain_name(), nodes }
}

// Behaviour 139.
#[test]
fn a_domain_without_other_live_nodes_is_joined_without_a_message_at_the_highest_versions() {
    let mut rig = Rig::new(config(4, &[4]));
    rig.join();
    assert_eq!(rig.event(), Event::Joined { fs_version: (1, 0) });
    rig.is_silent();
    assert_eq!(rig.domain.members(), map(&[4]));
    rig.node_up(5);
    assert_eq!(rig.request(5, &query(5, &[4, 5])), OK);
}

/// Nodes 2 and 3 have written into their slots, and have not been silent for long.
#[test]
fn the_first_to_join_waits_until_nobody_may_live_unseen() {
    let mut rig = Rig::new(config(4, &[4]));
    rig.domain.set_unseen(map(&[2, 3]));
    rig.join();
    rig.pass(60_000);
    rig.is_silent();
    // One turns out to live, and has the domain; the other is its concern.
    rig.domain.set_unseen(map(&[3]));
    rig.node_up(2);
    rig.pass(1000);
    rig.respond::<QueryJoin>(2, OK);
    assert_eq!(rig.messages(), [(2, MessageType::QueryNodeinfo)]);
}

#[test]
fn a_node_that_was_silent_for_long_keeps_nobody_from_being_the_first() {
    let mut rig = Rig::new(config(4, &[4]));
    rig.domain.set_unseen(map(&[2]));
    rig.join();
    rig.pass(1000);
    rig.domain.set_unseen(map(&[]));
    rig.pass(1000);
    assert_eq!(rig.event(), Event::Joined { fs_version: (1, 0) });
}

// Behaviour 140.
#[test]
fn live_nodes_are_asked_one_after_the_other_in_ascending_order() {
    let mut rig = Rig::new(config(4, &[1, 3, 4, 5]));
    rig.join();
    for node in [1, 3, 5] {
        assert_eq!(rig.messages(), [(node, MessageType::QueryJoin)]);
        assert_eq!(rig.respond::<QueryJoin>(node, OK_NO_MAP), query(4, &[1, 3, 4, 5]));
    }
    assert_eq!(rig.event(), Event::Joined { fs_version: (1, 0) });
}

// Behaviour 142.
#[test]
fn nodes_without_the_domain_are_skipped() {
    let mut rig = Rig::new(config(4, &[1, 2, 4]));
    rig.join();
    rig.respond::<QueryJoin>(1, 0x0200_0000);
    let (call, _) = rig.sent::<QueryJoin>(2);
    rig.complete(call, Err(CallError::NoHandler));
    assert_eq!(rig.event(), Event::Joined { fs_version: (1, 0) });
    rig.is_silent();
    assert_eq!(rig.domain.members(), map(&[4]));
}

// Behaviours 143 and 153.
#[test]
fn another_protocol_ends_the_join_and_those_who_agreed_are_set_free() {
    let mut rig = Rig::new(config(4, &[1, 2, 4]));
    rig.join();
    rig.respond::<QueryJoin>(1, OK);
    rig.respond::<QueryJoin>(2, MISMATCH);
    assert_eq!(rig.event(), Event::JoinFailed(JoinError::Protocol { node: n(2) }));
    rig.expect(1, &cancels(4));
    rig.is_silent();
}

// Behaviours 144 and 153.
#[test]
fn a_no_cancels_at_those_who_had_agreed_and_the_join_restarts_after_a_pause() {
    let mut pauses = [0u32; 4];
    for seed in 0..60 {
        let mut rig = Rig::new(stackglue_o2cb::o2dlm::DomainConfig {
            seed: seed * 0x9e37_79b9,
            ..config(4, &[1, 2, 3, 4])
        });
        rig.join();
        rig.respond::<QueryJoin>(1, OK);
        rig.respond::<QueryJoin>(2, DISALLOW);
        let call = rig.expect(1, &cancels(4));
        rig.reply(call, 0);
        rig.is_silent();
        let due = rig.domain.next_timeout().expect("the join restarts");
        let pause = (due - rig.now).as_millis() as usize;
        assert!(pause.is_multiple_of(200) && pause <= 600, "{pause} ms");
        pauses[pause / 200] += 1;
        rig.pass(pause as u64);
        assert_eq!(rig.messages(), [(1, MessageType::QueryJoin)]);
    }
    assert!(pauses.iter().all(|&count| count > 0), "{pauses:?}");
}

// Behaviour 145.
#[test]
fn pauses_of_more_than_90_s_end_the_join() {
    let mut rig = Rig::new(config(4, &[1, 4]));
    rig.join();
    let mut pauses = 0;
    while rig.messages() == [(1, MessageType::QueryJoin)] {
        rig.respond::<QueryJoin>(1, DISALLOW);
        let before = rig.now;
        if rig.messages().is_empty()
            && let Some(at) = rig.domain.next_timeout()
        {
            rig.pass((at - before).as_millis() as u64);
            pauses += (at - before).as_millis();
        }
    }
    assert_eq!(rig.event(), Event::JoinFailed(JoinError::TimedOut { node: n(1) }));
    assert!((89_400..=90_000).contains(&pauses), "{pauses} ms");
    rig.is_silent();
}

// Behaviour 146.
#[test]
fn a_joiner_runs_the_lower_minor_of_a_member_and_announces_no_departure_at_minor_1() {
    let mut rig = Rig::new(config(4, &[1, 4]));
    rig.join();
    rig.respond::<QueryJoin>(1, JoinReply::Ok { dlm_minor: 1, fs_minor: 0 }.pack());
    rig.respond::<QueryNodeinfo>(1, 0);
    rig.respond::<QueryRegion>(1, 0);
    rig.respond::<AssertJoined>(1, 0);
    assert_eq!(rig.event(), Event::Joined { fs_version: (1, 0) });
    rig.leave();
    assert_eq!(rig.messages(), [(1, MessageType::ExitDomain)]);
}

// Behaviour 146, at minor 0: no lists are compared.
#[test]
fn at_minor_0_nodes_and_regions_are_not_compared() {
    let mut rig = Rig::new(config(4, &[1, 4]));
    rig.join();
    rig.respond::<QueryJoin>(1, JoinReply::Ok { dlm_minor: 0, fs_minor: 0 }.pack());
    assert_eq!(rig.messages(), [(1, MessageType::AssertJoined)]);
}

// Behaviour 147.
#[test]
fn a_change_of_the_live_nodes_before_a_reply_restarts_the_join() {
    type Change = fn(&mut Rig);
    let changes: [Change; 2] = [|rig| rig.node_up(7), |rig| rig.node_down(6)];
    for change in changes {
        let mut rig = Rig::new(config(4, &[1, 4, 6]));
        rig.join();
        change(&mut rig);
        rig.respond::<QueryJoin>(1, OK);
        let call = rig.expect(1, &cancels(4));
        rig.reply(call, 0);
        rig.pass(600);
        assert_eq!(rig.messages(), [(1, MessageType::QueryJoin)]);
    }
}

// Behaviours 148 and 154.
#[test]
fn members_are_told_nodes_and_regions_one_after_the_other_and_then_that_we_have_joined() {
    let mut rig = Rig::new(config(4, &[1, 2, 4]));
    rig.join();
    rig.respond::<QueryJoin>(1, OK);
    rig.respond::<QueryJoin>(2, OK);
    for node in [1, 2] {
        assert_eq!(rig.messages(), [(node, MessageType::QueryNodeinfo)]);
        assert_eq!(rig.respond::<QueryNodeinfo>(node, 0), nodeinfo(4, |_| {}));
    }
    for node in [1, 2] {
        assert_eq!(rig.messages(), [(node, MessageType::QueryRegion)]);
        // Behaviour 151: local heartbeat mode has no regions.
        assert!(rig.respond::<QueryRegion>(node, 0).regions.is_empty());
    }
    assert_eq!(rig.messages(), [(1, MessageType::AssertJoined), (2, MessageType::AssertJoined)]);
    let call = rig.expect(1, &asserts(4));
    rig.reply(call, 0);
    let call = rig.expect(2, &asserts(4));
    rig.reply(call, -EAGAIN);
    // Behaviours 154 and 155.
    for _ in 0..3 {
        rig.pass(199);
        rig.is_silent();
        rig.pass(1);
        assert_eq!(rig.messages(), [(2, MessageType::AssertJoined)]);
        rig.respond::<AssertJoined>(2, -EAGAIN);
    }
    rig.pass(200);
    rig.respond::<AssertJoined>(2, 0);
    assert_eq!(rig.event(), Event::Joined { fs_version: (1, 0) });
    rig.pass(60_000);
    rig.is_silent();
}

// Behaviour 154: when it comes back it knows nothing of us, and refuses.
#[test]
fn a_member_that_dies_after_it_agreed_is_told_nothing_about_us() {
    let mut rig = Rig::new(config(4, &[1, 2, 4]));
    rig.join();
    rig.respond::<QueryJoin>(1, OK);
    rig.respond::<QueryJoin>(2, OK);
    rig.respond::<QueryNodeinfo>(1, 0);
    rig.respond::<QueryNodeinfo>(2, 0);
    let (call, _) = rig.sent::<QueryRegion>(1);
    rig.dies(2);
    rig.node_up(2);
    rig.reply(call, 0);
    assert_eq!(rig.messages(), [(1, MessageType::AssertJoined)]);
}

// Behaviour 155: the node is live no more.
#[test]
fn a_member_that_dies_before_it_accepts_us_is_told_no_more() {
    let mut rig = Rig::new(config(4, &[1, 4]));
    rig.join();
    rig.respond::<QueryJoin>(1, OK);
    rig.respond::<QueryNodeinfo>(1, 0);
    rig.respond::<QueryRegion>(1, 0);
    rig.respond::<AssertJoined>(1, -EAGAIN);
    rig.dies(1);
    rig.pass(1000);
    assert_eq!(rig.event(), Event::Joined { fs_version: (1, 0) });
}

// Behaviour 150.
#[test]
fn a_node_list_that_differs_is_refused() {
    let mut rig = Rig::joined(1, &[2]);
    rig.node_up(4);
    assert_eq!(rig.request(4, &query(4, &[1, 2, 4])), OK);
    let other_port = |entry: &mut NodeAddress| {
        if entry.number == n(9) {
            entry.port += 1;
        }
    };
    assert_eq!(rig.request(4, &nodeinfo(4, other_port)), -EINVAL);
    let mut fewer = nodeinfo(4, |_| {});
    fewer.nodes.pop();
    assert_eq!(rig.request(4, &fewer), -EINVAL);
    assert_eq!(rig.request(4, &nodeinfo(4, |_| {})), 0);
    // Only the joining node may ask.
    assert_eq!(rig.request(2, &nodeinfo(2, |_| {})), -EINVAL);
}

// Behaviours 150 and 153.
#[test]
fn a_member_that_refuses_our_node_list_ends_the_join() {
    let mut rig = Rig::new(config(4, &[1, 2, 4]));
    rig.join();
    rig.respond::<QueryJoin>(1, OK);
    rig.respond::<QueryJoin>(2, OK);
    rig.respond::<QueryNodeinfo>(1, -EINVAL);
    assert_eq!(rig.event(), Event::JoinFailed(JoinError::Refused { node: n(1), errno: EINVAL }));
    rig.expect(1, &cancels(4));
    rig.expect(2, &cancels(4));
    rig.is_silent();
}

// Behaviour 152.
#[test]
fn heartbeat_modes_and_regions_must_be_the_same() {
    let [a, b] = [*b"632A924FDD844190BDA93C0DF6B94899", *b"00000000000000000000000000000001"];
    type Regions<'a> = &'a [[u8; 32]];
    let cases: [(Option<Regions<'_>>, Regions<'_>, i32); 6] = [
        (None, &[], 0),
        (None, &[a], -EINVAL),
        (Some(&[a]), &[], -EINVAL),
        (Some(&[a, b]), &[b, a], 0),
        (Some(&[a, b]), &[a], -EINVAL),
        (Some(&[a]), &[b], -EINVAL),
    ];
    for (ours, theirs, status) in cases {
        let regions = ours.map(<[_]>::to_vec);
        let mut rig =
            Rig::new(stackglue_o2cb::o2dlm::DomainConfig { regions, ..config(1, &[1, 4]) });
        rig.join();
        rig.respond::<QueryJoin>(4, OK_NO_MAP);
        rig.event();
        assert_eq!(rig.request(4, &query(4, &[1, 4])), OK);
        let region = QueryRegion { node: n(4), domain: domain_name(), regions: theirs.to_vec() };
        assert_eq!(rig.request(4, &region), status, "{ours:?} {theirs:?}");
    }
}

// Behaviours 156 to 161.
#[test]
fn a_query_is_answered_by_what_the_joiner_and_the_domain_are() {
    type Setup = fn(&mut Rig);
    let cases: [(&str, Setup, QueryJoin, i32); 7] = [
        ("not live here", |_| {}, query(4, &[1, 2, 4]), DISALLOW),
        ("does not see a member", |rig| rig.node_up(4), query(4, &[1, 4]), DISALLOW),
        ("member already", |_| {}, query(2, &[1, 2]), DISALLOW),
        (
            "somebody else joins",
            |rig| {
                rig.node_up(4);
                rig.node_up(5);
                assert_eq!(rig.request(5, &query(5, &[1, 2, 4, 5])), OK);
            },
            query(4, &[1, 2, 4, 5]),
            DISALLOW,
        ),
        (
            "a recovery is over",
            |rig| {
                rig.node_up(4);
                rig.dies(2);
            },
            query(4, &[1, 4]),
            OK,
        ),
        (
            "lower minor",
            |rig| rig.node_up(4),
            QueryJoin { dlm_version: (1, 2), ..query(4, &[1, 2, 4]) },
            MISMATCH,
        ),
        (
            "higher minor",
            |rig| rig.node_up(4),
            QueryJoin { dlm_version: (1, 4), ..query(4, &[1, 2, 4]) },
            OK,
        ),
    ];
    for (what, setup, query, reply) in cases {
        let mut rig = Rig::joined(1, &[2]);
        setup(&mut rig);
        assert_eq!(rig.request(query.node.get(), &query), reply, "{what}");
    }
}

// Behaviours 158 and 159.
#[test]
fn a_domain_that_has_not_begun_to_join_is_none_and_one_that_joins_refuses() {
    let mut rig = Rig::new(config(1, &[1, 4]));
    assert_eq!(rig.request(4, &query(4, &[1, 4])), OK_NO_MAP);
    rig.join();
    assert_eq!(rig.request(4, &query(4, &[1, 4])), DISALLOW);
    rig.respond::<QueryJoin>(4, DISALLOW);
    // Between two attempts.
    if rig.messages().is_empty() {
        assert_eq!(rig.request(4, &query(4, &[1, 4])), OK_NO_MAP);
    }
}

// Behaviour 160.
#[test]
fn nobody_joins_while_a_dead_member_is_recovered() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.node_up(4);
    rig.dies(3);
    assert!(rig.domain.is_recovering());
    assert_eq!(rig.request(4, &query(4, &[1, 2, 4])), DISALLOW);
    // The dead node itself, back at once.
    rig.node_up(3);
    assert_eq!(rig.request(3, &query(3, &[1, 2, 3])), DISALLOW);
}

// Behaviour 162.
#[test]
fn a_joiner_that_dies_frees_the_place_of_the_joining_node() {
    let mut rig = Rig::joined(1, &[2]);
    rig.node_up(4);
    rig.node_up(5);
    assert_eq!(rig.request(4, &query(4, &[1, 2, 4, 5])), OK);
    rig.node_down(4);
    rig.is_silent();
    assert_eq!(rig.request(5, &query(5, &[1, 2, 5])), OK);
    // So does one that takes its join back.
    assert_eq!(rig.request(5, &cancels(5)), 0);
    assert_eq!(rig.request(5, &query(5, &[1, 2, 5])), OK);
}

// Behaviours 163 and 183.
#[test]
fn a_node_that_has_joined_is_a_member_and_takes_part_in_votes() {
    let mut rig = Rig::joined(1, &[2]);
    rig.node_up(4);
    assert_eq!(rig.request(4, &query(4, &[1, 2, 4])), OK);
    let key = rig.lock(NAME, LockMode::EX, LkmFlags::empty());
    let asked = MasterRequest { node: n(1), flags: 0, name: NAME };
    let call = rig.expect(2, &asked);
    assert_eq!(rig.request(4, &asserts(4)), 0);
    assert_eq!(rig.domain.members(), map(&[1, 2, 4]));
    let late = rig.expect(4, &asked);
    rig.reply(call, NO);
    rig.is_silent();
    rig.reply(late, NO);
    assert_eq!(rig.messages(), [(2, MessageType::AssertMaster), (4, MessageType::AssertMaster)]);
    rig.all_respond::<AssertMaster>(0);
    rig.granted(key);
}

// A kernel crashes on these; they must not reach the state.
#[test]
fn assertions_and_cancels_of_a_node_that_is_not_joining_change_nothing() {
    let mut rig = Rig::joined(1, &[2]);
    rig.node_up(4);
    assert_eq!(rig.request(4, &asserts(4)), 0);
    assert_eq!(rig.request(4, &cancels(4)), 0);
    assert_eq!(rig.domain.members(), map(&[1, 2]));
    assert_eq!(rig.domain.counters().contradictions, 2);
}

// Behaviours 164 and 165.
#[test]
fn who_leaves_announces_it_hands_over_what_it_masters_and_exits_only_then() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    rig.leave();
    for node in [2, 3] {
        rig.respond::<BeginExit>(node, 0);
    }
    assert_eq!(rig.messages(), [(2, MessageType::MigLockres)]);
    rig.pass(60_000);
    assert_eq!(rig.messages(), [(2, MessageType::MigLockres)]);
    rig.respond::<MigLockres>(2, 0);
    let done = AssertMaster { node: n(2), flags: AssertFlags::FINISH_MIGRATION, name: NAME };
    assert_eq!(rig.request(2, &done), MASTERY_REF);
    // The reference to the new master goes, and only then do we.
    rig.pass(500);
    assert_eq!(rig.messages(), [(2, MessageType::DerefLockres)]);
    rig.respond::<DerefLockres>(2, 0);
    assert_eq!(rig.messages(), [(2, MessageType::ExitDomain), (3, MessageType::ExitDomain)]);
    rig.respond::<ExitDomain>(2, 0);
    rig.respond::<ExitDomain>(3, 0);
    assert_eq!(rig.event(), Event::Left);
    assert_eq!(rig.domain.state(), DomainState::Left);
}

// Behaviour 164: begin exit is sent once, and nobody leaves while somebody joins.
#[test]
fn nobody_leaves_while_a_node_that_was_agreed_to_joins() {
    let mut rig = Rig::joined(1, &[2]);
    rig.node_up(4);
    assert_eq!(rig.request(4, &query(4, &[1, 2, 4])), OK);
    rig.leave();
    rig.respond::<BeginExit>(2, 0);
    rig.pass(60_000);
    rig.is_silent();
    assert_eq!(rig.request(4, &asserts(4)), 0);
    assert_eq!(rig.messages(), [(2, MessageType::ExitDomain), (4, MessageType::ExitDomain)]);
}

// Behaviour 166.
#[test]
fn a_member_that_leaves_is_not_recovered() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &BeginExit { node: n(3) }), 0);
    assert_eq!(rig.request(3, &ExitDomain { node: n(3) }), 0);
    assert_eq!(rig.domain.members(), map(&[1, 2]));
    assert!(!rig.domain.is_recovering());
    rig.node_down(3);
    rig.is_silent();
    assert!(!rig.domain.is_recovering());
}

// Behaviour 167.
#[test]
fn an_exit_counts_as_told_to_who_has_no_handler_and_is_repeated_after_an_error() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.leave();
    rig.respond::<BeginExit>(2, 0);
    rig.respond::<BeginExit>(3, 0);
    let (call, _) = rig.sent::<ExitDomain>(2);
    rig.complete(call, Err(CallError::NoHandler));
    rig.respond::<ExitDomain>(3, -12);
    rig.is_silent();
    rig.pass(199);
    rig.is_silent();
    rig.pass(1);
    assert_eq!(rig.messages(), [(3, MessageType::ExitDomain)]);
    rig.respond::<ExitDomain>(3, 0);
    assert_eq!(rig.event(), Event::Left);
}
