//! One lab for several tests of a process.

use std::sync::Mutex;

use crate::error::Error;
use crate::options::LabOptions;
use crate::rig::Lab;

/// Runs a test in a lab with these options: the one that the test before used if it had the same ones,
/// succeeded, and left every guest alive; otherwise a new one. Waits while another test uses it.
///
/// Tests that share a lab keep apart by using domains of their own names.
pub fn shared<T, E: From<Error>>(
    options: LabOptions,
    test: impl FnOnce(&Lab) -> Result<T, E>,
) -> Result<T, E> {
    let mut slot = SLOT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Out of the slot while the test runs: if it fails or panics, the next one does not start where it
    // stopped.
    let usable = slot
        .take()
        .filter(|lab| *lab.options() == options && lab.guests().all(|guest| guest.is_alive()));
    let lab = match usable {
        Some(lab) => lab,
        None => Lab::up(options)?,
    };
    let outcome = test(&lab)?;
    *slot = Some(lab);
    Ok(outcome)
}

/// Nothing drops it when the process ends; the lab's guard notices that.
static SLOT: Mutex<Option<Lab>> = Mutex::new(None);
