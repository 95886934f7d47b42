//! The deterministic simulator: the production engines under every fault, from a seed.

#![forbid(unsafe_code)]

mod cached;
mod campaign;
mod chaos;
mod checks;
mod cli;
mod clock;
mod coverage;
mod fault;
mod hostile;
mod log;
mod mutants;
mod network;
mod node;
mod plan;
mod report;
mod rng;
mod run;
mod scale;
mod scene;
mod shrink;
mod solo;
mod state;
mod storage;
mod tap;
#[cfg(test)]
mod tests;
mod user;
mod world;
pub use cli::main;
