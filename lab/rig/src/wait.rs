//! Waiting for a condition.

use std::thread;
use std::time::{Duration, Instant};

/// Asks again and again until `condition` holds, at most for `limit`. Whether it came to hold.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

pub(crate) const PAUSE: Duration = Duration::from_millis(10);
