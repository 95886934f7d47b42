//! A cache in front of a store that several nodes use.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::block::Value;
use crate::cluster::{Handle, Patience};
use crate::resource::Stamp;
use crate::{Cluster, Error, Level};

/// A cache of values of any size, in front of a store that every node can read and write.
///
/// Each key has a lock; a value is good as long as this node has kept its lock, or if the value
/// block says that nobody has written since. So a hit asks nobody, and a value that another node
/// has changed is loaded anew by the first who asks for it.
///
/// The store is changed by [`update`](Self::update), on every node. An entry stays until
/// [`forget`](Self::forget).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let glue = stackglue::Glue::new();
/// # glue.set_cluster_stack("solo")?;
/// # glue.register(std::sync::Arc::new(stackglue_user::UserPlugin::new(Default::default())))?;
/// use std::cell::RefCell;
/// use std::collections::HashMap;
///
/// use stackglue_dlmglue::{Cluster, Coherent};
///
/// let store = RefCell::new(HashMap::from([(7_u32, "lamp".to_owned())]));
/// let cluster = Cluster::connect(&glue, "shop")?;
/// let shelves = Coherent::new(&cluster, |shelf: &u32| format!("shelf {shelf}"));
///
/// let load = |shelf: &u32| Ok::<_, stackglue_dlmglue::Error>(store.borrow()[shelf].clone());
/// assert_eq!(*shelves.get(&7, load)?, "lamp");
/// shelves.update(&7, |_token| {
///     store.borrow_mut().insert(7, "table".to_owned());
///     Ok::<_, stackglue_dlmglue::Error>("table".to_owned())
/// })?;
/// assert_eq!(*shelves.get(&7, |_| -> Result<String, stackglue_dlmglue::Error> {
///     unreachable!("it is cached")
/// })?, "table");
/// # Ok(())
/// # }
/// ```
pub struct Coherent<K, V> {
    cluster: Cluster,
    name: Box<dyn Fn(&K) -> String + Send + Sync>,
    entries: Mutex<HashMap<K, Arc<Entry<V>>>>,
}

struct Entry<V> {
    handle: Handle,
    cached: Mutex<Option<(Stamp, Arc<V>)>>,
}

impl<K: Eq + Hash + Clone, V> Coherent<K, V> {
    /// An empty cache. `name` gives each key the name of its lock, the same on every node, and not
    /// used for anything else.
    pub fn new(
        cluster: &Cluster,
        name: impl Fn(&K) -> String + Send + Sync + 'static,
    ) -> Coherent<K, V> {
        Coherent { cluster: cluster.clone(), name: Box::new(name), entries: Mutex::default() }
    }

    /// The value of a key, which nobody changes while the result is held. `load` reads it from the
    /// store if the one that is cached is not good; two that miss at once both do.
    ///
    /// # Errors
    ///
    /// Those of [`ClusterRwLock::read`](crate::ClusterRwLock::read), and of `load`.
    pub fn get<E: From<Error>>(
        &self,
        key: &K,
        load: impl FnOnce(&K) -> Result<V, E>,
    ) -> Result<CoherentRef<V>, E> {
        let entry = self.entry(key)?;
        entry.handle.acquire(Level::PR, Patience::Forever)?;
        entry.loaded(|| load(key))
    }

    /// As [`get`](Self::get), for a future: the lock is waited for without blocking a thread, and
    /// so is the store.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn get_async<E: From<Error>>(
        &self,
        key: &K,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<CoherentRef<V>, E> {
        let entry = self.entry(key)?;
        entry.handle.acquire_async(Level::PR).await?;
        let hold = Hold { entry, level: Level::PR };
        let value = match hold.entry.good() {
            Some(value) => value,
            None => hold.entry.keep(load.await?),
        };
        Ok(CoherentRef { value, _hold: hold })
    }

    /// Changes the value of a key: `store` writes it to the store and returns what it wrote. It is
    /// given the fencing token, for the store to refuse whoever comes with a lower one.
    ///
    /// When it fails, every node takes the value in the store for changed.
    ///
    /// # Errors
    ///
    /// Those of [`ClusterRwLock::write`](crate::ClusterRwLock::write), and of `store`.
    pub fn update<E: From<Error>>(
        &self,
        key: &K,
        store: impl FnOnce(u64) -> Result<V, E>,
    ) -> Result<(), E> {
        let entry = self.entry(key)?;
        entry.handle.acquire(Level::EX, Patience::Forever)?;
        let hold = Hold { entry, level: Level::EX };
        let Hold { entry, .. } = &hold;
        // First: whatever becomes of the store, what was read before is no longer good.
        *entry.cached.lock() = None;
        entry.handle.resource.block.set_value(&Value::empty());
        let value = store(entry.handle.resource.block.token())?;
        entry.keep(value);
        Ok(())
    }

    /// Drops what is cached of a key.
    pub fn forget(&self, key: &K) {
        self.entries.lock().remove(key);
    }

    fn entry(&self, key: &K) -> Result<Arc<Entry<V>>, Error> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(key) {
            return Ok(Arc::clone(entry));
        }
        let handle = self.cluster.handle((self.name)(key).as_bytes())?;
        let entry = Arc::new(Entry { handle, cached: Mutex::new(None) });
        entries.insert(key.clone(), Arc::clone(&entry));
        Ok(entry)
    }
}

impl<K, V> fmt::Debug for Coherent<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coherent")
            .field("cluster", &self.cluster)
            .field("entries", &self.entries.lock().len())
            .finish_non_exhaustive()
    }
}

impl<V> Entry<V> {
    /// With the level held, which goes over to the result.
    fn loaded<E>(
        self: Arc<Self>,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<CoherentRef<V>, E> {
        let hold = Hold { entry: self, level: Level::PR };
        let value = match hold.entry.good() {
            Some(value) => value,
            None => hold.entry.keep(load()?),
        };
        Ok(CoherentRef { value, _hold: hold })
    }

    /// What is cached, if it is still good. With a level held.
    fn good(&self) -> Option<Arc<V>> {
        let now = self.handle.resource.stamp();
        let cached = self.cached.lock();
        let (then, value) = cached.as_ref()?;
        then.is_good(now).then(|| Arc::clone(value))
    }

    fn keep(&self, value: V) -> Arc<V> {
        let value = Arc::new(value);
        *self.cached.lock() = Some((self.handle.resource.stamp(), Arc::clone(&value)));
        value
    }
}

struct Hold<V> {
    entry: Arc<Entry<V>>,
    level: Level,
}

impl<V> Drop for Hold<V> {
    fn drop(&mut self) {
        self.entry.handle.resource.leave(self.level);
    }
}

/// A value of a [`Coherent`] cache, which nobody changes until this is dropped.
#[must_use = "dropping it gives up the lock"]
pub struct CoherentRef<V> {
    value: Arc<V>,
    _hold: Hold<V>,
}

impl<V> Deref for CoherentRef<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V: fmt::Debug> fmt::Debug for CoherentRef<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CoherentRef").field(&self.value).finish()
    }
}
