//! Row SOCK: a lock through the daemon's socket, against the bytes alone.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use daemon::protocol::{FromClient, FromDaemon, LockFrame};
use daemon::{Client, Config, DaemonError, Event, LockRequest, Server, Stopper};
use dlm::{LockFlags, Mode, StatusFlags};
use tempfile::TempDir;

use crate::method::Comparison;
use crate::names::{Name, names, order, part};
use crate::placement::pin;
use crate::row::Row;
use crate::times::{Clock, percentiles, time_block};

/// SOCK: a new exclusive lock and its unlock through the socket of a daemon in this process, against
/// two exchanges of frames of the same sizes over a pair of blocking Unix streams. All threads
/// share one processor: two would measure how a virtual machine wakes its processors.
pub(crate) fn row(cpu: usize) -> Result<Row, Box<dyn Error>> {
    let placement = pin(cpu);
    let names = names(NAMES);
    let order = order(ORDER, NAMES);
    let sizes = Sizes::of(&names[0]);
    let mut raw = Raw::start(sizes)?;
    let daemon = Daemon::start()?;
    let mut client = Client::connect(&daemon.socket, "stackglue-bench")?;
    let (mut raw_times, mut lock_times) = (Vec::new(), Vec::new());
    let found = Comparison::run(
        |_| {
            time_block(Clock::Wall, &mut raw_times, PAIRS, |_| (), |_| raw.exchange_twice(), |_| ())
        },
        |block| {
            let places = part(&order, block, PAIRS);
            let pair = |number: usize| {
                lock_and_unlock(&mut client, &names[places[number] as usize]);
            };
            time_block(Clock::Wall, &mut lock_times, PAIRS, |_| (), pair, |_| ())
        },
    );
    let case = format!("frames of {sizes} bytes");
    let mut row = Row::of_times("SOCK", case, &found, RATIO_MAX, placement);
    row.percentiles = Some(percentiles(lock_times));
    row.reference_percentiles = Some(percentiles(raw_times));
    Ok(row)
}

fn lock_and_unlock(client: &mut Client, name: &Name) {
    let handle = client.lock(&LockRequest::new(name, Mode::EX)).expect("the daemon listens");
    match client.next_event(None).expect("the daemon answers") {
        Some(Event::Locked { .. }) => {}
        other => panic!("a free name was not locked: {other:?}"),
    }
    client.unlock(handle).expect("the daemon listens");
    match client.next_event(None).expect("the daemon answers") {
        Some(Event::Unlocked { .. }) => {}
        other => panic!("a held lock was not unlocked: {other:?}"),
    }
}

/// Bytes of the four frames of a lock and its unlock, length prefixes included.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    lock: usize,
    locked: usize,
    unlock: usize,
    unlocked: usize,
}

impl Sizes {
    /// As the protocol encodes them for a lock of this name.
    fn of(name: &Name) -> Sizes {
        let handle = 1;
        let empty = LockFlags::empty();
        let lock = LockFrame {
            handle,
            mode: Mode::EX,
            flags: empty,
            group: b"",
            name,
            purpose: "",
            lvb: b"",
        };
        let locked = FromDaemon::Locked {
            handle,
            mode: Mode::EX,
            flags: StatusFlags::empty(),
            token: 0,
            lvb: b"",
        };
        let len = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            encode(&mut out);
            out.len()
        };
        Sizes {
            lock: len(&|out| FromClient::Lock(lock).encode(out)),
            locked: len(&|out| locked.encode(out)),
            unlock: len(&|out| FromClient::Unlock { handle, flags: empty, lvb: b"" }.encode(out)),
            unlocked: len(&|out| FromDaemon::Unlocked { handle, errno: 0, text: "" }.encode(out)),
        }
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}+{}+{}", self.lock, self.locked, self.unlock, self.unlocked)
    }
}

/// A pair of blocking streams with a thread at the other end that answers each frame with the next.
struct Raw {
    stream: UnixStream,
    sizes: Sizes,
    buffer: [u8; 256],
}

impl Raw {
    /// Starts the other end. Its thread runs where this one does, and ends when the stream is dropped.
    fn start(sizes: Sizes) -> std::io::Result<Raw> {
        let (stream, mut other) = UnixStream::pair()?;
        thread::spawn(move || {
            let mut buffer = [0; 256];
            let exchanges = [(sizes.lock, sizes.locked), (sizes.unlock, sizes.unlocked)];
            for (request, answer) in exchanges.into_iter().cycle() {
                let served = other.read_exact(&mut buffer[..request]);
                if served.and_then(|()| other.write_all(&buffer[..answer])).is_err() {
                    return;
                }
            }
        });
        Ok(Raw { stream, sizes, buffer: [0; 256] })
    }

    fn exchange_twice(&mut self) {
        let Sizes { lock, locked, unlock, unlocked } = self.sizes;
        for (request, answer) in [(lock, locked), (unlock, unlocked)] {
            self.stream.write_all(&self.buffer[..request]).expect("the other end reads");
            self.stream.read_exact(&mut self.buffer[..answer]).expect("the other end answers");
        }
    }
}

/// A daemon on a thread of this process, with a socket and a state of its own, until dropped.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), DaemonError>>>,
    _directory: TempDir,
}

impl Daemon {
    pub(crate) fn start() -> Result<Daemon, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("socket");
        let server = Server::bind(Config::new(socket.clone(), directory.path().join("state")))?;
        let stopper = server.stopper();
        let thread = Some(thread::spawn(move || server.run()));
        Ok(Daemon { socket, stopper, thread, _directory: directory })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the daemon stopped early: {error}");
        }
    }
}

const NAMES: usize = 1_000;

/// Pairs of operations in a block: some 10 ms.
const PAIRS: usize = 500;

const ORDER: usize = 50 * PAIRS;

const RATIO_MAX: f64 = 1.35;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_exchanges_exactly_the_frames_of_a_lock_and_its_unlock() {
        let sizes = Sizes::of(&names(1)[0]);
        assert_eq!(sizes.lock, 4 + 1 + 4 + 1 + 4 + 4 + 32);
        let mut raw = Raw::start(sizes).expect("a pair of streams");
        raw.exchange_twice();
        raw.exchange_twice();
        raw.stream.set_nonblocking(true).expect("a socket");
        let left = raw.stream.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(left, Err(std::io::ErrorKind::WouldBlock));
    }

    #[test]
    fn a_lock_and_its_unlock_go_through_a_daemon_of_the_process() {
        let daemon = Daemon::start().expect("a daemon");
        let mut client = Client::connect(&daemon.socket, "test").expect("it listens");
        let names = names(2);
        for name in &names {
            lock_and_unlock(&mut client, name);
        }
    }
}
