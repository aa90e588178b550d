//! `kube-shunt explain`: where a new connection would go, and why. Answered by the eBPF programs themselves and compared with
//! the copy of the packet path in memory.
//!
//! ```text
//! files ─ offline ─┐                       ┌─ kernel (BPF_PROG_TEST_RUN) ─┐
//!                  ├─▶ State ─ ask ─▶ Body ┤                              ├─▶ Answer ─▶ table, JSON, batch
//! pinned maps ─────┘                       └─ memory (proxy_common::sim) ─┘
//! ```
//!
//! Decides nothing about Services, and changes nothing.

pub mod answer;
mod args;
pub mod ask;
pub mod batch;
pub mod body;
pub mod both;
mod frame;
pub mod kernel;
pub mod live;
pub mod memory;
pub mod offline;
pub mod question;
mod run;
pub mod state;
pub mod table;

pub use args::ExplainArgs;
pub use run::run;

#[cfg(test)]
mod tests;
