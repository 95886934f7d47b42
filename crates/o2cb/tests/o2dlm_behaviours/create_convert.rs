//! New locks and conversions: behaviours 202 to 220 and 236.

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{CallError, Event};

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();
const NOQUEUE: LkmFlags = LkmFlags::NOQUEUE;
const RETRIED: [Status; 3] = [Status::Recovering, Status::Migrating, Status::Forward];

/// Node 1, the master of the name with no lock of its own; nodes 2 and 3 are members.
fn master() -> Rig {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    rig
}

/// A status within what a kernel can translate.
fn is_translatable(status: i32) -> bool {
    (0..=41).contains(&status)
}

// Behaviour 202.
#[test]
fn a_lock_that_can_be_granted_is_answered_normal_and_granted_by_an_ast() {
    let mut rig = master();
    let (status, cookie) = rig.create(2, NAME, LockMode::EX, NONE);
    assert_eq!(status, Status::Normal);
    rig.grants(2, cookie, None);
    rig.is_silent();
}

// Behaviour 203.
#[test]
fn a_conflict_with_noqueue_is_answered_notqueued_and_nobody_is_told() {
    let mut rig = master();
    rig.created(3, NAME, LockMode::EX);
    let (status, _) = rig.create(2, NAME, LockMode::PR, NOQUEUE);
    assert_eq!(status, Status::NotQueued);
    rig.pass(10_000);
    rig.is_silent();
    assert_eq!(rig.resource(NAME).locks.len(), 1);
}

// Behaviour 204.
#[test]
fn a_conflict_tells_the_holder_the_wanted_mode_and_is_granted_when_the_holder_gives_way() {
    let mut rig = master();
    let holder = rig.created(3, NAME, LockMode::EX);
    let (status, waiter) = rig.create(2, NAME, LockMode::PR, NONE);
    assert_eq!(status, Status::Normal);
    rig.notifies(3, holder, LockMode::PR);
    rig.is_silent();
    assert_eq!(rig.converts(3, holder, LockMode::PR, NONE, None), Status::Normal);
    // Behaviour 211: the one who gives way gets an AST too.
    rig.grants(3, holder, None);
    rig.grants(2, waiter, None);
    rig.is_silent();
}

// Behaviour 205.
#[test]
fn pr_beside_pr_is_granted_though_ex_waits() {
    let mut rig = master();
    let holder = rig.created(3, NAME, LockMode::PR);
    rig.create(2, NAME, LockMode::EX, NONE);
    rig.notifies(3, holder, LockMode::EX);
    let (status, late) = rig.create(3, NAME, LockMode::PR, NONE);
    assert_eq!(status, Status::Normal);
    rig.grants(3, late, None);
}

// Behaviour 206.
#[test]
fn pr_waits_for_a_conversion_to_ex() {
    let mut rig = master();
    let other = rig.created(3, NAME, LockMode::PR);
    let converting = rig.created(2, NAME, LockMode::PR);
    assert_eq!(rig.converts(2, converting, LockMode::EX, NONE, None), Status::Normal);
    rig.notifies(3, other, LockMode::EX);
    let (status, late) = rig.create(3, NAME, LockMode::PR, NONE);
    assert_eq!(status, Status::Normal);
    // The head that cannot be granted asks again, as in the kernel; the late one gets nothing.
    rig.notifies(3, other, LockMode::EX);
    rig.is_silent();
    assert_eq!(rig.unlocks(3, other, NONE, None), Status::Normal);
    rig.grants(2, converting, None);
    rig.notifies(2, converting, LockMode::PR);
    rig.is_silent();
    assert_eq!(rig.converts(2, converting, LockMode::NL, NONE, None), Status::Normal);
    rig.grants(2, converting, None);
    rig.grants(3, late, None);
}

// Behaviours 207 and 208.
#[test]
fn a_lock_on_a_name_that_the_master_does_not_know_is_answered_ivlockid() {
    let mut rig = master();
    let (status, _) = rig.create(2, name(b"unknown"), LockMode::PR, NONE);
    assert_eq!(status, Status::IvLockId);
}

