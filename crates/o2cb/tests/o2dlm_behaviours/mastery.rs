//! Who becomes the master of a name: behaviours 169 to 186, 198 and 282.

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{CallError, Event};

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();

fn asks(node: u8) -> MasterRequest {
    MasterRequest { node: n(node), flags: 0, name: NAME }
}

fn asserts(node: u8, flags: AssertFlags) -> AssertMaster {
    AssertMaster { node: n(node), flags, name: NAME }
}

const PLAIN: AssertFlags = AssertFlags::empty();
const CLEANUP: AssertFlags = AssertFlags::MLE_CLEANUP;

// Behaviour 169.
#[test]
fn alone_every_name_is_ours_without_a_message() {
    let mut rig = Rig::joined(1, &[]);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    assert_eq!(rig.granted(key), (LockMode::EX, None));
    rig.is_silent();
    assert_eq!(rig.resource(NAME).owner, Some(n(1)));
}

// Behaviour 170, as B: the lower node asks first.
#[test]
fn a_node_that_asks_first_is_answered_no_and_its_assertion_is_awaited() {
    let mut rig = Rig::joined(2, &[1]);
    assert_eq!(rig.request(1, &asks(1)), NO);
    assert!(!rig.is_known(NAME));
    // We hold back meanwhile.
    let key = rig.lock(NAME, LockMode::PR, NONE);
    rig.is_silent();
    rig.pass(60_000);
    rig.is_silent();
    assert_eq!(rig.request(1, &asserts(1, PLAIN)), MASTERY_REF);
    assert_eq!(rig.messages(), [(1, MessageType::CreateLock)]);
    rig.respond::<CreateLock>(1, 0);
    rig.ast(1, key, None);
    rig.granted(key);
}

// Behaviour 170, as A.
#[test]
fn a_name_that_nobody_knows_is_ours_when_all_have_said_no_and_all_are_told() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    let call = rig.expect(2, &asks(1));
    rig.reply(call, NO);
    let call = rig.expect(3, &asks(1));
    rig.is_silent();
    rig.reply(call, NO);
    let told = [rig.expect(2, &asserts(1, PLAIN)), rig.expect(3, &asserts(1, PLAIN))];
    rig.is_silent();
    rig.reply(told[0], 0);
    rig.is_silent();
    rig.reply(told[1], MASTERY_REF);
    rig.granted(key);
    assert_eq!(rig.resource(NAME).refmap, map(&[3]));
}

// Behaviour 171, as the lower and as the higher node.
#[test]
fn of_two_that_ask_each_other_at_once_the_lower_becomes_the_master() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    let call = rig.expect(2, &asks(1));
    assert_eq!(rig.request(2, &asks(2)), MAYBE);
    rig.reply(call, MAYBE);
    // Its request makes it one that knows the name.
    let call = rig.expect(2, &asserts(1, PLAIN));
    rig.reply(call, MASTERY_REF);
    rig.granted(key);

    let mut rig = Rig::joined(2, &[1]);
    rig.lock(NAME, LockMode::EX, NONE);
    let call = rig.expect(1, &asks(2));
    assert_eq!(rig.request(1, &asks(1)), MAYBE);
    rig.reply(call, MAYBE);
    rig.is_silent();
    assert_eq!(rig.request(1, &asserts(1, PLAIN)), MASTERY_REF);
    assert_eq!(rig.messages(), [(1, MessageType::CreateLock)]);
}

// Behaviour 171: an entry of a node that only asks is higher than ours and does not matter.
#[test]
fn a_higher_node_that_asked_meanwhile_does_not_keep_us_from_mastery() {
    let mut rig = Rig::joined(2, &[1, 3]);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    assert_eq!(rig.request(3, &asks(3)), MAYBE);
    rig.respond::<MasterRequest>(1, NO);
    rig.respond::<MasterRequest>(3, MAYBE);
    rig.respond::<AssertMaster>(1, 0);
    rig.respond::<AssertMaster>(3, MASTERY_REF);
    rig.granted(key);
}

// Behaviours 172 and 173.
#[test]
fn a_master_that_is_asked_says_yes_counts_the_reference_and_always_asserts_to_all() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered(NAME, LockMode::NL);
    for round in 0..3 {
        assert_eq!(rig.request(2, &asks(2)), YES, "{round}");
        for node in [2, 3] {
            let call = rig.expect(node, &asserts(1, CLEANUP));
            rig.reply(call, 0);
        }
        rig.is_silent();
    }
    assert_eq!(rig.resource(NAME).refmap, map(&[2]));
    // Also while an earlier round is under way.
    assert_eq!(rig.request(2, &asks(2)), YES);
    assert_eq!(rig.request(3, &asks(3)), YES);
    let asserted = rig.messages();
    assert_eq!(asserted.iter().filter(|(to, _)| *to == 2).count(), 2);
    assert_eq!(asserted.iter().filter(|(to, _)| *to == 3).count(), 2);
}

