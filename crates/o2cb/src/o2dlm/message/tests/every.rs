//! What holds for every message: it travels whole, a part of it is an error, and no bytes harm.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::*;
use crate::{NODES_MAX, NodeId, NodeMap};

fn node() -> impl Strategy<Value = NodeId> {
    (0..=254u8).prop_map(|number| NodeId::new(number).expect("a node"))
}

fn name() -> impl Strategy<Value = LockName> {
    vec(any::<u8>(), 1..=LOCK_NAME_MAX).prop_map(|name| LockName::new(&name).expect("a name"))
}

fn domain() -> impl Strategy<Value = DomainName> {
    vec(any::<u8>(), 1..=DOMAIN_NAME_MAX).prop_map(|name| DomainName::new(&name).expect("a name"))
}

fn mode() -> impl Strategy<Value = LockMode> {
    select(vec![LockMode::NL, LockMode::PR, LockMode::EX])
}

fn cookie() -> impl Strategy<Value = Cookie> {
    any::<u64>().prop_map(Cookie)
}

fn lvb() -> impl Strategy<Value = [u8; LVB_LEN]> {
    vec(any::<u8>(), LVB_LEN).prop_map(|lvb| lvb.try_into().expect("64 bytes"))
}

/// Flags, and a value block exactly if the flag that announces one is among them.
fn flags_and_lvb(flag: LkmFlags) -> impl Strategy<Value = (LkmFlags, Option<[u8; LVB_LEN]>)> {
    (any::<u32>(), option::of(lvb())).prop_map(move |(bits, lvb)| {
        let mut flags = LkmFlags::from_bits_retain(bits);
        flags.set(flag, lvb.is_some());
        (flags, lvb)
    })
}

fn mig_lock() -> impl Strategy<Value = MigLock> {
    let queues = vec![Queue::Granted, Queue::Converting, Queue::Blocked];
    let modes = (option::of(mode()), option::of(mode()), option::of(mode()));
    (cookie(), select(queues), any::<u8>(), modes, node()).prop_map(
        |(cookie, queue, lvb_flags, (mode, convert, highest_blocked), node)| MigLock {
            cookie,
            queue,
            lvb_flags: LvbFlags::from_bits_retain(lvb_flags),
            mode,
            convert,
            highest_blocked,
            node,
        },
    )
}

fn mig_lockres() -> impl Strategy<Value = MigLockres> {
    let head = (option::of(node()), any::<u8>(), any::<u32>(), any::<u64>());
    (head, name(), lvb(), vec(mig_lock(), 1..=LOCKS_MAX)).prop_map(
        |((owner, flags, total, cookie), name, lvb, locks)| MigLockres {
            owner,
            flags: MigFlags::from_bits_retain(flags),
            total,
            cookie,
            name,
            lvb,
            locks,
        },
    )
}

fn proxy_ast() -> impl Strategy<Value = ProxyAst> {
    let flags = flags_and_lvb(LkmFlags::GET_LVB);
    (cookie(), flags, node(), option::of(mode()), name()).prop_map(
        |(cookie, (flags, lvb), node, blocked, name)| {
            let kind = if blocked.is_some() { AstKind::Bast } else { AstKind::Ast };
            ProxyAst { cookie, flags, node, kind, blocked, name, lvb }
        },
    )
}

fn query_join() -> impl Strategy<Value = QueryJoin> {
    let versions = any::<((u8, u8), (u8, u8))>();
    (node(), versions, domain(), vec(node(), 0..20)).prop_map(
        |(node, (dlm_version, fs_version), domain, live)| {
            let live: NodeMap = live.into_iter().collect();
            QueryJoin { node, dlm_version, fs_version, domain, live }
        },
    )
}

fn node_address() -> impl Strategy<Value = NodeAddress> {
    (node(), any::<u16>(), any::<[u8; 4]>()).prop_map(|(number, port, address)| NodeAddress {
        number,
        port,
        address: address.into(),
    })
}

/// Cut anywhere, longer than allowed, behind other bytes, or whole.
fn travels<M: Debug + PartialEq>(
    message: &M,
    kind: MessageType,
    decode: fn(&[u8]) -> Result<M, DecodeError>,
    encode: fn(&M, &mut Vec<u8>),
) {
    let mut out = vec![0xEE];
    encode(message, &mut out);
    assert_eq!(out.remove(0), 0xEE, "what was there stays");
    assert!((kind.payload_min()..=kind.payload_max()).contains(&out.len()));
    assert_eq!(decode(&out).as_ref(), Ok(message));
    for len in 0..out.len() {
        let error = decode(&out[..len]).expect_err("a part of a message");
        assert_eq!((error.kind, error.message), (DecodeErrorKind::Short, kind));
    }
    out.resize(kind.payload_max() + 1, 0);
    let error = decode(&out).expect_err("more than a message");
    assert_eq!((error.kind, error.message), (DecodeErrorKind::Long, kind));
}

