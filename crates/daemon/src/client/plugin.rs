//! The daemon's node as a stack of this process: locks through its socket, behind the glue.

use std::collections::HashMap;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use dlm::{Errno, LVB_LEN_MAX, LockFlags, Mode, NodeNumber, ResourceName, StatusFlags};
use parking_lot::Mutex;
use stackglue::{
    Abandoned, Callback, ConnectRefused, ConnectRequest, Lksb, LockingProtocol, Plugin,
    ProtocolVersion, ResourceView, StackConnection,
};

use super::Incoming;
use crate::control::ControlRequest;
use crate::protocol::{FromClient, LockFrame};
use crate::{Client, ClientError, Event};

/// The stack of the host's daemon as a plugin, so that whatever uses the glue can use it: a
/// callback of the daemon's is one of the connection's.
///
/// A process has one, and its locks live as long as it. Callbacks run on a thread of the plugin's
/// own. Nothing that waits for one (leaving a group, say) may be done in one.
///
/// The daemon shows no resources this way: ask it by a [`ControlRequest`](crate::ControlRequest).
pub struct DaemonPlugin {
    name: &'static str,
    socket: Arc<Socket>,
}

impl DaemonPlugin {
    /// Takes over a connection to the daemon. `lost` is called once, with the reason, when the
    /// locks of this process count for nothing any more: the daemon is gone, or has taken one of
    /// them back.
    ///
    /// # Errors
    ///
    /// [`ClientError::Io`], [`ClientError::ConnectionLost`].
    pub fn new(
        mut client: Client,
        lost: impl Fn(&str) + Send + 'static,
    ) -> Result<DaemonPlugin, ClientError> {
        client.hold_off_a_new_daemon()?;
        let stream = client.stream.try_clone();
        let stream = stream.map_err(|error| client.io_error("use", error))?;
        let socket = Arc::new(Socket {
            node: client.welcome.node,
            writer: Mutex::new(Writer {
                stream,
                handle_last: client.handle_last,
                request_last: client.request_last,
                out: Vec::new(),
            }),
            locks: Arc::default(),
            answers: Arc::default(),
            leaving: Arc::default(),
        });
        let reader = Reader {
            locks: Arc::clone(&socket.locks),
            answers: Arc::clone(&socket.answers),
            leaving: Arc::clone(&socket.leaving),
            lost: Box::new(lost),
        };
        let name = if client.welcome.stack == stackglue::O2CB { stackglue::O2CB } else { "user" };
        thread::Builder::new()
            .name("stackglue-client".to_owned())
            .spawn(move || reader.run(client))
            .map_err(|error| ClientError::Io { what: "start a thread".to_owned(), error })?;
        Ok(DaemonPlugin { name, socket })
    }
}

impl Plugin for DaemonPlugin {
    fn name(&self) -> &'static str {
        self.name
    }

    fn connect(
        &self,
        request: ConnectRequest<'_>,
    ) -> Result<Box<dyn StackConnection>, ConnectRefused> {
        self.socket
            .ask(&ControlRequest::Join { group: request.group.to_owned() })
            .map_err(|(errno, reason)| ConnectRefused { errno, reason })?;
        Ok(Box::new(DaemonConnection {
            socket: Arc::clone(&self.socket),
            group: request.group.to_owned(),
            version: request.protocol.max_version(),
            protocol: request.protocol,
        }))
    }
}

/// What every connection of the process shares.
struct Socket {
    node: u32,
    writer: Mutex<Writer>,
    locks: Arc<Mutex<HashMap<u32, Owner>>>,
    answers: Arc<Mutex<Answers>>,
    leaving: Arc<AtomicBool>,
}

/// Control requests without an answer, and who waits for it.
#[derive(Default)]
struct Answers {
    waiting: HashMap<u32, mpsc::Sender<Outcome>>,
    /// None comes any more.
    ended: bool,
}

type Outcome = Result<(), (Errno, String)>;

struct Writer {
    stream: UnixStream,
    handle_last: u32,
    request_last: u32,
    out: Vec<u8>,
}

/// Whose lock a handle is.
#[derive(Clone)]
struct Owner {
    lksb: Lksb,
    protocol: Arc<dyn LockingProtocol>,
}

impl Socket {
    fn send(&self, frame: &FromClient<'_>) -> Result<(), Errno> {
        self.writer.lock().send(frame)
    }

