//! What the daemon does for its processes: locks, values, revocations, listings. Frames in, frames out;
//! the sockets are the server's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::o2cb::O2cbNode;
use stackglue::{
    Abandoned, Errno, Glue, LVB_LEN_MAX, Lksb, LockFlags, Mode, NameError, ResourceName,
};

use super::barrier::Barrier;
use super::group::{GroupEvent, Groups, Settled};
use super::heartbeat::References;
use super::listing::Listing;
use super::lock::{LockState, Role, refusal_text, unlock_text};
use super::membership::Leaving;
use super::o2cb;
use super::parked::Parked;
use super::process::{Ending, Process, Shared, printable};
use super::revoke::Revocation;
use super::value::ValueOperation;
use crate::config::Config;
use crate::error::DaemonError;
use crate::instance::EarlierHolders;
use crate::protocol::{ErrorCode, FromClient, FromDaemon, GROUP_LEN_MAX, LockFrame, VERSION};

/// Why something was refused: an errno, and a sentence.
pub(super) type Refusal = (Errno, String);

/// The node and everything that its processes have in it.
pub(super) struct Node {
    pub(super) glue: Glue,
    pub(super) groups: Groups,
    pub(super) shared: Arc<Shared>,
    pub(super) socket: String,
    pub(super) epoch: u32,
    pub(super) number: u32,
    pub(super) clients: usize,
    /// While it is there nothing was granted yet: every lock of a process is a request that waits behind
    /// it, which the stack knows nothing of.
    pub(super) barrier: Option<Barrier>,
    pub(super) values: Vec<ValueOperation>,
    pub(super) values_last: u64,
    pub(super) revocations: Vec<Revocation>,
    pub(super) listings: Vec<Listing>,
    /// Processes that wait until a group is left.
    pub(super) leaving: Vec<Leaving>,
    /// The node behind the stack `o2cb`.
    pub(super) o2cb: Option<O2cbNode>,
    /// Who needs which of its heartbeat regions.
    pub(super) references: Arc<References>,
}

impl Node {
    /// A node on the glue's stack, which is tried once.
    pub(super) fn new(
        glue: Glue,
        config: &Config,
        epoch: u32,
        shared: Arc<Shared>,
        earlier: Option<EarlierHolders>,
        o2cb: Option<O2cbNode>,
    ) -> Result<Node, DaemonError> {
        let own = o2cb.as_ref().map(|node| u32::from(node.me().get()));
        let (cluster, is_slow) = (config.cluster.clone(), o2cb.is_some());
        let groups =
            Groups::new(glue.clone(), cluster, shared.clone(), is_slow, own.unwrap_or_default());
        // A node that runs needs no trial.
        let number = match own {
            Some(number) => number,
            None => {
                groups.probe().map_err(|error| DaemonError::from_stack(&config.stack, error))?
            }
        };
        let regions = o2cb.as_ref().map(O2cbNode::region_names).unwrap_or_default();
        let references = Arc::new(References::of_configured(regions));
        Ok(Node {
            glue,
            groups,
            shared,
            socket: config.socket.display().to_string(),
            epoch,
            number,
            clients: 0,
            barrier: earlier.map(Barrier::new),
            values: Vec::new(),
            values_last: 0,
            revocations: Vec::new(),
            listings: Vec::new(),
            leaving: Vec::new(),
            o2cb,
            references,
        })
    }

    /// Serves one frame of a process. `Err`: the process is to be disconnected.
    #[inline]
    pub(super) fn serve(&mut self, process: &Arc<Process>, frame: &[u8]) -> Result<(), Ending> {
        let frame = FromClient::decode(frame).map_err(|error| {
            self.shared.counters.bad_frame(error.counter());
            Ending::malformed(&error)
        })?;
        let has_said_hello = process.command.get().is_some();
        match frame {
            FromClient::Lock(lock) if has_said_hello => self.lock(process, &lock),
            FromClient::Unlock { handle, flags, lvb } if has_said_hello => {
                self.unlock(process, handle, flags, lvb);
                Ok(())
            }
            FromClient::Request { id, json } if has_said_hello => {
                self.begin_call(process)?;
                self.request(process, id, json);
                Ok(())
            }
            FromClient::Hello { command } if !has_said_hello => {
                self.welcome(process, command);
                Ok(())
            }
            _ => {
                self.shared.counters.bad_frame("order");
                let text = "Hello is the first frame, and only the first";
                Err(Ending::new(ErrorCode::Protocol, text))
            }
        }
    }

