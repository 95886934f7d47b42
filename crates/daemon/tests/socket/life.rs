//! How a daemon starts, stops and is succeeded.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dlm::{LockFlags, Mode};
use stackglue_daemon::{
    Client, ClientError, Config, DaemonError, O2cbConfig, Server, connect_or_start_at,
};

use crate::support::{Daemon, PATIENCE, config_in, lock, lock_with, status, unlock};

/// Long enough for a client to come before the daemon has left.
const IDLE_EXIT: Duration = Duration::from_secs(1);

fn refused(config: Config) -> DaemonError {
    match Server::bind(config) {
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            error
        }
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    let (handle, _) = lock(&mut client, "n", Mode::EX);
    let directory = daemon.socket().parent().expect("a directory").to_owned();
    let error = refused(config_in(&directory));
    assert!(matches!(error, DaemonError::Running { .. }), "{error}");
    assert_eq!(error.exit_status(), 69);
    unlock(&mut client, handle);
}

#[test]
fn a_socket_that_a_dead_daemon_left_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(UnixListener::bind(directory.path().join("sock")).expect("a socket"));
    assert!(matches!(
        Client::connect(&directory.path().join("sock"), "a"),
        Err(ClientError::NotRunning { .. })
    ));
    let daemon = Daemon::start_in(directory, |_| ());
    lock(&mut daemon.client("a"), "n", Mode::EX);
}

#[test]
fn a_file_in_the_place_of_the_socket_is_not_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("sock");
    fs::write(&path, "precious").expect("written");
    let error = refused(config_in(directory.path()));
    assert_eq!(error.exit_status(), 73);
    assert_eq!(fs::read_to_string(&path).expect("a file"), "precious");
}

#[test]
fn the_socket_has_its_mode_and_is_gone_when_the_daemon_is() {
    let daemon = Daemon::start_with(|config| config.socket_mode = 0o640);
    let socket = daemon.socket();
    assert_eq!(fs::metadata(&socket).expect("a socket").mode() & 0o777, 0o640);
    let directory = daemon.stop();
    assert!(!socket.exists());
    drop(directory);
}

#[test]
fn an_open_directory_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
    let error = refused(config_in(directory.path()));
    assert_eq!(error.exit_status(), 77);
    assert!(error.to_string().contains("can be written by others"), "{error}");
}

#[test]
fn nothing_is_granted_without_a_durable_epoch() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    fs::create_dir(&state).expect("a directory");
    std::os::unix::fs::symlink("/dev/full", state.join("epoch.new")).expect("a link");
    let full = refused(config_in(directory.path()));
    assert!(full.to_string().contains("No space left on device"), "{full}");
    assert_eq!(full.exit_status(), 73);
    fs::remove_file(state.join("epoch.new")).expect("removed");
    fs::write(state.join("epoch"), "garbage").expect("written");
    let corrupt = refused(config_in(directory.path()));
    assert_eq!(corrupt.exit_status(), 73);
    assert!(!directory.path().join("sock").exists(), "nobody can connect");
}

#[test]
fn a_stack_that_is_not_there_is_refused_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = refused(Config { stack: "pcmk".into(), ..config_in(directory.path()) });
    assert!(error.to_string().contains("no membership for that label"), "{error}");
    assert_eq!(error.exit_status(), 69);
}

#[test]
fn a_node_that_is_not_configured_is_refused_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("cluster.conf");
    let mut o2cb = O2cbConfig::default();
    o2cb.conf = conf.clone();
    let config =
        || Config { stack: "o2cb".into(), o2cb: o2cb.clone(), ..config_in(directory.path()) };
    let error = refused(config());
    assert!(error.to_string().contains("has no cluster: add one with"), "{error}");
    assert_eq!(error.exit_status(), 78);
    fs::write(&conf, "cluster:\n\tname = \n").expect("written");
    let error = refused(config());
    assert!(error.to_string().starts_with(&format!("{}, line 1", conf.display())), "{error}");
    assert_eq!(error.exit_status(), 78);
}

#[test]
fn a_group_that_does_not_exist_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket_group = Some("no such group".to_owned());
    let error = refused(Config { socket_group, ..config_in(directory.path()) });
    assert_eq!(error.exit_status(), 78);
}

#[test]
fn a_client_that_asked_for_no_lock_does_not_hold_up_a_new_daemon() {
    let daemon = Daemon::start();
    let mut client = daemon.client("a");
    status(&mut client);
    let directory = daemon.stop();
    let daemon = Daemon::start_in(directory, |_| ());
    assert_eq!(status(&mut daemon.client("b")).earlier_holders, None);
}

#[test]
fn an_idle_daemon_leaves_but_not_while_a_client_or_an_orphan_is_there() {
    let mut daemon = Daemon::start_with(|config| config.idle_exit = Some(IDLE_EXIT));
    let mut client = daemon.client("a");
    lock_with(&mut client, "n", Mode::EX, LockFlags::PERSISTENT);
    let left = Instant::now();
    drop(client);
    while left.elapsed() < IDLE_EXIT * 2 {
        std::thread::sleep(Duration::from_millis(5));
        assert!(daemon.is_running(), "an orphan is left");
    }
    let mut client = daemon.client("b");
    let (handle, _) = lock_with(&mut client, "n", Mode::EX, LockFlags::ORPHAN);
    unlock(&mut client, handle);
    assert!(daemon.is_running());
    drop(client);
    daemon.wait();
    assert!(!daemon.socket().exists());
}

