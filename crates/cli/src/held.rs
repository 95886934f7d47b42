//! A lock is held and its command runs: signals go to the command, and the loss of the lock too.

use std::os::fd::AsFd;
use std::process::Child;
use std::time::{Duration, Instant};

use daemon::{Client, Event, Handle};
use rustix::process::{Pid, Signal, kill_process};

use crate::acquire::{give_back, wait_readable};
use crate::arguments::OnLoss;
use crate::descendants;
use crate::exit::{Failure, LOST, of_command, warn};
use crate::signals::Signals;

/// A held lock.
pub(crate) struct Held {
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) signals: Signals,
    /// The lock's name, as it is shown.
    pub(crate) name: String,
    pub(crate) on_loss: OnLoss,
    /// How long a command that is told to stop has.
    pub(crate) grace: Duration,
}

/// How a lock stands while its command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Ours,
    /// Gone: nothing to give back.
    Gone,
    /// Gone, and the daemon with it or our connection to it.
    Disconnected,
}

/// What becomes of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Runs,
    /// It was told to stop and will be killed then.
    Stops {
        kill_at: Instant,
    },
}

impl Held {
    /// Waits until the command has ended, gives the lock back, and returns the exit status: the
    /// command's, or [`LOST`] when it was stopped because the lock was lost.
    pub(crate) fn until_ended(self, child: Child) -> Result<u8, Failure> {
        Watch { held: self, child, lock: Lock::Ours, course: Course::Runs }.run()
    }
}

struct Watch {
    held: Held,
    child: Child,
    lock: Lock,
    course: Course,
}

impl Watch {
    fn run(mut self) -> Result<u8, Failure> {
        let mut status = None;
        loop {
            self.hear_the_daemon();
            if status.is_none() {
                self.pass_signals_on();
                let ended = self.child.try_wait();
                status = ended.map_err(|error| Failure::os("wait for the command", error))?;
            }
            if let Some(status) = status
                && self.nothing_is_left()
            {
                return Ok(self.finish(of_command(status)));
            }
            self.kill_when_its_time_is_up();
            self.wait()?;
        }
    }

    fn hear_the_daemon(&mut self) {
        while self.lock != Lock::Disconnected {
            match self.held.client.next_event(Some(Instant::now())) {
                Ok(None) => break,
                Ok(Some(Event::Revoked { grace_ms, reason, .. })) => {
                    // Killed some time before the lock may be taken, and not when somebody has it.
                    let grace = Duration::from_millis(grace_ms.into()).mul_f64(0.75);
                    self.lose(&format!("is revoked: {reason}"), self.held.grace.min(grace));
                }
                Ok(Some(Event::Lost { reason, .. })) => {
                    self.lock = Lock::Gone;
                    // Somebody else may have it already: no more grace for one told to stop before.
                    let told = self.course != Course::Runs;
                    let grace = if told { Duration::ZERO } else { self.held.grace };
                    self.lose(&format!("was lost: {reason}"), grace);
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    self.lock = Lock::Disconnected;
                    self.lose(&format!("was lost: {error}"), self.held.grace);
                }
            }
        }
    }

    /// Tells the command.
    fn lose(&mut self, how: &str, grace: Duration) {
        let Held { name, on_loss, .. } = &self.held;
        match on_loss {
            OnLoss::Kill => {
                if self.course == Course::Runs {
                    let seconds = grace.as_secs_f32();
                    warn(&format!(
                        "the lock \"{name}\" {how}; its command is stopped, and killed after {seconds:.1} s"
                    ));
                    descendants::adopt();
                    descendants::signal(Pid::from_child(&self.child), Signal::TERM);
                    self.course = Course::Stops { kill_at: Instant::now() + grace };
                } else if let Course::Stops { kill_at } = &mut self.course {
                    *kill_at = (*kill_at).min(Instant::now() + grace);
                }
            }
            OnLoss::Notify => {
                warn(&format!("the lock \"{name}\" {how}; its command is told by SIGUSR1"));
                self.signal_command(Signal::USR1);
            }
        }
    }

    /// What the terminal sent went to the whole process group: to the command too.
    fn pass_signals_on(&mut self) {
        for received in self.held.signals.received() {
            if !received.from_terminal
                && let Some(signal) = Signal::from_named_raw(received.number)
            {
                self.signal_command(signal);
            }
        }
    }

    fn signal_command(&self, signal: Signal) {
        // It can only have ended: we have not waited for it yet, so its id is not somebody else's.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Whether nothing runs any more that the lock protected.
    fn nothing_is_left(&self) -> bool {
        self.course == Course::Runs || descendants::running(Pid::from_child(&self.child)).is_empty()
    }

    fn kill_when_its_time_is_up(&mut self) {
        if let Course::Stops { kill_at } = self.course
            && kill_at <= Instant::now()
        {
            descendants::signal(Pid::from_child(&self.child), Signal::KILL);
        }
    }

    fn wait(&self) -> Result<(), Failure> {
        let signals = self.held.signals.as_fd();
        let deadline = match self.course {
            Course::Runs => None,
            // The end of a process that is not our child is only seen by looking.
            Course::Stops { kill_at } => {
                let now = Instant::now();
                let again = now + LOOK_AGAIN;
                Some(if kill_at > now { kill_at.min(again) } else { again })
            }
        };
        let waited = match self.lock {
            Lock::Disconnected => wait_readable(&[signals], deadline),
            _ => wait_readable(&[signals, self.held.client.as_fd()], deadline),
        };
        waited.map_err(|error| Failure::os("wait for the command", error))
    }

    fn finish(mut self, status: u8) -> u8 {
        if self.lock == Lock::Ours {
            // On failure the daemon is gone, and the lock with it; the command had ended before.
            let _ = give_back(&mut self.held.client, self.held.handle);
        }
        self.held.client.close();
        if self.course == Course::Runs { status } else { LOST }
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
