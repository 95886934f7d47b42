//! Rows P7 and P8: one call to the master on another node, and its outcome.

use std::error::Error;
use std::sync::Arc;

use dlm::{LockFlags, Mode, ResourceName};
use stackglue::{Connection, Lksb};

use super::caller::{Caller, Telling};
use super::frames::Frames;
use super::nodes::Nodes;
use super::raw::Exchange;
use crate::method::Comparison;
use crate::names::{Name, names, order, part};
use crate::row::Row;
use crate::times::{percentiles, time_block};

/// P7: a new lock on a name that another node masters. P8: its unlock and its down-convert, until the
/// outcome is told, and the unlock until the call returns.
pub(crate) fn rows(
    nodes: &Nodes,
    placement: &str,
    operations: usize,
    print: &mut dyn FnMut(Row),
) -> Result<(), Box<dyn Error>> {
    let remote = Remote::connect(nodes)?;
    let frames = Frames::new();
    let lksb = Lksb::new(());
    let compare = Compare { remote: &remote, placement, operations };
    let Frames { create, ast, status, convert, unlock } = frames;
    print(compare.row(
        ("P7", format!("frames {create}+{status}+{ast}+{status}"), CALL_MAX),
        Exchange::of_four(create, frames)?,
        |_| (),
        |name| remote.lock(&lksb, name),
        |_| remote.unlock(&lksb),
    ));
    print(compare.row(
        ("P8", format!("unlock, frames {unlock}+{status}"), OUTCOME_MAX),
        Exchange::of_two(unlock, status)?,
        |name| remote.lock(&lksb, name),
        |_| remote.unlock(&lksb),
        |_| (),
    ));
    print(compare.row(
        ("P8", format!("down, {convert}+{status}+{ast}+{status}"), OUTCOME_MAX),
        Exchange::of_four(convert, frames)?,
        |name| remote.lock(&lksb, name),
        |name| remote.down(&lksb, name),
        |_| remote.unlock(&lksb),
    ));
    print(compare.row(
        ("P8", "unlock, call returns".to_owned(), RETURN_MAX),
        Exchange::of_two(unlock, status)?,
        |name| remote.lock(&lksb, name),
        |_| remote.begin_unlock(&lksb),
        |_| remote.caller.wait(),
    ));
    Ok(())
}

struct Compare<'a> {
    remote: &'a Remote,
    placement: &'a str,
    operations: usize,
}

impl Compare<'_> {
    /// Compares an exchange with `timed`, which stands between two parts that nobody times.
    fn row(
        &self,
        (row, case, target): (&'static str, String, f64),
        exchange: Exchange,
        before: impl Fn(&Name),
        timed: impl Fn(&Name),
        after: impl Fn(&Name),
    ) -> Row {
        let order = order(50 * self.operations, NAMES);
        let (mut raw_times, mut times) = (Vec::new(), Vec::new());
        let found = Comparison::run(
            |_| time_block(&mut raw_times, self.operations, |_| (), |_| exchange.run(), |_| ()),
            |block| {
                let places = part(&order, block, self.operations);
                let name = |number: usize| &self.remote.names[places[number] as usize];
                time_block(
                    &mut times,
                    self.operations,
                    |number| before(name(number)),
                    |number| timed(name(number)),
                    |number| after(name(number)),
                )
            },
        );
        let mut row = Row::of_times(row, case, &found, target, self.placement);
        row.percentiles = Some(percentiles(times));
        row.reference_percentiles = Some(percentiles(raw_times));
        row
    }
}

/// A node's connection to a group where another one masters every name.
struct Remote {
    caller: Arc<Caller>,
    connection: Connection,
    names: Vec<Name>,
    /// Null locks, so that no name is forgotten on either node.
    _held: Vec<Lksb>,
    _master: Connection,
}

impl Remote {
    fn connect(nodes: &Nodes) -> Result<Remote, Box<dyn Error>> {
        let caller = Caller::new();
        let master = nodes.connect(0, "call", Arc::new(Telling(Arc::clone(&caller))))?;
        let connection = nodes.connect(1, "call", Arc::new(Telling(Arc::clone(&caller))))?;
        let names = names(NAMES);
        let mut held = Vec::new();
        for connection in [&master, &connection] {
            for name in &names {
                let lksb = Lksb::new(());
                lock_and_wait(&caller, connection, Mode::NL, &lksb, LockFlags::empty(), name);
                held.push(lksb);
            }
        }
        Ok(Remote { caller, connection, names, _held: held, _master: master })
    }

    fn lock(&self, lksb: &Lksb, name: &Name) {
        let flags = LockFlags::empty();
        lock_and_wait(&self.caller, &self.connection, Mode::EX, lksb, flags, name);
    }

    fn down(&self, lksb: &Lksb, name: &Name) {
        let flags = LockFlags::CONVERT;
        lock_and_wait(&self.caller, &self.connection, Mode::NL, lksb, flags, name);
    }

    fn begin_unlock(&self, lksb: &Lksb) {
        self.caller.expect(1);
        self.connection.unlock(lksb, LockFlags::empty()).expect("the lock is held");
    }

    fn unlock(&self, lksb: &Lksb) {
        self.begin_unlock(lksb);
        self.caller.wait();
    }
}

fn lock_and_wait(
    caller: &Caller,
    connection: &Connection,
    mode: Mode,
    lksb: &Lksb,
    flags: LockFlags,
    name: &Name,
) {
    let name = ResourceName::new(name).expect("every name has 32 bytes");
    caller.expect(1);
    connection.lock(mode, lksb, flags, name).expect("the request is a proper one");
    caller.wait();
}

const NAMES: usize = 100;

const CALL_MAX: f64 = 1.35;

const OUTCOME_MAX: f64 = 1.25;

/// Nobody waits for the answer but who wants to know.
const RETURN_MAX: f64 = 0.15;
