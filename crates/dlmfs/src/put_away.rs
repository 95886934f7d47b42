//! What becomes of the locks when the file system is mounted no more.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::filesystem::Open;
use crate::handles::Handles;
use crate::mount::End;
use crate::tree::Tree;

/// The locks of a file system that has ended. Dropped without more, it is as if its process had died: a
/// value that somebody may have been writing is not valid.
#[must_use = "what was written is lost without it"]
pub struct PutAway {
    pub(crate) tree: Arc<Mutex<Tree>>,
    pub(crate) opened: Arc<Mutex<Handles<Open>>>,
}

impl PutAway {
    /// Drops every lock that nobody has a file open of, which puts the values in force that were written,
    /// and leaves the domains. Blocks until that is done, or for 20 s.
    ///
    /// Whoever has a file open still is not done with it. If there is anybody, the domains are left to the
    /// end of the process, of which a stack knows what it may have left half written.
    ///
    /// # Errors
    ///
    /// Of the operating system, when nothing can be waited for.
    pub fn run(self, end: End) -> io::Result<()> {
        if end == End::Unmounted {
            // Their closes may not have come any more.
            for open in self.opened.lock().take_all() {
                open.file.close(open.level);
            }
        }
        let files = self.tree.lock().lock_files();
        let (held, idle): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.is_held());
        let drops = join_all(idle.iter().map(|file| file.wait(file.destroy(), pending())));
        let runtime = Builder::new_current_thread().enable_time().build()?;
        if runtime.block_on(async { timeout(PATIENCE, drops).await }).is_err() {
            tracing::warn!("not every lock could be dropped in time");
        }
        if !held.is_empty() {
            std::mem::forget(self.tree);
        }
        Ok(())
    }
}

/// Longer than a recovery takes, for which a drop may have to wait.
const PATIENCE: Duration = Duration::from_secs(20);
