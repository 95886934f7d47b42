//! The death of a member: behaviours 259 to 281, 283 and 284.

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{CallError, Event};

use crate::rig::*;

mod values;

const NONE: LkmFlags = LkmFlags::empty();
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EINVAL: i32 = 22;

fn begins(master: u8, dead: u8) -> BeginReco {
    BeginReco { node: n(master), dead: n(dead) }
}

fn wants(master: u8, dead: u8) -> LockRequest {
    LockRequest { node: n(master), dead: n(dead) }
}

fn stage(number: u8, master: u8, dead: u8) -> FinalizeReco {
    FinalizeReco { node: n(master), dead: n(dead), stage2: number == 2 }
}

fn sent_all(node: u8, dead: u8) -> RecoDataDone {
    RecoDataDone { node: n(node), dead: n(dead) }
}

fn entry(cookie: Cookie, node: u8, mode: LockMode) -> MigLock {
    MigLock {
        cookie,
        queue: Queue::Granted,
        lvb_flags: LvbFlags::empty(),
        mode: Some(mode),
        convert: None,
        highest_blocked: None,
        node: n(node),
    }
}

fn state(name: LockName, dead: u8, locks: Vec<MigLock>) -> MigLockres {
    MigLockres {
        owner: Some(n(dead)),
        flags: MigFlags::RECOVERY | MigFlags::ALL_DONE,
        total: locks.iter().filter(|lock| !lock.is_dummy()).count() as u32,
        cookie: 0,
        name,
        lvb: [0; 64],
        locks,
    }
}

/// This node wins `$RECOVERY`, which nobody had, and begins.
fn elected(rig: &mut Rig) {
    rig.all_respond::<MasterRequery>(255);
    rig.all_respond::<MasterRequest>(NO);
    rig.all_respond::<AssertMaster>(0);
}

/// The stages of a recovery that this node drives, when all locks have come.
fn finalized(rig: &mut Rig, dead: u8) {
    assert_eq!(rig.all_respond::<FinalizeReco>(0)[0], stage(1, 1, dead));
    assert_eq!(rig.all_respond::<FinalizeReco>(0)[0], stage(2, 1, dead));
}

/// The whole of a recovery that this node drives, where the others have no locks.
fn recovered(rig: &mut Rig, dead: u8) {
    elected(rig);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    for other in rig.others() {
        assert_eq!(rig.request(other, &sent_all(other, dead)), 0);
    }
    finalized(rig, dead);
}

/// Node 1, which has a PR lock at node 2 and does not drive when 2 dies: 3 does.
fn member() -> (Rig, stackglue_o2cb::o2dlm::LockKey) {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    assert_eq!(rig.event(), Event::NodeDown(n(2)));
    rig.is_silent();
    (rig, key)
}

// Behaviours 259 and 260.
#[test]
fn users_hear_of_a_death_before_anything_is_granted_and_grants_wait_for_recovery() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    rig.created(2, NAME, LockMode::EX);
    let (_, waiter) = rig.create(3, NAME, LockMode::EX, NONE);
    rig.respond::<ProxyAst>(2, 0);
    let local = rig.lock(NAME, LockMode::PR, NONE);
    rig.node_down(2);
    assert!(rig.is_event_first());
    assert_eq!(rig.event(), Event::NodeDown(n(2)));
    let resource = rig.resource(NAME);
    assert!(resource.locks.iter().all(|lock| lock.node != n(2)));
    assert!(!resource.refmap.contains(n(2)));
    // Behaviour 262.
    assert_eq!(rig.create(3, NAME, LockMode::PR, NONE).0, Status::Recovering);
    assert_eq!(rig.converts(3, waiter, LockMode::NL, NONE, None), Status::Recovering);
    elected(&mut rig);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    rig.pass(30_000);
    rig.is_silent();
    assert_eq!(rig.request(3, &sent_all(3, 2)), 0);
    rig.all_respond::<FinalizeReco>(0);
    assert_eq!(rig.messages(), [(3, MessageType::FinalizeReco)]);
    rig.all_respond::<FinalizeReco>(0);
    rig.grants(3, waiter, None);
    rig.notifies(3, waiter, LockMode::PR);
    assert_eq!(rig.unlocks(3, waiter, NONE, None), Status::Normal);
    assert_eq!(rig.granted(local), (LockMode::PR, None));
}

