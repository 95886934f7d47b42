//! Our file system, mounted by a test in its own process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::mount::UnmountFlags;
use stackglue_dlmfs::DlmFs;
use stackglue_dlmfs::mount::{End, Mount, MountError, Options};
use user::{UserOptions, UserPlugin};

const KIND: &str = "stackglue-dlmfs";
const SOON: Duration = Duration::from_secs(30);

/// Why nothing can be mounted here, if so.
pub(crate) fn obstacle() -> Option<&'static str> {
    let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    let denied = device.is_err() || !rustix::process::geteuid().is_root();
    denied.then_some("there is no /dev/fuse here, or this is not root")
}

/// Our file system on the stack solo, served by a thread; unmounted when dropped.
pub(crate) struct Mounted {
    pub(crate) point: PathBuf,
    server: Option<thread::JoinHandle<Result<End, MountError>>>,
}

impl Mounted {
    pub(crate) fn new(point: PathBuf) -> Mounted {
        let (sender, ready) = mpsc::channel();
        let server = {
            let point = point.clone();
            thread::spawn(move || serve(&point, move || sender.send(()).expect("awaited")))
        };
        let mounted = Mounted { point, server: Some(server) };
        ready.recv_timeout(SOON).expect("it is mounted");
        mounted
    }
}

fn serve(point: &Path, ready: impl FnOnce()) -> Result<End, MountError> {
    let find = |_| Ok(Arc::new(UserPlugin::new(UserOptions::default())) as Arc<_>);
    Mount::new(KIND, point, Options::default()).serve(DlmFs::new(Box::new(find)), ready)
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A child that still runs keeps it; nobody can find it any more all the same.
        let unmounted = rustix::mount::unmount(&self.point, UnmountFlags::DETACH);
        let served = self.server.take().map(thread::JoinHandle::join);
        if !thread::panicking() {
            unmounted.expect("it is mounted");
            served.expect("it is dropped once").expect("no panic").expect("served to the end");
        }
    }
}
