//! Grants and notices on the wire: behaviours 221, 223 and 232 to 235.

use stackglue_o2cb::o2dlm::Event;
use stackglue_o2cb::o2dlm::message::*;

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();

fn ast(node: u8, cookie: Cookie) -> ProxyAst {
    let kind = AstKind::Ast;
    ProxyAst { cookie, flags: NONE, node: n(node), kind, blocked: None, name: NAME, lvb: None }
}

fn bast(node: u8, cookie: Cookie, mode: LockMode) -> ProxyAst {
    ProxyAst { kind: AstKind::Bast, blocked: Some(mode), ..ast(node, cookie) }
}

// Behaviour 221.
#[test]
fn grants_are_sent_before_notices() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    let holder = rig.created(2, NAME, LockMode::EX);
    let (_, reader) = rig.create(3, NAME, LockMode::PR, NONE);
    let (_, writer) = rig.create(2, NAME, LockMode::EX, NONE);
    rig.notifies(2, holder, LockMode::PR);
    // For the head of the queue only.
    rig.notifies(2, holder, LockMode::PR);
    rig.is_silent();
    assert_eq!(rig.unlocks(2, holder, NONE, None), Status::Normal);
    rig.grants(3, reader, None);
    rig.notifies(3, reader, LockMode::EX);
    rig.is_silent();
    assert_eq!(rig.converts(3, reader, LockMode::NL, NONE, None), Status::Normal);
    let sent: Vec<(u8, Cookie, AstKind)> = [3, 2]
        .map(|node| {
            let ast = rig.respond::<ProxyAst>(node, 0);
            (node, ast.cookie, ast.kind)
        })
        .to_vec();
    assert_eq!(sent, [(3, reader, AstKind::Ast), (2, writer, AstKind::Ast)]);
}

// As a kernel, which waits for the answer to each before it says the next.
#[test]
fn a_lock_is_told_that_it_is_in_the_way_only_after_it_has_answered_what_it_was_told_before() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    let (_, holder) = rig.create(2, NAME, LockMode::EX, NONE);
    let (granted, _) = rig.sent::<ProxyAst>(2);
    let (_, reader) = rig.create(3, NAME, LockMode::PR, NONE);
    rig.is_silent();
    rig.reply(granted, 0);
    let (told, bast) = rig.sent::<ProxyAst>(2);
    assert_eq!((bast.cookie, bast.kind, bast.blocked), (holder, AstKind::Bast, Some(LockMode::PR)));
    // The next who waits: once more, but not at once.
    rig.create(2, NAME, LockMode::EX, NONE);
    rig.is_silent();
    rig.reply(told, 0);
    rig.notifies(2, holder, LockMode::PR);
    rig.is_silent();
    assert_eq!(rig.unlocks(2, holder, NONE, None), Status::Normal);
    rig.grants(3, reader, None);
}

#[test]
fn a_lock_of_one_of_ours_is_told_at_once() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.domain.set_ours([n(2)].into_iter().collect());
    rig.mastered_for(2, NAME);
    let (_, holder) = rig.create(2, NAME, LockMode::EX, NONE);
    let (_, reader) = rig.create(3, NAME, LockMode::PR, NONE);
    let ((granted, ast), (told, bast)) = (rig.sent::<ProxyAst>(2), rig.sent::<ProxyAst>(2));
    assert_eq!((ast.kind, bast.kind, bast.cookie), (AstKind::Ast, AstKind::Bast, holder));
    rig.reply(granted, 0);
    rig.reply(told, 0);
    rig.is_silent();
    assert_eq!(rig.unlocks(2, holder, NONE, None), Status::Normal);
    let (granted, ast) = rig.sent::<ProxyAst>(3);
    assert_eq!((ast.cookie, ast.kind), (reader, AstKind::Ast));
    // Node 3 is a kernel.
    rig.create(2, NAME, LockMode::EX, NONE);
    rig.is_silent();
    rig.reply(granted, 0);
    rig.notifies(3, reader, LockMode::EX);
}

