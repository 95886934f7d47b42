//! `stackglue hb-ctl`: OCFS2's heartbeat control program, for hang-ups and mount programs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use daemon::Client;
use daemon::control::{AttributeItem, ControlRequest, HeartbeatItem, TextItem};
use o2cb::RegionOptions;

use crate::arguments::HbCtlArguments;
use crate::exit::Failure;
use crate::{print, session};

/// Whether a program of that name is the heartbeat control program.
pub(crate) fn is_called(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(PROGRAM))
}

/// Does what was asked. Every failure has status 1, as that of the program that this stands for.
pub(crate) fn run(arguments: &HbCtlArguments) -> Result<u8, Failure> {
    act(arguments).map(|()| 0).map_err(|failure| failure.with_status(FAILED))
}

fn act(arguments: &HbCtlArguments) -> Result<(), Failure> {
    check_service(arguments)?;
    let region = match (&arguments.device, &arguments.uuid) {
        (Some(device), _) => region_of(device)?,
        (None, uuid) => as_kernels_write_it(uuid.as_deref().unwrap_or_default()),
    };
    let mut client = session::connect_if_running(COMMAND)?
        .ok_or_else(|| failed("no daemon runs: start stackglued"))?;
    if arguments.start {
        start(&mut client, region, arguments.device.as_deref())
    } else if arguments.stop {
        end(&mut client, &ControlRequest::StopHeartbeat { region })
    } else if arguments.info {
        let item = info(&mut client, &region)?;
        print::text(&format!("{}: {} refs\n", item.region, item.references));
        Ok(())
    } else {
        set_priority(&mut client, &region, arguments.level)
    }
}

/// Whoever starts or stops a heartbeat says for whom, but for the kernel.
fn check_service(arguments: &HbCtlArguments) -> Result<(), Failure> {
    let is_needed = arguments.start || arguments.stop && arguments.device.is_some();
    match arguments.service {
        None if is_needed => Err(failed("name the service that needs it, such as ocfs2")),
        _ => Ok(()),
    }
}

fn start(client: &mut Client, region: String, device: Option<&Path>) -> Result<(), Failure> {
    let HeartbeatItem { references, is_counted, .. } = info(client, &region)?;
    let device = match device {
        Some(device) => Some(device.to_owned()),
        // The daemon knows where it is, or need not know.
        None if references > 0 || !is_counted => None,
        None => Some(find(&region).ok_or_else(|| {
            failed(format!("no partition of this host is the OCFS2 volume {region}"))
        })?),
    };
    let device = device.map(|device| device.display().to_string());
    end(client, &ControlRequest::StartHeartbeat { region, device })
}

/// The thread that heartbeats is the daemon's, and `ionice` can be had everywhere.
fn set_priority(client: &mut Client, region: &str, level: u8) -> Result<(), Failure> {
    let clusters: Vec<AttributeItem> =
        client.control(&ControlRequest::Attributes { path: "cluster".to_owned() })?.read_all()?;
    let cluster = clusters.first().ok_or_else(|| failed("the daemon is in no cluster"))?;
    let path = format!("cluster/{}/heartbeat/{region}/pid", cluster.name);
    let texts: Vec<TextItem> =
        client.control(&ControlRequest::ReadAttribute { path })?.read_all()?;
    let pid: String = texts.into_iter().map(|part| part.text).collect();
    let pid = pid.trim_end();
    let mut ionice = Command::new("ionice");
    ionice.args(["-c", "1", "-n", &level.to_string(), "-p", pid]).stdin(Stdio::null());
    match ionice.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("ionice ended with {status}"))),
        Err(error) => Err(failed(format!("cannot run ionice of util-linux: {error}"))),
    }
}

fn info(client: &mut Client, region: &str) -> Result<HeartbeatItem, Failure> {
    let request = ControlRequest::Heartbeat { region: region.to_owned() };
    let items: Vec<HeartbeatItem> = client.control(&request)?.read_all()?;
    items.into_iter().next().ok_or_else(|| failed("the daemon's answer is empty"))
}

fn end(client: &mut Client, request: &ControlRequest) -> Result<(), Failure> {
    client.control(request)?.read_all::<serde_json::Value>()?;
    Ok(())
}

/// The UUID of a volume in capitals; the name of a region that is none as it is.
fn as_kernels_write_it(region: &str) -> String {
    let is_uuid = region.len() == 32 && region.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_uuid { region.to_ascii_uppercase() } else { region.to_owned() }
}

fn region_of(device: &Path) -> Result<String, Failure> {
    let found = RegionOptions::of_volume(device).map_err(|error| failed(error.to_string()))?;
    Ok(found.name)
}

/// The partition that is the volume of this UUID.
fn find(region: &str) -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/partitions").ok()?;
    let mut devices = table.lines().filter_map(partition).map(|name| Path::new("/dev").join(name));
    devices.find(|device| RegionOptions::of_volume(device).is_ok_and(|found| found.name == region))
}

/// The name in a line of `/proc/partitions`: major, minor, blocks, name.
fn partition(line: &str) -> Option<&str> {
    let mut fields = line.split_whitespace();
    fields.next().filter(|major| major.parse::<u32>().is_ok())?;
    fields.nth(2)
}

fn failed(sentence: impl Into<String>) -> Failure {
    Failure::new(FAILED, sentence)
}

const PROGRAM: &str = "ocfs2_hb_ctl";
const COMMAND: &str = "stackglue hb-ctl";
/// The one status for every failure.
pub(crate) const FAILED: u8 = 1;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::HbCtlProgram;

    #[test]
    fn what_the_kernel_and_mount_programs_run_can_be_typed_and_nothing_else() {
        for (words, is_right) in [
            ("-K -u 632A924FDD844190BDA93C0DF6B94899", true),
            ("-K -u U ocfs2", true),
            ("-K -d /dev/sdb1 ocfs2", true),
            ("-K -d /dev/sdb1", false),
            ("-S -d /dev/sdb1 ocfs2", true),
            ("-S -u U o2cb", true),
            ("-S -u U", false),
            ("-I -u U", true),
            ("-I -d /dev/sdb1", true),
            ("-P -u U -n 3", true),
            ("-P -u U", true),
            ("-P -u U -n 8", false),
            ("-S -K -u U ocfs2", false),
            ("-I -u U -d /dev/sdb1", false),
            ("-I", false),
            ("-u U", false),
            ("", false),
        ] {
            let words = std::iter::once(PROGRAM).chain(words.split_whitespace());
            let words: Vec<&str> = words.collect();
            let parsed = HbCtlProgram::try_parse_from(&words).ok();
            let taken = parsed.is_some_and(|parsed| check_service(&parsed.arguments).is_ok());
            assert_eq!(taken, is_right, "{words:?}");
        }
    }

    #[test]
    fn the_name_of_a_partition_is_the_fourth_field() {
        let table =
            "major minor  #blocks  name\n\n   8        1    1048576 sda1\n 104 2 5 cciss/c0d0\n";
        let names: Vec<_> = table.lines().filter_map(partition).collect();
        assert_eq!(names, ["sda1", "cciss/c0d0"]);
    }

    #[test]
    fn the_program_is_known_by_its_name() {
        for (name, is_it) in
            [("ocfs2_hb_ctl", true), ("/sbin/ocfs2_hb_ctl", true), ("stackglue", false)]
        {
            assert_eq!(is_called(OsStr::new(name)), is_it, "{name}");
        }
    }
}
