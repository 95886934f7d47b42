//! The lock value block: when it is read, when written, when lost.
//!
//! Numbers are those of `docs/protocol/conformance-lock-model.md`.

use dlm::Mode::{CR, EX, NL, PR};
use dlm::{LVB_LEN_MAX, LockFlags, LvbDirection, Mode, StatusFlags};

use super::Setup;
use super::group::{Lock, Resource};
use crate::Abandoned;

const NONE: LockFlags = LockFlags::empty();
const VALBLK: LockFlags = LockFlags::VALBLK;
const IVVALBLK: LockFlags = LockFlags::IVVALBLK;

/// A full value block.
fn value(byte: u8) -> [u8; LVB_LEN_MAX] {
    [byte; LVB_LEN_MAX]
}

const X: u8 = 0x58;
const Y: u8 = 0x59;

/// A resource whose value is X, kept alive by the lock returned, in `NL`.
#[track_caller]
fn keeper<'g>(r: &Resource<'g>) -> Lock<'g> {
    let keeper = r.granted_with(EX, VALBLK);
    put(&keeper, X);
    keeper.converts(NL, VALBLK);
    keeper
}

/// Fills the caller's buffer.
#[track_caller]
fn put(lock: &Lock<'_>, byte: u8) {
    assert_eq!(lock.lksb.set_lvb(&value(byte)), Ok(()));
}

/// The resource's value, and whether it may be trusted, as a new reader sees it.
#[track_caller]
fn read(r: &Resource<'_>) -> ([u8; LVB_LEN_MAX], bool) {
    let reader = r.granted_with(PR, VALBLK);
    let seen = (reader.lksb.lvb(), reader.lksb.lvb_valid());
    reader.unlock();
    seen
}

/// Lock model: 158.
pub fn a_value_travels_from_one_holder_to_the_next(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let writer = r.granted_with(EX, VALBLK);
    put(&writer, Y);
    writer.converts(PR, VALBLK);
    assert_eq!(read(&r), (value(Y), true));
}

/// Lock model: 96-137.
pub fn a_grant_moves_the_value_block_as_published(setup: &Setup) {
    let group = setup.group();
    let modes = group.capabilities.modes;
    let froms = modes.iter().map(|mode| Some(*mode)).chain([None]);
    for (from, to) in froms.flat_map(|from| modes.iter().map(move |to| (from, *to))) {
        // o2dlm grants a conversion to the same mode without asking anybody.
        if from == Some(to) && !group.capabilities.is_fs_dlm() && to != EX {
            continue;
        }
        moves_as_published(&group.resource(format!("{from:?} {to}")), from, to);
    }
}

fn moves_as_published(r: &Resource<'_>, from: Option<Mode>, to: Mode) {
    let keeper = keeper(r);
    let lock = r.new_lock();
    if let Some(from) = from {
        lock.request(from, NONE);
        lock.is_granted(from);
    }
    put(&lock, Y);
    let convert = if from.is_some() { LockFlags::CONVERT } else { NONE };
    lock.request(to, VALBLK | convert);
    lock.is_granted(to);
    let (buffer, resource) = match r.group.capabilities.lvb_direction(from, to) {
        LvbDirection::Read => (X, X),
        LvbDirection::Write => (Y, Y),
        LvbDirection::Nothing => (Y, X),
    };
    assert_eq!(lock.lksb.lvb(), value(buffer), "buffer, {from:?} to {to}");
    if r.group.capabilities.is_fs_dlm() {
        // Looks at the resource's value beside a lock in any mode.
        keeper.converts(NL, VALBLK);
        assert_eq!(keeper.lksb.lvb(), value(resource), "resource, {from:?} to {to}");
    } else if to.is_compatible_with(PR) {
        assert_eq!(read(r), (value(resource), true), "resource, {from:?} to {to}");
    }
}

pub fn a_value_that_was_never_written_is_not_read_or_reads_as_zeros(setup: &Setup) {
    let group = setup.group();
    let lock = group.resource("r").new_lock();
    put(&lock, Y);
    lock.request(PR, VALBLK);
    lock.is_granted(PR);
    // In fs/dlm such a resource has no value block; in o2dlm it has one of zeros.
    let expected = if group.capabilities.is_fs_dlm() { Y } else { 0 };
    assert_eq!((lock.lksb.lvb(), lock.lksb.lvb_valid()), (value(expected), true));
}

/// Lock model: 140.
pub fn a_down_conversion_without_valblk_keeps_the_value(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let _keeper = keeper(&r);
    let writer = r.granted_with(EX, VALBLK);
    put(&writer, Y);
    writer.converts(NL, NONE);
    assert_eq!(read(&r), (value(X), true));
}