// Behaviours 261 and 210, of a create.
#[test]
fn a_new_lock_that_the_dead_master_had_not_answered_is_asked_for_again_at_the_next() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.found_at(2, NAME, LockMode::PR, NONE);
    assert_eq!(rig.messages(), [(2, MessageType::CreateLock)]);
    // The death comes as the recovery master's word, before the message is lost.
    let (call, _) = rig.sent::<CreateLock>(2);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    rig.event();
    assert!(rig.resource(NAME).locks.is_empty());
    rig.complete(call, Err(CallError::HostDown));
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    assert!(rig.respond::<MigLockres>(3, 0).locks[0].is_dummy());
    rig.respond::<RecoDataDone>(3, 0);
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    cleaned_up(&mut rig, 3);
    rig.pass(100);
    assert_eq!(rig.messages(), [(3, MessageType::CreateLock)]);
    rig.respond::<CreateLock>(3, 0);
    assert_eq!(rig.ast(3, key, None), 0);
    rig.granted(key);
}

// Behaviours 261 and 283.
#[test]
fn a_conversion_that_the_dead_master_had_not_granted_is_reported_granted_and_tried_again() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    let cookie = rig.snapshot(key).cookie;
    rig.convert(key, LockMode::EX, NONE);
    let (call, _) = rig.sent::<ConvertLock>(2);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    rig.event();
    let lock = rig.snapshot(key);
    assert_eq!((lock.queue, lock.mode, lock.convert), (Some(Queue::Granted), LockMode::PR, None));
    rig.complete(call, Err(CallError::HostDown));
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    assert_eq!(rig.respond::<MigLockres>(3, 0).locks, [entry(cookie, 1, LockMode::PR)]);
    rig.respond::<RecoDataDone>(3, 0);
    rig.pass(5000);
    rig.is_silent();
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    rig.pass(100);
    rig.respond::<ConvertLock>(3, 0);
    assert_eq!(rig.ast(3, key, None), 0);
    assert_eq!(rig.granted(key), (LockMode::EX, None));
}

// Behaviours 271 and 283: one that the master had taken and not granted is reported converting.
#[test]
fn a_conversion_that_waited_at_the_dead_master_is_reported_converting() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    let cookie = rig.snapshot(key).cookie;
    rig.convert(key, LockMode::EX, NONE);
    rig.respond::<ConvertLock>(2, 0);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    rig.event();
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    let waits = MigLock {
        queue: Queue::Converting,
        convert: Some(LockMode::EX),
        ..entry(cookie, 1, LockMode::PR)
    };
    assert_eq!(rig.respond::<MigLockres>(3, 0).locks, [waits]);
    rig.respond::<RecoDataDone>(3, 0);
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    cleaned_up(&mut rig, 3);
    rig.is_silent();
    assert_eq!(rig.ast(3, key, None), 0);
    assert_eq!(rig.granted(key), (LockMode::EX, None));
}

// Behaviour 263.
#[test]
fn a_new_name_is_voted_about_only_when_nobody_waits_to_be_recovered() {
    let (mut rig, _) = member();
    let key = rig.lock(name(b"new"), LockMode::PR, NONE);
    rig.pass(30_000);
    rig.is_silent();
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    cleaned_up(&mut rig, 3);
    rig.is_silent();
    assert_eq!(rig.request(3, &stage(2, 3, 2)), 0);
    rig.respond::<MasterRequest>(3, NO);
    rig.respond::<AssertMaster>(3, 0);
    rig.granted(key);
}

