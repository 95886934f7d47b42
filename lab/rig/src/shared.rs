//! Labs that outlive the test that started them.

use std::sync::Mutex;

use crate::error::Error;
use crate::options::LabOptions;
use crate::rig::Lab;

/// Runs a test in a lab with these options: one that an earlier test used if it had the same ones,
/// succeeded, and left every guest alive; otherwise a new one.
///
/// Tests that come to the same lab one after the other keep apart by using domains of their own names.
pub fn shared<T, E: From<Error>>(
    options: LabOptions,
    test: impl FnOnce(&Lab) -> Result<T, E>,
) -> Result<T, E> {
    let lab = match left(&options) {
        Some(lab) => lab,
        None => Lab::up(options)?,
    };
    // Not among those that are left while the test runs: if it fails or panics, the next one does not
    // start where it stopped.
    let outcome = test(&lab)?;
    LEFT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(lab);
    Ok(outcome)
}

/// A lab that fits; one that does not makes room for the one that has to be started.
fn left(options: &LabOptions) -> Option<Lab> {
    let mut left = LEFT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    left.retain(|lab| lab.guests().all(|guest| guest.is_alive()));
    let fits = left.iter().position(|lab| lab.options() == options);
    let unfit = fits.is_none().then(|| left.pop()).flatten();
    let lab = fits.map(|one| left.swap_remove(one));
    drop((left, unfit));
    lab
}

/// Nothing drops them when the process ends; their guards notice that.
static LEFT: Mutex<Vec<Lab>> = Mutex::new(Vec::new());
