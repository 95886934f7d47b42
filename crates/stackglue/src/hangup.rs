//! Hanging up: stopping the heartbeat of a group after the group was left.

use std::process::{Command, Stdio};

use crate::glue::StackUse;
use crate::{Glue, GlueError};

impl Glue {
    /// Stops the heartbeat of a group that was left with its hang-up pending, and gives back the use
    /// of the stack that the disconnect kept.
    ///
    /// Runs the heartbeat control program as `PROGRAM -K -u GROUP` and blocks until it exits. A
    /// program that cannot be started is logged, its exit status ignored; an empty path runs nothing.
    ///
    /// # Errors
    ///
    /// `EINVAL` when no hang-up of this group is pending; nothing is run then. The kernel would give
    /// back a use that is not there, and crash (`fs/ocfs2/stackglue.c: ocfs2_cluster_hangup`).
    pub fn hangup(&self, group: &str) -> Result<(), GlueError> {
        let in_use = StackUse::take_from_hangup(self, group)
            .ok_or_else(|| GlueError::NoHangup { group: group.to_owned() })?;
        let program = self.hb_ctl_path();
        if !program.is_empty()
            && let Err(error) = leave_heartbeat(&program, group)
        {
            tracing::error!(%program, %group, %error, "cannot run the heartbeat control program");
        }
        drop(in_use);
        Ok(())
    }
}

/// Runs the program with the arguments and the environment that the kernel gives it
/// (`fs/ocfs2/stackglue.c: ocfs2_leave_group`).
fn leave_heartbeat(program: &str, group: &str) -> std::io::Result<()> {
    Command::new(program)
        .args(["-K", "-u", group])
        .env_clear()
        .env("HOME", "/")
        .env("PATH", "/sbin:/bin:/usr/sbin:/usr/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use dlm::Errno;
    use parking_lot::Mutex;

    use super::*;
    use crate::glue::tests::{RecordingPlugin, connect, prepared};

    /// Held while a test writes or runs a program: a file that a concurrent fork still has open for
    /// writing cannot be executed.
    static ONE_PROGRAM_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// A glue with one hang-up of group `G` pending, after one connection that is gone.
    fn hanging_up() -> Glue {
        let glue = prepared();
        glue.register(Arc::new(RecordingPlugin::named("o2cb"))).expect("first of its name");
        let connection = connect(&glue, Some("o2cb"), "G").expect("connected");
        connection.disconnect(true).expect("left");
        glue
    }

    #[test]
    fn the_program_gets_exactly_the_kernels_arguments_and_environment() {
        let _alone = ONE_PROGRAM_AT_A_TIME.lock();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (program, seen) = (folder.path().join("hb_ctl"), folder.path().join("seen"));
        // `$$` is the program itself: its environment before the shell added anything.
        let script = format!(
            "#!/bin/sh\nexec >{}\necho \"$# $@\"\ntr '\\0' '\\n' </proc/$$/environ\nexit 1\n",
            seen.display()
        );
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
        let glue = hanging_up();
        glue.set_hb_ctl_path(program.to_str().expect("text")).expect("a path");

        glue.hangup("G").expect("hung up whatever the program's exit status");

        let seen = fs::read_to_string(seen).expect("the program ran and was waited for");
        let mut lines = seen.lines();
        assert_eq!(lines.next(), Some("3 -K -u G"));
        let mut environment: Vec<&str> = lines.collect();
        environment.sort_unstable();
        assert_eq!(environment, ["HOME=/", "PATH=/sbin:/bin:/usr/sbin:/usr/bin"]);
        assert_eq!(glue.active_plugin(), None);
    }

    #[test]
    fn a_program_that_cannot_be_started_gives_the_use_back_all_the_same() {
        let _alone = ONE_PROGRAM_AT_A_TIME.lock();
        for program in ["/nonexistent/hb_ctl", "", "/bin/true"] {
            let glue = hanging_up();
            glue.set_hb_ctl_path(program).expect("a path");
            assert_eq!(glue.active_plugin(), Some("o2cb"));
            glue.hangup("G").expect("hung up");
            assert_eq!(glue.active_plugin(), None);
        }
    }

    #[test]
    fn a_hangup_that_nothing_waits_for_is_an_error_and_takes_no_use() {
        let _alone = ONE_PROGRAM_AT_A_TIME.lock();
        let glue = hanging_up();
        glue.set_hb_ctl_path("/bin/true").expect("a path");
        let error = glue.hangup("other").expect_err("never connected");
        assert_eq!(error.errno(), Errno::EINVAL);
        glue.hangup("G").expect("pending");
        assert_eq!(glue.hangup("G").map_err(|e| e.errno()), Err(Errno::EINVAL));
    }

    #[test]
    fn a_pending_hangup_keeps_the_stack_selected_and_its_plugin_registered() {
        let _alone = ONE_PROGRAM_AT_A_TIME.lock();
        let glue = hanging_up();
        assert_eq!(glue.active_plugin(), Some("o2cb"));
        assert_eq!(glue.set_cluster_stack("pcmk").map_err(|e| e.errno()), Err(Errno::EBUSY));
        assert_eq!(glue.unregister("o2cb").map_err(|e| e.errno()), Err(Errno::EBUSY));
        glue.set_hb_ctl_path("/bin/true").expect("a path");
        glue.hangup("G").expect("pending");
        glue.set_cluster_stack("pcmk").expect("nothing is in use");
        glue.unregister("o2cb").expect("nothing is in use");
    }
}