/// Any bytes are an error, or a message that can travel.
fn survives<M: Debug + PartialEq>(
    payload: &[u8],
    decode: fn(&[u8]) -> Result<M, DecodeError>,
    encode: fn(&M, &mut Vec<u8>),
) {
    if let Ok(message) = decode(payload) {
        let mut out = Vec::new();
        encode(&message, &mut out);
        assert_eq!(decode(&out), Ok(message));
    }
}

macro_rules! every_message {
    ($($module:ident: $message:ident, $strategy:expr;)*) => {$(
        mod $module {
            use super::*;

            proptest! {
                // Behaviour 136.
                #[test]
                fn travels_whole_or_not_at_all(message in $strategy) {
                    travels(&message, $message::TYPE, $message::decode, $message::encode);
                }

                #[test]
                fn any_bytes_are_a_message_or_an_error(
                    noise in vec(any::<u8>(), 0..=$message::TYPE.payload_max() + 1),
                ) {
                    survives(&noise, $message::decode, $message::encode);
                }

                #[test]
                fn a_message_with_wrong_bytes_is_a_message_or_an_error(
                    message in $strategy,
                    wrong in vec((any::<Index>(), any::<u8>()), 1..4),
                ) {
                    let mut payload = Vec::new();
                    message.encode(&mut payload);
                    for (at, byte) in wrong {
                        let at = at.index(payload.len());
                        payload[at] = byte;
                    }
                    survives(&payload, $message::decode, $message::encode);
                }
            }
        }
    )*};
}

every_message! {
    master_request: MasterRequest, (node(), any::<u32>(), name())
        .prop_map(|(node, flags, name)| MasterRequest { node, flags, name });
    assert_master: AssertMaster, (node(), any::<u32>(), name()).prop_map(|(node, flags, name)| {
        AssertMaster { node, flags: AssertFlags::from_bits_retain(flags), name }
    });
    create_lock: CreateLock, (cookie(), any::<u32>(), node(), mode(), name()).prop_map(
        |(cookie, flags, node, mode, name)| {
            CreateLock { cookie, flags: LkmFlags::from_bits_retain(flags), node, mode, name }
        },
    );
    convert_lock: ConvertLock,
        (cookie(), flags_and_lvb(LkmFlags::PUT_LVB), node(), mode(), name()).prop_map(
            |(cookie, (flags, lvb), node, mode, name)| {
                ConvertLock { cookie, flags, node, mode, name, lvb }
            },
        );
    proxy_ast: ProxyAst, super::proxy_ast();
    unlock_lock: UnlockLock, (cookie(), flags_and_lvb(LkmFlags::PUT_LVB), node(), name()).prop_map(
        |(cookie, (flags, lvb), node, name)| UnlockLock { cookie, flags, node, name, lvb },
    );
    deref_lockres: DerefLockres, (node(), name())
        .prop_map(|(node, name)| DerefLockres { node, name });
    migrate_request: MigrateRequest, (node(), node(), name()).prop_map(
        |(old_master, new_master, name)| MigrateRequest { old_master, new_master, name },
    );
    mig_lockres: MigLockres, super::mig_lockres();
    query_join: QueryJoin, super::query_join();
    assert_joined: AssertJoined, (node(), domain())
        .prop_map(|(node, domain)| AssertJoined { node, domain });
    cancel_join: CancelJoin, (node(), domain())
        .prop_map(|(node, domain)| CancelJoin { node, domain });
    exit_domain: ExitDomain, node().prop_map(|node| ExitDomain { node });
    master_requery: MasterRequery, (node(), name())
        .prop_map(|(node, name)| MasterRequery { node, name });
    lock_request: LockRequest, (node(), node()).prop_map(|(node, dead)| LockRequest { node, dead });
    reco_data_done: RecoDataDone, (node(), node())
        .prop_map(|(node, dead)| RecoDataDone { node, dead });
    begin_reco: BeginReco, (node(), node()).prop_map(|(node, dead)| BeginReco { node, dead });
    finalize_reco: FinalizeReco, (node(), node(), any::<bool>())
        .prop_map(|(node, dead, stage2)| FinalizeReco { node, dead, stage2 });
    query_region: QueryRegion, (node(), domain(), vec(any::<[u8; 32]>(), 0..=REGIONS_MAX))
        .prop_map(|(node, domain, regions)| QueryRegion { node, domain, regions });
    query_nodeinfo: QueryNodeinfo, (node(), domain(), vec(node_address(), 0..=NODES_MAX))
        .prop_map(|(node, domain, nodes)| QueryNodeinfo { node, domain, nodes });
    begin_exit: BeginExit, node().prop_map(|node| BeginExit { node });
    deref_done: DerefDone, (node(), name()).prop_map(|(node, name)| DerefDone { node, name });
}
