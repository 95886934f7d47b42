//! The glue of one host: its plugins, the stack in use and the label that selects it
//! (`fs/ocfs2/stackglue.c`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::connection::Connection;
use crate::{
    AttributeError, ConnectError, ConnectRequest, GlueError, LockingProtocol, Plugin,
    ProtocolVersion, RecoveryHandler,
};

/// The longest group name, in bytes (`GROUP_NAME_MAX`).
pub const GROUP_LEN_MAX: usize = 64;

/// The longest cluster name, in bytes (`CLUSTER_NAME_MAX`).
pub const CLUSTER_LEN_MAX: usize = 16;

/// The length of a stack label, in bytes (`OCFS2_STACK_LABEL_LEN`).
pub(crate) const LABEL_LEN: usize = 4;

/// The label of the classic stack, and the name of its plugin: the only label that means another
/// plugin than `user`.
pub const O2CB: &str = "o2cb";

/// Finds the plugin of a name, as loading a kernel module does. Called with nothing of the glue
/// locked; may take its time. Should it be asked twice at once, the plugin registered first counts.
pub type PluginLoader = Box<dyn Fn(&str) -> Option<Arc<dyn Plugin>> + Send + Sync>;

/// The glue of one host.
///
/// Holds the registered plugins, the plugin in use and how often, the selected stack label (default
/// `o2cb`), the maximum locking protocol and the path of the heartbeat control program. A handle:
/// clones are the same glue. A host has one stack in use at a time, so a program has one glue.
///
/// ```
/// use stackglue::{Glue, ProtocolVersion};
///
/// let glue = Glue::new();
/// glue.set_max_protocol(ProtocolVersion { major: 1, minor: 0 })?;
/// glue.set_cluster_stack("solo")?;
/// assert_eq!(glue.cluster_stack(), "solo");
/// assert_eq!(glue.active_plugin(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Glue(Arc<Shared>);

impl Glue {
    /// A glue without plugins that cannot load any: they must be [registered](Self::register).
    pub fn new() -> Glue {
        Self::with_loader(|_: &str| None)
    }

    /// A glue that asks `loader` for a plugin when a connection needs one that is not registered.
    pub fn with_loader(
        loader: impl Fn(&str) -> Option<Arc<dyn Plugin>> + Send + Sync + 'static,
    ) -> Glue {
        let state = State {
            plugins: Vec::new(),
            active: None,
            label: O2CB.to_owned(),
            max_protocol: None,
            hb_ctl_path: "/sbin/ocfs2_hb_ctl".to_owned(),
            hangups: Vec::new(),
        };
        Glue(Arc::new(Shared { state: Mutex::new(state), loader: Box::new(loader) }))
    }

    /// Adds a plugin, ahead of those registered before.
    ///
    /// # Errors
    ///
    /// `EEXIST` when one of its name is registered.
    pub fn register(&self, plugin: Arc<dyn Plugin>) -> Result<(), GlueError> {
        let mut state = self.state();
        if state.find(plugin.name()).is_some() {
            return Err(GlueError::PluginExists { plugin: plugin.name() });
        }
        state.plugins.insert(0, plugin);
        Ok(())
    }

    /// Removes a plugin.
    ///
    /// # Errors
    ///
    /// `ENOENT` when none of this name is registered; `EBUSY` when it is in use, where the kernel
    /// crashes (`fs/ocfs2/stackglue.c: ocfs2_stack_glue_unregister`).
    pub fn unregister(&self, plugin: &str) -> Result<(), GlueError> {
        let mut state = self.state();
        if let Some(active) = &state.active
            && active.plugin.name() == plugin
        {
            return Err(GlueError::PluginInUse { plugin: plugin.to_owned(), uses: active.uses });
        }
        let registered = state.plugins.len();
        state.plugins.retain(|registered| registered.name() != plugin);
        if state.plugins.len() == registered {
            return Err(GlueError::NoSuchPlugin { plugin: plugin.to_owned() });
        }
        Ok(())
    }

    /// Announces the highest version of the locking protocol. Whoever uses the glue announces the
    /// same, before the first connection; there is no way back.
    ///
    /// # Errors
    ///
    /// `EINVAL` when another version was announced before, where the kernel crashes
    /// (`fs/ocfs2/stackglue.c: ocfs2_stack_glue_set_max_proto_version`), or the major is 0.
    pub fn set_max_protocol(&self, wanted: ProtocolVersion) -> Result<(), GlueError> {
        if wanted.major == 0 {
            return Err(GlueError::NoMajor { wanted });
        }
        match *self.state().max_protocol.get_or_insert(wanted) {
            announced if announced == wanted => Ok(()),
            announced => Err(GlueError::OtherMaximum { wanted, announced }),
        }
    }

