//! The lab does what it says. Bare kernels, which boot in seconds.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use lab::{Error, Lab, LabOptions, Stack, eventually, shared};
use stackglue_lab as lab;

#[test]
fn a_command_says_what_it_printed_and_how_it_ended() -> Result<(), Error> {
    shared(bare(), |lab| {
        let output = lab.guest(1).exec("echo out; echo err >&2; exit 7")?;
        assert_eq!((&*output.stdout, &*output.stderr, output.code), ("out\n", "err\n", 7));
        assert!(matches!(output.success(), Err(Error::Status { guest: 1, .. })));
        assert_eq!(lab.guest(2).exec("hostname")?.success()?, "u2\n");
        let late = lab.guest(1).exec_within("sleep 3", Duration::from_millis(200));
        assert!(matches!(late, Err(Error::Late { guest: 1, .. })), "{late:?}");
        Ok(())
    })
}

#[test]
fn a_job_is_heard_while_it_runs_and_after_it_was_killed() -> Result<(), Error> {
    shared(bare(), |lab| {
        // Not `sleep` itself: another test's may still be there.
        let job =
            lab.guest(1).spawn("cp /bin/sleep /run/doze; echo first; /run/doze 600 & wait")?;
        job.wait_for("first", SOON)?;
        let dozes = || lab.guest(1).exec("pidof doze").map(|output| output.code);
        assert!(!job.has_ended());
        assert!(eventually(SOON, || dozes().is_ok_and(|code| code == 0)));
        let output = job.kill()?;
        assert_eq!((&*output.stdout, output.code), ("first\n", 128 + 9));
        assert!(eventually(SOON, || dozes().is_ok_and(|code| code == 1)), "what it started stays");
        Ok(())
    })
}

#[test]
fn a_dead_guest_is_told_from_a_late_one_and_boots_again() -> Result<(), Error> {
    shared(bare(), |lab| {
        let guest = lab.guest(2);
        let job = guest.spawn("sleep 600")?;
        guest.kill()?;
        assert!(!guest.is_alive() && job.has_ended());
        assert!(matches!(job.wait(SOON), Err(Error::Dead { guest: 2, .. })));
        assert!(matches!(guest.exec("true"), Err(Error::Dead { guest: 2, .. })));
        guest.boot()?;
        assert_eq!(guest.exec("echo again")?.success()?, "again\n");

        guest.exec("echo '<3>ERROR: status = -5' >/dev/kmsg")?.success()?;
        // As a node that fences itself does.
        guest.spawn("echo b >/proc/sysrq-trigger")?;
        guest.wait_dead(SOON)?;
        assert_eq!(guest.kernel_errors(&[])?, ["ERROR: status = -5"]);
        assert_eq!(lab.guest(1).kernel_errors(&[])?, [] as [String; 0]);
        Ok(())
    })
}

#[test]
fn a_guest_can_be_frozen_and_its_cable_pulled() -> Result<(), Error> {
    shared(bare(), |lab| {
        let (one, two) = (lab.guest(1), lab.guest(2));
        let ping = "busybox ping -c 1 -W 1 10.77.0.2";
        assert_eq!(one.exec(ping)?.code, 0);
        two.link(false)?;
        assert_eq!(one.exec(ping)?.code, 1);
        two.link(true)?;
        assert!(eventually(SOON, || one.exec(ping).is_ok_and(|output| output.code == 0)));

        two.pause()?;
        assert!(two.is_alive());
        let late = two.exec_within("true", Duration::from_millis(300));
        assert!(matches!(late, Err(Error::Late { guest: 2, .. })), "{late:?}");
        two.resume()?;
        assert_eq!(two.exec("true")?.code, 0);
        Ok(())
    })
}

#[test]
fn programs_and_threads_of_the_host_are_in_the_labs_network() -> Result<(), Error> {
    shared(bare(), |lab| {
        let numbers: Vec<u8> = lab.nodes().iter().map(|node| node.number).collect();
        assert_eq!(numbers, [1, 2, 100]);
        let address = lab.nodes()[2].address;
        let output =
            lab.netns_command("ip").args(["-o", "addr"]).output().expect("ip is installed");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(&address.to_string()),
            "{output:?}"
        );

        let file = lab.directory().join("test.pcap");
        let capture = lab.capture(&file, "tcp port 9999")?;
        let heard = thread::scope(|scope| {
            let server = scope.spawn(move || -> Result<String, Error> {
                lab.enter_namespace()?;
                let listener = TcpListener::bind((address, 9999)).expect("our own address");
                let client =
                    lab.guest(1).spawn(&format!("echo hello | busybox nc {address} 9999"))?;
                let (mut stream, _) = listener.accept().expect("the guest connects");
                let mut text = String::new();
                stream.read_to_string(&mut text).expect("and says something");
                drop(stream);
                client.wait(SOON)?;
                Ok(text)
            });
            server.join().expect("the server does not panic")
        })?;
        assert_eq!(heard, "hello\n");
        capture.stop()?;
        let bytes = fs::read(&file).expect("the capture");
        assert!(bytes.windows(5).any(|window| window == b"hello"));
        Ok(())
    })
}

#[test]
fn two_labs_at_once_are_apart_and_each_goes_down_with_its_owner() -> Result<(), Error> {
    let one = Lab::up(LabOptions { guests: 1, ..bare() })?;
    let two = Lab::up(LabOptions { guests: 1, ..bare() })?;
    one.guest(1).exec("echo one >/tmp/name")?.success()?;
    assert_ne!(two.guest(1).exec("cat /tmp/name")?.stdout, "one\n");
    let directory = one.directory().to_owned();
    drop(one);
    assert!(!directory.exists());
    assert_eq!(two.guest(1).exec("true")?.code, 0);
    Ok(())
}

#[test]
fn a_lab_goes_down_when_its_owner_is_killed() -> Result<(), Error> {
    // This test in a process of its own, which only brings a lab up.
    if env::var_os(OWNER_DIES).is_some() {
        let lab = Lab::up(LabOptions { guests: 1, ..bare() })?;
        println!("directory {}", lab.directory().display());
        thread::sleep(Duration::from_secs(600));
        return Ok(());
    }
    let mut owner = Command::new(env::current_exe().expect("this program"))
        .args(["a_lab_goes_down_when_its_owner_is_killed", "--nocapture"])
        .env(OWNER_DIES, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let stdout = BufReader::new(owner.stdout.take().expect("it is piped"));
    let directory = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("directory ").map(|(_, path)| path.to_owned()))
        .expect("the owner says where its lab is");
    owner.kill().expect("it is ours");
    owner.wait().expect("it is ours");
    assert!(eventually(SOON, || !Path::new(&directory).exists()));
    Ok(())
}

/// Two kernels without a stack, and an address for the host.
fn bare() -> LabOptions {
    LabOptions { stack: Stack::None, extra_nodes: 1, ..LabOptions::default() }
}

const SOON: Duration = Duration::from_secs(10);
const OWNER_DIES: &str = "STACKGLUE_LAB_OWNER_DIES";
