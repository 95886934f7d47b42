//! Members that do what none should: what fuzzing has found.

use stackglue_o2cb::o2dlm::message::*;
use stackglue_o2cb::o2dlm::{CallError, Event};

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();

/// Whether a kernel that sent the message survives the answer (for a file system, and without its locks
/// being left out of a recovery).
fn is_harmless(message: MessageType, status: i32) -> bool {
    let errno = -22..=0;
    match message {
        MessageType::MasterRequest => (0..=3).contains(&status),
        MessageType::AssertMaster | MessageType::CancelJoin => (0..=3).contains(&status),
        MessageType::CreateLock | MessageType::ConvertLock => {
            (0..=41).contains(&status) && status != 26
        }
        MessageType::UnlockLock => (0..=41).contains(&status),
        MessageType::ProxyAst => (0..=38).contains(&status),
        MessageType::MasterRequery => (0..=255).contains(&status),
        MessageType::QueryJoin => JoinReply::unpack(status).is_some(),
        MessageType::MigLockres | MessageType::DerefLockres => {
            errno.contains(&status) && status != -12
        }
        _ => errno.contains(&status) || status == 1,
    }
}

// Behaviour 124: whatever it contains. That none is answered twice, or never, is in the types.
#[test]
fn a_message_of_every_type_and_length_is_answered_at_once_with_what_a_kernel_takes() {
    for &message in MessageType::ALL {
        for len in 0..=message.payload_max() + 1 {
            for fill in [0, 1, 2, 3, 0xff] {
                let mut rig = Rig::joined(1, &[2]);
                rig.mastered(NAME, LockMode::EX);
                let status = rig.request_raw(2, message, &vec![fill; len]);
                assert!(is_harmless(message, status), "{message}, {len} times {fill}: {status}");
                if len > 200 {
                    break;
                }
            }
        }
    }
}

// Behaviour 127: users may be slow, and so may whoever sends what there is to send.
#[test]
fn requests_are_answered_while_nobody_takes_what_they_lead_to() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    let (cookie, blocked) = (rig.snapshot(key).cookie, Some(LockMode::PR));
    let (node, kind) = (n(2), AstKind::Bast);
    let notice =
        ProxyAst { cookie, flags: NONE, node, kind, blocked, name: NAME, lvb: None }.write();
    for _ in 0..1000 {
        let (now, from) = (rig.now, n(2));
        assert_eq!(rig.domain.request(now, from, MessageType::ProxyAst, &notice), 0);
    }
    assert_eq!(rig.request(2, &MasterRequery { node: n(2), name: NAME }), 2);
    for _ in 0..1000 {
        assert_eq!(rig.event(), Event::Blocked { lock: key, level: LockMode::PR });
    }
    rig.is_silent();
}

#[test]
fn locks_of_a_member_that_leaves_without_dropping_them_are_in_nobodys_way() {
    let mut rig = Rig::joined(2, &[1, 3]);
    rig.mastered_for(3, NAME);
    let kept = rig.created(3, NAME, LockMode::EX);
    let key = rig.lock(NAME, LockMode::PR, LkmFlags::empty());
    rig.notifies(3, kept, LockMode::PR);
    assert_eq!(rig.request(3, &ExitDomain { node: n(3) }), 0);
    assert_eq!(rig.granted(key), (LockMode::PR, None));
    assert_eq!(rig.domain.counters().contradictions, 1);
}

#[test]
fn no_user_hears_of_whom_our_recovery_lock_keeps_waiting() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.dies(2);
    rig.all_respond::<MasterRequery>(255);
    rig.all_respond::<MasterRequest>(NO);
    rig.all_respond::<AssertMaster>(0);
    assert_eq!(rig.create(3, LockName::RECOVERY, LockMode::EX, NONE).0, Status::Normal);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    rig.respond::<ProxyAst>(3, 0);
    rig.is_silent();
}

/// Node 1, whose request for `$RECOVERY` is at node 3.
fn electing() -> Rig {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.dies(2);
    rig.respond::<MasterRequery>(3, 3);
    rig.respond::<MasterRequest>(3, YES);
    assert_eq!(rig.messages(), [(3, MessageType::CreateLock)]);
    rig
}

#[test]
fn no_user_hears_of_a_grant_of_the_recovery_lock() {
    let mut rig = electing();
    let (call, create) = rig.sent::<CreateLock>(3);
    let CreateLock { cookie, name, .. } = create;
    let (node, kind) = (n(3), AstKind::Ast);
    let ast = ProxyAst { cookie, flags: NONE, node, kind, blocked: None, name, lvb: None };
    assert_eq!(rig.request(3, &ast), 0);
    rig.is_silent();
    rig.reply(call, 0);
    assert_eq!(rig.messages(), [(3, MessageType::BeginReco)]);
}

#[test]
fn a_recovery_lock_that_cannot_be_given_back_is_forgotten() {
    let mut rig = electing();
    rig.respond::<CreateLock>(3, 0);
    rig.respond::<BeginReco>(3, 0);
    rig.respond::<UnlockLock>(3, Status::Denied.to_wire());
    assert_eq!(rig.messages(), [(3, MessageType::LockRequest)]);
    assert!(!rig.is_event_first());
    assert!(rig.resource(LockName::RECOVERY).locks.is_empty());
}

#[test]
fn a_request_for_the_recovery_lock_ends_with_its_owner_whoever_says_that_it_died() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.dies(2);
    rig.respond::<MasterRequery>(3, 3);
    rig.respond::<MasterRequery>(4, 3);
    rig.respond::<MasterRequest>(3, YES);
    assert_eq!(rig.resource(LockName::RECOVERY).locks.len(), 1);
    let (call, _) = rig.sent::<CreateLock>(3);
    assert_eq!(rig.request(4, &BeginReco { node: n(4), dead: n(3) }), 0);
    assert!(rig.resource(LockName::RECOVERY).locks.is_empty());
    rig.complete(call, Err(CallError::HostDown));
    assert!(rig.resource(LockName::RECOVERY).locks.is_empty());
}

/// Node 4 has missed node 3, which has won `$RECOVERY` here meanwhile: not a contradiction. (A kernel in
/// our place stops.)
#[test]
fn another_master_of_the_recovery_lock_is_found_when_the_one_before_is_missed() {
    let mut rig = Rig::joined(1, &[2, 3, 4]);
    rig.dies(2);
    rig.respond::<MasterRequery>(3, 3);
    rig.respond::<MasterRequery>(4, 3);
    rig.respond::<MasterRequest>(4, NO);
    rig.respond::<MasterRequest>(3, YES);
    rig.respond::<MasterRequest>(3, YES);
    let (call, _) = rig.sent::<CreateLock>(3);
    let name = LockName::RECOVERY;
    let asserts = AssertMaster { node: n(4), flags: AssertFlags::empty(), name };
    assert_eq!(rig.request(4, &asserts), 0);
    assert_eq!(rig.resource(name).owner, Some(n(3)));
    assert_eq!(rig.domain.counters().contradictions, 0);
    rig.complete(call, Err(CallError::HostDown));
    rig.dies(3);
    rig.respond::<MasterRequery>(4, 4);
    rig.respond::<MasterRequery>(4, 4);
    rig.respond::<MasterRequest>(4, YES);
    rig.pass(100);
    assert_eq!(rig.sent::<CreateLock>(4).1.name, name);
}
