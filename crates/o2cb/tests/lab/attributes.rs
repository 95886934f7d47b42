//! Attributes: the files of a kernel and ours have the same names, modes and texts, and refuse the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use lab::{Error, Guest};
use stackglue::Attribute;
use stackglue_o2cb::attributes::{Attributes, Entry, FenceMethod};

use crate::ours::{Ours, options};

/// What a kernel can do when it is fenced.
const FENCE: FenceMethod = FenceMethod { word: "reset", all: &["reset", "panic"] };

const CONFIGFS: &str = "/sys/kernel/config";

/// Files by path: mode and text.
type Files = BTreeMap<String, (String, String)>;

fn files_of_kernel(guest: Guest<'_>) -> Result<Files, Error> {
    let listed = guest.exec(&format!(
        "cd {CONFIGFS} && find cluster -type f -printf '%m %p\\n' | while read -r mode file; do \
         echo \"$mode $file $(cat $file)\"; done"
    ))?;
    let listed = listed.success()?;
    let files = listed.lines().map(|line| {
        let mut fields = line.splitn(3, ' ').map(str::to_owned);
        let mut field = || fields.next().unwrap_or_default();
        let (mode, path, text) = (field(), field(), field());
        (path, (mode, text))
    });
    Ok(files.collect())
}

fn files_of_ours(attributes: &Attributes, path: &[&str], files: &mut Files) {
    for (name, entry) in attributes.list(path).expect("a directory") {
        let below = [path, &[&name]].concat();
        let mode = match entry {
            Entry::Directory => {
                files_of_ours(attributes, &below, files);
                continue;
            }
            Entry::ReadOnly => "444",
            Entry::Writable => "644",
        };
        let text = attributes.read(&below).expect("it is listed");
        let text = text.strip_suffix('\n').expect("a line").to_owned();
        files.insert(below.join("/"), (mode.to_owned(), text));
    }
}

#[test]
fn the_cluster_s_files_have_the_names_modes_and_texts_of_a_kernel() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let ours = Ours::start(lab);
        let attributes = ours.node.attributes(FENCE);
        let mut found = Files::new();
        files_of_ours(&attributes, &["cluster"], &mut found);
        let mut expected = files_of_kernel(lab.guest(1))?;
        // Which node is local, the name of the disk and the thread are each one's own.
        for (path, own, theirs) in [("node/u1/local", "0", "1"), ("node/x100/local", "1", "0")] {
            let file = |files: &mut Files| files.remove(&format!("cluster/lab/{path}"));
            let mode = || "644".to_owned();
            assert_eq!(file(&mut found), Some((mode(), own.to_owned())), "{path}");
            assert_eq!(file(&mut expected), Some((mode(), theirs.to_owned())), "{path}");
        }
        for files in [&mut found, &mut expected] {
            for (path, (_, text)) in files {
                if path.ends_with("/dev") || path.ends_with("/pid") {
                    assert!(!text.is_empty(), "{path}");
                    text.clear();
                }
            }
        }
        assert_eq!(found, expected);
        ours.stop();
        Ok(())
    })
}

/// Writes texts to files of a kernel, and says what each write gave: 0 or an errno.
fn write_in_kernel(guest: Guest<'_>, writes: &[(String, &[u8])]) -> Result<Vec<i32>, Error> {
    let mut script = String::new();
    for (path, text) in writes {
        let hex: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(script, "write {path} {hex}");
    }
    let output = guest.exec(&format!(
        "write() {{ perl -e 'if (sysopen(F, $ARGV[0], 1)) {{ $n = syswrite(F, pack(\"H*\", $ARGV[1])); \
         print defined $n ? 0 : $!+0, \"\\n\" }} else {{ print $!+0, \"\\n\" }}' $1 $2; }}\n{script}"
    ))?;
    let text = output.success()?;
    Ok(text.lines().map(|line| line.parse().expect("a number")).collect())
}