// Behaviour 208: whatever the state, REJECTED would crash the kernel that hears it.
#[test]
fn a_create_is_never_rejected() {
    let ask = |rig: &mut Rig| rig.create(2, NAME, LockMode::PR, NONE).0;
    let mut rig = Rig::new(config(1, &[1, 2]));
    assert_eq!(ask(&mut rig), Status::Forward);
    rig.join();
    assert_eq!(ask(&mut rig), Status::Forward);
    let mut rig = Rig::joined(1, &[2]);
    rig.leave();
    assert_eq!(ask(&mut rig), Status::Forward);
    // From a node that is no member.
    let mut rig = master();
    assert_eq!(rig.create(7, NAME, LockMode::PR, NONE).0, Status::Forward);
    // At a node that is not the master.
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.lock_at(2, NAME, LockMode::PR);
    assert_eq!(rig.create(3, NAME, LockMode::PR, NONE).0, Status::Forward);
}

// Behaviours 176, 209 and 136: what a kernel would read out of bounds or crash on.
#[test]
fn every_answer_to_a_create_convert_or_unlock_is_one_that_a_kernel_can_translate() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::PR);
    let requests = [
        (
            MessageType::CreateLock,
            CreateLock { cookie, flags: NONE, node: n(2), mode: LockMode::EX, name: NAME }.write(),
        ),
        (
            MessageType::ConvertLock,
            ConvertLock {
                cookie,
                flags: NONE,
                node: n(2),
                mode: LockMode::PR,
                name: NAME,
                lvb: Some(value(1)),
            }
            .write(),
        ),
        (
            MessageType::UnlockLock,
            UnlockLock { cookie, flags: NONE, node: n(2), name: NAME, lvb: Some(value(1)) }.write(),
        ),
    ];
    for (kind, payload) in &requests {
        for at in 0..16 {
            for byte in [0, 1, 2, 4, 5, 33, 127, 128, 254, 255] {
                let mut payload = payload.clone();
                payload[at] = byte;
                let status = rig.request_raw(2, *kind, &payload);
                assert!(is_translatable(status), "{kind}: {status} for {byte} at {at}");
                assert_ne!(status, Status::Rejected.to_wire());
            }
        }
        for len in 0..=payload.len() {
            let status = rig.request_raw(2, *kind, &payload[..len]);
            assert!(is_translatable(status), "{kind}: {status} for {len} bytes");
        }
    }
}

// Behaviour 210.
#[test]
fn a_create_is_tried_again_with_the_same_lock_after_100_ms() {
    for status in RETRIED {
        let mut rig = Rig::joined(1, &[2]);
        let key = rig.found_at(2, NAME, LockMode::PR, NONE);
        let first = rig.respond::<CreateLock>(2, status.to_wire());
        rig.pass(99);
        rig.is_silent();
        rig.pass(1);
        assert_eq!(rig.respond::<CreateLock>(2, 0), first);
        assert_eq!(rig.ast(2, key, None), 0);
        rig.granted(key);
    }
}

// Behaviour 210: the owner is read again.
#[test]
fn a_create_is_tried_again_at_the_master_that_the_name_has_moved_to() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.found_at(2, NAME, LockMode::PR, NONE);
    rig.respond::<CreateLock>(2, Status::Migrating.to_wire());
    let request = MigrateRequest { old_master: n(2), new_master: n(3), name: NAME };
    assert_eq!(rig.request(3, &request), 0);
    rig.pass(500);
    rig.is_silent();
    let flags = AssertFlags::FINISH_MIGRATION;
    assert_eq!(rig.request(3, &AssertMaster { node: n(3), flags, name: NAME }), MASTERY_REF);
    assert_eq!(rig.messages(), [(3, MessageType::CreateLock)]);
    rig.respond::<CreateLock>(3, 0);
    assert_eq!(rig.ast(3, key, None), 0);
    rig.granted(key);
}

