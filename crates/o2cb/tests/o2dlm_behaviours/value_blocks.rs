//! Lock value blocks: behaviours 237 to 248.

use stackglue_o2cb::o2dlm::message::*;

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();
const VALBLK: LkmFlags = LkmFlags::VALBLK;
const GET: LkmFlags = LkmFlags::GET_LVB;
const PUT: LkmFlags = LkmFlags::PUT_LVB;

/// Node 1, the master of the name with no lock of its own; nodes 2 and 3 are members.
fn master() -> Rig {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    rig
}

/// Another node reads the value with a new lock.
fn reads(rig: &mut Rig, node: u8) -> [u8; 64] {
    let (status, cookie) = rig.create(node, NAME, LockMode::PR, VALBLK | GET);
    assert_eq!(status, Status::Normal);
    let ast = rig.respond::<ProxyAst>(node, 0);
    assert_eq!((ast.cookie, ast.flags), (cookie, GET));
    ast.lvb.expect("it reads")
}

// Behaviours 237 and 238.
#[test]
fn a_new_lock_reads_at_pr_and_ex_and_not_at_nl_and_brings_no_value_itself() {
    let cases = [(LockMode::PR, VALBLK | GET), (LockMode::EX, VALBLK | GET), (LockMode::NL, NONE)];
    for (mode, flags) in cases {
        let mut rig = Rig::joined(1, &[2]);
        rig.found_at(2, NAME, mode, VALBLK);
        let (_, payload) = rig.sent_raw(2, MessageType::CreateLock);
        assert_eq!(payload.len(), 80);
        assert_eq!(CreateLock::read(&payload).flags, flags, "{mode:?}");
    }
}

// Behaviours 239 and 248, as the client; the table of section 19.
#[test]
fn a_conversion_writes_from_ex_and_reads_from_below_to_pr_and_ex() {
    use LockMode::{EX, NL, PR};
    for from in [NL, PR, EX] {
        for to in [NL, PR, EX] {
            let mut rig = Rig::joined(1, &[2]);
            let key = rig.lock_at(2, NAME, from);
            rig.convert_with(key, to, VALBLK, &value(7));
            if from == to && to == NL {
                rig.granted(key);
                rig.is_silent();
                continue;
            }
            let (_, payload) = rig.sent_raw(2, MessageType::ConvertLock);
            let sent = ConvertLock::read(&payload);
            let expected = match (from, to) {
                (EX, _) => LkmFlags::CONVERT | VALBLK | PUT,
                (_, NL) => LkmFlags::CONVERT,
                _ => LkmFlags::CONVERT | VALBLK | GET,
            };
            assert_eq!(sent.flags, expected, "{from:?} to {to:?}");
            assert_eq!(sent.lvb, (from == EX).then(|| value(7)));
            assert_eq!(payload.len(), if from == EX { 144 } else { 80 });
        }
    }
}

// Behaviour 238, of conversions and of what no VALBLK asks for.
#[test]
fn without_valblk_no_value_travels() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    rig.convert_with(key, LockMode::PR, NONE, &value(7));
    let sent = rig.respond::<ConvertLock>(2, 0);
    assert_eq!((sent.flags, sent.lvb), (LkmFlags::CONVERT, None));
}

// Behaviour 240.
#[test]
fn a_conversion_from_nl_to_pr_gets_the_value_with_its_grant() {
    let mut rig = master();
    let writer = rig.created(3, NAME, LockMode::EX);
    let reader = rig.created(2, NAME, LockMode::NL);
    assert_eq!(rig.converts(2, reader, LockMode::PR, VALBLK | GET, None), Status::Normal);
    rig.notifies(3, writer, LockMode::PR);
    // What is attached is the value of the moment of the grant.
    assert_eq!(rig.unlocks(3, writer, VALBLK, Some(value(9))), Status::Normal);
    let (_, payload) = rig.sent_raw(2, MessageType::ProxyAst);
    assert_eq!(payload.len(), 144);
    let ast = ProxyAst::read(&payload);
    assert_eq!((ast.flags, ast.lvb), (GET, Some(value(9))));
}

