//! What the other nodes do to a domain, as bytes: steps that a seed makes and a replay reads again.

use stackglue_o2cb::NodeId;
use stackglue_o2cb::o2dlm::message::*;

use crate::corpus::REQUESTS;
use crate::mutate::{change, pick};
use crate::rng::Rng;

/// Members are 1 to 4; 2 is the domain under test. 5 heartbeats and is no member.
pub(crate) const ME: u8 = 2;
pub(crate) const OTHERS: [u8; 3] = [1, 3, 4];
pub(crate) const STRANGER: u8 = 5;

pub(crate) const DOMAIN: &[u8] = b"632A924FDD844190BDA93C0DF6B94899";
/// Who masters them: this node, node 1, node 4, nobody yet.
pub(crate) const OURS: [&[u8]; 2] = [b"ours0", b"ours1"];
pub(crate) const THEIRS: &[u8] = b"theirs";
pub(crate) const LOST: &[u8] = b"lost";
pub(crate) const SEARCHED: &[u8] = b"searched";
pub(crate) const MOVING: &[u8] = b"moving";
const NAMES: [&[u8]; 8] = [OURS[0], OURS[1], THEIRS, LOST, SEARCHED, MOVING, b"$RECOVERY", b"new"];

pub(crate) fn n(number: u8) -> NodeId {
    NodeId::new(number).expect("below 255")
}

pub(crate) fn name(bytes: &[u8]) -> LockName {
    LockName::new(bytes).expect("1 to 32 bytes")
}

pub(crate) fn domain_name() -> DomainName {
    DomainName::new(DOMAIN).expect("32 bytes")
}

pub(crate) enum Step<'a> {
    Request {
        from: u8,
        kind: MessageType,
        payload: &'a [u8],
    },
    /// The status of one of the messages that wait for theirs; 0 where that says nothing, else hostile.
    Answer {
        which: u8,
        status: Option<i32>,
    },
    Pass {
        millis: u64,
    },
    Dies {
        node: u8,
    },
}

/// The steps in an input, which can be anything.
pub(crate) fn steps(mut bytes: &[u8]) -> impl Iterator<Item = Step<'_>> {
    std::iter::from_fn(move || {
        let ([what, a, b, c, d, e], rest) = bytes.split_first_chunk::<6>()?;
        bytes = rest;
        Some(match what % 8 {
            0..=3 => {
                let len = usize::from(u16::from_be_bytes([*d, *e])).min(rest.len());
                let (payload, rest) = rest.split_at(len);
                bytes = rest;
                let from = [1, 3, 4, STRANGER][usize::from(*a) % 4];
                let kinds = MessageType::ALL;
                let kind = kinds[usize::from(u16::from_be_bytes([*b, *c])) % kinds.len()];
                Step::Request { from, kind, payload }
            }
            4 => Step::Answer { which: *a, status: None },
            5 => Step::Answer { which: *a, status: Some(i32::from_be_bytes([*b, *c, *d, *e])) },
            6 => Step::Pass { millis: u64::from(u16::from_be_bytes([*b, *c])) },
            _ => Step::Dies { node: OTHERS[usize::from(*a) % 3] },
        })
    })
}

/// A byte for the situation, then steps.
pub(crate) fn make(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![rng.next() as u8];
    for _ in 0..=rng.below(24) {
        step(rng, &mut bytes);
    }
    bytes
}

fn step(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let byte = |rng: &mut Rng| rng.next() as u8;
    match rng.below(100) {
        0..70 => request(rng, bytes),
        70..85 => bytes.extend([4, byte(rng), 0, 0, 0, 0]),
        85..89 => {
            let random = rng.next() as i32;
            let status = *pick(rng, &[0, 1, 2, 3, -22, -11, 255, 11, 17, 21, 32, 39, 40, random]);
            bytes.extend([5, byte(rng)]);
            bytes.extend(status.to_be_bytes());
        }
        89..98 => {
            let millis = *pick(rng, &[1, 100, 1000, 10_000]);
            bytes.extend([6, 0]);
            bytes.extend(u16::to_be_bytes(millis));
            bytes.extend([0, 0]);
        }
        _ => bytes.extend([7, byte(rng), 0, 0, 0, 0]),
    }
}

/// A request as a node could send it, changed sometimes.
fn request(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let sender = if rng.chance(90) { rng.below(3) } else { 3 } as usize;
    let mut from = [1, 3, 4, STRANGER][sender];
    let (mut kind, mut payload);
    if rng.chance(10) {
        let request = pick(rng, &REQUESTS);
        if OTHERS.contains(&request.from) {
            from = request.from;
        }
        (kind, payload) = (request.kind, request.payload.clone());
    } else {
        kind = *pick(rng, MessageType::ALL);
        payload = written(rng, from, kind);
    }
    if rng.chance(20) {
        for _ in 0..=rng.below(3) {
            let corpus = [payload.clone()];
            change(rng, &mut payload, &corpus);
        }
    }
    if rng.chance(2) {
        kind = *pick(rng, MessageType::ALL);
    }
    let position = |kind| MessageType::ALL.iter().position(|&other| other == kind);
    let sender = [1, 3, 4, STRANGER].iter().position(|&other| other == from);
    payload.truncate(5000);
    bytes.extend([0, sender.unwrap_or(0) as u8]);
    bytes.extend((position(kind).unwrap_or(0) as u16).to_be_bytes());
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
}