// Behaviours 264 and 265, as the client; behaviour 267.
#[test]
fn the_recovery_lock_is_asked_for_exclusively_and_its_grant_needs_no_ast() {
    let mut rig = Rig::joined(2, &[1, 3, 4]);
    rig.dies(4);
    rig.all_respond::<MasterRequery>(255);
    rig.respond::<MasterRequest>(1, YES);
    rig.respond::<MasterRequest>(3, NO);
    let (call, payload) = rig.sent_raw(1, MessageType::CreateLock);
    assert_eq!(payload[8..12], [0x80, 0, 0x02, 0]);
    let create = CreateLock::read(&payload);
    assert_eq!((create.name, create.mode), (LockName::RECOVERY, LockMode::EX));
    rig.reply(call, 0);
    // The clean-up of the vote, and what the lock was for.
    rig.respond::<MasterRequest>(1, YES);
    let begun = [1, 3].map(|node| rig.expect(node, &begins(2, 4)));
    rig.is_silent();
    rig.reply(begun[0], 0);
    rig.is_silent();
    rig.reply(begun[1], 0);
    let unlock = rig.respond::<UnlockLock>(1, 0);
    assert_eq!((unlock.name, unlock.cookie), (LockName::RECOVERY, create.cookie));
    let asked = [1, 3].map(|node| rig.expect(node, &wants(2, 4)));
    rig.is_silent();
    for call in asked {
        rig.reply(call, 0);
    }
}

// Behaviour 264: whoever owned it waits for recovery itself.
#[test]
fn while_a_member_names_the_dead_node_as_owner_of_the_recovery_lock_it_is_asked_again() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.dies(3);
    for _ in 0..3 {
        rig.respond::<MasterRequery>(2, 3);
        rig.pass(499);
        rig.is_silent();
        rig.pass(1);
    }
    rig.respond::<MasterRequery>(2, 255);
    assert_eq!(rig.messages(), [(2, MessageType::MasterRequest)]);
}

// Behaviour 265, as the master.
#[test]
fn a_grant_of_the_recovery_lock_is_answered_normal_and_no_ast_follows() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.dies(3);
    recovered(&mut rig, 3);
    rig.is_silent();
    let flags = LkmFlags::NOQUEUE | LkmFlags::RECOVERY;
    let (status, cookie) = rig.create(2, LockName::RECOVERY, LockMode::EX, flags);
    assert_eq!(status, Status::Normal);
    rig.pass(5000);
    rig.is_silent();
    let (status, _) = rig.create(2, LockName::RECOVERY, LockMode::EX, flags);
    assert_eq!(status, Status::NotQueued);
    rig.is_silent();
    let node = n(2);
    let unlock = UnlockLock { cookie, flags: NONE, node, name: LockName::RECOVERY, lvb: None };
    assert_eq!(rig.request(2, &unlock), 0);
}

// Behaviour 266.
#[test]
fn a_lost_election_is_repeated_after_1_s_unless_the_winner_begins() {
    for winner_begins in [false, true] {
        let mut rig = Rig::joined(2, &[1, 3]);
        rig.dies(3);
        rig.respond::<MasterRequery>(1, 255);
        rig.respond::<MasterRequest>(1, YES);
        rig.respond::<CreateLock>(1, Status::NotQueued.to_wire());
        rig.is_silent();
        rig.pass(999);
        rig.is_silent();
        if winner_begins {
            assert_eq!(rig.request(1, &begins(1, 3)), 0);
            rig.pass(5000);
            rig.is_silent();
        } else {
            rig.pass(1);
            assert_eq!(rig.messages(), [(1, MessageType::CreateLock)]);
            rig.respond::<CreateLock>(1, 0);
            assert_eq!(rig.messages(), [(1, MessageType::BeginReco)]);
        }
    }
}

// Behaviour 267: somebody announced itself while the lock was on its way.
#[test]
fn who_gets_the_recovery_lock_after_another_began_gives_it_back_and_stays_quiet() {
    let mut rig = Rig::joined(2, &[1, 3, 4]);
    rig.dies(4);
    rig.all_respond::<MasterRequery>(255);
    rig.respond::<MasterRequest>(1, YES);
    rig.respond::<MasterRequest>(3, NO);
    let (call, _) = rig.sent::<CreateLock>(1);
    rig.respond::<MasterRequest>(1, YES);
    assert_eq!(rig.request(3, &begins(3, 4)), 0);
    rig.reply(call, 0);
    assert_eq!(rig.messages(), [(1, MessageType::UnlockLock)]);
    rig.respond::<UnlockLock>(1, 0);
    rig.pass(5000);
    rig.is_silent();
}

