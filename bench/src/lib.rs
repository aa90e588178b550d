//! The benchmark: direct, kube-shunt and the real kube-proxy on the same topology, with the same Services, in one run.
//!
//! ```text
//! plan ──▶ run ── feed (one API server) ── stage (a cluster per contestant, side by side) ──▶ workloads ──▶ Outcomes ──▶ report
//!                                                         interleave (A B A B) + quiet (other load) ┘
//! ```
//!
//! It measures and tells. It must not judge what it did not measure, and never make up a figure: what could not be had is left
//! out with its reason. Everything that makes clusters is in the `integration` crate.

pub mod arena;
pub mod awake;
pub mod contestant;
pub mod context;
pub mod feed;
pub mod interleave;
pub mod interrupt;
pub mod options;
pub mod plan;
pub mod quiet;
pub mod record;
pub mod report;
pub mod run;
pub mod services;
pub mod statistics;
pub mod traffic;
pub mod workload;
