//! Signals that come to this process, as a descriptor to wait on.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;

use crate::exit::Failure;

/// The signals that a command under a lock is given when they are sent to us, and the one that tells
/// of its end.
const CAUGHT: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD];

/// Catches signals from its making on.
#[derive(Debug)]
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, WithRawSiginfo>,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) number: i32,
    /// Whether a person pressed a key, or the terminal went away: then the whole process group has it.
    pub(crate) from_terminal: bool,
}

impl Signals {
    /// Catches the signals that ask for something, except those that this process was started with as
    /// ignored (by `nohup`, or by a shell for what runs in the background): they stay ignored, for the
    /// command too.
    pub(crate) fn catch() -> Result<Signals, Failure> {
        let ignored = std::fs::read_to_string("/proc/self/status")
            .map_or(0, |status| ignored_signals(&status));
        let wanted = CAUGHT
            .into_iter()
            .filter(|&signal| signal == SIGCHLD || ignored & (1 << (signal - 1)) == 0);
        let delivery = UnixStream::pair().and_then(|(read, write)| {
            SignalDelivery::with_pipe(read, write, WithRawSiginfo, wanted)
        });
        delivery.map(|delivery| Signals { delivery }).map_err(|e| Failure::os("catch signals", e))
    }

    /// What came since the last call, without the ends of children. Never blocks.
    pub(crate) fn received(&mut self) -> Vec<Received> {
        self.delivery
            .pending()
            .filter(|info| info.si_signo != SIGCHLD)
            .map(|info| Received {
                number: info.si_signo,
                from_terminal: info.si_code == SI_KERNEL,
            })
            .collect()
    }
}

impl AsFd for Signals {
    /// Readable when a signal came.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

/// The mask of ignored signals in the text of `/proc/PID/status`: bit 0 is signal 1.
fn ignored_signals(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// `si_code` of a signal that the kernel made, as the terminal driver does on ^C
/// (`include/uapi/asm-generic/siginfo.h`).
const SI_KERNEL: i32 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read_from_proc() {
        let status =
            "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t00\n";
        assert_eq!(ignored_signals(status), 1 << (SIGHUP - 1) | 1 << 12);
        assert_eq!(ignored_signals("nothing of the kind"), 0);
    }

    #[test]
    fn a_signal_sent_by_a_process_is_told_from_one_of_the_terminal() {
        let mut signals = Signals::catch().expect("signals");
        signal_hook::low_level::raise(SIGUSR2).expect("a signal to ourselves");
        let received = signals.received();
        assert_eq!(received, [Received { number: SIGUSR2, from_terminal: false }]);
        assert_eq!(signals.received(), []);
    }
}