// Behaviour 267, of a member that still finishes another recovery, or dies.
#[test]
fn begin_recovery_is_repeated_every_100_ms_and_a_member_that_dies_is_skipped() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.dies(4);
    elected(&mut rig);
    rig.respond::<BeginReco>(3, 0);
    for _ in 0..3 {
        rig.respond::<BeginReco>(2, -EAGAIN);
        rig.pass(99);
        rig.is_silent();
        rig.pass(1);
    }
    rig.respond::<BeginReco>(2, 11);
    rig.pass(100);
    assert_eq!(rig.messages(), [(2, MessageType::BeginReco)]);
    rig.dies(2);
    assert_eq!(rig.messages(), [(3, MessageType::LockRequest)]);
}

// Behaviour 268.
#[test]
fn begin_recovery_for_a_node_that_still_heartbeats_here_cleans_up_at_once() {
    let (mut rig, _) = member();
    assert_eq!(rig.domain.members(), map(&[1, 3]));
    assert!(rig.resource(NAME).busy.contains("RECOVERING"));
    // The heartbeat says the same later, and nothing happens twice.
    rig.node_down(2);
    rig.is_silent();
}

// Behaviour 269.
#[test]
fn between_the_stages_another_recovery_cannot_begin() {
    let (mut rig, _) = member();
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    assert_eq!(rig.request(3, &begins(3, 2)), -EAGAIN);
    assert_eq!(rig.request(3, &stage(2, 3, 2)), 0);
    assert!(!rig.domain.is_recovering());
}

// Behaviour 270.
#[test]
fn a_lock_request_for_another_dead_node_than_ours_is_to_be_repeated() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    assert_eq!(rig.request(3, &wants(3, 2)), -ENOMEM);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    rig.event();
    assert_eq!(rig.request(3, &wants(3, 4)), -ENOMEM);
    // Of somebody who does not drive: it will, or give up.
    assert_eq!(rig.request(4, &wants(4, 2)), -ENOMEM);
}

// Behaviours 271, 272 and 273.
#[test]
fn a_lock_request_brings_our_own_locks_once_each_then_dummies_and_then_data_done() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let [held, known, other] = [&b"held"[..], b"known", b"other"].map(name);
    let key = rig.lock_at(2, held, LockMode::EX);
    let cookie = rig.snapshot(key).cookie;
    let gone = rig.lock_at(2, known, LockMode::PR);
    rig.unlock(gone);
    rig.respond::<UnlockLock>(2, 0);
    rig.unlocked(gone, Status::Normal, true);
    rig.lock_at(3, other, LockMode::PR);
    // What we master has locks of the recovery master; none of them is sent.
    rig.mastered_for(3, NAME);
    rig.created(3, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    assert_eq!(rig.event(), Event::NodeDown(n(2)));
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    let mut states = [rig.sent::<MigLockres>(3), rig.sent::<MigLockres>(3)];
    rig.is_silent();
    states.sort_by_key(|(_, sent)| sent.name);
    assert_eq!(states[0].1, state(held, 2, vec![entry(cookie, 1, LockMode::EX)]));
    assert_eq!(states[1].1, state(known, 2, vec![MigLock::dummy(n(1))]));
    rig.reply(states[0].0, 0);
    rig.is_silent();
    rig.reply(states[1].0, 0);
    let call = rig.expect(3, &sent_all(1, 2));
    rig.reply(call, 0);
    rig.is_silent();
}

// Behaviours 251 and 271: more locks than fit into a message.
#[test]
fn many_locks_of_a_name_are_sent_in_several_messages() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock_at(2, NAME, LockMode::PR);
    for _ in 1..250 {
        let key = rig.lock(NAME, LockMode::PR, NONE);
        rig.respond::<CreateLock>(2, 0);
        assert_eq!(rig.ast(2, key, None), 0);
        rig.granted(key);
    }
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    let counts = [(), ()].map(|()| {
        let sent = rig.respond::<MigLockres>(3, 0);
        assert_eq!(sent.total, 250);
        (sent.locks.len(), sent.flags.contains(MigFlags::ALL_DONE))
    });
    assert_eq!(counts, [(240, false), (10, true)]);
    assert_eq!(rig.messages(), [(3, MessageType::RecoDataDone)]);
}

