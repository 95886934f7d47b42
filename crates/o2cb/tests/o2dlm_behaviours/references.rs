//! Who knows a name, and how it is forgotten: behaviours 187 to 197.

use stackglue_o2cb::o2dlm::CallError;
use stackglue_o2cb::o2dlm::message::*;

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();
const EINVAL: i32 = 22;

fn drops(node: u8) -> DerefLockres {
    DerefLockres { node: n(node), name: NAME }
}

fn done(node: u8) -> DerefDone {
    DerefDone { node: n(node), name: NAME }
}

/// A name whose master is node 2, which we have just stopped to use.
fn unused() -> Rig {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    rig.unlock(key);
    rig.respond::<UnlockLock>(2, 0);
    rig.unlocked(key, Status::Normal, true);
    rig.is_silent();
    rig
}

// Behaviours 187 and 188.
#[test]
fn a_name_unused_for_8_s_is_dropped_at_its_master_and_then_forgotten() {
    let mut rig = unused();
    rig.pass(7999);
    rig.is_silent();
    rig.pass(1);
    let call = rig.expect(2, &drops(1));
    assert!(rig.is_known(NAME));
    rig.reply(call, 0);
    assert!(!rig.is_known(NAME));
    rig.is_silent();
}

// Behaviours 187 and 188.
#[test]
fn a_name_that_is_used_again_is_kept_for_8_s_after_its_last_use() {
    let mut rig = unused();
    for _ in 0..3 {
        rig.pass(5000);
        let key = rig.lock(NAME, LockMode::EX, NONE);
        rig.respond::<CreateLock>(2, 0);
        assert_eq!(rig.ast(2, key, None), 0);
        rig.granted(key);
        rig.pass(9000);
        rig.unlock(key);
        rig.respond::<UnlockLock>(2, 0);
        rig.unlocked(key, Status::Normal, true);
    }
    rig.pass(7999);
    rig.is_silent();
    rig.pass(1);
    rig.expect(2, &drops(1));
}

// Behaviour 188: an owner that does not know us, or is gone.
#[test]
fn a_name_is_forgotten_too_when_its_master_answers_with_an_error_or_not_at_all() {
    let mut rig = unused();
    rig.pass(8000);
    rig.respond::<DerefLockres>(2, -EINVAL);
    assert!(!rig.is_known(NAME));

    let mut rig = unused();
    rig.pass(8000);
    let (_, _) = rig.sent::<DerefLockres>(2);
    rig.dies(2);
    assert!(!rig.is_known(NAME));
}

// Behaviour 189.
#[test]
fn a_name_whose_drop_is_put_off_can_be_used_only_after_deref_done() {
    let mut rig = unused();
    rig.pass(8000);
    rig.respond::<DerefLockres>(2, 1);
    assert!(rig.is_known(NAME));
    let key = rig.lock(NAME, LockMode::EX, NONE);
    rig.pass(60_000);
    rig.is_silent();
    // From another node than the master it says nothing.
    assert_eq!(rig.request(2, &done(2)), 0);
    // As a name that nobody here has heard of.
    assert_eq!(rig.messages(), [(2, MessageType::MasterRequest)]);
    rig.respond::<MasterRequest>(2, NO);
    rig.respond::<AssertMaster>(2, 0);
    rig.granted(key);
    // One that was not waited for.
    assert_eq!(rig.request(2, &done(2)), 0);
    assert_eq!(rig.request(2, &DerefDone { node: n(2), name: name(b"unknown") }), -EINVAL);
    assert!(rig.is_known(NAME));
}

// Behaviour 189: the operation waits for recovery, and not for the drop.
#[test]
fn a_name_that_an_operation_needs_after_recovery_is_not_forgotten_at_the_end_of_its_drop() {
    let mut rig = Rig::joined(2, &[1, 3]);
    let key = rig.lock_at(1, NAME, LockMode::PR);
    rig.unlock(key);
    rig.respond::<UnlockLock>(1, 0);
    rig.unlocked(key, Status::Normal, true);
    rig.pass(8000);
    let call = rig.expect(1, &drops(2));
    rig.dies(3);
    let key = rig.lock(NAME, LockMode::EX, NONE);
    rig.reply(call, 0);
    // Node 1 has won the election.
    rig.respond::<MasterRequery>(1, 255);
    rig.respond::<MasterRequest>(1, YES);
    rig.respond::<CreateLock>(1, Status::NotQueued.to_wire());
    assert_eq!(rig.request(1, &BeginReco { node: n(1), dead: n(3) }), 0);
    for stage2 in [false, true] {
        assert_eq!(rig.request(1, &FinalizeReco { node: n(1), dead: n(3), stage2 }), 0);
    }
    let asked = rig.respond::<MasterRequest>(1, NO);
    assert_eq!(asked.name, NAME);
    rig.respond::<AssertMaster>(1, 0);
    rig.granted(key);
}