    /// Sends a control request and blocks until it is answered.
    fn ask(&self, request: &ControlRequest) -> Outcome {
        let gone = || (Errno::ENOTCONN, "the daemon is gone".to_owned());
        let json = serde_json::to_vec(request)
            .map_err(|error| (Errno::EINVAL, format!("cannot ask that: {error}")))?;
        let (sender, answer) = mpsc::channel();
        {
            // Kept until it is sent: a number is used once.
            let mut writer = self.writer.lock();
            writer.request_last = writer.request_last.wrapping_add(1);
            let id = writer.request_last;
            let mut answers = self.answers.lock();
            if answers.ended {
                return Err(gone());
            }
            answers.waiting.insert(id, sender);
            drop(answers);
            writer
                .send(&FromClient::Request { id, json: &json })
                .map_err(|errno| (errno, gone().1))?;
        }
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }

    fn send_lock(&self, handle: u32, call: &LockCall<'_>) -> Result<(), Errno> {
        let LockCall { mode, flags, group, name, lvb } = *call;
        let frame = LockFrame { handle, mode, flags, group, name, purpose: "", lvb };
        self.send(&FromClient::Lock(frame))
    }
}

/// A lock call but for its handle.
struct LockCall<'a> {
    mode: Mode,
    flags: LockFlags,
    group: &'a [u8],
    name: &'a [u8],
    lvb: &'a [u8],
}

impl Writer {
    fn send(&mut self, frame: &FromClient<'_>) -> Result<(), Errno> {
        self.out.clear();
        frame.encode(&mut self.out);
        // Why the daemon is gone is told by the thread that reads.
        self.stream.write_all(&self.out).map_err(|_| Errno::ENOTCONN)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Release);
        // Ends the thread that reads; it fails only where that has ended already.
        let _ = self.writer.get_mut().stream.shutdown(Shutdown::Both);
    }
}

struct DaemonConnection {
    socket: Arc<Socket>,
    group: String,
    version: ProtocolVersion,
    protocol: Arc<dyn LockingProtocol>,
}

impl StackConnection for DaemonConnection {
    fn version(&self) -> ProtocolVersion {
        self.version
    }

    fn this_node(&self) -> Result<NodeNumber, Errno> {
        match self.socket.node {
            0 => Err(Errno::ENOENT),
            node => Ok(NodeNumber(node)),
        }
    }

