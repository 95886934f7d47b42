//! The layouts, the faults, and what holds for every message.

mod every;

use super::*;
use crate::NodeId;

fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("a node")
}

fn name() -> LockName {
    LockName::new(b"M0\0x").expect("4 bytes")
}

fn domain() -> DomainName {
    DomainName::new(b"ovm").expect("3 bytes")
}

fn bytes(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// A payload of this length, zero but for what is put at the offsets.
fn layout(len: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut payload = vec![0; len];
    for &(at, field) in fields {
        fields::put(&mut payload, at, field);
    }
    payload
}

fn create() -> CreateLock {
    CreateLock {
        cookie: Cookie::new(node(3), 1),
        flags: LkmFlags::NOQUEUE | LkmFlags::RECOVERY,
        node: node(3),
        mode: LockMode::EX,
        name: name(),
    }
}

#[test]
fn the_numbers_are_500_to_522_without_501() {
    let numbers: Vec<u16> = (0..=u16::MAX)
        .filter(|&number| {
            MessageType::from_wire(number).is_some_and(|kind| kind.to_wire() == number)
        })
        .collect();
    assert_eq!(numbers, [500].into_iter().chain(502..=522).collect::<Vec<_>>());
    assert!(MessageType::ALL.iter().all(|kind| kind.payload_min() <= kind.payload_max()));
}

// Behaviour 133.
#[test]
fn the_key_of_a_domain_is_the_checksum_of_its_name() {
    let uuid = DomainName::new(b"632A924FDD844190BDA93C0DF6B94899").expect("32 bytes");
    assert_eq!(uuid.key(), 0xED31_5774);
    assert_eq!(domain().key(), 0x09ED_4F88);
}

#[test]
fn names_have_1_to_32_bytes_and_domains_1_to_63() {
    let long = [b'n'; 64];
    for len in 0..=64 {
        assert_eq!(LockName::new(&long[..len]).is_some(), (1..=32).contains(&len), "{len}");
        assert_eq!(DomainName::new(&long[..len]).is_some(), (1..=63).contains(&len), "{len}");
    }
}

#[test]
fn names_differ_and_sort_by_their_bytes_and_their_length() {
    let mut names = [&b"b"[..], b"a\0\0", b"a", b"a\0", b"ab"].map(LockName::new);
    names.sort();
    assert_eq!(names, [&b"a"[..], b"a\0", b"a\0\0", b"ab", b"b"].map(LockName::new));
    assert_eq!(LockName::new(b"a\0\\\n").expect("a name").to_string(), "a\\x00\\\\\\x0a");
}

// Behaviour 199.
#[test]
fn the_first_cookie_of_node_3() {
    let cookie = Cookie::new(node(3), 1);
    assert_eq!(cookie.0.to_be_bytes(), [3, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(cookie.node_byte(), 3);
    assert_eq!(Cookie::new(node(3), u64::MAX).node_byte(), 3);
    assert_eq!(Cookie::new(node(3), 17).to_string(), "3:17");
}

#[test]
fn null_goes_with_all_and_read_with_read() {
    use LockMode::{EX, NL, PR};
    for (one, other, together) in [
        (NL, NL, true),
        (NL, PR, true),
        (NL, EX, true),
        (PR, PR, true),
        (PR, EX, false),
        (EX, EX, false),
    ] {
        assert_eq!(one.compatible(other), together, "{one:?} {other:?}");
        assert_eq!(other.compatible(one), together, "{other:?} {one:?}");
    }
    let modes: Vec<i8> = (i8::MIN..=i8::MAX)
        .filter(|&number| LockMode::from_wire(number).is_some_and(|mode| mode.to_wire() == number))
        .collect();
    assert_eq!(modes, [0, 3, 5]);
}

// Behaviour 309.
#[test]
fn every_status_has_the_errno_the_filesystem_expects() {
    let errnos = [
        0, 22, 13, 13, 13, 22, 22, 13, 12, 71, 16, 22, 22, 22, 22, 12, 22, 22, 22, 22, 22, 11, 22,
        1, 22, 22, 1, 22, 0x10001, 22, 35, 22, 22, 110, 22, 95, 2, 1, 2, 107, 85, 22,
    ];
    let told: Vec<i32> = (0..=41)
        .map(|number| {
            let status = Status::from_wire(number).expect("a status");
            assert_eq!(status.to_wire(), number);
            status.errno().err().map_or(0, dlm::Errno::number)
        })
        .collect();
    assert_eq!(told, errnos);
    assert_eq!((Status::from_wire(-1), Status::from_wire(42)), (None, None));
}

// Behaviours 141, 142, 143.
#[test]
fn the_answer_to_a_query_is_packed_in_the_order_of_the_wire() {
    for (reply, status) in [
        (JoinReply::Disallow, 0),
        (JoinReply::Ok { dlm_minor: 3, fs_minor: 0 }, 0x0103_0000),
        (JoinReply::Ok { dlm_minor: 1, fs_minor: 2 }, 0x0101_0200),
        (JoinReply::OkNoMap, 0x0200_0000),
        (JoinReply::ProtocolMismatch, 0x0300_0000),
    ] {
        assert_eq!(reply.pack(), status);
        assert_eq!(JoinReply::unpack(status), Some(reply));
    }
    assert_eq!(JoinReply::unpack(0x0400_0000), None);
    assert_eq!(JoinReply::unpack(-22), None);
}

// Behaviour 200.
#[test]
fn a_create_has_the_node_before_the_mode_before_the_name() {
    assert_eq!(
        bytes(|out| create().encode(out)),
        layout(
            80,
            &[
                (0, &[3, 0, 0, 0, 0, 0, 0, 1]),
                (8, &[0x80, 0, 2, 0]),
                (13, &[3, 5, 4]),
                (16, b"M0\0x"),
            ]
        )
    );
}

// Behaviour 201.
#[test]
fn an_unlock_has_the_node_where_a_create_has_the_mode() {
    let unlock = UnlockLock {
        cookie: Cookie(1),
        flags: LkmFlags::CANCEL,
        node: node(7),
        name: name(),
        lvb: None,
    };
    let expected = layout(80, &[(7, &[1]), (10, &[0x20]), (14, &[7, 4]), (16, b"M0\0x")]);
    assert_eq!(bytes(|out| unlock.encode(out)), expected);
}

// Behaviour 239.
#[test]
fn a_value_block_follows_the_structure_and_sets_its_flag() {
    let convert = ConvertLock {
        cookie: Cookie(1),
        flags: LkmFlags::CONVERT | LkmFlags::VALBLK,
        node: node(1),
        mode: LockMode::PR,
        name: name(),
        lvb: Some([0xAB; LVB_LEN]),
    };
    let payload = bytes(|out| convert.encode(out));
    assert_eq!(payload.len(), 144);
    assert_eq!((&payload[8..12], &payload[80..]), (&[0x20, 0, 5, 0][..], &[0xAB; LVB_LEN][..]));
    let decoded = ConvertLock::decode(&payload).expect("decodes");
    assert_eq!(decoded.flags, convert.flags | LkmFlags::PUT_LVB);
    assert_eq!(decoded.lvb, convert.lvb);
    // And none is announced that is not there.
    let without = ConvertLock { flags: decoded.flags, lvb: None, ..convert };
    let payload = bytes(|out| without.encode(out));
    assert_eq!((payload.len(), payload[8]), (80, 0));
}

#[test]
fn an_ast_has_null_where_a_bast_has_the_mode_that_waits() {
    let ast = ProxyAst {
        cookie: Cookie(2),
        flags: LkmFlags::empty(),
        node: node(1),
        kind: AstKind::Ast,
        blocked: None,
        name: name(),
        lvb: None,
    };
    let bast = ProxyAst { kind: AstKind::Bast, blocked: Some(LockMode::EX), ..ast };
    assert_eq!(bytes(|out| ast.encode(out))[12..16], [1, 0, 0, 4]);
    assert_eq!(bytes(|out| bast.encode(out))[12..16], [1, 1, 5, 4]);
}

// Behaviours 113, 140.
#[test]
fn a_query_to_join_has_versions_name_and_live_nodes() {
    let query = QueryJoin {
        node: node(4),
        dlm_version: (1, 3),
        fs_version: (1, 0),
        domain: domain(),
        live: [1, 3, 5, 4].map(node).into_iter().collect(),
    };
    let expected = layout(104, &[(0, &[4, 0, 0, 3, 1, 3, 1, 0]), (8, b"ovm"), (72, &[0b11_1010])]);
    assert_eq!(bytes(|out| query.encode(out)), expected);
}

// Behaviour 149.
#[test]
fn node_information_is_a_table_of_255_places() {
    let nodes = vec![
        NodeAddress { number: node(1), port: 7777, address: [10, 77, 0, 1].into() },
        NodeAddress { number: node(2), port: 7778, address: [10, 77, 0, 2].into() },
    ];
    let info = QueryNodeinfo { node: node(2), domain: domain(), nodes };
    let entries = [1, 0, 0x1E, 0x61, 10, 77, 0, 1, 2, 0, 0x1E, 0x62, 10, 77, 0, 2];
    let expected = layout(2108, &[(0, &[2, 2, 3, 0]), (4, b"ovm"), (68, &entries)]);
    assert_eq!(bytes(|out| info.encode(out)), expected);
}

// Behaviour 151.
#[test]
fn regions_are_a_table_of_32_places_empty_with_local_heartbeat() {
    let mut query = QueryRegion { node: node(2), domain: domain(), regions: vec![] };
    let expected = layout(1092, &[(0, &[2, 0, 3, 0]), (4, b"ovm")]);
    assert_eq!(bytes(|out| query.encode(out)), expected);
    query.regions = vec![[b'A'; 32], [b'B'; 32]];
    let payload = bytes(|out| query.encode(out));
    assert_eq!((payload.len(), payload[1]), (1092, 2));
    assert_eq!((&payload[68..100], &payload[100..132]), (&[b'A'; 32][..], &[b'B'; 32][..]));
}

// Behaviours 250, 256.
#[test]
fn a_node_without_locks_is_a_dummy_entry() {
    let lockres = MigLockres {
        owner: None,
        flags: MigFlags::RECOVERY | MigFlags::ALL_DONE,
        total: 0,
        cookie: 0,
        name: name(),
        lvb: [0; LVB_LEN],
        locks: vec![MigLock::dummy(node(9))],
    };
    let expected =
        layout(128, &[(0, &[255, 4, 1, 5]), (16, b"M0\0x"), (122, &[2, 0, 255, 255, 255, 9])]);
    let payload = bytes(|out| lockres.encode(out));
    assert_eq!(payload, expected);
    let decoded = MigLockres::decode(&payload).expect("decodes");
    assert!(decoded.locks[0].is_dummy());
    assert!(!MigLock { cookie: Cookie(1), ..decoded.locks[0] }.is_dummy());
}

// Behaviours 251, 255.
#[test]
fn a_message_takes_112_bytes_and_16_for_each_of_up_to_240_locks() {
    let lock = MigLock {
        cookie: Cookie(0x0203),
        queue: Queue::Converting,
        lvb_flags: LvbFlags::GET,
        mode: Some(LockMode::NL),
        convert: Some(LockMode::EX),
        highest_blocked: None,
        node: node(2),
    };
    let mut lockres = MigLockres {
        owner: Some(node(1)),
        flags: MigFlags::MIGRATION,
        total: 241,
        cookie: 0x0A0B,
        name: name(),
        lvb: [7; LVB_LEN],
        locks: vec![],
    };
    for count in [1, 2, LOCKS_MAX] {
        lockres.locks = vec![lock; count];
        let payload = bytes(|out| lockres.encode(out));
        assert_eq!(payload.len(), 112 + 16 * count);
        assert_eq!(payload[..16], [1, 4, count as u8, 2, 0, 0, 0, 241, 0, 0, 0, 0, 0, 0, 10, 11]);
        assert_eq!(payload[48..112], [7; LVB_LEN]);
        let entry = [0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 1, 4, 0, 5, 255, 2];
        assert!(payload[112..].chunks(16).all(|lock| lock == entry));
    }
}

#[test]
fn the_nodes_and_names_of_the_others_are_where_the_kernel_has_them() {
    let (n, name, domain) = (node(6), name(), domain());
    let named = |head: &[u8]| layout(72, &[(0, head), (8, b"M0\0x")]);
    let joined = layout(68, &[(0, &[6, 0, 0, 3]), (4, b"ovm")]);
    let dead = node(8);
    let flags = AssertFlags::FINISH_MIGRATION;
    for (encoded, expected) in [
        (bytes(|out| MasterRequest { node: n, flags: 0, name }.encode(out)), named(&[6, 4])),
        (
            bytes(|out| AssertMaster { node: n, flags, name }.encode(out)),
            named(&[6, 4, 0, 0, 0, 0, 0, 4]),
        ),
        (bytes(|out| MasterRequery { node: n, name }.encode(out)), named(&[0, 0, 6, 4])),
        (bytes(|out| DerefLockres { node: n, name }.encode(out)), named(&[0, 0, 0, 0, 0, 0, 6, 4])),
        (bytes(|out| DerefDone { node: n, name }.encode(out)), named(&[0, 0, 0, 0, 0, 0, 6, 4])),
        (
            bytes(|out| MigrateRequest { old_master: n, new_master: dead, name }.encode(out)),
            named(&[6, 8, 4]),
        ),
        (bytes(|out| AssertJoined { node: n, domain }.encode(out)), joined.clone()),
        (bytes(|out| CancelJoin { node: n, domain }.encode(out)), joined),
        (bytes(|out| ExitDomain { node: n }.encode(out)), vec![6, 0, 0, 0]),
        (bytes(|out| BeginExit { node: n }.encode(out)), vec![6, 0, 0, 0]),
        (bytes(|out| LockRequest { node: n, dead }.encode(out)), vec![6, 8, 0, 0, 0, 0, 0, 0]),
        (bytes(|out| BeginReco { node: n, dead }.encode(out)), vec![6, 8, 0, 0, 0, 0, 0, 0]),
        (bytes(|out| RecoDataDone { node: n, dead }.encode(out)), layout(72, &[(0, &[6, 8])])),
        (
            bytes(|out| FinalizeReco { node: n, dead, stage2: true }.encode(out)),
            vec![6, 8, 1, 0, 0, 0, 0, 0],
        ),
    ] {
        assert_eq!(encoded, expected);
    }
}

#[test]
fn a_fault_tells_its_kind_so_that_the_right_status_can_be_chosen() {
    let mut locks = layout(128, &[(1, &[1, 1, 2]), (122, &[0, 0, 3, 255, 255, 1])]);
    assert!(MigLockres::decode(&locks).is_ok());
    let mut fault = |at: usize, value: u8| {
        let right = std::mem::replace(&mut locks[at], value);
        let error = MigLockres::decode(&locks).expect_err("a fault");
        locks[at] = right;
        (error.kind, error.field)
    };
    use DecodeErrorKind::*;
    for (at, value, kind, field) in [
        (1, 33, NameTooLong, "name length"),
        (1, 0, NameEmpty, "name length"),
        (2, 0, BadCount, "number of locks"),
        (2, 241, BadCount, "number of locks"),
        (2, 2, Short, "payload length"),
        (122, 3, Other, "queue of a lock"),
        (124, 1, BadMode, "mode of a lock"),
        (125, 4, BadMode, "convert mode of a lock"),
        (126, 2, BadMode, "highest blocked mode of a lock"),
        (127, 255, BadNode, "node of a lock"),
    ] {
        assert_eq!(fault(at, value), (kind, field), "{value} at {at}");
    }
    assert_eq!(MigLockres::decode(&[0; 3953]).expect_err("too long").kind, Long);
    assert_eq!(MigLockres::decode(&[0; 127]).expect_err("too short").kind, Short);
}

// Behaviour 232.
#[test]
fn a_proxy_ast_of_type_2_has_no_kind() {
    let payload = layout(80, &[(12, &[1, 2, 0, 1])]);
    let error = ProxyAst::decode(&payload).expect_err("an unlock AST is never sent");
    assert_eq!((error.kind, error.field, error.value), (DecodeErrorKind::Other, "type", 2));
}

#[test]
fn a_fault_says_where_it_is_and_what_was_expected() {
    let mut payload = bytes(|out| create().encode(out));
    payload[14] = 0xFF;
    let error = CreateLock::decode(&payload).expect_err("IV is no mode to create a lock in");
    assert_eq!(
        error.to_string(),
        "CreateLock (503): mode is -1, expected 0 (NL), 3 (PR) or 5 (EX)"
    );
    let error = CreateLock::decode(&payload[..79]).expect_err("short");
    assert_eq!(error.to_string(), "CreateLock (503): payload length is 79, expected 80");
}

#[test]
fn what_a_kernel_leaves_behind_a_name_does_not_matter() {
    let mut payload = bytes(|out| create().encode(out));
    payload[12] = 0xEE;
    payload[20..].fill(0xEE);
    assert_eq!(CreateLock::decode(&payload), Ok(create()));
}