// Behaviour 271: with nothing affected, data done comes all the same.
#[test]
fn a_lock_request_without_affected_names_brings_data_done_alone() {
    let mut rig = Rig::joined(1, &[2, 3]);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    rig.event();
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    rig.expect(3, &sent_all(1, 2));
    rig.is_silent();
}

// Behaviour 274.
#[test]
fn after_a_failed_message_with_locks_data_done_is_not_sent() {
    for result in [Ok(-EINVAL), Err(CallError::HostDown)] {
        let (mut rig, _) = member();
        assert_eq!(rig.request(3, &wants(3, 2)), 0);
        let (call, _) = rig.sent::<MigLockres>(3);
        rig.complete(call, result);
        rig.pass(1000);
        rig.is_silent();
    }
}

// Behaviours 275, 277 and 281.
#[test]
fn stage_2_follows_when_all_members_have_answered_stage_1_and_each_is_sent_once() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    let key = rig.lock_at(4, NAME, LockMode::PR);
    rig.dies(4);
    elected(&mut rig);
    rig.all_respond::<BeginReco>(0);
    rig.respond::<LockRequest>(2, 0);
    // One is not so far, and is asked again.
    rig.respond::<LockRequest>(3, -ENOMEM);
    assert_eq!(rig.request(2, &sent_all(2, 4)), 0);
    rig.pass(100);
    rig.respond::<LockRequest>(3, 0);
    rig.pass(5000);
    rig.is_silent();
    let theirs = rig.cookie(3);
    let locks = vec![entry(theirs, 3, LockMode::PR)];
    assert_eq!(rig.request(3, &state(NAME, 4, locks)), 0);
    rig.is_silent();
    assert_eq!(rig.request(3, &sent_all(3, 4)), 0);
    for number in [1, 2] {
        let calls = [2, 3].map(|node| rig.expect(node, &stage(number, 1, 4)));
        rig.is_silent();
        rig.reply(calls[1], 0);
        rig.is_silent();
        rig.reply(calls[0], 0);
    }
    assert!(!rig.domain.is_recovering());
    let resource = rig.resource(NAME);
    assert_eq!((resource.owner, resource.locks.len()), (Some(n(1)), 2));
    rig.unlock(key);
    rig.unlocked(key, Status::Normal, true);
    rig.pass(60_000);
    assert!(rig.messages().iter().all(|(_, kind)| *kind != MessageType::FinalizeReco));
}

// Behaviour 270: it heartbeats, and may hold what would be granted to others without its locks.
#[test]
fn a_member_that_is_out_of_reach_is_asked_for_its_locks_as_long_as_it_heartbeats() {
    for answers in [true, false] {
        let mut rig = Rig::joined(1, &[2, 3, 4]);
        rig.dies(4);
        elected(&mut rig);
        rig.all_respond::<BeginReco>(0);
        rig.respond::<LockRequest>(3, 0);
        assert_eq!(rig.request(3, &sent_all(3, 4)), 0);
        for _ in 0..20 {
            let call = rig.expect(2, &wants(1, 4));
            rig.complete(call, Err(CallError::HostDown));
            rig.pass(99);
            rig.is_silent();
            rig.pass(1);
        }
        if answers {
            rig.respond::<LockRequest>(2, 0);
            assert_eq!(rig.request(2, &sent_all(2, 4)), 0);
        } else {
            rig.dies(2);
        }
        finalized(&mut rig, 4);
    }
}

// Behaviour 275: who dies meanwhile is not waited for.
#[test]
fn a_member_that_dies_while_its_locks_are_awaited_is_recovered_next() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.dies(4);
    elected(&mut rig);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    assert_eq!(rig.request(2, &sent_all(2, 4)), 0);
    rig.is_silent();
    rig.dies(3);
    finalized(&mut rig, 4);
    assert!(rig.domain.is_recovering());
    // The recovery lock is ours already.
    rig.expect(2, &begins(1, 3));
}

