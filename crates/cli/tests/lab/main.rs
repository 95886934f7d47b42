//! Our dlmfs beside the kernel's: `cargo xtask lab dlmfs` runs this, as root.

#[path = "../end_to_end/host.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod host;
#[path = "../dlmfs/mounted.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod mounted;
mod ours;

use std::thread;
use std::time::Duration;

use lab::{Error, LabOptions};
use rustix::io::Errno;

use crate::mounted::{How, Mounted, errno};
use crate::ours::Node;

const KERNEL: &str = include_str!("../../../dlmfs/tests/fixtures/calls-linux-6.1.txt");

/// For what takes milliseconds unless the machine is busy.
const SOON: Duration = Duration::from_secs(20);
/// The dead threshold, and the kernel's recovery, which sleeps and polls up to 5 seconds at a time.
const RECOVERY: Duration = Duration::from_secs(45);
/// What `dlmfsx` ends with when a trylock is refused (ETXTBSY).
const REFUSED: i32 = 16;

fn options() -> LabOptions {
    LabOptions { dead_threshold: 7, idle_ms: 10_000, extra_nodes: 1, ..LabOptions::default() }
}

#[test]
fn a_live_kernel_answers_every_call_as_the_fixture_says() -> Result<(), Error> {
    lab::shared(options(), |lab| {
        let live = lab.guest(1).exec("/lab/bin/dlmfscalls /dlm")?.success()?;
        let mut lines = KERNEL.lines().zip(live.lines());
        assert_eq!(lines.find(|(fixture, live)| fixture != live), None);
        assert_eq!(KERNEL.lines().count(), live.lines().count());
        Ok(())
    })
}

#[test]
fn libo2dlm_does_on_the_kernels_dlmfs_what_our_test_of_it_expects() -> Result<(), Error> {
    lab::shared(options(), |lab| {
        let [program, other] = [lab.guest(1), lab.guest(2)];
        let running = program.spawn("/lab/bin/o2dlmcalls /dlm")?;
        running.wait_for("\nwaits\n", SOON)?;
        other.exec("mkdir /dlm/d && /lab/bin/dlmfsx hold /dlm/d/y ex 0")?.success()?;
        running.wait(SOON)?.success()?;
        other.exec("rm /dlm/d/y && rmdir /dlm/d")?.success()?;
        Ok(())
    })
}

#[test]
fn the_kernels_dlmfs_and_ours_exclude_each_other_and_share_values() -> Result<(), Error> {
    lab::shared(options(), |lab| {
        let kernel = lab.guest(1);
        let complaints = kernel.kernel_errors(&[])?;
        let mut node = Node::start(lab);
        let mut mounted = Mounted::with_domain(&node.host, "dlm");
        kernel.exec("mkdir /dlm/d")?.success()?;
        let try_there = |level: &str| -> Result<i32, Error> {
            Ok(kernel.exec(&format!("/lab/bin/dlmfsx hold /dlm/d/a {level} 0 try"))?.code)
        };

        // Ours has it, and is told when the kernel wants it.
        let held = mounted.open("a", How::Exclusive).expect("nobody has it");
        ours::write(&held, "from ours");
        assert_eq!((try_there("pr")?, try_there("ex")?), (REFUSED, REFUSED));
        assert!(!ours::is_wanted(&held, Duration::ZERO));
        let there = kernel.spawn("/lab/bin/dlmfsx steps /dlm/d/a ex r wfrom-kernel c")?;
        assert!(ours::is_wanted(&held, SOON));
        assert!(!there.has_ended());
        drop(held);
        let printed = there.wait(SOON)?.success()?;
        assert!(printed.contains("from ours"), "{printed}");

        // The kernel has it.
        let there = kernel.spawn("exec /lab/bin/dlmfsx hold /dlm/d/a ex 300")?;
        there.wait_for("got ex", SOON)?;
        for how in [How::TryShared, How::TryExclusive] {
            assert_eq!(errno(mounted.open("a", how)), Errno::TXTBSY, "{how:?}");
        }
        thread::scope(|scope| -> Result<(), Error> {
            let waiter = scope.spawn(|| mounted.open("a", How::Shared));
            there.kill()?;
            let held = waiter.join().expect("no panic").expect("the kernel let go");
            assert_eq!(ours::read(&held), "from-kernel");
            // Readers share it.
            assert_eq!((try_there("pr")?, try_there("ex")?), (0, REFUSED));
            Ok(())
        })?;

        // Whoever dies here does not hold the kernel up.
        let wants = "/lab/bin/dlmfsx hold /dlm/d/a ex 0";
        let held = mounted.open("a", How::Exclusive).expect("nobody has it");
        let there = kernel.spawn(wants)?;
        assert!(ours::is_wanted(&held, SOON));
        mounted.kill();
        there.wait(SOON)?.success()?;
        drop((held, mounted));

        mounted = Mounted::with_domain(&node.host, "dlm");
        let held = mounted.open("a", How::Exclusive).expect("nobody has it");
        let there = kernel.spawn(wants)?;
        assert!(ours::is_wanted(&held, SOON));
        assert_eq!(kernel.kernel_errors(&[])?, complaints);
        node.kill();
        there.wait(RECOVERY)?.success()?;
        assert_eq!(rustix::io::pread(&held, &mut [0; 8], 0), Err(Errno::IO), "the lock is lost");
        drop((held, mounted));
        kernel.exec("rm /dlm/d/a && rmdir /dlm/d")?.success()?;
        Ok(())
    })
}
