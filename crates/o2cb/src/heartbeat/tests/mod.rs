//! Nodes that share disks, under a clock of their own.

mod fence;
mod global;
mod liveness;
mod negotiation;
mod start;
mod world;
