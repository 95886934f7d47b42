//! Who an incoming request is for.

use std::collections::HashMap;

use super::frame::SystemStatus;

/// Handlers by message type and key. `T` is what tells the driver whom to hand the request to.
#[derive(Clone, Debug)]
pub struct Handlers<T> {
    routes: HashMap<(u16, u32), Route<T>>,
}

#[derive(Clone, Debug)]
struct Route<T> {
    payload_len_max: usize,
    to: T,
}

/// Why a handler is not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The type 0 is invalid (-EINVAL).
    #[error("the message type 0 is invalid")]
    InvalidType,
    /// There is one already (-EEXIST): the names of two domains can have the same key.
    #[error("the message type {message_type} with the key {key:#010x} has a handler already")]
    Exists {
        /// The message type.
        message_type: u16,
        /// The key.
        key: u32,
    },
}

impl<T> Default for Handlers<T> {
    fn default() -> Handlers<T> {
        Handlers { routes: HashMap::new() }
    }
}

impl<T> Handlers<T> {
    /// Registers a handler that takes payloads of up to `payload_len_max` bytes.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]; nothing is changed then.
    pub fn register(
        &mut self,
        message_type: u16,
        key: u32,
        payload_len_max: usize,
        to: T,
    ) -> Result<(), RegisterError> {
        if message_type == 0 {
            return Err(RegisterError::InvalidType);
        }
        let entry = self.routes.entry((message_type, key));
        if let std::collections::hash_map::Entry::Occupied(_) = entry {
            return Err(RegisterError::Exists { message_type, key });
        }
        entry.insert_entry(Route { payload_len_max, to });
        Ok(())
    }

    /// Takes a handler out again, if it is there.
    pub fn unregister(&mut self, message_type: u16, key: u32) -> Option<T> {
        self.routes.remove(&(message_type, key)).map(|route| route.to)
    }

    /// Who a request is for.
    ///
    /// # Errors
    ///
    /// What to answer instead: no handler, or a payload longer than it takes.
    pub fn route(
        &self,
        message_type: u16,
        key: u32,
        payload_len: usize,
    ) -> Result<&T, SystemStatus> {
        let route = self.routes.get(&(message_type, key)).ok_or(SystemStatus::NoHandler)?;
        if payload_len > route.payload_len_max {
            return Err(SystemStatus::Overflow);
        }
        Ok(&route.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Behaviour 134.
    #[test]
    fn a_type_and_key_has_one_handler() {
        let mut handlers = Handlers::default();
        assert_eq!(handlers.register(0, 1, 10, 'a'), Err(RegisterError::InvalidType));
        assert_eq!(handlers.register(500, 1, 10, 'a'), Ok(()));
        let exists = RegisterError::Exists { message_type: 500, key: 1 };
        assert_eq!(handlers.register(500, 1, 10, 'b'), Err(exists));
        assert_eq!(handlers.route(500, 1, 0), Ok(&'a'));
        assert_eq!(handlers.unregister(500, 1), Some('a'));
        assert_eq!(handlers.register(500, 1, 10, 'b'), Ok(()));
    }

    // Behaviours 118 and 119.
    #[test]
    fn what_is_not_taken_has_a_system_status() {
        let mut handlers = Handlers::default();
        assert_eq!(handlers.register(500, 1, 10, ()), Ok(()));
        assert_eq!(handlers.route(500, 1, 10), Ok(&()));
        assert_eq!(handlers.route(500, 1, 11), Err(SystemStatus::Overflow));
        assert_eq!(handlers.route(500, 2, 0), Err(SystemStatus::NoHandler));
        assert_eq!(handlers.route(0, 1, 0), Err(SystemStatus::NoHandler));
    }
}
