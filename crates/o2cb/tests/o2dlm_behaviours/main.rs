//! One domain under test, under virtual time; the test plays the other nodes: it sees each message
//! that the engine sends, answers it, and sends requests of its own.

mod asts;
mod create_convert;
mod debug_files;
mod hostile;
mod join_leave;
mod mastery;
mod migration;
mod recovery;
mod references;
mod rig;
mod unlock_cancel;
mod value_blocks;
