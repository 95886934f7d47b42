//! A daemon and its clients over a real socket.

mod bad_input;
mod barrier;
mod cached;
mod control;
mod life;
mod locks;
mod support;
