//! Unlocks and cancels: behaviours 224 to 231.

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{CallError, Event};

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();
const CANCEL: LkmFlags = LkmFlags::CANCEL;

/// Node 1, the master of the name with no lock of its own; nodes 2 and 3 are members.
fn master() -> Rig {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    rig
}

fn own(rig: &Rig, cookie: Cookie) -> Option<(Option<Queue>, LockMode, Option<LockMode>)> {
    let locks = rig.resource(NAME).locks;
    let lock = locks.into_iter().find(|lock| lock.cookie == cookie)?;
    Some((lock.queue, lock.mode, lock.convert))
}

// Behaviour 224, as the master.
#[test]
fn an_unlock_of_a_granted_lock_is_answered_normal_and_brings_no_ast() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.unlocks(2, cookie, NONE, None), Status::Normal);
    assert_eq!(own(&rig, cookie), None);
    rig.is_silent();
}

// Behaviour 224, as the client.
#[test]
fn our_unlock_completes_with_the_status() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    let cookie = rig.snapshot(key).cookie;
    rig.unlock(key);
    let sent = UnlockLock { cookie, flags: NONE, node: n(1), name: NAME, lvb: None };
    let call = rig.expect(2, &sent);
    rig.is_silent();
    rig.reply(call, 0);
    rig.unlocked(key, Status::Normal, true);
    assert!(rig.resource(NAME).locks.is_empty());
}

// Behaviour 224: what is not granted cannot be unlocked.
#[test]
fn an_unlock_of_a_waiting_lock_is_denied() {
    let mut rig = master();
    let holder = rig.created(3, NAME, LockMode::PR);
    let (_, blocked) = rig.create(2, NAME, LockMode::EX, NONE);
    rig.notifies(3, holder, LockMode::EX);
    assert_eq!(rig.unlocks(2, blocked, NONE, None), Status::Denied);
    assert!(own(&rig, blocked).is_some());
}

// Behaviour 225, as the master.
#[test]
fn a_cancelled_conversion_is_granted_in_its_old_mode() {
    let mut rig = master();
    rig.created(3, NAME, LockMode::PR);
    let cookie = rig.created(2, NAME, LockMode::PR);
    assert_eq!(rig.converts(2, cookie, LockMode::EX, NONE, None), Status::Normal);
    assert_eq!(rig.unlocks(2, cookie, CANCEL, None), Status::Normal);
    assert_eq!(own(&rig, cookie), Some((Some(Queue::Granted), LockMode::PR, None)));
    // Nobody waits any more: a PR is granted at once.
    rig.respond::<ProxyAst>(3, 0);
    rig.created(3, NAME, LockMode::PR);
    rig.is_silent();
}

// Behaviour 225, as the client.
#[test]
fn our_cancelled_conversion_leaves_the_lock_in_its_old_mode() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    let cookie = rig.snapshot(key).cookie;
    rig.convert(key, LockMode::EX, NONE);
    rig.respond::<ConvertLock>(2, 0);
    rig.cancel(key);
    let sent = UnlockLock { cookie, flags: CANCEL, node: n(1), name: NAME, lvb: None };
    let call = rig.expect(2, &sent);
    rig.reply(call, 0);
    rig.unlocked(key, Status::Normal, false);
    let lock = rig.snapshot(key);
    assert_eq!((lock.queue, lock.mode, lock.convert), (Some(Queue::Granted), LockMode::PR, None));
    rig.is_silent();
}

// Behaviour 226, as the master and as the client.
#[test]
fn a_cancelled_new_lock_is_gone() {
    let mut rig = master();
    rig.created(3, NAME, LockMode::PR);
    let (_, blocked) = rig.create(2, NAME, LockMode::EX, NONE);
    assert_eq!(rig.unlocks(2, blocked, CANCEL, None), Status::Normal);
    assert_eq!(own(&rig, blocked), None);

    let mut rig = Rig::joined(1, &[2]);
    let key = rig.found_at(2, NAME, LockMode::EX, NONE);
    rig.respond::<CreateLock>(2, 0);
    rig.cancel(key);
    rig.respond::<UnlockLock>(2, 0);
    rig.unlocked(key, Status::Normal, true);
    assert!(rig.resource(NAME).locks.is_empty());
}

