//! An oracle: what kube-proxy's contract says about one new connection, computed slowly and plainly from the cluster's objects.
//!
//! ```text
//! manifests, config ─▶ Cluster, Config ─┐
//! Node, its addresses ─▶ Node ──────────┼─▶ decide ─▶ Answer {verdict, service, frontend, backends, masquerade, hook}
//! one question ─▶ Flow ─────────────────┘
//! ```
//!
//! It is written from SEMANTICS alone (the numbers in the comments) and depends on none of our crates: no planner, no map,
//! no id, no bit. XX.
//! [`random`] invents clusters and questions for the property test that compares it with the real thing.

#![forbid(unsafe_code)]

mod cluster;
mod config;
mod decide;
mod endpoints;
mod flow;
mod frontends;
mod json;
mod net;
mod node;
pub mod random;

pub use cluster::Cluster;
pub use config::{Config, Detect, Profile};
pub use decide::{Answer, Reason, Verdict, decide};
pub use flow::{Flow, From, Proto};
pub use node::Node;
