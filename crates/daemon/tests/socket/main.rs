//! A daemon and its clients over a real socket.

mod attributes;
mod bad_input;
mod barrier;
mod cached;
mod control;
mod life;
mod locks;
mod support;
