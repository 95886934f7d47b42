//! Stanzas into a configuration.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use dlm::Errno;

use super::lex::{Attribute, Stanza, stanzas};
use super::{
    Cluster, ClusterConf, ConfError, ConfProblem, ConfRemark, HeartbeatMode, NAME_LEN_MAX,
    NodeConf, Remark, check_name, check_port, is_new_cluster_name,
};
use crate::NodeId;

/// A configuration read to its end, whatever is wrong with it.
#[derive(Clone, Debug)]
pub struct Examination {
    /// What could be made out: all of it when there is no error.
    pub conf: ClusterConf,
    /// Every error, by line. With any of them the classic tools refuse the file.
    pub errors: Vec<ConfError>,
    /// What is accepted and odd, by line.
    pub remarks: Vec<ConfRemark>,
}

impl ClusterConf {
    /// Reads a configuration; any error refuses all of it.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<ClusterConf, ConfError> {
        let Examination { conf, mut errors, .. } = ClusterConf::examine(text);
        // The tools read all lines before they look at what the lines say.
        errors.sort_by_key(|error| error.errno() != Errno::EIO);
        errors.into_iter().next().map_or(Ok(conf), Err)
    }

    /// Reads a configuration and tells everything that is wrong or odd.
    pub fn examine(text: impl AsRef<[u8]>) -> Examination {
        let (stanzas, errors) = stanzas(text.as_ref());
        let mut reader = Reader {
            conf: ClusterConf::default(),
            by_name: HashMap::new(),
            errors,
            remarks: Vec::new(),
        };
        // A stanza may come before that of its cluster.
        let mut described = Vec::new();
        for stanza in stanzas.iter().filter(|stanza| stanza.name == "cluster") {
            if let Some(node_count) = reader.told(stanza, |reader| reader.cluster(stanza)) {
                described.push((stanza, node_count));
            }
        }
        for stanza in &stanzas {
            match stanza.name.as_str() {
                "node" => reader.member(stanza, Reader::node),
                "heartbeat" => reader.member(stanza, Reader::region),
                _ => {}
            }
        }
        for (at, (stanza, node_count)) in described.into_iter().enumerate() {
            reader.look_at_cluster(at, stanza, node_count);
        }
        stanzas.iter().for_each(|stanza| reader.look_at_words(stanza));
        let Reader { conf, mut errors, mut remarks, .. } = reader;
        errors.sort_by_key(|error| error.line);
        remarks.sort_by_key(|remark| remark.line);
        Examination { conf, errors, remarks }
    }
}

struct Reader {
    conf: ClusterConf,
    by_name: HashMap<String, usize>,
    errors: Vec<ConfError>,
    remarks: Vec<ConfRemark>,
}

/// A problem of a stanza as such, or of one of its attributes.
type Told<T> = Result<T, (Option<usize>, ConfProblem)>;

impl Reader {
    /// Reads something of a stanza and keeps the error.
    fn told<T>(&mut self, stanza: &Stanza, read: impl FnOnce(&mut Reader) -> Told<T>) -> Option<T> {
        match read(self) {
            Ok(value) => Some(value),
            Err((line, problem)) => {
                self.errors.push(ConfError { line: line.unwrap_or(stanza.line), problem });
                None
            }
        }
    }

    /// Reads a cluster's stanza; returns its node count.
    fn cluster(&mut self, stanza: &Stanza) -> Told<u32> {
        let name = required(stanza, "cluster", "name")?;
        check_name("cluster", &name.value, NAME_LEN_MAX).map_err(at(name))?;
        let count = required(stanza, "cluster", "node_count")?;
        let count = number(count, "node_count", u32::MAX).map_err(at(count))?;
        let heartbeat_mode = match stanza.get("heartbeat_mode") {
            None => HeartbeatMode::default(),
            Some(mode) => HeartbeatMode::from_name(&mode.value)
                .ok_or_else(|| ConfProblem::NoSuchMode { value: mode.value.clone() })
                .map_err(at(mode))?,
        };
        let name_line = at(name);
        let name = name.value.clone();
        if self.by_name.contains_key(&name) {
            return Err(name_line(ConfProblem::DuplicateCluster { name }));
        }
        self.by_name.insert(name.clone(), self.conf.clusters.len());
        let (nodes, regions) = (Vec::new(), Vec::new());
        self.conf.clusters.push(Cluster { name, heartbeat_mode, nodes, regions });
        Ok(count)
    }

