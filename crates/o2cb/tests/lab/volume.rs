//! In the domain of a mounted OCFS2 volume, and in a crowd.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::{Error, LabOptions};
use stackglue::{LockFlags, Mode};

use crate::ours::{Member, Ours, RECOVERY, SOON, options, text};

// Behaviour 340 gives the name; 354 is why the kernels' journals are left alone.
fn meta_lock(inode: u64) -> String {
    format!("M000000{inode:016x}00000000")
}

#[test]
fn kernels_work_on_a_mounted_volume_while_we_take_and_give_its_inode_locks() -> Result<(), Error> {
    let mounted = LabOptions { mount: true, ..options(false) };
    lab::shared(mounted, |lab| {
        let (one, two) = (lab.guest(1), lab.guest(2));
        let ours = Ours::start(lab);
        let us = ours.join(&lab.region()?.uuid);
        one.exec("mkdir /mnt/d && touch /mnt/d/u1 /mnt/d/u2")?.success()?;
        let inode: u64 =
            one.exec("stat -c %i /mnt/d/u1")?.success()?.trim().parse().expect("a number");
        // Each appends to a file of its own and reads the other's. (Appends of two nodes to one file can
        // overwrite each other, with kernels alone too.)
        let work = "i=0; me=$(hostname); while [ $i -lt 60 ]; do i=$((i+1)); echo $i >>/mnt/d/$me; \
            cat /mnt/d/u1 /mnt/d/u2 >/dev/null; echo x >/mnt/d/$me.$i; rm /mnt/d/$me.$i; done; \
            echo done";
        let workers = [one.spawn(work)?, two.spawn(work)?];
        let mut taken = 0;
        while !workers.iter().all(|worker| worker.has_ended()) {
            let mode = if taken % 3 == 0 { Mode::EX } else { Mode::PR };
            let held = us.client.lock(meta_lock(inode), mode).wait_timeout(Duration::from_secs(20));
            held.unwrap_or_else(|error| panic!("{error}")).unlock().wait().expect("unlocked");
            taken += 1;
        }
        for worker in &workers {
            assert!(worker.wait(Duration::from_secs(1))?.success()?.contains("done"));
        }
        assert!(taken > 10, "we were granted {taken} times");
        // Both see the same files, with every line of both.
        let seen = [one, two].map(|guest| guest.exec("cat /mnt/d/u1 /mnt/d/u2; ls /mnt/d"));
        let [first, second] = seen;
        let (first, second) = (first?.success()?, second?.success()?);
        assert_eq!(first, second);
        assert_eq!(first.lines().filter(|line| !line.starts_with('u')).count(), 120, "{first}");
        us.leave();
        for guest in [one, two] {
            guest.exec("umount /mnt")?.success()?;
        }
        ours.stop();
        for guest in lab.guests() {
            assert_eq!(guest.kernel_errors(&[])?, [] as [String; 0]);
        }
        Ok(())
    })
}