// Behaviour 173: right after the vote, while the first assertions are out.
#[test]
fn a_late_question_while_the_first_assertions_are_out_is_answered_yes_and_asserted() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock(NAME, LockMode::EX, NONE);
    rig.all_respond::<MasterRequest>(NO);
    assert_eq!(rig.request(3, &asks(3)), YES);
    assert_eq!(rig.sent::<AssertMaster>(2).1, asserts(1, PLAIN));
    assert_eq!(rig.sent::<AssertMaster>(3).1, asserts(1, PLAIN));
    assert_eq!(rig.sent::<AssertMaster>(2).1, asserts(1, CLEANUP));
    assert_eq!(rig.sent::<AssertMaster>(3).1, asserts(1, CLEANUP));
}

// Behaviour 174.
#[test]
fn who_knows_another_master_says_no() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &asks(3)), NO);
    rig.is_silent();
}

// Behaviour 175.
#[test]
fn a_name_under_recovery_is_answered_error_and_asked_again_after_50_ms() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock_at(2, NAME, LockMode::PR);
    rig.dies(2);
    assert_eq!(rig.request(3, &asks(3)), ERROR);

    let mut rig = Rig::joined(1, &[2]);
    rig.lock(NAME, LockMode::PR, NONE);
    rig.respond::<MasterRequest>(2, ERROR);
    rig.pass(49);
    rig.is_silent();
    rig.pass(1);
    assert_eq!(rig.messages(), [(2, MessageType::MasterRequest)]);
    rig.respond::<MasterRequest>(2, YES);
    assert_eq!(rig.messages(), [(2, MessageType::CreateLock)]);
}

// Behaviour 176.
#[test]
fn the_answer_to_a_master_request_is_0_to_3_whatever_it_contains() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let mut payload = asks(2).write();
    for (at, byte) in [(0, 3), (0, 255), (1, 0), (1, 33), (1, 255), (4, 1)] {
        let before = std::mem::replace(&mut payload[at], byte);
        let status = rig.request_raw(2, MessageType::MasterRequest, &payload);
        assert!((0..=3).contains(&status), "{status} for {byte} at {at}");
        payload[at] = before;
    }
    for len in 0..payload.len() {
        let status = rig.request_raw(2, MessageType::MasterRequest, &payload[..len]);
        assert!((0..=3).contains(&status), "{status} for {len} bytes");
    }
}

// Behaviour 177.
#[test]
fn before_it_has_joined_and_after_it_has_left_a_node_says_no() {
    let mut rig = Rig::new(config(1, &[1, 2]));
    assert_eq!(rig.request(2, &asks(2)), NO);
    rig.join();
    assert_eq!(rig.request(2, &asks(2)), NO);
    let mut rig = Rig::joined(1, &[2]);
    rig.leave();
    rig.respond::<BeginExit>(2, 0);
    assert_eq!(rig.messages(), [(2, MessageType::ExitDomain)]);
    assert_eq!(rig.request(2, &asks(2)), NO);
}

// Behaviour 178.
#[test]
fn an_assertion_frees_a_name_that_waited_and_takes_a_reference_if_we_know_it() {
    let mut rig = Rig::joined(1, &[2, 3]);
    assert_eq!(rig.request(2, &asks(2)), NO);
    assert_eq!(rig.request(2, &asserts(2, PLAIN)), 0);
    assert!(!rig.is_known(NAME));

    assert_eq!(rig.request(2, &asks(2)), NO);
    rig.lock(NAME, LockMode::PR, NONE);
    assert_eq!(rig.request(2, &asserts(2, PLAIN)), MASTERY_REF);
    // A repetition changes nothing.
    assert_eq!(rig.request(2, &asserts(2, CLEANUP)), 0);
}

