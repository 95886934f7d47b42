//! Rows P7 and P8: one call to the master on another node, and its outcome.

use std::error::Error;
use std::sync::Arc;

use dlm::{LockFlags, Mode, ResourceName};
use stackglue::{Connection, Lksb};

use super::caller::{Caller, Telling};
use super::frames::Frames;
use super::nodes::Nodes;
use super::raw::{Answer, Exchange};
use crate::method::Comparison;
use crate::names::{Name, names, order, part};
use crate::row::Row;
use crate::times::{Clock, percentiles, time_block};

/// P7: a new lock on a name that another node masters. P8: its unlock and its down-convert, until the
/// outcome is told, and the unlock until the call returns.
///
/// The reference has the same frames for the calls before and after the one that is timed: what these
/// leave to be sent or received is not shifted into it.
pub(crate) fn rows(
    nodes: &Nodes,
    placement: &str,
    operations: usize,
    print: &mut dyn FnMut(Row),
) -> Result<(), Box<dyn Error>> {
    let remote = Remote::connect(nodes)?;
    let frames = Frames::new();
    let lksb = Lksb::new(());
    let compare = Compare { remote: &remote, placement, operations, clock: Clock::Wall };
    let Frames { create, ast, status, convert, unlock } = frames;
    let exchange = Exchange::of(&[(create, Answer::Grant), (unlock, Answer::Status)], frames)?;
    let raw = |number| exchange.run(number);
    print(compare.row(
        ("P7", format!("frames {create}+{status}+{ast}+{status}"), CALL_MAX),
        &Parts { before: &|_| (), timed: &|_| raw(0), after: &|_| raw(1) },
        &Parts {
            before: &|_| (),
            timed: &|name| remote.lock(&lksb, name),
            after: &|_| remote.unlock(&lksb),
        },
    ));
    print(compare.row(
        ("P8", format!("unlock, frames {unlock}+{status}"), OUTCOME_MAX),
        &Parts { before: &|_| raw(0), timed: &|_| raw(1), after: &|_| () },
        &Parts {
            before: &|name| remote.lock(&lksb, name),
            timed: &|_| remote.unlock(&lksb),
            after: &|_| (),
        },
    ));
    let returns = Parts {
        before: &|name| remote.lock(&lksb, name),
        timed: &|_| remote.begin_unlock(&lksb),
        after: &|_| remote.caller.wait(),
    };
    print(compare.row(
        ("P8", "unlock, call returns".to_owned(), RETURN_MAX),
        &Parts { before: &|_| raw(0), timed: &|_| raw(1), after: &|_| () },
        &returns,
    ));
    // The call sends the frame, which wakes the peer: who runs next is up to the scheduler. What the
    // call itself takes is compared with what no such call can do without.
    print(Compare { clock: Clock::Thread, ..compare }.row(
        ("P8", "the same, against a bare send".to_owned(), SEND_MAX),
        &Parts { before: &|_| raw(0), timed: &|_| exchange.begin(1), after: &|_| exchange.wait() },
        &returns,
    ));
    let requests = [(create, Answer::Grant), (convert, Answer::Grant), (unlock, Answer::Status)];
    let exchange = Exchange::of(&requests, frames)?;
    let raw = |number| exchange.run(number);
    print(compare.row(
        ("P8", format!("down, {convert}+{status}+{ast}+{status}"), OUTCOME_MAX),
        &Parts { before: &|_| raw(0), timed: &|_| raw(1), after: &|_| raw(2) },
        &Parts {
            before: &|name| remote.lock(&lksb, name),
            timed: &|name| remote.down(&lksb, name),
            after: &|_| remote.unlock(&lksb),
        },
    ));
    Ok(())
}

#[derive(Clone, Copy)]
struct Compare<'a> {
    remote: &'a Remote,
    placement: &'a str,
    operations: usize,
    clock: Clock,
}

/// An operation, what is timed of it, and what stands around that.
struct Parts<'a> {
    before: &'a dyn Fn(&Name),
    timed: &'a dyn Fn(&Name),
    after: &'a dyn Fn(&Name),
}

impl Compare<'_> {
    fn row(
        &self,
        (row, case, target): (&'static str, String, f64),
        raw: &Parts<'_>,
        subject: &Parts<'_>,
    ) -> Row {
        let order = order(50 * self.operations, NAMES);
        let (mut raw_times, mut times) = (Vec::new(), Vec::new());
        let block = |parts: &Parts<'_>, times: &mut Vec<f64>, block| {
            let places = part(&order, block, self.operations);
            let name = |number: usize| &self.remote.names[places[number] as usize];
            time_block(
                self.clock,
                times,
                self.operations,
                |number| (parts.before)(name(number)),
                |number| (parts.timed)(name(number)),
                |number| (parts.after)(name(number)),
            )
        };
        let found = Comparison::run(
            |number| block(raw, &mut raw_times, number),
            |number| block(subject, &mut times, number),
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

const SEND_MAX: f64 = 1.25;

/// Nobody waits for the answer but who wants to know.
const RETURN_MAX: f64 = 0.15;
