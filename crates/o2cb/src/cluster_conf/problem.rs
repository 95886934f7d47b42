//! What can be wrong with a configuration, and what can be odd about it.

use std::net::Ipv4Addr;

use dlm::Errno;

use super::{NAME_LEN_MAX, NEW_CLUSTER_NAME_LEN_MAX, PORT_MAX, REGIONS_MAX};
use crate::NodeId;

/// A problem and the line it is in. A file that has one is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ConfError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    #[source]
    pub problem: ConfProblem,
}

impl ConfError {
    /// What the classic tools answer.
    pub fn errno(&self) -> Errno {
        self.problem.errno()
    }
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfProblem {
    /// The line has no meaning.
    #[error(
        "{text:?} has no meaning: write `#` in the first column for a comment, `cluster:`, `node:` or \
         `heartbeat:` there for a stanza, and `name = value` behind a tab for an attribute"
    )]
    NoMeaning {
        /// The line, cut when it is long.
        text: String,
    },
    /// A `#` behind blanks.
    #[error("a comment has its `#` in the first column: remove the blanks before it")]
    IndentedComment,
    /// The line ends as lines of other systems do.
    #[error("the line ends in a carriage return: save the file with the line ends of Unix")]
    CarriageReturn,
    /// The line is not UTF-8.
    #[error("the line is not text in UTF-8: write it again")]
    NotUtf8,
    /// An attribute before the first stanza.
    #[error("an attribute belongs to a stanza: put `cluster:`, `node:` or `heartbeat:` before it")]
    OutsideStanza,
    /// An attribute after the blank line that ends a stanza.
    #[error("the empty line before it ended the stanza: remove that line")]
    AfterBlankLine,
    /// A stanza lacks an attribute, or it is empty.
    #[error("the stanza `{stanza}:` has no `{attribute}`: add it")]
    Missing {
        /// The stanza's kind.
        stanza: &'static str,
        /// The attribute's name.
        attribute: &'static str,
    },
    /// An attribute is no number.
    #[error("`{attribute} = {value}` is no decimal number: write one")]
    NoNumber {
        /// The attribute's name.
        attribute: &'static str,
        /// What it says.
        value: String,
    },
    /// A number is larger than its field.
    #[error("`{attribute} = {value}` is too large: the largest is {max}")]
    TooLarge {
        /// The attribute's name.
        attribute: &'static str,
        /// What it says.
        value: String,
        /// The largest number possible.
        max: u32,
    },
    /// No such mode of heartbeat.
    #[error("there is no heartbeat mode {value:?}: write `local` or `global`")]
    NoSuchMode {
        /// What it says.
        value: String,
    },
    /// An address that is none.
    #[error("{value:?} is no address: write four decimal numbers with dots, such as 192.168.0.7")]
    BadAddress {
        /// What it says.
        value: String,
    },
    /// A number of an address does not fit a byte.
    #[error("{value:?} is no address: none of its four numbers can be above 255")]
    AddressOutOfRange {
        /// What it says.
        value: String,
    },
    /// Port 0.
    #[error("a node cannot listen on port 0: choose 1 to {PORT_MAX}")]
    PortZero,
    /// A port that is none, or 65535.
    #[error("{port} is no port of a node: choose 1 to {PORT_MAX}")]
    PortTooLarge {
        /// What it says.
        port: u64,
    },
    /// A name that no directory could have.
    #[error("{name:?} cannot be the name of a {what}: choose one without slashes or line ends")]
    BadName {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that is too long.
    #[error("the {what}'s name {name:?} has {} bytes: it can have {len_max}", name.len())]
    NameTooLong {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
        /// How many bytes it can have.
        len_max: usize,
    },
    /// A name that no new cluster may have.
    #[error(
        "{name:?} cannot be the name of a new cluster: choose 1 to {NEW_CLUSTER_NAME_LEN_MAX} \
         letters and digits"
    )]
    NewClusterName {
        /// The name.
        name: String,
    },
    /// Two clusters of one name.
    #[error("there is a cluster {name:?} already: choose another name")]
    DuplicateCluster {
        /// The name.
        name: String,
    },
    /// Two nodes of one name.
    #[error("there is a node {name:?} already: choose another name")]
    DuplicateNode {
        /// The name.
        name: String,
    },
    /// Two regions of one name.
    #[error("there is a region {name:?} already: remove one of the two")]
    DuplicateRegion {
        /// The name.
        name: String,
    },
    /// Two nodes of one number.
    #[error("the number {number} is that of the node {of:?}: choose another")]
    NumberTaken {
        /// The number.
        number: NodeId,
        /// The node that has it.
        of: String,
    },
    /// Two nodes at one address.
    #[error("the address {address} is that of the node {of:?}, whatever the port: choose another")]
    AddressTaken {
        /// The address.
        address: Ipv4Addr,
        /// The node that has it.
        of: String,
    },
    /// A region too many.
    #[error("a cluster can have {REGIONS_MAX} heartbeat regions: remove this one")]
    TooManyRegions,
    /// Every node number is in use.
    #[error("every node number from 0 to 254 is in use: remove a node first")]
    NoNumberLeft,
}