// Behaviour 189: what the dead master does not answer any more.
#[test]
fn the_loss_of_a_drop_at_a_dead_master_does_not_end_the_next_one() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    // Whatever was asked of it then, it has done.
    rig.pass(180_000);
    rig.unlock(key);
    rig.respond::<UnlockLock>(2, 0);
    rig.unlocked(key, Status::Normal, true);
    rig.pass(8000);
    let late = rig.expect(2, &drops(1));
    // Its death is the recovery master's word.
    assert_eq!(rig.request(3, &BeginReco { node: n(3), dead: n(2) }), 0);
    rig.event();
    assert!(!rig.is_known(NAME));
    for stage2 in [false, true] {
        assert_eq!(rig.request(3, &FinalizeReco { node: n(3), dead: n(2), stage2 }), 0);
    }
    let key = rig.lock_at(3, NAME, LockMode::PR);
    rig.unlock(key);
    rig.respond::<UnlockLock>(3, 0);
    rig.unlocked(key, Status::Normal, true);
    rig.pass(8000);
    rig.respond::<DerefLockres>(3, 1);
    rig.complete(late, Err(CallError::HostDown));
    assert!(rig.is_known(NAME));
    assert_eq!(rig.request(3, &done(3)), 0);
    assert!(!rig.is_known(NAME));
}

/// It was to remove what our search left at node 3, and may not have come to it.
#[test]
fn a_name_that_was_being_dropped_at_a_dead_master_is_looked_for_where_others_may_wait_for_it() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    rig.unlock(key);
    rig.respond::<UnlockLock>(2, 0);
    rig.unlocked(key, Status::Normal, true);
    rig.pass(8000);
    let drop = rig.expect(2, &drops(1));
    rig.complete(drop, Err(CallError::HostDown));
    assert!(rig.is_known(NAME));
    assert_eq!(rig.request(3, &BeginReco { node: n(3), dead: n(2) }), 0);
    rig.event();
    for stage2 in [false, true] {
        assert_eq!(rig.request(3, &FinalizeReco { node: n(3), dead: n(2), stage2 }), 0);
    }
    rig.respond::<MasterRequest>(3, NO);
    rig.respond::<AssertMaster>(3, 0);
    rig.pass(8000);
    assert!(!rig.is_known(NAME));
}

// Behaviour 189: without a user nothing is left.
#[test]
fn deref_done_ends_a_drop_that_was_put_off() {
    let mut rig = unused();
    rig.pass(8000);
    rig.respond::<DerefLockres>(2, 1);
    assert_eq!(rig.request(2, &done(2)), 0);
    assert!(!rig.is_known(NAME));
    rig.is_silent();
}

// Behaviours 190 and 191.
#[test]
fn a_drop_during_an_assertion_is_put_off_and_deref_done_follows_the_assertion() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.mastered(NAME, LockMode::NL);
    assert_eq!(rig.request(2, &MasterRequest { node: n(2), flags: 0, name: NAME }), YES);
    assert_eq!(rig.request(2, &drops(2)), 1);
    rig.respond::<AssertMaster>(2, 0);
    assert_eq!(rig.messages(), [(3, MessageType::AssertMaster)]);
    assert_eq!(rig.resource(NAME).refmap, map(&[2]));
    // A second round is a part of the assertion.
    rig.respond::<AssertMaster>(3, REASSERT);
    rig.respond::<AssertMaster>(2, 0);
    rig.respond::<AssertMaster>(3, 0);
    let call = rig.expect(2, &done(1));
    assert_eq!(rig.resource(NAME).refmap, map(&[]));
    rig.reply(call, 0);
    rig.is_silent();
    rig.unlock(key);
}

// Behaviour 191: whatever becomes of the assertion.
#[test]
fn deref_done_follows_even_if_the_assertion_ends_with_a_death_or_a_refusal() {
    type End = fn(&mut Rig);
    let ends: [End; 2] = [
        |rig| rig.dies(3),
        |rig| {
            rig.respond::<AssertMaster>(3, -EINVAL);
        },
    ];
    for end in ends {
        let mut rig = Rig::joined(1, &[2, 3]);
        let key = rig.mastered(NAME, LockMode::NL);
        assert_eq!(rig.request(2, &MasterRequest { node: n(2), flags: 0, name: NAME }), YES);
        assert_eq!(rig.request(2, &drops(2)), 1);
        // No use of ours is left either: it is kept until the debt is paid.
        rig.unlock(key);
        rig.unlocked(key, Status::Normal, true);
        rig.pass(60_000);
        rig.respond::<AssertMaster>(2, 0);
        end(&mut rig);
        rig.expect(2, &done(1));
    }
}

