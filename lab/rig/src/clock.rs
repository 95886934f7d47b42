//! One clock for all programs of a lab, in guests and on the host.

use std::process::Command;
use std::time::Duration;

use crate::error::{Error, about};
use crate::rig::Lab;

/// One moment on two clocks: the processor's time stamp counter, which programs in a guest read as
/// those on the host do, and the host's CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    counter: u64,
    monotonic: Duration,
}

impl Moment {
    /// What CLOCK_MONOTONIC said when the counter was at `counter`, somewhere between this moment and
    /// a `later` one.
    pub fn time_of(&self, counter: u64, later: &Moment) -> Duration {
        let since = counter.saturating_sub(self.counter);
        let (ticks, took) = (later.counter - self.counter, later.monotonic - self.monotonic);
        let nanos = u128::from(since) * took.as_nanos() / u128::from(ticks.max(1));
        self.monotonic + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Lab {
    /// Now.
    pub fn moment(&self) -> Result<Moment, Error> {
        let program = self.directory().join("bin/dlmfsmix");
        let output = about(program.display(), Command::new(&program).arg("clock").output())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        moment(&text).ok_or(Error::Unexpected { path: program, problem: text })
    }
}

fn moment(text: &str) -> Option<Moment> {
    let (counter, nanos) = text.trim().split_once(' ')?;
    let monotonic = Duration::from_nanos(nanos.parse().ok()?);
    Some(Moment { counter: counter.parse().ok()?, monotonic })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_a_time_between_two_moments() {
        let first = moment("1000 5000000\n").expect("a moment");
        let later = moment("3000 6000000\n").expect("a moment");
        assert_eq!(first.time_of(1000, &later), Duration::from_millis(5));
        assert_eq!(first.time_of(1500, &later), Duration::from_micros(5250));
        assert_eq!(first.time_of(3000, &later), Duration::from_millis(6));
        assert!(moment("").is_none() && moment("1").is_none() && moment("1 x").is_none());
    }
}
