//! Nodes that die, and nodes that leave in good order: kernels and us.

use std::time::{Duration, Instant};

use lab::{Error, Lab, eventually};
use stackglue::{LockFlags, Mode};

use crate::ours::{LOST, Ours, RECOVERY, SOON, options, text};
use crate::process::{self, Process};

// Behaviours 259, 260, 264-277, 388: a kernel dies that masters, and one that holds.
#[test]
fn a_kernel_that_dies_is_recovered_by_us_and_the_other_kernel() -> Result<(), Error> {
    lab::shared(options(true), |lab| {
        let (victim, other) = (lab.guest(1), lab.guest(2));
        let ours = Ours::start(lab);
        victim.exec("mkdir /dlm/deaths")?.success()?;
        let us = ours.join("deaths");
        other.exec("mkdir /dlm/deaths")?.success()?;
        // Mastered by the victim: one that it holds, one that all read with a value.
        let held = victim.spawn("/lab/bin/dlmfsx hold /dlm/deaths/held ex 600")?;
        held.wait_for("got ex", SOON)?;
        victim.exec("/lab/bin/dlmfsx steps /dlm/deaths/read ex wkept c")?.success()?;
        let reader = us.lock("read", Mode::PR);
        assert_eq!(text(&reader.lvb()), "kept");
        let other_reader = other.spawn("/lab/bin/dlmfsx hold /dlm/deaths/read pr 600")?;
        other_reader.wait_for("got pr", SOON)?;
        // Mastered by us, and held by the victim.
        let lock = us.lock("ours", Mode::EX);
        lock.set_lvb(b"old").expect("it fits");
        lock.unlock().wait().expect("unlocked");
        let writer = victim.spawn("/lab/bin/dlmfsx hold /dlm/deaths/ours ex 600")?;
        writer.wait_for("got ex", SOON)?;
        // We wait for one, the other kernel for both.
        let waits = std::thread::scope(|scope| -> Result<_, Error> {
            let (held, ours) = (
                scope.spawn(|| us.client.lock("held", Mode::EX).wait_timeout(RECOVERY)),
                scope.spawn(|| {
                    let request = us.client.lock("ours", Mode::PR).flags(LockFlags::VALBLK);
                    request.wait_timeout(RECOVERY)
                }),
            );
            std::thread::sleep(Duration::from_millis(500));
            assert!(!held.is_finished() && !ours.is_finished());
            assert!(us.died.lock().is_empty());
            victim.kill()?;
            Ok((held.join().expect("no panic"), ours.join().expect("no panic")))
        })?;
        let held = waits.0.unwrap_or_else(|error| panic!("{error}"));
        let ours_again = waits.1.unwrap_or_else(|error| panic!("{error}"));
        // The recovery handler ran, once, before that. Its number: guests have 10 + G.
        assert_eq!(*us.died.lock(), [11]);
        assert_eq!(text(&ours_again.lvb()), "", "the value of a dead writer is lost");
        // What readers had read is kept, whoever masters it now.
        assert!(us.is_refused("read", Mode::EX), "the other kernel reads");
        let third = us.lock("read", Mode::PR);
        assert_eq!(text(&third.lvb()), "kept");
        // The other kernel goes on with both of us.
        let waiter = other.spawn("/lab/bin/dlmfsx hold /dlm/deaths/held ex 0")?;
        waiter.wait_for("ask ex", SOON)?;
        held.unlock().wait().expect("unlocked");
        waiter.wait(SOON)?.success()?;
        other_reader.kill()?;
        for lock in [reader, third, ours_again] {
            lock.unlock().wait().expect("unlocked");
        }
        us.leave();
        ours.stop();
        assert_eq!(other.kernel_errors(&[])?, [] as [String; 0]);
        Ok(())
    })
}

