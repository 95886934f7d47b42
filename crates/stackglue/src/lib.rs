//! The cluster stack glue: one lock API over any cluster stack.

mod lksb;
mod protocol;
mod stack;

pub use lksb::{Callback, Delivery, Lksb};
pub use protocol::{LockingProtocol, ProtocolVersion, RecoveryHandler};
pub use stack::{
    Abandoned, ConnectRefused, ConnectRequest, LockView, PlockOperation, Plugin, Queue,
    ResourceView, StackConnection,
};