    /// A process is gone: so are its locks, except for those that are persistent.
    pub(super) fn process_gone(&mut self, process: &Arc<Process>) {
        if process.command.get().is_some() {
            self.clients -= 1;
        }
        let locks = process.go();
        for group in self.groups.iter_mut() {
            if let Some(parked) = group.parked() {
                parked.forget(process);
            }
        }
        if self.barrier.is_some() {
            self.forget_parked_of(process, locks.into_values());
        } else {
            for lksb in locks.into_values() {
                if let Some(state) = lksb.state::<LockState>() {
                    self.abandon(state.group, &lksb);
                }
            }
        }
        self.forget_memberships_of(process);
        self.forget_values_of(process);
        self.forget_revocations_of(process);
        self.listings.retain(|listing| !listing.is_for(process));
    }

    /// Goes on with whatever does not depend on a frame.
    #[inline]
    pub(super) fn go_on(&mut self) {
        if self.barrier.is_some() {
            self.watch_barrier();
        }
        self.settle_groups();
        self.run_values();
        if !self.revocations.is_empty() {
            self.watch_revocations();
        }
        if !self.listings.is_empty() {
            let shared = &self.shared;
            self.listings.retain_mut(|listing| !listing.go_on(shared));
        }
        if self.groups.sweep_at_ms().is_some_and(|at_ms| at_ms <= self.shared.now_ms()) {
            self.groups.sweep();
        }
    }

    /// When [`go_on`](Self::go_on) wants to be called though nothing happens; now, if it must not wait.
    pub(super) fn wants_to_go_on_at_ms(&self) -> Option<u64> {
        if self.listings.iter().any(Listing::can_go_on) {
            return Some(0);
        }
        let deadlines = self.revocations.iter().map(Revocation::deadline_ms);
        let barrier = self.barrier.as_ref().map(Barrier::poll_at_ms);
        deadlines.chain(self.groups.sweep_at_ms()).chain(barrier).min()
    }

    /// Whether nobody would miss this daemon.
    pub(super) fn is_idle(&self) -> bool {
        self.clients == 0 && self.groups.locks() == 0 && self.groups.orphans() == 0
    }

    /// Drops or orphans a lock without its process's doing.
    pub(super) fn abandon(&self, group: usize, lksb: &Lksb) -> Option<Abandoned> {
        let group = self.groups.get(group)?;
        let counters = &self.shared.counters;
        match lksb.state::<LockState>() {
            Some(state) if matches!(state.role, Role::Client(_)) => state.end(&group.tally),
            _ => group.tally.lock_ended(),
        }
        let Some(connection) = group.connection() else {
            counters.abandoned.count();
            return Some(Abandoned::Dropped);
        };
        match connection.abandon(lksb) {
            Ok(Abandoned::Orphaned) => {
                group.tally.orphans.fetch_add(1, Ordering::Relaxed);
                counters.orphaned.count();
                Some(Abandoned::Orphaned)
            }
            Ok(Abandoned::Dropped) => {
                counters.abandoned.count();
                Some(Abandoned::Dropped)
            }
            // It ended just before.
            Err(Errno::ENOENT) => None,
            Err(errno) => {
                tracing::error!(%errno, ?lksb, "a lock cannot be abandoned");
                None
            }
        }
    }

    /// Drops orphans of a group; returns how many.
    pub(super) fn purge(
        &self,
        group: usize,
        condemned: &dyn Fn(&Lksb) -> bool,
    ) -> Result<usize, Refusal> {
        let Some(group) = self.groups.get(group) else { return Ok(0) };
        let Some(connection) = group.connection() else { return Ok(0) };
        let purged = connection.purge(condemned).map_err(|errno| {
            (errno, format!("the orphans of group {} cannot be dropped: {errno}", group.name))
        })?;
        group.tally.orphans.fetch_sub(purged, Ordering::Relaxed);
        Ok(purged)
    }