/// Lock model: 142-144.
pub fn a_writer_can_mark_the_value_not_valid_on_its_way_down(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.knows(IVVALBLK) {
        return;
    }
    for flags in [IVVALBLK, IVVALBLK | VALBLK] {
        let r = group.resource(format!("{flags:?}"));
        let _keeper = keeper(&r);
        let writer = r.granted(EX);
        put(&writer, Y);
        writer.converts(NL, flags);
        assert_eq!(read(&r), (value(X), false), "{flags:?}");
    }
}

/// Lock model: 145, 146.
pub fn only_a_writer_can_mark_the_value_not_valid(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(IVVALBLK) {
        let r = group.resource("r");
        let keeper = keeper(&r);
        let reader = r.granted(PR);
        reader.converts(NL, IVVALBLK);
        assert_eq!(read(&r), (value(X), true));
        keeper.converts(EX, IVVALBLK);
        keeper.converts(NL, NONE);
        assert_eq!(read(&r), (value(X), true));
    }
}

/// Lock model: 147.
pub fn the_next_write_makes_a_value_valid_again(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(IVVALBLK) {
        let r = group.resource("r");
        let keeper = keeper(&r);
        keeper.converts(EX, NONE);
        keeper.converts(NL, IVVALBLK);
        assert!(!read(&r).1);
        keeper.converts(EX, VALBLK);
        put(&keeper, Y);
        keeper.converts(NL, VALBLK);
        assert_eq!(read(&r), (value(Y), true));
    }
}

/// Lock model: 150.
pub fn a_grant_without_valblk_says_nothing_about_validity(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(IVVALBLK) {
        let r = group.resource("r");
        let keeper = keeper(&r);
        keeper.converts(EX, NONE);
        keeper.converts(NL, IVVALBLK);
        let reader = r.new_lock();
        reader.request(PR, NONE);
        let (_, flags) = reader.is_granted(PR);
        assert!(!flags.contains(StatusFlags::VALNOTVALID));
    }
}

/// Lock model: 153, 154.
pub fn an_unlock_from_ex_writes_with_valblk_and_from_pr_does_not(setup: &Setup) {
    let group = setup.group();
    for (mode, expected) in [(EX, Y), (PR, X)] {
        let r = group.resource(mode.name());
        let _keeper = keeper(&r);
        let lock = r.granted(mode);
        put(&lock, Y);
        lock.unlock_with(VALBLK);
        assert_eq!(read(&r), (value(expected), true), "unlocked from {mode}");
    }
}

/// Lock model: 152.
pub fn an_unlock_without_flags_writes_if_the_last_operation_carried_the_value(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let r = group.resource("r");
        let _keeper = keeper(&r);
        let lock = r.granted_with(EX, VALBLK);
        put(&lock, Y);
        lock.unlock();
        assert_eq!(read(&r), (value(Y), true));
    }
}

/// Lock model: 155.
pub fn an_unlock_can_mark_the_value_not_valid(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(IVVALBLK) {
        let r = group.resource("r");
        let _keeper = keeper(&r);
        r.granted(EX).unlock_with(IVVALBLK);
        assert_eq!(read(&r), (value(X), false));
    }
}

/// Lock model: 156, 157.
pub fn the_value_goes_with_the_last_lock_and_stays_with_a_null_lock(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let keeper = keeper(&r);
    assert_eq!(read(&r), (value(X), true));
    keeper.unlock();
    // o2dlm keeps an unused resource for a while.
    if group.capabilities.is_fs_dlm() {
        assert_eq!(read(&r), (value(0), true));
    }
}

/// Lock model: 159.
pub fn a_failed_conversion_moves_no_value(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let keeper = keeper(&r);
    let _reader = r.granted(PR);
    put(&keeper, Y);
    let noqueue = LockFlags::CONVERT | LockFlags::NOQUEUE | VALBLK;
    assert_eq!(keeper.attempt(EX, noqueue), Err(dlm::Errno::EAGAIN));
    assert_eq!(keeper.lksb.lvb(), value(Y));
    assert_eq!(read(&r), (value(X), true));
}

/// Lock model: 160.
pub fn a_waiting_conversion_reads_the_value_at_the_time_of_its_grant(setup: &Setup) {
    let group = setup.group();
    let r = group.resource("r");
    let waiter = keeper(&r);
    let writer = r.granted_with(EX, VALBLK);
    waiter.convert(EX, VALBLK);
    waiter.waits();
    put(&writer, Y);
    writer.converts(NL, VALBLK);
    waiter.is_granted(EX);
    assert_eq!(waiter.lksb.lvb(), value(Y));
}

pub fn a_concurrent_reader_gets_the_value_too(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.has(&[CR]) {
        let r = group.resource("r");
        let writer = keeper(&r);
        writer.converts(Mode::PW, VALBLK);
        let reader = r.granted_with(CR, VALBLK);
        assert_eq!(reader.lksb.lvb(), value(X));
    }
}

