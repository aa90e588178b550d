//! Scenario files (tests/scenarios), each run three ways: what the planner planned, the packet path in memory, the eBPF programs
//! in the kernel. What differs from the file is told in words.

#![forbid(unsafe_code)]

mod file;
mod planned;
mod run;

pub use file::{Expect, Node, Scenario};
pub use run::{Runner, Tally};
