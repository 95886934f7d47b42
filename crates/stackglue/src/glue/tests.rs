//! The registry, the choice of a stack and connections, against a plugin that only records.

use std::sync::atomic::{AtomicUsize, Ordering};

use dlm::{Errno, LockFlags, Mode, NodeNumber, ResourceName};

use super::*;
use crate::{Abandoned, ConnectRefused, Lksb, PlockOperation, ResourceView, StackConnection};

pub(crate) const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

/// Takes note of what the glue asks of it; manages no locks.
pub(crate) struct RecordingPlugin {
    name: &'static str,
    pub(crate) refuse: Mutex<Option<Errno>>,
    pub(crate) refuse_to_leave: Arc<Mutex<Option<Errno>>>,
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
}

impl RecordingPlugin {
    pub(crate) fn named(name: &'static str) -> RecordingPlugin {
        RecordingPlugin {
            name,
            refuse: Mutex::default(),
            refuse_to_leave: Arc::default(),
            calls: Arc::default(),
        }
    }
}

impl Plugin for RecordingPlugin {
    fn name(&self) -> &'static str {
        self.name
    }

    fn connect(
        &self,
        request: ConnectRequest<'_>,
    ) -> Result<Box<dyn StackConnection>, ConnectRefused> {
        let call = format!("connect {} {:?} {}", request.label, request.cluster, request.group);
        self.calls.lock().push(call);
        if let Some(errno) = *self.refuse.lock() {
            return Err(ConnectRefused { errno, reason: "refused by test".to_owned() });
        }
        Ok(Box::new(RecordingConnection {
            calls: self.calls.clone(),
            refuse_to_leave: self.refuse_to_leave.clone(),
        }))
    }
}

struct RecordingConnection {
    calls: Arc<Mutex<Vec<String>>>,
    refuse_to_leave: Arc<Mutex<Option<Errno>>>,
}

impl StackConnection for RecordingConnection {
    fn version(&self) -> ProtocolVersion {
        VERSION
    }

    fn this_node(&self) -> Result<NodeNumber, Errno> {
        Ok(NodeNumber(7))
    }

    fn lock(
        &self,
        mode: Mode,
        _: &Lksb,
        flags: LockFlags,
        name: ResourceName<'_>,
    ) -> Result<(), Errno> {
        self.calls.lock().push(format!("lock {name} {mode} {:#x}", flags.bits()));
        Ok(())
    }

    fn unlock(&self, _: &Lksb, flags: LockFlags) -> Result<(), Errno> {
        self.calls.lock().push(format!("unlock {:#x}", flags.bits()));
        Ok(())
    }