// Behaviour 179.
#[test]
fn an_assertion_against_our_vote_is_answered_reassert_if_third_nodes_have_heard_us() {
    for (answered, bits) in
        [(&[3][..], REASSERT | MASTERY_REF), (&[2], MASTERY_REF), (&[], MASTERY_REF)]
    {
        let mut rig = Rig::joined(1, &[2, 3]);
        rig.lock(NAME, LockMode::PR, NONE);
        for &node in answered {
            rig.respond::<MasterRequest>(node, NO);
        }
        assert_eq!(rig.request(2, &asserts(2, PLAIN)), bits, "{answered:?} had answered");
    }
}

// Behaviour 180.
#[test]
fn reassert_in_a_reply_brings_a_second_full_round_when_the_first_is_over() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    rig.all_respond::<MasterRequest>(NO);
    rig.respond::<AssertMaster>(2, REASSERT | MASTERY_REF);
    assert_eq!(rig.messages(), [(3, MessageType::AssertMaster)]);
    rig.respond::<AssertMaster>(3, 0);
    assert_eq!(rig.messages(), [(2, MessageType::AssertMaster), (3, MessageType::AssertMaster)]);
    assert_eq!(rig.all_respond::<AssertMaster>(0), [asserts(1, PLAIN); 2]);
    rig.granted(key);
    rig.is_silent();
    assert_eq!(rig.resource(NAME).refmap, map(&[2]));
}

// Behaviour 181.
#[test]
fn an_assertion_that_contradicts_us_is_reported_and_never_answered_negative() {
    let mut rig = Rig::joined(1, &[2, 3]);
    // We are the master.
    rig.mastered(NAME, LockMode::NL);
    assert_eq!(rig.request(2, &asserts(2, PLAIN)), 0);
    assert_eq!(rig.resource(NAME).owner, Some(n(1)));
    // Another one is.
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &asserts(3, PLAIN)), 0);
    assert_eq!(rig.resource(NAME).owner, Some(n(2)));
    assert_eq!(rig.domain.counters().contradictions, 1);
    // It is being recovered.
    rig.dies(2);
    assert_eq!(rig.request(3, &asserts(3, PLAIN)), 0);
    // Not even a member says so, or no name is in it.
    assert_eq!(rig.request(7, &asserts(7, PLAIN)), 0);
    let mut payload = asserts(3, PLAIN).write();
    payload[1] = 40;
    assert_eq!(rig.request_raw(3, MessageType::AssertMaster, &payload), 0);
}

// Behaviour 182.
#[test]
fn a_local_name_is_ours_without_a_message() {
    let mut rig = Rig::joined(2, &[1, 3]);
    let key = rig.lock(NAME, LockMode::EX, LkmFlags::LOCAL);
    assert_eq!(rig.granted(key), (LockMode::EX, None));
    rig.is_silent();
    assert_eq!(rig.resource(NAME).owner, Some(n(2)));
    assert_eq!(rig.request(1, &asks(1)), YES);
}

// Behaviour 184.
#[test]
fn a_voter_that_dies_is_recovered_first_and_then_the_vote_begins_anew_without_it() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    rig.respond::<MasterRequest>(2, NO);
    rig.dies(3);
    // The recovery: nobody else drives it.
    assert_eq!(rig.messages(), [(2, MessageType::MasterRequery)]);
    rig.respond::<MasterRequery>(2, 255);
    assert_eq!(rig.respond::<MasterRequest>(2, NO).name, LockName::RECOVERY);
    rig.respond::<AssertMaster>(2, 0);
    rig.respond::<BeginReco>(2, 0);
    rig.respond::<LockRequest>(2, 0);
    assert_eq!(rig.request(2, &RecoDataDone { node: n(2), dead: n(3) }), 0);
    rig.respond::<FinalizeReco>(2, 0);
    rig.respond::<FinalizeReco>(2, 0);
    assert_eq!(rig.messages(), [(2, MessageType::MasterRequest)]);
    assert_eq!(rig.respond::<MasterRequest>(2, NO).name, NAME);
    rig.respond::<AssertMaster>(2, 0);
    rig.granted(key);
}

// Behaviour 184: one that leaves.
#[test]
fn a_voter_that_leaves_makes_the_vote_begin_anew_without_it() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    rig.respond::<MasterRequest>(2, NO);
    let (call, _) = rig.sent::<MasterRequest>(3);
    assert_eq!(rig.request(3, &ExitDomain { node: n(3) }), 0);
    rig.respond::<MasterRequest>(2, NO);
    assert_eq!(rig.messages(), [(2, MessageType::AssertMaster)]);
    rig.complete(call, Err(CallError::HostDown));
    rig.respond::<AssertMaster>(2, 0);
    rig.granted(key);
}

