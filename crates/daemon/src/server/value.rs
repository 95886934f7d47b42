//! Values: reading and writing the value block of a resource on behalf of a process that holds no lock.
//!
//! A value lives as long as its resource, and a resource as long as a lock is on it. So writing leaves
//! a lock behind, the keeper: an orphan in `NL`, which excludes nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stackglue::{Errno, LVB_LEN_MAX, Lksb, LockFlags, Mode};

use super::group::Groups;
use super::lock::{LockState, Role, refusal_text};
use super::node::{Node, Refusal};
use super::process::{Process, Shared};
use crate::control::{Bytes, Name, ValueItem};

/// The outcome of a lock call that an operation made.
pub(super) struct ValueEvent {
    pub(super) operation: u64,
    pub(super) outcome: Result<(), Errno>,
}

/// An operation on a value that has not ended.
pub(super) struct ValueOperation {
    number: u64,
    process: Arc<Process>,
    id: u32,
    group: usize,
    name: Name,
    lksb: Lksb,
    step: Step,
    value: Bytes,
    /// The mode that reads a value and keeps out as few as the stack allows.
    reading: Mode,
}

/// What an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A lock in `CR`, which reads the value.
    Reading,
    /// Another operation that writes the same value: two would leave two keepers.
    Queued,
    /// The keeper of an earlier write.
    Adopting,
    /// A keeper of its own.
    Making,
    /// The keeper in `EX`.
    Rising,
    /// The keeper in `NL` again, with the value written.
    Writing,
}

impl Step {
    fn makes_a_lock(self) -> bool {
        matches!(self, Step::Reading | Step::Adopting | Step::Making)
    }
}

/// What an operation does next.
enum Next {
    Call(Step, Mode, LockFlags),
    End(Result<(), Refusal>),
}

impl Node {
    /// Starts to read a value.
    pub(super) fn read_value(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        group: &str,
        name: Name,
    ) -> Result<(), Refusal> {
        self.start_value(process, id, group, name, Step::Reading, Bytes::default())
    }

    /// Starts to write a value.
    pub(super) fn write_value(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        group: &str,
        name: Name,
        value: Bytes,
    ) -> Result<(), Refusal> {
        let len = value.0.len();
        if len > LVB_LEN_MAX {
            let text = format!("the value has {len} bytes: the longest is {LVB_LEN_MAX}");
            return Err((Errno::E2BIG, text));
        }
        self.start_value(process, id, group, name, Step::Queued, value)
    }

    /// Drops the keepers of a value.
    pub(super) fn clear_value(&mut self, group: &str, name: &Name) -> Result<(), Refusal> {
        let is_keeper = |lksb: &Lksb| {
            lksb.state::<LockState>().is_some_and(|state| {
                matches!(state.role, Role::Value(_)) && state.name().as_bytes() == name.as_bytes()
            })
        };
        let purged = match self.groups.find(group.as_bytes()) {
            Some(key) => self.purge(key, &is_keeper)?,
            None => 0,
        };
        if purged > 0 {
            return Ok(());
        }
        Err((Errno::ENOENT, format!("no value of \"{name}\" is kept")))
    }

    /// Goes on with the operations whose lock calls had an outcome.
    pub(super) fn run_values(&mut self) {
        loop {
            let events = std::mem::take(&mut *self.shared.value_events.lock());
            if events.is_empty() {
                return;
            }
            for ValueEvent { operation, outcome } in events {
                if let Some(place) = self.values.iter().position(|op| op.number == operation) {
                    self.go_on_with_value(place, outcome);
                }
            }
        }
    }

    /// Ends the operations of a process that is gone.
    pub(super) fn forget_values_of(&mut self, process: &Arc<Process>) {
        while let Some(place) = self.values.iter().position(|op| Arc::ptr_eq(&op.process, process))
        {
            self.end_value(place, Err((Errno::ECANCEL, "the process is gone".to_owned())));
        }
    }

    fn start_value(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        group: &str,
        name: Name,
        step: Step,
        value: Bytes,
    ) -> Result<(), Refusal> {
        let group = self.groups.join(group.as_bytes())?;
        self.values_last += 1;
        let number = self.values_last;
        let state = LockState::new(
            process,
            Role::Value(number),
            group,
            name.as_resource_name(),
            "keeps the value",
            self.shared.now_ms(),
        );
        let (process, lksb) = (process.clone(), Lksb::new(state));
        let reading = if self.o2cb.is_some() { Mode::PR } else { Mode::CR };
        self.values.push(ValueOperation {
            number,
            process,
            id,
            group,
            name,
            lksb,
            step,
            value,
            reading,
        });
        let place = self.values.len() - 1;
        match step {
            Step::Reading => self.go_on_with_value(place, Ok(())),
            _ => self.start_next_write(place),
        }
        Ok(())
    }

