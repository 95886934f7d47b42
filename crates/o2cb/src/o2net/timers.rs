//! The timers of one peer.

use crate::Now;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Until another attempt to connect.
    Connect,
    /// Until a connection that has not completed its handshakes is given up.
    Handshake,
    /// Until a connection on which nothing is received counts as in error.
    Idle,
    /// Until a connection on which nothing is received is asked for a sign of life.
    Keepalive,
    /// Until quorum is told that a peer still heartbeats whose connection is in error.
    StillUp,
}

impl Timer {
    /// All timers, in the order in which those due at one time fire: a peer is asked for a sign of
    /// life before it counts as idle.
    pub(super) const ALL: [Timer; 5] =
        [Timer::Connect, Timer::Handshake, Timer::Keepalive, Timer::Idle, Timer::StillUp];
}

/// When each timer fires, if it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers([Option<Now>; 5]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Now) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops a timer that is due; whether it was.
    pub(super) fn take_due(&mut self, timer: Timer, now: Now) -> bool {
        self.0[timer as usize].take_if(|at| *at <= now).is_some()
    }

    /// When the first one fires.
    pub(super) fn first(&self) -> Option<Now> {
        self.0.iter().flatten().min().copied()
    }
}
