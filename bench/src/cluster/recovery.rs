//! Row P18: what it takes to give the locks of others a new master.

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::RwLock;

use o2cb::NodeId;
use o2cb::o2dlm::message::{Cookie, LockMode, LvbFlags, MigFlags, MigLock, MigLockres, Queue};

use super::engines::{Engines, lock_names};
use crate::method::{Comparison, time_each};
use crate::row::Row;

/// P18: a node that masters `locks` names dies; another one collects the locks that a third one has on
/// them and becomes their master. Engines, driven directly, against a copy of the records and an
/// insertion of each into a bare table.
pub(crate) fn row(locks: usize, placement: &str) -> Result<Row, Box<dyn Error>> {
    let mut cluster = Recovering::new(locks)?;
    let records = Records::of(locks);
    let mut failed = None;
    let found = Comparison::run(
        |_| {
            let mut table = None;
            let time = time_each(locks, || table = Some(records.load()));
            black_box(table);
            time
        },
        |_| match cluster.recover() {
            Ok(time) => time,
            Err(error) => {
                failed.get_or_insert(error);
                f64::NAN
            }
        },
    );
    if let Some(error) = failed {
        return Err(error);
    }
    let case = format!("{locks} locks, each");
    Ok(Row::of_times("P18", case, &found, RATIO_MAX, format!("{placement}; engines")))
}

/// Three members: one holds the locks, and the other two take turns to master and to die.
struct Recovering {
    engines: Engines,
    locks: usize,
    master: usize,
    spare: usize,
}

const HOLDER: usize = 2;

impl Recovering {
    fn new(locks: usize) -> Result<Recovering, Box<dyn Error>> {
        let mut engines = Engines::joined(3)?;
        for name in lock_names(locks) {
            engines.lock_and_wait(0, name, LockMode::NL)?;
            engines.lock_and_wait(HOLDER, name, LockMode::EX)?;
        }
        engines.rest()?;
        Ok(Recovering { engines, locks, master: 0, spare: 1 })
    }

    /// Kills the master and recovers for it: nanoseconds for each lock. Then it comes back.
    fn recover(&mut self) -> Result<f64, Box<dyn Error>> {
        let (engines, dead, spare) = (&mut self.engines, self.master, self.spare);
        let before = engines.node(spare).counters().recovered;
        let time = time_each(self.locks, || {
            // Who hears of it first drives.
            engines.kill(dead, &[spare, HOLDER]);
            let recovering = |engines: &Engines| {
                [spare, HOLDER].iter().any(|&node| engines.node(node).is_recovering())
            };
            while recovering(engines) && engines.step() {}
        });
        let recovered = engines.node(spare).counters().recovered - before;
        if recovered != self.locks as u64 {
            return Err(format!("{recovered} of {} names have a new master", self.locks).into());
        }
        // Users heard of the death.
        while engines.rest().is_err() {}
        engines.revive(dead)?;
        (self.master, self.spare) = (spare, dead);
        Ok(time)
    }
}

/// The messages that carry the locks, one behind the other.
struct Records {
    bytes: Vec<u8>,
    len: usize,
}

impl Records {
    fn of(locks: usize) -> Records {
        let mut bytes = Vec::new();
        let node = NodeId::new(3).expect("a node number");
        for (sequence, name) in lock_names(locks).into_iter().enumerate() {
            let lock = MigLock {
                cookie: Cookie::new(node, sequence as u64),
                queue: Queue::Granted,
                lvb_flags: LvbFlags::empty(),
                mode: Some(LockMode::EX),
                convert: None,
                highest_blocked: None,
                node,
            };
            let record = MigLockres {
                owner: NodeId::new(1),
                flags: MigFlags::RECOVERY,
                total: 1,
                cookie: 0,
                name,
                lvb: [0; 64],
                locks: vec![lock],
            };
            record.encode(&mut bytes);
        }
        Records { len: bytes.len() / locks, bytes }
    }

    /// Copies them, and inserts each under its name.
    fn load(&self) -> HashMap<Box<[u8]>, RwLock<u64>> {
        let mut copy = Vec::with_capacity(self.bytes.len());
        for record in self.bytes.chunks_exact(self.len) {
            copy.extend_from_slice(record);
        }
        let mut table = HashMap::new();
        for record in black_box(&copy).chunks_exact(self.len) {
            table.insert(record[NAME..NAME + NAME_LEN].into(), RwLock::new(0));
        }
        table
    }
}

/// Where a record has its name.
const NAME: usize = 16;

const NAME_LEN: usize = crate::names::NAME_LEN;

const RATIO_MAX: f64 = 3.0;

#[cfg(test)]
mod tests {
    use o2cb::o2dlm::message::MessageType;

    use super::*;

    #[test]
    fn every_record_is_in_the_table_under_its_name() {
        let records = Records::of(100);
        let table = records.load();
        assert_eq!(table.len(), 100);
        assert!(lock_names(100).iter().all(|name| table.contains_key(name.as_bytes())));
        assert!(records.len <= MessageType::MigLockres.payload_max());
    }

    #[test]
    fn the_survivor_without_locks_masters_them_all_again_and_again() {
        let mut cluster = Recovering::new(50).expect("locked");
        for _ in 0..4 {
            assert!(cluster.recover().expect("recovered") > 0.0);
        }
    }
}
