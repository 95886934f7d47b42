//! Names on their way to another master: behaviours 249 to 258.

use stackglue_o2cb::o2dlm::CallError;
use stackglue_o2cb::o2dlm::message::*;

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();
const EINVAL: i32 = 22;
const FINISH: AssertFlags = AssertFlags::FINISH_MIGRATION;
const PLACES: [Queue; 3] = [Queue::Granted, Queue::Converting, Queue::Blocked];

fn finished(by: u8) -> AssertMaster {
    AssertMaster { node: n(by), flags: FINISH, name: NAME }
}

fn moves(from: u8, to: u8) -> MigrateRequest {
    MigrateRequest { old_master: n(from), new_master: n(to), name: NAME }
}

fn entry(cookie: Cookie, node: u8, queue: Queue, mode: LockMode) -> MigLock {
    MigLock {
        cookie,
        queue,
        lvb_flags: LvbFlags::empty(),
        mode: Some(mode),
        convert: None,
        highest_blocked: None,
        node: n(node),
    }
}

fn migrates(from: u8, locks: Vec<MigLock>) -> MigLockres {
    MigLockres {
        owner: Some(n(from)),
        flags: MigFlags::MIGRATION | MigFlags::ALL_DONE,
        total: locks.iter().filter(|lock| !lock.is_dummy()).count() as u32,
        cookie: 0,
        name: NAME,
        lvb: [0; 64],
        locks,
    }
}

/// This node leaves; the others are told.
fn leave(rig: &mut Rig) {
    rig.leave();
    rig.all_respond::<BeginExit>(0);
}

// Behaviour 249.
#[test]
fn the_target_is_the_node_of_the_first_remote_lock_that_does_not_leave_itself() {
    for (exiting, target) in [(None, 4), (Some(4), 2)] {
        let mut rig = Rig::joined(1, &[2, 3, 4]);
        rig.mastered_for(3, NAME);
        rig.created(4, NAME, LockMode::PR);
        rig.created(2, NAME, LockMode::PR);
        if let Some(node) = exiting {
            assert_eq!(rig.request(node, &BeginExit { node: n(node) }), 0);
        }
        leave(&mut rig);
        assert_eq!(rig.messages(), [(target, MessageType::MigLockres)]);
    }
}

// Behaviour 249: nobody can take it.
#[test]
fn a_name_stays_while_everybody_who_could_take_it_leaves() {
    let mut rig = Rig::joined(1, &[2]);
    rig.mastered_for(2, NAME);
    assert_eq!(rig.request(2, &BeginExit { node: n(2) }), 0);
    leave(&mut rig);
    rig.pass(60_000);
    rig.is_silent();
    // Its reference is dropped on its way out: nothing is left to hand over.
    assert_eq!(rig.request(2, &DerefLockres { node: n(2), name: NAME }), 0);
    assert_eq!(rig.messages(), [(2, MessageType::ExitDomain)]);
}

// Behaviour 250.
#[test]
fn a_name_that_is_only_known_goes_to_the_lowest_node_that_knows_it_with_a_dummy() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.mastered_for(4, NAME);
    rig.referred(3, NAME);
    leave(&mut rig);
    let (_, sent) = rig.sent::<MigLockres>(3);
    let dummy = MigLockres { total: 0, ..migrates(1, vec![MigLock::dummy(n(1))]) };
    assert_eq!(sent, dummy);
    let lock = sent.locks[0];
    assert_eq!((lock.mode, lock.queue, lock.convert), (None, Queue::Blocked, None));
}

// Behaviours 251 and 256.
#[test]
fn locks_are_sent_in_queue_order_240_at_a_time_and_the_last_message_says_so() {
    for (count, lengths) in [(1, &[128][..]), (240, &[3952]), (241, &[3952, 128])] {
        let mut rig = Rig::joined(1, &[2]);
        rig.mastered_for(2, NAME);
        let cookies: Vec<Cookie> = (0..count).map(|_| rig.created(2, NAME, LockMode::PR)).collect();
        leave(&mut rig);
        let mut sent = Vec::new();
        for (at, len) in lengths.iter().enumerate() {
            let (call, payload) = rig.sent_raw(2, MessageType::MigLockres);
            assert_eq!(payload.len(), *len);
            let message = MigLockres::read(&payload);
            let last = at + 1 == lengths.len();
            assert_eq!(message.flags.contains(MigFlags::ALL_DONE), last);
            assert_eq!((message.total, message.cookie == 0), (count, lengths.len() == 1));
            assert!(message.locks.iter().all(|lock| lock.highest_blocked.is_none()));
            sent.extend(message.locks.iter().map(|lock| lock.cookie));
            rig.is_silent();
            rig.reply(call, 0);
        }
        assert_eq!(sent, cookies);
    }
}