    fn welcome(&mut self, process: &Arc<Process>, command: &str) {
        // Nothing was set: this is the first Hello.
        let _ = process.command.set(printable(command));
        self.clients += 1;
        self.shared.counters.clients.count();
        let mut stack = [b' '; 4];
        for (to, from) in stack.iter_mut().zip(self.glue.cluster_stack().bytes()) {
            *to = from;
        }
        let (node, epoch) = (self.number, self.epoch);
        process.send(&self.shared, &FromDaemon::Welcome { version: VERSION, node, stack, epoch });
    }

    fn lock(&mut self, process: &Arc<Process>, frame: &LockFrame<'_>) -> Result<(), Ending> {
        let handle = frame.handle;
        if frame.flags.contains(LockFlags::CONVERT) {
            return self.convert(process, frame);
        }
        {
            let state = process.state();
            if state.locks.contains_key(&handle) {
                drop(state);
                self.shared.counters.bad_frame("handle");
                let text = format!("the lock handle {handle} is in use: choose another one");
                return Err(Ending::new(ErrorCode::Protocol, text));
            }
            let locks_max = self.shared.limits.locks_per_client_max;
            if state.locks.len() >= locks_max {
                return Err(Ending::limit("locks", locks_max));
            }
        }
        let checked = check(frame).and_then(|name| {
            if self.o2cb.is_some() {
                o2cb::check(name, frame.mode, frame.flags)?;
            }
            Ok((name, self.groups.join(frame.group)?))
        });
        let (name, group_key) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                self.refuse(process, handle, refusal);
                return Ok(());
            }
        };
        let now_ms = self.shared.now_ms();
        if let Some(barrier) = &mut self.barrier
            && frame.flags.contains(LockFlags::NOQUEUE)
        {
            let refusal = barrier.refusal(now_ms);
            self.refuse(process, handle, refusal);
            return Ok(());
        }
        self.begin_call(process)?;
        let Some(group) = self.groups.get(group_key) else { return Ok(()) };
        let role = Role::Client(handle);
        let state = LockState::new(process, role, group_key, name, frame.purpose, now_ms);
        state.begin(frame.mode, frame.flags, now_ms);
        let lksb = Lksb::new(state);
        if !frame.lvb.is_empty() {
            lksb.set_lvb(frame.lvb).expect("its length was checked");
        }
        process.state().locks.insert(handle, lksb.clone());
        group.tally.locks.fetch_add(1, Ordering::Relaxed);
        match &mut self.barrier {
            None => self.submit(group_key, process, &lksb, frame.mode, frame.flags, name),
            Some(barrier) => barrier.parked.park(lksb),
        }
        Ok(())
    }

    /// Makes the lock call for a new lock that is in the books of its process and its group, or puts it
    /// where it waits until the group is joined.
    #[inline]
    pub(super) fn submit(
        &mut self,
        group: usize,
        process: &Arc<Process>,
        lksb: &Lksb,
        mode: Mode,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if let Some(parked) = group.parked() {
            parked.park(lksb.clone());
        } else if let Some(connection) = group.connection()
            && let Err(errno) = connection.lock(mode, lksb, flags, name)
        {
            self.fail_call(process, lksb, errno, true);
        }
    }

    /// Goes on with requests that have waited.
    pub(super) fn resume(&mut self, parked: Vec<Parked>) {
        for parked in parked {
            match parked {
                Parked::Lock(lksb) => {
                    let Some(state) = lksb.state::<LockState>() else { continue };
                    let (mode, flags) = (state.wanted(), state.flags());
                    self.submit(state.group, &state.process, &lksb, mode, flags, state.name());
                }
                Parked::Request { process, id, request } => self.answer(&process, id, request),
            }
        }
    }

    /// Takes note of groups that were joined or left meanwhile.
    fn settle_groups(&mut self) {
        for event in self.shared.take_group_events() {
            if let GroupEvent::Left { key } = event {
                self.end_leaving(key);
            }
            let Some(Settled { parked, refusal, forget }) = self.groups.settle(event) else {
                continue;
            };
            match refusal {
                None => self.resume(parked),
                Some((errno, text)) => self.refuse_parked(parked, errno, &text),
            }
            if let Some(key) = forget {
                self.groups.forget(key);
            }
        }
    }

    fn refuse_parked(&self, parked: Vec<Parked>, errno: Errno, text: &str) {
        for parked in parked {
            match parked {
                Parked::Lock(lksb) => {
                    let Some(state) = lksb.state::<LockState>() else { continue };
                    self.fail_with(&state.process, &lksb, errno, text, true);
                }
                Parked::Request { process, id, .. } => {
                    process.end(&self.shared, id, Err((errno, text.to_owned())));
                }
            }
        }
    }

    fn convert(&mut self, process: &Arc<Process>, frame: &LockFrame<'_>) -> Result<(), Ending> {
        let Some(lksb) = process.state().locks.get(&frame.handle).cloned() else {
            let refusal = (Errno::ENOENT, no_lock_text(frame.handle));
            self.refuse(process, frame.handle, refusal);
            return Ok(());
        };
        let checked = check_conversion(frame).and_then(|()| match (&self.o2cb, &lksb) {
            (Some(_), lksb) => lksb
                .state::<LockState>()
                .map_or(Ok(()), |state| o2cb::check(state.name(), frame.mode, frame.flags)),
            (None, _) => Ok(()),
        });
        if let Err(refusal) = checked {
            self.refuse(process, frame.handle, refusal);
            return Ok(());
        }
        let Some((state, group)) = lksb
            .state::<LockState>()
            .and_then(|state| Some((state, self.groups.get(state.group)?)))
        else {
            return Ok(());
        };
        if state.waits() {
            let text = refusal_text(
                &self.shared,
                group.connection().map(|connection| &**connection),
                &group.name,
                state,
                &lksb,
                Errno::EBUSY,
            );
            self.refuse(process, frame.handle, (Errno::EBUSY, text));
            return Ok(());
        }
        self.begin_call(process)?;
        if !frame.lvb.is_empty() {
            lksb.set_lvb(frame.lvb).expect("its length was checked");
        }
        state.begin(frame.mode, frame.flags, self.shared.now_ms());
        // A lock that does not wait is one of a member.
        let Some(connection) = group.connection() else { return Ok(()) };
        if let Err(errno) = connection.lock(frame.mode, &lksb, frame.flags, state.name()) {
            self.fail_call(process, &lksb, errno, false);
        }
        Ok(())
    }

    fn unlock(&mut self, process: &Arc<Process>, handle: u32, flags: LockFlags, lvb: &[u8]) {
        let lksb = process.state().locks.get(&handle).cloned();
        let state = lksb.as_ref().and_then(|lksb| lksb.state::<LockState>());
        // What it would take back was granted or refused meanwhile, and the process was told.
        if flags.contains(LockFlags::CANCEL) && !state.is_some_and(LockState::waits) {
            return;
        }
        let (errno, text) = match (&lksb, state) {
            (Some(lksb), Some(state)) => match self.unlock_lksb(lksb, state, flags, lvb) {
                Ok(()) => return,
                // It has none of its own: what it came too late for is on its way, or another cancel's.
                Err(Errno::EBUSY | Errno::ENOENT) if flags.contains(LockFlags::CANCEL) => return,
                Err(errno) => (errno, unlock_text(state.name(), errno)),
            },
            _ => (Errno::ENOENT, no_lock_text(handle)),
        };
        let errno = errno.number();
        process.send(&self.shared, &FromDaemon::Unlocked { handle, errno, text: &text });
    }

    fn unlock_lksb(
        &mut self,
        lksb: &Lksb,
        state: &LockState,
        flags: LockFlags,
        lvb: &[u8],
    ) -> Result<(), Errno> {
        let group = self.groups.get_mut(state.group).ok_or(Errno::ENOENT)?;
        if !lvb.is_empty() {
            lksb.set_lvb(lvb)?;
        }
        if let Some(barrier) = &mut self.barrier {
            return barrier.parked.withdraw(lksb, flags, group.protocol.clone());
        }
        let protocol = group.protocol.clone();
        if let Some(parked) = group.parked() {
            return parked.withdraw(lksb, flags, protocol);
        }
        group.connection().ok_or(Errno::ENOENT)?.unlock(lksb, flags)
    }

    /// Counts a call that will have an outcome.
    pub(super) fn begin_call(&self, process: &Process) -> Result<(), Ending> {
        let waiting_max = self.shared.limits.waiting_per_client_max;
        let mut state = process.state();
        if state.waiting >= waiting_max {
            return Err(Ending::limit("requests that wait", waiting_max));
        }
        state.waiting += 1;
        Ok(())
    }

    /// A lock call failed without a callback.
    fn fail_call(&self, process: &Arc<Process>, lksb: &Lksb, errno: Errno, is_new: bool) {
        let found = lksb
            .state::<LockState>()
            .and_then(|state| Some((state, self.groups.get(state.group)?)));
        let Some((state, group)) = found else { return };
        let (shared, connection) = (&self.shared, group.connection().map(|found| &**found));
        let text = refusal_text(shared, connection, &group.name, state, lksb, errno);
        self.fail_with(process, lksb, errno, &text, is_new);
    }

    /// Tells a process that a lock call failed, and settles its accounts.
    fn fail_with(
        &self,
        process: &Arc<Process>,
        lksb: &Lksb,
        errno: Errno,
        text: &str,
        is_new: bool,
    ) {
        let Some(state) = lksb.state::<LockState>() else { return };
        let Role::Client(handle) = state.role else { return };
        if is_new && let Some(group) = self.groups.get(state.group) {
            state.end(&group.tally);
        }
        self.shared.counters.refused.count();
        let frame = FromDaemon::Refused { handle, errno: errno.number(), text };
        process.send_with(&self.shared, &frame, |process| {
            process.waiting -= usize::from(state.finish());
            if is_new {
                process.locks.remove(&handle);
            }
        });
    }

    /// Refuses a lock call that was not made.
    fn refuse(&self, process: &Arc<Process>, handle: u32, (errno, text): Refusal) {
        self.shared.counters.refused.count();
        let frame = FromDaemon::Refused { handle, errno: errno.number(), text: &text };
        process.send(&self.shared, &frame);
    }
}

