//! What is measured. Each module is one subset of the command line.

pub mod connections;
pub mod established;
pub mod packets;
pub mod program;
pub mod programming;
pub mod scale;
mod usage;
