//! `stackglue lock`: the lock is asked for, waited for, and held while the command runs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use daemon::control::{ControlRequest, LockItem, Name};
use daemon::{Client, Handle, LockRequest};
use dlm::{LockFlags, Mode};

use crate::acquire::{self, Outcome};
use crate::arguments::LockArguments;
use crate::exit::{Failure, after_signal};
use crate::held::Held;
use crate::locks::holders;
use crate::signals::Signals;
use crate::{child, mutex_helper, name, session};

/// Runs the command under the lock and returns its exit status.
pub(crate) fn run(arguments: &LockArguments) -> Result<u8, Failure> {
    if arguments.ctdb_helper {
        return mutex_helper::run(arguments);
    }
    let command = arguments.command_line();
    let mut attempt = Attempt::start(arguments, arguments.wanted_mode(), &shown(&command))?;
    match attempt.outcome()? {
        Outcome::Granted { mode, token } => {
            attempt.client.make_inheritable()?;
            let child = child::start(&command, environment(arguments, &attempt.name, mode, token))?;
            let held = Held {
                client: attempt.client,
                handle: attempt.handle,
                signals: attempt.signals,
                name: attempt.name.to_string(),
                on_loss: arguments.on_loss,
                grace: arguments.grace,
            };
            held.until_ended(child)
        }
        Outcome::Conflict(sentence) => Err(conflict(arguments, sentence)),
        Outcome::TimedOut => {
            let sentence = attempt.timeout_sentence();
            Err(conflict(arguments, sentence))
        }
        Outcome::Interrupted(signal) => {
            Ok(u8::try_from(after_signal(signal)).unwrap_or(crate::exit::SOFTWARE))
        }
    }
}

/// A lock that was asked for.
pub(crate) struct Attempt {
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) signals: Signals,
    pub(crate) name: Name,
    group: String,
    mode: Mode,
    /// How long to wait for the lock; `None` for ever, or not at all.
    patience: Option<Duration>,
    deadline: Option<Instant>,
}

impl Attempt {
    /// Asks for the lock. `command` is what others see who ask who holds it.
    pub(crate) fn start(
        arguments: &LockArguments,
        mode: Mode,
        command: &str,
    ) -> Result<Attempt, Failure> {
        let since = Instant::now();
        let name = name::resource(&arguments.name)?;
        // The answer to a request that does not wait comes as soon as there is a daemon.
        let (flags, patience) = match arguments.patience() {
            Some(Duration::ZERO) => (LockFlags::NOQUEUE, None),
            patience => (LockFlags::empty(), patience),
        };
        let deadline = patience.and_then(|patience| since.checked_add(patience));
        let client = match deadline {
            None => Some(session::connect_or_start(command)?),
            Some(deadline) => session::connect_or_start_until(command, deadline)?,
        };
        let Some(mut client) = client else {
            let seconds = patience.unwrap_or_default().as_secs_f64();
            return Err(conflict(arguments, format!("no daemon was ready within {seconds} s")));
        };
        let handle = client.lock(&LockRequest {
            group: &arguments.group,
            name: name.as_bytes(),
            mode,
            flags,
            purpose: &arguments.purpose,
        })?;
        // Not before: what comes earlier ends this process, and there is nothing to take back.
        let signals = Signals::catch()?;
        let group = arguments.group.clone();
        Ok(Attempt { client, handle, signals, name, group, mode, patience, deadline })
    }

    /// Waits for the answer, as long as patience lasts.
    pub(crate) fn outcome(&mut self) -> Result<Outcome, Failure> {
        acquire::wait_for(&mut self.client, &mut self.signals, self.handle, self.deadline)
    }

    /// Says that the lock was not granted in time, and who holds it.
    pub(crate) fn timeout_sentence(&mut self) -> String {
        let request = ControlRequest::Locks {
            group: Some(self.group.clone()),
            name: Some(self.name.clone()),
        };
        let locks = self.client.control(&request).and_then(|answer| answer.read_all());
        let locks: Vec<LockItem> = locks.unwrap_or_default();
        let seconds = self.patience.unwrap_or_default().as_secs_f64();
        let (name, group, mode) = (&self.name, &self.group, self.mode);
        let waited =
            format!("\"{name}\" in group {group} was not granted in {mode} within {seconds} s");
        match holders(&locks, mode) {
            holders if holders.is_empty() => waited,
            holders => format!("{waited}: {holders}"),
        }
    }
}

fn conflict(arguments: &LockArguments, sentence: String) -> Failure {
    let sentence = if arguments.quiet { String::new() } else { sentence };
    Failure::new(arguments.conflict_exit_code, sentence)
}

/// A command as one line of text.
pub(crate) fn shown(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// What the command sees of its lock. A stack that does not number its grants has the token 0, which is
/// none: an inherited one is no better.
fn environment(
    arguments: &LockArguments,
    name: &Name,
    mode: Mode,
    token: u64,
) -> [(&'static str, Option<OsString>); 5] {
    let token = (token != 0).then(|| token.to_string().into());
    [
        ("STACKGLUE_NAME", Some(OsString::from_vec(name.as_bytes().to_vec()))),
        ("STACKGLUE_GROUP", Some(OsStr::from_bytes(arguments.group.as_bytes()).to_owned())),
        ("STACKGLUE_MODE", Some(mode.name().into())),
        ("STACKGLUE_TOKEN", token),
        ("STACKGLUE_ON_LOSS", Some(arguments.on_loss.name().into())),
    ]
}