    /// Starts the first queued write of the value that the operation at `place` is about, unless one
    /// is under way.
    fn start_next_write(&mut self, place: usize) {
        let (group, name) = (self.values[place].group, self.values[place].name.clone());
        let same =
            |op: &ValueOperation| op.step != Step::Reading && op.group == group && op.name == name;
        let first = self.values.iter().position(&same);
        let is_under_way = self.values.iter().any(|op| same(op) && op.step != Step::Queued);
        if let (Some(first), false) = (first, is_under_way) {
            self.go_on_with_value(first, Ok(()));
        }
    }

    fn go_on_with_value(&mut self, place: usize, outcome: Result<(), Errno>) {
        if let Some(outcome) = self.values[place].go_on(&self.shared, &self.groups, outcome) {
            self.end_value(place, outcome);
        }
    }

    /// Ends an operation whatever it is doing, and starts one that waited for it.
    fn end_value(&mut self, place: usize, outcome: Result<(), Refusal>) {
        let operation = &self.values[place];
        if operation.lksb.lock_id() != 0 {
            self.abandon(operation.group, &operation.lksb);
        }
        operation.process.end(&self.shared, operation.id, outcome);
        let ended = self.values.remove(place);
        let next = self.values.iter().position(|op| {
            op.step == Step::Queued && op.group == ended.group && op.name == ended.name
        });
        if let Some(next) = next {
            self.start_next_write(next);
        }
    }
}

impl ValueOperation {
    /// Goes on as far as possible without waiting. `Some`: it has ended.
    fn go_on(
        &mut self,
        shared: &Shared,
        groups: &Groups,
        mut outcome: Result<(), Errno>,
    ) -> Option<Result<(), Refusal>> {
        let group = groups.get(self.group)?;
        // A request for a value waits until its group is joined.
        let connection = group.connection()?;
        let state = self.lksb.state::<LockState>()?;
        loop {
            if outcome.is_err() && self.step.makes_a_lock() {
                group.tally.lock_ended();
            }
            let refusal = |errno| {
                let (connection, lksb) = (Some(&**connection), &self.lksb);
                let text = refusal_text(shared, connection, &group.name, state, lksb, errno);
                Err((errno, text))
            };
            match self.next(shared, outcome, refusal) {
                Next::End(outcome) => return Some(outcome),
                Next::Call(step, mode, flags) => {
                    if step.makes_a_lock() {
                        group.tally.locks.fetch_add(1, Ordering::Relaxed);
                    }
                    self.step = step;
                    state.begin(mode, flags, shared.now_ms());
                    let name = self.name.as_resource_name();
                    match connection.lock(mode, &self.lksb, flags, name) {
                        Ok(()) => return None,
                        Err(errno) => outcome = Err(errno),
                    }
                }
            }
        }
    }

    fn next(
        &self,
        shared: &Shared,
        outcome: Result<(), Errno>,
        refusal: impl FnOnce(Errno) -> Result<(), Refusal>,
    ) -> Next {
        let convert = LockFlags::CONVERT;
        let keep = LockFlags::PERSISTENT;
        match (self.step, outcome) {
            (Step::Queued, _) => Next::Call(Step::Adopting, Mode::NL, LockFlags::ORPHAN | keep),
            // While it waits to be written again, the keeper stays a keeper whatever happens to the
            // process.
            (Step::Adopting, Ok(())) => Next::Call(Step::Rising, Mode::EX, convert | keep),
            (Step::Adopting, Err(Errno::ENOENT | Errno::EAGAIN)) => {
                Next::Call(Step::Making, Mode::NL, LockFlags::EXPEDITE)
            }
            (Step::Making, Ok(())) => Next::Call(Step::Rising, Mode::EX, convert),
            (Step::Rising, Ok(())) => match self.lksb.set_lvb(&self.value.0) {
                Ok(()) => Next::Call(Step::Writing, Mode::NL, convert | LockFlags::VALBLK | keep),
                Err(errno) => Next::End(refusal(errno)),
            },
            (Step::Writing, Ok(())) => Next::End(Ok(())),
            (Step::Reading, Ok(())) if self.lksb.mode().is_none() => {
                Next::Call(Step::Reading, self.reading, LockFlags::NOQUEUE | LockFlags::VALBLK)
            }
            (Step::Reading, Ok(())) => {
                let value = Bytes(self.lksb.lvb().to_vec());
                let item = ValueItem { value, valid: self.lksb.lvb_valid() };
                self.process.item(shared, self.id, &item);
                Next::End(Ok(()))
            }
            (_, Err(errno)) => Next::End(refusal(errno)),
        }
    }
}