// Behaviours 221 and 222. A notice leaves with the input that made it due, after the grants of that
// input: none can be overtaken by a conversion to NL.
#[test]
fn a_holder_that_went_to_nl_is_not_told_to_give_way() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    let holder = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.converts(2, holder, LockMode::NL, NONE, None), Status::Normal);
    rig.grants(2, holder, None);
    let (_, late) = rig.create(3, NAME, LockMode::EX, NONE);
    rig.grants(3, late, None);
    rig.is_silent();
}

// Behaviour 223.
#[test]
fn a_holder_that_went_to_pr_is_told_once_more_of_ex() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    let holder = rig.created(2, NAME, LockMode::EX);
    let (_, waiter) = rig.create(3, NAME, LockMode::EX, NONE);
    rig.notifies(2, holder, LockMode::EX);
    assert_eq!(rig.converts(2, holder, LockMode::PR, NONE, None), Status::Normal);
    rig.grants(2, holder, None);
    rig.notifies(2, holder, LockMode::EX);
    assert_eq!(rig.converts(2, holder, LockMode::NL, NONE, None), Status::Normal);
    rig.grants(2, holder, None);
    rig.grants(3, waiter, None);
}

// Behaviour 204, where the holder is our own user.
#[test]
fn a_local_holder_is_told_by_an_event_and_grants_follow_its_conversion() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.mastered(NAME, LockMode::EX);
    rig.referred(2, NAME);
    let (status, cookie) = rig.create(2, NAME, LockMode::PR, NONE);
    assert_eq!(status, Status::Normal);
    assert_eq!(rig.event(), Event::Blocked { lock: key, level: LockMode::PR });
    rig.is_silent();
    rig.convert(key, LockMode::PR, NONE);
    assert_eq!(rig.granted(key), (LockMode::PR, None));
    rig.grants(2, cookie, None);
}

// Behaviour 204: it knows what it has, then whom that keeps waiting, though this was known before.
#[test]
fn a_local_holder_hears_of_its_grant_before_the_notice_that_it_is_in_the_way() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.mastered(NAME, LockMode::PR);
    rig.referred(2, NAME);
    let theirs = rig.created(2, NAME, LockMode::PR);
    let (_, waits) = rig.create(2, NAME, LockMode::EX, NONE);
    assert_eq!(rig.event(), Event::Blocked { lock: key, level: LockMode::EX });
    rig.notifies(2, theirs, LockMode::EX);
    // Nobody is told anything before this is answered.
    assert_eq!(rig.converts(2, theirs, LockMode::NL, NONE, None), Status::Normal);
    let (call, _) = rig.sent::<ProxyAst>(2);
    rig.convert(key, LockMode::EX, NONE);
    rig.is_silent();
    rig.reply(call, 0);
    assert_eq!(rig.granted(key), (LockMode::EX, None));
    assert_eq!(rig.event(), Event::Blocked { lock: key, level: LockMode::EX });
    rig.unlock(key);
    rig.unlocked(key, Status::Normal, true);
    rig.grants(2, waits, None);
}

// Behaviour 232, and other AST messages that are none.
#[test]
fn a_proxy_ast_of_type_2_or_for_an_unknown_name_is_answered_ivlockid() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    let cookie = rig.snapshot(key).cookie;
    let mut payload = ast(2, cookie).write();
    payload[13] = 2;
    let ivlockid = Status::IvLockId.to_wire();
    assert_eq!(rig.request_raw(2, MessageType::ProxyAst, &payload), ivlockid);
    let unknown = ProxyAst { name: name(b"unknown"), ..ast(2, cookie) };
    assert_eq!(rig.request(2, &unknown), ivlockid);
    // A lock that we do not have (any more) is nobody's loss.
    let cookie = Cookie::new(n(1), 999);
    assert_eq!(rig.request(2, &bast(2, cookie, LockMode::EX)), 0);
    assert_eq!(rig.request(2, &ast(2, cookie)), 0);
    rig.is_silent();
}

// Behaviour 233.
#[test]
fn a_notice_for_a_lock_that_is_being_unlocked_is_ignored() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    assert_eq!(rig.bast(2, key, LockMode::PR), 0);
    assert_eq!(rig.event(), Event::Blocked { lock: key, level: LockMode::PR });
    rig.unlock(key);
    assert_eq!(rig.bast(2, key, LockMode::EX), 0);
    rig.respond::<UnlockLock>(2, 0);
    rig.unlocked(key, Status::Normal, true);
    rig.is_silent();
}