// Behaviour 227, as the master.
#[test]
fn a_cancel_after_the_grant_is_answered_cancelgrant_and_the_grant_stands() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.unlocks(2, cookie, CANCEL, None), Status::CancelGrant);
    assert_eq!(own(&rig, cookie), Some((Some(Queue::Granted), LockMode::EX, None)));
}

// A master before us may have done it, and died before it said so. A kernel that hears IVLOCKID crashes.
#[test]
fn an_unlock_or_a_cancel_of_a_lock_that_is_not_there_is_done() {
    for flags in [NONE, CANCEL] {
        let mut rig = master();
        let unknown = rig.cookie(2);
        assert_eq!(rig.unlocks(2, unknown, flags, None), Status::Normal);
        rig.is_silent();
    }
    // And a master that does not say so is understood.
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.found_at(2, NAME, LockMode::EX, NONE);
    rig.respond::<CreateLock>(2, 0);
    rig.cancel(key);
    rig.respond::<UnlockLock>(2, Status::IvLockId.to_wire());
    rig.unlocked(key, Status::Normal, true);
}

// Behaviour 227, as the client: the grant and the answer come in either order.
#[test]
fn our_cancel_that_lost_completes_once_and_the_lock_is_granted_once() {
    for ast_first in [true, false] {
        let mut rig = Rig::joined(1, &[2]);
        let key = rig.found_at(2, NAME, LockMode::EX, NONE);
        rig.respond::<CreateLock>(2, 0);
        rig.cancel(key);
        let (call, _) = rig.sent::<UnlockLock>(2);
        if ast_first {
            assert_eq!(rig.ast(2, key, None), 0);
            rig.granted(key);
            rig.unlocked(key, Status::CancelGrant, false);
            rig.reply(call, Status::CancelGrant.to_wire());
        } else {
            rig.reply(call, Status::CancelGrant.to_wire());
            rig.unlocked(key, Status::CancelGrant, false);
            assert_eq!(rig.ast(2, key, None), 0);
            rig.granted(key);
        }
        rig.is_silent();
        let lock = rig.snapshot(key);
        assert_eq!((lock.queue, lock.mode), (Some(Queue::Granted), LockMode::EX));
    }
}

// Behaviour 228.
#[test]
fn a_cancel_of_a_granted_lock_needs_no_message() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    rig.cancel(key);
    rig.unlocked(key, Status::CancelGrant, false);
    rig.is_silent();
}

// Behaviour 229.
#[test]
fn an_unlock_at_who_is_not_the_master_is_answered_forward() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    let mut unlock =
        UnlockLock { cookie, flags: NONE, node: n(2), name: name(b"unknown"), lvb: None };
    let forward = Status::Forward.to_wire();
    assert_eq!(rig.request(2, &unlock), forward);
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock_at(2, NAME, LockMode::PR);
    unlock.name = NAME;
    unlock.node = n(3);
    assert_eq!(rig.request(3, &unlock), forward);
    // While this node is no member.
    let mut rig = Rig::new(config(1, &[1, 3]));
    assert_eq!(rig.request(3, &unlock), forward);
}

// Behaviour 230. (A kernel makes a cancel wait; here it is answered FORWARD too, on which a kernel
// tries again.)
#[test]
fn an_unlock_while_the_mastery_is_being_asserted_is_answered_forward() {
    for flags in [NONE, CANCEL] {
        let mut rig = Rig::joined(1, &[2]);
        rig.lock(NAME, LockMode::NL, NONE);
        rig.respond::<MasterRequest>(2, NO);
        let cookie = rig.cookie(2);
        assert_eq!(rig.unlocks(2, cookie, flags, None), Status::Forward);
    }
}

// Behaviour 229: the owner drops what cannot be. Flags that contradict each other.
#[test]
fn an_unlock_that_reads_and_a_cancel_that_writes_are_answered_badargs() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.unlocks(2, cookie, LkmFlags::GET_LVB, None), Status::BadArgs);
    assert_eq!(rig.unlocks(2, cookie, CANCEL, Some(value(1))), Status::BadArgs);
    assert!(own(&rig, cookie).is_some());
}