// Behaviours 276 and 277.
#[test]
fn stage_1_gives_the_names_to_the_recovery_master_and_stage_2_ends_the_recovery() {
    let (mut rig, key) = member();
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    rig.respond::<MigLockres>(3, 0);
    rig.respond::<RecoDataDone>(3, 0);
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    cleaned_up(&mut rig, 3);
    let resource = rig.resource(NAME);
    assert_eq!(resource.owner, Some(n(3)));
    assert!(!resource.busy.contains("RECOVERING"));
    assert!(rig.domain.is_recovering());
    assert_eq!(rig.request(3, &stage(2, 3, 2)), 0);
    assert!(!rig.domain.is_recovering());
    rig.unlock(key);
    assert_eq!(rig.messages(), [(3, MessageType::UnlockLock)]);
}

// Behaviour 276: what we master and waited is free.
#[test]
fn stage_1_frees_what_waited_on_names_of_ours() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    rig.created(2, NAME, LockMode::EX);
    let (_, waiter) = rig.create(3, NAME, LockMode::PR, NONE);
    rig.respond::<ProxyAst>(2, 0);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    rig.event();
    rig.is_silent();
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    rig.grants(3, waiter, None);
}

// Behaviours 269, 276 and 277: a kernel crashes on stages out of order or of strangers.
#[test]
fn stages_out_of_order_are_reported_and_change_nothing() {
    let (mut rig, _) = member();
    assert_eq!(rig.request(3, &stage(2, 3, 2)), 0);
    assert!(rig.domain.is_recovering());
    assert_eq!(rig.request(3, &stage(1, 3, 7)), 0);
    assert_eq!(rig.resource(NAME).owner, Some(n(2)));
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    assert_eq!(rig.domain.counters().contradictions, 3);
    assert_eq!(rig.request(3, &stage(2, 3, 2)), 0);
    assert!(!rig.domain.is_recovering());
}

// Behaviour 278.
#[test]
fn when_the_recovery_master_dies_after_stage_1_only_itself_is_left_to_recover() {
    let (mut rig, _) = member();
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    rig.respond::<MigLockres>(3, 0);
    rig.respond::<RecoDataDone>(3, 0);
    assert_eq!(rig.request(3, &stage(1, 3, 2)), 0);
    rig.dies(3);
    // Nobody is left: it is over at once, and everything is ours.
    assert!(!rig.domain.is_recovering());
    assert_eq!(rig.resource(NAME).owner, Some(n(1)));
}

// Behaviour 279.
#[test]
fn when_the_recovery_master_dies_before_stage_1_the_same_dead_node_is_elected_for_again() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    rig.event();
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    rig.respond::<MigLockres>(3, 0);
    rig.dies(3);
    elected(&mut rig);
    let call = rig.expect(4, &begins(1, 2));
    rig.reply(call, 0);
    let call = rig.expect(4, &wants(1, 2));
    rig.reply(call, 0);
    assert_eq!(rig.request(4, &sent_all(4, 2)), 0);
    finalized(&mut rig, 2);
    assert_eq!(rig.resource(NAME).owner, Some(n(1)));
    // Then the one who drove.
    rig.expect(4, &begins(1, 3));
}

// Behaviour 280.
#[test]
fn two_dead_nodes_are_recovered_one_after_the_other_the_lower_first() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.dies(4);
    rig.dies(3);
    elected(&mut rig);
    let first = rig.respond::<BeginReco>(2, 0).dead;
    rig.respond::<LockRequest>(2, 0);
    let also = first.get();
    assert_eq!(rig.request(2, &sent_all(2, also)), 0);
    finalized(&mut rig, also);
    let second = rig.respond::<BeginReco>(2, 0).dead;
    // The one whose election had begun already, and then the other; of two known at once, the lower.
    assert_eq!([first, second], [n(4), n(3)]);

    let mut rig = Rig::joined(1, &[2, 3, 4, 5]);
    assert_eq!(rig.request(2, &begins(2, 3)), 0);
    rig.dies_too(&[5, 4]);
    assert_eq!(rig.request(2, &stage(1, 2, 3)), 0);
    assert_eq!(rig.request(2, &stage(2, 2, 3)), 0);
    elected(&mut rig);
    rig.expect(2, &begins(1, 4));
}

impl Rig {
    /// Members die whose deaths are not looked at.
    fn dies_too(&mut self, nodes: &[u8]) {
        self.event();
        for &node in nodes {
            self.dies(node);
        }
        self.is_silent();
    }
}