// Behaviours 219 and 233: a converting lock is told too.
#[test]
fn a_notice_for_a_converting_lock_is_passed_on() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    rig.convert(key, LockMode::EX, NONE);
    rig.respond::<ConvertLock>(2, 0);
    assert_eq!(rig.bast(2, key, LockMode::EX), 0);
    assert_eq!(rig.event(), Event::Blocked { lock: key, level: LockMode::EX });
}

// Behaviour 234.
#[test]
fn a_proxy_ast_is_never_answered_recovering_or_migrating() {
    type Setup = fn(&mut Rig);
    let recovering: Setup = |rig| rig.dies(2);
    let migrating: Setup = |rig| {
        let request = MigrateRequest { old_master: n(2), new_master: n(3), name: NAME };
        assert_eq!(rig.request(3, &request), 0);
    };
    for (setup, from) in [(recovering, 3), (migrating, 2), (migrating, 3)] {
        let mut rig = Rig::joined(1, &[2, 3]);
        let key = rig.lock_at(2, NAME, LockMode::PR);
        let cookie = rig.snapshot(key).cookie;
        setup(&mut rig);
        for message in [ast(from, cookie), bast(from, cookie, LockMode::EX)] {
            let status = rig.request(from, &message);
            let harmless = [Status::Normal.to_wire(), Status::IvLockId.to_wire()];
            assert!(harmless.contains(&status), "{status} to {message:?}");
        }
    }
}

// Behaviour 234: whatever is in it.
#[test]
fn a_damaged_proxy_ast_is_answered_with_a_status_that_a_kernel_ignores() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    let cookie = rig.snapshot(key).cookie;
    let payload = ProxyAst { lvb: Some(value(1)), ..ast(2, cookie) }.write();
    for at in 0..16 {
        for byte in 0..=255 {
            let mut payload = payload.clone();
            payload[at] = byte;
            let status = rig.request_raw(2, MessageType::ProxyAst, &payload);
            assert!([0, 11].contains(&status), "{status} for {byte} at {at}");
        }
    }
    for len in 0..payload.len() {
        let status = rig.request_raw(2, MessageType::ProxyAst, &payload[..len]);
        assert!([0, 11].contains(&status), "{status} for {len} bytes");
    }
}

// Behaviour 235.
#[test]
fn an_ast_carries_the_value_only_if_this_very_operation_reads_it() {
    let mut rig = Rig::joined(1, &[2]);
    rig.mastered_for(2, NAME);
    let reads = LkmFlags::VALBLK | LkmFlags::GET_LVB;
    let (_, cookie) = rig.create(2, NAME, LockMode::PR, reads);
    rig.grants(2, cookie, Some([0; 64]));
    // The next one does not.
    assert_eq!(rig.converts(2, cookie, LockMode::EX, NONE, None), Status::Normal);
    rig.grants(2, cookie, None);
    let writes = LkmFlags::VALBLK;
    assert_eq!(rig.converts(2, cookie, LockMode::NL, writes, Some(value(1))), Status::Normal);
    rig.grants(2, cookie, None);
    // VALBLK alone does not say so either.
    assert_eq!(rig.converts(2, cookie, LockMode::PR, LkmFlags::VALBLK, None), Status::Normal);
    rig.grants(2, cookie, None);
}

// Behaviour 235: a reading conversion that was cancelled leaves nothing behind.
#[test]
fn a_cancelled_reading_conversion_does_not_make_the_next_one_read() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    let holder = rig.created(3, NAME, LockMode::PR);
    let cookie = rig.created(2, NAME, LockMode::NL);
    let reads = LkmFlags::VALBLK | LkmFlags::GET_LVB;
    assert_eq!(rig.converts(2, cookie, LockMode::EX, reads, None), Status::Normal);
    rig.notifies(3, holder, LockMode::EX);
    assert_eq!(rig.unlocks(2, cookie, LkmFlags::CANCEL, None), Status::Normal);
    assert_eq!(rig.converts(2, cookie, LockMode::PR, NONE, None), Status::Normal);
    rig.grants(2, cookie, None);
}