// Behaviours 251, 255 and 256.
#[test]
fn a_queue_of_every_kind_is_sent_with_modes_and_without_notices_due() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    let granted = rig.created(3, NAME, LockMode::PR);
    let converting = rig.created(2, NAME, LockMode::PR);
    let reads = LkmFlags::VALBLK | LkmFlags::GET_LVB;
    assert_eq!(rig.converts(2, converting, LockMode::EX, reads, None), Status::Normal);
    rig.notifies(3, granted, LockMode::EX);
    let (_, blocked) = rig.create(3, NAME, LockMode::EX, NONE);
    rig.respond::<ProxyAst>(3, 0);
    rig.respond::<ProxyAst>(2, 0);
    leave(&mut rig);
    let (_, sent) = rig.sent::<MigLockres>(3);
    let [granted, converting, blocked] =
        [(granted, 3), (converting, 2), (blocked, 3)].map(|(cookie, node)| (cookie, n(node)));
    let seen: Vec<_> = sent.locks.iter().map(|lock| (lock.cookie, lock.node)).collect();
    assert_eq!(seen, [granted, converting, blocked]);
    assert_eq!(sent.locks.iter().map(|lock| lock.queue).collect::<Vec<_>>(), PLACES);
    assert_eq!(sent.locks[1].convert, Some(LockMode::EX));
    assert_eq!(sent.locks[1].lvb_flags, LvbFlags::GET);
    assert!(sent.locks.iter().all(|lock| lock.highest_blocked.is_none()));
}

// Behaviour 252, as the target.
#[test]
fn the_target_tells_third_members_then_asserts_to_them_and_last_to_the_old_master() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    let cookie = rig.cookie(3);
    let locks = vec![entry(cookie, 3, Queue::Granted, LockMode::PR)];
    assert_eq!(rig.request(2, &migrates(2, locks)), 0);
    let calls = [3, 4].map(|node| rig.expect(node, &moves(2, 1)));
    rig.is_silent();
    rig.reply(calls[0], 0);
    rig.is_silent();
    rig.reply(calls[1], 1);
    let calls = [3, 4].map(|node| rig.expect(node, &finished(1)));
    rig.is_silent();
    // Behaviour 253, here too until it is over.
    assert_eq!(rig.create(4, NAME, LockMode::PR, NONE).0, Status::Migrating);
    rig.reply(calls[0], MASTERY_REF);
    rig.reply(calls[1], 0);
    let call = rig.expect(2, &finished(1));
    rig.is_silent();
    rig.reply(call, MASTERY_REF);
    rig.is_silent();
    let resource = rig.resource(NAME);
    assert_eq!((resource.owner, resource.refmap), (Some(n(1)), map(&[2, 3, 4])));
    // It is scheduled from now on.
    rig.created(4, NAME, LockMode::PR);
}

// Behaviour 252: the first waiting lock is granted when it has come.
#[test]
fn what_can_be_granted_is_granted_when_the_migration_is_over() {
    let mut rig = Rig::joined(1, &[2]);
    let cookie = rig.cookie(2);
    let locks = vec![entry(cookie, 2, Queue::Blocked, LockMode::EX)];
    assert_eq!(rig.request(2, &migrates(2, locks)), 0);
    assert_eq!(rig.messages(), [(2, MessageType::AssertMaster)]);
    rig.respond::<AssertMaster>(2, MASTERY_REF);
    rig.grants(2, cookie, None);
}

