//! A storage server that refuses a writer who comes too late, by its fencing token.
//!
//! A host that stops (a pause of the virtual machine, a page that comes from a slow disk) may be
//! declared dead, and its lock given to another one, before it goes on to write what it was about
//! to write. No lock can keep it from trying. The store can: it keeps the highest token that it has
//! seen for each name, and refuses lower ones.
//!
//! `cargo run -p stackglue-dlmglue --example storage [solo|o2cb]`

mod support;

use std::collections::HashMap;
use std::error::Error;

use stackglue_dlmglue::Cluster;

/// A file, and the highest token that wrote it.
#[derive(Default)]
struct Storage {
    files: HashMap<String, (u64, String)>,
}

/// Somebody with a higher token has written.
#[derive(Debug, PartialEq)]
pub(crate) struct Late {
    token: u64,
    seen: u64,
}

impl Storage {
    fn write(&mut self, file: &str, token: u64, text: &str) -> Result<(), Late> {
        let (seen, content) = self.files.entry(file.to_owned()).or_default();
        if token < *seen {
            return Err(Late { token, seen: *seen });
        }
        (*seen, *content) = (token, text.to_owned());
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let late = show(&support::members()?)?;
    println!("refused: token {} after {}", late.token, late.seen);
    Ok(())
}

/// A writer stalls with its lock, another one gets it and writes, the first one goes on: refused.
pub(crate) fn show(members: &[Cluster]) -> Result<Late, Box<dyn Error>> {
    let mut storage = Storage::default();
    let stalled = members[0].lock("ledger")?;
    let guard = stalled.lock()?;
    let (token, text) = (guard.token(), "written by a ghost");
    storage.write("ledger", token, "before the stall").map_err(|late| format!("{late:?}"))?;
    // Here the host stops. What its death does, the end of the guard does for this example.
    drop(guard);
    let heir = members[1].lock("ledger")?;
    let guard = heir.lock()?;
    storage.write("ledger", guard.token(), "by the heir").map_err(|late| format!("{late:?}"))?;
    // Here the host goes on, and knows of nothing.
    let refused = storage.write("ledger", token, text);
    assert_eq!(storage.files["ledger"].1, "by the heir");
    refused.err().ok_or_else(|| "a late writer was not refused".into())
}
