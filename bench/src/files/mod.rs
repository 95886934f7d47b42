//! The rows of `cargo xtask bench dlmfs`: opening and closing a file whose lock is cached, beside a file
//! of a file system over FUSE that has no locks.
//!
//! Both are mounted by this process, each served by a thread of its own, as `stackglue mount dlmfs`
//! serves one. dlmfs has the stack `solo` behind it: what a node does whose level is cached asks no stack.
//! The kernel's dlmfs comes last, in a guest.

mod kernel;
mod plain;

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use dlmfs::DlmFs;
use dlmfs::mount::{Filesystem, Mount, Options, unmount};
use stackglue::Plugin;
use tempfile::TempDir;
use user::{UserOptions, UserPlugin};

use crate::method::Comparison;
use crate::placement::pin;
use crate::row::Row;
use plain::PlainFs;

/// Measures every row.
pub(crate) fn rows(cpus: &[usize], print: &mut dyn FnMut(Row)) -> Result<(), Box<dyn Error>> {
    if !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: there is no /dev/fuse here, so nothing can be mounted (modprobe fuse)");
        return Ok(());
    }
    // Where the servers run is as for any program: their threads are woken for each request.
    let placement = format!("{}, all threads", pin(cpus[0]));
    let stack = |_| Ok(Arc::new(UserPlugin::new(UserOptions::default())) as Arc<dyn Plugin>);
    let locks = Mounted::serve("stackglue-bench-dlmfs", DlmFs::new(Box::new(stack)))?;
    let plain = Mounted::serve("stackglue-bench-plain", PlainFs)?;
    fs::create_dir(locks.path("web"))?;
    let (lock, file) = (locks.path("web/leader"), plain.path("web/leader"));
    File::create(&lock)?;
    let ex = OpenOptions::new().read(true).write(true).clone();
    let pr = OpenOptions::new().read(true).clone();
    for (case, how) in [("open and close, EX", ex), ("open and close, PR", pr)] {
        let found = Comparison::run(|_| time_opens(&file, &how), |_| time_opens(&lock, &how));
        print(Row::of_times("DLMFS", case, &found, OPEN_MAX, &placement));
    }
    kernel::rows(print);
    Ok(())
}

/// Nanoseconds of one open and close.
fn time_opens(path: &Path, how: &OpenOptions) -> f64 {
    let start = Instant::now();
    for _ in 0..OPENS {
        drop(how.open(path).expect("everybody may open it, and nobody else wants its lock"));
    }
    start.elapsed().as_nanos() as f64 / f64::from(OPENS)
}

/// A file system of this process, and where it is.
struct Mounted {
    kind: &'static str,
    directory: TempDir,
}

impl Mounted {
    fn serve<F>(kind: &'static str, filesystem: F) -> Result<Mounted, Box<dyn Error>>
    where
        F: Filesystem + Send + Sync + 'static,
    {
        let directory = tempfile::tempdir()?;
        let mount = Mount::new(kind, directory.path(), Options::default());
        let (ready, is_ready) = channel();
        let server = thread::spawn(move || {
            // Nobody listens any more if the other one could not be mounted.
            mount.serve(filesystem, || {
                let _ = ready.send(());
            })
        });
        match is_ready.recv() {
            Ok(()) => Ok(Mounted { kind, directory }),
            Err(_) => match server.join() {
                Ok(Err(error)) => Err(error.into()),
                _ => Err("a file system ended before it was mounted".into()),
            },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Its thread is not waited for: it goes on for as long as another mount namespace has a copy.
        if let Err(error) = unmount(self.kind, self.directory.path()) {
            eprintln!("stackglue-bench: {error}");
        }
    }
}

/// Opens and closes of a block.
const OPENS: u32 = 2000;

/// What a lock may add to an open and a close.
const OPEN_MAX: f64 = 1.5;