/// How long the crowd runs; `LAB_SECONDS` for longer.
fn seconds() -> u64 {
    std::env::var("LAB_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

// Behaviours 391, 392: two kernels and two of ours count in value blocks; no count is lost.
#[test]
fn kernels_and_we_count_in_value_blocks_and_lose_nothing() -> Result<(), Error> {
    let crowd = LabOptions { extra_nodes: 2, ..options(false) };
    lab::shared(crowd, |lab| {
        let (one, two) = (lab.guest(1), lab.guest(2));
        let nodes = [Ours::start(lab), Ours::start_as(lab, 101)];
        one.exec("mkdir /dlm/crowd")?.success()?;
        let members = nodes.each_ref().map(|node| node.join("crowd"));
        two.exec("mkdir /dlm/crowd")?.success()?;
        let seconds = seconds();
        let kernels = [one, two].map(|guest| {
            guest.spawn(&format!("/lab/bin/dlmfsx pingpong /dlm/crowd/counter {seconds}"))
        });
        let stop = AtomicBool::new(false);
        let (mut counted, other) = std::thread::scope(|scope| {
            let stop = &stop;
            let threads =
                members.each_ref().map(|member| scope.spawn(move || count_up(member, stop)));
            let since = Instant::now();
            let (member, stop) = (&members[0], stop);
            let busy = scope.spawn(move || {
                let mut busy = 0;
                while !stop.load(Ordering::Relaxed) {
                    busy += crowd_of_names(member, busy);
                }
                busy
            });
            let run = || -> Result<(), Error> {
                // A cable that is pulled for a moment: TCP heals it.
                std::thread::sleep(Duration::from_secs(seconds / 3));
                two.link(false)?;
                std::thread::sleep(Duration::from_secs(2));
                two.link(true)?;
                std::thread::sleep(Duration::from_secs(seconds).saturating_sub(since.elapsed()));
                Ok(())
            };
            let outcome = run();
            stop.store(true, Ordering::Relaxed);
            let counted: u64 =
                threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
            outcome.map(|()| (counted, busy.join().expect("no panic")))
        })?;
        for kernel in kernels {
            let output = kernel?.wait(Duration::from_secs(30))?.success()?;
            counted += turns_in(&output);
        }
        let last = members[0].lock("counter", Mode::PR);
        assert_eq!(counter_in(&last.lvb()), counted, "and {other} turns on other names");
        assert!(counted > 100, "{counted}");
        last.unlock().wait().expect("unlocked");
        for member in members {
            member.leave();
        }
        for node in nodes {
            node.stop();
        }
        for guest in lab.guests() {
            assert_eq!(guest.kernel_errors(&[])?, [] as [String; 0]);
        }
        Ok(())
    })
}

// Behaviours 392, 395: a kernel dies among others that count. Its count may be lost, nobody else's.
#[test]
fn a_kernel_dies_in_the_crowd_and_the_others_go_on() -> Result<(), Error> {
    lab::shared(options(true), |lab| {
        let (one, victim) = (lab.guest(1), lab.guest(2));
        let ours = Ours::start(lab);
        for guest in lab.guests() {
            guest.exec("mkdir /dlm/fewer")?.success()?;
        }
        let us = ours.join("fewer");
        let kernels = [(one, 35), (victim, 600)].map(|(guest, seconds)| {
            guest.spawn(&format!("/lab/bin/dlmfsx pingpong /dlm/fewer/counter {seconds}"))
        });
        let [survivor, _] = kernels;
        let survivor = survivor?;
        let mut seen = Vec::new();
        for _ in 0..200 {
            seen.push(count_once(&us, SOON));
        }
        victim.kill()?;
        seen.push(count_once(&us, RECOVERY));
        while !survivor.has_ended() {
            seen.push(count_once(&us, SOON));
        }
        let turns = turns_in(&survivor.wait(SOON)?.success()?);
        let resets = seen.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        assert!(resets <= 1, "the counter ran backwards {resets} times");
        assert!(seen.len() > 300 && turns > 100, "we {}, the kernel {turns}", seen.len());
        assert_eq!(*us.died.lock(), [12], "the recovery handler ran once");
        us.leave();
        ours.stop();
        assert!(one.is_alive(), "a kernel fenced itself");
        assert_eq!(one.kernel_errors(&[])?, [] as [String; 0]);
        Ok(())
    })
}

fn count_up(member: &Member, stop: &AtomicBool) -> u64 {
    let mut counted = 0;
    while !stop.load(Ordering::Relaxed) {
        count_once(member, SOON);
        counted += 1;
    }
    counted
}

/// What we have made of the counter.
fn count_once(member: &Member, limit: Duration) -> u64 {
    let request = member.client.lock("counter", Mode::EX).flags(LockFlags::VALBLK);
    let held = request.wait_timeout(limit).unwrap_or_else(|error| panic!("{error}"));
    let count = counter_in(&held.lvb()) + 1;
    held.set_lvb(count.to_string().as_bytes()).expect("it fits");
    held.unlock().wait().expect("unlocked");
    count
}

/// Takes, converts and drops locks on names that nobody else has, and some that others might.
fn crowd_of_names(member: &Member, round: u64) -> u64 {
    let request = member.client.lock(format!("name{}", round % 40), Mode::PR);
    let mut held = request.flags(LockFlags::VALBLK).wait().expect("granted");
    if held.convert(Mode::EX).flags(LockFlags::NOQUEUE).wait().is_ok() {
        held.convert(Mode::NL).wait().expect("down");
    }
    held.unlock().wait().expect("unlocked");
    1
}

/// Counters are decimal text in the value block, as dlmfsx writes them.
fn counter_in(lvb: &[u8; 64]) -> u64 {
    let text = text(lvb);
    if text.is_empty() { 0 } else { text.parse().expect("a number") }
}

/// How often a kernel's user counted.
fn turns_in(output: &str) -> u64 {
    let after = output.split("mine=").nth(1).expect("a result");
    after.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}