// Behaviour 210: NOTQUEUED and errors are not tried again.
#[test]
fn a_create_that_is_refused_is_over() {
    for status in [Status::NotQueued, Status::IvLockId, Status::SysErr, Status::Denied] {
        let mut rig = Rig::joined(1, &[2]);
        let lock = rig.found_at(2, NAME, LockMode::PR, NOQUEUE);
        assert_eq!(rig.respond::<CreateLock>(2, status.to_wire()).flags, NOQUEUE);
        assert_eq!(rig.event(), Event::Refused { lock, status, gone: true });
        rig.pass(7000);
        rig.is_silent();
        assert!(rig.resource(NAME).locks.is_empty());
    }
}

// Behaviour 211.
#[test]
fn a_downconversion_is_answered_normal_and_granted_by_an_ast() {
    let mut rig = master();
    for (from, to) in [(LockMode::EX, LockMode::PR), (LockMode::EX, LockMode::NL)] {
        let cookie = rig.created(2, NAME, from);
        assert_eq!(rig.converts(2, cookie, to, NONE, None), Status::Normal);
        rig.grants(2, cookie, None);
        assert_eq!(rig.unlocks(2, cookie, NONE, None), Status::Normal);
        rig.is_silent();
    }
}

// Behaviour 212.
#[test]
fn an_ast_before_the_status_grants_and_the_status_does_not_undo_it() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.found_at(2, NAME, LockMode::PR, NONE);
    let (call, _) = rig.sent::<CreateLock>(2);
    assert_eq!(rig.ast(2, key, None), 0);
    assert_eq!(rig.granted(key), (LockMode::PR, None));
    rig.reply(call, 0);
    rig.is_silent();
    assert_eq!(rig.snapshot(key).queue, Some(Queue::Granted));

    rig.convert(key, LockMode::EX, NONE);
    let (call, _) = rig.sent::<ConvertLock>(2);
    assert_eq!(rig.ast(2, key, None), 0);
    assert_eq!(rig.granted(key), (LockMode::EX, None));
    rig.reply(call, 0);
    rig.is_silent();
    let lock = rig.snapshot(key);
    assert_eq!((lock.queue, lock.mode, lock.convert), (Some(Queue::Granted), LockMode::EX, None));
}

// Behaviour 212: the status is lost with the connection, or is an error.
#[test]
fn an_ast_before_a_lost_status_is_a_grant_all_the_same() {
    for result in [Err(CallError::HostDown), Ok(Status::Recovering.to_wire())] {
        let mut rig = Rig::joined(1, &[2]);
        let key = rig.found_at(2, NAME, LockMode::PR, NONE);
        let (call, _) = rig.sent::<CreateLock>(2);
        assert_eq!(rig.ast(2, key, None), 0);
        rig.granted(key);
        rig.complete(call, result);
        rig.pass(1000);
        rig.is_silent();
        assert_eq!(rig.snapshot(key).queue, Some(Queue::Granted));
    }
}

// Behaviour 213.
#[test]
fn no_conversion_can_begin_before_the_grant_of_the_one_before() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    rig.convert(key, LockMode::EX, NONE);
    rig.respond::<ConvertLock>(2, 0);
    let now = rig.now;
    for mode in [LockMode::NL, LockMode::PR, LockMode::EX] {
        assert_eq!(rig.domain.convert(now, key, mode, NONE, &[0; 64]), Err(Status::Denied));
    }
    assert_eq!(rig.domain.unlock(now, key, None), Err(Status::Denied));
    rig.is_silent();
    assert_eq!(rig.ast(2, key, None), 0);
    rig.granted(key);
    rig.convert(key, LockMode::PR, NONE);
    assert_eq!(rig.messages(), [(2, MessageType::ConvertLock)]);
}

// Behaviour 214.
#[test]
fn a_conversion_of_an_unknown_lock_is_answered_ivlockid() {
    let mut rig = master();
    let cookie = rig.cookie(2);
    assert_eq!(rig.converts(2, cookie, LockMode::EX, NONE, None), Status::IvLockId);
    // Another node's lock.
    let cookie = rig.created(3, NAME, LockMode::PR);
    assert_eq!(rig.converts(2, cookie, LockMode::NL, NONE, None), Status::IvLockId);
    // One that waits.
    let (_, waits) = rig.create(2, NAME, LockMode::EX, NONE);
    rig.notifies(3, cookie, LockMode::EX);
    assert_eq!(rig.converts(2, waits, LockMode::NL, NONE, None), Status::IvLockId);
}

