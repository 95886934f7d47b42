//! A lock file: its machine, the lock beneath it, and who waits for what.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use dlm::{Errno, LVB_LEN_MAX, LockFlags, Mode, ResourceName};
use parking_lot::{Mutex, MutexGuard};
use stackglue::{Connection, Lksb, LockingProtocol, ProtocolVersion};
use tokio::sync::{mpsc, oneshot};

use crate::level::Level;
use crate::machine::{Call, Machine, Refusal, Ticket};

/// Wakes those who poll: takes the kernel's handle of an open file.
pub(crate) type Wakes = mpsc::UnboundedSender<u64>;

/// One file of a domain directory: a resource, of which this node has one lock for all who open it.
pub(crate) struct LockFile {
    name: Box<[u8]>,
    connection: Arc<Connection>,
    /// Set when it is made; finds this file again in a callback.
    lksb: OnceLock<Lksb>,
    wakes: Wakes,
    state: Mutex<State>,
}

struct State {
    machine: Machine,
    ticket_last: Ticket,
    waiting: HashMap<Ticket, Waiting>,
    /// By the number of the open file: the kernel's handle to wake whoever polls it.
    pollers: HashMap<u64, u64>,
    was_readable: bool,
}

struct Waiting {
    /// What is held once the outcome is good; a remover holds nothing.
    level: Option<Level>,
    sender: oneshot::Sender<Result<(), Refusal>>,
}

/// An outcome to be waited for.
pub(crate) struct Pending {
    ticket: Ticket,
    outcome: oneshot::Receiver<Result<(), Refusal>>,
}

impl LockFile {
    pub(crate) fn new(
        name: ResourceName<'_>,
        connection: &Arc<Connection>,
        wakes: &Wakes,
    ) -> Arc<LockFile> {
        let file = Arc::new(LockFile {
            name: name.as_bytes().into(),
            connection: Arc::clone(connection),
            lksb: OnceLock::new(),
            wakes: wakes.clone(),
            state: Mutex::new(State {
                machine: Machine::new(),
                ticket_last: 0,
                waiting: HashMap::new(),
                pollers: HashMap::new(),
                was_readable: false,
            }),
        });
        file.lksb.get_or_init(|| Lksb::new(Arc::downgrade(&file)));
        file
    }

    /// Asks for a level; what is pending is to be waited for.
    pub(crate) fn open(&self, level: Level, noqueue: bool) -> Pending {
        self.begin(Some(level), |machine, ticket| machine.open(ticket, level, noqueue))
    }

    /// Gives up a level that was had by opening.
    pub(crate) fn close(&self, level: Level) {
        let mut state = self.state.lock();
        state.machine.close(level);
        self.run(state);
    }

    /// Drops the lock for good.
    pub(crate) fn destroy(&self) -> Pending {
        self.begin(None, Machine::destroy)
    }

    /// Waits for the outcome, until `interrupted` resolves: then `None`, unless it has come already.
    pub(crate) async fn wait(
        &self,
        mut pending: Pending,
        interrupted: impl Future<Output = ()>,
    ) -> Option<Result<(), Refusal>> {
        tokio::select! {
            biased;
            outcome = &mut pending.outcome => Some(outcome.unwrap_or(Err(Refusal::Lost))),
            () = interrupted => self.withdraw(pending),
        }
    }

    /// The value block; nothing when it is not valid.
    pub(crate) fn read(&self) -> Result<Option<[u8; LVB_LEN_MAX]>, Refusal> {
        let state = self.state.lock();
        if state.machine.is_lost() {
            return Err(Refusal::Lost);
        }
        let lksb = self.lksb();
        Ok(lksb.lvb_valid().then(|| lksb.lvb()))
    }