// Behaviour 253.
#[test]
fn a_name_that_moves_away_is_answered_migrating_and_error() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    let cookie = rig.created(2, NAME, LockMode::PR);
    leave(&mut rig);
    for sent in [false, true] {
        if sent {
            rig.respond::<MigLockres>(2, 0);
        }
        assert_eq!(rig.create(2, NAME, LockMode::PR, NONE).0, Status::Migrating);
        assert_eq!(rig.converts(2, cookie, LockMode::NL, NONE, None), Status::Migrating);
        assert_eq!(rig.unlocks(2, cookie, NONE, None), Status::Migrating);
        let asks = MasterRequest { node: n(3), flags: 0, name: NAME };
        assert_eq!(rig.request(3, &asks), ERROR);
    }
    assert_eq!(rig.request(2, &finished(2)), MASTERY_REF);
    // The others' locks are the new master's now.
    assert!(rig.domain.resource(&NAME).is_none_or(|resource| resource.locks.is_empty()));
}

// Behaviour 254.
#[test]
fn our_own_lock_takes_the_place_that_the_old_master_gave_it_and_keeps_its_modes() {
    let mut rig = Rig::joined(1, &[2]);
    let [first, second] = [rig.lock_at(2, NAME, LockMode::PR), {
        let key = rig.lock(NAME, LockMode::PR, NONE);
        rig.respond::<CreateLock>(2, 0);
        assert_eq!(rig.ast(2, key, None), 0);
        rig.granted(key);
        key
    }];
    let [one, two] = [first, second].map(|key| rig.snapshot(key).cookie);
    let theirs = rig.cookie(2);
    let locks = vec![
        entry(two, 1, Queue::Granted, LockMode::EX),
        entry(theirs, 2, Queue::Granted, LockMode::PR),
        entry(one, 1, Queue::Granted, LockMode::NL),
    ];
    assert_eq!(rig.request(2, &migrates(2, locks)), 0);
    rig.respond::<AssertMaster>(2, 0);
    let locks = rig.resource(NAME).locks;
    assert_eq!(locks.iter().map(|lock| lock.cookie).collect::<Vec<_>>(), [two, theirs, one]);
    assert!(locks.iter().all(|lock| lock.mode == LockMode::PR));
}

// Behaviour 255.
#[test]
fn a_converting_lock_arrives_converting() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let [reader, upgrader] = [rig.cookie(2), rig.cookie(3)];
    let locks = vec![
        entry(reader, 2, Queue::Granted, LockMode::PR),
        MigLock {
            convert: Some(LockMode::EX),
            ..entry(upgrader, 3, Queue::Converting, LockMode::PR)
        },
    ];
    assert_eq!(rig.request(2, &migrates(2, locks)), 0);
    rig.respond::<MigrateRequest>(3, 0);
    rig.respond::<AssertMaster>(3, MASTERY_REF);
    rig.respond::<AssertMaster>(2, MASTERY_REF);
    rig.notifies(2, reader, LockMode::EX);
    assert_eq!(rig.unlocks(2, reader, NONE, None), Status::Normal);
    rig.grants(3, upgrader, None);
}

// Behaviour 255: what no lock can be. A kernel crashes on it; here it is reported.
#[test]
fn locks_that_cannot_be_are_reported_and_left_out() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let cookies = [rig.cookie(2), rig.cookie(2), rig.cookie(2), Cookie::new(n(1), 77)];
    let good = entry(cookies[0], 2, Queue::Granted, LockMode::PR);
    let locks = vec![
        good,
        MigLock { cookie: cookies[1], convert: Some(LockMode::EX), ..good },
        MigLock { cookie: cookies[2], highest_blocked: Some(LockMode::EX), ..good },
        MigLock { cookie: cookies[3], node: n(1), ..good },
    ];
    assert_eq!(rig.request(2, &migrates(2, locks)), 0);
    let locks = rig.resource(NAME).locks;
    assert_eq!(locks.iter().map(|lock| lock.cookie).collect::<Vec<_>>(), [cookies[0]]);
    assert_eq!(rig.domain.counters().contradictions, 3);
}

// Behaviour 257.
#[test]
fn when_the_target_dies_before_it_asserts_the_name_stays_with_the_old_master() {
    for answered in [false, true] {
        let mut rig = Rig::joined(1, &[2]);
        rig.mastered_for(2, NAME);
        rig.created(2, NAME, LockMode::PR);
        leave(&mut rig);
        if answered {
            rig.respond::<MigLockres>(2, 0);
        }
        rig.dies(2);
        // Nobody is left to take it: it is forgotten, and so are we.
        rig.pass(1000);
        assert_eq!(rig.event(), stackglue_o2cb::o2dlm::Event::Left, "answered: {answered}");
    }
}