// Behaviours 387, 388, 389: we die as a process does, with SIGKILL.
#[test]
fn when_we_are_killed_the_kernels_recover_and_go_on() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let (one, two) = (lab.guest(1), lab.guest(2));
        for guest in lab.guests() {
            guest.exec("mkdir /dlm/killed")?.success()?;
        }
        let mut victim = holder_of_a(lab, "killed");
        let waiters = [
            one.spawn("/lab/bin/dlmfsx hold /dlm/killed/a ex 0")?,
            two.spawn("/lab/bin/dlmfsx hold /dlm/killed/a ex 0")?,
        ];
        for waiter in &waiters {
            waiter.wait_for("ask ex", SOON)?;
        }
        std::thread::sleep(Duration::from_millis(500));
        assert!(waiters.iter().all(|waiter| !waiter.has_ended()));
        victim.kill();
        let since = Instant::now();
        for waiter in waiters {
            let outcome = waiter.wait(RECOVERY)?.success()?;
            assert!(outcome.contains("got ex"), "{outcome}");
        }
        assert!(since.elapsed() > Duration::from_secs(10), "granted before we were dead");
        // We come back, and nobody minds.
        let ours = Ours::start(lab);
        let us = ours.join("killed");
        us.lock("a", Mode::EX).unlock().wait().expect("unlocked");
        us.leave();
        ours.stop();
        for guest in lab.guests() {
            assert!(guest.is_alive(), "a kernel fenced itself");
            assert_eq!(guest.kernel_errors(&LOST)?, [] as [String; 0]);
        }
        Ok(())
    })
}

// Behaviours 45, 46, 54, 63: everybody sees everybody, and judges death by the same measure.
#[test]
fn a_kernel_and_we_declare_a_silent_node_dead_at_the_same_time() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let (one, silent) = (lab.guest(1), lab.guest(2));
        let ours = Ours::start(lab);
        for guest in lab.guests() {
            guest.exec("mkdir /dlm/silent")?.success()?;
        }
        let us = ours.join("silent");
        assert!(ours.node.status().nodes.iter().all(|node| node.live), "all three are seen");
        silent.kill()?;
        let since = Instant::now();
        let is_live =
            || ours.node.status().nodes.iter().any(|node| node.node.get() == 2 && node.live);
        assert!(eventually(RECOVERY, || !is_live()), "we never notice");
        let here = since.elapsed();
        let evicted = "dmesg | grep -q 'evicted node 2'";
        assert!(eventually(SOON, || {
            one.exec(evicted).is_ok_and(|outcome| outcome.success().is_ok())
        }));
        // Threshold 7: seven samples without a change, 2 s apart, give or take one on either side.
        let there = since.elapsed();
        let expected = Duration::from_secs(10)..Duration::from_secs(19);
        assert!(expected.contains(&here), "after {here:?}");
        assert!(there.abs_diff(here) < Duration::from_secs(5), "we {here:?}, the kernel {there:?}");
        assert!(eventually(RECOVERY, || *us.died.lock() == [2]));
        us.leave();
        ours.stop();
        assert_eq!(one.kernel_errors(&LOST)?, [] as [String; 0]);
        Ok(())
    })
}

// Behaviour 390: we are back, with a new generation, before anybody has missed us.
#[test]
fn when_we_are_killed_and_back_at_once_the_kernels_recover_first() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let one = lab.guest(1);
        for guest in lab.guests() {
            guest.exec("mkdir /dlm/back")?.success()?;
        }
        let mut victim = holder_of_a(lab, "back");
        let waiter = one.spawn("/lab/bin/dlmfsx hold /dlm/back/a ex 0")?;
        waiter.wait_for("ask ex", SOON)?;
        victim.kill();
        let ours = Ours::start(lab);
        // The new generation ends the old life at once: what it held is granted to who waits.
        let outcome = waiter.wait(RECOVERY)?.success()?;
        assert!(outcome.contains("got ex"), "{outcome}");
        let us = ours.join("back");
        let lock = us.client.lock("a", Mode::EX).wait_timeout(RECOVERY);
        lock.unwrap_or_else(|error| panic!("{error}")).unlock().wait().expect("unlocked");
        us.leave();
        ours.stop();
        for guest in lab.guests() {
            assert!(guest.is_alive(), "a kernel fenced itself");
            assert_eq!(guest.kernel_errors(&LOST)?, [] as [String; 0]);
        }
        Ok(())
    })
}