// Behaviours 210 and 231, of unlocks: 50 ms, with the owner read again.
#[test]
fn an_unlock_is_tried_again_after_50_ms() {
    let again = [Status::Recovering, Status::Migrating, Status::Forward, Status::NoLockMgr].map(Ok);
    let lost = Err(CallError::HostDown);
    for result in again.map(|status| status.map(Status::to_wire)).into_iter().chain([lost]) {
        let mut rig = Rig::joined(1, &[2]);
        let key = rig.lock_at(2, NAME, LockMode::EX);
        rig.unlock(key);
        let (call, first) = rig.sent::<UnlockLock>(2);
        rig.complete(call, result);
        rig.pass(49);
        rig.is_silent();
        rig.pass(1);
        assert_eq!(rig.respond::<UnlockLock>(2, 0), first);
        rig.unlocked(key, Status::Normal, true);
    }
}

// Behaviour 231.
#[test]
fn an_unlock_whose_master_died_is_done_when_recovery_is_over() {
    for loss_comes_first in [true, false] {
        let mut rig = dies_with_our_unlock();
        let (call, _) = rig.sent::<UnlockLock>(2);
        if loss_comes_first {
            rig.complete(call, Err(CallError::HostDown));
        }
        rig.pass(5000);
        rig.is_silent();
        assert_eq!(rig.request(3, &LockRequest { node: n(3), dead: n(2) }), 0);
        // It is not brought to life again.
        assert!(rig.respond::<MigLockres>(3, 0).locks[0].is_dummy());
        rig.respond::<RecoDataDone>(3, 0);
        let stage1 = FinalizeReco { node: n(3), dead: n(2), stage2: false };
        assert_eq!(rig.request(3, &stage1), 0);
        if !loss_comes_first {
            rig.complete(call, Err(CallError::HostDown));
        }
        assert!(matches!(rig.event(), Event::Unlocked { status: Status::Normal, gone: true, .. }));
    }
}

// Behaviour 231: the name was on its way, and the lock with it.
#[test]
fn an_unlock_whose_master_died_is_repeated_where_the_name_had_moved_to() {
    let mut rig = dies_with_our_unlock();
    let (call, lost) = rig.sent::<UnlockLock>(2);
    rig.complete(call, Err(CallError::HostDown));
    let moves = MigrateRequest { old_master: n(2), new_master: n(3), name: NAME };
    assert_eq!(rig.request(3, &moves), 0);
    let flags = AssertFlags::FINISH_MIGRATION;
    let asserts = AssertMaster { node: n(3), flags, name: NAME };
    assert_eq!(rig.request(3, &asserts), MASTERY_REF);
    assert_eq!(rig.respond::<UnlockLock>(3, 0), lost);
    assert!(matches!(rig.event(), Event::Unlocked { status: Status::Normal, gone: true, .. }));
}

/// Node 1 drops a lock at node 2, which dies; node 3 says so before node 1's message is lost.
fn dies_with_our_unlock() -> Rig {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    rig.unlock(key);
    assert_eq!(rig.messages(), [(2, MessageType::UnlockLock)]);
    assert_eq!(rig.request(3, &BeginReco { node: n(3), dead: n(2) }), 0);
    assert_eq!(rig.event(), Event::NodeDown(n(2)));
    rig
}

// Behaviour 231: the loss of the message is known before the death. The lock is granted still, and
// unlocked where the name is mastered after recovery.
#[test]
fn an_unlock_that_was_lost_before_the_death_was_known_completes_after_recovery() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    rig.unlock(key);
    assert_eq!(rig.messages(), [(2, MessageType::UnlockLock)]);
    rig.dies(2);
    rig.pass(50);
    rig.unlocked(key, Status::Normal, true);
}

// A lock that its owner does not know is gone.
#[test]
fn an_unlock_that_the_master_answers_with_ivlockid_is_over() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    rig.unlock(key);
    rig.respond::<UnlockLock>(2, Status::IvLockId.to_wire());
    rig.unlocked(key, Status::Normal, true);
    assert!(rig.resource(NAME).locks.is_empty());
}

// Behaviour 226: before the master has heard of it.
#[test]
fn a_cancel_before_the_master_is_known_needs_no_message() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    rig.cancel(key);
    rig.unlocked(key, Status::Normal, true);
    rig.respond::<MasterRequest>(2, YES);
    rig.is_silent();
}
