//! Locks between kernels and us: each side as the master, in both directions.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lab::{Error, Guest, eventually};
use stackglue::{LockFlags, Mode};

use crate::ours::{Member, Ours, SOON, options, text};

/// Runs steps of the kernel's dlmfs user; see lab/src/dlmfsx.c.
fn steps(guest: Guest<'_>, path: &str, steps: &str) -> Result<String, Error> {
    guest.exec(&format!("/lab/bin/dlmfsx steps {path} {steps}"))?.success()
}

/// Everything that two holders can do to each other with one name.
fn both_ways(domain: &str, name: &str, guest: Guest<'_>, us: &Member) -> Result<(), Error> {
    let path = format!("/dlm/{domain}/{name}");
    // A lock that the kernel keeps after its user is done goes away when we ask; its value comes.
    steps(guest, &path, "ex wfrom-kernel c")?;
    let ours = us.lock(name, Mode::EX);
    assert_eq!(text(&ours.lvb()), "from-kernel", "{name}");
    // Beside our EX the kernel gets nothing.
    let refused = guest.exec(&format!("/lab/bin/dlmfsx hold {path} pr 0 try"))?;
    assert!(refused.stdout.contains("Text file busy"), "{refused:?}");
    // The kernel waits for us, is granted when we are done, and reads what we wrote.
    let blocked = us.blocked.load(Ordering::Relaxed);
    ours.set_lvb(b"from-us").expect("it fits");
    let waiter = guest.spawn(&format!("/lab/bin/dlmfsx steps {path} pr r c"))?;
    assert!(eventually(SOON, || us.blocked.load(Ordering::Relaxed) > blocked), "no BAST");
    assert!(!waiter.has_ended());
    ours.unlock().wait().expect("unlocked");
    let read = waiter.wait(SOON)?.success()?;
    assert!(read.contains("from-us"), "{name}: {read}");
    // PR beside PR.
    let reader = guest.spawn(&format!("/lab/bin/dlmfsx hold {path} pr 600"))?;
    reader.wait_for("got pr", SOON)?;
    let ours = us.lock(name, Mode::PR);
    assert_eq!(text(&ours.lvb()), "from-us");
    // We are refused, and give up waiting, and nothing of that is left.
    assert!(us.is_refused(name, Mode::EX));
    let gave_up = us.client.lock(name, Mode::EX).wait_timeout(Duration::from_millis(300));
    assert!(gave_up.is_err(), "EX beside PR");
    // Our conversion waits for the kernel's reader, which goes.
    let wait = std::thread::scope(|scope| {
        let convert = scope.spawn(|| {
            let mut ours = ours;
            ours.convert(Mode::EX).flags(LockFlags::VALBLK).wait().map(|()| ours)
        });
        std::thread::sleep(Duration::from_millis(200));
        assert!(!convert.is_finished(), "EX beside PR");
        reader.kill().map(|_| convert.join().expect("no panic"))
    })?;
    let mut ours = wait.unwrap_or_else(|error| panic!("{error}"));
    // Down again, with a value.
    ours.set_lvb(b"converted").expect("it fits");
    ours.convert(Mode::PR).flags(LockFlags::VALBLK).wait().expect("down");
    let read = steps(guest, &path, "pr r c")?;
    assert!(read.contains("converted"), "{name}: {read}");
    ours.unlock().wait().expect("unlocked");
    // The kernel gets EX and drops the lock for good.
    steps(guest, &path, "ex c u")?;
    Ok(())
}

fn beside_kernels(ours_is_lower: bool) -> Result<(), Error> {
    lab::shared(options(ours_is_lower), |lab| {
        let (one, two) = (lab.guest(1), lab.guest(2));
        let ours = Ours::start(lab);
        // We join the domain of a kernel, and another kernel joins ours.
        one.exec("mkdir /dlm/locks")?.success()?;
        let us = ours.join("locks");
        two.exec("mkdir /dlm/locks")?.success()?;
        for guest in [one, two] {
            // Mastered by the kernel, which is first.
            both_ways("locks", &format!("theirs{}", guest.number()), guest, &us)?;
            // Mastered by us.
            let name = format!("ours{}", guest.number());
            us.lock(&name, Mode::NL).unlock().wait().expect("unlocked");
            both_ways("locks", &name, guest, &us)?;
        }
        us.leave();
        for guest in [one, two] {
            guest.exec("rmdir /dlm/locks || (rm -f /dlm/locks/*; rmdir /dlm/locks)")?.success()?;
        }
        ours.stop();
        for guest in lab.guests() {
            assert_eq!(guest.kernel_errors(&[])?, [] as [String; 0]);
        }
        Ok(())
    })
}

// Behaviours 85, 140, 385.
#[test]
fn with_the_highest_number_we_lock_with_kernels_both_ways() -> Result<(), Error> {
    beside_kernels(false)
}

// Behaviours 86, 386.
#[test]
fn with_the_lowest_number_we_lock_with_kernels_both_ways() -> Result<(), Error> {
    beside_kernels(true)
}