// Behaviour 257: with another node left, that one gets it.
#[test]
fn when_the_target_dies_the_next_one_gets_the_name() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    rig.created(2, NAME, LockMode::PR);
    let waits = rig.created(3, NAME, LockMode::PR);
    leave(&mut rig);
    rig.respond::<MigLockres>(2, 0);
    rig.dies(2);
    assert_eq!(rig.resource(NAME).owner, Some(n(1)));
    assert_eq!(rig.request(3, &BeginReco { node: n(3), dead: n(2) }), 0);
    assert_eq!(rig.request(3, &FinalizeReco { node: n(3), dead: n(2), stage2: false }), 0);
    assert_eq!(rig.request(3, &FinalizeReco { node: n(3), dead: n(2), stage2: true }), 0);
    rig.pass(500);
    let (_, sent) = rig.sent::<MigLockres>(3);
    assert_eq!(sent.locks.iter().map(|lock| lock.cookie).collect::<Vec<_>>(), [waits]);
}

// Behaviour 257: a target that cannot be reached may have it all, and be telling the others.
#[test]
fn a_target_whose_answer_was_lost_is_asked_whether_the_name_is_its_own() {
    for has_it in [true, false] {
        let mut rig = Rig::joined(1, &[2, 3]);
        rig.mastered_for(2, NAME);
        leave(&mut rig);
        let (call, _) = rig.sent::<MigLockres>(2);
        rig.complete(call, Err(CallError::HostDown));
        let asks = MasterRequest { node: n(3), flags: 0, name: NAME };
        assert_eq!(rig.request(3, &asks), ERROR);
        rig.pass(100);
        let (call, _) = rig.sent::<MasterRequery>(2);
        rig.complete(call, Err(CallError::HostDown));
        rig.pass(100);
        rig.respond::<MasterRequery>(2, if has_it { 2 } else { 255 });
        if has_it {
            rig.is_silent();
            assert_eq!(rig.request(2, &finished(2)), MASTERY_REF);
            assert_eq!(rig.messages(), [(2, MessageType::DerefLockres)]);
        } else {
            rig.pass(500);
            assert_eq!(rig.messages(), [(2, MessageType::MigLockres)]);
        }
    }
}

// Behaviour 257: what an earlier target answers says nothing of the next.
#[test]
fn a_late_loss_of_a_message_to_a_dead_target_does_not_end_the_next_migration() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    rig.referred(3, NAME);
    leave(&mut rig);
    let (late, _) = rig.sent::<MigLockres>(2);
    assert_eq!(rig.request(3, &BeginReco { node: n(3), dead: n(2) }), 0);
    assert_eq!(rig.event(), stackglue_o2cb::o2dlm::Event::NodeDown(n(2)));
    for stage2 in [false, true] {
        assert_eq!(rig.request(3, &FinalizeReco { node: n(3), dead: n(2), stage2 }), 0);
    }
    rig.pass(500);
    let (call, _) = rig.sent::<MigLockres>(3);
    rig.complete(late, Err(CallError::HostDown));
    rig.reply(call, 0);
    assert_eq!(rig.create(3, NAME, LockMode::PR, NONE).0, Status::Migrating);
    assert_eq!(rig.request(3, &finished(3)), MASTERY_REF);
}

// Behaviours 250 and 257: only the target was told that we have it, and died.
#[test]
fn a_master_that_has_forgotten_a_name_is_not_asked_for_it_for_ever() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock(NAME, LockMode::PR, NONE);
    rig.respond::<MasterRequest>(2, NO);
    assert_eq!(rig.request(3, &moves(2, 3)), 1);
    rig.dies(3);
    // What node 2 says of it: it does not know the name.
    rig.respond::<MasterRequest>(2, NO);
    rig.respond::<CreateLock>(2, Status::IvLockId.to_wire());
    rig.all_respond::<MasterRequery>(255);
    rig.all_respond::<MasterRequest>(NO);
    rig.all_respond::<AssertMaster>(0);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    assert_eq!(rig.request(2, &RecoDataDone { node: n(2), dead: n(3) }), 0);
    rig.all_respond::<FinalizeReco>(0);
    rig.all_respond::<FinalizeReco>(0);
    rig.respond::<MasterRequest>(2, NO);
    rig.respond::<AssertMaster>(2, 0);
    rig.pass(100);
    assert_eq!(rig.granted(key), (LockMode::PR, None));
}

