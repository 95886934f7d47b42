//! The deterministic simulator: the production engines under every fault, from a seed.

#![forbid(unsafe_code)]

mod chaos;
mod checks;
mod cli;
mod clock;
mod coverage;
mod fault;
mod log;
mod network;
mod node;
mod plan;
mod rng;
mod run;
mod state;
mod storage;
mod tap;
mod user;
mod world;
pub use cli::main;
