//! One line for each thing that happens.

use std::collections::VecDeque;
use std::time::Duration;

/// What the lines mean.
pub(crate) const LEGEND: &str = "\
  seconds  event
  n1 > n2 CreateLock name     n1 sends a message (its status: n2 > n1 = CreateLock 0)
  n1 ~ n2 ...                 a connection between them opens, ends or is refused
  n1 * ...                    the life of n1: starts, joins, leaves, is fenced, stops
  n1 d0.u1 ...                a user of domain 0 on n1 asks, or is told
  n1 # ...                    the heartbeat of n1 on disk
  ## ...                      a fault strikes, or is over
  !! ...                      what must not happen
";

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    mode: Mode,
    hash: u64,
    last: VecDeque<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    Keep(usize),
    Print,
}

impl Log {
    /// Nothing is written: the quickest.
    pub(crate) fn off() -> Log {
        Log::new(Mode::Off)
    }

    /// The last lines are kept, and all of them hashed.
    pub(crate) fn keep(lines: usize) -> Log {
        Log::new(Mode::Keep(lines))
    }

    /// Every line is printed.
    pub(crate) fn print() -> Log {
        Log::new(Mode::Print)
    }

    fn new(mode: Mode) -> Log {
        Log { mode, hash: 0xCBF2_9CE4_8422_2325, last: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, now: Duration, line: impl FnOnce() -> String) {
        if self.mode == Mode::Off {
            return;
        }
        let line = format!("{:>11.6}  {}", now.as_secs_f64(), line());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        match self.mode {
            Mode::Off => {}
            Mode::Print => println!("{line}"),
            Mode::Keep(lines) => {
                if self.last.len() == lines {
                    self.last.pop_front();
                }
                self.last.push_back(line);
            }
        }
    }

    /// A hash of every line so far (FNV-1a).
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}