/// Refuses what cannot be a request for a new lock.
fn check<'a>(frame: &LockFrame<'a>) -> Result<ResourceName<'a>, Refusal> {
    let name = ResourceName::new(frame.name).map_err(|error| {
        let errno = match error {
            NameError::TooLong { .. } => Errno::ENAMETOOLONG,
            _ => Errno::EINVAL,
        };
        (errno, error.to_string())
    })?;
    if frame.group.len() > GROUP_LEN_MAX {
        let len = frame.group.len();
        let text = format!("the group name has {len} bytes: the longest is {GROUP_LEN_MAX}");
        return Err((Errno::ENAMETOOLONG, text));
    }
    check_value(frame)?;
    Ok(name)
}

/// Refuses what cannot be a conversion.
fn check_conversion(frame: &LockFrame<'_>) -> Result<(), Refusal> {
    if !(frame.group.is_empty() && frame.name.is_empty() && frame.purpose.is_empty()) {
        let text = "a conversion keeps group, name and purpose: send them empty".to_owned();
        return Err((Errno::EINVAL, text));
    }
    check_value(frame)
}

fn check_value(frame: &LockFrame<'_>) -> Result<(), Refusal> {
    let len = frame.lvb.len();
    if len > LVB_LEN_MAX {
        let text = format!("the value has {len} bytes: the longest is {LVB_LEN_MAX}");
        return Err((Errno::E2BIG, text));
    }
    Ok(())
}

fn no_lock_text(handle: u32) -> String {
    format!("no lock of this client has the handle {handle}: it was never taken, or has ended")
}
