//! The numbers of the messages.

use std::fmt;

/// Defines each message once: variant, number, smallest and largest payload, meaning.
macro_rules! messages {
    ($($name:ident = $number:literal, $min:literal..=$max:literal, $text:literal;)*) => {
        /// What a message is: its number in the o2net header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum MessageType {
            $(#[doc = concat!($text, ".")] $name = $number,)*
        }

        impl MessageType {
            /// Every type, by number.
            pub const ALL: &'static [MessageType] = &[$(MessageType::$name,)*];

            /// The type of a number; `None` if o2dlm has no such message (501 was never one).
            pub const fn from_wire(number: u16) -> Option<MessageType> {
                match number {
                    $($number => Some(MessageType::$name),)*
                    _ => None,
                }
            }

            /// The smallest payload that is a whole message, in bytes.
            pub const fn payload_min(self) -> usize {
                match self { $(MessageType::$name => $min,)* }
            }

            /// The largest payload a node accepts for this type, in bytes.
            pub const fn payload_max(self) -> usize {
                match self { $(MessageType::$name => $max,)* }
            }
        }
    };
}

messages! {
    MasterRequest = 500, 72..=72, "Who masters this name, or may I";
    AssertMaster = 502, 72..=72, "I master this name";
    CreateLock = 503, 80..=80, "A new lock, to the master";
    ConvertLock = 504, 80..=144, "A conversion, to the master";
    ProxyAst = 505, 80..=144, "An AST or BAST, from the master";
    UnlockLock = 506, 80..=144, "An unlock or cancel, to the master";
    DerefLockres = 507, 72..=72, "This node forgets the name, to the master";
    MigrateRequest = 508, 72..=72, "The new master tells the others of a migration";
    MigLockres = 509, 128..=3952, "Locks of a resource, in a migration or recovery";
    QueryJoin = 510, 104..=104, "May I join the domain";
    AssertJoined = 511, 68..=68, "I am a member now";
    CancelJoin = 512, 68..=68, "I do not join after all";
    ExitDomain = 513, 4..=4, "I am no member any more";
    MasterRequery = 514, 72..=72, "Who is the master, do you know";
    LockRequest = 515, 8..=8, "Send me your locks of the dead node's resources";
    RecoDataDone = 516, 72..=72, "These were all my locks";
    BeginReco = 517, 8..=8, "I am recovery master for this dead node";
    FinalizeReco = 518, 8..=8, "Recovery ends, in two stages";
    QueryRegion = 519, 1092..=1092, "My heartbeat regions, to be compared";
    QueryNodeinfo = 520, 2108..=2108, "My configured nodes, to be compared";
    BeginExit = 521, 4..=4, "I begin to leave the domain";
    DerefDone = 522, 72..=72, "The deferred drop of a reference is done, from the master";
}

impl MessageType {
    /// The number of the type.
    pub const fn to_wire(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.to_wire())
    }
}
