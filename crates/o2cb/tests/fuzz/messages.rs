//! Decoding the messages of o2dlm.

use stackglue_o2cb::o2dlm::message::*;

use crate::corpus::REQUESTS;
use crate::driver::Target;
use crate::mutate::mutated;

/// The message's number, then its payload. What decodes is written and read again as the same.
#[test]
fn messages() {
    let corpus: Vec<Vec<u8>> =
        MessageType::ALL
            .iter()
            .map(|kind| [&kind.to_wire().to_be_bytes()[..], &vec![0; kind.payload_max()]].concat())
            .chain(REQUESTS.iter().map(|request| {
                [&request.kind.to_wire().to_be_bytes()[..], &request.payload].concat()
            }))
            .collect();
    Target {
        name: "messages",
        inputs: 20_000,
        make: &|rng| mutated(rng, &corpus, 5000),
        check: &|input| {
            let Some((number, payload)) = input.split_first_chunk() else { return };
            let Some(kind) = MessageType::from_wire(u16::from_be_bytes(*number)) else { return };
            decode_all(kind, payload);
        },
    }
    .run();
}

/// Whether the payload decodes; what it says in both directions is the same then.
pub(crate) fn decode_all(kind: MessageType, payload: &[u8]) -> bool {
    macro_rules! by_type {
        ($($message:ident)*) => {
            match kind {
                $(MessageType::$message => match $message::decode(payload) {
                    Ok(message) => {
                        let mut again = Vec::new();
                        message.encode(&mut again);
                        let sizes = kind.payload_min()..=kind.payload_max();
                        assert!(sizes.contains(&again.len()), "{kind}: {} bytes", again.len());
                        assert_eq!($message::decode(&again), Ok(message), "{kind}");
                        true
                    }
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        false
                    }
                },)*
            }
        };
    }
    by_type! {
        MasterRequest AssertMaster CreateLock ConvertLock ProxyAst UnlockLock DerefLockres
        MigrateRequest MigLockres QueryJoin AssertJoined CancelJoin ExitDomain MasterRequery
        LockRequest RecoDataDone BeginReco FinalizeReco QueryRegion QueryNodeinfo BeginExit DerefDone
    }
}