// Behaviour 240, as the client.
#[test]
fn the_value_of_a_grant_is_given_to_the_user() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.found_at(2, NAME, LockMode::PR, VALBLK);
    rig.respond::<CreateLock>(2, 0);
    assert_eq!(rig.ast(2, key, Some(value(5))), 0);
    assert_eq!(rig.granted(key), (LockMode::PR, Some(value(5))));
}

// Behaviour 241.
#[test]
fn an_unlock_stores_the_value_of_an_ex_lock_and_no_other() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.unlocks(2, cookie, VALBLK, Some(value(3))), Status::Normal);
    assert_eq!(rig.resource(NAME).lvb, value(3));
    for mode in [LockMode::PR, LockMode::NL] {
        let cookie = rig.created(2, NAME, mode);
        assert_eq!(rig.unlocks(2, cookie, VALBLK, Some(value(4))), Status::Normal);
        assert_eq!(rig.resource(NAME).lvb, value(3));
    }
    // Without VALBLK neither.
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.unlocks(2, cookie, NONE, Some(value(4))), Status::Normal);
    assert_eq!(rig.resource(NAME).lvb, value(3));
}

// Behaviour 241, as the client.
#[test]
fn our_unlock_writes_from_ex_only() {
    for mode in [LockMode::EX, LockMode::PR, LockMode::NL] {
        let mut rig = Rig::joined(1, &[2]);
        let key = rig.lock_at(2, NAME, mode);
        rig.unlock_with(key, &value(3));
        let sent = rig.respond::<UnlockLock>(2, 0);
        let writes = mode == LockMode::EX;
        assert_eq!(sent.flags, if writes { VALBLK | PUT } else { NONE });
        assert_eq!(sent.lvb, writes.then(|| value(3)));
    }
}

// Behaviour 242.
#[test]
fn a_cancel_of_a_writing_conversion_carries_no_value_and_stores_none() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    rig.convert_with(key, LockMode::EX, VALBLK, &value(3));
    rig.respond::<ConvertLock>(2, 0);
    rig.cancel(key);
    let sent = rig.respond::<UnlockLock>(2, 0);
    assert_eq!((sent.flags, sent.lvb), (LkmFlags::CANCEL, None));

    // As the master: the cancel's VALBLK says nothing.
    let mut rig = master();
    rig.created(3, NAME, LockMode::PR);
    let cookie = rig.created(2, NAME, LockMode::PR);
    assert_eq!(rig.converts(2, cookie, LockMode::EX, VALBLK | GET, None), Status::Normal);
    assert_eq!(rig.unlocks(2, cookie, LkmFlags::CANCEL | VALBLK, None), Status::Normal);
    assert_eq!(rig.resource(NAME).lvb, [0; 64]);
}

// Behaviour 243.
#[test]
fn what_a_writer_leaves_with_its_downconversion_the_next_reader_reads() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.converts(2, cookie, LockMode::PR, VALBLK, Some(value(8))), Status::Normal);
    rig.grants(2, cookie, None);
    assert_eq!(reads(&mut rig, 3), value(8));
    // A local reader too.
    let key = rig.lock(NAME, LockMode::PR, VALBLK);
    assert_eq!(rig.granted(key), (LockMode::PR, Some(value(8))));
}

// Behaviour 244.
#[test]
fn what_a_writer_keeps_for_itself_nobody_reads() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.converts(2, cookie, LockMode::EX, VALBLK, Some(value(1))), Status::Normal);
    rig.grants(2, cookie, None);
    assert_eq!(rig.converts(2, cookie, LockMode::PR, NONE, None), Status::Normal);
    rig.grants(2, cookie, None);
    assert_eq!(reads(&mut rig, 3), value(1));
}

// Behaviour 248.
#[test]
fn a_conversion_from_ex_to_ex_stores_the_value() {
    let mut rig = master();
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.converts(2, cookie, LockMode::EX, VALBLK, Some(value(6))), Status::Normal);
    rig.grants(2, cookie, None);
    assert_eq!(rig.resource(NAME).lvb, value(6));

    // As the client: although the mode does not change, a message goes out.
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    rig.convert_with(key, LockMode::EX, VALBLK, &value(6));
    assert_eq!(rig.respond::<ConvertLock>(2, 0).lvb, Some(value(6)));
    assert_eq!(rig.ast(2, key, None), 0);
    assert_eq!(rig.granted(key), (LockMode::EX, None));
}