// Behaviour 215.
#[test]
fn a_conversion_of_a_converting_lock_is_denied() {
    let mut rig = master();
    rig.created(3, NAME, LockMode::PR);
    let cookie = rig.created(2, NAME, LockMode::PR);
    assert_eq!(rig.converts(2, cookie, LockMode::EX, NONE, None), Status::Normal);
    assert_eq!(rig.converts(2, cookie, LockMode::NL, NONE, None), Status::Denied);
}

// Behaviour 216.
#[test]
fn a_conversion_that_writes_and_reads_is_answered_badargs() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    let both = LkmFlags::VALBLK | LkmFlags::GET_LVB;
    let status = rig.converts(2, cookie, LockMode::PR, both, Some(value(1)));
    assert_eq!(status, Status::BadArgs);
    assert_eq!(rig.resource(NAME).lvb, [0; 64]);
    rig.is_silent();
}

// Behaviour 217.
#[test]
fn an_upconversion_that_conflicts_with_noqueue_leaves_the_lock_as_it_was() {
    let mut rig = master();
    rig.created(3, NAME, LockMode::PR);
    let cookie = rig.created(2, NAME, LockMode::PR);
    assert_eq!(rig.converts(2, cookie, LockMode::EX, NOQUEUE, None), Status::NotQueued);
    rig.pass(10_000);
    rig.is_silent();
    let lock = rig.resource(NAME).locks.into_iter().find(|lock| lock.cookie == cookie);
    let lock = lock.expect("it is there");
    let state = (lock.queue, lock.mode, lock.convert);
    assert_eq!(state, (Some(Queue::Granted), LockMode::PR, None));
}

// Behaviour 217, as the client.
#[test]
fn a_conversion_that_is_not_queued_is_refused_and_the_lock_stays() {
    let mut rig = Rig::joined(1, &[2]);
    let lock = rig.lock_at(2, NAME, LockMode::PR);
    rig.convert(lock, LockMode::EX, NOQUEUE);
    let sent = rig.respond::<ConvertLock>(2, Status::NotQueued.to_wire());
    assert_eq!(sent.flags, LkmFlags::CONVERT | NOQUEUE);
    let refused = Event::Refused { lock, status: Status::NotQueued, gone: false };
    assert_eq!(rig.event(), refused);
    let found = rig.snapshot(lock);
    assert_eq!((found.queue, found.mode), (Some(Queue::Granted), LockMode::PR));
}

// Behaviour 210, of conversions.
#[test]
fn a_conversion_is_tried_again_after_100_ms() {
    for status in RETRIED {
        let mut rig = Rig::joined(1, &[2]);
        let key = rig.lock_at(2, NAME, LockMode::PR);
        rig.convert(key, LockMode::EX, NONE);
        let first = rig.respond::<ConvertLock>(2, status.to_wire());
        rig.pass(99);
        rig.is_silent();
        rig.pass(1);
        assert_eq!(rig.respond::<ConvertLock>(2, 0), first);
        assert_eq!(rig.ast(2, key, None), 0);
        assert_eq!(rig.granted(key), (LockMode::EX, None));
    }
}

// Behaviour 218.
#[test]
fn a_conversion_to_the_mode_that_the_lock_has_needs_no_message() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    rig.convert(key, LockMode::PR, NONE);
    assert_eq!(rig.granted(key), (LockMode::PR, None));
    rig.is_silent();
}

// Behaviour 219.
#[test]
fn of_two_conversions_to_ex_the_first_is_served_and_the_second_is_told_to_give_way() {
    let mut rig = master();
    let first = rig.created(2, NAME, LockMode::PR);
    let second = rig.created(3, NAME, LockMode::PR);
    assert_eq!(rig.converts(2, first, LockMode::EX, NONE, None), Status::Normal);
    rig.notifies(3, second, LockMode::EX);
    assert_eq!(rig.converts(3, second, LockMode::EX, NONE, None), Status::Normal);
    // The head's notice once more, and none for the head.
    rig.notifies(3, second, LockMode::EX);
    rig.is_silent();
    let cancel = LkmFlags::CANCEL;
    assert_eq!(rig.unlocks(3, second, cancel, None), Status::Normal);
    rig.notifies(3, second, LockMode::EX);
    assert_eq!(rig.converts(3, second, LockMode::NL, NONE, None), Status::Normal);
    rig.grants(3, second, None);
    rig.grants(2, first, None);
    rig.is_silent();
}

