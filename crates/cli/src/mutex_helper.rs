//! The cluster mutex helper of Samba's CTDB (`ctdb/doc/cluster_mutex_helper.txt`): takes the lock,
//! says so with one digit, and holds it until CTDB says otherwise or is gone.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use daemon::Event;
use dlm::Mode;
use rustix::process::{PidfdFlags, getppid, pidfd_open};
use signal_hook::consts::{SIGUSR1, SIGUSR2};

use crate::acquire::{Outcome, give_back, wait_readable};
use crate::arguments::LockArguments;
use crate::exit::{Failure, LOST, OS_ERROR, warn};
use crate::lock::Attempt;

/// Says how it went, and if it went well holds the lock. CTDB ignores the exit status.
pub(crate) fn run(arguments: &LockArguments) -> Result<u8, Failure> {
    match take(arguments) {
        Ok((Outcome::Granted { .. }, attempt, parent)) => {
            say('0')?;
            hold(attempt, &parent)
        }
        Ok((Outcome::Conflict(sentence), ..)) => contended(arguments, '1', &sentence),
        Ok((Outcome::TimedOut, mut attempt, _)) => {
            let sentence = attempt.timeout_sentence();
            contended(arguments, '2', &sentence)
        }
        // Terminated before there was an outcome: nobody waits for one.
        Ok((Outcome::Interrupted(_), ..)) => Ok(0),
        Err(failure) => {
            say('3')?;
            Err(failure)
        }
    }
}

fn take(arguments: &LockArguments) -> Result<(Outcome, Attempt, OwnedFd), Failure> {
    let parent = parent()?;
    let mut attempt = Attempt::start(arguments, Mode::EX, "CTDB cluster mutex")?;
    Ok((attempt.outcome()?, attempt, parent))
}

fn contended(arguments: &LockArguments, digit: char, sentence: &str) -> Result<u8, Failure> {
    say(digit)?;
    let sentence = if arguments.quiet { "" } else { sentence };
    Err(Failure::new(arguments.conflict_exit_code, sentence))
}

fn say(digit: char) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    write!(out, "{digit}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::os("answer CTDB", error))
}

/// Readable when the process that started us has ended.
fn parent() -> Result<OwnedFd, Failure> {
    let failed = |error| Failure::os("watch the process that started this helper", error);
    let parent = getppid()
        .ok_or_else(|| Failure::new(OS_ERROR, "the process that started this helper is gone"))?;
    let descriptor = pidfd_open(parent, PidfdFlags::empty()).map_err(failed)?;
    // If it ended before, the descriptor may be of another process with its number.
    if getppid() != Some(parent) {
        return Err(Failure::new(OS_ERROR, "the process that started this helper is gone"));
    }
    Ok(descriptor)
}

fn hold(mut attempt: Attempt, parent: &OwnedFd) -> Result<u8, Failure> {
    loop {
        while let Some(event) = attempt.client.next_event(Some(Instant::now()))? {
            match event {
                // CTDB sees our end and gives up what it does under the lock.
                Event::Lost { reason, .. } => {
                    return Err(Failure::new(
                        LOST,
                        format!("the lock \"{}\" was lost: {reason}", attempt.name),
                    ));
                }
                Event::Revoked { reason, .. } => {
                    warn(&format!("the lock \"{}\" is revoked: {reason}", attempt.name));
                    return leave(attempt);
                }
                _ => {}
            }
        }
        let told = attempt.signals.received();
        if told.iter().any(|signal| !matches!(signal.number, SIGUSR1 | SIGUSR2)) {
            return leave(attempt);
        }
        let descriptors = [attempt.client.as_fd(), attempt.signals.as_fd(), parent.as_fd()];
        wait_readable(&descriptors, None).map_err(|error| Failure::os("hold the lock", error))?;
        if has_ended(parent)? {
            return leave(attempt);
        }
    }
}

fn has_ended(process: &OwnedFd) -> Result<bool, Failure> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut wanted = [PollFd::new(process, PollFlags::IN)];
    poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
        .map(|ready| ready > 0)
        .or_else(|error| if error == rustix::io::Errno::INTR { Ok(false) } else { Err(error) })
        .map_err(|error| Failure::os("watch CTDB", error))
}

fn leave(mut attempt: Attempt) -> Result<u8, Failure> {
    give_back(&mut attempt.client, attempt.handle)?;
    Ok(0)
}