// Behaviours 249-254, 393, 394: who leaves hands over what it masters.
#[test]
fn whoever_leaves_hands_over_what_it_masters() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let (one, two) = (lab.guest(1), lab.guest(2));
        let ours = Ours::start(lab);
        let us = ours.join("moves");
        one.exec("mkdir /dlm/moves")?.success()?;
        two.exec("mkdir /dlm/moves")?.success()?;
        // Ours go to the kernels when we leave, with holders and a waiter. (A kernel that takes over
        // learns the value from the locks of others, not from its own: so both read.)
        let lock = us.lock("a", Mode::EX);
        lock.set_lvb(b"moved").expect("it fits");
        lock.unlock().wait().expect("unlocked");
        let readers = [
            one.spawn("/lab/bin/dlmfsx hold /dlm/moves/a pr 600")?,
            two.spawn("/lab/bin/dlmfsx hold /dlm/moves/a pr 600")?,
        ];
        for reader in &readers {
            reader.wait_for("got pr", SOON)?;
        }
        us.lock("c", Mode::NL).unlock().wait().expect("unlocked");
        let holder = one.spawn("/lab/bin/dlmfsx hold /dlm/moves/c ex 600")?;
        holder.wait_for("got ex", SOON)?;
        let waiter = two.spawn("/lab/bin/dlmfsx hold /dlm/moves/c ex 0")?;
        waiter.wait_for("ask ex", SOON)?;
        for name in 0..50 {
            us.lock(&format!("many{name}"), Mode::NL).unlock().wait().expect("unlocked");
        }
        one.exec("/lab/bin/dlmfsx touch /dlm/moves ex 50 many")?.success()?;
        us.leave();
        holder.kill()?;
        waiter.wait(SOON)?.success()?;
        for reader in readers {
            reader.kill()?;
        }
        for guest in [one, two] {
            let read = guest.exec("/lab/bin/dlmfsx steps /dlm/moves/a pr r c ex c")?.success()?;
            assert!(read.contains("moved"), "{read}");
        }
        // And a kernel's come to us.
        let us = ours.join("moves");
        one.exec("/lab/bin/dlmfsx steps /dlm/moves/b ex wback c")?.success()?;
        let ours_read = us.lock("b", Mode::PR);
        two.exec("rm -f /dlm/moves/*; rmdir /dlm/moves")?.success()?;
        one.exec("rm -f /dlm/moves/*; rmdir /dlm/moves")?.success()?;
        assert_eq!(text(&ours_read.lvb()), "back");
        ours_read.unlock().wait().expect("unlocked");
        let alone = us.lock("b", Mode::EX);
        assert_eq!(text(&alone.lvb()), "back");
        alone.unlock().wait().expect("unlocked");
        us.leave();
        ours.stop();
        for guest in lab.guests() {
            assert_eq!(guest.kernel_errors(&[])?, [] as [String; 0]);
        }
        Ok(())
    })
}

#[test]
#[ignore = "no test: another one runs it as a process, to kill it"]
fn holder() {
    let ours = process::node();
    let us = ours.join(&process::variable("DOMAIN"));
    let _held = us.lock("a", Mode::EX);
    println!("holding");
    std::thread::sleep(Duration::from_secs(600));
}

fn holder_of_a(lab: &Lab, domain: &str) -> Process {
    let number = lab.options().extra_base;
    let mut process = Process::start(lab, number, "deaths::holder", |command| {
        command.env(process::name_of("DOMAIN"), domain);
    });
    process.wait_for("holding");
    process
}
