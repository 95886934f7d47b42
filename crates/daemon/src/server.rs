//! The daemon's side of the socket: one thread, one event loop.
//!
//! A request costs one wake-up, one `read` and one `write`. Outcomes that arise elsewhere, such as the
//! grant that an unlock makes possible, are written at the end of the turn, once per client.

mod attributes;
mod barrier;
mod counters;
pub(crate) mod fence;
mod group;
mod heartbeat;
mod listing;
mod lock;
mod membership;
mod node;
mod o2cb;
mod parked;
mod process;
mod request;
mod revoke;
mod session;
mod value;

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::o2cb::O2cbPlugin;
use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::net::sockopt::socket_peercred;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use slab::Slab;
use stackglue::Glue;
use user::{UserOptions, UserPlugin};

use crate::config::Config;
use crate::error::DaemonError;
use crate::instance::{EarlierHolders, HoldersFile, Instance};
use crate::protocol::{ErrorCode, FromDaemon};
use crate::{groups_file, location, token};
use fence::Fence;
use node::Node;
use process::{Ending, Process, Shared};
use session::{Session, Turn};

/// The daemon, serving its socket. Owns the daemon lock: dropping it lets another one start.
pub struct Server {
    poll: Poll,
    listener: UnixListener,
    signals: Option<Signals>,
    shared: Arc<Shared>,
    fence: Fence,
    node: Node,
    sessions: Slab<Session>,
    /// Sessions with more to read than one turn may.
    unread: Vec<usize>,
    /// Kept between turns for its memory.
    unsent: Vec<Arc<Process>>,
    /// Sessions that have not said Hello, oldest first, and until when they must.
    mute: VecDeque<(u64, Arc<Process>)>,
    /// When to accept again after it failed.
    accept_at_ms: Option<u64>,
    idle_since_ms: u64,
    config: Config,
    /// Removes the socket when dropped; before the daemon lock.
    socket: SocketFile,
    _holders: HoldersFile,
    _instance: Instance,
}