// Behaviours 20 to 24 and 26.
#[test]
fn a_kernel_and_we_take_and_refuse_the_same_writes() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let ours = Ours::start(lab);
        let region = format!("heartbeat/{}", lab.region()?.uuid);
        let file = |name: &str| format!("{region}/{name}");
        let (blocks, bytes, dev, pid) =
            (file("blocks"), file("block_bytes"), file("dev"), file("pid"));
        // The other kernel's node is one that neither is.
        let cases: Vec<(&str, &[u8])> = vec![
            ("idle_timeout_ms", b"10000\n"),
            ("idle_timeout_ms", b"10000"),
            ("idle_timeout_ms", b"0x2710"),
            ("idle_timeout_ms", b"023420"),
            ("idle_timeout_ms", b"10000\nand more"),
            ("idle_timeout_ms", b"10001"),
            ("idle_timeout_ms", b"0"),
            ("idle_timeout_ms", b"\n"),
            ("idle_timeout_ms", b"2000"),
            ("idle_timeout_ms", b"4294967295"),
            ("idle_timeout_ms", b" 10000"),
            ("idle_timeout_ms", b"-1"),
            ("idle_timeout_ms", b"10000 "),
            ("idle_timeout_ms", b"0x"),
            ("keepalive_delay_ms", b"2000"),
            ("keepalive_delay_ms", b"1999"),
            ("keepalive_delay_ms", b"10000"),
            ("reconnect_delay_ms", b"2000"),
            ("reconnect_delay_ms", b"0"),
            ("reconnect_delay_ms", b"4294967295"),
            ("fence_method", b"reset\n"),
            ("fence_method", b"RESET\n"),
            ("fence_method", b"reset"),
            ("fence_method", b"res\n"),
            ("fence_method", b"resets\n"),
            ("node/u2/num", b"2"),
            ("node/u2/num", b"77"),
            ("node/u2/num", b"255"),
            ("node/u2/num", b"x"),
            ("node/u2/ipv4_port", b"7777"),
            ("node/u2/ipv4_port", b"0"),
            ("node/u2/ipv4_port", b"65535"),
            ("node/u2/ipv4_address", b"10.77.0.2"),
            ("node/u2/ipv4_address", b"10.77.0.77"),
            ("node/u2/ipv4_address", b"10.77.0.77 and more"),
            ("node/u2/ipv4_address", b"10.77.0"),
            ("node/u2/ipv4_address", b"10.77.0.256"),
            ("node/u2/ipv4_address", b"10.77.0.1234"),
            ("node/u2/local", b"0"),
            ("node/u2/local", b"1"),
            ("node/u2/local", b"x"),
            ("heartbeat/dead_threshold", b"61"),
            ("heartbeat/dead_threshold", b"2"),
            ("heartbeat/dead_threshold", b"0x3d"),
            ("heartbeat/mode", b"local\n"),
            ("heartbeat/mode", b"glob"),
            ("heartbeat/mode", b"globally"),
            ("heartbeat/mode", b"\n"),
            (&blocks, b"9"),
            (&bytes, b"512"),
            (&dev, b"0"),
            (&pid, b"1"),
        ];
        let paths =
            cases.iter().map(|(path, text)| (format!("{CONFIGFS}/cluster/lab/{path}"), *text));
        let expected = write_in_kernel(lab.guest(1), &paths.collect::<Vec<_>>())?;
        assert_eq!(expected.len(), cases.len());
        for ((path, text), expected) in cases.into_iter().zip(expected) {
            let names: Vec<&str> = ["cluster", "lab"].into_iter().chain(path.split('/')).collect();
            let written = ours.node.write_attribute(FENCE, &names, text);
            let found = written.map_or_else(|errno| errno.number(), |_| 0);
            assert_eq!(found, expected, "{:?} to {path}", text.escape_ascii().to_string());
        }
        ours.stop();
        Ok(())
    })
}

#[test]
fn the_glue_s_files_read_and_refuse_as_those_of_a_kernel() -> Result<(), Error> {
    lab::shared(options(false), |lab| {
        let guest = lab.guest(1);
        let ours = Ours::start(lab);
        let us = ours.join("glue");
        guest.exec("mkdir /dlm/glue")?.success()?;
        let path = |attribute: Attribute| match attribute {
            Attribute::HbCtlPath => "/proc/sys/fs/ocfs2/nm/hb_ctl_path".to_owned(),
            attribute => format!("/sys/fs/ocfs2/{}", attribute.name()),
        };
        for attribute in Attribute::ALL {
            let expected = guest.exec(&format!("cat {}", path(attribute)))?.success()?;
            let found = ours.glue.read_attribute(attribute).expect("short");
            assert_eq!(found, expected, "{}", attribute.name());
        }
        let texts = [&b"o2cb\n"[..], b"o2cb", b"pcmk\n", b"o2c", b"o2cb\n\n", b"o2\0b"];
        let stack = path(Attribute::ClusterStack);
        let writes = texts.map(|text| (stack.clone(), text));
        let expected = write_in_kernel(guest, &writes)?;
        for (text, expected) in texts.into_iter().zip(expected) {
            let written = ours.glue.write_attribute(Attribute::ClusterStack, text);
            let found = written.map_or_else(|error| error.errno().number(), |_| 0);
            assert_eq!(found, expected, "{:?}", text.escape_ascii().to_string());
        }
        us.leave();
        guest.exec("rmdir /dlm/glue")?.success()?;
        ours.stop();
        Ok(())
    })
}