    /// Reads a stanza into the cluster it names, if there is one.
    fn member(&mut self, stanza: &Stanza, read: fn(&mut Cluster, &Stanza) -> Told<()>) {
        let Some(attribute) = stanza.get("cluster") else {
            return self.remark(stanza.line, Remark::NoCluster);
        };
        let Some(&index) = self.by_name.get(&attribute.value) else {
            let cluster = attribute.value.clone();
            return self.remark(attribute.line, Remark::NoSuchCluster { cluster });
        };
        self.told(stanza, |reader| read(&mut reader.conf.clusters[index], stanza));
    }

    fn node(cluster: &mut Cluster, stanza: &Stanza) -> Told<()> {
        let name = required(stanza, "node", "name")?;
        let number_of = required(stanza, "node", "number")?;
        let address_of = required(stanza, "node", "ip_address")?;
        let port_of = required(stanza, "node", "ip_port")?;
        let node = NodeConf {
            name: name.value.clone(),
            number: node_number(number_of).map_err(at(number_of))?,
            address: address(&address_of.value).map_err(at(address_of))?,
            port: number(port_of, "ip_port", u32::MAX)
                .and_then(|port| check_port(port.into()))
                .map_err(at(port_of))?,
        };
        cluster.push_node(node).map_err(|problem| {
            let attribute = match problem {
                ConfProblem::NumberTaken { .. } => number_of,
                ConfProblem::AddressTaken { .. } => address_of,
                _ => name,
            };
            at(attribute)(problem)
        })
    }

    fn region(cluster: &mut Cluster, stanza: &Stanza) -> Told<()> {
        let name = required(stanza, "heartbeat", "region")?;
        cluster.push_region(&name.value).map_err(at(name))
    }

    /// What is odd about a cluster that was read.
    fn look_at_cluster(&mut self, index: usize, stanza: &Stanza, node_count: u32) {
        let Cluster { name, heartbeat_mode, nodes, regions } = &self.conf.clusters[index];
        let line = |name| stanza.get(name).map_or(stanza.line, |attribute| attribute.line);
        let mut remarks = Vec::new();
        if !is_new_cluster_name(name) {
            remarks.push((line("name"), Remark::ClusterName { name: name.clone() }));
        }
        if u32::try_from(nodes.len()) != Ok(node_count) {
            let remark = Remark::NodeCount { says: node_count, has: nodes.len() };
            remarks.push((line("node_count"), remark));
        }
        match (heartbeat_mode, regions.is_empty()) {
            (HeartbeatMode::Global, true) => {
                remarks.push((line("heartbeat_mode"), Remark::NoRegion));
            }
            (HeartbeatMode::Local, false) => remarks.push((stanza.line, Remark::UnusedRegions)),
            _ => {}
        }
        for (line, remark) in remarks {
            self.remark(line, remark);
        }
    }

    /// What is odd about the words of a stanza.
    fn look_at_words(&mut self, stanza: &Stanza) {
        let known: &[&str] = match stanza.name.as_str() {
            "cluster" => &["name", "node_count", "heartbeat_mode"],
            "node" => &["cluster", "name", "number", "ip_address", "ip_port"],
            "heartbeat" => &["cluster", "region"],
            _ => {
                let name = stanza.name.clone();
                return self.remark(stanza.line, Remark::UnknownStanza { name });
            }
        };
        let mut below = HashSet::new();
        for Attribute { line, name, value } in stanza.attributes.iter().rev() {
            if !below.insert(name.as_str()) {
                self.remark(*line, Remark::Repeated { name: name.clone() });
            } else if !known.contains(&name.as_str()) {
                let stanza = stanza.name.clone();
                self.remark(*line, Remark::UnknownAttribute { stanza, name: name.clone() });
            } else if name == "region" && !value.is_empty() && !is_uuid(value) {
                self.remark(*line, Remark::NoUuid { name: value.clone() });
            }
        }
    }

    fn remark(&mut self, line: usize, remark: Remark) {
        self.remarks.push(ConfRemark { line, remark });
    }
}