impl ConfProblem {
    /// What the classic tools or the kernel answer (fs/ocfs2/cluster/nodemanager.c).
    pub fn errno(&self) -> Errno {
        use ConfProblem::*;
        match self {
            NoMeaning { .. }
            | IndentedComment
            | CarriageReturn
            | NotUtf8
            | OutsideStanza
            | AfterBlankLine => Errno::EIO,
            Missing { .. }
            | NoNumber { .. }
            | NoSuchMode { .. }
            | BadAddress { .. }
            | PortZero
            | BadName { .. }
            | NewClusterName { .. } => Errno::EINVAL,
            TooLarge { .. } | AddressOutOfRange { .. } | PortTooLarge { .. } => Errno::ERANGE,
            NameTooLong { .. } => Errno::ENAMETOOLONG,
            // What adding to the loader's lists returns when it cannot.
            DuplicateCluster { .. } => Errno::ENOENT,
            DuplicateNode { .. } | DuplicateRegion { .. } => Errno::ENOMEM,
            NumberTaken { .. } | AddressTaken { .. } => Errno::EEXIST,
            TooManyRegions => Errno::EFBIG,
            NoNumberLeft => Errno::ENOSPC,
        }
    }
}

/// A remark and the line it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfRemark {
    /// The line, from 1.
    pub line: usize,
    /// What is odd there.
    pub remark: Remark,
}

impl std::fmt::Display for ConfRemark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.remark)
    }
}

/// What the loader accepts, and somebody may not have meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// A stanza of an unknown kind.
    #[error("nothing reads a stanza `{name}:`")]
    UnknownStanza {
        /// Its kind.
        name: String,
    },
    /// An attribute of an unknown name.
    #[error("nothing reads `{name}` in a stanza `{stanza}:`")]
    UnknownAttribute {
        /// The stanza's kind.
        stanza: String,
        /// The attribute's name.
        name: String,
    },
    /// An attribute that the same stanza has again below.
    #[error("the same stanza says `{name}` again below, and that counts")]
    Repeated {
        /// The attribute's name.
        name: String,
    },
    /// A stanza of a cluster that no stanza describes.
    #[error("this stanza is ignored: there is no cluster {cluster:?}")]
    NoSuchCluster {
        /// The cluster's name.
        cluster: String,
    },
    /// A stanza that does not say which cluster it belongs to.
    #[error("this stanza is ignored: it has no `cluster`")]
    NoCluster,
    /// The number of nodes is another one.
    #[error("`node_count = {says}`, and the cluster has {has}")]
    NodeCount {
        /// What the file says.
        says: u32,
        /// How many nodes there are.
        has: usize,
    },
    /// A cluster's name that the classic tools would not register.
    #[error(
        "the classic tools refuse to register the cluster {name:?}: its name should be 1 to \
         {NEW_CLUSTER_NAME_LEN_MAX} letters and digits, and can be {NAME_LEN_MAX} bytes"
    )]
    ClusterName {
        /// The name.
        name: String,
    },
    /// Global heartbeat that has no place.
    #[error("the heartbeat is global, and the cluster has no heartbeat region")]
    NoRegion,
    /// Regions that nothing uses.
    #[error("the heartbeat is local: the cluster's heartbeat regions are not used")]
    UnusedRegions,
    /// A region that cannot be a volume's.
    #[error("{name:?} is no volume's UUID: 32 upper-case hexadecimal digits without dashes")]
    NoUuid {
        /// The region's name.
        name: String,
    },
}