/// Stops a server from another thread.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// Makes [`Server::run`] return soon.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Server {
    /// Takes the socket, a new fencing epoch and the stack; clients can connect from then on.
    ///
    /// Blocks while another daemon of the socket is leaving. While processes that an earlier daemon
    /// granted locks to are still running, it serves but grants nothing.
    ///
    /// # Errors
    ///
    /// [`DaemonError`]; nothing is left behind but the files beside the socket.
    pub fn bind(config: Config) -> Result<Server, DaemonError> {
        let path = config.socket.clone();
        let gid = match &config.socket_group {
            Some(group) => Some(
                groups_file::gid_of(group)
                    .ok_or_else(|| DaemonError::NoGroup { group: group.clone() })?,
            ),
            None => None,
        };
        location::prepare_directory(&path)?;
        let instance = Instance::acquire(&path, LEAVING_PATIENCE)?;
        let epoch = token::next_epoch(&config.state_dir)?;
        let plan = o2cb::Plan::of(&config)?;
        let holders = HoldersFile::create(&path, epoch, config.socket_mode, gid)?;
        let earlier = EarlierHolders::find(&path, &holders)?;

        let poll = Poll::new().map_err(DaemonError::Loop)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(DaemonError::Loop)?;
        let shared = Arc::new(Shared::new(config.limits, config.o2cb.on_fence, waker));
        let fence =
            Fence { shared: shared.clone(), holders_file: location::holders_file(&path, epoch) };
        let on_fence = fence.clone();
        let o2cb = match plan {
            Some(plan) => Some(plan.start(Box::new(move |reason| on_fence.fall(reason)))?),
            None => None,
        };
        let glue = Glue::new();
        let announced = glue.set_max_protocol(lock::LOCKING_PROTOCOL).and_then(|()| {
            glue.register(Arc::new(UserPlugin::new(UserOptions {
                epoch,
                ..UserOptions::default()
            })))
        });
        announced.expect("a new glue has no plugin and no protocol");
        if let Some(node) = &o2cb {
            let plugin = Arc::new(O2cbPlugin::new(node.clone()));
            glue.register(plugin).expect("the only plugin of its name");
        }
        glue.set_cluster_stack(&config.stack)?;
        if let Some(program) = &config.hb_ctl_path {
            glue.set_hb_ctl_path(program)?;
        }
        let node = Node::new(glue, &config, epoch, shared.clone(), earlier, o2cb)?;

        location::remove_stale(&path)?;
        let (socket, mut listener) = SocketFile::bind(&path, config.socket_mode, gid)
            .map_err(|error| DaemonError::File { what: "serve", path: path.clone(), error })?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .map_err(DaemonError::Loop)?;
        Ok(Server {
            poll,
            listener,
            signals: None,
            shared,
            fence,
            node,
            sessions: Slab::new(),
            unread: Vec::new(),
            unsent: Vec::new(),
            mute: VecDeque::new(),
            accept_at_ms: None,
            idle_since_ms: 0,
            config,
            socket,
            _holders: holders,
            _instance: instance,
        })
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.config.socket
    }

    /// The upper 24 bits of every fencing token that this server gives out.
    pub fn epoch(&self) -> u32 {
        self.node.epoch
    }

    /// A way to stop it from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.shared.clone())
    }

    /// Makes SIGTERM and SIGINT of this process stop the server.
    ///
    /// # Errors
    ///
    /// [`DaemonError::Loop`].
    pub fn stop_on_signals(&mut self) -> Result<(), DaemonError> {
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(DaemonError::Loop)?;
        self.poll
            .registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .map_err(DaemonError::Loop)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Serves until it is stopped, or was idle for as long as the configuration says. Then every
    /// client is told that its locks are lost, and the socket is removed. In a cluster it waits then
    /// until those who held locks have stopped, and leaves it.
    ///
    /// # Errors
    ///
    /// [`DaemonError::Loop`]; [`DaemonError::Fenced`] when the node had to stop.
    pub fn run(mut self) -> Result<(), DaemonError> {
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(DaemonError::Loop(error)),
            }
            self.shared.awake();
            let now_ms = self.shared.started.elapsed().as_millis() as u64;
            self.shared.clock_ms.store(now_ms, Ordering::Relaxed);
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => {}
                    SIGNALS => self.take_signals(),
                    Token(key) => {
                        if event.is_writable() {
                            self.flush(key);
                        }
                        if event.is_readable() || event.is_read_closed() || event.is_error() {
                            self.read(key, event.is_read_closed() || event.is_error());
                        }
                    }
                }
            }
            self.end_turn();
            if self.shared.stop.load(Ordering::SeqCst) || self.is_to_leave() {
                return self.leave();
            }
        }
    }

    /// What does not belong to one session: the rest of the reading, timers, the writing for others.
    #[inline]
    fn end_turn(&mut self) {
        for key in std::mem::take(&mut self.unread) {
            self.read(key, true);
        }
        self.end_mute();
        if self.accept_at_ms.is_some_and(|at_ms| at_ms <= self.shared.now_ms()) {
            self.accept_at_ms = None;
            self.accept();
        }
        self.node.go_on();
        loop {
            let mut unsent = std::mem::take(&mut self.unsent);
            self.shared.take_unsent(&mut unsent);
            let is_done = unsent.is_empty();
            for process in unsent.drain(..) {
                // Its place may be another's by now.
                let session = self.sessions.get(process.key);
                if session.is_some_and(|session| Arc::ptr_eq(&session.process, &process)) {
                    self.flush(process.key);
                }
            }
            self.unsent = unsent;
            if is_done {
                return;
            }
        }
    }

    /// How long to sleep.
    #[inline]
    fn timeout(&mut self) -> Option<Duration> {
        if !self.unread.is_empty() {
            return Some(Duration::ZERO);
        }
        let idle_at_ms = match self.config.idle_exit {
            Some(idle_exit) if self.sessions.is_empty() && self.node.is_idle() => {
                Some(self.idle_since_ms + idle_exit.as_millis() as u64)
            }
            _ => None,
        };
        let hello_at_ms = self.mute.front().map(|(at_ms, _)| *at_ms);
        let at_ms = [idle_at_ms, hello_at_ms, self.accept_at_ms, self.node.wants_to_go_on_at_ms()]
            .into_iter()
            .flatten()
            .min();
        if !self.shared.may_sleep() {
            return Some(Duration::ZERO);
        }
        // A millisecond more: what is due at a time must be due when that time has come.
        at_ms.map(|at_ms| match at_ms.saturating_sub(self.shared.now_ms()) {
            0 => Duration::ZERO,
            left_ms => Duration::from_millis(left_ms + 1),
        })
    }

    fn read(&mut self, key: usize, may_be_closed: bool) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match session.read(&mut self.node, may_be_closed) {
            Turn::Done => self.flush(key),
            Turn::More => {
                self.unread.push(key);
                self.flush(key);
            }
            Turn::Gone => self.close(key, None),
            Turn::End(ending) => self.close(key, Some(ending)),
        }
    }

    fn flush(&mut self, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match session.flush(self.poll.registry()) {
            Turn::Gone => self.close(key, None),
            Turn::End(ending) => self.close(key, Some(ending)),
            Turn::Done | Turn::More => {}
        }
    }

    /// Ends a session: its locks go.
    fn close(&mut self, key: usize, ending: Option<Ending>) {
        let Some(mut session) = self.sessions.try_remove(key) else { return };
        if let Some(Ending { code, text }) = &ending {
            tracing::warn!(process = ?session.process, "disconnected: {text}");
            if *code == ErrorCode::Limit {
                self.shared.counters.clients_limited.count();
            }
            session.process.send(&self.shared, &FromDaemon::Error { code: *code, text });
        }
        session.finish(self.poll.registry());
        self.shared.connected.lock().remove(&key);
        self.node.process_gone(&session.process);
        self.idle_since_ms = self.shared.now_ms();
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.admit(stream) {
                        tracing::warn!(%error, "a client could not be let in");
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        // Out of descriptors: those who wait keep waiting, and no event tells of them.
                        tracing::error!(%error, "clients cannot be accepted");
                        self.accept_at_ms = Some(self.shared.now_ms() + ACCEPT_RETRY_MS);
                        return;
                    }
                },
            }
        }
    }

    fn admit(&mut self, mut stream: UnixStream) -> io::Result<()> {
        let peer = socket_peercred(&stream)?;
        let uid = peer.uid.as_raw();
        let is_admin = uid == 0 || uid == rustix::process::geteuid().as_raw();
        // Whom a group or the mode lets in, the kernel has let in.
        let is_open = self.config.socket_group.is_some() || self.config.socket_mode & 0o006 != 0;
        let clients_max = self.config.limits.clients_max;
        let refused = if !is_admin && !is_open {
            self.shared.counters.clients_denied.count();
            let text = format!(
                "user {uid} may not use this stackglued: ask the administrator to set socket_group"
            );
            Some(Ending::new(ErrorCode::Denied, text))
        } else if self.sessions.len() >= clients_max {
            self.shared.counters.clients_refused.count();
            let text = format!("{clients_max} clients are connected already: no more are allowed");
            Some(Ending::new(ErrorCode::Limit, text))
        } else {
            None
        };
        if let Some(Ending { code, text }) = refused {
            let mut frame = Vec::new();
            FromDaemon::Error { code, text: &text }.encode(&mut frame);
            // Fits the socket's buffer, which is empty.
            return io::Write::write_all(&mut stream, &frame);
        }
        let entry = self.sessions.vacant_entry();
        let key = entry.key();
        let pid = peer.pid.as_raw_pid() as u32;
        let output_bytes_max = self.config.limits.output_bytes_max;
        let process = Arc::new(Process::new(key, pid, uid, is_admin, output_bytes_max));
        self.poll.registry().register(&mut stream, Token(key), Interest::READABLE)?;
        entry.insert(Session::new(stream, process.clone()));
        self.shared.connected.lock().insert(key, process.clone());
        let at_ms = self.shared.now_ms() + self.config.limits.hello_timeout_ms;
        self.mute.push_back((at_ms, process));
        Ok(())
    }

    /// Disconnects who has not said Hello in time.
    fn end_mute(&mut self) {
        while let Some((at_ms, process)) = self.mute.front() {
            let is_mute = process.command.get().is_none();
            if is_mute && self.shared.now_ms() < *at_ms {
                return;
            }
            let process = process.clone();
            self.mute.pop_front();
            let session = self.sessions.get(process.key);
            if is_mute && session.is_some_and(|session| Arc::ptr_eq(&session.process, &process)) {
                self.shared.counters.clients_mute.count();
                let text = "no Hello came in time";
                self.close(process.key, Some(Ending::new(ErrorCode::Protocol, text)));
            }
        }
    }

    fn take_signals(&mut self) {
        let Some(signals) = &mut self.signals else { return };
        for signal in signals.pending() {
            tracing::info!(signal, "stops");
            self.shared.stop();
        }
    }

    /// Whether it has been idle for long enough. A client that came meanwhile is let in first.
    fn is_to_leave(&mut self) -> bool {
        let Some(idle_exit) = self.config.idle_exit else { return false };
        let is_idle = |server: &Server| server.sessions.is_empty() && server.node.is_idle();
        if !is_idle(self) {
            self.idle_since_ms = self.shared.now_ms();
            return false;
        }
        let idle_ms = self.shared.now_ms() - self.idle_since_ms;
        if u128::from(idle_ms) < idle_exit.as_millis() {
            return false;
        }
        self.accept();
        is_idle(self)
    }

    /// Who connects from now on finds nobody, or is hung up on before Welcome, and tries again.
    fn leave(mut self) -> Result<(), DaemonError> {
        self.socket.remove();
        let fenced = self.shared.fenced.get().cloned();
        let text = match &fenced {
            Some(reason) => format!("this node was fenced: {reason}"),
            None => "stackglued stops".to_owned(),
        };
        let (others, is_any) = self.fence.without_locks();
        for (_, session) in &mut self.sessions {
            let handles: Vec<u32> = session.process.state().locks.keys().copied().collect();
            for handle in handles {
                session.process.send(&self.shared, &FromDaemon::Lost { handle, reason: &text });
            }
            let code = ErrorCode::Stopping;
            session.process.send(&self.shared, &FromDaemon::Error { code, text: &text });
            session.finish(self.poll.registry());
        }
        if let Some(reason) = fenced {
            return Err(DaemonError::Fenced { reason });
        }
        if self.node.o2cb.is_some() && is_any {
            self.fence.wait_for_holders(&others);
        }
        self.node.groups.leave_all();
        if let Some(node) = &self.node.o2cb {
            node.stop();
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// The socket in the file system.
struct SocketFile(Option<PathBuf>);

impl SocketFile {
    fn bind(path: &Path, mode: u32, gid: Option<u32>) -> io::Result<(SocketFile, UnixListener)> {
        let listener = StdListener::bind(path)?;
        let file = SocketFile(Some(path.to_owned()));
        if gid.is_some() {
            chown(path, None, gid)?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        Ok((file, UnixListener::from_std(listener)))
    }

    fn remove(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "the socket cannot be removed");
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

const LISTENER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const WAKER: Token = Token(usize::MAX - 3);

const LEAVING_PATIENCE: Duration = Duration::from_secs(5);
const ACCEPT_RETRY_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use stackglue::{Lksb, LockFlags, Mode, ResourceName};

    use super::*;
    use crate::{Client, Event, LockRequest};

    #[test]
    fn a_callback_on_another_thread_wakes_the_loop() {
        let directory = tempfile::tempdir().expect("a directory");
        let state_dir = directory.path().join("state");
        let config = Config::new(directory.path().join("sock"), state_dir);
        let mut server = Server::bind(config).expect("a daemon");
        let group = server.node.groups.join(b"").expect("connected");
        let connection = server.node.groups.get(group).and_then(|group| group.connection());
        let connection = connection.expect("connected").clone();
        let (stopper, socket) = (server.stopper(), server.socket().to_owned());
        let running = std::thread::spawn(|| server.run());

        let mut client = Client::connect(&socket, "a").expect("a connection");
        // The loop looks after its groups once a second: without being woken it would take a second for
        // each of these.
        let deadline = Instant::now() + Duration::from_secs(20);
        for number in 0..40 {
            let handle = client.lock(&LockRequest::new(&[number], Mode::EX)).expect("sent");
            assert!(matches!(client.next_event(None), Ok(Some(Event::Locked { .. }))));
            while !stopper.0.is_asleep() {
                assert!(Instant::now() < deadline, "it has nothing to do");
                std::thread::yield_now();
            }
            let name = [number];
            let name = ResourceName::new(&name).expect("a name");
            let lksb = Lksb::new(());
            connection.lock(Mode::EX, &lksb, LockFlags::empty(), name).expect("waits");
            let event = client.next_event(Some(deadline)).expect("the daemon is there");
            assert_eq!(event, Some(Event::Blocking { handle, level: Mode::EX }));
            connection.abandon(&lksb).expect("it waited");
        }
        stopper.stop();
        running.join().expect("no panic").expect("no error");
    }
}
