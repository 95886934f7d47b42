//! The statuses of lock requests.

use std::fmt;

use dlm::Errno;

/// Defines each status once: variant, number, and the errno the filesystem sees.
macro_rules! statuses {
    ($($name:ident = $number:literal, $errno:expr;)*) => {
        /// The status of a create, convert, unlock or AST message (`enum dlm_status`): small numbers
        /// without a sign, which the filesystem sees as errnos.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        #[allow(missing_docs, reason = "the names of the field")]
        pub enum Status {
            $($name = $number,)*
        }

        impl Status {
            /// Every status, by number.
            pub const ALL: &'static [Status] = &[$(Status::$name,)*];

            /// The status of a number, `None` outside 0 to 41.
            pub const fn from_wire(number: i32) -> Option<Status> {
                match number {
                    $($number => Some(Status::$name),)*
                    _ => None,
                }
            }

            /// What the filesystem is told (`fs/ocfs2/stack_o2cb.c: dlm_status_to_errno`).
            ///
            /// Only [`Normal`](Self::Normal), [`CancelGrant`](Self::CancelGrant),
            /// [`NotQueued`](Self::NotQueued) and [`Cancel`](Self::Cancel) have one that no other has.
            pub const fn errno(self) -> Result<(), Errno> {
                match self { $(Status::$name => $errno,)* }
            }
        }
    };
}

statuses! {
    Normal = 0, Ok(());
    Granted = 1, Err(Errno::EINVAL);
    Denied = 2, Err(Errno::EACCES);
    DeniedNoLocks = 3, Err(Errno::EACCES);
    Working = 4, Err(Errno::EACCES);
    Blocked = 5, Err(Errno::EINVAL);
    BlockedOrphan = 6, Err(Errno::EINVAL);
    DeniedGracePeriod = 7, Err(Errno::EACCES);
    SysErr = 8, Err(Errno::ENOMEM);
    NoSupport = 9, Err(Errno::EPROTO);
    CancelGrant = 10, Err(Errno::EBUSY);
    IvLockId = 11, Err(Errno::EINVAL);
    Sync = 12, Err(Errno::EINVAL);
    BadType = 13, Err(Errno::EINVAL);
    BadResource = 14, Err(Errno::EINVAL);
    MaxHandles = 15, Err(Errno::ENOMEM);
    NoClInfo = 16, Err(Errno::EINVAL);
    NoLockMgr = 17, Err(Errno::EINVAL);
    NoPurged = 18, Err(Errno::EINVAL);
    BadArgs = 19, Err(Errno::EINVAL);
    Void = 20, Err(Errno::EINVAL);
    NotQueued = 21, Err(Errno::EAGAIN);
    IvBufLen = 22, Err(Errno::EINVAL);
    CvtUngrant = 23, Err(Errno::EPERM);
    BadParam = 24, Err(Errno::EINVAL);
    ValNotValid = 25, Err(Errno::EINVAL);
    Rejected = 26, Err(Errno::EPERM);
    Abort = 27, Err(Errno::EINVAL);
    Cancel = 28, Err(Errno::ECANCEL);
    IvResHandle = 29, Err(Errno::EINVAL);
    Deadlock = 30, Err(Errno::EDEADLK);
    DeniedNoAsts = 31, Err(Errno::EINVAL);
    Forward = 32, Err(Errno::EINVAL);
    Timeout = 33, Err(Errno::ETIMEDOUT);
    IvGroupId = 34, Err(Errno::EINVAL);
    VersConflict = 35, Err(Errno::EOPNOTSUPP);
    BadDevicePath = 36, Err(Errno::ENOENT);
    NoDevicePermission = 37, Err(Errno::EPERM);
    NoControlDevice = 38, Err(Errno::ENOENT);
    Recovering = 39, Err(Errno::ENOTCONN);
    Migrating = 40, Err(Errno::ERESTART);
    MaxStats = 41, Err(Errno::EINVAL);
}

impl Status {
    /// The number of the status.
    pub const fn to_wire(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.to_wire())
    }
}