// Behaviours 257 and 270: until its new master says so, or dies, what is to be recovered is not known.
#[test]
fn a_member_that_knows_that_a_name_was_moving_away_from_the_dead_sends_its_locks_later() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &moves(2, 3)), 0);
    assert_eq!(rig.request(4, &BeginReco { node: n(4), dead: n(2) }), 0);
    let asks = MasterRequery { node: n(4), name: NAME };
    assert_eq!(rig.request(4, &asks), 3);
    assert_eq!(rig.request(4, &LockRequest { node: n(4), dead: n(2) }), -12);
    assert_eq!(rig.request(3, &finished(3)), MASTERY_REF);
    assert_eq!(rig.request(4, &LockRequest { node: n(4), dead: n(2) }), 0);
    assert_eq!(rig.messages(), [(4, MessageType::RecoDataDone)]);
}

// Behaviour 257: the target refuses, because it is leaving or does not want it now.
#[test]
fn a_refused_migration_is_tried_again_later() {
    let mut rig = Rig::joined(1, &[2]);
    rig.mastered_for(2, NAME);
    leave(&mut rig);
    rig.respond::<MigLockres>(2, -EINVAL);
    assert_eq!(rig.resource(NAME).owner, Some(n(1)));
    rig.is_silent();
    rig.pass(500);
    assert_eq!(rig.messages(), [(2, MessageType::MigLockres)]);
}

// Behaviours 252 and 258.
#[test]
fn a_name_that_has_just_come_is_not_moved_on_before_it_is_asserted() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let cookie = rig.cookie(3);
    let locks = vec![entry(cookie, 3, Queue::Granted, LockMode::PR)];
    assert_eq!(rig.request(2, &migrates(2, locks)), 0);
    leave(&mut rig);
    let call = rig.expect(3, &moves(2, 1));
    rig.pass(2000);
    rig.is_silent();
    rig.reply(call, 0);
    let call = rig.expect(3, &finished(1));
    rig.pass(2000);
    rig.is_silent();
    rig.reply(call, MASTERY_REF);
    let call = rig.expect(2, &finished(1));
    rig.pass(2000);
    rig.is_silent();
    rig.reply(call, MASTERY_REF);
    rig.pass(500);
    assert_eq!(rig.messages(), [(3, MessageType::MigLockres)]);
}

// Behaviours 249 and 253: who leaves takes nothing over.
#[test]
fn a_node_that_leaves_refuses_a_name_that_others_hand_over() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    leave(&mut rig);
    let mut theirs = migrates(3, vec![MigLock::dummy(n(3))]);
    theirs.name = name(b"another");
    assert_eq!(rig.request(3, &theirs), -EINVAL);
}

// Behaviours 210 and 253, as a third node: what is asked of us meanwhile, and what our users want.
#[test]
fn a_third_node_waits_until_the_new_master_asserts_and_then_goes_there() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &moves(2, 3)), 0);
    rig.convert(key, LockMode::EX, NONE);
    rig.pass(10_000);
    rig.is_silent();
    // An assertion without its flag, of another node, or without our knowing says nothing.
    let flags = AssertFlags::empty();
    assert_eq!(rig.request(2, &AssertMaster { node: n(2), flags, name: NAME }), 0);
    assert_eq!(rig.request(3, &AssertMaster { node: n(3), flags, name: NAME }), 0);
    rig.is_silent();
    assert_eq!(rig.request(3, &finished(3)), MASTERY_REF);
    assert_eq!(rig.messages(), [(3, MessageType::ConvertLock)]);
}

// Behaviour 258, seen from a third node: who asks twice crashes a kernel, and not us.
#[test]
fn a_second_migrate_request_is_reported_and_harmless() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.request(3, &moves(2, 3)), 0);
    assert!(rig.request(4, &moves(2, 4)) <= 1);
    assert_eq!(rig.domain.counters().contradictions, 1);
    assert_eq!(rig.request(4, &finished(4)), MASTERY_REF);
    assert_eq!(rig.resource(NAME).owner, Some(n(4)));
}