fn written(rng: &mut Rng, from: u8, kind: MessageType) -> Vec<u8> {
    let mut out = Vec::new();
    let node = n(from);
    let someone = n(*pick(rng, &[1, 2, 3, 4, 5]));
    let dead = n(*pick(rng, &[1, 3, 4, 4, 4]));
    let picked = pick(rng, &NAMES);
    let name = name(picked);
    let domain = domain_name();
    let mode = mode(rng);
    let cookie = cookie(rng, from);
    let flags = flags(rng);
    let lvb = rng.chance(50).then(|| [rng.below(3) as u8; LVB_LEN]);
    match kind {
        MessageType::MasterRequest => MasterRequest { node, flags: 0, name }.encode(&mut out),
        MessageType::AssertMaster => {
            let flags = AssertFlags::from_bits_retain(rng.below(8) as u32);
            AssertMaster { node, flags, name }.encode(&mut out);
        }
        MessageType::CreateLock => CreateLock { cookie, flags, node, mode, name }.encode(&mut out),
        MessageType::ConvertLock => {
            let flags = flags | LkmFlags::CONVERT;
            ConvertLock { cookie, flags, node, mode, name, lvb }.encode(&mut out);
        }
        MessageType::ProxyAst => {
            let ast = rng.chance(50);
            let kind = if ast { AstKind::Ast } else { AstKind::Bast };
            let blocked = (!ast).then_some(mode);
            // Mostly of a lock of the domain's.
            let cookie = if rng.chance(80) { Cookie::new(n(ME), rng.below(12)) } else { cookie };
            ProxyAst { cookie, flags, node, kind, blocked, name, lvb }.encode(&mut out);
        }
        MessageType::UnlockLock => {
            let flags = flags | LkmFlags::UNLOCK;
            UnlockLock { cookie, flags, node, name, lvb }.encode(&mut out);
        }
        MessageType::DerefLockres => DerefLockres { node, name }.encode(&mut out),
        MessageType::DerefDone => DerefDone { node, name }.encode(&mut out),
        MessageType::MigrateRequest => {
            MigrateRequest { old_master: someone, new_master: node, name }.encode(&mut out);
        }
        MessageType::MigLockres => locks(rng, from, name).encode(&mut out),
        MessageType::QueryJoin => {
            let live = (1..=5).map(n).collect();
            QueryJoin { node, dlm_version: (1, 3), fs_version: (1, 0), domain, live }
                .encode(&mut out);
        }
        MessageType::AssertJoined => AssertJoined { node, domain }.encode(&mut out),
        MessageType::CancelJoin => CancelJoin { node, domain }.encode(&mut out),
        MessageType::ExitDomain => ExitDomain { node }.encode(&mut out),
        MessageType::BeginExit => BeginExit { node }.encode(&mut out),
        MessageType::MasterRequery => MasterRequery { node, name }.encode(&mut out),
        MessageType::LockRequest => LockRequest { node, dead }.encode(&mut out),
        MessageType::RecoDataDone => RecoDataDone { node, dead }.encode(&mut out),
        MessageType::BeginReco => BeginReco { node, dead }.encode(&mut out),
        MessageType::FinalizeReco => {
            FinalizeReco { node, dead, stage2: rng.chance(50) }.encode(&mut out);
        }
        MessageType::QueryRegion => QueryRegion { node, domain, regions: vec![] }.encode(&mut out),
        MessageType::QueryNodeinfo => {
            QueryNodeinfo { node, domain, nodes: vec![] }.encode(&mut out);
        }
    }
    out
}

fn mode(rng: &mut Rng) -> LockMode {
    *pick(rng, &[LockMode::NL, LockMode::PR, LockMode::EX])
}

/// Few, so that they meet.
fn cookie(rng: &mut Rng, from: u8) -> Cookie {
    let node = if rng.chance(85) { from } else { *pick(rng, &[1, 2, 3, 4, 5]) };
    Cookie::new(n(node), rng.below(6))
}

fn flags(rng: &mut Rng) -> LkmFlags {
    let some = [
        LkmFlags::empty(),
        LkmFlags::VALBLK,
        LkmFlags::NOQUEUE,
        LkmFlags::CANCEL,
        LkmFlags::VALBLK | LkmFlags::PUT_LVB,
        LkmFlags::VALBLK | LkmFlags::GET_LVB,
        LkmFlags::RECOVERY,
    ];
    if rng.chance(95) { *pick(rng, &some) } else { LkmFlags::from_bits_retain(rng.next() as u32) }
}

fn locks(rng: &mut Rng, from: u8, name: LockName) -> MigLockres {
    let recovery = rng.chance(50);
    let mut flags = if recovery { MigFlags::RECOVERY } else { MigFlags::MIGRATION };
    flags.set(MigFlags::ALL_DONE, rng.chance(80));
    let owner = if recovery { *pick(rng, &[Some(1), Some(4), Some(2), None]) } else { Some(from) };
    let mut locks = Vec::new();
    for _ in 0..rng.below(4) {
        let queue = *pick(rng, &[Queue::Granted, Queue::Converting, Queue::Blocked]);
        let node = if rng.chance(70) { from } else { *pick(rng, &[1, 2, 3, 4, 5]) };
        locks.push(MigLock {
            cookie: cookie(rng, node),
            queue,
            lvb_flags: LvbFlags::from_bits_retain(rng.below(8) as u8),
            mode: Some(mode(rng)),
            convert: (queue == Queue::Converting).then(|| mode(rng)),
            highest_blocked: None,
            node: n(node),
        });
    }
    if locks.is_empty() {
        locks.push(MigLock::dummy(n(from)));
    }
    let total = if rng.chance(80) { locks.len() as u32 } else { rng.below(300) as u32 };
    let lvb = [rng.below(3) as u8; LVB_LEN];
    MigLockres { owner: owner.map(n), flags, total, cookie: 0, name, lvb, locks }
}
