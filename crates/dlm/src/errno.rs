//! Error numbers of calls and completions.

use std::fmt;

/// A Linux errno, positive, or one of the DLM's two completion codes [`ECANCEL`](Self::ECANCEL) and
/// [`EUNLOCK`](Self::EUNLOCK).
///
/// Success is `Ok(())` of a `Result`, never an `Errno`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

/// Defines each number once: the constant, its name and its text.
macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = concat!($text, ".")] pub const $name: Errno = Errno($number);)*

            /// The symbolic name, such as `EAGAIN`; `errno` for a number without one here.
            pub const fn name(self) -> &'static str {
                match self.0 { $($number => stringify!($name),)* _ => "errno" }
            }

            /// What it means, in a few words.
            pub const fn text(self) -> &'static str {
                match self.0 { $($number => $text,)* _ => "unknown error" }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such lock, name or driver";
    EIO = 5, "input or output failed";
    E2BIG = 7, "too long";
    EAGAIN = 11, "the lock would have to wait";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EBUSY = 16, "busy";
    EEXIST = 17, "exists already";
    EINVAL = 22, "invalid argument";
    EFBIG = 27, "too many";
    ENOSPC = 28, "no space left";
    ERANGE = 34, "out of range";
    EDEADLK = 35, "conversion deadlock";
    ENAMETOOLONG = 36, "name too long";
    ESRCH = 3, "no control daemon";
    EPROTO = 71, "protocol versions differ";
    ERESTART = 85, "to be tried again";
    EOPNOTSUPP = 95, "not supported by this stack";
    ENOTCONN = 107, "not connected to every heartbeating node";
    ETIMEDOUT = 110, "timed out";
    EHOSTDOWN = 112, "membership was lost";
    ECANCEL = 0x10001, "cancelled";
    EUNLOCK = 0x10002, "unlocked";
}

impl Errno {
    /// The errno of a number: positive as an application sees it.
    ///
    /// `None` for 0 (success) and for negative numbers.
    pub const fn from_number(number: i32) -> Option<Errno> {
        if number > 0 { Some(Errno(number)) } else { None }
    }

    /// The positive number.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.text(), self.name(), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl std::error::Error for Errno {}