    /// Puts bytes at the start of the value block; what is behind them stays. They reach the lock
    /// manager when the level goes down from EX.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let state = self.state.lock();
        if state.machine.is_lost() {
            return Err(Refusal::Lost);
        }
        let mut value = self.lksb().lvb();
        let len = bytes.len().min(value.len());
        value[..len].copy_from_slice(&bytes[..len]);
        self.lksb().set_lvb(&value).map_err(Refusal::LockManager)
    }

    /// Whether somebody else waits for it. Whoever polls `handle` is woken when that changes.
    pub(crate) fn poll(&self, handle: u64, kernel_handle: Option<u64>) -> Readiness {
        let mut state = self.state.lock();
        if let Some(kernel_handle) = kernel_handle {
            state.pollers.insert(handle, kernel_handle);
        }
        Readiness { blocked: state.machine.is_blocked(), lost: state.machine.is_lost() }
    }

    /// An open file is no more.
    pub(crate) fn forget_poller(&self, handle: u64) {
        self.state.lock().pollers.remove(&handle);
    }

    /// The lock manager is gone.
    pub(crate) fn lose(&self) {
        let mut state = self.state.lock();
        state.machine.lose();
        self.run(state);
    }

    /// Whether anybody has it open.
    pub(crate) fn is_held(&self) -> bool {
        self.state.lock().machine.is_held()
    }

    fn begin(&self, level: Option<Level>, enter: impl FnOnce(&mut Machine, Ticket)) -> Pending {
        let (sender, outcome) = oneshot::channel();
        let mut state = self.state.lock();
        state.ticket_last += 1;
        let ticket = state.ticket_last;
        state.waiting.insert(ticket, Waiting { level, sender });
        enter(&mut state.machine, ticket);
        self.run(state);
        Pending { ticket, outcome }
    }

    fn withdraw(&self, mut pending: Pending) -> Option<Result<(), Refusal>> {
        let mut state = self.state.lock();
        if state.waiting.remove(&pending.ticket).is_none() {
            return pending.outcome.try_recv().ok();
        }
        state.machine.withdraw(pending.ticket);
        self.run(state);
        None
    }

    /// Takes the steps that are due. Nothing is called with the mutex held: a callback may come before
    /// the call returns, on the same thread.
    fn run<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        loop {
            let call = state.machine.step();
            let somebody_left = state.tell_outcomes();
            self.wake_pollers(&mut state);
            let Some(call) = call else {
                if somebody_left {
                    continue;
                }
                return;
            };
            drop(state);
            let result = self.make(call);
            state = self.state.lock();
            state.machine.returned(call, result);
        }
    }

    fn make(&self, call: Call) -> Result<(), Errno> {
        let name = ResourceName::new(&self.name).map_err(|_| Errno::EINVAL)?;
        let lksb = self.lksb();
        let lock = |level: Level, flags| {
            self.connection.lock(level.mode(), lksb, flags | LockFlags::VALBLK, name)
        };
        match call {
            Call::Lock { level, convert, noqueue } => {
                let mut flags = LockFlags::empty();
                flags.set(LockFlags::CONVERT, convert);
                flags.set(LockFlags::NOQUEUE, noqueue);
                lock(level, flags)
            }
            Call::Down { to } => lock(to, LockFlags::CONVERT),
            Call::Cancel => self.connection.unlock(lksb, LockFlags::CANCEL),
            Call::Unlock => self.connection.unlock(lksb, LockFlags::VALBLK),
        }
    }

    fn wake_pollers(&self, state: &mut State) {
        let readable = state.machine.is_blocked() || state.machine.is_lost();
        if readable && !state.was_readable {
            for &kernel_handle in state.pollers.values() {
                // Without the file system nobody polls.
                let _ = self.wakes.send(kernel_handle);
            }
        }
        state.was_readable = readable;
    }

    fn lksb(&self) -> &Lksb {
        self.lksb.get().expect("set when the file was made")
    }
}

impl State {
    /// `true` when somebody who was let in is not there any more: what that one held is free again.
    fn tell_outcomes(&mut self) -> bool {
        let mut gone = false;
        for (ticket, outcome) in self.machine.take_settled() {
            let Some(Waiting { level, sender }) = self.waiting.remove(&ticket) else { continue };
            if sender.send(outcome).is_err()
                && let (Some(level), Ok(())) = (level, outcome)
            {
                self.machine.close(level);
                gone = true;
            }
        }
        gone
    }
}

impl fmt::Debug for LockFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFile")
            .field("name", &String::from_utf8_lossy(&self.name))
            .field("machine", &self.state.lock().machine)
            .finish_non_exhaustive()
    }
}

/// What polling a file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) blocked: bool,
    pub(crate) lost: bool,
}

/// The callbacks of every lock file.
pub(crate) struct Callbacks;

impl LockingProtocol for Callbacks {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, lksb: &Lksb) {
        with_machine(lksb, |machine| match lksb.status() {
            Ok(()) => machine.granted(),
            Err(errno) => machine.failed(errno),
        });
    }

    fn blocking_ast(&self, lksb: &Lksb, level: Mode) {
        with_machine(lksb, |machine| machine.blocked(Level::of(level)));
    }

    fn unlock_ast(&self, lksb: &Lksb, result: Result<(), Errno>) {
        with_machine(lksb, |machine| machine.unlocked(result));
    }
}

fn with_machine(lksb: &Lksb, event: impl FnOnce(&mut Machine)) {
    // A file that is gone has no lock, and so no callback that matters.
    let Some(file) = lksb.state::<Weak<LockFile>>().and_then(Weak::upgrade) else { return };
    let mut state = file.state.lock();
    event(&mut state.machine);
    file.run(state);
}

/// The locking protocol of `ocfs2_dlmfs` (`fs/ocfs2/dlmfs/userdlm.c: user_dlm_lproto`).
pub(crate) const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };
