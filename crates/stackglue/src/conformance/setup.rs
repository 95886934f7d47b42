//! What a stack brings to the suite.

use std::sync::Arc;

use dlm::{LockFlags, LvbDirection, Mode, lvb_direction};

use crate::{Glue, Plugin, ProtocolVersion};

/// The locking protocol that the suite speaks.
pub(super) const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// A glue with a stack ready to be connected to.
#[derive(Debug)]
pub struct Setup {
    pub(super) glue: Glue,
    pub(super) plugin: &'static str,
    pub(super) label: String,
    pub(super) capabilities: Capabilities,
}

impl Setup {
    /// A new glue with `plugin` registered and `label` selected.
    ///
    /// # Panics
    ///
    /// When `label` is no stack label.
    pub fn new(plugin: Arc<dyn Plugin>, label: &str, capabilities: Capabilities) -> Setup {
        let glue = Glue::new();
        let name = plugin.name();
        glue.set_max_protocol(VERSION).expect("the glue is new");
        glue.set_cluster_stack(label).expect("a stack label has four bytes");
        glue.register(plugin).expect("the glue is new");
        Setup { glue, plugin: name, label: label.to_owned(), capabilities }
    }
}

/// What a stack can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The modes it has.
    pub modes: &'static [Mode],
    /// The flags of a lock call that mean something to it.
    pub flags: LockFlags,
    /// Whose rules it follows where the two differ.
    pub lock_manager: LockManager,
    /// Whether it keeps the locks of processes that are gone (`PERSISTENT`, `ORPHAN`, purge).
    pub orphans: bool,
}

impl Capabilities {
    /// All that fs/dlm can.
    pub const FULL: Capabilities = Capabilities {
        modes: &Mode::ALL,
        flags: LockFlags::all(),
        lock_manager: LockManager::FsDlm,
        orphans: true,
    };

    /// What o2dlm can: three modes, and the flags `NOQUEUE`, `CONVERT` and `VALBLK`.
    pub const NL_PR_EX: Capabilities = Capabilities {
        modes: &[Mode::NL, Mode::PR, Mode::EX],
        flags: LockFlags::NOQUEUE.union(LockFlags::CONVERT).union(LockFlags::VALBLK),
        lock_manager: LockManager::O2dlm,
        orphans: false,
    };

    /// Whether the stack has all these modes.
    pub(super) fn has(&self, modes: &[Mode]) -> bool {
        modes.iter().all(|mode| self.modes.contains(mode))
    }

    /// Whether all these flags mean something.
    pub(super) fn knows(&self, flags: LockFlags) -> bool {
        self.flags.contains(flags)
    }

    pub(super) fn is_fs_dlm(&self) -> bool {
        self.lock_manager == LockManager::FsDlm
    }

    /// Where the value block moves on a grant with `VALBLK`.
    pub(super) fn lvb_direction(&self, from: Option<Mode>, to: Mode) -> LvbDirection {
        match (self.lock_manager, from, to) {
            (LockManager::FsDlm, from, to) => lvb_direction(from, to),
            (LockManager::O2dlm, Some(Mode::EX), _) => LvbDirection::Write,
            (LockManager::O2dlm, _, Mode::NL) => LvbDirection::Nothing,
            (LockManager::O2dlm, _, _) => LvbDirection::Read,
        }
    }
}

/// The two lock managers whose rules a stack may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockManager {
    /// New requests queue behind waiting ones; conversion deadlocks are found; a lost value is
    /// marked not valid.
    FsDlm,
    /// New requests are granted whatever waits; deadlocks stay; a lost value reads as zeros.
    O2dlm,
}
