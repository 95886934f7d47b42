//! A daemon in a thread of the test, and clients that speak to it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dlm::{Errno, LockFlags, Mode};
use stackglue_daemon::control::{CountersItem, LockItem, StatusItem};
use stackglue_daemon::protocol::{FromClient, FromDaemon};
use stackglue_daemon::{
    Client, Config, ControlRequest, DaemonError, Event, Handle, LockRequest, Server, Stopper,
};
use tempfile::TempDir;

/// Nothing here takes long; what takes this long will not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon; stopped when dropped.
pub(crate) struct Daemon {
    directory: TempDir,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), DaemonError>>>,
    epoch: u32,
}

impl Daemon {
    pub(crate) fn start() -> Daemon {
        Self::start_with(|_| ())
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Daemon {
        Self::start_in(tempfile::tempdir().expect("a directory"), change)
    }

    pub(crate) fn start_in(directory: TempDir, change: impl FnOnce(&mut Config)) -> Daemon {
        let mut config = config_in(directory.path());
        change(&mut config);
        let server = Server::bind(config).expect("a daemon");
        let (stopper, epoch) = (server.stopper(), server.epoch());
        let thread = Some(thread::spawn(|| server.run()));
        Daemon { directory, stopper, thread, epoch }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn client(&self, command: &str) -> Client {
        Client::connect(&self.socket(), command).expect("a connection")
    }

    /// A connection that has said Hello and been welcomed, for bytes that no client sends.
    pub(crate) fn raw(&self) -> Raw {
        let mut raw = self.mute();
        raw.send(&FromClient::Hello { command: "raw" });
        assert!(matches!(raw.frame().as_deref(), Some([0x81, ..])), "Welcome");
        raw
    }

    /// A connection that has said nothing.
    pub(crate) fn mute(&self) -> Raw {
        let stream = UnixStream::connect(self.socket()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Raw(stream)
    }

    /// Stops it, and returns its directory for the next one.
    pub(crate) fn stop(mut self) -> TempDir {
        self.stopper.stop();
        self.wait();
        std::mem::replace(&mut self.directory, tempfile::tempdir().expect("a directory"))
    }

    /// Waits until it leaves by itself.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("no error");
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits until what [`StatusItem`] tells is as wanted: a process that hung up is not noticed at
    /// the same instant.
    pub(crate) fn wait_for(&self, wanted: impl Fn(&StatusItem) -> bool) {
        let mut client = self.client("wait_for");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = status(&mut client);
            if wanted(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "still {status:?}");
            thread::yield_now();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            if !thread::panicking() {
                outcome.expect("no panic").expect("no error");
            }
        }
    }
}

pub(crate) fn config_in(directory: &Path) -> Config {
    Config::new(directory.join("sock"), directory.join("state"))
}

/// A socket and nothing more.
pub(crate) struct Raw(pub(crate) UnixStream);

impl Raw {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the daemon listens");
    }

    pub(crate) fn send(&mut self, frame: &FromClient<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.bytes(&bytes);
    }

    /// The next frame, or `None` when the daemon hung up.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        match self.0.read_exact(&mut len) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer"),
            Err(_) => return None,
        }
        let mut frame = vec![0; u32::from_le_bytes(len) as usize];
        self.0.read_exact(&mut frame).expect("the rest of a frame");
        Some(frame)
    }

    /// What the daemon says before it hangs up, which it must.
    pub(crate) fn last_words(mut self) -> String {
        let mut words = String::new();
        while let Some(frame) = self.frame() {
            if let Ok(FromDaemon::Error { text, .. }) = FromDaemon::decode(&frame) {
                words = text.to_owned();
            }
        }
        words
    }
}

pub(crate) fn event(client: &mut Client) -> Event {
    let event = client.next_event(Some(Instant::now() + PATIENCE)).expect("the daemon is there");
    event.expect("an event in time")
}

/// Asserts that nothing has happened: whatever had would be sent before the answer to a request.
pub(crate) fn no_event(client: &mut Client) {
    status(client);
    let event = client.next_event(Some(Instant::now())).expect("the daemon is there");
    assert_eq!(event, None);
}

pub(crate) fn request(name: &str, mode: Mode, flags: LockFlags) -> LockRequest<'_> {
    LockRequest { flags, ..LockRequest::new(name.as_bytes(), mode) }
}

/// Takes a free lock; returns it and its token.
pub(crate) fn lock(client: &mut Client, name: &str, mode: Mode) -> (Handle, u64) {
    lock_with(client, name, mode, LockFlags::empty())
}

pub(crate) fn lock_with(
    client: &mut Client,
    name: &str,
    mode: Mode,
    flags: LockFlags,
) -> (Handle, u64) {
    let handle = client.lock(&request(name, mode, flags)).expect("sent");
    (handle, expect_locked(client, handle, mode))
}

/// The next event is the grant; returns its token.
pub(crate) fn expect_locked(client: &mut Client, handle: Handle, mode: Mode) -> u64 {
    match event(client) {
        Event::Locked { handle: granted, mode: got, token, .. }
            if (granted, got) == (handle, mode) =>
        {
            token
        }
        other => panic!("{other:?} instead of {handle:?} in {mode}"),
    }
}

/// Tries to take a lock that is held; returns why it was refused.
pub(crate) fn refused(
    client: &mut Client,
    name: &str,
    mode: Mode,
    flags: LockFlags,
) -> (Errno, String) {
    client.lock(&request(name, mode, flags)).expect("sent");
    match event(client) {
        Event::Refused { errno, text, .. } => (errno, text),
        other => panic!("{other:?} instead of a refusal"),
    }
}

pub(crate) fn unlock(client: &mut Client, handle: Handle) {
    client.unlock(handle).expect("sent");
    assert_eq!(event(client), Event::Unlocked { handle, result: Ok(()), text: String::new() });
}

pub(crate) fn status(client: &mut Client) -> StatusItem {
    one(client, &ControlRequest::Status {})
}

pub(crate) fn counter(client: &mut Client, name: &str) -> u64 {
    let item: CountersItem = one(client, &ControlRequest::Counters {});
    item.counters.get(name).copied().unwrap_or(0)
}

pub(crate) fn locks(client: &mut Client) -> Vec<LockItem> {
    let request = ControlRequest::Locks { group: None, name: None };
    client.control(&request).expect("sent").read_all().expect("an answer")
}

pub(crate) fn one<T: serde::de::DeserializeOwned>(
    client: &mut Client,
    request: &ControlRequest,
) -> T {
    let mut items = client.control(request).expect("sent").read_all().expect("an answer");
    assert_eq!(items.len(), 1);
    items.remove(0)
}