// Behaviours 270, 271 and 274, as the recovery master: what cannot belong to this recovery.
#[test]
fn locks_and_data_done_of_another_recovery_are_refused() {
    let mut rig = Rig::joined(1, &[2, 3]);
    assert_eq!(rig.request(2, &state(NAME, 3, vec![MigLock::dummy(n(2))])), -EINVAL);
    assert_eq!(rig.request(2, &sent_all(2, 3)), -EINVAL);
    rig.dies(3);
    elected(&mut rig);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    assert_eq!(rig.request(2, &state(NAME, 7, vec![MigLock::dummy(n(2))])), -EINVAL);
    assert_eq!(rig.request(2, &sent_all(2, 7)), -EINVAL);
    rig.is_silent();
    assert!(!rig.is_known(NAME));
}

// Behaviours 271 and 282: the sender of locks does not know the owner.
#[test]
fn locks_without_an_owner_are_taken_only_if_no_member_claims_the_name() {
    for claimed in [false, true] {
        let mut rig = Rig::joined(1, &[2, 3, 4]);
        rig.dies(4);
        elected(&mut rig);
        rig.all_respond::<BeginReco>(0);
        rig.all_respond::<LockRequest>(0);
        let unknown = MigLockres { owner: None, ..state(NAME, 4, vec![MigLock::dummy(n(2))]) };
        assert_eq!(rig.request(2, &unknown), 0);
        assert_eq!(rig.messages(), [(3, MessageType::MasterRequery)]);
        for node in [2, 3] {
            assert_eq!(rig.request(node, &sent_all(node, 4)), 0);
        }
        // Not before this is clear.
        assert_eq!(rig.messages(), [(3, MessageType::MasterRequery)]);
        rig.respond::<MasterRequery>(3, if claimed { 3 } else { 255 });
        finalized(&mut rig, 4);
        assert_eq!(rig.is_known(NAME), !claimed);
    }
}

// Behaviour 284. It needs no fault: a node whose unlock or downconversion the dead master had granted
// to somebody else may not have heard so.
#[test]
fn two_exclusive_locks_of_one_name_are_both_taken_and_nobody_else_gets_in_before_them() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.dies(4);
    elected(&mut rig);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    let [one, two] = [rig.cookie(2), rig.cookie(3)];
    assert_eq!(rig.request(2, &state(NAME, 4, vec![entry(one, 2, LockMode::EX)])), 0);
    assert_eq!(rig.request(3, &state(NAME, 4, vec![entry(two, 3, LockMode::EX)])), 0);
    for node in [2, 3] {
        assert_eq!(rig.request(node, &sent_all(node, 4)), 0);
    }
    finalized(&mut rig, 4);
    let (status, waiter) = rig.create(2, NAME, LockMode::PR, NONE);
    assert_eq!(status, Status::Normal);
    rig.notifies(2, one, LockMode::PR);
    rig.notifies(3, two, LockMode::PR);
    assert_eq!(rig.unlocks(2, one, NONE, None), Status::Normal);
    rig.notifies(3, two, LockMode::PR);
    assert_eq!(rig.unlocks(3, two, NONE, None), Status::Normal);
    rig.grants(2, waiter, None);
}

// Behaviour 273: a lock that is named twice is taken once, and one of ours not at all.
#[test]
fn a_lock_reported_twice_is_taken_once_and_our_own_is_refused() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.dies(3);
    elected(&mut rig);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    let cookie = rig.cookie(2);
    let twice = vec![entry(cookie, 2, LockMode::PR); 2];
    assert_eq!(rig.request(2, &state(NAME, 3, twice)), 0);
    let ours = vec![entry(Cookie::new(n(1), 999), 1, LockMode::PR)];
    assert_eq!(rig.request(2, &state(NAME, 3, ours)), 0);
    assert_eq!(rig.resource(NAME).locks.len(), 1);
    assert_eq!(rig.domain.counters().contradictions, 1);
}

/// The dead master may not have told everybody: the new one is asked to.
fn cleaned_up(rig: &mut Rig, master: u8) {
    rig.respond::<MasterRequest>(master, 1);
}
