//! The node agent and its command line.
//!
//! ```text
//! watch (API server) ─┐
//!                     ├─▶ feed ─▶ sync ─▶ proxy_model::Planner ─▶ kernel (proxy_kernel::Maps) ─▶ kernel maps
//! manifests (files) ──┘            ▲                                                               │
//!                                admin ◀──────────── cli (services, backends, flows) ◀─────────────┘
//! ```
//!
//! Imperative shell: I/O, time and tasks are here; what to serve is decided in proxy-model, how the kernel is told in
//! proxy-kernel. `agent` puts it together.

#![forbid(unsafe_code)]

pub mod agent;
pub mod apiserver;
pub mod build;
pub mod cli;
pub mod config;
pub mod events;
pub mod explain;
pub mod feed;
pub mod health;
pub mod healthcheck;
pub mod http;
pub mod kernel;
pub mod logging;
pub mod manifests;
pub mod metrics;
pub mod node;
pub mod objects;
pub mod servers;
pub mod source;
pub mod sync;
pub mod sysctls;
pub mod tasks;
pub mod watch;
