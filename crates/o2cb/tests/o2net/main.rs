//! o2net's engine, without sockets and under a virtual clock: against scripted peers, byte by byte, and
//! against itself.

mod connection;
mod hostile;
mod keepalive;
mod messages;
mod rig;
mod solo;
mod together;