/// Adds an attribute's line to its problem.
fn at(attribute: &Attribute) -> impl Fn(ConfProblem) -> (Option<usize>, ConfProblem) + use<> {
    let line = attribute.line;
    move |problem| (Some(line), problem)
}

fn required<'a>(
    stanza: &'a Stanza,
    kind: &'static str,
    attribute: &'static str,
) -> Told<&'a Attribute> {
    let missing = || (None, ConfProblem::Missing { stanza: kind, attribute });
    stanza.get(attribute).ok_or_else(missing)
}

fn number(found: &Attribute, attribute: &'static str, max: u32) -> Result<u32, ConfProblem> {
    let value = found.value.clone();
    let digits = value.strip_prefix('+').unwrap_or(&value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ConfProblem::NoNumber { attribute, value });
    }
    match digits.parse() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(ConfProblem::TooLarge { attribute, value, max }),
    }
}

fn node_number(found: &Attribute) -> Result<NodeId, ConfProblem> {
    const MAX: u32 = crate::NODES_MAX as u32 - 1;
    let read = number(found, "number", MAX)?;
    // What is at most MAX fits.
    let node = u8::try_from(read).ok().and_then(NodeId::new);
    let (attribute, value) = ("number", found.value.clone());
    node.ok_or(ConfProblem::TooLarge { attribute, value, max: MAX })
}

/// Four decimal numbers; one above 255 is another mistake than a text that is no address.
fn address(value: &str) -> Result<Ipv4Addr, ConfProblem> {
    let octets: Vec<&str> = value.splitn(5, '.').collect();
    let well_formed = octets.len() == 4
        && octets.iter().all(|octet| {
            (1..=3).contains(&octet.len()) && octet.bytes().all(|byte| byte.is_ascii_digit())
        });
    let value = value.to_owned();
    match value.parse() {
        Ok(address) => Ok(address),
        Err(_) if well_formed && octets_exceed(&value) => {
            Err(ConfProblem::AddressOutOfRange { value })
        }
        Err(_) => Err(ConfProblem::BadAddress { value }),
    }
}

fn octets_exceed(value: &str) -> bool {
    value.split('.').any(|octet| octet.parse::<u16>().is_ok_and(|number| number > 255))
}

