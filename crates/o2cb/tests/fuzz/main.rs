//! Hostile input, made by mutation: each target takes the inputs of a corpus, changed in ways that
//! depend on a seed alone. A finding prints its seed, the input and the command that runs it again;
//! `cargo xtask fuzz` runs the targets for longer.

mod corpus;
mod domain;
mod driver;
mod files;
#[path = "../../src/volume/tests/image.rs"]
mod image;
mod messages;
mod mutate;
mod net;
#[path = "../support/pcap.rs"]
mod pcap;
mod program;
#[path = "../o2dlm_world/rng.rs"]
mod rng;
