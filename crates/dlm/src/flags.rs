//! Flags of a lock call and of the status block.

use bitflags::bitflags;

bitflags! {
    /// What a lock or unlock call asks for, with the bits of Linux `dlmconstants` (`DLM_LKF_*`).
    ///
    /// Bits without a name here are kept, handed on and ignored, as fs/dlm does.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LockFlags: u32 {
        /// Complete with `EAGAIN` instead of waiting.
        const NOQUEUE = 0x0000_0001;
        /// In an unlock call: give up the waiting request or conversion instead of the lock.
        const CANCEL = 0x0000_0002;
        /// In a lock call: change the mode of a lock that exists.
        const CONVERT = 0x0000_0004;
        /// Move the value block: read it on a grant upwards, write it on the way down.
        const VALBLK = 0x0000_0008;
        /// Let a conversion wait its turn behind the conversions already queued.
        const QUECVT = 0x0000_0010;
        /// On the way down from `PW` or `EX`: mark the resource's value block not valid.
        const IVVALBLK = 0x0000_0020;
        /// In a conversion deadlock: demote this lock to `NL` instead of failing with `EDEADLK`.
        const CONVDEADLK = 0x0000_0040;
        /// The lock outlives its process, as an orphan.
        const PERSISTENT = 0x0000_0080;
        /// Do not look for a conversion deadlock.
        const NODLCKWT = 0x0000_0100;
        /// Has no effect in fs/dlm.
        const NODLCKBLK = 0x0000_0200;
        /// Grant an `NL` request at once, ahead of everything queued.
        const EXPEDITE = 0x0000_0400;
        /// With `NOQUEUE`: send blocking callbacks to the holders although nothing waits.
        const NOQUEUEBAST = 0x0000_0800;
        /// Queue at the head instead of the tail.
        const HEADQUE = 0x0000_1000;
        /// Grant out of order: ahead of incompatible requests that wait.
        const NOORDER = 0x0000_2000;
        /// Adopt an orphan of this name and mode instead of making a lock.
        const ORPHAN = 0x0000_4000;
        /// If the mode asked for cannot be granted now, try `PR`.
        const ALTPR = 0x0000_8000;
        /// If the mode asked for cannot be granted now, try `CW`.
        const ALTCW = 0x0001_0000;
        /// In an unlock call: drop the lock although an operation on it is in flight.
        const FORCEUNLOCK = 0x0002_0000;
        /// Lock timeout: accepted and ignored, as by kernels without the deprecated DLM API.
        const TIMEOUT = 0x0004_0000;
        /// ocfs2's private flag for a name that no other node can know yet.
        const LOCAL = 0x0010_0000;

        const _ = !0;
    }
}

impl LockFlags {
    /// The only flags an unlock call may carry (`fs/dlm/lock.c: set_unlock_args`).
    pub const UNLOCK: LockFlags =
        Self::CANCEL.union(Self::VALBLK).union(Self::IVVALBLK).union(Self::FORCEUNLOCK);
}

bitflags! {
    /// What the status block tells beside the status (`DLM_SBF_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct StatusFlags: u8 {
        /// A conversion deadlock was resolved by demoting this lock to `NL` first.
        const DEMOTED = 0x01;
        /// The value block is not to be trusted: its last writer was lost, or said so.
        const VALNOTVALID = 0x02;
        /// The alternate mode (`ALTPR`, `ALTCW`) was granted.
        const ALTMODE = 0x04;

        const _ = !0;
    }
}