// Behaviours 243, 244 and 248, where writer and reader are our own users.
#[test]
fn a_local_writer_stores_what_it_writes() {
    let mut rig = Rig::joined(1, &[]);
    let key = rig.mastered(NAME, LockMode::EX);
    rig.convert_with(key, LockMode::PR, VALBLK, &value(2));
    rig.granted(key);
    rig.convert_with(key, LockMode::EX, VALBLK, &value(3));
    // From PR it reads, and what the user has there is not looked at.
    assert_eq!(rig.granted(key), (LockMode::EX, Some(value(2))));
    rig.unlock_with(key, &value(4));
    assert_eq!(rig.resource(NAME).lvb, value(4));
}

// Behaviour 245.
#[test]
fn the_value_is_zero_after_the_death_of_an_ex_holder() {
    let mut rig = Rig::joined(1, &[2]);
    rig.mastered_for(2, NAME);
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.converts(2, cookie, LockMode::EX, VALBLK, Some(value(6))), Status::Normal);
    rig.grants(2, cookie, None);
    rig.dies(2);
    let key = rig.lock(NAME, LockMode::PR, VALBLK);
    assert_eq!(rig.granted(key), (LockMode::PR, Some([0; 64])));
}

// Behaviour 245: another holder's death leaves it.
#[test]
fn the_value_survives_the_death_of_a_pr_holder() {
    let mut rig = Rig::joined(1, &[2]);
    rig.mastered_for(2, NAME);
    let cookie = rig.created(2, NAME, LockMode::EX);
    assert_eq!(rig.converts(2, cookie, LockMode::PR, VALBLK, Some(value(6))), Status::Normal);
    rig.grants(2, cookie, None);
    rig.dies(2);
    let key = rig.lock(NAME, LockMode::PR, VALBLK);
    assert_eq!(rig.granted(key), (LockMode::PR, Some(value(6))));
}

// Behaviour 246.
#[test]
fn the_value_that_readers_have_survives_the_death_of_the_master() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.found_at(2, NAME, LockMode::PR, VALBLK);
    rig.respond::<CreateLock>(2, 0);
    assert_eq!(rig.ast(2, key, Some(value(5))), 0);
    rig.granted(key);
    rig.dies(2);
    assert_eq!(rig.resource(NAME).owner, Some(n(1)));
    let again = rig.lock(NAME, LockMode::PR, VALBLK);
    assert_eq!(rig.granted(again), (LockMode::PR, Some(value(5))));
}

// Behaviour 246: what an NL lock has read once is no copy of the value.
#[test]
fn what_an_nl_lock_has_read_is_not_taken_for_the_value() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.found_at(2, NAME, LockMode::PR, VALBLK);
    rig.respond::<CreateLock>(2, 0);
    assert_eq!(rig.ast(2, key, Some(value(5))), 0);
    rig.granted(key);
    rig.convert(key, LockMode::NL, NONE);
    rig.respond::<ConvertLock>(2, 0);
    assert_eq!(rig.ast(2, key, None), 0);
    rig.granted(key);
    rig.dies(2);
    let again = rig.lock(NAME, LockMode::PR, VALBLK);
    assert_eq!(rig.granted(again), (LockMode::PR, Some([0; 64])));
}

// Behaviour 247.
#[test]
fn a_pr_holder_reports_the_value_that_it_has_read_whatever_its_user_offers_since() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.found_at(2, NAME, LockMode::PR, VALBLK);
    rig.respond::<CreateLock>(2, 0);
    assert_eq!(rig.ast(2, key, Some(value(5))), 0);
    rig.granted(key);
    rig.convert_with(key, LockMode::PR, NONE, &value(6));
    rig.granted(key);
    rig.dies(2);
    assert_eq!(rig.request(3, &BeginReco { node: n(3), dead: n(2) }), 0);
    assert_eq!(rig.request(3, &LockRequest { node: n(3), dead: n(2) }), 0);
    assert_eq!(rig.sent::<MigLockres>(3).1.lvb, value(5));
}