// Behaviour 192.
#[test]
fn a_drop_of_an_unknown_name_is_invalid() {
    let mut rig = Rig::joined(1, &[2]);
    assert_eq!(rig.request(2, &drops(2)), -EINVAL);
    let mut payload = drops(2).write();
    payload[7] = 33;
    assert_eq!(rig.request_raw(2, MessageType::DerefLockres, &payload), -EINVAL);
}

// Behaviour 193.
#[test]
fn the_master_keeps_a_name_that_another_node_knows() {
    let mut rig = Rig::joined(1, &[2]);
    rig.mastered_for(2, NAME);
    rig.pass(3_600_000);
    assert!(rig.is_known(NAME));
    rig.is_silent();
    assert_eq!(rig.request(2, &drops(2)), 0);
    // Again: the kernel logs it and says DONE.
    assert_eq!(rig.request(2, &drops(2)), 0);
    rig.pass(7999);
    assert!(rig.is_known(NAME));
    // Behaviour 194.
    rig.pass(1);
    assert!(!rig.is_known(NAME));
    rig.is_silent();
}

// Behaviour 194.
#[test]
fn the_master_forgets_a_name_that_nobody_uses_for_8_s_without_a_message() {
    let mut rig = Rig::joined(1, &[2]);
    let key = rig.mastered(NAME, LockMode::EX);
    rig.unlock(key);
    rig.unlocked(key, Status::Normal, true);
    rig.pass(7999);
    assert!(rig.is_known(NAME));
    rig.pass(1);
    assert!(!rig.is_known(NAME));
    rig.is_silent();
}

// Behaviour 195.
#[test]
fn a_reference_is_dropped_at_the_master_that_the_name_has_moved_to() {
    let mut rig = Rig::joined(1, &[2, 3]);
    let key = rig.lock_at(2, NAME, LockMode::PR);
    let request = MigrateRequest { old_master: n(2), new_master: n(3), name: NAME };
    assert_eq!(rig.request(3, &request), 0);
    let flags = AssertFlags::FINISH_MIGRATION;
    let asserted = AssertMaster { node: n(3), flags, name: NAME };
    assert_eq!(rig.request(3, &asserted), MASTERY_REF);
    rig.unlock(key);
    assert_eq!(rig.messages(), [(3, MessageType::UnlockLock)]);
    rig.respond::<UnlockLock>(3, 0);
    rig.unlocked(key, Status::Normal, true);
    rig.pass(8000);
    rig.expect(3, &drops(1));
    rig.is_silent();
}

// Behaviour 195, seen from the other side: a kernel that drops its own reference would crash. It happens
// without a fault: the resource moved while the message was on its way.
#[test]
fn a_drop_at_a_node_that_is_not_the_master_is_harmless() {
    let mut rig = unused();
    assert_eq!(rig.request(2, &drops(2)), 0);
    assert_eq!(rig.domain.counters().contradictions, 0);
    rig.pass(8000);
    rig.respond::<DerefLockres>(2, 1);
    assert_eq!(rig.request(2, &drops(2)), 0);
}

// Behaviour 196.
#[test]
fn a_lock_within_8_s_uses_the_name_again_and_nothing_is_dropped() {
    let mut rig = unused();
    rig.pass(7000);
    let key = rig.lock(NAME, LockMode::PR, NONE);
    assert_eq!(rig.messages(), [(2, MessageType::CreateLock)]);
    rig.respond::<CreateLock>(2, 0);
    assert_eq!(rig.ast(2, key, None), 0);
    rig.granted(key);
    rig.pass(60_000);
    rig.is_silent();
    // The 8 s count from the last use.
    rig.unlock(key);
    rig.respond::<UnlockLock>(2, 0);
    rig.unlocked(key, Status::Normal, true);
    rig.pass(7999);
    rig.is_silent();
    rig.pass(1);
    assert_eq!(rig.messages(), [(2, MessageType::DerefLockres)]);
}

// Behaviour 197.
#[test]
fn names_that_differ_in_a_trailing_nul_are_two() {
    let mut rig = Rig::joined(1, &[]);
    let short = rig.lock(name(b"a"), LockMode::EX, NONE);
    let long = rig.lock(name(b"a\0"), LockMode::EX, LkmFlags::NOQUEUE);
    assert_eq!(rig.granted(short), (LockMode::EX, None));
    assert_eq!(rig.granted(long), (LockMode::EX, None));
    assert_eq!(rig.domain.resources().count(), 2);
}
