//! Cached locks beside real kernels: `cargo xtask lab dlmglue` runs this, as root.

#[path = "../../../o2cb/tests/lab/ours.rs"]
#[expect(dead_code, reason = "other tests have other uses for a node beside kernels")]
mod ours;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::Error;
use stackglue_dlmglue::{Cluster, ClusterRwLock, Level};

use crate::ours::{Ours, SOON, options};

/// How long they contend; `LAB_SECONDS` for longer.
fn seconds() -> u64 {
    std::env::var("LAB_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// What a user of ours has seen.
#[derive(Default)]
struct Seen {
    writes: u64,
    /// How often the level had been taken away since the last write.
    revoked: u64,
}

/// Counts in the value, as long as it may.
fn count_up(counter: &ClusterRwLock<u64>, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let (mut last, mut token) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        seen.revoked += u64::from(counter.cached() != Level::EX);
        let mut value = counter.write().unwrap_or_else(|error| panic!("{error}"));
        assert!(*value >= last, "the counter went from {last} to {}", *value);
        assert!(value.token() >= token, "the token went from {token} to {}", value.token());
        *value += 1;
        (last, token) = (*value, value.token());
        seen.writes += 1;
        drop(value);
        let value = counter.read().unwrap_or_else(|error| panic!("{error}"));
        assert!(*value >= last, "the counter went from {last} to {}", *value);
    }
    seen
}

#[test]
fn kernels_and_our_cache_revoke_each_other_and_no_value_is_lost() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let (one, two) = (lab.guest(1), lab.guest(2));
        let ours = Ours::start(lab);
        for guest in [one, two] {
            guest.exec("mkdir /dlm/cached")?.success()?;
        }
        let cluster = Cluster::connect(&ours.glue, "cached").expect("joined");
        let counter = cluster.value("counter", 0u64).expect("a name");
        let seconds = seconds();
        // dlmfs caches, too: each open asks for the lock, and each close keeps it until somebody else
        // wants it. One takes it exclusively, the other one shared. (What is not written stays.)
        let kernels = [(one, "<>"), (two, "<")].map(|(guest, mode)| {
            guest.spawn(&format!(
                "touch /dlm/cached/counter; n=0; end=$(($(date +%s)+{seconds})); \
                 while [ $(date +%s) -lt $end ]; do i=0; while [ $i -lt 20 ]; do \
                 : {mode}/dlm/cached/counter || exit 1; i=$((i+1)); done; n=$((n+20)); done; \
                 echo opened $n"
            ))
        });
        let stop = AtomicBool::new(false);
        let (seen, opened) = std::thread::scope(|scope| {
            let users = [0, 1].map(|_| scope.spawn(|| count_up(&counter, &stop)));
            let opened = kernels.map(|kernel| -> Result<u64, Error> {
                let output = kernel?.wait(Duration::from_secs(seconds) + SOON)?.success()?;
                let count = output.trim().rsplit(' ').next().and_then(|count| count.parse().ok());
                Ok(count.unwrap_or_else(|| panic!("{output}")))
            });
            stop.store(true, Ordering::Relaxed);
            (users.map(|user| user.join().expect("no panic")), opened)
        });
        let [exclusive, shared] = opened;
        let (exclusive, shared) = (exclusive?, shared?);
        let writes = seen.iter().map(|seen| seen.writes).sum();
        let revoked: u64 = seen.iter().map(|seen| seen.revoked).sum();
        println!("{writes} writes, revoked {revoked} times; {exclusive} + {shared} opens");
        assert_eq!(*counter.read().expect("held"), writes);
        assert!(revoked > 10 && exclusive > 10 && shared > 10);
        drop((counter, cluster));
        ours.stop();
        for guest in lab.guests() {
            assert_eq!(guest.kernel_errors(&[])?, [] as [String; 0]);
        }
        Ok(())
    })
}
