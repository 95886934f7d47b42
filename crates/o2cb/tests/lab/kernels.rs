//! Kernels among themselves: what the other tests take for granted about their peers.

use std::time::Duration;

use lab::{Error, LabOptions};

// Behaviours 260, 366.
#[test]
fn a_lock_of_one_kernel_excludes_the_other_until_its_holder_is_dead() -> Result<(), Error> {
    let options = LabOptions { dead_threshold: 7, idle_ms: 10_000, ..LabOptions::default() };
    lab::shared(options, |lab| {
        let (holder, other) = (lab.guest(1), lab.guest(2));
        for guest in lab.guests() {
            guest.exec("mkdir /dlm/kernels")?.success()?;
        }
        let held = holder.spawn("/lab/bin/dlmfsx hold /dlm/kernels/a ex 600")?;
        held.wait_for("got ex", SOON)?;

        let refused = other.exec("/lab/bin/dlmfsx hold /dlm/kernels/a pr 0 try")?;
        assert!(refused.stdout.contains("Text file busy"), "{refused:?}");
        let waiter = other.spawn("/lab/bin/dlmfsx hold /dlm/kernels/a ex 0")?;
        waiter.wait_for("ask ex", SOON)?;
        assert!(!waiter.has_ended());

        holder.kill()?;
        let outcome = waiter.wait(DEAD + RECOVERY)?.success()?;
        assert!(outcome.contains("got ex"), "{outcome}");
        assert!(!holder.is_alive());

        assert_eq!(other.kernel_errors(&[])?, [] as [String; 0]);
        Ok(())
    })
}

/// For what takes milliseconds unless the machine is busy.
const SOON: Duration = Duration::from_secs(10);
/// Dead threshold 7, and a round of the heartbeat in which it is noticed.
const DEAD: Duration = Duration::from_secs(14);
/// The kernel's recovery sleeps and polls, up to 5 seconds at a time.
const RECOVERY: Duration = Duration::from_secs(30);