// Behaviour 220.
#[test]
fn a_conversion_that_waits_holds_back_the_blocked_queue_but_not_its_notices() {
    let mut rig = master();
    let holder = rig.created(3, NAME, LockMode::PR);
    let converting = rig.created(2, NAME, LockMode::PR);
    let (_, blocked) = rig.create(3, NAME, LockMode::EX, NONE);
    rig.notifies(3, holder, LockMode::EX);
    rig.notifies(2, converting, LockMode::EX);
    assert_eq!(rig.converts(2, converting, LockMode::EX, NONE, None), Status::Normal);
    // The conversion's and the blocked one's: one notice to each in the way.
    rig.notifies(3, holder, LockMode::EX);
    rig.notifies(2, converting, LockMode::EX);
    rig.is_silent();
    assert_eq!(rig.unlocks(3, holder, NONE, None), Status::Normal);
    rig.grants(2, converting, None);
    rig.notifies(2, converting, LockMode::EX);
    assert_eq!(rig.unlocks(2, converting, NONE, None), Status::Normal);
    rig.grants(3, blocked, None);
}

// Behaviour 236: locally, CR, CW and PW cannot even be said. From the wire they are no lock's mode.
#[test]
fn a_request_for_cr_cw_or_pw_is_refused_without_effect() {
    let mut rig = master();
    let cookie = rig.cookie(2);
    let create = CreateLock { cookie, flags: NONE, node: n(2), mode: LockMode::NL, name: NAME };
    for mode in [1, 2, 4, 6, 0xff] {
        assert!(LockMode::from_wire(mode as i8).is_none());
        let mut payload = create.write();
        payload[14] = mode;
        let status = rig.request_raw(2, MessageType::CreateLock, &payload);
        assert_eq!(status, Status::IvLockId.to_wire(), "{mode}");
    }
    rig.is_silent();
    assert!(rig.resource(NAME).locks.is_empty());
}

// Behaviour 236: flags that no lock can have.
#[test]
fn unsupported_flags_are_refused_with_badparam() {
    let mut rig = Rig::joined(1, &[2]);
    let now = rig.now;
    for flags in [LkmFlags::ORPHAN, LkmFlags::CONVERT, LkmFlags::RECOVERY, LkmFlags::PUT_LVB] {
        assert_eq!(rig.domain.lock(now, NAME, LockMode::PR, flags), Err(Status::BadParam));
    }
    let key = rig.lock_at(2, NAME, LockMode::PR);
    for flags in [LkmFlags::LOCAL, LkmFlags::RECOVERY, LkmFlags::XID] {
        let refused = rig.domain.convert(now, key, LockMode::EX, flags, &[0; 64]);
        assert_eq!(refused, Err(Status::BadParam));
    }
    rig.is_silent();
}

/// It is granted by whom it has moved to, say, and the first master has died with its answer.
#[test]
fn a_lock_that_is_granted_stays_when_the_answer_to_its_request_is_lost() {
    for unlocks in [false, true] {
        let mut rig = Rig::joined(1, &[2]);
        let key = rig.found_at(2, NAME, LockMode::EX, NONE);
        let (call, _) = rig.sent::<CreateLock>(2);
        assert_eq!(rig.ast(2, key, None), 0);
        rig.granted(key);
        if unlocks {
            rig.unlock(key)
        } else {
            rig.convert(key, LockMode::PR, NONE)
        }
        rig.is_silent();
        rig.complete(call, Err(CallError::HostDown));
        let lock = rig.snapshot(key);
        assert_eq!(lock.mode, LockMode::EX);
        if unlocks {
            rig.respond::<UnlockLock>(2, 0);
            rig.unlocked(key, Status::Normal, true);
        } else {
            assert_eq!(lock.queue, Some(Queue::Converting));
            rig.respond::<ConvertLock>(2, 0);
        }
    }
}