    /// The highest version of the locking protocol; `None` before it was announced.
    pub fn max_protocol(&self) -> Option<ProtocolVersion> {
        self.state().max_protocol
    }

    /// Names of the registered plugins, newest first.
    pub fn plugins(&self) -> Vec<&'static str> {
        self.state().plugins.iter().map(|plugin| plugin.name()).collect()
    }

    /// Name of the plugin in use.
    pub fn active_plugin(&self) -> Option<&'static str> {
        self.state().active.as_ref().map(|active| active.plugin.name())
    }

    /// Whether a stack is in use that has cluster-wide POSIX locks.
    pub fn supports_plocks(&self) -> bool {
        self.state().active.as_ref().is_some_and(|active| active.plugin.supports_plocks())
    }

    /// The selected stack label.
    pub fn cluster_stack(&self) -> String {
        self.state().label.clone()
    }

    /// Selects a stack by its label.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the label is not four bytes or has a NUL; `EBUSY` when another one is selected
    /// and its stack is in use, which includes a hang-up that is pending.
    pub fn set_cluster_stack(&self, label: &str) -> Result<(), AttributeError> {
        if !is_label(label) {
            return Err(AttributeError::Label { text: label.to_owned() });
        }
        let mut state = self.state();
        if state.active.is_some() && state.label != label {
            let selected = state.label.clone();
            return Err(AttributeError::InUse { wanted: label.to_owned(), selected });
        }
        state.label = label.to_owned();
        Ok(())
    }

    /// Joins a group on a stack. Blocks as long as the stack takes to join.
    ///
    /// `stack` is the label that the caller expects (empty means `o2cb`), or `None` to take the one
    /// selected on this host; then it is up to the administrator that all nodes select the same, and
    /// the caller normally has no cluster name either. `cluster` may be empty. `recovery` is called
    /// for each node that dies.
    ///
    /// # Errors
    ///
    /// In the order of the checks, as in `fs/ocfs2/stackglue.c: ocfs2_cluster_connect`: `EINVAL` for
    /// the group, the cluster or a locking protocol whose maximum is not the glue's; `EINVAL` for the
    /// label; `EBUSY` when another label is selected or another plugin in use; `ENOENT` when no
    /// plugin is found; then whatever the stack says.
    pub fn connect(
        &self,
        stack: Option<&str>,
        cluster: &str,
        group: &str,
        protocol: Arc<dyn LockingProtocol>,
        recovery: RecoveryHandler,
    ) -> Result<Connection, ConnectError> {
        if group.is_empty() || group.len() > GROUP_LEN_MAX || group.contains('\0') {
            return Err(ConnectError::Group { group: group.to_owned() });
        }
        if cluster.len() > CLUSTER_LEN_MAX || cluster.contains('\0') {
            return Err(ConnectError::Cluster { cluster: cluster.to_owned() });
        }
        self.check_protocol(group, protocol.max_version())?;
        let id = next_connection_id()
            .ok_or_else(|| ConnectError::Exhausted { group: group.to_owned() })?;
        let label = match stack {
            None => self.cluster_stack(),
            Some("") => O2CB.to_owned(),
            Some(label) => label.to_owned(),
        };
        let pinned = self.choose(&label, group)?;
        let request = ConnectRequest { label: &label, cluster, group, protocol, recovery };
        // The glue is not locked here: the use alone keeps the stack in place meanwhile.
        let stack = pinned.plugin.connect(request).map_err(|refused| ConnectError::Refused {
            group: group.to_owned(),
            plugin: pinned.plugin.name(),
            refused,
        })?;
        Ok(Connection::new(id, stack, cluster, group, pinned))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// The lock-step rule: everything on a host is built for one maximum.
    fn check_protocol(&self, group: &str, wanted: ProtocolVersion) -> Result<(), ConnectError> {
        let group = || group.to_owned();
        match self.max_protocol() {
            None => Err(ConnectError::NoMaximumProtocol { group: group(), wanted }),
            Some(announced) if announced == wanted => Ok(()),
            Some(announced) => Err(ConnectError::Protocol { group: group(), wanted, announced }),
        }
    }

    /// Finds the plugin of a label, loads it if need be, and counts a use of it
    /// (`fs/ocfs2/stackglue.c: ocfs2_stack_driver_get`).
    fn choose(&self, label: &str, group: &str) -> Result<StackUse, ConnectError> {
        if !is_label(label) {
            return Err(ConnectError::Label { label: label.to_owned() });
        }
        let plugin = plugin_of(label);
        if let Some(found) = self.pin(label, plugin, group)? {
            return Ok(found);
        }
        // What the loader did does not matter, only whether the plugin is there now.
        if let Some(loaded) = (self.0.loader)(plugin)
            && let Err(error) = self.register(loaded)
        {
            tracing::debug!(%error, "another thread loaded the plugin first");
        }
        self.pin(label, plugin, group)?
            .ok_or_else(|| ConnectError::NoPlugin { label: label.to_owned(), plugin })
    }

    fn pin(
        &self,
        label: &str,
        plugin: &'static str,
        group: &str,
    ) -> Result<Option<StackUse>, ConnectError> {
        let mut state = self.state();
        if state.label != label {
            return Err(ConnectError::OtherStack {
                group: group.to_owned(),
                wanted: label.to_owned(),
                selected: state.label.clone(),
            });
        }
        match &mut state.active {
            Some(active) if active.plugin.name() == plugin => {
                active.uses += 1;
                Ok(Some(StackUse::counted(self, &active.plugin)))
            }
            Some(active) => Err(ConnectError::OtherPlugin {
                group: group.to_owned(),
                wanted: plugin,
                active: active.plugin.name(),
            }),
            None => Ok(state.find(plugin).map(|plugin| {
                state.active = Some(Active { plugin: plugin.clone(), uses: 1 });
                StackUse::counted(self, &plugin)
            })),
        }
    }

    fn give_back(&self) {
        let mut state = self.state();
        if let Some(active) = &mut state.active {
            active.uses -= 1;
            if active.uses == 0 {
                state.active = None;
            }
        }
    }
}

