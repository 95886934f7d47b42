//! A cache in front of a slow store, coherent across hosts: a hit asks nobody, and nobody sees an
//! old value.
//!
//! `cargo run -p stackglue-dlmglue --example cache [solo|o2cb]`

mod support;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use stackglue_dlmglue::{Cluster, Coherent};

/// What all hosts see, and would rather ask seldom.
#[derive(Default)]
struct SlowStore {
    rows: Mutex<HashMap<u32, String>>,
    reads: AtomicU32,
}

impl SlowStore {
    fn read(&self, key: u32) -> String {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.rows.lock().expect("nobody panics").get(&key).cloned().unwrap_or_default()
    }

    fn write(&self, key: u32, text: &str) -> String {
        self.rows.lock().expect("nobody panics").insert(key, text.to_owned());
        text.to_owned()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let reads = show(&support::members()?)?;
    println!("3000 reads by three hosts, and three changes: the store was read {reads} times");
    Ok(())
}

/// Everybody reads a row, one changes it, and so on; how often the store was read.
pub(crate) fn show(members: &[Cluster]) -> Result<u32, Box<dyn Error>> {
    let store = SlowStore::default();
    let caches: Vec<Coherent<u32, String>> =
        members.iter().map(|member| Coherent::new(member, |key| format!("row {key}"))).collect();
    for (round, text) in ["new", "paid", "shipped"].into_iter().enumerate() {
        let write = |_token| Ok::<_, stackglue_dlmglue::Error>(store.write(7, text));
        caches[round % caches.len()].update(&7, write)?;
        for cache in &caches {
            for _ in 0..1000 / 3 {
                let row =
                    cache.get(&7, |&key| Ok::<_, stackglue_dlmglue::Error>(store.read(key)))?;
                assert_eq!(*row, text, "an old value");
            }
        }
    }
    Ok(store.reads.into_inner())
}
