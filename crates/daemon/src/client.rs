//! The client side of the socket: blocking, one thread, one `write` and one `read` per operation.

mod error;
mod event;
mod plugin;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dlm::{LVB_LEN_MAX, LockFlags, Mode, NAME_LEN_MAX};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno as OsErrno, FdFlags, fcntl_getfd, fcntl_setfd};
use wire::{Fill, FrameReader, LengthPrefixed};

use crate::control::ControlRequest;
use crate::location;
use crate::protocol::{
    ErrorCode, FRAME_LEN_MAX, FromClient, FromDaemon, GROUP_LEN_MAX, LockFrame, PURPOSE_LEN_MAX,
};
pub use error::ClientError;
pub use event::{Event, Handle};
pub use plugin::DaemonPlugin;

/// A connection to the daemon. The process's locks live as long as it, and every copy of its socket
/// that was inherited, is open.
///
/// ```no_run
/// use dlm::Mode;
/// use stackglue_daemon::{Client, Event, LockRequest};
///
/// let mut client = Client::connect("/run/stackglue/stackglued.sock".as_ref(), "backup")?;
/// let handle = client.lock(&LockRequest::new(b"nightly", Mode::EX))?;
/// match client.next_event(None)? {
///     Some(Event::Locked { token, .. }) => println!("held, token {token}"),
///     other => println!("{other:?}"),
/// }
/// client.unlock(handle)?;
/// # Ok::<(), stackglue_daemon::ClientError>(())
/// ```
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    socket: PathBuf,
    /// Shared `flock` that keeps a new daemon from granting while this process, or a child that
    /// inherited the descriptor, may still use what the old one granted.
    holders: Option<File>,
    reader: FrameReader<LengthPrefixed>,
    out: Vec<u8>,
    welcome: Welcome,
    handle_last: u32,
    request_last: u32,
    /// Events that arrived while the answer to a control request was awaited.
    events: VecDeque<Event>,
}

/// What the daemon told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version.
    pub version: u16,
    /// This host's node number; 0 when the stack does not tell.
    pub node: u32,
    /// The label of the stack in force.
    pub stack: String,
    /// The upper 24 bits of the daemon's fencing tokens.
    pub epoch: u32,
}

/// A request for a new lock.
#[derive(Clone, Copy, Debug)]
pub struct LockRequest<'a> {
    /// The group; empty for the default one.
    pub group: &'a str,
    /// The resource: 1 to 64 bytes.
    pub name: &'a [u8],
    /// The mode.
    pub mode: Mode,
    /// Flags of a lock call.
    pub flags: LockFlags,
    /// What it is for, for those who ask: at most 255 bytes.
    pub purpose: &'a str,
}

