//! What is particular to the `user` plugin and its label `solo`.

use std::sync::Arc;

use dlm::{Errno, LockFlags, Mode, ResourceName};
use stackglue::{ConnectError, Connection, Glue, Lksb, LockingProtocol, ProtocolVersion};
use stackglue_user::{UserOptions, UserPlugin};

const VERSION: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

struct Silent;

impl LockingProtocol for Silent {
    fn max_version(&self) -> ProtocolVersion {
        VERSION
    }

    fn lock_ast(&self, _lksb: &Lksb) {}

    fn blocking_ast(&self, _lksb: &Lksb, _level: Mode) {}

    fn unlock_ast(&self, _lksb: &Lksb, _result: Result<(), Errno>) {}
}

fn glue(epoch: u32) -> Glue {
    let glue = Glue::new();
    glue.set_max_protocol(VERSION).expect("first announcement");
    glue.register(Arc::new(UserPlugin::new(UserOptions { epoch }))).expect("first plugin");
    glue.set_cluster_stack("solo").expect("nothing is connected");
    glue
}

fn connect(glue: &Glue, group: &str) -> Result<Connection, ConnectError> {
    glue.connect(None, "", group, Arc::new(Silent), Box::new(|_| ()))
}

fn name(bytes: &[u8]) -> ResourceName<'_> {
    ResourceName::new(bytes).expect("a legal name")
}

fn token_of_a_lock(connection: &Connection) -> u64 {
    let lksb = Lksb::new(());
    connection.lock(Mode::EX, &lksb, LockFlags::empty(), name(b"r")).expect("submitted");
    assert_eq!((lksb.status(), lksb.mode()), (Ok(()), Some(Mode::EX)));
    connection.unlock(&lksb, LockFlags::empty()).expect("submitted");
    lksb.token()
}

#[test]
fn tokens_grow_across_connections_and_epochs() {
    let mut last = 0;
    for epoch in [1, 2, 7] {
        let glue = glue(epoch);
        for _ in 0..3 {
            let connection = connect(&glue, "g").expect("connected");
            for _ in 0..3 {
                let token = token_of_a_lock(&connection);
                assert!(token > last, "{token:#x} after {last:#x}");
                assert_eq!(token >> UserPlugin::TOKEN_SEQUENCE_BITS, u64::from(epoch));
                last = token;
            }
            connection.disconnect(false).expect("left");
        }
    }
}

#[test]
fn a_group_is_connected_once_at_a_time() {
    let glue = glue(1);
    let first = connect(&glue, "g").expect("connected");
    let refused = connect(&glue, "g").expect_err("the group is in use");
    assert_eq!(refused.errno(), Errno::EEXIST);
    connect(&glue, "h").expect("another group");
    first.disconnect(false).expect("left");
    connect(&glue, "g").expect("free again");
}

#[test]
fn a_label_without_membership_is_refused_with_a_reason() {
    let glue = glue(1);
    glue.set_cluster_stack("pcmk").expect("nothing is connected");
    let refused = connect(&glue, "g").expect_err("no such membership");
    assert_eq!(refused.errno(), Errno::ENOENT);
    assert!(refused.to_string().contains("pcmk"), "{refused}");
    assert_eq!(glue.active_plugin(), None);
}

#[test]
fn names_of_every_length_have_locks_of_their_own_and_leave_nothing() {
    let glue = glue(1);
    let connection = connect(&glue, "g").expect("connected");
    let bytes: Vec<u8> = (0..64).collect();
    let locks: Vec<Lksb> = (1..=bytes.len())
        .map(|len| {
            let lksb = Lksb::new(());
            let name = name(&bytes[..len]);
            connection.lock(Mode::EX, &lksb, LockFlags::NOQUEUE, name).expect("submitted");
            assert_eq!(lksb.status(), Ok(()), "{len} bytes");
            let mut seen = 0;
            connection.visit_resource(name, &mut |resource| {
                assert_eq!((resource.name, resource.locks.len()), (name, 1));
                seen += 1;
            });
            assert_eq!(seen, 1);
            lksb
        })
        .collect();
    for lksb in &locks {
        connection.unlock(lksb, LockFlags::empty()).expect("submitted");
    }
    connection.visit_resources(&mut |resource| panic!("{} is left", resource.name));
}