/// `stackglued` as `stackglue daemon`.
fn program(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("program");
    let daemon = env!("CARGO_BIN_EXE_stackglued");
    let state = directory.join("state");
    let script = format!(
        "#!/bin/sh\nshift\necho started >>{}\nexec {daemon} --state-dir {} \"$@\"\n",
        directory.join("starts").display(),
        state.display()
    );
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    path
}

/// Stops the daemon that a client started.
fn stop_started(client: &mut Client) {
    let pid = status(client).pid;
    let killed = Command::new("kill").arg(pid.to_string()).status().expect("kill runs");
    assert!(killed.success());
}

#[test]
fn many_clients_that_find_no_daemon_start_exactly_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program(directory.path());
    let socket = directory.path().join("sock");
    let clients: Vec<Client> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..50).map(|_| scope.spawn(|| connect_or_start_at(&socket, "a", &program))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Client, ClientError>>| {
            thread.join().expect("no panic").expect("connected")
        };
        threads.into_iter().map(join).collect()
    });
    let mut clients = clients;
    assert_eq!(status(&mut clients[0]).clients, 50);
    let starts = fs::read_to_string(directory.path().join("starts")).expect("a file");
    assert_eq!(starts, "started\n");
    stop_started(&mut clients[0]);
}

#[test]
fn a_daemon_that_a_client_started_does_not_keep_what_the_client_has_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program(directory.path());
    let outer = Daemon::start();
    let mut holder = outer.client("outer");
    lock(&mut holder, "n", Mode::EX);
    holder.make_inheritable().expect("inheritable");
    let socket = directory.path().join("sock");
    let mut inner = connect_or_start_at(&socket, "inner", &program).expect("connected");
    drop(holder);
    outer.wait_for(|status| status.locks == 0);
    stop_started(&mut inner);
}

fn spawn_daemon(directory: &Path) -> Child {
    let child = Command::new(env!("CARGO_BIN_EXE_stackglued"))
        .args(["--socket".as_ref(), directory.join("sock").as_os_str()])
        .args(["--state-dir".as_ref(), directory.join("state").as_os_str()])
        .stderr(Stdio::null())
        .spawn();
    child.expect("stackglued runs")
}

fn connect(directory: &Path) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(&directory.join("sock"), "a") {
            Ok(client) => return client,
            Err(ClientError::NotRunning { .. } | ClientError::Left { .. })
                if Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn after_sigterm_a_daemon_exits_with_0_and_after_sigkill_another_takes_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut first = spawn_daemon(directory.path());
    let mut client = connect(directory.path());
    let (_, token) = lock(&mut client, "n", Mode::EX);
    first.kill().expect("killed");
    first.wait().expect("gone");
    assert!(matches!(client.next_event(None), Err(ClientError::ConnectionLost { .. })));
    drop(client);

    let mut second = spawn_daemon(directory.path());
    let mut client = connect(directory.path());
    assert!(lock(&mut client, "n", Mode::EX).1 > token);
    let pid = second.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert_eq!(second.wait().expect("gone").code(), Some(0));
}

#[test]
fn a_wrong_configuration_is_one_sentence_and_status_78() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("s.toml");
    fs::write(&file, "stack = \"solo\"\nsokket = \"x\"\n").expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_stackglued"))
        .args(["--config".as_ref(), file.as_os_str()])
        .output()
        .expect("stackglued runs");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = format!("stackglued: {}:2: sokket: ", file.display());
    assert!(said.starts_with(&expected) && said.lines().count() == 1, "{said}");
}

/// Not a test by itself: what [`strangers_are_refused_with_advice`] runs as another user.
#[test]
fn as_a_stranger() {
    let Some(socket) = std::env::var_os("STACKGLUE_TEST_STRANGER") else { return };
    match Client::connect(socket.as_ref(), "stranger") {
        Ok(_) => println!("said: welcome"),
        Err(error) => println!("said: {error}"),
    }
}

#[test]
fn strangers_are_refused_with_advice() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let say = |daemon: &Daemon, gid: u32| {
        let directory = daemon.socket().parent().expect("a directory").to_owned();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("chmod");
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["life::as_a_stranger", "--exact", "--nocapture"])
            .env("STACKGLUE_TEST_STRANGER", daemon.socket())
            .uid(65534)
            .gid(gid)
            .output()
            .expect("the test runs as nobody");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let daemon = Daemon::start();
    let said = say(&daemon, 65534);
    assert!(said.contains("permission denied at") && said.contains("set socket_group"), "{said}");
    let said = say(&daemon, 0);
    assert!(said.contains("user 65534 may not use this stackglued"), "{said}");
    let grouped = Daemon::start_with(|config| config.socket_group = Some("65534".into()));
    let said = say(&grouped, 65534);
    assert!(said.contains("said: welcome"), "{said}");
}
