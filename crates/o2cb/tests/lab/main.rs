//! Beside real kernels: `cargo xtask lab o2cb` runs these, as root.
//!
//! A file is one subject. A test asks for a lab with [`lab::shared`], which gives it the one of an
//! earlier test where it can: a lab takes a quarter of a minute to boot. It uses a domain of its own name.

mod attributes;
mod deaths;
mod kernels;
mod links;
mod locks;
mod mix;
mod ours;
mod process;
mod random;
mod volume;