/// Lock model: 197, 198.
pub fn the_lock_of_a_dead_process_is_dropped_and_a_writers_value_is_not_trusted(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.orphans {
        return;
    }
    for (mode, trusted) in [(EX, false), (PR, true)] {
        let r = group.resource(mode.name());
        let _keeper = keeper(&r);
        let dead = r.granted(mode);
        let waiter = r.new_lock();
        waiter.request(EX, VALBLK);
        waiter.waits();
        assert_eq!(group.connection.abandon(&dead.lksb), Ok(Abandoned::Dropped));
        waiter.is_granted(EX);
        assert_eq!(waiter.lksb.lvb_valid(), trusted, "abandoned in {mode}");
        assert_eq!(group.connection.abandon(&dead.lksb), Err(dlm::Errno::ENOENT));
    }
}

/// Lock model: 199, 210, 213.
pub fn a_persistent_lock_of_a_dead_process_stays_until_purged(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.orphans {
        return;
    }
    let r = group.resource("r");
    let _keeper = keeper(&r);
    let dead = r.granted_with(EX, LockFlags::PERSISTENT);
    assert_eq!(group.connection.abandon(&dead.lksb), Ok(Abandoned::Orphaned));
    let waiter = r.new_lock();
    waiter.request(PR, VALBLK);
    waiter.waits();
    assert_eq!(group.connection.purge(&|lksb| !lksb.is(&dead.lksb)), Ok(0));
    waiter.waits();
    assert_eq!(group.connection.purge(&|lksb| lksb.is(&dead.lksb)), Ok(1));
    waiter.is_granted(PR);
    assert!(!waiter.lksb.lvb_valid());
}

/// Lock model: 202-204, 206.
pub fn an_orphan_is_adopted_by_name_and_mode(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.orphans || !group.capabilities.knows(LockFlags::ORPHAN) {
        return;
    }
    let r = group.resource("r");
    assert_eq!(r.attempt(EX, LockFlags::ORPHAN).err(), Some(dlm::Errno::ENOENT));
    let dead = r.granted_with(EX, LockFlags::PERSISTENT);
    assert_eq!(group.connection.abandon(&dead.lksb), Ok(Abandoned::Orphaned));
    assert_eq!(r.attempt(PR, LockFlags::ORPHAN).err(), Some(dlm::Errno::EAGAIN));
    let heir = r.attempt(EX, LockFlags::ORPHAN).expect("an orphan in EX");
    heir.converts(PR, NONE);
    heir.unlock();
    r.granted(EX);
}

/// Lock model: 139.
pub fn converting_up_on_a_resource_without_value_leaves_the_buffer(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.is_fs_dlm() {
        let lock = group.resource("r").granted(NL);
        put(&lock, Y);
        lock.converts(PR, VALBLK);
        assert_eq!(lock.lksb.lvb(), value(Y));
    }
}

/// Lock model: 151.
pub fn a_resource_without_value_is_not_reported_as_not_valid(setup: &Setup) {
    let group = setup.group();
    if group.capabilities.knows(IVVALBLK) {
        let r = group.resource("r");
        let _keeper = r.granted(NL);
        r.granted(EX).converts(NL, IVVALBLK);
        let reader = r.granted_with(PR, VALBLK);
        assert!(reader.lksb.lvb_valid());
    }
}

/// Lock model: 200, 201.
pub fn the_last_lock_call_says_whether_a_lock_outlives_its_process(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.orphans {
        return;
    }
    let persistent = LockFlags::PERSISTENT;
    for (first, last, fate) in
        [(persistent, NONE, Abandoned::Dropped), (NONE, persistent, Abandoned::Orphaned)]
    {
        let lock = group.resource(format!("{fate:?}")).granted_with(PR, first);
        lock.converts(EX, last);
        assert_eq!(group.connection.abandon(&lock.lksb), Ok(fate));
    }
}

/// Lock model: 208.
pub fn the_waiting_conversion_of_a_dead_process_is_taken_back(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.orphans || !group.capabilities.knows(LockFlags::ORPHAN) {
        return;
    }
    let r = group.resource("r");
    let dead = r.granted_with(PR, LockFlags::PERSISTENT);
    let other = r.granted(PR);
    dead.convert(EX, LockFlags::PERSISTENT);
    dead.waits();
    assert_eq!(group.connection.abandon(&dead.lksb), Ok(Abandoned::Orphaned));
    other.unlock();
    let heir = r.attempt(PR, LockFlags::ORPHAN).expect("an orphan in its old mode");
    assert_eq!(heir.lksb.mode(), Some(PR));
}

/// Lock model: 209.
pub fn the_waiting_request_of_a_dead_process_is_never_granted(setup: &Setup) {
    let group = setup.group();
    if !group.capabilities.orphans {
        return;
    }
    for flags in [NONE, LockFlags::PERSISTENT] {
        let r = group.resource(format!("{flags:?}"));
        let holder = r.granted(EX);
        let dead = r.waiting_with(EX, flags);
        group.connection.abandon(&dead.lksb).expect("it has a request");
        holder.unlock();
        r.granted(EX);
        dead.waits();
    }
}