impl<'a> LockRequest<'a> {
    /// A request in the default group, without flags and purpose.
    pub fn new(name: &'a [u8], mode: Mode) -> LockRequest<'a> {
        LockRequest { group: "", name, mode, flags: LockFlags::empty(), purpose: "" }
    }
}

impl Client {
    /// Connects and says Hello: blocks until the daemon has answered.
    ///
    /// `command` is what others see who ask who holds a lock.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotRunning`] when nobody listens, [`ClientError::PermissionDenied`] when the
    /// socket may not be used, [`ClientError::Left`] when the daemon was just leaving (try again), and
    /// what the daemon refused.
    pub fn connect(socket: &Path, command: &str) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(socket).map_err(|error| connect_error(socket, error))?;
        let mut client = Client {
            stream,
            socket: socket.to_owned(),
            holders: None,
            reader: FrameReader::new(LengthPrefixed { len_max: FRAME_LEN_MAX }),
            out: Vec::with_capacity(512),
            welcome: Welcome { version: 0, node: 0, stack: String::new(), epoch: 0 },
            handle_last: 0,
            request_last: 0,
            events: VecDeque::new(),
        };
        // A daemon that hangs up at once may have said why: what it said counts, not the failed write.
        let _ = client.write(&FromClient::Hello { command });
        match client.read_welcome() {
            Ok(welcome) => Ok(Client { welcome, ..client }),
            Err(ClientError::ConnectionLost { .. }) => {
                Err(ClientError::Left { socket: socket.to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// What the daemon told about itself.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a lock. The outcome comes as [`Event::Locked`] or [`Event::Refused`].
    ///
    /// Before the first one this takes the shared `flock` of the daemon's holders file. As long as it is
    /// open here or in a child that inherited it, no later daemon grants anything: drop a client whose
    /// connection was lost before asking another one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Invalid`] for names, groups and purposes that cannot be; nothing was sent.
    /// [`ClientError::ConnectionLost`].
    pub fn lock(&mut self, request: &LockRequest<'_>) -> Result<Handle, ClientError> {
        check_len("resource name", request.name.len(), 1, NAME_LEN_MAX)?;
        check_len("group name", request.group.len(), 0, GROUP_LEN_MAX)?;
        check_len("purpose", request.purpose.len(), 0, PURPOSE_LEN_MAX)?;
        self.hold_off_a_new_daemon()?;
        self.handle_last = self.handle_last.wrapping_add(1);
        let handle = self.handle_last;
        self.send(&FromClient::Lock(LockFrame {
            handle,
            mode: request.mode,
            flags: request.flags,
            group: request.group.as_bytes(),
            name: request.name,
            purpose: request.purpose,
            lvb: b"",
        }))?;
        Ok(Handle(handle))
    }

    /// Asks for another mode of a held lock. The outcome comes as [`Event::Locked`] or
    /// [`Event::Refused`].
    ///
    /// With a value the call has `VALBLK`, and writes the value when it goes down from `PW` or `EX`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Invalid`] for a value of more than 64 bytes; nothing was sent.
    pub fn convert(
        &mut self,
        handle: Handle,
        mode: Mode,
        flags: LockFlags,
        value: Option<&[u8]>,
    ) -> Result<(), ClientError> {
        let lvb = value.unwrap_or_default();
        check_len("value", lvb.len(), 0, LVB_LEN_MAX)?;
        let mut flags = flags | LockFlags::CONVERT;
        flags.set(LockFlags::VALBLK, flags.contains(LockFlags::VALBLK) || value.is_some());
        self.send(&FromClient::Lock(LockFrame {
            handle: handle.0,
            mode,
            flags,
            group: b"",
            name: b"",
            purpose: "",
            lvb,
        }))
    }

    /// Drops a lock. The outcome comes as [`Event::Unlocked`].
    ///
    /// # Errors
    ///
    /// [`ClientError::ConnectionLost`].
    pub fn unlock(&mut self, handle: Handle) -> Result<(), ClientError> {
        self.unlock_with(handle, LockFlags::empty(), b"")
    }

    /// Drops a lock held in `PW` or `EX` and writes the resource's value block.
    ///
    /// # Errors
    ///
    /// [`ClientError::Invalid`] for a value of more than 64 bytes; nothing was sent.
    pub fn unlock_with_value(&mut self, handle: Handle, value: &[u8]) -> Result<(), ClientError> {
        check_len("value", value.len(), 0, LVB_LEN_MAX)?;
        self.unlock_with(handle, LockFlags::VALBLK, value)
    }

    /// Takes back a request or conversion that waits.
    ///
    /// One outcome comes: [`Event::Unlocked`] with `ECANCEL`, or the [`Event::Locked`] or
    /// [`Event::Refused`] that was on its way; then nothing else.
    ///
    /// # Errors
    ///
    /// [`ClientError::ConnectionLost`].
    pub fn cancel(&mut self, handle: Handle) -> Result<(), ClientError> {
        self.unlock_with(handle, LockFlags::CANCEL, b"")
    }

    /// The next event: waits until there is one or until `deadline`, and for ever without one.
    /// `None` when the deadline passed.
    ///
    /// # Errors
    ///
    /// [`ClientError::ConnectionLost`]: every lock of this client is gone.
    pub fn next_event(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, ClientError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        loop {
            match self.next_incoming(deadline)? {
                Some(Incoming::Event(event)) => return Ok(Some(event)),
                // An answer whose reader was dropped before its end.
                Some(Incoming::Item { .. } | Incoming::End { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next frame; `None` when the deadline passed.
    fn next_incoming(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Incoming>, ClientError> {
        loop {
            if let Some(incoming) = self.buffered()? {
                return Ok(Some(incoming));
            }
            if !self.read_more(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Sends a control request; the answer is read as it is iterated.
    ///
    /// Events that arrive meanwhile are kept for [`next_event`](Self::next_event).
    ///
    /// # Errors
    ///
    /// [`ClientError::ConnectionLost`]; what the daemon refused comes from the iterator.
    pub fn control(&mut self, request: &ControlRequest) -> Result<Answer<'_>, ClientError> {
        let json = serde_json::to_vec(request)
            .map_err(|error| ClientError::Invalid(format!("cannot ask that: {error}")))?;
        check_len("control request", json.len(), 0, FRAME_LEN_MAX - 5)?;
        self.request_last = self.request_last.wrapping_add(1);
        let id = self.request_last;
        self.send(&FromClient::Request { id, json: &json })?;
        Ok(Answer { client: self, id, ended: false })
    }

    /// Lets children inherit the socket and the holders file: then the locks last until the last of
    /// them has ended, whatever becomes of this process.
    ///
    /// # Errors
    ///
    /// [`ClientError::Io`].
    pub fn make_inheritable(&self) -> Result<(), ClientError> {
        let holders = self.holders.iter().map(|file| file.as_fd());
        for fd in holders.chain([self.stream.as_fd()]) {
            fcntl_getfd(fd)
                .and_then(|flags| fcntl_setfd(fd, flags - FdFlags::CLOEXEC))
                .map_err(|error| self.io_error("let children inherit", error.into()))?;
        }
        Ok(())
    }

    /// Ends the connection for every process that inherited it, and gives up the holders file for them
    /// too: for when the locks were given back and something that was started meanwhile lives on.
    ///
    /// Dropping a client closes this process's copies only: then the others keep the locks.
    pub fn close(self) {
        // Either fails only when the other side has gone first, and then there is nothing to end.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(holders) = &self.holders {
            let _ = flock(holders, FlockOperation::Unlock);
        }
    }

    fn unlock_with(
        &mut self,
        handle: Handle,
        flags: LockFlags,
        lvb: &[u8],
    ) -> Result<(), ClientError> {
        self.send(&FromClient::Unlock { handle: handle.0, flags, lvb })
    }

    fn send(&mut self, frame: &FromClient<'_>) -> Result<(), ClientError> {
        match self.write(frame) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// One `write`, unless the socket's buffer is full.
    fn write(&mut self, frame: &FromClient<'_>) -> std::io::Result<()> {
        self.out.clear();
        frame.encode(&mut self.out);
        self.stream.write_all(&self.out)
    }

    /// The daemon hung up: says why, if it had said why before.
    fn lost(&mut self, error: std::io::Error) -> ClientError {
        loop {
            match self.buffered() {
                Err(error) => return error,
                Ok(Some(Incoming::Event(event))) => self.events.push_back(event),
                Ok(Some(_)) => {}
                Ok(None) => {
                    if !matches!(self.reader.fill(&mut self.stream), Ok(Fill::Some { .. })) {
                        let socket = self.socket.display();
                        let reason = format!("the connection to {socket} broke: {error}");
                        return ClientError::ConnectionLost { reason };
                    }
                }
            }
        }
    }

    /// The next frame that was read already.
    fn buffered(&mut self) -> Result<Option<Incoming>, ClientError> {
        let frame = self.reader.next_frame().map_err(|error| bad_frame(&self.socket, error))?;
        let Some(frame) = frame else { return Ok(None) };
        match FromDaemon::decode(frame) {
            Ok(frame) => Incoming::from_frame(frame).map(Some),
            Err(error) => Err(bad_frame(&self.socket, error)),
        }
    }

    /// Waits for bytes and reads what is there, with one `read`. `false` when the deadline passed.
    fn read_more(&mut self, deadline: Option<Instant>) -> Result<bool, ClientError> {
        if let Some(deadline) = deadline
            && !self.wait_readable(deadline)?
        {
            return Ok(false);
        }
        match self.reader.fill(&mut self.stream) {
            Ok(Fill::Some { .. }) => Ok(true),
            // Interrupted by a signal: the caller's deadline counts, not ours.
            Ok(Fill::WouldBlock) => Ok(true),
            Ok(Fill::End) => {
                let socket = self.socket.display();
                let reason = format!("the daemon at {socket} is gone");
                Err(ClientError::ConnectionLost { reason })
            }
            Err(error) => {
                let reason = format!("reading from {} failed: {error}", self.socket.display());
                Err(ClientError::ConnectionLost { reason })
            }
        }
    }

    fn wait_readable(&self, deadline: Instant) -> Result<bool, ClientError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(0) if deadline <= Instant::now() => return Ok(false),
                Ok(0) | Err(OsErrno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(self.io_error("wait for", error.into())),
            }
        }
    }

    fn read_welcome(&mut self) -> Result<Welcome, ClientError> {
        loop {
            let frame = self.reader.next_frame().map_err(|error| bad_frame(&self.socket, error))?;
            match frame.map(FromDaemon::decode) {
                Some(Ok(FromDaemon::Welcome { version, node, stack, epoch })) => {
                    let stack = String::from_utf8_lossy(&stack).into_owned();
                    return Ok(Welcome { version, node, stack, epoch });
                }
                Some(Ok(FromDaemon::Error { code, text })) => {
                    let (socket, text) = (self.socket.clone(), text.to_owned());
                    return Err(match code {
                        ErrorCode::Stopping => ClientError::Left { socket },
                        ErrorCode::Denied => ClientError::PermissionDenied { text },
                        _ => ClientError::Rejected { text },
                    });
                }
                Some(Ok(_)) => {
                    return Err(bad_frame(
                        &self.socket,
                        "a frame that is neither Welcome nor Error",
                    ));
                }
                Some(Err(error)) => return Err(bad_frame(&self.socket, error)),
                None => {
                    self.read_more(None)?;
                }
            }
        }
    }

    fn hold_off_a_new_daemon(&mut self) -> Result<(), ClientError> {
        if self.holders.is_some() {
            return Ok(());
        }
        let path = location::holders_file(&self.socket, self.welcome.epoch);
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => {
                let reason = format!("the daemon is gone, and its {} with it", path.display());
                ClientError::ConnectionLost { reason }
            }
            _ => ClientError::Io { what: format!("lock {}", path.display()), error },
        };
        let file = File::open(&path).map_err(failed)?;
        while let Err(error) = flock(&file, FlockOperation::LockShared) {
            if error != OsErrno::INTR {
                return Err(failed(error.into()));
            }
        }
        self.holders = Some(file);
        Ok(())
    }

    fn io_error(&self, what: &str, error: std::io::Error) -> ClientError {
        ClientError::Io { what: format!("{what} {}", self.socket.display()), error }
    }
}

impl AsFd for Client {
    /// The socket. Readable when [`next_event`](Client::next_event) would have something, unless an
    /// event is buffered: ask for events with a deadline in the past until there is none, then wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The answer to a control request: its items, then nothing, or the error that ended it.
///
/// Blocks for each item. Dropping it early leaves the rest to be skipped.
#[derive(Debug)]
pub struct Answer<'a> {
    client: &'a mut Client,
    id: u32,
    ended: bool,
}

impl Answer<'_> {
    /// Reads the answer to its end; the items as type `T`.
    ///
    /// # Errors
    ///
    /// As the iterator's items, and [`ClientError::Protocol`] for an item that is not a `T`.
    pub fn read_all<T: serde::de::DeserializeOwned>(mut self) -> Result<Vec<T>, ClientError> {
        let mut items = Vec::new();
        while let Some(item) = self.next() {
            let item = serde_json::from_value(item?);
            items.push(item.map_err(|error| bad_frame(&self.client.socket, error))?);
        }
        Ok(items)
    }

    fn read_next(&mut self) -> Result<Option<serde_json::Value>, ClientError> {
        loop {
            match self.client.buffered()? {
                Some(Incoming::Item { id, json }) if id == self.id => {
                    let item = serde_json::from_slice(&json);
                    return item.map(Some).map_err(|error| bad_frame(&self.client.socket, error));
                }
                Some(Incoming::End { id, errno: 0, .. }) if id == self.id => return Ok(None),
                Some(Incoming::End { id, errno, text }) if id == self.id => {
                    return Err(ClientError::Refused { errno, text });
                }
                Some(Incoming::Event(event)) => self.client.events.push_back(event),
                Some(Incoming::Item { .. } | Incoming::End { .. }) => {}
                None => {
                    self.client.read_more(None)?;
                }
            }
        }
    }
}

impl Iterator for Answer<'_> {
    type Item = Result<serde_json::Value, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read_next().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A frame from the daemon after Welcome.
enum Incoming {
    Event(Event),
    Item { id: u32, json: Vec<u8> },
    End { id: u32, errno: i32, text: String },
}

impl Incoming {
    fn from_frame(frame: FromDaemon<'_>) -> Result<Incoming, ClientError> {
        Ok(match frame {
            FromDaemon::Item { id, json } => Incoming::Item { id, json: json.to_vec() },
            FromDaemon::End { id, errno, text } => Incoming::End { id, errno, text: text.into() },
            FromDaemon::Error { text, .. } => {
                return Err(ClientError::ConnectionLost { reason: text.into() });
            }
            FromDaemon::Welcome { .. } => {
                let reason = "it says Welcome twice".into();
                return Err(ClientError::ConnectionLost { reason });
            }
            event => match Event::from_frame(&event) {
                Some(event) => Incoming::Event(event),
                None => {
                    let reason = format!("it sent {event:?}");
                    return Err(ClientError::ConnectionLost { reason });
                }
            },
        })
    }
}

fn bad_frame(socket: &Path, error: impl std::fmt::Display) -> ClientError {
    ClientError::Protocol { socket: socket.to_owned(), reason: error.to_string() }
}

fn check_len(what: &str, len: usize, min: usize, max: usize) -> Result<(), ClientError> {
    if (min..=max).contains(&len) {
        return Ok(());
    }
    Err(ClientError::Invalid(format!("the {what} has {len} bytes: give it {min} to {max}")))
}

fn connect_error(socket: &Path, error: std::io::Error) -> ClientError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            let advice = "start it with `systemctl start stackglued` or `stackglue daemon`";
            ClientError::NotRunning { socket: socket.to_owned(), advice }
        }
        ErrorKind::PermissionDenied => {
            ClientError::PermissionDenied { text: location::permission_advice(socket) }
        }
        _ => ClientError::Io { what: format!("connect to {}", socket.display()), error },
    }
}
