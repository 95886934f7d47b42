//! What becomes of values when a member dies.

use super::*;

// Behaviours 245 and 246, as the recovery master.
#[test]
fn the_value_that_a_member_reports_with_its_lock_is_the_value() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.dies(3);
    elected(&mut rig);
    rig.all_respond::<BeginReco>(0);
    rig.all_respond::<LockRequest>(0);
    let cookie = rig.cookie(2);
    let mut reported = state(NAME, 3, vec![entry(cookie, 2, LockMode::PR)]);
    reported.lvb = value(5);
    assert_eq!(rig.request(2, &reported), 0);
    assert_eq!(rig.request(2, &sent_all(2, 3)), 0);
    finalized(&mut rig, 3);
    let key = rig.lock(NAME, LockMode::PR, LkmFlags::VALBLK);
    assert_eq!(rig.granted(key), (LockMode::PR, Some(value(5))));
}

// Behaviours 235, 271 and 273: who waits to read is to get the value from the next master; one that
// has read would crash a kernel with its next conversion.
#[test]
fn locks_that_wait_to_read_are_reported_so_and_those_that_have_read_are_not() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let [granted, converting, blocked] = [LockMode::PR, LockMode::PR, LockMode::EX].map(|mode| {
        let key = if rig.is_known(NAME) {
            rig.lock(NAME, mode, LkmFlags::VALBLK)
        } else {
            rig.found_at(2, NAME, mode, LkmFlags::VALBLK)
        };
        rig.respond::<CreateLock>(2, 0);
        if mode == LockMode::PR {
            assert_eq!(rig.ast(2, key, Some(value(5))), 0);
            rig.granted(key);
        }
        rig.snapshot(key)
    });
    rig.convert(converting.key, LockMode::EX, LkmFlags::VALBLK);
    rig.respond::<ConvertLock>(2, 0);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    let (_, sent) = rig.sent::<MigLockres>(3);
    assert_eq!(sent.lvb, value(5));
    let flags: Vec<_> = sent.locks.iter().map(|lock| (lock.cookie, lock.lvb_flags)).collect();
    let get = LvbFlags::GET;
    let none = LvbFlags::empty();
    assert_eq!(flags, [(granted.cookie, none), (converting.cookie, get), (blocked.cookie, get)]);
}

// Behaviours 246 and 271: a kernel that has the value from a reader already crashes on an EX lock that
// brings one too, unless it says that it writes.
#[test]
fn a_downconversion_that_writes_and_was_not_granted_is_reported_with_its_value_and_put() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::EX);
    rig.convert_with(key, LockMode::NL, LkmFlags::VALBLK, &value(8));
    rig.respond::<ConvertLock>(2, 0);
    assert_eq!(rig.request(3, &begins(3, 2)), 0);
    assert_eq!(rig.request(3, &wants(3, 2)), 0);
    let (_, sent) = rig.sent::<MigLockres>(3);
    let lock = sent.locks[0];
    assert_eq!((lock.queue, lock.convert), (Queue::Converting, Some(LockMode::NL)));
    assert_eq!((lock.lvb_flags, sent.lvb), (LvbFlags::PUT, value(8)));
}

// Behaviours 246 and 283, where we are the next master ourselves.
#[test]
fn a_waiting_reader_of_ours_gets_the_value_when_the_name_becomes_ours() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.found_at(2, NAME, LockMode::PR, LkmFlags::VALBLK);
    rig.respond::<CreateLock>(2, 0);
    assert_eq!(rig.ast(2, key, Some(value(5))), 0);
    rig.granted(key);
    rig.convert(key, LockMode::EX, LkmFlags::VALBLK);
    rig.respond::<ConvertLock>(2, 0);
    rig.dies(2);
    assert_eq!(rig.granted(key), (LockMode::EX, Some(value(5))));
}
