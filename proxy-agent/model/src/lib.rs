//! The pure planner: cluster objects in, ordered map operations out. No I/O, no clock, no Kubernetes client, no kernel.
//!
//! ```text
//! raw objects ─ ingest ─▶ cluster ─▶ desired ─▶ family (diff against what is applied) ─▶ Vec<MapOp>
//!                 │          │                       ├── ids    (service and backend ids)
//!              errors      claims                    └── slots  (room in BACKENDS)
//! ```

#![forbid(unsafe_code)]

mod change;
mod error;
mod plan;
mod planner;
pub mod raw;
mod view;

pub use change::{Change, Kind, Object, ObjectRef};
pub use error::{ObjectError, ObjectErrorKind};
pub use plan::{Dump, FrontendRef, MapOp};
pub use planner::{Planner, PlannerConfig};
pub use view::{BackendView, FrontendKind, FrontendView, FamilyStats, ServiceView, Stats};
