//! What happened since the daemon started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Defines each counter once.
macro_rules! counters {
    ($($name:ident: $text:literal,)*) => {
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(#[doc = $text] pub(super) $name: Counter,)*
            /// Frames refused, by reason.
            bad_frames: Mutex<BTreeMap<&'static str, u64>>,
        }

        impl Counters {
            /// Every counter by its name; `bad_frames.REASON` for each reason seen.
            pub(super) fn by_name(&self) -> BTreeMap<String, u64> {
                let mut counts = BTreeMap::from([
                    $((stringify!($name).to_owned(), self.$name.0.load(Ordering::Relaxed)),)*
                ]);
                for (reason, count) in &*self.bad_frames.lock() {
                    counts.insert(format!("bad_frames.{reason}"), *count);
                }
                counts
            }
        }
    };
}

counters! {
    clients: "Processes that said Hello.",
    clients_denied: "Processes that may not use the daemon.",
    clients_refused: "Processes refused because there were too many.",
    clients_limited: "Clients disconnected because they reached a limit.",
    clients_mute: "Clients disconnected because they did not say Hello.",
    granted: "Locks and conversions granted.",
    refused: "Lock calls refused.",
    unlocked: "Locks given back.",
    cancelled: "Requests and conversions taken back.",
    blocking: "Holders told that they are in the way.",
    abandoned: "Locks dropped because their process was gone.",
    orphaned: "Locks kept although their process was gone.",
    revokes: "Revocations asked for.",
    taken: "Locks taken away by force.",
    attributes_written: "Attributes written.",
    attributes_refused: "Writes of attributes refused.",
}

impl Counters {
    pub(super) fn bad_frame(&self, reason: &'static str) {
        *self.bad_frames.lock().entry(reason).or_default() += 1;
    }
}

/// One number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
