//! Waiting for a lock, and giving it back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use daemon::{Client, ClientError, Event, Handle};
use dlm::{Errno, Mode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as OsErrno;

use crate::exit::{Failure, UNAVAILABLE, of_errno};
use crate::signals::Signals;

/// How the wait for a lock ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The lock is held.
    Granted { mode: Mode, token: u64 },
    /// It could not be had at once; the sentence says who holds it.
    Conflict(String),
    /// It could not be had in time, and is not held or wanted any more.
    TimedOut,
    /// A signal came, and the lock is not held or wanted any more.
    Interrupted(i32),
}

/// Waits until the request is answered, the deadline has passed or a signal has come.
///
/// Whatever comes first counts: when the deadline passes while the grant is on its way, the lock is
/// given back. So a timeout is never a success and a success never a timeout.
pub(crate) fn wait_for(
    client: &mut Client,
    signals: &mut Signals,
    handle: Handle,
    deadline: Option<Instant>,
) -> Result<Outcome, Failure> {
    loop {
        while let Some(event) = client.next_event(Some(Instant::now()))? {
            match event {
                Event::Locked { mode, token, .. } => return Ok(Outcome::Granted { mode, token }),
                Event::Refused { errno: Errno::EAGAIN, text, .. } => {
                    return Ok(Outcome::Conflict(text));
                }
                Event::Refused { errno, text, .. } => {
                    return Err(Failure::new(of_errno(errno.number()), text));
                }
                Event::Lost { reason, .. } => return Err(Failure::new(UNAVAILABLE, reason)),
                _ => {}
            }
        }
        if let Some(signal) = signals.received().first() {
            withdraw(client, handle)?;
            return Ok(Outcome::Interrupted(signal.number));
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            withdraw(client, handle)?;
            return Ok(Outcome::TimedOut);
        }
        wait_readable(&[client.as_fd(), signals.as_fd()], deadline)
            .map_err(|error| Failure::os("wait for the lock", error))?;
    }
}

/// Gives a held lock back, and returns when others can have it.
///
/// # Errors
///
/// When the connection ended, or the daemon did not answer in time: then it goes with this process.
pub(crate) fn give_back(client: &mut Client, handle: Handle) -> Result<(), ClientError> {
    client.unlock(handle)?;
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    while let Some(event) = client.next_event(Some(deadline))? {
        if matches!(event, Event::Unlocked { .. } | Event::Lost { .. }) {
            break;
        }
    }
    Ok(())
}

/// Takes a request back. The grant may win that race; then the lock is given back.
fn withdraw(client: &mut Client, handle: Handle) -> Result<(), ClientError> {
    client.cancel(handle)?;
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    while let Some(event) = client.next_event(Some(deadline))? {
        match event {
            Event::Locked { .. } => return give_back(client, handle),
            Event::Unlocked { .. } | Event::Refused { .. } | Event::Lost { .. } => break,
            _ => {}
        }
    }
    Ok(())
}

/// Blocks until something can be read or the deadline has passed; a signal may end it early.
pub(crate) fn wait_readable(
    descriptors: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<()> {
    let timeout = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    let mut wanted: Vec<_> =
        descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match poll(&mut wanted, timeout.as_ref()) {
        Ok(_) | Err(OsErrno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A daemon that takes longer to answer has stopped; leaving ends the request as well.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