    fn abandon(&self, _: &Lksb) -> Result<Abandoned, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn visit_resources(&self, _: &mut dyn FnMut(ResourceView<'_>)) {
        self.calls.lock().push("visit".to_owned());
    }

    fn dump_lksb(&self, _: &Lksb) -> String {
        "dumped".to_owned()
    }

    fn disconnect(&self) -> Result<(), Errno> {
        self.calls.lock().push("disconnect".to_owned());
        self.refuse_to_leave.lock().map_or(Ok(()), Err)
    }
}

struct SilentProtocol(ProtocolVersion);

impl LockingProtocol for SilentProtocol {
    fn max_version(&self) -> ProtocolVersion {
        self.0
    }
    fn lock_ast(&self, _: &Lksb) {}
    fn blocking_ast(&self, _: &Lksb, _: Mode) {}
    fn unlock_ast(&self, _: &Lksb, _: Result<(), Errno>) {}
}

/// A glue that knows its maximum protocol.
pub(crate) fn prepared() -> Glue {
    let glue = Glue::new();
    glue.set_max_protocol(VERSION).expect("first");
    glue
}

pub(crate) fn connect(
    glue: &Glue,
    stack: Option<&str>,
    group: &str,
) -> Result<Connection, ConnectError> {
    connect_at(glue, stack, group, VERSION)
}

fn connect_at(
    glue: &Glue,
    stack: Option<&str>,
    group: &str,
    version: ProtocolVersion,
) -> Result<Connection, ConnectError> {
    glue.connect(stack, "", group, Arc::new(SilentProtocol(version)), Box::new(|_| ()))
}

fn errno<T>(result: Result<T, ConnectError>) -> Option<Errno> {
    result.err().map(|error| error.errno())
}

fn with_plugins(names: &[&'static str]) -> (Glue, Vec<Arc<RecordingPlugin>>) {
    let glue = prepared();
    let plugins: Vec<_> = names.iter().map(|name| Arc::new(RecordingPlugin::named(name))).collect();
    for plugin in &plugins {
        glue.register(plugin.clone()).expect("new");
    }
    (glue, plugins)
}

fn name() -> ResourceName<'static> {
    ResourceName::new(b"r").expect("one byte")
}

#[test]
fn a_second_plugin_of_one_name_is_eexist() {
    let (glue, _) = with_plugins(&["o2cb", "user"]);
    let error = glue.register(Arc::new(RecordingPlugin::named("o2cb"))).expect_err("twice");
    assert_eq!(error.errno(), Errno::EEXIST);
    assert_eq!(glue.plugins(), ["user", "o2cb"]);
}

#[test]
fn an_unknown_plugin_cannot_be_unregistered_and_neither_can_one_in_use() {
    let (glue, _) = with_plugins(&["o2cb"]);
    assert_eq!(glue.unregister("user").map_err(|e| e.errno()), Err(Errno::ENOENT));
    let connection = connect(&glue, None, "G").expect("connected");
    assert_eq!(glue.unregister("o2cb").map_err(|e| e.errno()), Err(Errno::EBUSY));
    drop(connection);
    glue.unregister("o2cb").expect("no longer in use");
    assert!(glue.plugins().is_empty());
    assert_eq!(errno(connect(&glue, None, "G")), Some(Errno::ENOENT));
}

#[test]
fn the_maximum_protocol_is_announced_once_and_stays() {
    let glue = Glue::new();
    let version = |major, minor| ProtocolVersion { major, minor };
    let announce = |v| glue.set_max_protocol(v).map_err(|error| error.errno());
    assert_eq!(announce(version(0, 9)), Err(Errno::EINVAL));
    assert_eq!(glue.max_protocol(), None);
    assert_eq!(announce(version(1, 0)), Ok(()));
    assert_eq!(announce(version(1, 0)), Ok(()));
    assert_eq!(announce(version(1, 1)), Err(Errno::EINVAL));
    assert_eq!(glue.max_protocol(), Some(version(1, 0)));
}

#[test]
fn nobody_connects_before_a_maximum_was_announced_or_with_another_one() {
    let glue = Glue::new();
    glue.register(Arc::new(RecordingPlugin::named("o2cb"))).expect("new");
    assert_eq!(errno(connect(&glue, None, "G")), Some(Errno::EINVAL));
    glue.set_max_protocol(VERSION).expect("first");
    for version in [(1, 1), (2, 0), (0, 0)] {
        let version = ProtocolVersion { major: version.0, minor: version.1 };
        assert_eq!(errno(connect_at(&glue, None, "G", version)), Some(Errno::EINVAL));
    }
    assert_eq!(errno(connect(&glue, None, "G")), None);
}

#[test]
fn a_group_has_1_to_64_bytes_without_nul_and_a_cluster_at_most_16() {
    let (glue, plugins) = with_plugins(&["o2cb"]);
    for group in ["", "a\0b", &"g".repeat(65)] {
        assert_eq!(errno(connect(&glue, None, group)), Some(Errno::EINVAL));
    }
    assert_eq!(errno(connect(&glue, None, &"g".repeat(64))), None);
    for (cluster, expected) in [
        ("c".repeat(16), None),
        ("c".repeat(17), Some(Errno::EINVAL)),
        ("\0".to_owned(), Some(Errno::EINVAL)),
    ] {
        let protocol = Arc::new(SilentProtocol(VERSION));
        let joined = glue.connect(None, &cluster, "G", protocol, Box::new(|_| ()));
        assert_eq!(errno(joined), expected);
    }
    let joins = plugins[0].calls.lock().iter().filter(|call| call.starts_with("connect")).count();
    assert_eq!(joins, 2);
}

#[test]
fn the_group_is_checked_before_the_protocol_and_the_protocol_before_the_label() {
    let glue = Glue::new();
    let long = "g".repeat(65);
    assert!(matches!(connect(&glue, Some("x"), &long), Err(ConnectError::Group { .. })));
    let early = connect(&glue, Some("x"), "G");
    assert!(matches!(early, Err(ConnectError::NoMaximumProtocol { .. })));
    glue.set_max_protocol(VERSION).expect("first");
    assert!(matches!(connect(&glue, Some("x"), "G"), Err(ConnectError::Label { .. })));
    assert!(matches!(connect(&glue, Some("pcmk"), "G"), Err(ConnectError::OtherStack { .. })));
    assert!(matches!(connect(&glue, Some("o2cb"), "G"), Err(ConnectError::NoPlugin { .. })));
}

#[test]
fn a_label_is_four_bytes_and_an_empty_one_means_o2cb() {
    let (glue, plugins) = with_plugins(&["o2cb"]);
    for label in ["o2c", "o2cbx", "o2\0b"] {
        assert_eq!(errno(connect(&glue, Some(label), "G")), Some(Errno::EINVAL));
    }
    assert_eq!(errno(connect(&glue, Some(""), "G")), None);
    assert_eq!(plugins[0].calls.lock()[0], "connect o2cb \"\" G");
}

#[test]
fn another_label_than_the_selected_is_ebusy_even_with_nothing_in_use() {
    let (glue, plugins) = with_plugins(&["o2cb", "user"]);
    assert_eq!(errno(connect(&glue, Some("pcmk"), "G")), Some(Errno::EBUSY));
    glue.set_cluster_stack("pcmk").expect("nothing in use");
    assert_eq!(errno(connect(&glue, Some("pcmk"), "G")), None);
    assert_eq!(errno(connect(&glue, Some(""), "G")), Some(Errno::EBUSY));
    assert_eq!(plugins[1].calls.lock()[0], "connect pcmk \"\" G");
    assert!(plugins[0].calls.lock().is_empty());
}

#[test]
fn an_agnostic_connection_takes_the_selected_stack() {
    let (glue, plugins) = with_plugins(&["user"]);
    glue.set_cluster_stack("solo").expect("nothing in use");
    let connection = connect(&glue, None, "G").expect("connected");
    assert_eq!((connection.group(), connection.cluster()), ("G", ""));
    assert_eq!(plugins[0].calls.lock()[0], "connect solo \"\" G");
}

#[test]
fn a_missing_plugin_is_loaded_once_with_the_glue_unlocked() {
    let loads = Arc::new(AtomicUsize::new(0));
    let (counted, inner) = (loads.clone(), Arc::new(Mutex::new(None::<Glue>)));
    let loader_glue = inner.clone();
    let glue = Glue::with_loader(move |plugin| {
        counted.fetch_add(1, Ordering::Relaxed);
        // Would deadlock if the glue were locked.
        assert!(loader_glue.lock().as_ref().is_some_and(|glue| glue.plugins().is_empty()));
        (plugin == "o2cb").then(|| Arc::new(RecordingPlugin::named("o2cb")) as Arc<dyn Plugin>)
    });
    *inner.lock() = Some(glue.clone());
    glue.set_max_protocol(VERSION).expect("first");
    let first = connect(&glue, None, "G").expect("loaded");
    let second = connect(&glue, None, "H").expect("in use");
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    drop((first, second));
    assert_eq!(glue.plugins(), ["o2cb"]);

    glue.set_cluster_stack("pcmk").expect("nothing in use");
    glue.unregister("o2cb").expect("not in use");
    assert_eq!(errno(connect(&glue, Some("pcmk"), "G")), Some(Errno::ENOENT));
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    *inner.lock() = None;
}

#[test]
fn a_loader_that_brings_another_plugin_does_not_help() {
    let glue = Glue::with_loader(|_| Some(Arc::new(RecordingPlugin::named("wrong"))));
    glue.set_max_protocol(VERSION).expect("first");
    assert_eq!(errno(connect(&glue, None, "G")), Some(Errno::ENOENT));
    assert_eq!(glue.active_plugin(), None);
}

#[test]
fn the_label_counts_again_after_a_load() {
    let inner = Arc::new(Mutex::new(None::<Glue>));
    let loader_glue = inner.clone();
    let glue = Glue::with_loader(move |_| {
        let glue = loader_glue.lock().take().expect("loaded once");
        glue.set_cluster_stack("pcmk").expect("nothing in use");
        Some(Arc::new(RecordingPlugin::named("o2cb")) as Arc<dyn Plugin>)
    });
    *inner.lock() = Some(glue.clone());
    glue.set_max_protocol(VERSION).expect("first");
    assert_eq!(errno(connect(&glue, None, "G")), Some(Errno::EBUSY));
}

#[test]
fn a_refused_join_gives_the_use_back_and_keeps_the_stacks_errno() {
    let (glue, plugins) = with_plugins(&["o2cb"]);
    *plugins[0].refuse.lock() = Some(Errno::ENOTCONN);
    let error = connect(&glue, None, "G").expect_err("refused");
    assert_eq!(error.errno(), Errno::ENOTCONN);
    assert_eq!(
        error.to_string(),
        "stack plugin \"o2cb\" did not join group \"G\": refused by test"
    );
    assert_eq!(glue.active_plugin(), None);
    glue.unregister("o2cb").expect("not in use");
}

#[test]
fn the_stack_stays_in_use_until_the_last_connection_is_gone() {
    let (glue, _) = with_plugins(&["o2cb"]);
    let first = connect(&glue, None, "G").expect("connected");
    let second = connect(&glue, None, "H").expect("connected");
    first.disconnect(false).expect("left");
    assert_eq!(glue.active_plugin(), Some("o2cb"));
    drop(first);
    assert_eq!(glue.active_plugin(), Some("o2cb"));
    drop(second);
    assert_eq!(glue.active_plugin(), None);
}

#[test]
fn a_disconnect_that_fails_keeps_the_connection_and_the_use() {
    let (glue, plugins) = with_plugins(&["o2cb"]);
    let connection = connect(&glue, None, "G").expect("connected");
    *plugins[0].refuse_to_leave.lock() = Some(Errno::EBUSY);
    assert_eq!(connection.disconnect(false).map_err(|e| e.errno()), Err(Errno::EBUSY));
    assert_eq!(glue.active_plugin(), Some("o2cb"));
    assert_eq!(connection.this_node(), Ok(NodeNumber(7)));
    *plugins[0].refuse_to_leave.lock() = None;
    assert_eq!(connection.disconnect(false), Ok(()));
    assert_eq!(connection.disconnect(false).map_err(|e| e.errno()), Err(Errno::EINVAL));
    drop(connection);
    let leaves = plugins[0].calls.lock().iter().filter(|call| *call == "disconnect").count();
    assert_eq!(leaves, 2);
}

#[test]
fn a_dropped_connection_leaves_the_group_even_if_the_stack_complains() {
    let (glue, plugins) = with_plugins(&["o2cb"]);
    *plugins[0].refuse_to_leave.lock() = Some(Errno::EBUSY);
    drop(connect(&glue, None, "G").expect("connected"));
    assert_eq!(plugins[0].calls.lock().last().map(String::as_str), Some("disconnect"));
    assert_eq!(glue.active_plugin(), None);
}

#[test]
fn a_left_connection_refuses_every_call() {
    let (glue, plugins) = with_plugins(&["o2cb"]);
    let connection = connect(&glue, None, "G").expect("connected");
    let lksb = Lksb::new(());
    assert_eq!(connection.lock(Mode::EX, &lksb, LockFlags::VALBLK, name()), Ok(()));
    assert_eq!(connection.unlock(&lksb, LockFlags::CANCEL), Ok(()));
    connection.disconnect(false).expect("left");
    let before = plugins[0].calls.lock().clone();
    assert_eq!(before[1..], ["lock r EX 0x8", "unlock 0x2", "disconnect"]);
    assert_eq!(connection.lock(Mode::EX, &lksb, LockFlags::empty(), name()), Err(Errno::EINVAL));
    assert_eq!(connection.unlock(&lksb, LockFlags::empty()), Err(Errno::EINVAL));
    assert_eq!(connection.this_node(), Err(Errno::EINVAL));
    assert_eq!(connection.abandon(&lksb), Err(Errno::EINVAL));
    assert_eq!(connection.purge(&|_| true), Err(Errno::EINVAL));
    connection.visit_resources(&mut |_| ());
    assert_eq!(*plugins[0].calls.lock(), before);
}

#[test]
fn a_status_block_belongs_to_the_connection_that_used_it_first() {
    let (glue, _) = with_plugins(&["o2cb"]);
    let (other_glue, _) = with_plugins(&["o2cb"]);
    let connection = connect(&glue, None, "G").expect("connected");
    let lksb = Lksb::new(());
    assert_eq!(connection.unlock(&lksb, LockFlags::empty()), Err(Errno::EINVAL));
    assert_eq!(connection.abandon(&lksb), Err(Errno::EINVAL));
    assert!(connection.dump_lksb(&lksb).contains("has no lock of group \"G\""));
    assert_eq!(connection.lock(Mode::NL, &lksb, LockFlags::empty(), name()), Ok(()));
    assert_eq!(connection.dump_lksb(&lksb), "dumped");
    for other in [connect(&glue, None, "H"), connect(&other_glue, None, "G")] {
        let other = other.expect("connected");
        assert_eq!(other.lock(Mode::NL, &lksb, LockFlags::CONVERT, name()), Err(Errno::EINVAL));
        assert_eq!(other.unlock(&lksb, LockFlags::empty()), Err(Errno::EINVAL));
    }
    assert_eq!(connection.unlock(&lksb, LockFlags::empty()), Ok(()));
}

#[test]
fn a_stack_without_posix_locks_says_so() {
    let (glue, _) = with_plugins(&["o2cb"]);
    let connection = connect(&glue, None, "G").expect("connected");
    let operation = PlockOperation::Unlock { start: 0, end: 1, owner: 1 };
    assert!(!connection.supports_plocks() && !glue.supports_plocks());
    assert_eq!(connection.plock(1, operation), Err(Errno::EOPNOTSUPP));
}
