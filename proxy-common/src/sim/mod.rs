//! The memory body of the packet path: packets, maps, routes, clock and sockets of one node, for tests, benchmarks and
//! `explain`.
//!
//! ```text
//! build ─▶ Skb ─▶ Program::run(world, skb) ─▶ Action      oracle judges what came out
//! ```
//!
//! It must do what the kernel does, not what the path would like; `tests/tests/prog_run_diff.rs` compares the two.

mod array;
pub mod build;
pub mod embryos;
pub mod frame;
pub mod oracle;
pub mod rng;
pub mod scene;
mod sctp;
pub mod services;
mod skb;
pub mod socket;
pub mod tables;
pub mod traffic;
pub mod world;

pub use frame::Program;
pub use skb::Skb;
pub use socket::{Call, Storage};
pub use tables::{Family, NextHop};
pub use world::World;
