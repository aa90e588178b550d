//! What is measured. Each module is one subset of the command line.

pub mod programming;
pub mod scale;
mod usage;
