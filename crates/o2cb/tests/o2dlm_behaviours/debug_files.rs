//! A domain as text: the lines of a kernel's debug files.

use stackglue_o2cb::o2dlm::DebugFile;
use stackglue_o2cb::o2dlm::message::*;

use crate::rig::*;

const NONE: LkmFlags = LkmFlags::empty();

fn text(rig: &Rig, file: DebugFile) -> String {
    rig.domain.debug_text(file, rig.now, 4711)
}

#[test]
fn the_state_of_a_quiet_domain_has_the_lines_of_a_kernel() {
    let rig = Rig::joined(1, &[2, 3]);
    let expected = "\
Domain: 632A924FDD844190BDA93C0DF6B94899  Key: 0xKEY  Protocol: 1.3
Thread Pid: 4711  Node: 1  State: JOINED
Number of Joins: 1  Joining Node: 255
Domain Map: 1 2 3 
Exit Domain Map: 
Live Map: 1 2 3 
Lock Resources: 0 (0)
MLEs: 0 (0)
  Blocking: 0 (0)
  Mastery: 0 (0)
  Migration: 0 (0)
Lists: Dirty=Empty  Purge=Empty  PendingASTs=Empty  PendingBASTs=Empty
Purge Count: 0  Refs: 1
Dead Node: 255
Recovery Pid: 4711  Master: 255  State: INACTIVE
Recovery Map: 
Recovery Node State:
";
    let key = format!("{:08x}", domain_name().key());
    assert_eq!(text(&rig, DebugFile::DlmState), expected.replace("KEY", &key));
}

#[test]
fn a_resource_is_a_record_with_a_line_for_every_lock() {
    let mut rig = Rig::joined(1, &[2, 3]);
    rig.mastered_for(2, NAME);
    let holder = rig.created(2, NAME, LockMode::EX);
    let (_, waiter) = rig.create(3, NAME, LockMode::PR, NONE);
    rig.notifies(2, holder, LockMode::PR);
    let expected = format!(
        "NAME:S000000000000000000000200000000\n\
         LRES:1,1,0,0,0,0,0,0,0,0,3\n\
         RMAP:2 \n\
         LVBX:{}\n\
         LOCK:1,0,5,-1,2,{holder},0,0,0,0,0,0,0,0,1\n\
         LOCK:1,2,3,-1,3,{waiter},0,0,0,0,0,0,0,0,1\n\
         \n",
        "00".repeat(64)
    );
    assert_eq!(text(&rig, DebugFile::LockingState), expected);
}

#[test]
fn the_lock_of_a_directory_entry_is_shown_with_its_inode_and_nobody_can_forge_a_line() {
    let mut rig = Rig::joined(1, &[2]);
    let dentry = name(b"N0000000000000005\0\0\0\0\0\0\0\xbe\xef\0");
    let forged = name(b"a\nLOCK:1,0,5");
    for name in [dentry, forged] {
        rig.mastered_for(2, name);
    }
    let text = text(&rig, DebugFile::LockingState);
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("NAME:")).collect();
    assert_eq!(names, ["N00000000000000050000beef", r"a\x0aLOCK:1,0,5"]);
    assert!(!text.contains("\nLOCK:"), "{text}");
}

#[test]
fn a_search_for_a_master_and_an_unused_resource_are_listed() {
    let mut rig = Rig::joined(2, &[1, 3]);
    let domain = "632A924FDD844190BDA93C0DF6B94899";
    rig.request(1, &MasterRequest { node: n(1), flags: 0, name: NAME });
    assert_eq!(
        text(&rig, DebugFile::MleState),
        format!(
            "Dumping MLEs for Domain: {domain}\n\
             S000000000000000000000200000000\tBLK\tmas=255\tnew=255\tevt=1\tuse=1\tref=  1\n\
             Maybe=1 \nVote=\nResponse=\nNode=\n\n\
             Total: 1, Longest: 1\n"
        )
    );
    assert_eq!(
        text(&rig, DebugFile::PurgeList),
        format!("Dumping Purgelist for Domain: {domain}\nTotal on list: 0\n")
    );
    assert!(text(&rig, DebugFile::DlmState).contains("MLEs: 1 (1)\n  Blocking: 1 (1)\n"));
}