fn is_uuid(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "\
# two nodes
node:
	cluster = alpha
	name = a
	number = 0
	ip_address = 10.0.0.1
	ip_port = 7777

node:
	cluster = alpha
	name = b
	number = 254
	ip_address = 10.0.0.2
	ip_port = 65534
cluster:
	name = alpha
	node_count = 2
";

    /// The errno and line of the first error.
    fn refused(text: &str) -> Option<(Errno, usize)> {
        ClusterConf::parse(text).err().map(|error| (error.errno(), error.line))
    }

    fn remarks(text: &str) -> Vec<ConfRemark> {
        let Examination { errors, remarks, .. } = ClusterConf::examine(text);
        assert_eq!(errors, []);
        remarks
    }

    /// The good file with a text replaced.
    fn with(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1)
    }

    #[test]
    fn nodes_are_read_wherever_their_cluster_is_described() {
        let conf = ClusterConf::parse(GOOD).expect("it is good");
        let cluster = conf.cluster("alpha").expect("it is described");
        let nodes: Vec<_> =
            cluster.nodes.iter().map(|node| (&*node.name, node.number.get())).collect();
        assert_eq!(nodes, [("a", 0), ("b", 254)]);
        assert_eq!(cluster.nodes[1].port, 65534);
        assert_eq!(cluster.heartbeat_mode, HeartbeatMode::Local);
        assert_eq!(remarks(GOOD), []);
        assert_eq!(ClusterConf::parse("").expect("nothing is wrong"), ClusterConf::default());
    }

    // Behaviours 2, 3, 4.
    #[test]
    fn a_line_without_meaning_refuses_the_file() {
        for (text, line) in [
            ("\tname = a\n", 1),
            ("cluster:\n\n\tname = a\n\tnode_count = 0\n", 3),
            ("cluster:\n \t\n\tname = a\n\tnode_count = 0\n", 3),
            ("# well\n # not well\n", 2),
            ("cluster :\n", 1),
            ("cluster: # c\n", 1),
            ("cluster: name = a\n", 1),
            ("name = a\n", 1),
            ("cluster:\n\tname a\n", 2),
            ("cluster:\n\tna-me = a\n", 2),
            ("cluster:\r\n", 1),
            (":\n", 1),
            ("\r\n", 1),
        ] {
            assert_eq!(refused(text), Some((Errno::EIO, line)), "{text:?}");
        }
        let latin = ClusterConf::parse(b"# \xe4\nnode:\n\tname = \xe4\n").expect_err("not UTF-8");
        assert_eq!((latin.line, latin.problem), (3, ConfProblem::NotUtf8));
    }

    #[test]
    fn what_is_accepted_has_the_same_meaning() {
        for (from, to) in [
            ("# two nodes\n", "\n \t\n#\tcluster:\n"),
            ("cluster:\n", "cluster: \t\n"),
            ("\tname = alpha", "  name=alpha  "),
            ("\tname = alpha", "\tname\t=\talpha\r"),
            ("\tnumber = 254", "\tnumber = +254"),
            ("node_count = 2\n", "node_count = 2"),
            ("node_count = 2\n", "node_count = 2\n\theartbeat_mode = LOCAL\n"),
            ("node_count = 2\n", "node_count = 2\n\theartbeat_mode =\n"),
            // Behaviour 5.
            ("\tname = alpha", "\tname = beta\n\tname = alpha"),
            // Behaviour 6.
            ("\tname = alpha", "\tname = alpha\n\tcolour = red\\\n# and green"),
            ("cluster:\n", "fence_device:\n\tcluster = alpha\ncluster:\n"),
        ] {
            let text = with(from, to);
            let conf = ClusterConf::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(Ok(conf), ClusterConf::parse(GOOD), "{text}");
        }
    }

    // Behaviours 7, 9, 10, 16, 17, 19, 20 and 28, as far as a file can be wrong.
    #[test]
    fn a_value_that_cannot_be_refuses_the_file_with_the_tools_errno() {
        for (from, to, errno, line) in [
            ("\tname = alpha\n", "", Errno::EINVAL, 15),
            ("\tname = alpha\n", "\tname =\n", Errno::EINVAL, 15),
            ("\tnode_count = 2\n", "", Errno::EINVAL, 15),
            ("node_count = 2", "node_count = two", Errno::EINVAL, 17),
            ("node_count = 2", "node_count = 0x2", Errno::EINVAL, 17),
            ("node_count = 2", "node_count = 4294967296", Errno::ERANGE, 17),
            ("node_count = 2", "node_count = 2\n\theartbeat_mode = shared", Errno::EINVAL, 18),
            ("cluster:", "cluster:\n\tname = alpha\n\tnode_count = 0\ncluster:", Errno::ENOENT, 19),
            ("\tip_port = 7777\n", "", Errno::EINVAL, 2),
            ("\tip_address = 10.0.0.1\n", "", Errno::EINVAL, 2),
            ("\tnumber = 0\n", "", Errno::EINVAL, 2),
            ("\tname = a\n", "", Errno::EINVAL, 2),
            ("name = a\n", "name = a/b\n", Errno::EINVAL, 4),
            ("name = b", "name = a", Errno::ENOMEM, 11),
            ("number = 254", "number = 255", Errno::ERANGE, 12),
            ("number = 254", "number = 99999999999999999999999", Errno::ERANGE, 12),
            ("number = 254", "number = -1", Errno::EINVAL, 12),
            ("number = 254", "number = 0", Errno::EEXIST, 12),
            ("10.0.0.2", "10.0.0.1", Errno::EEXIST, 13),
            ("10.0.0.2", "10.0.0.256", Errno::ERANGE, 13),
            ("10.0.0.2", "10.0.0", Errno::EINVAL, 13),
            ("10.0.0.2", "10.0.0.2.1", Errno::EINVAL, 13),
            ("10.0.0.2", "10.0.0.2000", Errno::EINVAL, 13),
            ("10.0.0.2", "fe80::1", Errno::EINVAL, 13),
            ("65534", "65535", Errno::ERANGE, 14),
            ("65534", "65536", Errno::ERANGE, 14),
            ("65534", "0", Errno::EINVAL, 14),
        ] {
            let text = with(from, to);
            assert_eq!(refused(&text), Some((errno, line)), "{text}");
        }
        let long = format!("{GOOD}heartbeat:\n\tcluster = alpha\n\tregion = {}\n", "A".repeat(33));
        assert_eq!(refused(&long).map(|(errno, _)| errno), Some(Errno::ENAMETOOLONG));
    }

    // Behaviour 7, and 61 as far as a file can say it.
    #[test]
    fn a_cluster_has_at_most_32_regions_and_no_two_of_one_name() {
        let mut text = with("node_count = 2", "node_count = 2\n\theartbeat_mode = GLOBAL");
        let region =
            |number: u32| format!("heartbeat:\n\tcluster = alpha\n\tregion = {number:032X}\n");
        (0..32).for_each(|number| text += &region(number));
        let conf = ClusterConf::parse(&text).expect("32 are possible");
        assert_eq!(conf.clusters[0].heartbeat_mode, HeartbeatMode::Global);
        assert_eq!(conf.clusters[0].regions.len(), 32);
        assert_eq!(conf.clusters[0].regions[31], format!("{:032X}", 31));
        let errno = |more: u32| refused(&(text.clone() + &region(more))).map(|(errno, _)| errno);
        assert_eq!((errno(31), errno(32)), (Some(Errno::ENOMEM), Some(Errno::EFBIG)));
    }

    // Behaviour 8.
    #[test]
    fn a_node_of_another_cluster_is_no_part_of_this_one() {
        let text = with("\tcluster = alpha", "\tcluster = Alpha") + "\nnode:\n\tname = c\n";
        let conf = ClusterConf::parse(&text).expect("it is accepted");
        assert_eq!(conf.clusters[0].nodes.len(), 1);
        let remarks: Vec<_> = remarks(&text).into_iter().map(|it| (it.line, it.remark)).collect();
        assert_eq!(
            remarks,
            [
                (3, Remark::NoSuchCluster { cluster: "Alpha".into() }),
                (17, Remark::NodeCount { says: 2, has: 1 }),
                (19, Remark::NoCluster),
            ]
        );
    }

    #[test]
    fn what_may_not_have_been_meant_is_remarked() {
        for (from, to, line, remark) in [
            (
                "cluster:",
                "clutser:\ncluster:",
                15,
                Remark::UnknownStanza { name: "clutser".into() },
            ),
            (
                "\tip_port = 7777",
                "\tip_port = 7777\n\tport = 8",
                8,
                Remark::UnknownAttribute { stanza: "node".into(), name: "port".into() },
            ),
            ("\tname = b", "\tname = c\n\tname = b", 11, Remark::Repeated { name: "name".into() }),
            ("node_count = 2", "node_count = 3", 17, Remark::NodeCount { says: 3, has: 2 }),
            ("node_count = 2", "node_count = 2\n\theartbeat_mode = global", 18, Remark::NoRegion),
        ] {
            assert_eq!(remarks(&with(from, to)), [ConfRemark { line, remark }], "{to}");
        }
    }

    #[test]
    fn every_error_is_told_and_one_for_a_run_of_stray_attributes() {
        let text = with("cluster = alpha\n\tname = a\n", "cluster = alpha\n\n\tname = a\n");
        let text = text.replace("254", "255").replace("node_count = 2", "node_count = x");
        let Examination { conf, errors, .. } = ClusterConf::examine(&text);
        let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [5, 18]);
        assert_eq!(errors[0].problem, ConfProblem::AfterBlankLine);
        assert!(errors[0].to_string().starts_with("line 5: the empty line before it"));
        assert_eq!(conf.clusters, []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(text: Vec<u8>) {
            ClusterConf::examine(&text);
        }

        #[test]
        fn any_lines_are_read_without_panic_and_what_is_read_writes_back(
            lines in prop::collection::vec(
                prop_oneof![
                    Just("cluster:".to_owned()), Just("node:".to_owned()), Just("heartbeat:".to_owned()),
                    Just(String::new()), Just("#".to_owned()),
                    "\t(name|cluster|region) = [ab]\\\\?",
                    "\t(number|node_count|ip_port) = [0-3]",
                    "\tip_address = 10.0.0.[1-3]",
                    "\theartbeat_mode = (local|global)",
                ],
                0..40,
            ),
        ) {
            if let Ok(conf) = ClusterConf::parse(lines.join("\n")) {
                prop_assert_eq!(ClusterConf::parse(conf.to_text()), Ok(conf));
            }
        }
    }
}