impl Default for Glue {
    fn default() -> Glue {
        Glue::new()
    }
}

impl fmt::Debug for Glue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Glue")
            .field("cluster_stack", &self.cluster_stack())
            .field("active_plugin", &self.active_plugin())
            .field("plugins", &self.plugins())
            .field("max_protocol", &self.max_protocol())
            .finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    loader: PluginLoader,
}

pub(crate) struct State {
    /// Newest first.
    plugins: Vec<Arc<dyn Plugin>>,
    /// Set exactly while something uses it.
    active: Option<Active>,
    label: String,
    max_protocol: Option<ProtocolVersion>,
    pub(crate) hb_ctl_path: String,
    /// Groups that were left with their hang-up pending; each still counts as a use.
    hangups: Vec<String>,
}

impl State {
    fn find(&self, name: &str) -> Option<Arc<dyn Plugin>> {
        self.plugins.iter().find(|plugin| plugin.name() == name).cloned()
    }
}

struct Active {
    plugin: Arc<dyn Plugin>,
    uses: usize,
}

/// One use of the stack in use: keeps it in place until dropped.
pub(crate) struct StackUse {
    glue: Glue,
    plugin: Arc<dyn Plugin>,
    left_to_hangup: bool,
}

impl StackUse {
    fn counted(glue: &Glue, plugin: &Arc<dyn Plugin>) -> StackUse {
        StackUse { glue: glue.clone(), plugin: plugin.clone(), left_to_hangup: false }
    }

    pub(crate) fn plugin(&self) -> &dyn Plugin {
        &*self.plugin
    }

    /// Leaves the use to the hang-up of `group`.
    pub(crate) fn leave_to_hangup(mut self, group: &str) {
        self.glue.state().hangups.push(group.to_owned());
        self.left_to_hangup = true;
    }

    /// Takes over the use that a disconnect of `group` left behind.
    pub(crate) fn take_from_hangup(glue: &Glue, group: &str) -> Option<StackUse> {
        let mut state = glue.state();
        let pending = state.hangups.iter().position(|pending| pending == group)?;
        let plugin = state.active.as_ref()?.plugin.clone();
        state.hangups.swap_remove(pending);
        Some(StackUse::counted(glue, &plugin))
    }
}

impl Drop for StackUse {
    fn drop(&mut self) {
        if !self.left_to_hangup {
            self.glue.give_back();
        }
    }
}

/// Whether a text can be a stack label: four bytes, none of them NUL. They are not compared with known
/// labels.
pub fn is_label(text: &str) -> bool {
    text.len() == LABEL_LEN && !text.contains('\0')
}

fn plugin_of(label: &str) -> &'static str {
    if label == O2CB { O2CB } else { "user" }
}

/// Connection numbers differ within the process, not only within a glue: a lock status block must
/// tell the connections of two glues apart.
fn next_connection_id() -> Option<u32> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let next = |last: u32| last.checked_add(1);
    LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok().and_then(next)
}

#[cfg(test)]
pub(crate) mod tests;
