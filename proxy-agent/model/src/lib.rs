//! The pure planner: cluster objects in, ordered map operations out. No I/O, no clock, no Kubernetes client, no kernel.
//!
//! ```text
//! raw objects ─ ingest ─▶ cluster ─▶ desired ─▶ family (diff against what is applied) ─▶ Vec<MapOp>
//!                 │          │                       ├── ids    (service and backend ids)
//!              errors      claims                    └── slots  (room in BACKENDS)
//! ```

#![forbid(unsafe_code)]

mod addrs;
mod applied;
mod change;
mod claims;
mod cluster;
mod desired;
mod draft;
pub mod dump;
mod endpoint;
mod error;
mod errors;
mod extents;
mod family;
mod ids;
mod ingest;
mod maglev;
mod memory;
mod names;
mod node;
mod plan;
mod planner;
pub mod policy;
mod ranges;
pub mod raw;
mod recover;
mod rules;
mod service;
mod slots;
mod tables;
mod topology;
mod unit;
mod unsound;
mod view;

pub use change::{Change, Kind, Object, ObjectRef};
pub use cluster::{HealthCheck, Trigger};
pub use error::{ObjectError, ObjectErrorKind};
pub use ingest::parse_ip;
pub use memory::{Cidrs, MemoryMaps};
pub use plan::{Dump, FrontendRef, MapOp};
pub use planner::{Planner, PlannerConfig};
pub use policy::Policy;
pub use tables::{Table, TableJob};
pub use unsound::Unsound;
pub use view::{BackendView, FamilyStats, FrontendKind, FrontendView, ServiceView, Stats};