    fn lock(
        &self,
        mode: Mode,
        lksb: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno> {
        if flags.contains(LockFlags::CONVERT) {
            let (_, lvb) = written(lksb, flags);
            let call = LockCall { mode, flags, group: b"", name: b"", lvb: lvb.as_slice() };
            return self.socket.send_lock(handle_of(lksb)?, &call);
        }
        if !lksb.claim() {
            return Err(Errno::EBUSY);
        }
        let handle = {
            let mut writer = self.socket.writer.lock();
            // Not 0, and not what stands for "about to be used".
            writer.handle_last = writer.handle_last % (u32::MAX - 1) + 1;
            writer.handle_last
        };
        let owner = Owner { lksb: lksb.clone(), protocol: Arc::clone(&self.protocol) };
        lksb.set_lock_id(handle);
        self.socket.locks.lock().insert(handle, owner);
        let (group, name) = (self.group.as_bytes(), name.as_bytes());
        let sent = self.socket.send_lock(handle, &LockCall { mode, flags, group, name, lvb: b"" });
        if sent.is_err() {
            self.socket.locks.lock().remove(&handle);
            lksb.set_lock_id(0);
        }
        sent
    }

    fn unlock(&self, lksb: &Lksb, flags: LockFlags) -> Result<(), Errno> {
        let handle = handle_of(lksb)?;
        let (flags, lvb) = match flags.contains(LockFlags::CANCEL) {
            true => (flags, Vec::new()),
            false => written(lksb, flags),
        };
        self.socket.send(&FromClient::Unlock { handle, flags, lvb: &lvb })
    }

    fn abandon(&self, _: &Lksb) -> Result<Abandoned, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn visit_resources(&self, _: &mut dyn FnMut(ResourceView<'_>)) {}

    fn dump_lksb(&self, lksb: &Lksb) -> String {
        format!("{lksb:?}, lock {} of this process at the daemon", lksb.lock_id())
    }

    fn disconnect(&self) -> Result<(), Errno> {
        // Those of the group's protocol are those of the group.
        let mine = |owner: &Owner| Arc::ptr_eq(&owner.protocol, &self.protocol);
        let mut locks = self.socket.locks.lock();
        let left: Vec<_> = locks.extract_if(|_, owner| mine(owner)).collect();
        drop(locks);
        for (handle, Owner { lksb, .. }) in left {
            lksb.silence();
            lksb.set_lock_id(0);
            let flags = LockFlags::empty();
            // Without the daemon they are gone already.
            let _ = self.socket.send(&FromClient::Unlock { handle, flags, lvb: b"" });
            lksb.wait_until_idle();
        }
        match self.socket.ask(&ControlRequest::Leave { group: self.group.clone() }) {
            Ok(()) => Ok(()),
            // Without the daemon nothing is left to be left.
            Err((Errno::ENOTCONN, _)) => Ok(()),
            Err((errno, reason)) => {
                tracing::warn!(group = self.group, "{reason}");
                Err(errno)
            }
        }
    }
}

fn handle_of(lksb: &Lksb) -> Result<u32, Errno> {
    match lksb.lock_id() {
        0 => Err(Errno::ENOENT),
        handle => Ok(handle),
    }
}

/// The value to send with a call: none where the lock does not write it.
fn written(lksb: &Lksb, flags: LockFlags) -> (LockFlags, Vec<u8>) {
    let writes =
        flags.contains(LockFlags::VALBLK) && matches!(lksb.mode(), Some(Mode::PW | Mode::EX));
    (flags, if writes { lksb.lvb().to_vec() } else { Vec::new() })
}

/// Reads what the daemon says, and turns it into callbacks.
struct Reader {
    locks: Arc<Mutex<HashMap<u32, Owner>>>,
    answers: Arc<Mutex<Answers>>,
    leaving: Arc<AtomicBool>,
    lost: Box<dyn Fn(&str) + Send>,
}

impl Reader {
    fn run(self, mut client: Client) {
        let reason = loop {
            match client.next_incoming(None) {
                Ok(Some(Incoming::Event(Event::Lost { reason, .. }))) => break Some(reason),
                Ok(Some(Incoming::Event(event))) => self.deliver(event),
                Ok(Some(Incoming::End { id, errno, text })) => self.answer(id, errno, text),
                // What is asked for here has no items.
                Ok(Some(Incoming::Item { .. }) | None) => {}
                Err(_) if self.leaving.load(Ordering::Acquire) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        let mut answers = self.answers.lock();
        answers.ended = true;
        answers.waiting.clear();
        drop(answers);
        if let Some(reason) = reason {
            (self.lost)(&reason);
        }
        // One lock that was taken back ends it for all of them.
        let _ = client.stream.shutdown(Shutdown::Both);
    }

    fn answer(&self, id: u32, errno: i32, text: String) {
        let outcome = Errno::from_number(errno).map_or(Ok(()), |errno| Err((errno, text)));
        if let Some(sender) = self.answers.lock().waiting.remove(&id) {
            // Whoever asked waits for it.
            let _ = sender.send(outcome);
        }
    }

    /// This thread alone posts, so the callbacks of a lock are in the order of the daemon's frames.
    fn deliver(&self, event: Event) {
        let handle = event.handle().0;
        let Some(Owner { lksb, protocol }) = self.locks.lock().get(&handle).cloned() else {
            return;
        };
        let held = lksb.mode();
        let (callback, ends) = match event {
            Event::Locked { mode, flags, token, lvb, .. } => {
                lksb.set_token(token);
                // Longer than a value block, or of a call that moved none: not a value.
                if lvb.len() == LVB_LEN_MAX && lksb.set_lvb(&lvb).is_err() {
                    tracing::warn!(handle, "the daemon sent a value that is too long");
                }
                (Callback::lock(None, flags, Some(mode)), false)
            }
            Event::Refused { errno, .. } => {
                let callback = Callback::lock(Some(errno), StatusFlags::empty(), held);
                (callback, held.is_none())
            }
            Event::Unlocked { result: Ok(()), .. } => {
                (Callback::unlock(Some(Errno::EUNLOCK), None), true)
            }
            Event::Unlocked { result: Err(errno), .. } => {
                let ends = errno == Errno::ECANCEL && held.is_none();
                (Callback::unlock(Some(errno), held), ends)
            }
            Event::Blocking { level, .. } => (Callback::blocking(level), false),
            Event::Revoked { .. } => (Callback::blocking(Mode::EX), false),
            Event::Lost { .. } => return,
        };
        let posted = if ends {
            self.locks.lock().remove(&handle);
            lksb.post_last(callback)
        } else {
            lksb.post(callback)
        };
        if let Some(callback) = posted {
            lksb.deliver(callback, &protocol);
        }
    }
}
