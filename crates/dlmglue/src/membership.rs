//! Whether this node is still a member, as those learn who hold locks.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::cluster::Inner;

/// What tells clusters that this node is no longer a member.
///
/// A stack says so in its own way: an `o2cb` node by the fence handler of its options, a daemon by
/// hanging up. Whoever starts the node has that call [`lose`](Self::lose). A handle: clones are the
/// same.
///
/// ```
/// use stackglue_dlmglue::Membership;
///
/// let membership = Membership::new();
/// let fence_handler = {
///     let membership = membership.clone();
///     move |reason: &str| membership.lose(reason)
/// };
/// fence_handler("the heartbeat could not be written for 62 s");
/// assert_eq!(membership.lost(), Some("the heartbeat could not be written for 62 s"));
/// ```
#[derive(Clone, Default)]
pub struct Membership(Arc<Shared>);

#[derive(Default)]
struct Shared {
    reason: OnceLock<String>,
    clusters: Mutex<Vec<Weak<Inner>>>,
}

impl Membership {
    /// A membership that is not lost.
    pub fn new() -> Membership {
        Membership::default()
    }

    /// From now on nothing is granted, who waits fails, and every guard says so. The first reason
    /// counts.
    pub fn lose(&self, reason: &str) {
        if self.0.reason.set(reason.to_owned()).is_err() {
            return;
        }
        let clusters = std::mem::take(&mut *self.0.clusters.lock());
        for cluster in clusters.iter().filter_map(Weak::upgrade) {
            cluster.lose();
        }
    }

    /// Why it was lost; `None` when it was not.
    pub fn lost(&self) -> Option<&str> {
        self.0.reason.get().map(String::as_str)
    }

    pub(crate) fn add(&self, cluster: &Arc<Inner>) {
        let mut clusters = self.0.clusters.lock();
        clusters.retain(|cluster| cluster.strong_count() > 0);
        clusters.push(Arc::downgrade(cluster));
        drop(clusters);
        // Lost meanwhile: whoever lost it did not know this one.
        if self.lost().is_some() {
            cluster.lose();
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("lost", &self.lost()).finish_non_exhaustive()
    }
}
