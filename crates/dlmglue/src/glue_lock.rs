//! A lock of the glue beneath a lock resource, and the locking protocol that finds the way back.

use std::sync::{Arc, Weak};

use dlm::{Errno, LVB_LEN_MAX, LockFlags, Mode, ResourceName};
use stackglue::{Connection, Lksb, LockingProtocol, ProtocolVersion};

use crate::Level;
use crate::resource::{DlmLock, Resource};

/// A resource whose lock is one of that connection. The name can be one.
pub(crate) fn resource(connection: &Arc<Connection>, name: &[u8]) -> Arc<Resource> {
    Arc::new_cyclic(|resource: &Weak<Resource>| {
        Resource::new(Box::new(GlueLock {
            connection: Arc::clone(connection),
            lksb: Lksb::new(Weak::clone(resource)),
            name: name.into(),
        }))
    })
}

struct GlueLock {
    connection: Arc<Connection>,
    lksb: Lksb,
    name: Box<[u8]>,
}

impl GlueLock {
    fn convert(&self, level: Level, flags: LockFlags) -> Result<(), Errno> {
        let name = ResourceName::new(&self.name).map_err(|_| Errno::EINVAL)?;
        self.connection.lock(level.mode(), &self.lksb, flags, name)
    }
}

impl DlmLock for GlueLock {
    fn lock(&self, level: Level, convert: bool, noqueue: bool) -> Result<(), Errno> {
        // A resource that has no value leaves the block as it is: what is in it is of a former
        // life.
        self.lksb.set_lvb(&[])?;
        let mut flags = match level {
            // In nobody's way, so it need not wait for anybody.
            Level::NL => LockFlags::EXPEDITE,
            _ => LockFlags::VALBLK,
        };
        flags.set(LockFlags::CONVERT, convert);
        // Where the stack can, a holder that only caches its lock is asked to give way all the
        // same.
        flags.set(LockFlags::NOQUEUE | LockFlags::NOQUEUEBAST, noqueue);
        self.convert(level, flags)
    }

    fn down(&self, level: Level, value: Option<[u8; LVB_LEN_MAX]>) -> Result<(), Errno> {
        self.convert(level, LockFlags::CONVERT | self.written(value)?)
    }

    fn cancel(&self) -> Result<(), Errno> {
        self.connection.unlock(&self.lksb, LockFlags::CANCEL)
    }

    fn unlock(&self, value: Option<[u8; LVB_LEN_MAX]>) -> Result<(), Errno> {
        self.connection.unlock(&self.lksb, self.written(value)?)
    }

    fn value(&self) -> Option<[u8; LVB_LEN_MAX]> {
        self.lksb.lvb_valid().then(|| self.lksb.lvb())
    }

    fn token(&self) -> u64 {
        self.lksb.token()
    }

    fn name(&self) -> &[u8] {
        &self.name
    }

    fn is(&self, lksb: &Lksb) -> bool {
        self.lksb.is(lksb)
    }
}

impl GlueLock {
    fn written(&self, value: Option<[u8; LVB_LEN_MAX]>) -> Result<LockFlags, Errno> {
        let Some(value) = value else { return Ok(LockFlags::empty()) };
        self.lksb.set_lvb(&value)?;
        Ok(LockFlags::VALBLK)
    }
}

/// Callbacks go to the resource that hangs off the status block.
pub(crate) struct GlueProtocol(pub(crate) ProtocolVersion);

impl GlueProtocol {
    fn tell(lksb: &Lksb, tell: impl FnOnce(&Resource)) {
        // A resource that is forgotten wants to know nothing more.
        if let Some(resource) = lksb.state::<Weak<Resource>>().and_then(Weak::upgrade) {
            tell(&resource);
        }
    }
}

impl LockingProtocol for GlueProtocol {
    fn max_version(&self) -> ProtocolVersion {
        self.0
    }

    fn lock_ast(&self, lksb: &Lksb) {
        Self::tell(lksb, |resource| resource.lock_ast(lksb.status()));
    }

    fn blocking_ast(&self, lksb: &Lksb, level: Mode) {
        Self::tell(lksb, |resource| resource.blocking_ast(Level::covering(level)));
    }

    fn unlock_ast(&self, lksb: &Lksb, result: Result<(), Errno>) {
        Self::tell(lksb, |resource| resource.unlock_ast(result));
    }
}