// Behaviour 185.
#[test]
fn when_the_node_that_kept_us_waiting_dies_we_vote_ourselves_after_its_recovery() {
    let mut rig = Rig::joined(2, &[1]);
    assert_eq!(rig.request(1, &asks(1)), NO);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    rig.is_silent();
    rig.dies(1);
    // Nobody else is left: the recovery and the vote need no message.
    assert_eq!(rig.granted(key), (LockMode::EX, None));
    rig.is_silent();

    // Without a user the entry is just gone.
    let mut rig = Rig::joined(2, &[1]);
    assert_eq!(rig.request(1, &asks(1)), NO);
    rig.dies(1);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    rig.granted(key);
}

// Behaviour 186. The kernel asks one after the other and stops at the master. Here all are asked at
// once, and once every answer is in, the master is asked once more: what the questions left on other
// nodes is removed by the assertion that this brings.
#[test]
fn who_asked_others_in_vain_asks_the_master_once_more_for_a_clean_up() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.lock(NAME, LockMode::PR, NONE);
    let asked = [2, 3, 4].map(|node| rig.expect(node, &asks(1)));
    rig.reply(asked[1], YES);
    assert_eq!(rig.messages(), [(3, MessageType::CreateLock)]);
    rig.respond::<CreateLock>(3, 0);
    rig.reply(asked[0], NO);
    rig.is_silent();
    rig.reply(asked[2], NO);
    let call = rig.expect(3, &asks(1));
    rig.is_silent();
    rig.reply(call, YES);
    rig.pass(5000);
    rig.is_silent();
}

// Behaviour 186: an assertion tells the master before its answer does.
#[test]
fn an_assertion_ends_the_vote_and_late_answers_only_bring_the_clean_up() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock(NAME, LockMode::PR, NONE);
    let asked = [2, 3].map(|node| rig.expect(node, &asks(1)));
    assert_eq!(rig.request(3, &asserts(3, PLAIN)), MASTERY_REF);
    rig.respond::<CreateLock>(3, 0);
    rig.reply(asked[1], YES);
    rig.is_silent();
    rig.reply(asked[0], NO);
    let call = rig.expect(3, &asks(1));
    rig.reply(call, YES);
    rig.is_silent();
}

// Behaviour 198.
#[test]
fn a_name_of_33_bytes_is_none_and_reserved_names_are_refused() {
    assert!(LockName::new(&[b'a'; 33]).is_none());
    assert!(LockName::new(b"").is_none());
    let mut rig = Rig::joined(1, &[2]);
    for reserved in [LockName::RECOVERY, name(b"$other")] {
        let now = rig.now;
        assert_eq!(rig.domain.lock(now, reserved, LockMode::EX, NONE), Err(Status::BadParam));
    }
    rig.is_silent();
}

// Behaviour 282.
#[test]
fn a_requery_is_answered_with_the_master_that_we_know_or_255() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let asks = |name| MasterRequery { node: n(3), name };
    let (ours, theirs) = (name(b"ours"), name(b"theirs"));
    rig.mastered(ours, LockMode::NL);
    rig.lock_at(2, theirs, LockMode::PR);
    assert_eq!(rig.request(3, &asks(name(b"unknown"))), 255);
    assert_eq!(rig.request(3, &asks(theirs)), 2);
    rig.is_silent();
    assert_eq!(rig.request(3, &asks(ours)), 1);
    let asserted = rig.respond::<AssertMaster>(3, 0);
    assert_eq!((asserted.flags, asserted.name), (AssertFlags::REQUERY, ours));
    rig.is_silent();
    // In a search of its own it knows none.
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock(NAME, LockMode::PR, NONE);
    assert_eq!(rig.request(3, &MasterRequery { node: n(3), name: NAME }), 255);
}

// Behaviour 173, of what waits: events come once.
#[test]
fn locks_that_wait_for_one_search_are_all_created_when_the_master_is_known() {
    let mut rig = Rig::joined(1, &[2]);
    let first = rig.lock(NAME, LockMode::PR, NONE);
    let second = rig.lock(NAME, LockMode::PR, NONE);
    rig.all_respond::<MasterRequest>(NO);
    rig.all_respond::<AssertMaster>(0);
    rig.granted(first);
    rig.granted(second);
    let third = rig.lock(NAME, LockMode::EX, LkmFlags::NOQUEUE);
    let refused = Event::Refused { lock: third, status: Status::NotQueued, gone: true };
    assert_eq!(rig.event(), refused);
}
