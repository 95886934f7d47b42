//! Connections, and what the glue says about the stack meanwhile.

use std::sync::Arc;

use dlm::{Errno, LockFlags, Mode};

use super::Setup;
use super::setup::VERSION;
use crate::{Attribute, ConnectError, Connection, Glue, Lksb, LockingProtocol, ProtocolVersion};

/// A protocol that is told nothing.
struct Silent(ProtocolVersion);

impl LockingProtocol for Silent {
    fn max_version(&self) -> ProtocolVersion {
        self.0
    }
    fn lock_ast(&self, _: &Lksb) {}
    fn blocking_ast(&self, _: &Lksb, _: Mode) {}
    fn unlock_ast(&self, _: &Lksb, _: Result<(), Errno>) {}
}

fn connect(glue: &Glue, stack: Option<&str>, group: &str) -> Result<Connection, ConnectError> {
    glue.connect(stack, "", group, Arc::new(Silent(VERSION)), Box::new(|_| ()))
}

fn errno(result: Result<Connection, ConnectError>) -> Option<Errno> {
    result.err().map(|error| error.errno())
}

pub fn a_connection_knows_its_group_its_version_and_this_node(setup: &Setup) {
    let connection = connect(&setup.glue, Some(&setup.label), "known").expect("connected");
    assert_eq!((connection.group(), connection.cluster()), ("known", ""));
    assert_eq!(connection.version().major, VERSION.major);
    assert!(connection.version() <= VERSION);
    assert_eq!(connection.this_node(), connection.this_node());
    assert!(connection.this_node().is_ok());
    connection.disconnect(false).expect("left");
}

pub fn two_connections_have_two_protocols(setup: &Setup) {
    let first = setup.group_with("first", |_, _| ());
    let second = setup.group_with("second", |_, _| ());
    // The same name in two groups is two resources.
    let one = first.resource("r").granted(Mode::EX);
    let two = second.resource("r").granted(Mode::EX);
    first.resource("r").waiting(Mode::EX);
    one.is_blocking(Mode::EX);
    two.is_not_blocking();
}

pub fn a_protocol_of_another_maximum_is_einval(setup: &Setup) {
    for (major, minor) in [(1, 1), (2, 0)] {
        let protocol = Arc::new(Silent(ProtocolVersion { major, minor }));
        let label = Some(setup.label.as_str());
        let connection = setup.glue.connect(label, "", "g", protocol, Box::new(|_| ()));
        assert_eq!(errno(connection), Some(Errno::EINVAL));
    }
    assert_eq!(setup.glue.active_plugin(), None);
}

pub fn an_agnostic_connection_uses_the_selected_stack(setup: &Setup) {
    let connection = connect(&setup.glue, None, "agnostic").expect("connected");
    assert_eq!(setup.glue.active_plugin(), Some(setup.plugin));
    drop(connection);
    assert_eq!(setup.glue.active_plugin(), None);
}

pub fn a_connection_that_expects_another_stack_is_ebusy(setup: &Setup) {
    assert_eq!(errno(connect(&setup.glue, Some("othr"), "g")), Some(Errno::EBUSY));
    let open = connect(&setup.glue, None, "open").expect("connected");
    assert_eq!(errno(connect(&setup.glue, Some("othr"), "g")), Some(Errno::EBUSY));
    drop(open);
}

pub fn a_label_of_another_length_is_einval(setup: &Setup) {
    for label in ["abc", "abcde"] {
        assert_eq!(errno(connect(&setup.glue, Some(label), "g")), Some(Errno::EINVAL));
    }
}

pub fn a_stack_without_driver_is_enoent(setup: &Setup) {
    setup.glue.unregister(setup.plugin).expect("not in use");
    assert_eq!(errno(connect(&setup.glue, None, "g")), Some(Errno::ENOENT));
}

pub fn a_group_name_has_1_to_64_bytes(setup: &Setup) {
    for group in ["", &"g".repeat(65)] {
        assert_eq!(errno(connect(&setup.glue, None, group)), Some(Errno::EINVAL));
    }
    // o2dlm's limit is one less.
    connect(&setup.glue, None, &"g".repeat(63)).expect("connected");
}

pub fn the_selected_stack_stays_while_a_connection_is_open(setup: &Setup) {
    let label = |glue: &Glue| glue.read_attribute(Attribute::ClusterStack).expect("short");
    let own = format!("{}\n", setup.label);
    let connection = connect(&setup.glue, None, "open").expect("connected");
    let write = |text: &str| {
        setup.glue.write_attribute(Attribute::ClusterStack, text.as_bytes()).map_err(|e| e.errno())
    };
    assert_eq!(write("othr\n"), Err(Errno::EBUSY));
    assert_eq!(write(&own), Ok(5));
    assert_eq!(label(&setup.glue), own);
    drop(connection);
    assert_eq!(write("othr\n"), Ok(5));
    assert_eq!(label(&setup.glue), "othr\n");
}

pub fn the_attributes_name_the_stack_in_use(setup: &Setup) {
    let read = |attribute| setup.glue.read_attribute(attribute).expect("short");
    let name = format!("{}\n", setup.plugin);
    assert_eq!(read(Attribute::LoadedClusterPlugins), name);
    assert_eq!(read(Attribute::ActiveClusterPlugin), "");
    assert_eq!(read(Attribute::MaxLockingProtocol), "1.0\n");
    let connection = connect(&setup.glue, None, "open").expect("connected");
    assert_eq!(read(Attribute::ActiveClusterPlugin), name);
    drop(connection);
}

pub fn a_pending_hangup_keeps_the_stack_in_use(setup: &Setup) {
    setup.glue.set_hb_ctl_path("").expect("short");
    let connection = connect(&setup.glue, None, "pending").expect("connected");
    connection.disconnect(true).expect("left");
    drop(connection);
    assert_eq!(setup.glue.active_plugin(), Some(setup.plugin));
    assert!(setup.glue.set_cluster_stack("othr").is_err());
    setup.glue.hangup("pending").expect("pending");
    assert_eq!(setup.glue.active_plugin(), None);
}

pub fn a_group_can_be_joined_again_after_it_was_left(setup: &Setup) {
    for _ in 0..3 {
        let group = setup.group();
        group.resource("r").granted(Mode::EX);
    }
}

pub fn a_left_connection_is_einval(setup: &Setup) {
    let group = setup.group();
    let lock = group.resource("r").granted(Mode::EX);
    lock.unlock();
    group.connection.disconnect(false).expect("left");
    assert_eq!(lock.call(Mode::EX, LockFlags::empty()), Err(Errno::EINVAL));
    assert_eq!(lock.call_unlock(LockFlags::empty()), Err(Errno::EINVAL));
    let again = group.connection.disconnect(false).map_err(|error| error.errno());
    assert_eq!(again, Err(Errno::EINVAL));
}

pub fn posix_locks_are_eopnotsupp_where_the_stack_has_none(setup: &Setup) {
    let connection = connect(&setup.glue, None, "posix").expect("connected");
    assert_eq!(connection.supports_plocks(), setup.glue.supports_plocks());
    if !connection.supports_plocks() {
        let unlock = crate::PlockOperation::Unlock { start: 0, end: 9, owner: 1 };
        assert_eq!(connection.plock(1, unlock), Err(Errno::EOPNOTSUPP));
    }
}
